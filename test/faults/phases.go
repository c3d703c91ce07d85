package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/oauth-operator/oauth-operator/test/faults/records"
)

// phase is one sort of fault, played for some rounds over all accounts.
type phase struct {
	name string
	loss records.Loss
	play func(*run, context.Context, phase) error
	// rounds is how often the fault falls, length how long it lasts where it lasts.
	rounds int
	length time.Duration
	// podGone: the journal goes with the process.
	podGone bool
	// leader: the processes elect a leader, with the lease that the operator has by itself.
	leader bool
	// slow: somebody takes over only after more time than a short grace has.
	slow bool
	// calm: in the end, each account must rotate once more.
	calm bool
	// together: pages and operator are one process.
	together bool
	// quick: whoever an attempt of came to nothing consents again in the end, all of them.
	quick bool
}

const (
	// settleTime is how long an account has to be usable again, or to say that it is not. A takeover takes the longest.
	settleTime = 150 * time.Second
	// takeoverWait is the shortest that the operator allows.
	takeoverWait = 15 * time.Second
)

// phase plays one phase.
func (r *run) phase(ctx context.Context, p phase) error {
	began := time.Now()
	if err := r.configure(ctx, p); err != nil {
		return err
	}
	if err := r.populate(ctx); err != nil {
		return err
	}
	r.faults.Write(records.Fault{Time: time.Now().UTC(), Kind: records.PhaseBegins, Phase: p.name, Loss: p.loss})
	if err := r.suspendShort(ctx, p.slow); err != nil {
		return err
	}
	if err := p.play(r, ctx, p); err != nil {
		return err
	}
	if err := r.suspendShort(ctx, false); err != nil {
		return err
	}
	if r.consents() {
		if err := r.consentAgain(ctx, p); err != nil {
			return err
		}
	}
	lost := 0
	if p.calm {
		lost = r.calm(ctx)
	}
	r.logf("phase %s took %s, %d accounts lost", p.name, time.Since(began).Round(time.Second), lost)
	return ctx.Err()
}

// configure has the first replica run as the phase wants it, and the second only where there is a leader.
func (r *run) configure(ctx context.Context, p phase) error {
	flags := flagsOf(ctx, r.binary, "--takeover-wait="+takeoverWait.String(), "--max-concurrent-reconciles=128",
		fmt.Sprintf("--leader-elect=%t", p.leader))
	if r.first.runs(flags) && r.together == p.together {
		return nil
	}
	for _, each := range r.replicas() {
		if err := each.terminate(); err != nil {
			return err
		}
	}
	r.together, r.first.launch = p.together, r.first.controllers(p.together)
	if err := r.first.start(ctx, flags...); err != nil {
		return err
	}
	if r.pages != nil && !p.together {
		if err := r.pages.start(ctx); err != nil {
			return err
		}
	}
	if !p.leader {
		return nil
	}
	// The first is to be the leader.
	if !await(ctx, settleTime, func() bool { return r.first.ready(ctx) }) {
		return fmt.Errorf("the operator is not ready: %s", r.first.lastLines())
	}
	return r.second.start(ctx, flags...)
}

// populate fills the gaps that losses have made, and waits until all accounts rotate.
func (r *run) populate(ctx context.Context) error {
	there := map[string]int{}
	for _, each := range r.director.see() {
		there[each.Provider]++
	}
	for _, each := range r.kinds {
		for range r.fleet[each.name] - there[each.name] {
			if err := r.accounts.create(ctx, each); err != nil {
				return err
			}
		}
	}
	if r.consents() {
		return r.linked(ctx, func(each *actor) bool { return each.sealed == "" })
	}
	var missing string
	if !await(ctx, settleTime, func() bool {
		missing = ""
		for _, each := range r.director.see() {
			if each.kept.IsZero() {
				missing = each.Name
			}
		}
		return missing == ""
	}) {
		return fmt.Errorf("the account %s has no token", missing)
	}
	return nil
}

// suspendShort keeps accounts with a short grace away from faults that last longer than it.
func (r *run) suspendShort(ctx context.Context, suspend bool) error {
	if r.suspended == suspend {
		return nil
	}
	r.suspended = suspend
	for _, each := range r.director.see() {
		if each.GraceSeconds > 0 && each.GraceSeconds < 20 {
			if err := r.accounts.suspend(ctx, each.Name, suspend); err != nil {
				return err
			}
		}
	}
	if suspend {
		// What is open is finished first.
		pause(ctx, time.Second)
	}
	return nil
}

