package lifecycle_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// bank is a provider of refresh tokens for single use, with a ledger of its own.
type bank struct {
	grace   time.Duration // for how long a spent token brings its successor once more
	revokes bool          // using a spent token ends all of the grant
	newest  string
	issued  int
	spent   map[string]time.Time
	ended   bool // somebody has ended the grant there
}

// issue begins a new grant, as where a person has authorized.
func (b *bank) issue() string {
	b.issued++
	b.newest, b.ended = fmt.Sprintf("token-%d", b.issued), false
	return b.newest
}

// take is a request that arrives. It brings a token, or a refusal.
func (b *bank) take(token string, now time.Time) (string, bool) {
	at, was := b.spent[token]
	switch {
	case b.ended:
		return "", false
	case token == b.newest:
		b.spent[token] = now
		b.issued++
		b.newest = fmt.Sprintf("token-%d", b.issued)
		return b.newest, true
	case was && b.grace > 0 && now.Sub(at) <= b.grace:
		return b.newest, true
	default:
		if b.revokes && was {
			b.newest = ""
		}
		return "", false
	}
}

// use is one time that a token was sent, as the network saw it.
type use struct {
	attempt  int32
	at       time.Time
	definite bool // whoever sent it was told that it is not spent
	killed   bool // whoever sent it died
}

// result is what a request brought, until it is kept; at is when a journal that holds it is back.
type result struct {
	at      time.Time
	version lifecycle.Version
	by      lifecycle.Spending
	token   string
	access  bool
	failure *lifecycle.Failure
}

// rotation is the life of an imported grant: laps as the reconciler makes them, a provider that fails in every way, processes
// that die and leave their claims, and a clock that goes from wake to wake.
type rotation struct {
	t      *testing.T
	facts  *lifecycle.Facts
	random *rand.Rand
	bank   *bank
	now    time.Time
	script []way // the ways that the next requests go; then they are thrown

	held     string // the refresh token itself
	since    time.Time
	journals []result // what other pods bring once they are back

	uses  map[string][]use
	last  use
	doubt bool // an outcome is unknown, and no first try has worked since

	calls, laps, lost, saved, over int
	longest                        time.Duration
}

func newRotation(t *testing.T, seed uint64, grace time.Duration, provider func(*lifecycle.Facts)) *rotation {
	t.Helper()
	r := &rotation{
		t: t, facts: importing(), now: noon(), random: rand.New(rand.NewPCG(seed, 7)), //nolint:gosec // the same dice each time
		bank: &bank{grace: grace, spent: map[string]time.Time{}}, uses: map[string][]use{},
	}
	provider(r.facts)
	r.bank.revokes = r.facts.Client.Spec.RefreshTokens.OnReuse == ""
	r.facts.Import.State = lifecycle.ImportNew
	return r
}

// live lives until that many tokens were kept, and a day longer at most for each of them.
func (r *rotation) live(rotations int64) {
	r.t.Helper()
	for end := r.now.Add(time.Duration(rotations) * 24 * time.Hour); r.facts.Account.Status.Rotations < rotations && r.now.Before(end); {
		wake := r.look()
		for _, brought := range r.journals {
			if wake.IsZero() || brought.at.Before(wake) {
				wake = brought.at
			}
		}
		if wake.IsZero() {
			r.authorize()
			continue
		}
		r.longest = max(r.longest, wake.Sub(r.now))
		r.now = later(r.now, wake)
		r.replay()
		if r.laps > 40*(r.calls+50) {
			r.t.Fatalf("%v: %d laps for %d calls: %+v", r.now, r.laps, r.calls, r.facts.Account.Status)
		}
	}
	if got := r.facts.Account.Status.Rotations; got < rotations {
		r.t.Fatalf("%v: %d tokens were kept in the end, %d calls, %d laps: %+v", r.now, got, r.calls, r.laps, r.facts.Account.Status)
	}
}

