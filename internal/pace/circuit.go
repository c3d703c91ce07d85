package pace

import (
	"sync"
	"time"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

const (
	// manyFailures in a row, of more than one account, say that the client or its server is at fault: whoever comes next
	// would fail in the same way.
	manyFailures = 3
	// manyRefusals in a row, each of another account, say the same where a refusal is of one account as a rule.
	manyRefusals = 20
	// manyNamespaces is from how many namespaces the evidence has to come before it counts for all of them: what one
	// tenant does must not keep others from their tokens.
	manyNamespaces = 2

	// An open circuit lets one request through after a pause, which doubles each time that this fails.
	serverPause, serverPauseMax = 2 * time.Second, 30 * time.Second
	refusedPause, refusedMax    = 15 * time.Second, time.Minute
	throttleLeast, throttleMost = time.Second, time.Hour
	throttlePauseMax            = time.Minute
	// changePause is the least time between two of them where the client was changed in between.
	changePause = 5 * time.Second
	// probeLook is when those who wait for such a request look again. They are called when it works.
	probeLook = 5 * time.Second
	// forgetAfter is when a circuit is forgotten of which nothing has been heard, and sweepEach how often that is looked at.
	forgetAfter, sweepEach = 2 * time.Hour, time.Minute
	// longest bounds a request that tells of its end no more.
	longest = 5 * time.Minute
)

// Request is a token request that is to be made.
type Request struct {
	// Account is who asks, Client and Namespace whose circuit counts.
	Account, Client, Namespace string
	// Inputs stand for what the client's requests are made with: a change may mend what was at fault.
	Inputs string
	// InDoubt: a refresh token's use has an unknown outcome. It goes its own pace, since it may have little time.
	InDoubt bool
}

// Outcome is what became of it.
type Outcome struct {
	// Class is of the failure; "": it worked.
	Class oauth.Class
	// RetryAfter is how long the server asked to wait, for Throttled.
	RetryAfter time.Duration
}

// Hold is why and until when requests are held back. Zero: they are not.
type Hold struct {
	// Class is of the failures that have opened the circuit, at the time Since.
	Class        oauth.Class
	Since, Until time.Time
}

// Closed says whose requests are held back no more.
type Closed struct {
	// Namespace is the one of the request; All: those of every namespace.
	Namespace, All bool
}

// Circuits remember, for each client and account namespace, and for the client as a whole, whether requests are likely to
// fail. The zero value is ready for use. Safe for concurrent use.
type Circuits struct {
	mu      sync.Mutex
	lanes   map[lane]*circuit
	clients map[string]*circuit
	passes  map[string]*pass
	swept   time.Time
}

// circuit is closed while requests work. It is open while they are held back.
type circuit struct {
	inputs string
	// failures in a row, and whose; refused are the accounts of refusals in a row.
	failures int
	first    string
	several  bool
	refused  map[string]struct{}
	// from are the namespaces that have given evidence, for the circuit of a client.
	from map[string]struct{}

	open          bool
	class         oauth.Class
	opened, next  time.Time
	probes        int
	probing       string
	probed, heard time.Time
}

// pass is a request that was let through. lane and client say of which circuits it is the one that finds out.
type pass struct {
	request      Request
	started      time.Time
	lane, client bool
}

// Look tells whether a request would be let through now.
func (c *Circuits) Look(r Request, now time.Time) Hold {
	c.mu.Lock()
	defer c.mu.Unlock()
	hold, _ := c.judge(r, now)
	return hold
}

// Enter lets a request through, or says why not. One that is let through is followed by Report or Leave.
func (c *Circuits) Enter(r Request, now time.Time) (Hold, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hold, allowed := c.judge(r, now)
	if !allowed {
		return hold, false
	}
	made := &pass{request: r, started: now}
	if !r.InDoubt {
		made.lane = c.lanes[lane{r.Client, r.Namespace}].probe(r.Account, now)
		made.client = c.clients[r.Client].probe(r.Account, now)
	}
	if c.passes == nil {
		c.passes = map[string]*pass{}
	}
	c.passes[r.Account] = made
	return Hold{}, true
}

// Leave is for a request that was let through and not made, or of which nothing is known.
func (c *Circuits) Leave(account string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave(account)
}

// Report takes in what became of a request that was let through.
func (c *Circuits) Report(account string, outcome Outcome, now time.Time) Closed {
	c.mu.Lock()
	defer c.mu.Unlock()
	made := c.leave(account)
	if made == nil {
		return Closed{}
	}
	c.sweep(now)
	where := lane{made.request.Client, made.request.Namespace}
	if outcome.Class == "" {
		return Closed{Namespace: worked(c.lanes, where, made), All: worked(c.clients, where.client, made)}
	}
	if c.lanes == nil {
		c.lanes, c.clients = map[lane]*circuit{}, map[string]*circuit{}
	}
	here := found(c.lanes, where, made.request.Inputs)
	here.failed(made, made.lane, outcome, now)
	all := c.clients[where.client]
	if here.open && !here.opened.Before(made.started) && shared(outcome.Class) {
		all = found(c.clients, where.client, made.request.Inputs)
		all.evidence(where.namespace, here, now)
	}
	if all != nil && made.client {
		all.failed(made, true, outcome, now)
	}
	return Closed{}
}

// Forget forgets a client that is gone.
func (c *Circuits) Forget(client string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.clients, client)
	for l := range c.lanes {
		if l.client == client {
			delete(c.lanes, l)
		}
	}
}

