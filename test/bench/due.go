package main

import (
	"context"
	"fmt"
	"time"
)

// makeDue makes the fleets whose tokens become due, each while the tokens of the others grow old.
func (b *bench) makeDue(ctx context.Context) error {
	for _, each := range []struct{ fleet, figure string }{{fleetRate, "M1"}, {fleetDue, "M9"}} {
		if !b.settings.wants(each.figure) {
			continue
		}
		if err := b.make(ctx, b.fleets[each.fleet]); err != nil {
			return err
		}
	}
	return nil
}

// round has all accounts of a fleet become due at once, and waits until each has its new token.
type round struct {
	fleet *fleet
	began time.Time
	// took is until the last Secret was written.
	took  time.Duration
	done  counts
	calls int
}

func (b *bench) round(ctx context.Context, f *fleet, meanwhile func(ctx context.Context) error) (round, error) {
	r := round{fleet: f}
	if err := b.old(ctx, f); err != nil {
		return r, err
	}
	if err := b.untilIdle(ctx); err != nil {
		return r, err
	}
	before, err := b.tally.in(f.space())
	if err != nil {
		return r, err
	}
	calls := f.server.ClientTokenRequests(f.name)
	if err := b.tally.forget(f.space()); err != nil {
		return r, err
	}
	r.began = time.Now()
	if err := b.lead(ctx, f, int32(f.lifetime.Seconds())); err != nil { // two thirds of it at most count
		return r, err
	}
	if meanwhile != nil {
		if err := meanwhile(ctx); err != nil {
			return r, err
		}
	}
	if err := b.untilWritten(ctx, f.space(), f.size); err != nil {
		return r, err
	}
	written, _, err := b.tally.secretsOf(f.space())
	if err != nil {
		return r, err
	}
	for i := range f.size {
		at, is := written[numbered(i)]
		if !is {
			return r, fmt.Errorf("nothing was written for %s", numbered(i))
		}
		r.took = max(r.took, at.Sub(r.began))
	}
	if err := b.untilIdle(ctx); err != nil {
		return r, err
	}
	after, err := b.tally.in(f.space())
	if err != nil {
		return r, err
	}
	r.done, r.calls = after.minus(before), f.server.ClientTokenRequests(f.name)-calls
	return r, nil
}

func (r round) perSecond() float64 { return float64(r.fleet.size) / r.took.Seconds() }

func (r round) cost() perRefresh {
	count := float64(r.fleet.size)
	// What was refused was a write as well, to the API server; the client's own status is none of a refresh.
	return perRefresh{float64(r.done.writes()-r.done.clients+r.done.dryRuns+r.done.refused) / count, float64(r.calls) / count, float64(r.done.accountGets) / count}
}

// rateReusable is M1 and the first half of M2.
func (b *bench) rateReusable(ctx context.Context) error {
	r, err := b.round(ctx, b.fleets[fleetRate], nil)
	if err != nil {
		return err
	}
	ratio, cost := r.perSecond()/b.bare[2], r.cost()
	b.figures.m1, b.figures.m2 = &ratio, &cost
	b.reportRate("M1  client credentials", r, b.bare[2], cost)
	return nil
}

// rateSingle is M1s and the second half of M2.
func (b *bench) rateSingle(ctx context.Context) error {
	f := b.fleets[fleetSingle]
	if err := b.make(ctx, f); err != nil {
		return err
	}
	r, err := b.round(ctx, f, nil)
	if err != nil {
		return err
	}
	ratio, cost := r.perSecond()/b.bare[3], r.cost()
	b.figures.m1s, b.figures.m2s = &ratio, &cost
	b.reportRate("M1s single-use refresh tokens", r, b.bare[3], cost)
	return nil
}

func (b *bench) reportRate(title string, r round, bare float64, cost perRefresh) {
	per := func(n int) string { return short(float64(n) / float64(r.fleet.size)) }
	b.report(fmt.Sprintf("%s: %d accounts due at once", title, r.fleet.size), table(
		[2]string{"the bare loop", fmt.Sprintf("%.0f in a second", bare)},
		[2]string{"the operator", fmt.Sprintf("%.0f in a second, %.1f s for all", r.perSecond(), r.took.Seconds())},
		[2]string{"M2  writes, calls, reads of accounts, for each refresh", cost.String()},
		[2]string{"of the writes: accounts, Secrets, others; tried; refused", fmt.Sprintf("%s, %s, %s; %s; %s",
			per(r.done.accounts), per(r.done.secrets), per(r.done.others), per(r.done.dryRuns), per(r.done.refused))},
		[2]string{"beside them: events, reads of Secrets", fmt.Sprintf("%s, %s", per(r.done.events), per(r.done.secretGets))},
	))
}

// behindDue is M9: how long a new account waits for its Secret, while very many others of its client and its namespace are due.
func (b *bench) behindDue(ctx context.Context) error {
	f := b.fleets[fleetDue]
	idle, err := b.newcomers(ctx, f, "idle")
	if err != nil {
		return err
	}
	var busy map[string]time.Time
	r, err := b.round(ctx, f, func(ctx context.Context) (err error) {
		busy, err = b.arrive(ctx, f, "busy")
		return err
	})
	if err != nil {
		return err
	}
	times, err := b.waited(ctx, f, busy)
	if err != nil {
		return err
	}
	last := time.Time{}
	for _, at := range busy {
		if at.After(last) {
			last = at
		}
	}
	behind := spreadOf(times)
	p99 := behind.p99.Seconds()
	b.figures.m9 = &p99
	b.report(fmt.Sprintf("M9  from the request that makes an account to its Secret, while %d are due", f.size), table(
		[2]string{"while nothing is due", idle.String()},
		[2]string{"while all are due", behind.String()},
		[2]string{"the last new one was made", fmt.Sprintf("%.1f s after they were due; the last of these had its token after %.1f s", last.Sub(r.began).Seconds(), r.took.Seconds())},
	))
	if r.took < last.Sub(r.began) && b.settings.due >= 1000 {
		return fmt.Errorf("the accounts that were due had their tokens before the last new one was made: make more of them (--due), or fewer new ones")
	}
	return nil
}

// newcomers makes new accounts while nothing else is to be done, and says how long they waited.
func (b *bench) newcomers(ctx context.Context, f *fleet, prefix string) (spread, error) {
	if err := b.tally.forget(f.space()); err != nil {
		return spread{}, err
	}
	made, err := b.arrive(ctx, f, prefix)
	if err != nil {
		return spread{}, err
	}
	times, err := b.waited(ctx, f, made)
	return spreadOf(times), err
}

// arrive makes new accounts, one after the other, and says when each was asked for.
func (b *bench) arrive(ctx context.Context, f *fleet, prefix string) (map[string]time.Time, error) {
	made := map[string]time.Time{}
	for i := range b.settings.newcomers {
		name := prefix + "-" + numbered(i)
		made[name] = time.Now()
		if err := b.create(ctx, f, name); err != nil {
			return nil, err
		}
		if err := sleepUntil(ctx, made[name].Add(b.settings.interval)); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// waited is for how long each of the new accounts waited for its Secret.
func (b *bench) waited(ctx context.Context, f *fleet, made map[string]time.Time) ([]time.Duration, error) {
	var times []time.Duration
	return times, b.until(ctx, "all new accounts have their Secrets", func() (bool, error) {
		written, _, err := b.tally.secretsOf(f.space())
		if err != nil {
			return false, err
		}
		times = times[:0]
		for name, asked := range made {
			at, is := written[name]
			if !is {
				return false, nil
			}
			times = append(times, at.Sub(asked))
		}
		return true, nil
	})
}