// authorize: nothing happens any more without a person, who authorizes and puts a new refresh token in place.
func (r *rotation) authorize() {
	r.t.Helper()
	if reason := condition(r.facts.Account.Status, v1alpha1.ConditionAuthorized).Reason; reason != v1alpha1.ReasonRefreshTokenLost && reason != v1alpha1.ReasonRefreshTokenRejected {
		r.t.Fatalf("%v: sleeps for ever, and a person is asked for nothing: %s, %+v", r.now, reason, r.facts.Account.Status)
	}
	r.now = r.now.Add(time.Hour)
	r.facts.Import.State = lifecycle.ImportNew
}

// look makes laps until one changes nothing.
func (r *rotation) look() time.Time {
	r.t.Helper()
	for range 12 {
		r.laps++
		r.facts.ClaimUnchanged = r.now.Sub(r.since)
		plan := lifecycle.Decide(r.facts, r.now)
		before := r.facts.Account.Status
		done := r.act(plan)
		r.said(done)
		status := lifecycle.Status(r.facts, done, r.now)
		wake := lifecycle.Wake(r.facts, &status, r.now)
		if !wake.IsZero() && wake.Before(r.now) {
			r.t.Fatalf("%v: wakes in the past, at %v", r.now, wake)
		}
		r.facts.Account.Status = status
		if reflect.DeepEqual(before, status) && plan.Action == lifecycle.Rest {
			if wake.Equal(r.now) {
				r.t.Fatalf("%v: does not sleep, and does nothing: %+v", r.now, plan)
			}
			return wake
		}
	}
	r.t.Fatalf("%v: laps without end: %+v", r.now, r.facts.Account.Status)
	return time.Time{}
}

func (r *rotation) act(plan lifecycle.Plan) lifecycle.Done {
	r.t.Helper()
	status := &r.facts.Account.Status
	switch plan.Action {
	case lifecycle.Exchange:
		return r.exchange(plan)
	case lifecycle.Contest:
		*status, r.since, r.facts.ClaimUnchanged = lifecycle.WithContest(r.facts, r.now), r.now, 0
	case lifecycle.Unclaim:
		*status = lifecycle.WithoutClaim(r.facts)
	case lifecycle.ImportToken:
		held := r.facts.Credential
		r.keep(result{
			version: lifecycle.Version{Grant: held.GrantSequence + 1, Rotation: held.Rotation + 1, Claim: status.ClaimSequence},
			by:      lifecycle.Spending{Attempt: 2}, token: r.bank.issue(),
		})
		r.facts.Import.State = lifecycle.ImportDone
	case lifecycle.Rest:
		if plan.Publish {
			r.facts.Secret = lifecycle.SecretCurrent
		}
	case lifecycle.Adopt, lifecycle.Reseal, lifecycle.Approve, lifecycle.Revoke:
		r.t.Fatalf("the plan is %+v", plan)
	}
	return lifecycle.Done{Published: r.facts.Secret == lifecycle.SecretCurrent}
}

