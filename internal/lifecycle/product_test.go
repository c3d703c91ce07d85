package lifecycle_test

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// expected is what the choices that make up a set of facts say about the plan. It knows nothing of the rules.
type expected struct {
	fault      bool // there is a reason not to call
	wait       bool // there is a reason to wait
	want       bool // there is a reason to call
	changed    bool // there is another one, which waits half a minute after the last request
	young      bool // the last request is less than half a minute ago
	sealed     bool // there is a credential that can be opened
	forbidden  bool // what is held may not be published
	foreign    bool // the Secret is another's
	impossible bool // the Secret cannot be made as the spec says
	current    bool // the Secret is right already
	deleted    bool
	asked      bool // somebody asks for a newer token
}

func (e expected) calls() bool {
	return !e.fault && !e.wait && (e.want || (e.changed || e.asked) && !e.young)
}

func (e expected) publishes() bool {
	return e.sealed && !e.forbidden && !e.foreign && !e.impossible && !e.current && !e.deleted && !e.calls()
}

// choice is one value of one dimension.
type choice struct {
	name  string
	apply func(f *lifecycle.Facts, e *expected)
}

// dimensions are all the ways in which facts can differ, each with one choice for every value that matters. Later ones
// may look at what earlier ones chose.
func dimensions() [][]choice {
	return [][]choice{clientChoices(), scopeChoices(), credentialChoices(), secretChoices(), faultChoices(), failureChoices(), attemptChoices(), requestChoices()}
}

func requestChoices() []choice {
	asks := func(at time.Time) func(*lifecycle.Facts, *expected) {
		return func(f *lifecycle.Facts, e *expected) {
			annotate(v1alpha1.AnnotationRefreshRequestedAt, at.Format(time.RFC3339))(f)
			e.asked = f.Credential.State == lifecycle.CredentialHeld && f.Credential.IssuedTime.Before(at) && !at.After(noon())
		}
	}
	return []choice{
		{"nobody asks", func(*lifecycle.Facts, *expected) {}},
		{"asked for a second ago", asks(ago(time.Second))},
		{"asked for in a minute", asks(in(time.Minute))},
	}
}

func clientChoices() []choice {
	fault := func(change func(f *lifecycle.Facts)) func(*lifecycle.Facts, *expected) {
		return func(f *lifecycle.Facts, e *expected) { e.fault = true; change(f) }
	}
	return []choice{
		{"own client", func(*lifecycle.Facts, *expected) {}},
		{"no client", fault(func(f *lifecycle.Facts) { f.Client = nil })},
		{"own client without the grant", fault(func(f *lifecycle.Facts) { f.Client.Spec.Grants = nil })},
		{"own client never checked", fault(func(f *lifecycle.Facts) { f.Client.Status.Conditions = nil })},
		{"own client changed", fault(func(f *lifecycle.Facts) { f.Client.Generation++ })},
		{"own client not ready", fault(func(f *lifecycle.Facts) { f.Client.Status.Conditions[0].Status = metav1.ConditionFalse })},
		{"shared client", func(f *lifecycle.Facts, _ *expected) { elsewhere(f) }},
		{"no client elsewhere", fault(func(f *lifecycle.Facts) { elsewhere(f); f.Client = nil })},
		{"client elsewhere, not shared", fault(func(f *lifecycle.Facts) { elsewhere(f); f.Client.Spec.AllowedNamespaces = nil })},
		{"shared client not ready", fault(func(f *lifecycle.Facts) {
			elsewhere(f)
			f.Client.Status.Conditions[0].Status = metav1.ConditionFalse
		})},
	}
}

func scopeChoices() []choice {
	return []choice{
		{"scope allowed", func(*lifecycle.Facts, *expected) {}},
		{"scope above the ceiling", func(f *lifecycle.Facts, e *expected) {
			f.Account.Spec.Scopes = []v1alpha1.Scope{"read", "admin"}
			e.fault, e.changed = true, true
		}},
		{"no scope listed", func(f *lifecycle.Facts, e *expected) {
			f.Account.Spec.Scopes = nil
			e.fault = e.fault || f.Account.Spec.ClientRef.Namespace != ""
			e.changed = true // the client's ceiling is read and write, what is held was asked for with read
		}},
	}
}

