package lifecycle_test

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

func TestCallsInADayAreBounded(t *testing.T) {
	t.Parallel()
	failure := func(class oauth.Class, retryAfter time.Duration) lifecycle.Failure {
		return lifecycle.Failure{Class: class, Message: "no token", RetryAfter: retryAfter}
	}
	type bounds struct{ least, most int }
	tests := map[string]struct {
		provider          func() (*lifecycle.Failure, *time.Duration)
		firstHour, perDay bounds
	}{
		// Full jitter up to 5 minutes would be 24 in the hour; without a token it goes up to an hour, 2 in the hour.
		"a server that cannot be reached":            {fails(failure(oauth.NotSent, 0)), bounds{6, 40}, bounds{30, 140}},
		"a server that never answers":                {fails(failure(oauth.OutcomeUnknown, 0)), bounds{6, 40}, bounds{30, 140}},
		"a client that is refused":                   {fails(failure(oauth.ClientRejected, 0)), bounds{4, 8}, bounds{24, 56}},
		"a request that is refused":                  {fails(failure(oauth.RequestRejected, 0)), bounds{4, 8}, bounds{24, 56}},
		"an answer that is a page":                   {fails(failure(oauth.InvalidResponse, 0)), bounds{4, 8}, bounds{24, 56}},
		"a throttle of a minute":                     {fails(failure(oauth.Throttled, time.Minute)), bounds{54, 61}, bounds{1300, 1441}},
		"a throttle of an hour":                      {fails(failure(oauth.Throttled, time.Hour)), bounds{1, 2}, bounds{21, 25}},
		"a throttle that says nothing":               {fails(failure(oauth.Throttled, 0)), bounds{500, 721}, bounds{12000, 17281}},
		"a token of an hour":                         {brings(time.Hour), bounds{2, 3}, bounds{36, 41}},
		"a token of twelve hours":                    {brings(12 * time.Hour), bounds{1, 1}, bounds{3, 4}},
		"a token of five seconds":                    {brings(5 * time.Second), bounds{600, 721}, bounds{14400, 17281}},
		"a token that is dead on arrival":            {brings(0), bounds{600, 721}, bounds{14400, 17281}},
		"a token without expiry":                     {func() (*lifecycle.Failure, *time.Duration) { return nil, nil }, bounds{1, 1}, bounds{1, 1}},
		"a token that is good until after all of us": {brings(290 * 365 * 24 * time.Hour), bounds{1, 1}, bounds{1, 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := begin(t, test.provider)
			l.sleep(time.Hour)
			if calls := len(l.calls); calls < test.firstHour.least || calls > test.firstHour.most {
				t.Errorf("%d calls in the first hour, want %v", calls, test.firstHour)
			}
			l.sleep(23 * time.Hour)
			if calls := len(l.calls); calls < test.perDay.least || calls > test.perDay.most {
				t.Errorf("%d calls in the day, want %v", calls, test.perDay)
			}
			l.gaps(lifecycle.MinAttemptGap)
		})
	}
}

func TestAProviderThatComesBackIsNoticed(t *testing.T) {
	t.Parallel()
	for _, class := range []oauth.Class{
		oauth.NotSent, oauth.OutcomeUnknown, oauth.Throttled, oauth.ClientRejected, oauth.RequestRejected, oauth.InvalidResponse,
		oauth.RefreshTokenRejected, oauth.AuthorizationDenied, oauth.AuthorizationRequired, "Sulking",
	} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			l := begin(t, brings(time.Hour))
			l.wants("True TokenValid")
			l.provider = fails(lifecycle.Failure{Class: class, Message: "no token"})
			l.sleep(50 * time.Minute)
			reason := condition(l.facts.Account.Status, v1alpha1.ConditionRefreshed).Reason
			l.wants("True " + reason)
			if reason == v1alpha1.ReasonRefreshed {
				t.Errorf("a refresh that fails is said to have worked")
			}
			l.sleep(6 * time.Hour)
			l.wants("False " + reason)
			l.provider = brings(time.Hour)
			l.sleep(66 * time.Minute)
			l.wants("True TokenValid")
			if failures := l.facts.Account.Status.Failures; failures != (v1alpha1.Failures{}) {
				t.Errorf("after the success the failures are %+v", failures)
			}
			l.gaps(lifecycle.MinAttemptGap)
		})
	}
}