// exchange spends the token in one of the ways in which that can go.
func (r *rotation) exchange(plan lifecycle.Plan) lifecycle.Done {
	r.t.Helper()
	by := lifecycle.Spending{Attempt: plan.Attempt, Spent: r.facts.Credential.Fingerprint, Forgiven: lifecycle.Grace(r.facts.Client) > 0}
	if plan.Claim {
		by.ClaimID, by.ClaimSequence = fmt.Sprintf("claim-%d", r.calls), lifecycle.NextClaimSequence(r.facts)
		claiming := lifecycle.Claiming{ID: by.ClaimID, Host: "bank.example:443", Holder: v1alpha1.ClaimHolder{Journal: "ours", Process: "this"}}
		r.facts.Account.Status = lifecycle.WithClaim(r.facts, plan, claiming, r.now)
		r.since, r.facts.ClaimUnchanged, r.facts.ClaimHolder = r.now, 0, lifecycle.ClaimInDoubt
	} else {
		r.t.Fatalf("%v: a token is spent without a claim: %+v", r.now, plan)
	}
	r.facts.LastAttempt = r.now
	way := r.throw()
	if way.class == oauth.NotSent {
		r.facts.ClaimHolder = lifecycle.ClaimUnsent
		return r.refuse(lifecycle.Failure{Class: oauth.NotSent, Message: "no connection"}, by)
	}
	r.sends(plan.Attempt, way)
	token, good := "", false
	r.bank.ended = r.bank.ended || way.ends
	if way.arrives {
		token, good = r.bank.take(r.held, r.now)
	}
	if way.class == oauth.OutcomeUnknown {
		r.now = r.now.Add(lifecycle.RequestLimit(r.facts.Client))
	}
	brought := result{version: lifecycle.Version{Grant: r.facts.Credential.GrantSequence, Rotation: r.facts.Credential.Rotation + 1, Claim: by.ClaimSequence}, by: by, token: token, access: true}
	switch {
	case way.dies != "":
		r.facts.LastAttempt, r.facts.ClaimHolder, r.since = time.Time{}, way.dies, r.now
		if way.journal && good {
			brought.at = r.now.Add(time.Duration(r.random.IntN(120)) * time.Second)
			r.journals = append(r.journals, brought)
		}
		return lifecycle.Done{}
	case way.class == "" && good:
		r.doubt = r.doubt && plan.Attempt > 1
		return r.keep(brought)
	case way.class == "":
		return r.refuse(lifecycle.Failure{Class: oauth.RefreshTokenRejected, Message: "the provider says no"}, by)
	case way.partial && good:
		brought.access, brought.failure = false, &lifecycle.Failure{Class: way.class, Message: "no access token came"}
		return r.keep(brought)
	default:
		failure := lifecycle.Failure{Class: way.class, Message: "no token came"}
		if way.class == oauth.Throttled {
			failure.RetryAfter = time.Minute
		}
		return r.refuse(failure, by)
	}
}

// way is one way in which a request can go.
type way struct {
	class   oauth.Class           // "": the provider's answer arrives
	arrives bool                  // the provider acts on it
	partial bool                  // the answer holds a refresh token all the same
	dies    lifecycle.ClaimHolder // the process dies, and this is what others see of its claim
	journal bool                  // its journal comes back
	ends    bool                  // somebody ends the grant at the provider just before
}

func (r *rotation) throw() way {
	if len(r.script) > 0 {
		next := r.script[0]
		r.script = r.script[1:]
		return next
	}
	next := ways()[r.random.IntN(len(ways()))]
	next.ends = r.random.IntN(40) == 0
	r.now = r.now.Add(time.Duration(r.random.IntN(900)) * time.Millisecond)
	return next
}

func ways() []way {
	fine := way{arrives: true}
	return []way{
		fine, fine, fine, fine, fine, fine,
		{class: oauth.NotSent},
		{class: oauth.Throttled},
		{class: oauth.ClientRejected},
		{class: oauth.RequestRejected},
		{class: oauth.AuthorizationRequired},
		{class: oauth.AuthorizationDenied},
		{class: oauth.OutcomeUnknown},
		{class: oauth.OutcomeUnknown, arrives: true},
		{class: oauth.InvalidResponse, arrives: true},
		{class: oauth.InvalidResponse, arrives: true, partial: true},
		{dies: lifecycle.ClaimOrphaned},
		{dies: lifecycle.ClaimOrphaned, arrives: true},
		{dies: lifecycle.ClaimForeign},
		{dies: lifecycle.ClaimForeign, arrives: true},
		{dies: lifecycle.ClaimForeign, arrives: true, journal: true},
	}
}