// Open is a circuit that is open. Namespace is "" for that of the client as a whole.
type Open struct{ Client, Namespace string }

// Opens lists the circuits that are open.
func (c *Circuits) Opens() []Open {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Open
	for l, one := range c.lanes {
		if one.open {
			list = append(list, Open{l.client, l.namespace})
		}
	}
	for client, one := range c.clients {
		if one.open {
			list = append(list, Open{Client: client})
		}
	}
	return list
}

// shared: the failure can be one of the client or the server, and not only of an account, so that it says something about
// the accounts of other namespaces.
func shared(class oauth.Class) bool { return systemic(class) || class == oauth.Throttled }

// systemic: whoever asks next will most likely see the same.
func systemic(class oauth.Class) bool {
	return class == oauth.NotSent || class == oauth.OutcomeUnknown || class == oauth.ClientRejected
}

// ofAccount: the server works and has accepted the client; it is the account's grant that it refuses.
func ofAccount(class oauth.Class) bool {
	return class == oauth.RefreshTokenRejected || class == oauth.AuthorizationDenied || class == oauth.AuthorizationRequired
}

// What follows is called with c.mu held.

func (c *Circuits) judge(r Request, now time.Time) (Hold, bool) {
	if r.InDoubt {
		return Hold{}, true
	}
	for _, one := range []*circuit{c.lanes[lane{r.Client, r.Namespace}], c.clients[r.Client]} {
		if hold := one.hold(r, now); !hold.Until.IsZero() {
			return hold, false
		}
	}
	return Hold{}, true
}

func (c *Circuits) leave(account string) *pass {
	made := c.passes[account]
	if made == nil {
		return nil
	}
	delete(c.passes, account)
	for _, one := range []*circuit{c.lanes[lane{made.request.Client, made.request.Namespace}], c.clients[made.request.Client]} {
		if one != nil && one.probing == account {
			one.probing = ""
		}
	}
	return made
}

// sweep forgets what nobody has heard of for long, so that what is gone does not stay for ever.
func (c *Circuits) sweep(now time.Time) {
	if now.Sub(c.swept).Abs() < sweepEach {
		return
	}
	c.swept = now
	old := func(one *circuit) bool {
		return now.Sub(one.heard).Abs() > forgetAfter && !now.Before(one.next) && one.probing == ""
	}
	for l, one := range c.lanes {
		if old(one) {
			delete(c.lanes, l)
		}
	}
	for client, one := range c.clients {
		if old(one) {
			delete(c.clients, client)
		}
	}
}

