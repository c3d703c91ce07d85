package stories_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// invited is a world with a link, and a code on its way.
func invited(t *testing.T, of kind) (*world, *replica) {
	t.Helper()
	w := newCodeWorld(t, of)
	r := w.newPod("R1")
	w.untilQuiet(r)
	return w, r
}

// connected has somebody consent, and lets time pass until the token is to be refreshed.
func (w *world) connected(r *replica) {
	w.t.Helper()
	w.untilQuiet(r)
	w.handsOver()
	w.ready(r)
}

// codeKinds are kinds of provider that differ in what becomes of an old grant beside a new one.
func codeKinds() []kind {
	if *long {
		return kinds()
	}
	return []kind{kindNamed("strict"), kindNamed("revoke-user"), kindNamed("grace-only-last"), kindNamed("reusable-renewed")}
}

func TestACodeIsClaimedSentAndKept(t *testing.T) {
	t.Parallel()
	w, r := invited(t, kindNamed("revoke-family"))
	w.forget()
	w.handsOver()
	w.untilQuiet(r)
	w.requests(0, 1)
	w.golden("code")
	w.finale(r)
}

// codePlots are the stories of a code in which R1 is killed after each effect.
func codePlots() []plot {
	first := func(w *world) *replica {
		r := w.newPod("R1")
		w.untilQuiet(r)
		w.handsOver()
		return r
	}
	again := func(w *world) *replica {
		r := w.newPod("R1")
		w.connected(r)
		w.handsOver()
		return r
	}
	return []plot{
		{"a code from nothing", first, false},
		{"a code while a refresh is due", again, false},
		{"a code whose answer is lost", func(w *world) *replica { r := first(w); w.loseAnswer(); return r }, false},
		{"a code instead of a grant, whose answer is lost", func(w *world) *replica { r := again(w); w.loseAnswer(); return r }, false},
		{"a code whose claim is left", func(w *world) *replica {
			r := w.newPod("R0")
			w.connected(r)
			w.handsOver()
			w.killAt("R0", standing(after, "claims the code"))
			w.untilQuiet(r)
			return r.replaced("R1")
		}, false},
	}
}

// all: each story with each sequel and each kind of provider, which takes minutes. Otherwise they take turns.
func all() bool { return os.Getenv("STORIES") == "all" }

// TestAKillAfterEveryEffectOfACode kills R1 after its first effect, its second, and so on.
func TestAKillAfterEveryEffectOfACode(t *testing.T) {
	t.Parallel()
	needsControlPlane(t)
	for i, p := range codePlots() {
		for j, s := range sequels() {
			if !all() && (i+j)%3 > 0 {
				continue
			}
			t.Run(p.name+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				tried := codeKinds()
				for n, more := 1, true; more; n++ {
					of := tried[(i+j+n)%len(tried)]
					t.Run(fmt.Sprintf("effect %d, %s", n, of.name), func(t *testing.T) {
						more = killAfter(t, newCodeWorld(t, of), p, s, n)
					})
				}
			})
		}
	}
}

// openings are where the refresh of the old grant stands when the code is handed over.
func openings() map[string]func(p point) bool {
	return map[string]func(p point) bool{
		"before the claim": standing(before, "claims"),
		"claimed":          standing(after, "claims"),
		"sent":             func(p point) bool { return p.phase == sent },
		"replied":          func(p point) bool { return p.phase == committed },
		"journalled":       standing(before, "keeps"),
		"kept":             standing(after, "keeps"),
	}
}

// TestACodeWhileTheOldGrantRotates hands a code over while the refresh of the old grant stands at each of its steps. Its
// replica goes on, or is killed there, and starts again in the same pod or in another.
func TestACodeWhileTheOldGrantRotates(t *testing.T) {
	t.Parallel()
	for name, stop := range openings() {
		for i, fate := range []string{"goes on", "same pod", "other pod", "same pod, killed twice"} {
			for j, of := range codeKinds() {
				if !all() && j != (i+len(name))%len(codeKinds()) {
					continue
				}
				t.Run(name+"/"+fate+"/"+of.name, func(t *testing.T) {
					t.Parallel()
					if of.reusable() && (name == "claimed" || name == "before the claim") {
						t.Skip("what can be used again is not claimed")
					}
					codeAt(t, of, stop, fate)
				})
			}
		}
	}
}

