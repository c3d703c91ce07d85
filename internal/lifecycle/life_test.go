package lifecycle_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
)

// life is an account that lives on: laps as the reconciler makes them, a provider, a Secret, and a clock that goes from
// wake to wake.
type life struct {
	t     *testing.T
	facts *lifecycle.Facts
	now   time.Time
	// provider answers a token request, with a failure or the token's lifetime; nil: no expiry is known.
	provider func() (*lifecycle.Failure, *time.Duration)
	// refuses is why the Secret cannot be written; nil: it can.
	refuses *lifecycle.Finding

	wake   time.Time
	calls  []time.Time
	writes int // of the Secret
}

// begin is the life of a new account.
func begin(t *testing.T, provider func() (*lifecycle.Failure, *time.Duration)) *life {
	t.Helper()
	l := &life{t: t, facts: fresh(), now: noon(), provider: provider}
	l.look()
	return l
}

func brings(lifetime time.Duration) func() (*lifecycle.Failure, *time.Duration) {
	return func() (*lifecycle.Failure, *time.Duration) { return nil, &lifetime }
}

func fails(failure lifecycle.Failure) func() (*lifecycle.Failure, *time.Duration) {
	return func() (*lifecycle.Failure, *time.Duration) { return &failure, nil }
}

// look makes laps until one changes nothing, since each write of the status is an event that starts another.
func (l *life) look() {
	l.t.Helper()
	for range 8 {
		plan := lifecycle.Decide(l.facts, l.now)
		done := l.act(plan)
		status := lifecycle.Status(l.facts, done, l.now)
		l.wake = lifecycle.Wake(l.facts, &status, l.now)
		if !l.wake.IsZero() && l.wake.Before(l.now) {
			l.t.Fatalf("%v: wakes in the past, at %v", l.now, l.wake)
		}
		same := reflect.DeepEqual(l.facts.Account.Status, status)
		l.facts.Account.Status = status
		if same {
			return
		}
	}
	l.t.Fatalf("%v: laps without end: %+v", l.now, l.facts.Account.Status)
}

func (l *life) act(plan lifecycle.Plan) lifecycle.Done {
	var done lifecycle.Done
	publish := plan.Publish
	if plan.Action == lifecycle.Exchange {
		l.calls = append(l.calls, l.now)
		l.facts.LastAttempt = l.now
		failure, lifetime := l.provider()
		if done.Failure = failure; failure == nil {
			l.keep(plan, lifetime)
			publish = lifecycle.Publishable(l.facts)
		}
	}
	if publish {
		done.PublishFinding = l.refuses
		if done.Published = l.refuses == nil; done.Published {
			l.facts.Secret = lifecycle.SecretCurrent
			l.writes++
		} else if l.refuses.Reason == v1alpha1.ReasonSecretOwnedByOther {
			l.facts.Secret = lifecycle.SecretForeign
		}
	}
	return done
}

func (l *life) keep(plan lifecycle.Plan, lifetime *time.Duration) {
	issued := l.now.Truncate(time.Second)
	credential := held(issued, lifecycle.ExpirationTime(issued, lifetime, lifecycle.DefaultLifetime(l.facts.Client)))
	credential.Rotation = l.facts.Credential.Rotation + 1
	credential.Scopes, credential.RequestedScopes = plan.Scopes, plan.Scopes
	credential.ClientID, credential.Origins = l.facts.Client.Spec.ClientID, lifecycle.ClientOrigins(l.facts.Client)
	l.facts.Credential = credential
	if l.facts.Secret == lifecycle.SecretCurrent {
		l.facts.Secret = lifecycle.SecretStale
	}
	l.facts.Account.Status.SealedCredential = fmt.Sprintf("sealed-%d", credential.Rotation)
	l.facts.Account.Status.BoundTo.AccountUID = uid
	l.facts.Account.Status = lifecycle.Status(l.facts, lifecycle.Done{}, l.now)
}

// sleep lets time pass, with a look at every wake and none besides.
func (l *life) sleep(d time.Duration) {
	l.t.Helper()
	until := l.now.Add(d)
	for looks := 0; !l.wake.IsZero() && !l.wake.After(until); looks++ {
		if looks > 20000 {
			l.t.Fatalf("%v: wakes without end, %d calls so far", l.now, len(l.calls))
		}
		was := l.now
		l.now = later(l.wake, l.now)
		calls, status := len(l.calls), l.facts.Account.Status
		l.look()
		if l.now.Equal(was) && calls == len(l.calls) && reflect.DeepEqual(status, l.facts.Account.Status) {
			l.t.Fatalf("%v: awake for nothing, twice", l.now)
		}
	}
	l.now = until
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// edit changes the account's or the client's spec, as far as the hash of the inputs is concerned.
func (l *life) edit() {
	l.facts.Account.Generation++
	l.facts.InputsHash = fmt.Sprintf("inputs-%d", l.facts.Account.Generation)
}

func (l *life) ready() string { return said(l.facts.Account.Status, v1alpha1.ConditionReady) }

func (l *life) wants(ready string) {
	l.t.Helper()
	if l.ready() != ready {
		l.t.Errorf("%v: Ready is %q, want %q; %+v", l.now, l.ready(), ready, l.facts.Account.Status.Conditions)
	}
}

// gaps checks that no two calls are closer together than that.
func (l *life) gaps(least time.Duration) {
	l.t.Helper()
	for i := 1; i < len(l.calls); i++ {
		if gap := l.calls[i].Sub(l.calls[i-1]); gap < least {
			l.t.Errorf("%v passed between the calls %d and %d, want %v", gap, i, i+1, least)
		}
	}
}
