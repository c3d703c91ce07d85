package stories_test

import (
	"slices"
	"time"

	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// crash is where a replica is to be killed: right after its n-th effect from when it was armed, or where at says.
type crash struct {
	at       func(r *replica, p point) bool
	of       string
	n, count int
	// early: it is killed right before that effect, whose write is on its way already.
	early bool
	// after is the effect that it came after.
	after string
	now   bool
}

// arm has the replica of that name killed after n more effects; early: right before the n-th.
func (w *world) arm(name string, n int, early bool) { w.crash = &crash{of: name, n: n, early: early} }

// note counts an effect.
func (c *crash) note(r *replica, text string) {
	if r.name != c.of || c.n == 0 {
		return
	}
	c.count++
	if c.count == c.n && !c.early {
		c.now, c.after = true, text
	}
}

// due reports, once, that the time has come.
func (c *crash) due(r *replica, p point) bool {
	if c.at != nil && c.at(r, p) {
		c.at, c.now = nil, true
	}
	if c.early && r.name == c.of && p.phase == before && c.count == c.n-1 {
		c.early, c.n, c.now = false, 0, true
	}
	was := c.now
	c.now = false
	return was
}

// killAt has the replica of that name killed where it stands so.
func (w *world) killAt(name string, at func(p point) bool) {
	w.crash = &crash{at: func(r *replica, p point) bool { return r.name == name && at(p) }}
}

// standing matches a point.
func standing(where phase, verb string) func(p point) bool {
	return func(p point) bool { return p.phase == where && p.effect.verb == verb }
}

// restLimit is how many rounds of laps an account may need to come to rest.
const restLimit = 200

// untilQuiet has the replicas make laps, and lets time pass between them, until nothing more happens by itself. It reports
// false where one was killed.
func (w *world) untilQuiet(replicas ...*replica) bool {
	w.t.Helper()
	for range restLimit {
		seen, wake := len(w.effects), time.Duration(0)
		for _, r := range replicas {
			p, alive := r.lap()
			if !alive {
				return false
			}
			soon := p.result.RequeueAfter
			if p.err != nil {
				w.debugf("%s: %v", r.name, p.err)
				soon = time.Second
			}
			r.wake = w.clock.Now().Add(soon)
			if soon > 0 && (wake == 0 || soon < wake) {
				wake = soon
			}
		}
		switch {
		case len(w.effects) != seen:
			continue
		case w.quiet():
			return true
		case wake == 0:
			w.violatedf("I5", "the account neither works nor says that a person is needed, and nobody looks at it again")
			return true
		}
		w.clock.move(wake)
	}
	w.violatedf("I5", "the account does not come to rest")
	return true
}

// quiet: the account has what it needs until its next refresh, or says that a person is needed.
func (w *world) quiet() bool {
	w.t.Helper()
	if slices.ContainsFunc(w.replicas, func(r *replica) bool { return len(r.journalled()) > 0 }) {
		return false
	}
	account := w.read()
	if codeOpen(account) {
		return false
	}
	if needsPerson(account) {
		return true
	}
	next := account.Status.NextRefreshTime
	return account.Status.Claim.ID == "" && account.Status.Failures.Count == 0 && next != nil && next.After(w.clock.Now()) &&
		account.Status.LastRefreshTime != nil
}

// untilDue lets time pass until the token is to be refreshed.
func (w *world) untilDue() {
	w.t.Helper()
	next := w.read().Status.NextRefreshTime
	if next == nil {
		w.t.Fatal("no refresh is due")
	}
	if wait := next.Sub(w.clock.Now()); wait > 0 {
		w.clock.move(wait)
	}
}

// ready imports the refresh token and gets to where the next refresh is due.
func (w *world) ready(r *replica) {
	w.t.Helper()
	w.untilQuiet(r)
	w.judge()
	w.untilDue()
	w.forget()
}

// forget begins the narrative anew.
func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = nil
}

// finale is what follows a story: one more rotation without any fault. Where the story has cost the grant, which may turn
// out only then, a person consents anew, and that has to work.
func (w *world) finale(replicas ...*replica) {
	w.t.Helper()
	w.sayf("the end of the story; what follows has to work")
	w.network.treat(provider.Step{}) // a fault that nothing has met yet belongs to the story
	w.judge()
	if !needsPerson(w.read()) && w.rotates(replicas...) {
		return
	}
	w.judge()
	if told := unauthorized(w.read()); told != "" {
		if w.codes {
			w.handsOver()
		} else {
			w.consentsAnew(false)
		}
		w.untilQuiet(replicas...)
	}
	if !w.rotates(replicas...) {
		w.violatedf("I5", "it does not work, even with a new consent")
	}
}

// rotates reports whether the next refresh works: one rotation, by one request.
func (w *world) rotates(replicas ...*replica) bool {
	w.t.Helper()
	before, requests := w.open(w.read()), w.provider.TokenRequests()
	w.untilDue()
	w.untilQuiet(replicas...)
	w.judge()
	after := w.open(w.read())
	return after.GrantSequence == before.GrantSequence && after.Rotation == before.Rotation+1 && w.provider.TokenRequests() == requests+1 &&
		w.isLive(after.RefreshToken)
}

// loseAnswer has the answer to the next token request lost, after the provider has decided.
func (w *world) loseAnswer() {
	w.faults++
	w.network.treat(provider.CommitAndDrop())
}

// excuse notes something that nothing can be done about where the provider forgives no second use of what r has claimed.
func (w *world) excuse(r *replica, why string) {
	w.t.Helper()
	if r.forCode {
		w.excuseCode(r, why)
		return
	}
	if r.claim.GrantSequence == nil {
		return // nothing is spent
	}
	w.debugf("excused from here on, in grant %d: %s", *r.claim.GrantSequence, why)
	w.excuses = append(w.excuses, excuse{*r.claim.GrantSequence, why})
}

// excuse is why a loss of a grant's newest refresh token may happen.
type excuse struct {
	grant int64
	why   string
}

// mayBeLost: what happened excuses that the refresh token of the credential is dead.
func (w *world) mayBeLost(held seal.Credential) bool {
	if w.kind.graceful() {
		return w.graceRanOut(held.RefreshToken)
	}
	return slices.ContainsFunc(w.excuses, func(e excuse) bool { return e.grant == held.GrantSequence })
}

// graceRanOut: so much went wrong since the refresh token was first sent, one thing after the other, that the provider's
// patience ended before the answer was in hand. After a single fault it must not.
func (w *world) graceRanOut(token secret.Value) bool {
	if w.slept {
		return true
	}
	first := slices.IndexFunc(w.sends, func(f *flight) bool { return f.request.RefreshFingerprint == provider.Fingerprint(token.Reveal()) })
	return first >= 0 && w.faults-w.sends[first].faults >= 2 && w.clock.Since(w.sends[first].request.Time) >= w.kind.reuse.Grace
}