func found[K comparable](circuits map[K]*circuit, key K, inputs string) *circuit {
	one := circuits[key]
	if one == nil {
		one = &circuit{inputs: inputs}
		circuits[key] = one
	}
	return one
}

// worked closes a circuit. What was sent before it opened says nothing about it.
func worked[K comparable](circuits map[K]*circuit, key K, made *pass) (closed bool) {
	one := circuits[key]
	if one == nil || one.open && made.started.Before(one.opened) {
		return false
	}
	delete(circuits, key)
	return one.open
}

// hold tells whether the circuit holds the request back. A client that was changed is tried out soon.
func (one *circuit) hold(r Request, now time.Time) Hold {
	if one == nil {
		return Hold{}
	}
	if one.inputs != r.Inputs {
		one.inputs, one.failures, one.refused = r.Inputs, 0, nil
		if soon := one.probed.Add(changePause); one.open && soon.Before(one.next) {
			one.next = soon
		}
	}
	if !one.open {
		return Hold{}
	}
	until := one.next
	if one.probing != "" && one.probing != r.Account && now.Sub(one.probed).Abs() < longest && until.Before(now.Add(probeLook)) {
		until = now.Add(probeLook)
	}
	if !now.Before(until) {
		return Hold{}
	}
	return Hold{Class: one.class, Since: one.opened, Until: until}
}

// probe makes the request the one that finds out, where the circuit is open.
func (one *circuit) probe(account string, now time.Time) bool {
	if one == nil || !one.open {
		return false
	}
	one.probing, one.probed = account, now
	return true
}

// failed counts a failure. On an open circuit only those count that were to find out, and a server that asks for time.
func (one *circuit) failed(made *pass, probes bool, outcome Outcome, now time.Time) {
	one.heard = now
	switch {
	case one.open && probes:
		one.probes++
		one.class = outcome.Class
		one.next = now.Add(one.pause(outcome))
	case one.open && outcome.Class == oauth.Throttled:
		if until := now.Add(one.pause(outcome)); until.After(one.next) {
			one.next = until
		}
	case one.open:
	case one.count(made.request.Account, outcome.Class):
		one.open, one.class, one.opened, one.probes = true, outcome.Class, now, 0
		one.probed, one.next = now, now.Add(one.pause(outcome))
	}
}

// count takes a failure in, and reports whether it is one too many.
func (one *circuit) count(account string, class oauth.Class) bool {
	switch {
	case class == oauth.Throttled:
		return true
	case systemic(class):
		if one.failures == 0 {
			one.first, one.several = account, false
		}
		one.failures++
		one.several = one.several || one.first != account
		return one.several && one.failures >= manyFailures
	}
	if ofAccount(class) {
		one.failures = 0
	}
	if one.refused == nil {
		one.refused = map[string]struct{}{}
	}
	one.refused[account] = struct{}{}
	return len(one.refused) >= manyRefusals
}

// evidence takes in that the circuit of a namespace has opened.
func (one *circuit) evidence(namespace string, opened *circuit, now time.Time) {
	one.heard = now
	if one.open {
		return
	}
	if one.from == nil {
		one.from = map[string]struct{}{}
	}
	one.from[namespace] = struct{}{}
	if len(one.from) >= manyNamespaces {
		one.open, one.class, one.opened, one.probes = true, opened.class, now, 0
		one.probed, one.next = now, opened.next
	}
}

// pause is how long an open circuit lets nothing through.
func (one *circuit) pause(outcome Outcome) time.Duration {
	switch {
	case outcome.Class == oauth.Throttled && outcome.RetryAfter > 0:
		return min(max(outcome.RetryAfter, throttleLeast), throttleMost)
	case outcome.Class == oauth.Throttled:
		return doubled(serverPause, throttlePauseMax, one.probes)
	case outcome.Class == oauth.NotSent, outcome.Class == oauth.OutcomeUnknown:
		return doubled(serverPause, serverPauseMax, one.probes)
	default:
		return doubled(refusedPause, refusedMax, one.probes)
	}
}

func doubled(first, most time.Duration, times int) time.Duration {
	return min(first<<min(times, 10), most)
}