func credentialChoices() []choice {
	holds := func(issued, expiration time.Time, want bool) func(*lifecycle.Facts, *expected) {
		return func(f *lifecycle.Facts, e *expected) {
			f.Credential = held(issued, expiration)
			f.Account.Status.SealedCredential, f.Account.Status.BoundTo.AccountUID = "sealed", uid
			f.Account.Status.Rotations = f.Credential.Rotation
			e.sealed, e.want = true, want
			e.young = ago(30*time.Second).Before(issued) && !issued.After(noon())
			e.wait = ago(lifecycle.MinAttemptGap).Before(issued) && !issued.After(noon())
		}
	}
	then := func(first func(*lifecycle.Facts, *expected), second func(f *lifecycle.Facts, e *expected)) func(*lifecycle.Facts, *expected) {
		return func(f *lifecycle.Facts, e *expected) { first(f, e); second(f, e) }
	}
	valid := holds(ago(10*time.Minute), in(50*time.Minute), false)
	due := holds(ago(50*time.Minute), in(10*time.Minute), true)
	more := func(f *lifecycle.Facts, e *expected) {
		f.Credential.Scopes = []string{"read", "write"}
		e.forbidden = f.Account.Spec.ClientRef.Namespace != ""
	}
	sealed := func(state lifecycle.CredentialState) func(*lifecycle.Facts, *expected) {
		return func(f *lifecycle.Facts, e *expected) {
			f.Credential.State = state
			f.Account.Status.SealedCredential = "sealed"
			f.Account.Status.ExpirationTime = when(in(time.Hour))
			e.fault, e.changed = true, false
		}
	}
	return []choice{
		{"none", func(_ *lifecycle.Facts, e *expected) { e.want, e.changed = true, false }},
		{"valid", valid},
		{"two seconds old", holds(ago(2*time.Second), in(time.Hour), false)},
		{"twenty seconds old", holds(ago(20*time.Second), in(time.Hour), false)},
		{"due", due},
		{"expired", holds(ago(2*time.Hour), ago(time.Hour), true)},
		{"without expiry", holds(ago(time.Hour), time.Time{}, false)},
		{"from tomorrow", holds(in(24*time.Hour), in(25*time.Hour), true)},
		{"dead on arrival", holds(ago(time.Minute), ago(time.Minute), true)},
		{"valid, fewer scopes", then(valid, func(f *lifecycle.Facts, _ *expected) { f.Credential.Scopes = []string{} })},
		{"valid, more scopes", then(valid, more)},
		{"due, more scopes", then(due, more)},
		{"of another client id", then(valid, func(f *lifecycle.Facts, e *expected) { f.Credential.ClientID = "other"; e.changed = true })},
		{"of another host", then(valid, func(f *lifecycle.Facts, e *expected) { f.Credential.Origins = nil; e.changed = true })},
		{"elsewhere", sealed(lifecycle.CredentialElsewhere)},
		{"unreadable", sealed(lifecycle.CredentialUnreadable)},
		{"newer format", sealed(lifecycle.CredentialNewerFormat)},
		{"key missing", sealed(lifecycle.CredentialKeyMissing)},
	}
}

// secretFault is a spec.secret that cannot be carried out.
func secretFault() *lifecycle.Finding {
	return &lifecycle.Finding{Condition: v1alpha1.ConditionPublished, Reason: v1alpha1.ReasonSecretTooLarge, Message: "write less"}
}

func secretChoices() []choice {
	return []choice{
		{"current", func(f *lifecycle.Facts, e *expected) { f.Secret, e.current = lifecycle.SecretCurrent, true }},
		{"absent", func(f *lifecycle.Facts, _ *expected) { f.Secret = lifecycle.SecretAbsent }},
		{"stale", func(f *lifecycle.Facts, _ *expected) { f.Secret = lifecycle.SecretStale }},
		{"foreign", func(f *lifecycle.Facts, e *expected) {
			f.Secret, e.foreign, e.fault = lifecycle.SecretForeign, true, true
		}},
		{"not possible", func(f *lifecycle.Facts, e *expected) {
			f.Secret, f.SecretFault, e.impossible, e.fault = lifecycle.SecretStale, secretFault(), true, true
		}},
	}
}

