package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

func TestAFailedRefreshOfAValidTokenLeavesTheAccountReady(t *testing.T) {
	t.Parallel()
	f := healthy()
	done := lifecycle.Done{Failure: &lifecycle.Failure{Class: oauth.NotSent, Message: "nobody answers"}}
	f.Account.Status = lifecycle.Status(f, done, noon())
	type words struct{ Ready, Refreshed, Published, Message string }
	want := words{"True ServerUnreachable", "False ServerUnreachable", "True Published", "nobody answers"}
	for _, lap := range []string{"the lap that failed", "the lap after it"} {
		status := f.Account.Status
		got := words{
			said(status, v1alpha1.ConditionReady), said(status, v1alpha1.ConditionRefreshed),
			said(status, v1alpha1.ConditionPublished), condition(status, v1alpha1.ConditionReady).Message,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", lap, diff)
		}
		f.Account.Status = lifecycle.Status(f, lifecycle.Done{}, in(time.Second))
	}
}

func TestTheTokenExpiresAtWake(t *testing.T) {
	t.Parallel()
	f := healthy()
	f.Account.Spec.Suspend = true
	settle(f, lifecycle.Done{}, noon())
	wake := lifecycle.Wake(f, &f.Account.Status, noon())
	if !wake.Equal(f.Credential.ExpirationTime) {
		t.Errorf("wakes at %v, want %v", wake, f.Credential.ExpirationTime)
	}
	if before := lifecycle.Status(f, lifecycle.Done{}, wake.Add(-1)); said(before, v1alpha1.ConditionReady) != "True Suspended" {
		t.Errorf("before, Ready is %q", said(before, v1alpha1.ConditionReady))
	}
	if at := lifecycle.Status(f, lifecycle.Done{}, wake); said(at, v1alpha1.ConditionReady) != "False Suspended" {
		t.Errorf("at its expiry, Ready is %q", said(at, v1alpha1.ConditionReady))
	}
}

func TestFailuresAreCounted(t *testing.T) {
	t.Parallel()
	failing := func(f *lifecycle.Facts, at time.Time) v1alpha1.Failures {
		f.Account.Status = lifecycle.Status(f, lifecycle.Done{Failure: &lifecycle.Failure{Class: oauth.ClientRejected, Message: "no"}}, at)
		return f.Account.Status.Failures
	}
	f := healthy()
	for n := range int32(5) {
		failures := failing(f, in(time.Duration(n)*time.Hour+300*time.Millisecond))
		wait := failures.NextAttemptTime.Sub(failures.LastFailureTime.Time)
		if longest := time.Minute<<n + time.Second; failures.Count != n+1 || wait < longest/2-time.Second || wait > longest {
			t.Errorf("failure %d: count %d, and %v to wait, want half of %v to all of it", n+1, failures.Count, wait, longest)
		}
		if failures.Class != "ClientRejected" || failures.InputsHash != hash || failures.NextAttemptTime.Nanosecond() != 0 || failures.LastFailureTime.Nanosecond() != 0 {
			t.Errorf("failure %d: %+v", n+1, failures)
		}
	}
	kept := f.Account.Status.Failures
	f.Account.Status = lifecycle.Status(f, lifecycle.Done{}, in(5*time.Hour))
	if diff := cmp.Diff(kept, f.Account.Status.Failures); diff != "" {
		t.Errorf("a lap without a request changes the failures: %s", diff)
	}
	f.InputsHash = "changed"
	if failures := failing(f, in(6*time.Hour)); failures.Count != 1 || failures.InputsHash != "changed" {
		t.Errorf("with other inputs: %+v", failures)
	}
	f.Account.Status.Failures.Count = -3
	if failures := failing(f, in(7*time.Hour)); failures.Count != 1 {
		t.Errorf("after a count that was forged: %+v", failures)
	}
	f.Account.Status.Failures.Count = 1<<31 - 1
	if failures := failing(f, in(8*time.Hour)); failures.Count < 1 {
		t.Errorf("after a count that was forged: %+v", failures)
	}
	f.Credential = held(in(9*time.Hour), in(10*time.Hour))
	f.Credential.Rotation++
	if status := lifecycle.Status(f, lifecycle.Done{}, in(9*time.Hour)); status.Failures != (v1alpha1.Failures{}) {
		t.Errorf("after a success: %+v", status.Failures)
	}
}

// The time that is told is the time that is meant: the least gap is in it.
func TestTheNextAttemptIsNotToldTooEarly(t *testing.T) {
	t.Parallel()
	for _, class := range []oauth.Class{oauth.NotSent, oauth.OutcomeUnknown, oauth.Throttled} {
		failures := lifecycle.Status(healthy(), lifecycle.Done{Failure: &lifecycle.Failure{Class: class, Message: "no"}}, noon()).Failures
		if wait := failures.NextAttemptTime.Sub(noon()); wait < lifecycle.MinAttemptGap || wait > 6*time.Second {
			t.Errorf("%s: told to be made again in %v", class, wait)
		}
	}
}

