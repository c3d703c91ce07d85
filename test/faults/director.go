package main

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/faults/proxy"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// actor is an account on the stage, as the proxies know it.
type actor struct {
	records.Account
	kind *kind
	// claim, contested, sealed and reason are those of the newest status that the API server took.
	claim     string
	contested bool
	sealed    string
	reason    string
	// handOver and exchange are the code that waits, and its claim; connected is the state of the last attempt that led to a
	// credential, outcome what came of the last one, failures how many came to nothing, and link where the next begins.
	handOver, exchange, connected, outcome, link string
	failures                                     int
	// newest is that status.
	newest written
	// point is for the rotation that is open, and left how many refusals are left of it.
	point *point
	left  int
	// resting: nothing is done to it until its next keep.
	resting bool
	// granted is when a refresh token was last taken, kept when a result was last kept.
	granted, kept time.Time
}

// lost: the account has said that a person is needed.
func (a *actor) lost() bool {
	return a.reason == v1alpha1.ReasonRefreshTokenLost || a.reason == v1alpha1.ReasonRefreshTokenRejected
}

// holding is a request that is held.
type holding struct {
	*proxy.Hold
	of    *actor
	point *point
}

// script is what is done to the accounts in a phase.
type script struct {
	phase  string
	points []*point
	// limit is how long requests are held; 0 means as long as the kind allows.
	limit time.Duration
	// among are the kinds that take part; nil means all.
	among func(*kind) bool
	// assigned: points are not drawn; see director.assign.
	assigned bool
}

// director decides what is done to which request. It is what the proxies ask.
type director struct {
	mu       sync.Mutex
	rng      *rand.Rand
	actors   map[string]*actor
	byToken  map[string]*actor
	holdings []*holding
	script   *script
	// refuseWrites and refuseLease are outages of the API server.
	refuseWrites, refuseLease bool
	// newest is the proxy that the newest claim came through.
	newest string
	// consented names the account that a code was given for, by the code's fingerprint. Nil: nobody consents.
	consented func(string) string
}

func newDirector(seed uint64) *director {
	return &director{rng: rand.New(rand.NewPCG(seed, seed)), actors: map[string]*actor{}, byToken: map[string]*actor{}} //nolint:gosec // G404: a run is to be repeatable
}

// add brings an account onto the stage, before it is created.
func (d *director) add(account records.Account, of *kind) {
	d.mu.Lock()
	defer d.mu.Unlock()
	added := &actor{Account: account, kind: of}
	d.actors[account.Name] = added
	if account.Imported != "" {
		d.byToken[account.Imported] = added
	}
}

// remove takes an account off the stage that cannot play any more.
func (d *director) remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.actors, name)
}

// assign gives an account the point at which it is to be met.
func (d *director) assign(name string, at *point) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if of := d.actors[name]; of != nil {
		of.point, of.left, of.resting = at, max(at.times, 1), false
	}
}

// play begins what is done to the accounts; nil ends it, and lets go who is held.
func (d *director) play(s *script) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.script = s
	for _, each := range d.actors {
		each.point, each.left, each.resting = nil, 0, false
	}
	if s == nil {
		for _, each := range d.holdings {
			each.Release(0)
		}
		d.holdings = nil
	}
}

// direct is asked by the proxies before the API server.
func (d *director) direct(r *proxy.Request) *proxy.Treatment {
	d.mu.Lock()
	defer d.mu.Unlock()
	lease := strings.Contains(r.Path, "/leases")
	if !strings.Contains(r.RawQuery, "dryRun=All") {
		d.classify(r)
	}
	if d.refuseWrites || d.refuseLease && lease {
		return &proxy.Treatment{Plan: d.planOf(r, "refused"), Refuse: &proxy.Refusal{Status: http.StatusServiceUnavailable, Reason: "ServiceUnavailable"}}
	}
	if r.Class.Account == "" {
		return nil
	}
	return d.treat(r)
}

// directToken is asked by the proxy before the provider.
func (d *director) directToken(r *proxy.Request) *proxy.Treatment {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.classifyToken(r)
	return d.treat(r)
}

// directElsewhere is asked where no token request must ever come.
func (d *director) directElsewhere(r *proxy.Request) *proxy.Treatment {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.classifyToken(r)
	r.Class.Kind = classElsewhere
	return &proxy.Treatment{Refuse: &proxy.Refusal{Status: http.StatusBadRequest, Reason: "BadRequest"}}
}

// planOf names what is done: phase, kind of provider, point.
func (d *director) planOf(r *proxy.Request, point string) string {
	of := d.actors[r.Class.Account]
	if d.script == nil || of == nil {
		return ""
	}
	return d.script.phase + "/" + of.kind.name + "/" + r.Class.Kind + "-" + point
}

