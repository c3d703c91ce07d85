package stories_test

import (
	"fmt"
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

// sequel is who goes on after the kill.
type sequel struct {
	name string
	goOn func(killed *replica) *replica
}

func sequels() []sequel {
	return []sequel{
		{"same pod", func(killed *replica) *replica { return killed.again() }},
		{"other pod", func(killed *replica) *replica { return killed.replaced("R2") }},
	}
}

func TestAKillAfterEveryEffect(t *testing.T) {
	needsControlPlane(t)
	for _, of := range kinds() {
		for _, p := range plots() {
			if p.claims && of.reusable() {
				continue
			}
			t.Run(of.name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, of)
				r := p.begin(w)
				w.arm("R1", 1<<20)
				w.untilQuiet(r)
				count := w.crash.count
				w.finale(r)
				if count == 0 {
					t.Fatal("R1 did nothing")
				}
				for n := 1; n <= count; n++ {
					for _, s := range sequels() {
						t.Run(fmt.Sprintf("effect %d, %s", n, s.name), func(t *testing.T) {
							t.Parallel()
							w := newWorld(t, of)
							r := p.begin(w)
							w.arm("R1", n)
							if w.untilQuiet(r) {
								t.Fatalf("R1 did not get to its effect %d", n)
							}
							r = s.goOn(r)
							w.untilQuiet(r)
							w.finale(r)
						})
					}
				}
			})
		}
	}
}
