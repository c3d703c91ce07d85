package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

const (
	// crowds is how many providers there are. The first one hangs.
	crowds = 10
	// crowded is the namespace of the accounts of all of them.
	crowded = "crowded"
	// crowdLifetime is that of their tokens: each is refreshed every twenty seconds or so.
	crowdLifetime = 30 * time.Second
)

// oneHangs is M8: how late refreshes are, of accounts whose providers answer, without and with another provider that does not.
func (b *bench) oneHangs(ctx context.Context) error {
	all, err := b.makeCrowds(ctx)
	if err != nil {
		return err
	}
	seen, err := b.watchDue(ctx)
	if err != nil {
		return err
	}
	defer seen.watching.Stop()
	// The first cycle begins when the accounts were made, in a crowd. It is not looked at.
	if err := sleepUntil(ctx, time.Now().Add(crowdLifetime)); err != nil {
		return err
	}
	normal, err := b.lateness(ctx, seen)
	if err != nil {
		return err
	}
	hung := all[0]
	if err := hung.server.Script(hung.name, provider.Hang().For(-1)); err != nil {
		return err
	}
	hanging, err := b.lateness(ctx, seen)
	if err != nil {
		return err
	}
	calls := hung.server.ClientTokenRequests(hung.name)
	hung.server.ClearScript(hung.name)
	ratio := hanging.p99.Seconds() / normal.p99.Seconds()
	b.figures.m8 = &ratio
	b.report(fmt.Sprintf("M8  how late the Secrets of accounts of nine providers are renewed, %d accounts each", b.settings.crowd), table(
		[2]string{"while all ten answer", normal.String()},
		[2]string{"while the tenth does not", hanging.String()},
		[2]string{"requests that the tenth had, in all", fmt.Sprint(calls)},
	))
	return b.admin.DeleteAllOf(ctx, &v1alpha1.ConnectedAccount{}, client.InNamespace(crowded))
}

func (b *bench) makeCrowds(ctx context.Context) ([]*fleet, error) {
	var all []*fleet
	for i := range crowds {
		f := &fleet{name: fmt.Sprintf("crowd-%d", i), namespace: crowded, lifetime: crowdLifetime, lead: crowdLifetime / 3, size: b.settings.crowd}
		var err error
		if f.server, err = provider.Start(provider.Options{Registrations: []provider.Registration{f.registration()}}); err != nil { //nolint:contextcheck // it lives until it is closed
			return nil, err
		}
		b.fleets[f.name] = f
		if err := b.found(ctx, f); err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	err := each(ctx, crowds*b.settings.crowd, func(ctx context.Context, i int) error {
		f := all[i%crowds]
		return b.create(ctx, f, f.name+"-"+numbered(i))
	})
	if err != nil {
		return nil, err
	}
	return all, b.untilWritten(ctx, crowded, crowds*b.settings.crowd)
}

// dueTimes are when refreshes were due, by account, as the accounts' status said.
type dueTimes struct {
	watching watch.Interface

	mu sync.Mutex
	of map[string][]time.Time
}

// watchDue follows the accounts of all ten providers.
func (b *bench) watchDue(ctx context.Context) (*dueTimes, error) {
	watching, err := b.admin.Watch(ctx, &v1alpha1.ConnectedAccountList{}, client.InNamespace(crowded))
	if err != nil {
		return nil, err
	}
	seen := &dueTimes{watching: watching, of: map[string][]time.Time{}}
	go func() {
		for event := range watching.ResultChan() {
			account, is := event.Object.(*v1alpha1.ConnectedAccount)
			if !is || event.Type == watch.Deleted || account.Status.NextRefreshTime == nil {
				continue
			}
			seen.note(account.Name, account.Status.NextRefreshTime.Time)
		}
	}()
	return seen, nil
}

func (d *dueTimes) note(name string, due time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if times := d.of[name]; len(times) == 0 || !times[len(times)-1].Equal(due) {
		d.of[name] = append(times, due)
	}
}

// before is the last time at which a refresh was due before a time.
func (d *dueTimes) before(name string, at time.Time) (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, due := range slices.Backward(d.of[name]) {
		if !due.After(at) {
			return due, true
		}
	}
	return time.Time{}, false
}

// lateness is for how long after they were due the Secrets were renewed that were written from now on, for a while.
func (b *bench) lateness(ctx context.Context, seen *dueTimes) (spread, error) {
	if err := b.tally.forget(crowded); err != nil {
		return spread{}, err
	}
	if err := sleepUntil(ctx, time.Now().Add(b.settings.hungFor)); err != nil {
		return spread{}, err
	}
	_, all, err := b.tally.secretsOf(crowded)
	if err != nil {
		return spread{}, err
	}
	var late []time.Duration
	for _, write := range all {
		if hung := "crowd-0-"; len(write.name) > len(hung) && write.name[:len(hung)] == hung {
			continue
		}
		if due, known := seen.before(write.name, write.at); known {
			late = append(late, write.at.Sub(due))
		}
	}
	if len(late) == 0 {
		return spread{}, errors.New("no Secret was renewed")
	}
	return spreadOf(late), nil
}
