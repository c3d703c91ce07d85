package main

import (
	"context"
	"time"

	"github.com/oauth-operator/oauth-operator/test/faults/records"
)

const (
	// heldTime is how long is waited until enough requests are held, recoverTime how long until those that a fault met have
	// kept something again.
	heldTime    = 9 * time.Second
	recoverTime = 100 * time.Second
)

// awaitHeld lets the accounts go until a share of them is held, and then for as long as the dice say.
func (r *run) awaitHeld(ctx context.Context, share int) {
	await(ctx, heldTime, func() bool {
		alive := 0
		for _, each := range r.director.see() {
			if !each.lost() {
				alive++
			}
		}
		return len(r.director.holdingNow())*share >= alive
	})
	pause(ctx, r.director.number(400*time.Millisecond))
}

// recovered waits until those that a fault met have kept something, or say that they are lost.
func (r *run) recovered(ctx context.Context, met []string, since time.Time) {
	among := map[string]bool{}
	for _, each := range met {
		among[each] = true
	}
	var waiting []string
	if !await(ctx, recoverTime, func() bool {
		waiting = nil
		for _, each := range r.director.see() {
			if among[each.Name] && each.kept.Before(since) && !each.lost() {
				waiting = append(waiting, each.Name+" ("+each.Provider+")")
			}
		}
		return len(waiting) == 0
	}) {
		r.logf("not recovered after %s: %v", recoverTime, waiting)
	}
}

// kills sends SIGKILL to the process again and again, each time when many rotations are open.
func (r *run) kills(ctx context.Context, p phase) error {
	r.director.play(&script{phase: p.name, points: held()})
	for round := range p.rounds {
		r.awaitHeld(ctx, 4)
		began, victim := time.Now(), r.leader()
		met, err := r.strike(ctx, victim, p.podGone)
		if err != nil {
			return err
		}
		if err := victim.again(ctx); err != nil {
			return err
		}
		if round+1 < p.rounds || !p.calm {
			r.recovered(ctx, met, began) // the calm waits for the same
		}
		r.logf("%s: kill %d of %d met %d accounts, which took %s", p.name, round+1, p.rounds, len(met), time.Since(began).Round(100*time.Millisecond))
	}
	return nil
}

// leader is the replica that made the newest claim.
func (r *run) leader() *replica {
	if r.director.claimant() == r.second.name {
		return r.second
	}
	return r.first
}

// strike kills a process at a moment that the dice choose: as it stands; right after replies came that it could not read, or
// just could; or while its results are being kept. It returns whom it met.
func (r *run) strike(ctx context.Context, victim *replica, podGone bool) ([]string, error) {
	const ways = 5
	switch way := r.director.number(ways); way {
	case 0, 1:
		// Stopped first, so that the replies are delivered and nobody reads them.
		if err := victim.stop(ctx); err != nil {
			return nil, err
		}
		r.release(classToken, 0)
		pause(ctx, 8*time.Millisecond)
	case 2:
		r.release(classToken, 3*time.Millisecond)
		pause(ctx, r.director.number(5*time.Millisecond))
	case 3:
		r.release(classKeep, 3*time.Millisecond)
		pause(ctx, r.director.number(15*time.Millisecond))
	default:
	}
	if err := victim.kill(podGone); err != nil {
		return nil, err
	}
	return names(r.director.hit()), nil
}

// release lets go the requests of a class that are held, each after a time below the bound.
func (r *run) release(class string, bound time.Duration) {
	for _, each := range r.director.holdingNow() {
		if each.point.class != class {
			continue
		}
		after := time.Duration(0)
		if bound > 0 {
			after = r.director.number(bound)
		}
		each.Release(after)
	}
}

func names(actors []*actor) []string {
	all := make([]string, len(actors))
	for i, each := range actors {
		all[i] = each.Name
	}
	return all
}

// all are the names of all accounts on the stage.
func (r *run) all() []string {
	var names []string
	for _, each := range r.director.see() {
		names = append(names, each.Name)
	}
	return names
}

// terminations sends SIGTERM while rotations are open. A pod that ends this way takes its journal along.
func (r *run) terminations(ctx context.Context, p phase) error {
	r.director.play(&script{phase: p.name, points: held()})
	for range p.rounds {
		r.awaitHeld(ctx, 4)
		victim := r.leader()
		if err := victim.terminate(); err != nil {
			return err
		}
		if err := victim.again(ctx); err != nil {
			return err
		}
		await(ctx, heldTime, func() bool { return victim.ready(ctx) })
	}
	return nil
}