// sends writes a use into the ledger, and wants it to be one that may be.
func (r *rotation) sends(attempt int32, w way) {
	r.t.Helper()
	r.calls++
	earlier := r.uses[r.held]
	for i := len(earlier) - 1; i >= 0 && !earlier[i].definite; i-- {
		if attempt <= earlier[i].attempt {
			r.t.Fatalf("%v: attempt %d for a token that was sent before as %+v", r.now, attempt, earlier)
		}
	}
	if gap := r.now.Sub(r.last.at); r.calls > 1 && gap < lifecycle.MinAttemptGap && attempt != 2 && !r.last.killed {
		r.t.Fatalf("%v: attempt %d only %v after the last one: %+v", r.now, attempt, gap, r.last)
	}
	definite := w.dies == "" && !w.arrives && w.class != oauth.OutcomeUnknown && attempt == 1
	r.last = use{attempt, r.now, definite, w.dies != ""}
	r.uses[r.held] = append(earlier, r.last)
	if !definite && (w.class != "" || w.dies != "") {
		r.doubt = true
	}
}

// keep writes a result into the status, as far as it is later.
func (r *rotation) keep(brought result) lifecycle.Done {
	status := &r.facts.Account.Status
	if !lifecycle.MayKeep(status, r.facts.Credential, brought.version, brought.by) {
		lifecycle.Dropped(status, brought.by)
		return lifecycle.Done{}
	}
	lifecycle.Kept(status, r.facts.Credential, brought.version, brought.by)
	next := r.facts.Credential
	if brought.access || brought.version.Grant > next.GrantSequence {
		next = heldRefreshable(r.now.Truncate(time.Second), r.now.Add(10*time.Minute).Truncate(time.Second))
		next.HasAccessToken = brought.access
	}
	if !brought.access && brought.version.Grant > r.facts.Credential.GrantSequence {
		next.IssuedTime, next.ExpirationTime = time.Time{}, time.Time{}
	}
	next.GrantSequence, next.Rotation, next.ClaimSequence = brought.version.Grant, brought.version.Rotation, brought.version.Claim
	next.Fingerprint, next.HasRefreshToken = brought.token, true
	r.facts.Credential, r.facts.Secret, r.held = next, lifecycle.SecretStale, brought.token
	r.facts.HighestRotation = max(r.facts.HighestRotation, next.Rotation)
	status.SealedCredential = "sealed-" + brought.token
	return lifecycle.Done{Failure: brought.failure}
}

func (r *rotation) refuse(failure lifecycle.Failure, by lifecycle.Spending) lifecycle.Done {
	class, counts := lifecycle.Refused(&r.facts.Account.Status, r.facts.Credential, failure.Class, by)
	if !counts {
		return lifecycle.Done{}
	}
	failure.Class = class
	return lifecycle.Done{Failure: &failure}
}

// replay: the journals whose pods are back are written.
func (r *rotation) replay() {
	var waiting []result
	for _, brought := range r.journals {
		if brought.at.After(r.now) {
			waiting = append(waiting, brought)
			continue
		}
		was := said(r.facts.Account.Status, v1alpha1.ConditionAuthorized)
		r.facts.Account.Status = lifecycle.Status(r.facts, r.keep(brought), r.now)
		if was == "False "+v1alpha1.ReasonRefreshTokenLost && said(r.facts.Account.Status, v1alpha1.ConditionAuthorized) == "True "+v1alpha1.ReasonAuthorized {
			r.saved++
		}
	}
	r.journals = waiting
}

// said: what is said of a refusal is true. Where the provider ended the grant, and no request was ever in doubt, it is the
// provider's word; where a token was spent by a request of ours, it is ours.
func (r *rotation) said(done lifecycle.Done) {
	r.t.Helper()
	if done.Failure == nil {
		return
	}
	if done.Failure.Class == lifecycle.RefreshTokenLost {
		r.lost++
		if !r.doubt {
			r.t.Fatalf("%v: lost without any doubt: %+v", r.now, r.uses[r.held])
		}
	}
	if done.Failure.Class == oauth.RefreshTokenRejected {
		r.over++
		if !r.bank.ended {
			r.t.Fatalf("%v: rejected, they say, and it was ours: %+v", r.now, r.uses[r.held])
		}
	}
}