func faultChoices() []choice {
	fault := func(change func(f *lifecycle.Facts)) func(*lifecycle.Facts, *expected) {
		return func(f *lifecycle.Facts, e *expected) { e.fault = true; change(f) }
	}
	deleted := func(f *lifecycle.Facts, e *expected) {
		f.Account.DeletionTimestamp = when(ago(time.Second))
		e.deleted, e.fault = true, true
	}
	schema := func(f *lifecycle.Facts) { f.SchemaTooOld = true }
	keyring := func(f *lifecycle.Facts) { f.KeyringMissing = true }
	suspend := func(f *lifecycle.Facts) { f.Account.Spec.Suspend = true }
	return []choice{
		{"no fault", func(*lifecycle.Facts, *expected) {}},
		{"schema too old", fault(schema)},
		{"keyring missing", fault(keyring)},
		{"suspended", fault(suspend)},
		{"deleted", deleted},
		{"all at once", func(f *lifecycle.Facts, e *expected) { schema(f); keyring(f); suspend(f); deleted(f, e) }},
	}
}

func failureChoices() []choice {
	failed := func(failures v1alpha1.Failures, wait, young bool) func(*lifecycle.Facts, *expected) {
		return func(f *lifecycle.Facts, e *expected) {
			failures.Class = string(oauth.ClientRejected)
			f.Account.Status.Failures = failures
			e.wait, e.young = e.wait || wait, e.young || young
		}
	}
	far := in(73 * 365 * 24 * time.Hour)
	return []choice{
		{"no failure", func(*lifecycle.Facts, *expected) {}},
		{"waiting", failed(v1alpha1.Failures{Count: 9, LastFailureTime: when(ago(time.Minute)), NextAttemptTime: when(in(time.Minute)), InputsHash: hash}, true, false)},
		{"waited", failed(v1alpha1.Failures{Count: 9, LastFailureTime: when(ago(time.Minute)), NextAttemptTime: when(noon()), InputsHash: hash}, false, false)},
		{"waiting with other inputs", failed(v1alpha1.Failures{Count: 9, LastFailureTime: when(ago(time.Minute)), NextAttemptTime: when(in(time.Minute)), InputsHash: "old"}, false, false)},
		{"just failed with other inputs", failed(v1alpha1.Failures{Count: 1, LastFailureTime: when(ago(8 * time.Second)), NextAttemptTime: when(in(time.Minute)), InputsHash: "old"}, true, true)},
		{"forged wait", failed(v1alpha1.Failures{Count: 1, LastFailureTime: when(ago(2 * time.Hour)), NextAttemptTime: when(far), InputsHash: hash}, false, false)},
		{"forged failure", failed(v1alpha1.Failures{Count: -1 << 31, LastFailureTime: when(far), NextAttemptTime: when(far), InputsHash: hash}, false, false)},
		{"half a failure", failed(v1alpha1.Failures{Count: 1 << 30, NextAttemptTime: when(in(time.Minute)), InputsHash: hash}, false, false)},
	}
}

func attemptChoices() []choice {
	return []choice{
		{"never", func(*lifecycle.Facts, *expected) {}},
		{"a second ago", func(f *lifecycle.Facts, e *expected) { f.LastAttempt, e.wait, e.young = ago(time.Second), true, true }},
		{"tomorrow", func(f *lifecycle.Facts, _ *expected) { f.LastAttempt = in(24 * time.Hour) }},
	}
}

// product calls visit with every combination of choices that begins with the given choice; with only some of the failures
// and attempts where a fault stands before them anyway.
func product(first choice, visit func(name string, build func() (*lifecycle.Facts, expected))) {
	rest := dimensions()[1:]
	picked := make([]choice, len(rest)+1)
	picked[0] = first
	var pick func(at int)
	pick = func(at int) {
		if at == len(rest) {
			visit(nameOf(picked), func() (*lifecycle.Facts, expected) {
				facts, e := fresh(), expected{}
				for _, choice := range picked {
					choice.apply(facts, &e)
				}
				return facts, e
			})
			return
		}
		choices := rest[at]
		if at >= 4 && picked[4].name != "no fault" {
			choices = choices[:2]
		}
		for _, next := range choices {
			picked[at+1] = next
			pick(at + 1)
		}
	}
	pick(0)
}

func nameOf(picked []choice) string {
	names := make([]string, len(picked))
	for i, choice := range picked {
		names[i] = choice.name
	}
	return strings.Join(names, "; ")
}