// calm ends all faults, and waits until each account has rotated once more, or says that a person is needed. Those that do
// leave the stage. It returns how many they are.
func (r *run) calm(ctx context.Context) int {
	r.director.play(nil)
	r.director.refuse(false, false)
	begin := time.Now()
	for _, each := range r.director.see() {
		r.faults.Write(records.Fault{Time: begin.UTC(), Kind: records.Calm, Account: each.Name})
	}
	var waiting []string
	patience := cmp.Or(r.patience, settleTime)
	settled := await(ctx, patience, func() bool {
		waiting = waiting[:0]
		for _, each := range r.director.see() {
			invited := each.sealed == "" && each.link != "" // there is nothing yet that could rotate
			if !each.lost() && !invited && (each.granted.Before(begin) || each.kept.Before(each.granted)) {
				waiting = append(waiting, each.Name+" ("+each.Provider+")")
			}
		}
		return len(waiting) == 0
	})
	if !settled {
		r.logf("not settled after %s: %v", patience, waiting)
	}
	lost := 0
	for _, each := range r.director.see() {
		if each.lost() || slices.Contains(waiting, each.Name+" ("+each.Provider+")") {
			r.director.remove(each.Name)
			lost++
		}
	}
	return lost
}

// fullPhases are those of a full run.
func fullPhases() []phase {
	return []phase{
		{name: "kill", loss: records.LossByKill, play: (*run).kills, rounds: 20, calm: true},
		{name: "replies", loss: records.LossByReply, play: (*run).replies, length: 25 * time.Second, calm: true},
		{name: "outage", loss: records.LossByOutage, play: (*run).outage, rounds: 2, length: 6 * time.Second, calm: true},
		{name: "outage-kill", loss: records.LossByKill, play: (*run).outageKill, rounds: 4, length: 5 * time.Second, calm: true},
		{name: "edit", loss: records.LossByKill, play: (*run).edit, rounds: 2, calm: true},
		{name: "kill-pod", loss: records.LossByKill, play: (*run).kills, rounds: 4, podGone: true, calm: true},
		{name: "sigterm", loss: records.LossBySIGTERM, play: (*run).terminations, rounds: 5, calm: true},
		{name: "rolling", loss: records.LossBySIGTERM, play: (*run).terminations, rounds: 4, leader: true, calm: true},
		{name: "long-outage", loss: records.LossByOutage, play: (*run).outage, rounds: 1, length: time.Minute, leader: true, calm: true},
		{name: "lease", loss: records.LossByOutage, play: (*run).lease, rounds: 2, length: 20 * time.Second, leader: true, calm: true},
		{name: "failover", loss: records.LossByKill, play: (*run).kills, rounds: 2, leader: true, slow: true, podGone: true, calm: true},
		{name: "sleep", loss: records.LossByKill, play: (*run).sleep, rounds: 2, leader: true, slow: true, calm: true},
	}
}

// fullFleet is how many accounts of each kind a full run has.
func fullFleet() map[string]int {
	return map[string]int{
		"strict": 8, "family": 5, "user": 3, "reusable": 3,
		"same-10s": 4, "several-10s": 4, "last-10s": 4, "same-30s": 4, "several-30s": 4, "last-30s": 4,
	}
}

// codePhases are those of a full run in which people consent. Nothing of them is done twice in the end: an old grant rests for
// two minutes after a code in doubt.
func codePhases() []phase {
	return []phase{
		{name: "code-kill", loss: records.LossByKill, play: (*run).codeKills, rounds: 9},
		{name: "code-sigterm", loss: records.LossBySIGTERM, play: (*run).codeTerminations, rounds: 3},
		{name: "code-outage", loss: records.LossByOutage, play: (*run).codeOutage, rounds: 2, length: time.Minute},
		{name: "code-replies", loss: records.LossByReply, play: (*run).codeReplies, rounds: 2},
		{name: "code-kill-pod", loss: records.LossByKill, play: (*run).codeKills, rounds: 2, podGone: true},
		{name: "code-kill-together", loss: records.LossByKill, play: (*run).codeKills, rounds: 4, together: true},
		{name: "code-sleep", loss: records.LossByKill, play: (*run).codeSleep, rounds: 1, leader: true, calm: true},
	}
}

// codeFleet is how many accounts wait for a person when a run begins.
func codeFleet() map[string]int {
	return map[string]int{"strict": 3, "family": 3, "user": 3, "last-30s": 2}
}

// quickCodeFleet is that of a small run.
func quickCodeFleet() map[string]int {
	return map[string]int{"strict": 2, "family": 1, "user": 1, "last-30s": 1}
}

// quickCodePhases are those of a smoke test.
func quickCodePhases() []phase {
	return []phase{{name: "code-kill", loss: records.LossByKill, play: (*run).codeKills, rounds: 2, quick: true, calm: true}}
}

// quickPhases are those of a smoke test.
func quickPhases() []phase {
	return []phase{
		{name: "outage-kill", loss: records.LossByKill, play: (*run).outageKill, rounds: 1, length: 2 * time.Second},
		{name: "kill", loss: records.LossByKill, play: (*run).kills, rounds: 1, calm: true},
	}
}

func quickFleet() map[string]int {
	return map[string]int{"strict": 4, "family": 2, "same-10s": 2, "last-10s": 2, "several-30s": 2, "reusable": 1}
}
