package stories_test

import (
	"fmt"
	"sync"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

// network holds each token request at the provider twice: when it has arrived, and when it is decided and its answer
// waits. Its replica stands still there.
type network struct {
	world *world
	end   chan struct{}

	mu      sync.Mutex
	running *replica
	next    *flight
}

// flight is one token request.
type flight struct {
	arrived, answer *provider.Hold
	step            provider.Step
	// decided is closed when the provider has decided. The rest is what it decided.
	decided chan struct{}
	claimID string
	attempt int32
	// faults counts what had gone wrong before it was sent.
	faults  int
	request provider.Entry
	// code: it carries a code, whatever its sender takes it for.
	code bool
	// issued is the fingerprint of the refresh token that the answer holds; "": none.
	issued string
}

func newNetwork(w *world) *network {
	n := &network{world: w, end: make(chan struct{})}
	n.prepare()
	go n.serve()
	w.t.Cleanup(func() { close(n.end) })
	return n
}

// prepare makes the step for the next request.
func (n *network) prepare() {
	n.next = &flight{arrived: provider.NewHold(), answer: provider.NewHold(), decided: make(chan struct{})}
	n.script(provider.Step{})
}

// script says how the provider treats the next request. The caller holds n.mu, or nobody else knows n.
func (n *network) script(step provider.Step) {
	step.HoldBeforeCommit, step.HoldAfterCommit = n.next.arrived, n.next.answer
	n.next.step = step
	n.world.provider.ClearScript(clientID)
	if err := n.world.provider.Script(clientID, step); err != nil {
		panic(err)
	}
}

// treat says how the provider treats the next request.
func (n *network) treat(step provider.Step) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.script(step)
}

func (n *network) isRunning(r *replica) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running = r
}

func (n *network) serve() {
	for {
		n.mu.Lock()
		flying := n.next
		n.mu.Unlock()
		select {
		case <-flying.arrived.Reached():
		case <-n.end:
			return
		}
		n.mu.Lock()
		sender := n.running
		n.prepare()
		n.mu.Unlock()
		go n.carry(sender, flying)
	}
}

// carry takes one request of a replica through.
func (n *network) carry(sender *replica, f *flight) {
	f.claimID, f.attempt, f.faults = sender.claim.ID, sender.claim.Attempt, n.world.faults
	sender.flight = f
	sender.stand(point{phase: sent})
	f.arrived.Release() // a request that was sent is decided, whatever has become of who sent it
	select {
	case <-f.answer.Reached():
	case <-n.end:
		return
	}
	n.read(f)
	if f.code = f.request.Grant == "authorization_code"; f.code {
		f.claimID = sender.codeClaim.ID
	}
	close(f.decided)
	sender.stand(point{phase: committed})
	f.answer.Release()
}

// stand is park for the network, which outlives the replica.
func (r *replica) stand(p point) {
	select {
	case r.points <- p:
	case <-r.dead:
		return
	}
	select {
	case <-r.proceed:
	case <-r.dead:
	}
}

// read takes from the ledger what was decided.
func (n *network) read(f *flight) {
	for _, entry := range n.world.provider.Ledger() {
		switch entry.Kind {
		case provider.KindTokenRequest:
			f.request, f.issued = entry, ""
		case provider.KindIssued:
			if entry.Request == f.request.Request && entry.RefreshFingerprint != "" {
				f.issued = entry.RefreshFingerprint
			}
		default:
		}
	}
}

// isLost: the provider has decided, and its answer never arrives whole.
func (f *flight) isLost() bool {
	switch f.step.Action {
	case provider.ActDrop, provider.ActHang, provider.ActCut:
		return !f.step.Unprocessed
	default:
		return false
	}
}

// text says what the provider decided.
func (f *flight) text(w *world) string {
	spent := "the code"
	if !f.code {
		spent = w.tokenName(f.request.RefreshFingerprint)
	}
	fate := ""
	if f.isLost() {
		fate = "; the answer is lost"
	}
	switch {
	case f.request.Outcome == provider.Granted && f.issued != "":
		return fmt.Sprintf("provider takes %s, answers with %s%s", spent, w.tokenName(f.issued), fate)
	case f.request.Outcome == provider.Granted:
		return fmt.Sprintf("provider takes %s%s", spent, fate)
	case f.request.Outcome == provider.Refused:
		return fmt.Sprintf("provider refuses %s: %s%s", spent, f.request.Error, fate)
	case f.step.Reply != nil:
		return fmt.Sprintf("provider answers %d to %s", f.step.Reply.Status, spent)
	default:
		return fmt.Sprintf("provider does nothing with %s%s", spent, fate)
	}
}