func TestAGrantThatIsRotatedAThousandTimes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		grace       time.Duration
		change      func(*lifecycle.Facts)
		least, most int // losses: of 21 ways to go, 4 lose what came
	}{
		"at a provider that declares nothing": {0, nothing, 200, 500},
		"at a provider that rejects":          {0, rejects, 200, 500},
		"at a provider that forgives":         {5 * time.Minute, forgives(5 * time.Minute), 0, 200},
	}
	for name, test := range tests {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("%s, life %d", name, seed+1), func(t *testing.T) {
				t.Parallel()
				r := newRotation(t, seed, test.grace, test.change)
				r.live(1000)
				switch {
				case r.calls > 4000 || r.laps > 4*r.calls:
					t.Errorf("%d calls and %d laps for 1,000 tokens", r.calls, r.laps)
				case r.longest > 70*time.Minute:
					t.Errorf("nobody looked for %v", r.longest)
				case r.lost < test.least || r.lost > test.most || test.least > 0 && r.saved == 0 || r.over == 0:
					t.Errorf("%d losses, want %d to %d; %d were found again, and the provider ended %d grants: want some", r.lost, test.least, test.most, r.saved, r.over)
				}
			})
		}
	}
}

// H48. One answer is lost. Where the provider forgives a second use, that is made while it does, however short that is, and
// at whatever part of a second the first one was made.
func TestALostAnswerIsHadAgainWithinTheGrace(t *testing.T) {
	t.Parallel()
	fine, lost := way{arrives: true}, way{class: oauth.OutcomeUnknown, arrives: true}
	for _, grace := range []time.Duration{3 * time.Second, 4 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Hour} {
		t.Run(grace.String(), func(t *testing.T) {
			t.Parallel()
			for offset := time.Duration(0); offset < time.Second; offset += 10 * time.Millisecond {
				r := newRotation(t, 0, grace, forgives(grace))
				r.now, r.script = r.now.Add(offset), []way{fine, lost, fine}
				r.facts.Account.UID = types.UID(offset.String()) // another wait for each
				r.live(3)
				if r.calls != 3 || r.lost != 0 {
					t.Fatalf("begun at %v: %d calls, %d lost: %+v", offset, r.calls, r.lost, r.uses)
				}
			}
		})
	}
}

// H49. Where it does not, the token is tried once more: at once where that is only refused, and near the end of the access
// token where it ends the grant. Then a person is asked for.
func TestALostAnswerIsLostWithoutAGrace(t *testing.T) {
	t.Parallel()
	fine, lost := way{arrives: true}, way{class: oauth.OutcomeUnknown, arrives: true}
	for name, test := range map[string]struct {
		provider    func(*lifecycle.Facts)
		least, most time.Duration // from the lost answer to the second try
	}{
		"at one that ends the grant":  {nothing, 2 * time.Minute, 4 * time.Minute}, // of the ten, six or more are over, and the last one is near the end
		"at one that only refuses it": {rejects, 30 * time.Second, 32 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRotation(t, 0, 0, test.provider)
			r.script = []way{fine, lost, fine, fine}
			r.live(4) // the person's token is the third, and the fourth is what it brings
			var twice []use
			for _, uses := range r.uses {
				if len(uses) > 1 {
					twice = append(twice, uses...)
				}
			}
			if r.calls != 4 || r.lost != 1 || len(twice) != 2 {
				t.Fatalf("%d calls, %d lost: %+v", r.calls, r.lost, r.uses)
			}
			if wait := twice[1].at.Sub(twice[0].at); wait < test.least || wait > test.most {
				t.Errorf("tried again after %v, want %v to %v", wait, test.least, test.most)
			}
		})
	}
}
