package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// creation is for how long a fleet will be in the making, each account with its token: by what the bare loop has made of this
// machine, or by what an idle one with two cores makes of it. A new account takes as long as some four bare
// refreshes, of the kind that it has.
func (b *bench) creation(f *fleet) time.Duration {
	rounds, perSecond := 4.5, b.bare[2]
	if f.singleUse {
		rounds, perSecond = 4, b.bare[3]
	}
	if perSecond == 0 {
		perSecond = 200
	}
	return time.Duration(rounds*float64(f.size)/perSecond*float64(time.Second)) + 5*time.Second
}

// ahead of the first that is due, everything is noted that was counted so far: reading the log takes a moment, in which nothing
// may happen that is counted.
const ahead = time.Second

// round is what became of a fleet whose accounts were due at once.
type round struct {
	fleet *fleet
	// first and last are when the first and the last of them was due.
	first, last time.Time
	// took is from the first due time until the last Secret was written.
	took  time.Duration
	done  counts
	calls int
}

// round makes a fleet whose tokens all end at one time, however long it takes to make it, so that all are due within a few
// seconds: the jitter's. It waits for that, and until each account has its next token. Nothing tells the operator when.
func (b *bench) round(ctx context.Context, f *fleet, meanwhile func(ctx context.Context, r round) error) (round, error) {
	r := round{fleet: f}
	// The lead is two thirds of a lifetime at most: half of it is left for what is made last.
	live := f.lead*3/2 + b.creation(f)
	back, err := b.endAt(f, time.Now().Add(live))
	if err != nil {
		return r, err
	}
	err = b.make(ctx, f)
	if backErr := back(); err == nil {
		err = backErr
	}
	if err != nil {
		return r, err
	}
	err = b.until(ctx, "it is known when all are due", func() (known bool, err error) {
		r.first, r.last, known, err = b.dueTimes(ctx, f)
		return known, err
	})
	if err != nil {
		return r, err
	}
	b.sayf("they are due in %.1f s, within %.1f s", time.Until(r.first).Seconds(), r.last.Sub(r.first).Seconds())
	if time.Until(r.first) < 2*ahead || r.last.Sub(r.first) > live {
		return r, errors.New("some accounts were due before all were made: this machine is too slow for so many (--rate, --single, --due)")
	}
	if err := sleepUntil(ctx, r.first.Add(-ahead)); err != nil {
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
	if err := sleepUntil(ctx, r.first); err != nil {
		return r, err
	}
	if meanwhile != nil {
		if err := meanwhile(ctx, r); err != nil {
			return r, err
		}
	}
	return b.finish(ctx, r, before, calls)
}

// finish waits for the end of a round, and counts.
func (b *bench) finish(ctx context.Context, r round, before counts, calls int) (round, error) {
	f := r.fleet
	var written map[string]time.Time
	err := b.until(ctx, "all that were due have their tokens", func() (_ bool, err error) {
		written, _, err = b.tally.secretsOf(f.space())
		for i := range f.size {
			if _, is := written[numbered(i)]; !is {
				return false, err
			}
		}
		return true, err
	})
	if err != nil {
		return r, err
	}
	for i := range f.size {
		r.took = max(r.took, written[numbered(i)].Sub(r.first))
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

// dueTimes are when the first and the last account of a fleet is due, as their status says, if all of them say so.
func (b *bench) dueTimes(ctx context.Context, f *fleet) (first, last time.Time, known bool, err error) {
	list := &v1alpha1.ConnectedAccountList{}
	if err := b.admin.List(ctx, list, client.InNamespace(f.space())); err != nil {
		return first, last, false, err
	}
	for i := range list.Items {
		next := list.Items[i].Status.NextRefreshTime
		if next == nil {
			return first, last, false, nil
		}
		if first.IsZero() || next.Time.Before(first) {
			first = next.Time
		}
		if next.After(last) {
			last = next.Time
		}
	}
	return first, last, true, nil
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
	r, err := b.round(ctx, b.fleets[fleetSingle], nil)
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
	var idle, behind spread
	var last time.Time
	r, err := b.round(ctx, b.fleets[fleetDue], func(ctx context.Context, r round) (err error) {
		behind, last, err = b.newcomers(ctx, r.fleet, "new")
		return err
	})
	if err == nil {
		idle, _, err = b.newcomers(ctx, r.fleet, "idle")
	}
	if err != nil {
		return err
	}
	p99 := behind.p99.Seconds()
	b.figures.m9 = &p99
	b.report(fmt.Sprintf("M9  from the request that makes an account to its Secret, while %d are due", r.fleet.size), table(
		[2]string{"while nothing is due", idle.String()},
		[2]string{"while all are due", behind.String()},
		[2]string{"all were due", fmt.Sprintf("%.1f s after the first, and the last had its token after %.1f s", r.last.Sub(r.first).Seconds(), r.took.Seconds())},
		[2]string{"the last new one was made", fmt.Sprintf("%.1f s after the first was due", last.Sub(r.first).Seconds())},
	))
	if r.took < last.Sub(r.first) && r.fleet.size >= 1000 {
		return errors.New("the accounts that were due had their tokens before the last new one was made: make more of them (--due), or fewer new ones (--newcomers)")
	}
	return nil
}

// newcomers makes new accounts, one after the other, and says for how long each waited for its Secret, and when the last was
// made.
func (b *bench) newcomers(ctx context.Context, f *fleet, prefix string) (spread, time.Time, error) {
	made, last := map[string]time.Time{}, time.Time{}
	for i := range b.settings.newcomers {
		name := prefix + "-" + numbered(i)
		last = time.Now()
		made[name] = last
		if err := b.create(ctx, f, name); err != nil {
			return spread{}, last, err
		}
		if err := sleepUntil(ctx, last.Add(b.settings.interval)); err != nil {
			return spread{}, last, err
		}
	}
	times, err := b.waited(ctx, f, made)
	return spreadOf(times), last, err
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
