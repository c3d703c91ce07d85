package stories_test

import (
	"fmt"
	"testing"
)

// stride is how many points are left out between two that are tried, where not all is asked for.
const stride = 4

// TestTwoReplicasThatBothBelieveToLead has two replicas work on one refresh that is due. R1 stands still at one of its
// points, R2 works up to one of its own, R1 goes on to its end, and then R2. Each point of either is tried with each of
// the other. Once with no time in between, and once with R1 asleep for as long as R2 has to wait.
func TestTwoReplicasThatBothBelieveToLead(t *testing.T) {
	t.Parallel()
	needsControlPlane(t)
	tried := kinds()
	if !*long {
		tried = []kind{kindNamed("revoke-family"), kindNamed("grace-only-last")}
		t.Logf("%d of %d kinds of provider, and every %d-th point of R2; -args -long plays all", len(tried), len(kinds()), stride)
	}
	for k, of := range tried {
		t.Run(of.name+"/at once", func(t *testing.T) {
			t.Parallel()
			eachPair(t, of, false, k)
		})
		t.Run(of.name+"/one asleep", func(t *testing.T) {
			t.Parallel()
			eachPair(t, of, true, k+1)
		})
	}
}

// eachPair tries the points of R1 with those of R2.
func eachPair(t *testing.T, of kind, asleep bool, offset int) {
	t.Helper()
	stride := stride
	if *long {
		stride = 1
	}
	first, second := true, true
	for i := 1; first; i++ {
		for j := 1 + (i+offset)%stride; first; j += stride {
			t.Run(fmt.Sprintf("R1 at %d, R2 at %d", i, j), func(t *testing.T) { first, second = interleave(t, of, asleep, i, j) })
			if !second {
				break
			}
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
	w.sayf("R1 stands still")
	second = w.goOn(two, j, asleep)
	w.sayf("R1 goes on")
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
	for points, laps := 0, 0; ; {
		if !r.busy {
			laps++
			if laps > 1 && !patient || laps > restLimit {
				return false
			}
			r.beginLap()
		}
		p := r.step(verdict{})
		if p.phase != ended {
			points++
			if points == n {
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
