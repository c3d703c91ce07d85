package stories_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/pace"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	takeoverWait = time.Minute
	// patience is how long, by the machine's clock, a replica may take from one point to the next.
	patience = time.Minute
)

// phase says where a replica stands still.
type phase string

const (
	// before and after a write to the API server.
	before phase = "before"
	after  phase = "after"
	// sent: a token request has arrived at the provider, and is not decided. committed: it is, and the answer waits.
	sent      phase = "sent"
	committed phase = "committed"
	// ended: the lap is over.
	ended phase = "ended"
)

// point is where a replica stands still until it is told to go on.
type point struct {
	phase  phase
	effect effect
	// err is what came of a write.
	err    error
	result ctrl.Result
}

// verdict is what becomes of the write that a replica is about to make.
type verdict struct {
	// refuse is the answer to a write that is not carried out; lose, that to one that is; delay, that to one which is
	// carried out later.
	refuse, lose, delay error
}

// replica is one process of the operator. It works only while it is stepped, and stands still in between.
type replica struct {
	world    *world
	name     string
	dir      string
	journal  *seal.Journal
	accounts *controller.AccountReconciler

	dead    chan struct{}
	points  chan point
	proceed chan verdict

	busy bool
	at   point
	// replaying: it settles what its journal holds, and makes no lap.
	replaying bool
	// claim is the last one that it wrote; flight, its last token request.
	claim   v1alpha1.Claim
	claimed time.Time
	// codeClaim is the last claim of a code that it wrote; forCode: it is later than claim.
	codeClaim v1alpha1.CodeClaim
	forCode   bool
	flight    *flight
	// entries are the files that its journal holds, as last seen.
	entries map[string]bool
	// wake is when it wants to look at the account again.
	wake time.Time
	// pending is the write that it is about to make.
	pending late
	// stale is what its cache shows of the account, where that is not what is there.
	stale *v1alpha1.ConnectedAccount
}

// newReplica starts a process in a pod whose journal is in the folder. The same folder is the same pod.
func (w *world) newReplica(name, dir string) *replica {
	w.t.Helper()
	journal, err := seal.OpenJournal(seal.JournalOptions{Dir: dir})
	w.must(err)
	r := &replica{
		world: w, name: name, dir: dir, journal: journal,
		dead: make(chan struct{}), points: make(chan point), proceed: make(chan verdict), entries: map[string]bool{},
	}
	w.t.Cleanup(func() { _ = journal.Close() })
	now := lifeClock{w.clock, r.dead}
	cached, live := &wire{Client: suite.operator, replica: r, cached: true}, &wire{Client: suite.operator, replica: r}
	r.accounts = &controller.AccountReconciler{
		Client: cached, Live: live, TokenSecrets: labelled{live, v1alpha1.LabelAccount},
		Credentials: &controller.ConsentedSecrets{Metadata: labelled{live, v1alpha1.LabelCredential}, Live: live},
		Keyring:     &controller.KeyringSource{Client: cached, Live: live, Namespace: operatorNamespace, Clock: now},
		Transports:  &controller.Transports{Egress: oauth.Egress{AllowLoopback: true}, Clock: now},
		Schema:      &controller.SchemaProof{Client: cached, Clock: now},
		InFlight:    &controller.InFlight{}, Metrics: controller.NewMetrics(now), Events: nobody{}, Clock: now,
		ConsentURL: w.consentURL(), ClusterID: clusterID, Journal: journal, Process: string(uuid.NewUUID()), TakeoverWait: takeoverWait,
		Pace:     controller.NewPace(pace.Limits{Namespace: 1, Total: 1}, 0),
		Patience: time.Minute, // a lap is one story, and may stand still for a while
	}
	r.entries = r.journalled()
	w.replicas = append(w.replicas, r)
	return r
}

// newPod starts a process in a pod of its own.
func (w *world) newPod(name string) *replica {
	w.t.Helper()
	w.pods++
	r := w.newReplica(name, filepath.Join(w.dir, fmt.Sprintf("pod-%d", w.pods)))
	w.recover(r)
	return r
}

// again starts the container of a killed replica again, in the same pod.
func (r *replica) again() *replica {
	r.world.t.Helper()
	r.world.sayf("%s starts again, in the same pod", r.name)
	r.world.fallen = slices.DeleteFunc(r.world.fallen, func(other *replica) bool { return other == r })
	next := r.world.newReplica(r.name, r.dir)
	r.world.recover(next)
	return next
}

// replaced starts another pod in place of a killed replica. Its journal is gone.
func (r *replica) replaced(name string) *replica {
	r.world.t.Helper()
	r.world.sayf("%s starts, in another pod", name)
	if len(r.journalled()) > 0 {
		r.world.excuse(r, "the pod was replaced between receipt and keep")
	}
	return r.world.newPod(name)
}

// nobody hears the events.
type nobody struct{ events.EventRecorder }

func (nobody) Eventf(k8sObject, k8sObject, string, string, string, string, ...any) {}

// begin begins work that then stands still before its first effect.
func (r *replica) begin(work func(context.Context) (ctrl.Result, error)) {
	if r.busy {
		r.world.t.Fatalf("%s is at work already", r.name)
	}
	r.busy = true
	logger := funcr.New(func(prefix, args string) { r.world.debugf("%s %s %s", r.name, prefix, args) }, funcr.Options{Verbosity: 1})
	ctx := log.IntoContext(context.WithoutCancel(r.world.t.Context()), logger)
	go func() {
		<-r.proceed
		result, err := work(ctx)
		select {
		case r.points <- point{phase: ended, result: result, err: err}:
		case <-r.dead:
		}
	}()
}