// everywhere runs a check over the whole product; one parallel test for each choice of client.
func everywhere(t *testing.T, check func(f *lifecycle.Facts, e expected) error) {
	t.Helper()
	for _, first := range dimensions()[0] {
		t.Run(first.name, func(t *testing.T) {
			t.Parallel()
			failures := 0
			product(first, func(name string, build func() (*lifecycle.Facts, expected)) {
				facts, e := build()
				err := check(facts, e)
				if err == nil {
					return
				}
				failures++
				if failures <= 5 {
					t.Errorf("%s: %v", name, err)
				}
			})
			if failures > 5 {
				t.Errorf("%d more", failures-5)
			}
		})
	}
}

func TestEveryPlanIsWhatItsFactsSay(t *testing.T) {
	t.Parallel()
	everywhere(t, func(f *lifecycle.Facts, e expected) error {
		plan := lifecycle.Decide(f, noon())
		switch {
		case plan.Action == lifecycle.Exchange != e.calls():
			return fmt.Errorf("%s by the rule %q, but %+v", plan.Action, plan.Rule, e)
		case plan.Publish != e.publishes():
			return fmt.Errorf("publishes: %t by the rule %q, but %+v", plan.Publish, plan.Rule, e)
		case plan.Action == lifecycle.Exchange && len(plan.Scopes) == 0, plan.Action == lifecycle.Rest && plan.Scopes != nil:
			return fmt.Errorf("%s with the scopes %q", plan.Action, plan.Scopes)
		}
		return nil
	})
}

// The sleeping time must be enough: whoever sleeps until Wake, and sees nothing happen, misses no call, and no change
// of what is to be said; and he is not woken for nothing.
func TestNobodySleepsTooLongOrTooShort(t *testing.T) {
	t.Parallel()
	everywhere(t, func(f *lifecycle.Facts, e expected) error {
		status := lifecycle.Status(f, lifecycle.Done{}, noon())
		wake := lifecycle.Wake(f, &status, noon())
		f.Account.Status = status
		f.Account.Status = lifecycle.Status(f, lifecycle.Done{}, noon()) // the write is an event of its own
		plan := lifecycle.Decide(f, noon())
		calls := plan.Action == lifecycle.Exchange
		switch {
		case wake.IsZero():
			// Whoever sleeps for ever has nothing to gain by a look in a year.
			if later := lifecycle.Decide(f, in(365*24*time.Hour)); later.Action == lifecycle.Exchange {
				return fmt.Errorf("sleeps for ever, and would call by the rule %q", later.Rule)
			}
			return sameWords(f, in(365*24*time.Hour))
		case wake.Before(noon()):
			return fmt.Errorf("wakes %v ago", noon().Sub(wake))
		case calls:
			// The call was not made. This is how a lap looks whose facts changed on the way.
			if wake.After(noon()) {
				return fmt.Errorf("calls by the rule %q, but sleeps until %v", plan.Rule, wake)
			}
			return nil
		case wake.Equal(noon()):
			return fmt.Errorf("does not sleep, and has nothing to do but %+v", plan)
		}
		moment := wake.Add(-time.Millisecond)
		if before := lifecycle.Decide(f, moment); before.Action == lifecycle.Exchange {
			return fmt.Errorf("sleeps %v, too long: would call by the rule %q", wake.Sub(noon()), before.Rule)
		}
		if err := sameWords(f, moment); err != nil {
			return fmt.Errorf("sleeps %v, too long: %w", wake.Sub(noon()), err)
		}
		return awakeForSomething(f, e, wake)
	})
}

// sameWords: at the given time, the status is still what it is.
func sameWords(f *lifecycle.Facts, at time.Time) error {
	if later := lifecycle.Status(f, lifecycle.Done{}, at); !reflect.DeepEqual(later, f.Account.Status) {
		return fmt.Errorf("the status changes, with nobody awake: %q becomes %q",
			said(f.Account.Status, v1alpha1.ConditionReady), said(later, v1alpha1.ConditionReady))
	}
	return nil
}

// awakeForSomething: a lap at the given time calls, changes the status, tries something that only a look can tell, or
// finds a later time to sleep to.
func awakeForSomething(f *lifecycle.Facts, e expected, wake time.Time) error {
	plan := lifecycle.Decide(f, wake)
	next := lifecycle.Wake(f, &f.Account.Status, wake)
	silent := sameWords(f, wake) == nil
	if silent && plan.Action == lifecycle.Rest && !plan.Publish && !e.foreign && !f.SchemaTooOld && !next.IsZero() && !next.After(wake) {
		return fmt.Errorf("woken for nothing at %v, and again at %v", wake, next)
	}
	return nil
}