// The token is kept and not yet published. While the one before is good, there is a usable token in the Secret; once it
// has expired, there is none until the new one is there.
func TestBetweenKeepingAndPublishing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		now  time.Time
		want string
	}{
		{"the earlier token is good", in(40 * time.Minute), "True TokenValid"},
		{"the earlier token has expired", in(2 * time.Hour), "False Pending"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := healthy()
			f.Credential = held(test.now, test.now.Add(time.Hour))
			f.Credential.Rotation++
			f.Secret = lifecycle.SecretStale
			for range 2 {
				f.Account.Status = lifecycle.Status(f, lifecycle.Done{}, test.now)
				if ready := said(f.Account.Status, v1alpha1.ConditionReady); ready != test.want {
					t.Errorf("Ready is %q, want %q", ready, test.want)
				}
			}
			f.Secret = lifecycle.SecretCurrent
			if ready := said(lifecycle.Status(f, lifecycle.Done{Published: true}, test.now), v1alpha1.ConditionReady); ready != "True TokenValid" {
				t.Errorf("then Ready is %q", ready)
			}
		})
	}
}

// What can be seen of a credential is copied for people, and nothing is left of it when it is gone.
func TestTimesAreTold(t *testing.T) {
	t.Parallel()
	type times struct {
		Expiration, Last, Next *metav1.Time
		Scopes                 []v1alpha1.Scope
		Rotations              int64
	}
	of := func(status v1alpha1.ConnectedAccountStatus) times {
		return times{status.ExpirationTime, status.LastRefreshTime, status.NextRefreshTime, status.Scopes, status.Rotations}
	}
	f := healthy()
	next := when(lifecycle.RefreshTime(uid, f.Credential.IssuedTime, f.Credential.ExpirationTime, 0))
	all := times{when(in(50 * time.Minute)), when(ago(10 * time.Minute)), next, []v1alpha1.Scope{"read"}, 4}
	unpromised := all
	unpromised.Next = nil
	tests := map[string]struct {
		change func(f *lifecycle.Facts)
		want   times
	}{
		"of a token that is held":                             {func(*lifecycle.Facts) {}, all},
		"of a suspended account, without a promise":           {func(f *lifecycle.Facts) { f.Account.Spec.Suspend = true }, unpromised},
		"of a token that cannot be opened, without a promise": {func(f *lifecycle.Facts) { f.Credential = lifecycle.Credential{State: lifecycle.CredentialUnreadable} }, unpromised},
		"of none": {func(f *lifecycle.Facts) { f.Credential = lifecycle.Credential{State: lifecycle.CredentialNone} }, times{}},
		"the account's own lead wins": {func(f *lifecycle.Facts) {
			f.Account.Spec.RefreshBeforeSeconds, f.Client.Spec.RefreshBeforeSeconds = 60, 600
		}, times{all.Expiration, all.Last, when(lifecycle.RefreshTime(uid, ago(10*time.Minute), in(50*time.Minute), time.Minute)), all.Scopes, 4}},
		"the client's lead is next": {func(f *lifecycle.Facts) { f.Client.Spec.RefreshBeforeSeconds = 600 }, times{all.Expiration, all.Last, when(lifecycle.RefreshTime(uid, ago(10*time.Minute), in(50*time.Minute), 10*time.Minute)), all.Scopes, 4}},
		"scopes within the schema's bounds": {
			func(f *lifecycle.Facts) { f.Credential.Scopes = []string{"read", "", "read", strings.Repeat("x", 257)} }, all,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := healthy()
			test.change(f)
			if diff := cmp.Diff(test.want, of(lifecycle.Status(f, lifecycle.Done{}, noon()))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A lead of less than two minutes is told: a mounted Secret may follow too late.
func TestAShortLeadIsTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                    string
		lifetime, refreshBefore time.Duration
		want                    bool
	}{
		{"five minutes", 5 * time.Minute, 0, true},
		{"an hour, a minute before", time.Hour, time.Minute, true},
		{"an hour", time.Hour, 0, false},
		{"six minutes: exactly two of lead", 6 * time.Minute, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := healthy()
			f.Credential = held(noon(), in(test.lifetime))
			f.Account.Spec.RefreshBeforeSeconds = int32(test.refreshBefore.Seconds())
			message := condition(lifecycle.Status(f, lifecycle.Done{}, noon()), v1alpha1.ConditionRefreshed).Message
			if strings.Contains(message, "refreshBeforeSeconds") != test.want {
				t.Error(message)
			}
		})
	}
}

// The API server refuses a status with a message of more than 32768 characters, and the account would be stuck.
func TestALongMessageIsCut(t *testing.T) {
	t.Parallel()
	f := healthy()
	f.Client.Status.Conditions[0].Status = metav1.ConditionFalse
	f.Client.Status.Conditions[0].Message = strings.Repeat("é", 32768)
	message := condition(lifecycle.Status(f, lifecycle.Done{}, noon()), v1alpha1.ConditionReady).Message
	if len(message) > 4096 || len(message) < 4000 || strings.ToValidUTF8(message, "?") != message {
		t.Errorf("%d bytes: %q", len(message), message[len(message)-8:])
	}
}

func TestATransitionHasATimeAndNothingElseHas(t *testing.T) {
	t.Parallel()
	f := healthy()
	first := condition(f.Account.Status, v1alpha1.ConditionReady).LastTransitionTime
	f.Account.Generation++
	f.Account.Spec.Suspend = true
	status := lifecycle.Status(f, lifecycle.Done{}, noon())
	if found := condition(status, v1alpha1.ConditionReady); !found.LastTransitionTime.Equal(&first) || found.ObservedGeneration != 8 {
		t.Errorf("another reason: %+v", found)
	}
	if found := condition(status, v1alpha1.ConditionRefreshed); !found.LastTransitionTime.Equal(when(noon())) {
		t.Errorf("a transition: %+v", found)
	}
}
