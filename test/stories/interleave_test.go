package stories_test

import (
	"fmt"
	"testing"
)

// TestTwoReplicasThatBothBelieveToLead has two replicas work on one refresh that is due. R1 stands still at one of its
// points, R2 works up to one of its own, R1 goes on to its end, and then R2. Each point of either is tried with each of
// the other. Once with no time in between, and once with R1 asleep for as long as R2 has to wait.
func TestTwoReplicasThatBothBelieveToLead(t *testing.T) {
	needsControlPlane(t)
	for _, of := range kinds() {
		for _, asleep := range []bool{false, true} {
			name := of.name + "/at once"
			if asleep {
				name = of.name + "/one asleep"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for i, more := 1, true; more; i++ {
					for j := 1; more; j++ {
						var first, second bool
						t.Run(fmt.Sprintf("R1 at %d, R2 at %d", i, j), func(t *testing.T) { first, second = interleave(t, of, asleep, i, j) })
						more = first
						if !second {
							break
						}
					}
				}
			})
		}
	}
}

// interleave reports whether R1 has a point i, and whether R2 then has a point j.
func interleave(t *testing.T, of kind, asleep bool, i, j int) (first, second bool) {
	t.Helper()
	w := newWorld(t, of)
	one, two := w.newPod("R1"), w.newPod("R2")
	w.ready(one)
	one.beginLap()
	for range i {
		if one.step(verdict{}).phase == ended {
			return false, false
		}
	}
	if asleep && one.at.phase == sent {
		one.step(verdict{}) // a request that is decided only after all waits is one that nothing helps against
	}
	w.say("R1 stands still")
	second = w.goOn(two, j, asleep)
	w.say("R1 goes on")
	for one.busy {
		one.step(verdict{})
	}
	for two.busy {
		two.step(verdict{})
	}
	w.untilQuiet(one, two)
	w.finale(one, two)
	return true, second
}

// goOn has a replica work up to its n-th point, and with patience, time pass while it waits. It reports false where it has
// nothing more to do before.
func (w *world) goOn(r *replica, n int, patient bool) bool {
	w.t.Helper()
	laps := 0
	for points := 0; ; {
		if !r.busy {
			if laps++; laps > 1 && !patient || laps > restLimit {
				return false
			}
			r.beginLap()
		}
		p := r.step(verdict{})
		if p.phase != ended {
			if points++; points == n {
				return true
			}
			continue
		}
		if w.read().Status.Claim.ID == "" || p.result.RequeueAfter == 0 {
			return false
		}
		if patient {
			w.clock.move(p.result.RequeueAfter)
		}
	}
}