func codeAt(t *testing.T, of kind, stop func(p point) bool, fate string) {
	t.Helper()
	w := newCodeWorld(t, of)
	r := w.newPod("R1")
	w.connected(r)
	w.patient(r, stop)
	w.handsOver()
	switch fate {
	case "goes on":
		r.finish()
	case "other pod":
		r.kill()
		r = r.replaced("R2")
	default:
		r.kill()
		r = r.again()
	}
	if fate == "same pod, killed twice" {
		w.killAt("R1", standing(before, "keeps"))
		if !w.untilQuiet(r) {
			r = r.again()
		}
	}
	w.untilQuiet(r)
	if last := w.read().Status.Authorization.LastOutcome; last.Result != v1alpha1.AuthorizationConnected {
		t.Errorf("the code ends as %s: %s", last.Result, last.Reason)
	}
	w.finale(r)
}

// TestTwoReplicasWithOneCode has R1 stand still at each of its points while a code is exchanged, and R2 work on, for as long
// as it takes it to give the code up; then R1 goes on.
func TestTwoReplicasWithOneCode(t *testing.T) {
	t.Parallel()
	needsControlPlane(t)
	for i, m := range []mode{{name: "at once"}, {name: "one asleep", asleep: true}, {name: "one asleep, the other dies", asleep: true, dies: true}} {
		for k, of := range codeKinds() {
			for _, first := range []bool{true, false} {
				if !all() && (k != i || first != (i > 0)) {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/from nothing %t", m.name, of.name, first), func(t *testing.T) {
					t.Parallel()
					eachPairOf(t, m, k, func(t *testing.T) (*world, *replica, *replica) {
						t.Helper()
						w := newCodeWorld(t, of)
						one, two := w.newPod("R1"), w.newPod("R2")
						if !first {
							w.connected(one)
						}
						w.untilQuiet(one, two)
						w.handsOver()
						return w, one, two
					})
				})
			}
		}
	}
}

// TestAStoppedHolderOfACodeIsNotRelieved stops R1 right after its claim: R2 gives the code up, and does not send it.
func TestAStoppedHolderOfACodeIsNotRelieved(t *testing.T) {
	t.Parallel()
	w, one := invited(t, kindNamed("revoke-family"))
	two := w.newPod("R2")
	w.forget()
	w.handsOver()
	w.patient(one, standing(after, "claims the code"))
	w.sayf("R1 stands still")
	w.untilQuiet(two)
	w.requests(0, 0)
	if last := w.read().Status.Authorization.LastOutcome; last.Result != v1alpha1.AuthorizationInDoubt {
		t.Errorf("the code ends as %q", last.Result)
	}
	w.golden("code-given-up")
	one.kill()
	w.finale(two)
}

func TestACodeWhoseAnswerIsLostEndsInDoubtAndALink(t *testing.T) {
	t.Parallel()
	w, r := invited(t, kindNamed("revoke-family"))
	w.forget()
	w.handsOver()
	w.network.treat(provider.CommitAndDrop())
	w.faults++
	w.untilQuiet(r)
	w.requests(0, 1)
	w.golden("code-answer-lost")
	w.finale(r)
}

// TestAStaleCopySendsNoCode has R2 work from a copy in which the code waits, before and after R1 has kept what it brought.
func TestAStaleCopySendsNoCode(t *testing.T) {
	t.Parallel()
	for _, stop := range []string{"claims the code", "keeps"} {
		t.Run(stop, func(t *testing.T) {
			t.Parallel()
			w, one := invited(t, kindNamed("revoke-family"))
			two := w.newPod("R2")
			w.handsOver()
			two.stale = w.read()
			w.patient(one, standing(after, stop))
			count := w.provider.TokenRequests()
			two.lap()
			w.requests(count, 0)
			one.finish()
			two.stale = nil
			w.untilQuiet(two)
			w.requests(0, 1)
			w.finale(two)
		})
	}
}