func TestEveryStatusKeepsItsPromises(t *testing.T) {
	t.Parallel()
	everywhere(t, func(f *lifecycle.Facts, _ expected) error {
		before := f.Account.Status.DeepCopy()
		status := lifecycle.Status(f, lifecycle.Done{}, noon())
		if status.SealedCredential != before.SealedCredential || status.BoundTo != before.BoundTo {
			return fmt.Errorf("%q for %v became %q for %v", before.SealedCredential, before.BoundTo, status.SealedCredential, status.BoundTo)
		}
		if status.ObservedGeneration == nil || *status.ObservedGeneration != f.Account.Generation {
			return fmt.Errorf("observed generation is %v", status.ObservedGeneration)
		}
		if err := wellFormed(f, status); err != nil {
			return err
		}
		f.Account.Status = status
		if again := lifecycle.Status(f, lifecycle.Done{}, in(time.Millisecond)); !reflect.DeepEqual(status, again) {
			return fmt.Errorf("a lap in which nothing happened changes %+v to %+v", status, again)
		}
		return nil
	})
}

// quoted is what a message may quote, digits and all: the address of a server, and the value that an annotation must have.
func quoted() *regexp.Regexp {
	return regexp.MustCompile(`https?://\S+|oauth-operator\.dev/[a-z-]+=\S+`)
}

func wellFormed(f *lifecycle.Facts, status v1alpha1.ConnectedAccountStatus) error {
	for _, kind := range []string{
		v1alpha1.ConditionReady, v1alpha1.ConditionClientReady, v1alpha1.ConditionAuthorized, v1alpha1.ConditionRefreshed, v1alpha1.ConditionPublished,
	} {
		if condition(status, kind).Type == "" {
			return fmt.Errorf("there is no condition %s", kind)
		}
	}
	for _, found := range status.Conditions {
		if found.ObservedGeneration != f.Account.Generation || found.Reason == "" || found.Message == "" || found.LastTransitionTime.IsZero() {
			return fmt.Errorf("condition %+v is incomplete", found)
		}
		const digits = "0123456789"
		if strings.ContainsAny(found.Message, digits) && strings.ContainsAny(quoted().ReplaceAllString(found.Message, ""), digits) {
			return fmt.Errorf("the message of %s changes with times or counts: %q", found.Type, found.Message)
		}
	}
	ready := condition(status, v1alpha1.ConditionReady).Status == metav1.ConditionTrue
	reconciling, stalled := condition(status, v1alpha1.ConditionReconciling), condition(status, v1alpha1.ConditionStalled)
	switch {
	case ready && (reconciling.Type != "" || stalled.Type != ""):
		return fmt.Errorf("ready, and %s %s", said(status, reconciling.Type), said(status, stalled.Type))
	case !ready && (reconciling.Status == metav1.ConditionTrue) == (stalled.Status == metav1.ConditionTrue):
		return fmt.Errorf("not ready, and reconciling %q, stalled %q", reconciling.Status, stalled.Status)
	}
	if token := f.Credential; ready && !token.ExpirationTime.IsZero() &&
		(!noon().Before(token.ExpirationTime) || token.IssuedTime.After(in(time.Hour))) {
		return fmt.Errorf("ready with a token from %v to %v", token.IssuedTime, token.ExpirationTime)
	}
	return nil
}

func TestFactsAreNotChanged(t *testing.T) {
	t.Parallel()
	for _, first := range dimensions()[0] {
		t.Run(first.name, func(t *testing.T) {
			t.Parallel()
			product(first, func(name string, build func() (*lifecycle.Facts, expected)) {
				facts, _ := build()
				pristine, _ := build()
				plan := lifecycle.Decide(facts, noon())
				status := lifecycle.Status(facts, lifecycle.Done{}, noon())
				_ = lifecycle.Wake(facts, &status, noon())
				if !reflect.DeepEqual(facts, pristine) {
					t.Fatalf("%s: the facts were changed", name)
				}
				if again := lifecycle.Decide(facts, noon()); !reflect.DeepEqual(plan, again) {
					t.Fatalf("%s: the same facts gave another plan", name)
				}
			})
		})
	}
}