func TestAHealthyAccountIsNeverWithoutAToken(t *testing.T) {
	t.Parallel()
	for _, lifetime := range []time.Duration{30 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 12 * time.Hour} {
		t.Run(lifetime.String(), func(t *testing.T) {
			t.Parallel()
			l := begin(t, brings(lifetime))
			for end := in(20 * lifetime); l.now.Before(end); l.sleep(later(l.wake, l.now.Add(time.Second)).Sub(l.now)) {
				l.wants("True TokenValid")
			}
			if l.writes != len(l.calls) {
				t.Errorf("the Secret was written %d times for %d tokens", l.writes, len(l.calls))
			}
		})
	}
}

// Each fault comes over a healthy account, stays for a day, and goes. While it is there, the account says why, no
// request leaves, and nobody is awake without end; after it has gone, the account refreshes at once.
func TestFaultsComeAndGo(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		comes, goes func(l *life)
		valid, late string // Ready, while the token is valid and after
	}{
		"suspended": {
			func(l *life) { l.facts.Account.Spec.Suspend = true; l.edit() },
			func(l *life) { l.facts.Account.Spec.Suspend = false; l.edit() },
			"True Suspended", "False Suspended",
		},
		"client deleted": {
			func(l *life) { l.facts.Client = nil },
			func(l *life) { l.facts.Client = newClient(home) },
			"True ClientNotAvailable", "False ClientNotAvailable",
		},
		"client not ready": {
			func(l *life) { l.facts.Client.Status.Conditions[0].Status = metav1.ConditionFalse },
			func(l *life) { l.facts.Client.Status.Conditions[0].Status = metav1.ConditionTrue },
			"True ClientNotReady", "False ClientNotReady",
		},
		"client changed, and nobody looks at it": {
			func(l *life) { l.facts.Client.Generation++ },
			func(l *life) { l.facts.Client.Status.Conditions[0].ObservedGeneration++ },
			"True TokenValid", "False ClientNotReady",
		},
		"keyring missing": {
			func(l *life) {
				l.facts.KeyringMissing = true
				l.facts.Credential = lifecycle.Credential{State: lifecycle.CredentialKeyMissing}
			},
			func(l *life) {
				l.facts.KeyringMissing = false
				status := l.facts.Account.Status
				l.facts.Credential = held(status.LastRefreshTime.Time, status.ExpirationTime.Time)
				l.facts.Credential.Rotation = status.Rotations
			},
			"True KeyringMissing", "False KeyringMissing",
		},
		"scope above the ceiling": {
			func(l *life) { l.facts.Account.Spec.Scopes = []v1alpha1.Scope{"read", "admin"}; l.edit() },
			func(l *life) { l.facts.Account.Spec.Scopes = []v1alpha1.Scope{"read"}; l.edit() },
			"True ScopeNotAllowed", "False ScopeNotAllowed",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := begin(t, brings(time.Hour))
			l.sleep(time.Minute)
			test.comes(l)
			l.look()
			l.wants(test.valid)
			calls := len(l.calls)
			l.sleep(24 * time.Hour)
			l.wants(test.late)
			if len(l.calls) != calls {
				t.Errorf("%d calls in spite of the fault", len(l.calls)-calls)
			}
			test.goes(l)
			l.look()
			l.wants("True TokenValid")
			if len(l.calls) != calls+1 {
				t.Errorf("%d calls after the fault had gone, want 1", len(l.calls)-calls)
			}
		})
	}
}

// Three faults go without an event.
func TestFaultsThatGoUnseenAreFoundGone(t *testing.T) {
	t.Parallel()
	taken := lifecycle.SecretForeignFinding("acme")
	quota := &lifecycle.Finding{Condition: v1alpha1.ConditionPublished, Reason: v1alpha1.ReasonSecretWriteFailed, Message: "a quota"}
	tests := map[string]struct {
		comes, goes func(l *life)
		ready       string
	}{
		"a foreign Secret": {
			func(l *life) { l.facts.Secret = lifecycle.SecretForeign },
			func(l *life) { l.facts.Secret = lifecycle.SecretAbsent },
			"False SecretOwnedByOther",
		},
		"a Secret that turns out to be foreign when it is written": {
			func(l *life) { l.facts.Secret, l.refuses = lifecycle.SecretAbsent, taken },
			func(l *life) { l.facts.Secret, l.refuses = lifecycle.SecretAbsent, nil },
			"False SecretOwnedByOther",
		},
		"a Secret that cannot be written": {
			func(l *life) { l.facts.Secret, l.refuses = lifecycle.SecretAbsent, quota },
			func(l *life) { l.refuses = nil },
			"False SecretWriteFailed",
		},
		"a Secret that cannot be written, of a suspended account": {
			func(l *life) {
				l.facts.Account.Spec.Suspend, l.facts.Secret, l.refuses = true, lifecycle.SecretAbsent, quota
			},
			func(l *life) { l.facts.Account.Spec.Suspend, l.refuses = false, nil },
			"False Suspended",
		},
		"a definition that drops fields": {
			func(l *life) { l.facts.SchemaTooOld = true },
			func(l *life) { l.facts.SchemaTooOld = false },
			"True SchemaTooOld",
		},
	}
	for name, test := range tests {
		for _, lifetime := range []*time.Duration{new(time.Hour), nil} {
			t.Run(fmt.Sprintf("%s, with a token that expires: %t", name, lifetime != nil), func(t *testing.T) {
				t.Parallel()
				l := begin(t, func() (*lifecycle.Failure, *time.Duration) { return nil, lifetime })
				test.comes(l)
				l.look()
				l.wants(test.ready)
				l.sleep(5 * time.Minute)
				l.wants(test.ready)
				test.goes(l) // and nobody is told
				l.sleep(time.Minute)
				l.wants("True TokenValid")
				if len(l.calls) != 1 {
					t.Errorf("%d calls, want only the first one", len(l.calls))
				}
			})
		}
	}
}

