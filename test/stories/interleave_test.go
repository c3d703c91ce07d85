package stories_test

import (
	"fmt"
	"slices"
	"testing"
)

// stride is how many points are left out between two that are tried, where not all is asked for.
const stride = 5

// TestTwoReplicasThatBothBelieveToLead has two replicas work on one refresh that is due. R1 stands still at one of its
// points, R2 works up to one of its own, R1 goes on to its end, and then R2. Each point of either is tried with each of
// the other, in each mode.
func TestTwoReplicasThatBothBelieveToLead(t *testing.T) {
	t.Parallel()
	needsControlPlane(t)
	if !*long {
		t.Logf("a few of %d kinds of provider, and every %d-th point of R2; -args -long plays all", len(kinds()), stride)
	}
	for k, of := range kinds() {
		for _, m := range modes() {
			if !*long && !slices.Contains(m.usual, of.name) {
				continue
			}
			t.Run(of.name+"/"+m.name, func(t *testing.T) {
				t.Parallel()
				eachPairOf(t, m, k, func(t *testing.T) (*world, *replica, *replica) {
					t.Helper()
					w := newWorld(t, of)
					one, two := w.newPod("R1"), w.newPod("R2")
					w.ready(one)
					return w, one, two
				})
			})
		}
	}
}

// mode is what happens beside the two changes from one replica to the other.
type mode struct {
	name string
	// asleep: R1 sleeps for as long as R2 has to wait. dies: R2 is killed when R1 is at its end, and its pod never comes back.
	asleep, dies bool
	// usual are the kinds of provider that are tried where not all is asked for.
	usual []string
}

func modes() []mode {
	return []mode{
		{"at once", false, false, []string{"revoke-family"}},
		{"one asleep", true, false, []string{"strict", "revoke-family"}},
		{"one asleep, the other dies", true, true, []string{"grace-only-last"}},
	}
}

// eachPairOf tries the points of R1 with those of R2, from a beginning with both.
func eachPairOf(t *testing.T, m mode, offset int, begin func(t *testing.T) (*world, *replica, *replica)) {
	t.Helper()
	stride := stride
	if *long {
		stride = 1
	}
	first, second := true, true
	for i := 1; first; i++ {
		for j := 1 + (i+offset)%stride; first; j += stride {
			t.Run(fmt.Sprintf("R1 at %d, R2 at %d", i, j), func(t *testing.T) { first, second = interleave(t, begin, m, i, j) })
			if !second {
				break
			}
		}
	}
}

// interleave reports whether R1 has a point i, and whether R2 then has a point j.
func interleave(t *testing.T, begin func(t *testing.T) (*world, *replica, *replica), m mode, i, j int) (first, second bool) {
	t.Helper()
	w, one, two := begin(t)
	one.beginLap()
	for range i {
		if one.step(verdict{}).phase == ended {
			return false, false
		}
	}
	if m.asleep && one.at.phase == sent {
		one.step(verdict{}) // a request that is decided only after all waits is one that nothing helps against
	}
	w.sayf("R1 stands still")
	second = w.goOn(two, j, m.asleep)
	w.sayf("R1 goes on")
	for one.busy {
		one.step(verdict{})
	}
	if m.dies && two.busy {
		w.faults++ // the sleep, which took of the grace as well
		two.kill()
		two = two.replaced("R3")
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
func (w *world) goOn(r *replica, n int, patient bool) bool { //nolint:gocognit // one step after the other
	w.t.Helper()
	for points, laps, made := 0, 0, 0; ; {
		if !r.busy {
			laps++
			if laps > 1 && !patient || laps > restLimit {
				return false
			}
			made = len(w.effects)
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
		if len(w.effects) > made {
			continue
		}
		if account := w.read(); account.Status.Claim.ID == "" && !codeOpen(account) || p.result.RequeueAfter == 0 {
			return false
		}
		if patient {
			w.clock.move(p.result.RequeueAfter)
		}
	}
}