// treat decides about one request. A point is drawn when a rotation begins: with its claim, or its token request where it
// needs none.
func (d *director) treat(r *proxy.Request) *proxy.Treatment {
	plain := &proxy.Treatment{}
	of := d.actors[r.Class.Account]
	if of == nil || d.script == nil || of.resting || d.script.among != nil && !d.script.among(of.kind) {
		return plain
	}
	begins := r.Class.Kind == classClaim || r.Class.Kind == classToken && of.kind.reusable()
	if d.script.assigned && of.point == nil {
		return plain
	}
	if !d.script.assigned && (begins || of.point == nil) {
		of.point = d.draw()
		of.left = max(of.point.times, 1)
	}
	if of.point.class != r.Class.Kind || of.left == 0 {
		return plain
	}
	of.left--
	// One fault for each rotation: a grace is for one.
	of.resting = of.point.alone() && of.left == 0
	limit := of.kind.hold
	if d.script.limit > 0 {
		limit = d.script.limit
	}
	treatment, hold := of.point.treatment(limit)
	treatment.Plan = d.script.phase + "/" + of.kind.name + "/" + of.point.name
	if hold != nil {
		d.holdings = append(slices.DeleteFunc(d.holdings, (*holding).over), &holding{Hold: hold, of: of, point: of.point})
	}
	return treatment
}

// draw chooses a point, each by its weight.
func (d *director) draw() *point {
	total := 0
	for _, each := range d.script.points {
		total += max(each.weight, 1)
	}
	chosen := d.rng.IntN(total)
	for _, each := range d.script.points {
		if chosen -= max(each.weight, 1); chosen < 0 {
			return each
		}
	}
	return d.script.points[0]
}

// over: the request has come and gone.
func (h *holding) over() bool {
	select {
	case <-h.Reached():
		return !h.Holding()
	default:
		return false
	}
}

// holdingNow are the requests that are held.
func (d *director) holdingNow() []*holding {
	d.mu.Lock()
	defer d.mu.Unlock()
	var now []*holding
	for _, each := range d.holdings {
		if each.Holding() {
			now = append(now, each)
		}
	}
	return now
}

// hit says that a process has died: who was held is let go, in the one way or the other, and whoever had a claim open is
// left alone until it has kept something.
func (d *director) hit() []*actor {
	return d.end(func(each *holding) { each.point.resolve(each.Hold, d.rng) })
}

// letGo says that a process has been stopped: who was held goes on.
func (d *director) letGo() []*actor {
	return d.end(func(each *holding) { each.Release(0) })
}

func (d *director) end(how func(*holding)) []*actor {
	d.mu.Lock()
	defer d.mu.Unlock()
	var open []*actor
	for _, each := range d.actors {
		if each.claim != "" || each.exchange != "" || slices.ContainsFunc(d.holdings, func(h *holding) bool { return h.of == each && h.Holding() }) {
			each.resting = true
			open = append(open, each)
		}
	}
	for _, each := range d.holdings {
		how(each)
	}
	d.holdings = nil
	return open
}

// claimant is the proxy that the newest claim came through.
func (d *director) claimant() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newest
}

// refuse begins or ends an outage.
func (d *director) refuse(writes, lease bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuseWrites, d.refuseLease = writes, lease
}

// see copies what is known of the accounts.
func (d *director) see() []actor {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]actor, 0, len(d.actors))
	for _, each := range d.actors {
		all = append(all, *each)
	}
	slices.SortFunc(all, func(a, b actor) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// number draws below a bound.
func (d *director) number(bound time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.rng.Int64N(int64(bound)))
}

// answered takes up what the API server took, and what the provider gave.
func (d *director) answered(r *proxy.Request, answer *proxy.Answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	of := d.actors[r.Class.Account]
	if of == nil || answer.Status != http.StatusOK {
		return
	}
	if r.Class.Kind == classToken || r.Class.Kind == classCodeToken {
		var reply struct {
			RefreshToken string `json:"refresh_token"`
		}
		if json.Unmarshal(answer.Body, &reply) == nil && reply.RefreshToken != "" {
			d.byToken[provider.Fingerprint(reply.RefreshToken)] = of
		}
		of.granted = r.Received
		return
	}
	if r.Class.Kind == classClaim || r.Class.Kind == classCodeClaim {
		d.newest = r.Proxy
	}
	if d.accountOf(r) != of {
		return
	}
	if status, exists := of.statusOf(r); exists {
		of.apply(status, r.Class.Kind)
	}
}

// apply takes up a status that the API server took.
func (a *actor) apply(status written, class string) {
	if class == classKeep || class == classCodeKeep {
		a.kept, a.resting = time.Now(), false
	}
	a.newest = status
	a.claim, a.contested, a.sealed = status.Claim.ID, status.Claim.ContestedTime != "", status.SealedCredential
	now := status.Authorization
	a.handOver, a.exchange, a.link, a.failures = now.HandOver.ID, now.Exchange.ID, status.AuthorizationURL, now.Failures.Count
	if a.outcome = now.LastOutcome.Result; a.outcome == string(v1alpha1.AuthorizationConnected) {
		a.connected = now.LastOutcome.StateHash
	}
	for _, condition := range status.Conditions {
		if condition.Type == v1alpha1.ConditionAuthorized {
			a.reason = condition.Reason
		}
	}
}

// classifyToken finds the account by the refresh token that is presented.
func (d *director) classifyToken(r *proxy.Request) {
	values, err := url.ParseQuery(string(r.Body))
	if err != nil {
		return
	}
	if code := values.Get("code"); code != "" && d.consented != nil {
		r.Class = proxy.Class{Kind: classCodeToken, Fingerprint: provider.Fingerprint(code)}
		r.Class.Account = d.consented(r.Class.Fingerprint)
		return
	}
	r.Class = proxy.Class{Kind: classToken, Fingerprint: provider.Fingerprint(values.Get("refresh_token"))}
	if of := d.byToken[r.Class.Fingerprint]; of != nil {
		r.Class.Account = of.Name
	}
}