// The definition turns out to drop fields only when the token is kept: the fault is added to the facts in the lap.
func TestAFaultThatIsFoundOnTheWayWakesAsWell(t *testing.T) {
	t.Parallel()
	f := fresh()
	f.SchemaTooOld = true
	status := lifecycle.Status(f, lifecycle.Done{}, noon())
	if wake := lifecycle.Wake(f, &status, noon()); wake.IsZero() || wake.After(in(time.Minute)) {
		t.Errorf("wakes at %v", wake)
	}
}

// A lap takes time: what was not yet due when the plan was made may be due when the time to sleep is worked out.
func TestWhatBecomesDueDuringALapIsNotMissed(t *testing.T) {
	t.Parallel()
	tooSoon := fresh()
	tooSoon.LastAttempt = noon().Add(-30 * time.Second)
	due := healthy()
	due.Credential = held(ago(40*time.Minute), in(20*time.Minute))
	moment := *lifecycle.Status(due, lifecycle.Done{}, noon()).NextRefreshTime
	tests := map[string]struct {
		facts *lifecycle.Facts
		at    time.Time
	}{
		"the wait ended":      {tooSoon, noon()},
		"the refresh was due": {due, moment.Time},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := lifecycle.Decide(test.facts, test.at.Add(-time.Millisecond))
			if plan.Action != lifecycle.Rest {
				t.Fatalf("the plan is %+v", plan)
			}
			after := test.at.Add(time.Millisecond)
			status := lifecycle.Status(test.facts, lifecycle.Done{}, after)
			if wake := lifecycle.Wake(test.facts, &status, after); !wake.Equal(after) {
				t.Errorf("wakes at %v, want at once, %v", wake, after)
			}
		})
	}
}

// H58. Whatever the clock does, a provider is not stormed, and no token stays valid for longer than it was issued for.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{24 * time.Hour, -24 * time.Hour, 73 * 365 * 24 * time.Hour, -73 * 365 * 24 * time.Hour, time.Minute, -time.Minute} {
		t.Run("with a provider that works, "+jump.String(), func(t *testing.T) {
			t.Parallel()
			l := begin(t, brings(time.Hour))
			l.sleep(10 * time.Minute)
			l.now = l.now.Add(jump)
			l.look() // an event, or the wake, which is a timer and not a time
			l.sleep(time.Hour)
			l.now = l.now.Add(-jump)
			l.look()
			l.sleep(time.Hour)
			l.wants("True TokenValid")
			if len(l.calls) > 9 {
				t.Errorf("%d calls", len(l.calls))
			}
		})
		t.Run("with a provider that fails, "+jump.String(), func(t *testing.T) {
			t.Parallel()
			l := begin(t, brings(time.Hour))
			l.provider = fails(lifecycle.Failure{Class: oauth.NotSent, Message: "no token"})
			l.sleep(10 * time.Minute)
			l.now = l.now.Add(jump)
			l.look()
			l.sleep(2 * time.Hour)
			l.wants("False ServerUnreachable")
			if len(l.calls) > 60 {
				t.Errorf("%d calls in two hours", len(l.calls))
			}
			l.now = l.now.Add(-jump)
			l.look()
			l.sleep(2 * time.Hour)
			if len(l.calls) > 120 {
				t.Errorf("%d calls in four hours", len(l.calls))
			}
			l.wants("False ServerUnreachable")
			l.provider = brings(time.Hour)
			l.sleep(66 * time.Minute)
			l.wants("True TokenValid")
		})
	}
}

