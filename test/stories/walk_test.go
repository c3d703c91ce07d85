package stories_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

const (
	// walkLength is how many steps a walk has, and walkFaults how many of them may be faults.
	walkLength = 80
	walkFaults = 4
	// unreachable is an endpoint where nobody listens.
	unreachable = "http://127.0.0.1:1/connect/token"
)

// walker makes the choices of a random walk.
type walker struct {
	*world
	rng    *rand.Rand
	pods   []*replica // those that live
	down   []*replica // those that were killed, and may start again
	left   int        // faults that may still be made
	away   bool       // the endpoint is edited
	proper string
	born   int
}

// TestRandomWalks has two replicas that both believe to lead work on one account, with kills, pauses, lost answers, an API
// server that refuses or is away, new consents and edits at any moment. The seed of a walk tells all of its choices.
func TestRandomWalks(t *testing.T) {
	t.Parallel()
	needsControlPlane(t)
	count := *walks
	switch {
	case count > 0:
	case *long:
		count = 200
	default:
		count = 6
	}
	t.Logf("%d walks from seed %d on; -args -walks N -seed N for others", count, *seed)
	for n := range count {
		number := *seed + uint64(n)
		all := kinds()
		of := all[number%uint64(len(all))]
		t.Run(fmt.Sprintf("seed %d, %s", number, of.name), func(t *testing.T) {
			t.Parallel()
			takeAWalk(newWorld(t, of), number)
		})
	}
}

func takeAWalk(w *world, number uint64) {
	w.t.Helper()
	walk := &walker{
		world: w, rng: rand.New(rand.NewPCG(number, 0)), //nolint:gosec // choices of a test, to be made again
		left: walkFaults, proper: w.provider.TokenEndpoint(provider.Smartbills), born: 2,
	}
	w.decide = walk.decideWrite
	walk.pods = []*replica{w.newPod("R1"), w.newPod("R2")}
	for range walkLength {
		walk.step()
	}
	walk.heal()
}

// fault reports whether a fault is to be made now, with a chance of one in so many.
func (w *walker) fault(in int) bool {
	if w.left == 0 || w.rng.IntN(in) != 0 {
		return false
	}
	w.left--
	w.faults++
	return true
}

// step is one choice.
func (w *walker) step() {
	switch choice := w.rng.IntN(20); {
	case choice == 0 && w.fault(2):
		w.killOne()
	case choice == 1 && len(w.down) > 0 && w.outage() == nil:
		w.startOne()
	case choice == 2 && w.fault(2):
		w.mistreat()
	case choice == 3 && w.fault(4):
		w.consentsAnew(!w.open(w.read()).RefreshToken.Empty())
	case choice == 4 && (w.away || w.fault(4)):
		w.editOrMend()
	case choice == 5 && (w.outage() != nil || w.fault(3)):
		w.failOrMend()
	case choice == 6 && len(w.late) > 0:
		w.late[0].arrives()
		w.late = w.late[1:]
	case choice <= 9:
		w.passTime()
	default:
		r := w.pods[w.rng.IntN(len(w.pods))]
		w.work(r)
	}
}

// work steps a replica once.
func (w *walker) work(r *replica) {
	if !r.busy {
		r.beginLap()
	}
	v := verdict{}
	if r.at.phase == before {
		v = w.decideWrite(r, r.at)
	}
	if p := r.step(v); p.phase == ended {
		r.wake = w.clock.Now().Add(p.result.RequeueAfter)
	}
}

// decideWrite makes faults of the API server.
func (w *walker) decideWrite(_ *replica, p point) verdict {
	if p.phase != before || !w.fault(12) {
		return verdict{}
	}
	switch w.rng.IntN(6) {
	case 0:
		return verdict{refuse: conflict()}
	case 1:
		return verdict{refuse: denied()}
	case 2:
		return verdict{refuse: broken()}
	case 3:
		return verdict{refuse: errLost}
	case 4:
		return verdict{delay: errLost}
	default:
		return verdict{lose: errLost}
	}
}

func (w *walker) killOne() {
	if len(w.pods) == 1 {
		return // somebody has to be there, or time would pass for nobody
	}
	at := w.rng.IntN(len(w.pods))
	killed := w.pods[at]
	killed.kill()
	if killed.at.phase == before && w.rng.IntN(2) == 0 {
		w.late = append(w.late, killed.pending)
	}
	w.pods, w.down = slices.Delete(w.pods, at, at+1), append(w.down, killed)
	if w.rng.IntN(2) == 0 && w.outage() == nil {
		w.startOne()
	}
}

// startOne starts what was killed, in the same pod or in another.
func (w *walker) startOne() {
	killed := w.down[0]
	w.down = w.down[1:]
	if w.rng.IntN(3) > 0 {
		w.pods = append(w.pods, killed.again())
		return
	}
	w.born++
	w.pods = append(w.pods, killed.replaced(fmt.Sprintf("R%d", w.born)))
}

// mistreat has the provider or the network mistreat the next token request.
func (w *walker) mistreat() {
	switch w.rng.IntN(5) {
	case 0:
		w.network.treat(provider.Drop())
	case 1:
		w.network.treat(provider.CommitAndDrop())
	case 2:
		w.network.treat(provider.CutReply(10))
	case 3:
		w.network.treat(provider.Throttle(503, "1"))
	default:
		w.network.treat(provider.ReplyWith(502, nil, "bad gateway"))
	}
}

// failOrMend begins or ends an outage of the API server.
func (w *walker) failOrMend() {
	if w.outage() != nil {
		w.sayf("the API server is back")
		w.setOutage(nil)
		return
	}
	w.sayf("the API server is away")
	w.setOutage(errLost)
}

func (w *walker) editOrMend() {
	w.away = !w.away
	if w.away {
		w.sayf("the client names another host")
		w.editEndpoint(unreachable)
		return
	}
	w.sayf("the client names the first host again")
	w.editEndpoint(w.proper)
}

// passTime lets time pass until a replica that is idle wants to look again, which it then does, so that no wait is in vain
// while somebody is awake. Whoever is busy sleeps meanwhile; what was sent is decided before.
func (w *walker) passTime() {
	idle := slices.DeleteFunc(slices.Clone(w.pods), func(r *replica) bool { return r.busy || r.wake.IsZero() })
	if len(idle) == 0 || w.outage() != nil {
		return // a lap may not end before the outage does
	}
	for _, r := range w.pods {
		if r.busy && r.at.phase == sent {
			w.work(r)
		}
	}
	next := slices.MinFunc(idle, func(a, b *replica) int { return a.wake.Compare(b.wake) })
	if wait := next.wake.Sub(w.clock.Now()); wait > 0 {
		w.clock.move(wait)
	}
	p, _ := next.lap()
	next.wake = w.clock.Now().Add(max(p.result.RequeueAfter, time.Second))
}

// heal ends all faults, and wants all to be well in the end.
func (w *walker) heal() {
	w.t.Helper()
	w.sayf("no more faults")
	w.left, w.decide = 0, nil
	w.network.treat(provider.Step{})
	if w.outage() != nil {
		w.failOrMend()
	}
	if w.away {
		w.editOrMend()
	}
	for len(w.down) > 0 {
		w.startOne()
	}
	for _, r := range w.pods {
		for r.busy {
			w.work(r)
		}
	}
	w.untilQuiet(w.pods...)
	w.finale(w.pods...)
}