// beginLap begins a lap of the account.
func (r *replica) beginLap() {
	r.begin(func(ctx context.Context) (ctrl.Result, error) {
		return r.accounts.Reconcile(ctx, ctrl.Request{NamespacedName: r.world.account})
	})
}

// park stands still until the replica is stepped, or ends the goroutine if it is killed meanwhile.
func (r *replica) park(p point) verdict {
	select {
	case r.points <- p:
	case <-r.dead:
		runtime.Goexit()
	}
	select {
	case v := <-r.proceed:
		return v
	case <-r.dead:
		runtime.Goexit()
	}
	panic("unreachable")
}

// step lets the replica work until it stands still again, and takes note of what it did.
func (r *replica) step(v verdict) point {
	r.world.t.Helper()
	r.world.network.isRunning(r)
	limit := time.After(patience)
	select {
	case r.proceed <- v:
	case <-limit:
		r.stuck()
	}
	select {
	case r.at = <-r.points:
	case <-limit:
		r.stuck()
	}
	r.busy = r.at.phase != ended
	r.observeJournal()
	r.world.note(r, r.at)
	return r.at
}

func (r *replica) stuck() {
	r.world.t.Helper()
	stacks := make([]byte, 1<<20)
	fmt.Fprintf(os.Stderr, "%s\n", stacks[:runtime.Stack(stacks, true)])
	r.world.t.Fatalf("%s does not go on from %+v", r.name, r.at)
}

// kill ends the process as SIGKILL does: nothing that it would have done is done. A request that has arrived at the
// provider is decided all the same.
func (r *replica) kill() {
	r.world.t.Helper()
	r.world.sayf("%s is killed", r.name)
	r.world.faults++
	if r.spending() {
		r.world.excuse(r, "killed between the provider's commit and the journal")
	}
	// What the dying goroutines still do to the folder, no process that was killed would do.
	kept := r.dir + "+"
	r.world.must(os.CopyFS(kept, os.DirFS(r.dir)))
	close(r.dead)
	r.dir, r.busy = kept, false
	r.world.must(os.Chmod(kept, 0o700)) //nolint:gosec // a folder needs to be entered
	if r.flight != nil {
		<-r.flight.decided
	}
	r.world.replicas = slices.DeleteFunc(r.world.replicas, func(other *replica) bool { return other == r })
	r.world.fallen = append(r.world.fallen, r)
}

// spending: a token request of the replica is under way, or its answer is not in the journal yet.
func (r *replica) spending() bool {
	return r.busy && (r.at.phase == sent || r.at.phase == committed)
}

// journalled are the entries in its journal.
func (r *replica) journalled() map[string]bool {
	found, err := os.ReadDir(r.dir)
	r.world.must(err)
	names := map[string]bool{}
	for _, each := range found {
		if strings.HasSuffix(each.Name(), ".json") {
			names[each.Name()] = true
		}
	}
	return names
}

// observeJournal takes note of entries that have come or gone since the replica stood still last.
func (r *replica) observeJournal() {
	r.world.t.Helper()
	now := r.journalled()
	for name := range now {
		if !r.entries[name] {
			r.world.journals(r)
		}
	}
	for name := range r.entries {
		if !now[name] {
			r.world.effect(r, effect{"removes", "removes the entry"}, nil)
		}
	}
	r.entries = maps.Clone(now)
}

// decide says what becomes of a write. The zero verdict lets it happen.
type decide func(r *replica, p point) verdict

// finish works to the end of what was begun. It reports false where the replica was killed on the way.
func (r *replica) finish() (point, bool) {
	r.world.t.Helper()
	var v verdict
	for {
		p := r.step(v)
		if r.world.crash.due(r, p) {
			r.kill()
			return p, false
		}
		if p.phase == ended {
			return p, true
		}
		v = verdict{}
		if r.world.decide != nil {
			v = r.world.decide(r, p)
		}
	}
}

// patient has a replica make laps, and time pass between them, until it stands so, and leaves it there.
func (w *world) patient(r *replica, stop func(p point) bool) {
	w.t.Helper()
	for range restLimit {
		if !r.busy {
			r.beginLap()
		}
		for p := r.step(verdict{}); ; p = r.step(verdict{}) {
			if stop(p) {
				return
			}
			if p.phase == ended {
				w.clock.move(p.result.RequeueAfter)
				break
			}
		}
	}
	w.t.Fatalf("%s does not get there", r.name)
}

// lap makes one lap.
func (r *replica) lap() (point, bool) {
	r.world.t.Helper()
	r.beginLap()
	return r.finish()
}

// recover does what a replica does when it starts, until it works.
func (w *world) recover(r *replica) bool {
	w.t.Helper()
	for range 20 {
		r.replaying = true
		r.begin(func(ctx context.Context) (ctrl.Result, error) { return ctrl.Result{}, r.accounts.RecoverOnce(ctx) })
		p, alive := r.finish()
		r.replaying = false
		if !alive || p.err == nil {
			return alive
		}
		w.debugf("%s: %v", r.name, p.err)
	}
	w.t.Fatalf("%s cannot start: %v", r.name, r.at.err)
	return false
}