// S36. A spec that somebody, or two GitOps controllers, change for ever.
func TestASpecThatIsToggledAThousandTimes(t *testing.T) {
	t.Parallel()
	providers := map[string]func() (*lifecycle.Failure, *time.Duration){
		"with a provider that works":  brings(time.Hour),
		"with a provider that fails":  fails(lifecycle.Failure{Class: oauth.ClientRejected, Message: "no token"}),
		"with a provider that is off": fails(lifecycle.Failure{Class: oauth.NotSent, Message: "no token"}),
	}
	for name, provider := range providers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := begin(t, provider)
			l.sleep(time.Minute)
			l.calls = nil
			for n := range 1000 {
				l.facts.Account.Spec.Scopes = []v1alpha1.Scope{[]v1alpha1.Scope{"read", "write"}[n%2]}
				l.edit()
				l.look()
				l.sleep(time.Second)
			}
			if least := 1000 / 60; len(l.calls) < least || len(l.calls) > 1000/30+1 {
				t.Errorf("%d calls in 1,000 s, want at most 2 in a minute, and at least %d", len(l.calls), least)
			}
		})
	}
}

func TestAChangeTakesEffectAtOnce(t *testing.T) {
	t.Parallel()
	l := begin(t, fails(lifecycle.Failure{Class: oauth.ClientRejected, Message: "no token"}))
	l.sleep(6 * time.Hour)
	calls := len(l.calls)
	l.provider = brings(time.Hour)
	l.facts.InputsHash = "a new secret"
	l.look()
	l.wants("True TokenValid")
	if len(l.calls) != calls+1 {
		t.Errorf("%d calls for one change", len(l.calls)-calls)
	}
}

// Whoever edits the status by hand gains nothing by it, and breaks nothing.
func TestTheStatusIsEditedByHand(t *testing.T) {
	t.Parallel()
	far := when(in(73 * 365 * 24 * time.Hour))
	tests := map[string]func(l *life, status *v1alpha1.ConnectedAccountStatus){
		"all of it is removed, the credential too": func(l *life, status *v1alpha1.ConnectedAccountStatus) {
			*status = v1alpha1.ConnectedAccountStatus{}
			l.facts.Credential = lifecycle.Credential{State: lifecycle.CredentialNone}
			l.facts.Secret = lifecycle.SecretStale
		},
		"the credential is removed": func(l *life, status *v1alpha1.ConnectedAccountStatus) {
			status.SealedCredential = ""
			l.facts.Credential = lifecycle.Credential{State: lifecycle.CredentialNone}
			l.facts.Secret = lifecycle.SecretStale
		},
		"the conditions are removed": func(_ *life, status *v1alpha1.ConnectedAccountStatus) { status.Conditions = nil },
		"all conditions are False": func(_ *life, status *v1alpha1.ConnectedAccountStatus) {
			for i := range status.Conditions {
				status.Conditions[i].Status, status.Conditions[i].Reason = metav1.ConditionFalse, "Sabotage"
			}
		},
		"failures without number until the end of time": func(_ *life, status *v1alpha1.ConnectedAccountStatus) {
			status.Failures = v1alpha1.Failures{Count: 1<<31 - 1, Class: "Sulking", LastFailureTime: far, NextAttemptTime: far, InputsHash: hash}
		},
		"fewer failures than none": func(_ *life, status *v1alpha1.ConnectedAccountStatus) {
			status.Failures = v1alpha1.Failures{Count: -7, LastFailureTime: far, NextAttemptTime: far, InputsHash: hash}
		},
		"the times are forged": func(_ *life, status *v1alpha1.ConnectedAccountStatus) {
			status.ExpirationTime, status.LastRefreshTime, status.NextRefreshTime, status.Rotations = far, far, far, 99
		},
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := begin(t, brings(time.Hour))
			l.sleep(5 * time.Minute)
			calls := len(l.calls)
			edit(l, &l.facts.Account.Status)
			l.look()
			if len(l.calls) > calls+1 {
				t.Errorf("%d calls for one edit", len(l.calls)-calls)
			}
			l.sleep(24 * time.Hour)
			l.wants("True TokenValid")
			if calls := len(l.calls); calls < 36 || calls > 42 {
				t.Errorf("%d calls in a day", calls)
			}
			if failures := l.facts.Account.Status.Failures; failures != (v1alpha1.Failures{}) {
				t.Errorf("the failures are %+v", failures)
			}
		})
	}
}
