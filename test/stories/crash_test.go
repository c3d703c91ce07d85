package stories_test

import (
	"fmt"
	"slices"
	"testing"
)

// plot is a story in which the replica R1 is killed after each of its effects in turn.
type plot struct {
	name string
	// begin returns the replica R1, before its first effect that counts.
	begin func(w *world) *replica
	// claims: the plot needs a claim, which refresh tokens that can be used again do without.
	claims bool
}

func plots() []plot {
	return []plot{
		{"rotation", func(w *world) *replica {
			r := w.newPod("R1")
			w.ready(r)
			return r
		}, false},
		{"a refresh that is asked for", func(w *world) *replica {
			r := w.newPod("R1")
			w.untilQuiet(r)
			w.asksAnew()
			return r
		}, false},
		{"import", func(w *world) *replica { return w.newPod("R1") }, false},
		{"in doubt", func(w *world) *replica {
			r := w.newPod("R1")
			w.ready(r)
			w.loseAnswer()
			return r
		}, false},
		{"takeover of a claim that was not sent", func(w *world) *replica { return w.takeover(standing(after, "claims")) }, true},
		{"takeover of a request that was sent", func(w *world) *replica {
			return w.takeover(func(p point) bool { return p.phase == committed })
		}, true},
	}
}

// takeover has a replica R0 die for good where it stands so, and returns another that finds its claim.
func (w *world) takeover(dies func(p point) bool) *replica {
	w.t.Helper()
	r := w.newPod("R0")
	w.ready(r)
	w.killAt("R0", dies)
	w.untilQuiet(r)
	return r.replaced("R1")
}

// sequel is how R1 dies, and who goes on.
type sequel struct {
	name string
	// late: R1 is killed right before an effect, the write of which arrives when somebody else is at work.
	late bool
	goOn func(killed *replica) *replica
}

func sequels() []sequel {
	same := func(killed *replica) *replica { return killed.again() }
	other := func(killed *replica) *replica { return killed.replaced("R2") }
	both := func(killed *replica) *replica {
		w := killed.world
		second := w.newPod("R2")
		w.untilQuiet(second)
		if !needsPerson(w.read()) {
			w.untilDue()
			w.untilQuiet(second)
		}
		return killed.again()
	}
	return []sequel{
		{"same pod", false, same},
		{"other pod", false, other},
		{"same pod, when another has gone on", false, both},
		{"same pod, late write", true, same},
		{"other pod, late write", true, other},
	}
}

// TestAKillAfterEveryEffect kills R1 after its first effect, its second, and so on, for each kind of provider, in each
// plot, with each sequel. Where not all is asked for, the kinds take turns: each effect is met in each plot, but with one
// kind of provider only. So do the sequels, but in a rotation.
func TestAKillAfterEveryEffect(t *testing.T) {
	t.Parallel()
	needsControlPlane(t)
	turns := len(kinds())
	if !*long {
		t.Logf("for each effect one of %d kinds of provider, and two of %d sequels, taking turns, but for a rotation; -args -long plays all", turns, len(sequels()))
		turns = 1
	}
	for turn := range turns {
		for i, p := range plots() {
			if i > 0 && !*long {
				killAfterEach(t, "taking turns", p, sequels()[:2], 3*i)
				continue
			}
			for j, s := range sequels() {
				killAfterEach(t, fmt.Sprintf("%s, %d", s.name, turn), p, []sequel{s}, turn+3*i+2*j)
			}
		}
	}
}

// killAfterEach kills R1 after each of its effects, with another kind of provider and the next sequel each time.
func killAfterEach(t *testing.T, name string, p plot, sequels []sequel, turn int) {
	t.Helper()
	t.Run(p.name+"/"+name, func(t *testing.T) {
		t.Parallel()
		tried := kinds()
		if p.claims {
			tried = slices.DeleteFunc(tried, kind.reusable)
		}
		for n, more := 1, true; more; n++ {
			of, s := tried[(turn+n)%len(tried)], sequels[n%len(sequels)]
			t.Run(fmt.Sprintf("effect %d, %s, %s", n, of.name, s.name), func(t *testing.T) { more = killAfter(t, newWorld(t, of), p, s, n) })
		}
	})
}

// killAfter kills R1 at its n-th effect. It reports false where R1 has fewer, and the story has then been played without.
func killAfter(t *testing.T, w *world, p plot, s sequel, n int) bool {
	t.Helper()
	r := p.begin(w)
	w.arm("R1", n, s.late)
	alive, count := w.untilQuiet(r), w.crash.count
	w.arm("", 0, false)
	if alive {
		w.finale(r)
		return count >= n // that effect is no write, which could arrive late
	}
	killed := r
	r = s.goOn(killed)
	if s.late {
		killed.pending.arrives()
	}
	w.untilQuiet(r)
	w.finale(r)
	return true
}