// outage has the API server refuse all writes for a while, from when rotations are open.
func (r *run) outage(ctx context.Context, p phase) error {
	r.director.play(&script{phase: p.name, points: only(held(), classClaim, classToken, classKeep)})
	for range p.rounds {
		r.awaitHeld(ctx, 5)
		r.refuseWrites(true)
		pause(ctx, p.length)
		r.refuseWrites(false)
		pause(ctx, time.Second)
	}
	return nil
}

// outageKill kills a process, whose pod stays, within an outage.
func (r *run) outageKill(ctx context.Context, p phase) error {
	r.director.play(&script{phase: p.name, points: only(held(), classToken, classKeep)})
	for range p.rounds {
		r.awaitHeld(ctx, 5)
		began := time.Now()
		r.refuseWrites(true)
		// Replies that are delivered now cannot be kept: they are in the journal when the process is killed.
		r.release(classToken, 0)
		pause(ctx, 100*time.Millisecond+r.director.number(p.length/2))
		if err := r.first.kill(false); err != nil {
			return err
		}
		met := names(r.director.hit())
		if err := r.first.again(ctx); err != nil {
			return err
		}
		pause(ctx, p.length/2)
		r.refuseWrites(false)
		r.recovered(ctx, met, began)
	}
	return nil
}

func (r *run) refuseWrites(refuse bool) {
	as := records.WritesTaken
	if refuse {
		as = records.WritesRefused
	}
	r.faults.Write(records.Fault{Time: time.Now().UTC(), Kind: as})
	r.director.refuse(refuse, false)
}

// lease takes the lease away while token requests are open.
func (r *run) lease(ctx context.Context, p phase) error {
	for range p.rounds {
		// The lease is lost ten seconds after it could last be renewed. No provider with a grace has a request open for so
		// long.
		r.faults.Write(records.Fault{Time: time.Now().UTC(), Kind: records.LeaseRefused})
		r.director.refuse(false, true)
		pause(ctx, 6*time.Second)
		r.director.play(&script{phase: p.name, points: only(held(), classToken, classKeep), limit: 8 * time.Second, among: func(k *kind) bool {
			return k.reuse.Grace == 0
		}})
		pause(ctx, p.length-6*time.Second)
		r.faults.Write(records.Fault{Time: time.Now().UTC(), Kind: records.LeaseTaken})
		r.director.refuse(false, false)
		r.director.play(nil)
		if !await(ctx, settleTime, func() bool { return r.first.ready(ctx) && r.second.ready(ctx) }) {
			r.logf("the replicas are not ready after the lease was lost")
		}
	}
	return nil
}

// sleep stops the leader with rotations open until another has taken over, and wakes it up.
func (r *run) sleep(ctx context.Context, p phase) error {
	for range p.rounds {
		r.director.play(&script{phase: p.name, points: only(held(), classClaim, classToken, classKeep)})
		r.awaitHeld(ctx, 5)
		began := time.Now()
		leader := r.leader()
		if err := leader.stop(ctx); err != nil {
			return err
		}
		// What is on its way arrives, and lies there unread.
		met := names(r.director.letGo())
		r.recovered(ctx, met, began)
		r.logf("%s: another took %d accounts over in %s", p.name, len(met), time.Since(began).Round(time.Second))
		if err := leader.resume(); err != nil {
			return err
		}
		r.director.play(nil)
		// It loses its lease, ends what is open, and is started again.
		pause(ctx, 10*time.Second)
	}
	return nil
}

// edit has the clients name another host while token requests are open. What they bring belongs to the host that gave it.
func (r *run) edit(ctx context.Context, p phase) error {
	for range p.rounds {
		r.director.play(&script{phase: p.name, points: only(held(), classClaim, classToken, classKeep)})
		r.awaitHeld(ctx, 5)
		for _, each := range r.kinds {
			if err := r.accounts.move(ctx, each, r.elsewhere.URL); err != nil {
				return err
			}
		}
		r.faults.Write(records.Fault{Time: time.Now().UTC(), Kind: records.ClientsMoved})
		pause(ctx, lifetime)
		for _, each := range r.kinds {
			if err := r.accounts.move(ctx, each, r.provider.URL); err != nil {
				return err
			}
		}
		r.recovered(ctx, r.all(), time.Now())
	}
	return nil
}

// replies loses requests and replies one by one, those of token requests last: at the strictest providers they end accounts.
func (r *run) replies(ctx context.Context, p phase) error {
	r.director.play(&script{phase: p.name, points: only(lostReplies(), classClaim, classKeep, classSecret, classStatus)})
	pause(ctx, p.length)
	r.director.play(&script{phase: p.name, points: only(lostReplies(), classToken)})
	pause(ctx, p.length/2)
	return nil
}
