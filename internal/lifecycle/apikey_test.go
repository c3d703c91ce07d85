package lifecycle_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
)

// withKey is a new account that publishes an API key, which was read.
func withKey() *lifecycle.Facts {
	f := fresh()
	f.Client = nil
	f.Account.Spec = v1alpha1.ConnectedAccountSpec{Grant: v1alpha1.Grant{
		Type: v1alpha1.GrantAPIKey, APIKeyRef: v1alpha1.SecretKeyReference{Name: "bank", Key: "api_key"},
	}}
	f.APIKey.Held = true
	return f
}

// withoutKey takes the key away, for the given reason.
func withoutKey(reason string) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) {
		f.APIKey = lifecycle.APIKey{Finding: &lifecycle.Finding{Condition: v1alpha1.ConditionResolvedRefs, Reason: reason, Message: "mend the Secret"}}
	}
}

func holdsSecret(state lifecycle.SecretState) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) { f.Secret = state }
}

func TestDecideAnAPIKey(t *testing.T) {
	t.Parallel()
	publishes := lifecycle.Plan{Rule: "api key", Action: lifecycle.Rest, Publish: true}
	current := holdsSecret(lifecycle.SecretCurrent)
	gone := withoutKey(v1alpha1.ReasonSecretNotFound)
	decideAll(t, map[string]planCase{
		"a key that is read is published":                 {withKey(), nothing, publishes},
		"one that has changed is published":               {withKey(), holdsSecret(lifecycle.SecretStale), publishes},
		"one that is published is left alone":             {withKey(), current, rests("api key")},
		"another's Secret is left alone":                  {withKey(), holdsSecret(lifecycle.SecretForeign), rests("api key")},
		"a key that cannot be read is not published":      {withKey(), gone, rests("api key")},
		"and what was published stays":                    {withKey(), change(gone, holdsSecret(lifecycle.SecretStale)), rests("api key")},
		"a deleted account is left alone":                 {withKey(), deleted, rests("deleted")},
		"without a keyring it is published all the same":  {withKey(), func(f *lifecycle.Facts) { f.KeyringMissing = true }, publishes},
		"no refresh is due":                               {withKey(), change(current, asksAt(noon())), rests("api key")},
		"nothing is adopted":                              {withKey(), change(current, annotate(v1alpha1.AnnotationAdopt, "old"), forgedStatus), rests("api key")},
		"nothing is imported":                             {withKey(), change(current, imports(lifecycle.ImportNew)), rests("api key")},
		"a claim that somebody has forged is not obeyed":  {withKey(), change(current, forgedClaim), rests("api key")},
		"a credential that somebody has forged is no use": {withKey(), change(current, forgedStatus), rests("api key")},
	})
}

// forgedStatus is a status as no account with an API key has it.
func forgedStatus(f *lifecycle.Facts) {
	f.Credential.State = lifecycle.CredentialElsewhere
	f.Account.Status.SealedCredential = "sealed"
	f.Account.Status.BoundTo = v1alpha1.BoundTo{ClusterID: "cluster", AccountUID: "old"}
	f.Account.Status.Failures = v1alpha1.Failures{Count: 3, Class: "NotSent", LastFailureTime: when(ago(time.Hour)), NextAttemptTime: when(ago(time.Minute))}
}

func forgedClaim(f *lifecycle.Facts) {
	f.Account.Status.Claim = v1alpha1.Claim{ID: "forged", Sequence: 1, Attempt: 1, DurationSeconds: 1}
	f.ClaimHolder, f.ClaimUnchanged = lifecycle.ClaimOrphaned, time.Hour
}

func TestWhatIsSaidOfAnAPIKey(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*lifecycle.Facts)
		done   lifecycle.Done
		want   map[string]string
	}{
		"published": {
			holdsSecret(lifecycle.SecretCurrent), lifecycle.Done{Published: true}, map[string]string{
				"Ready": "True TokenValid", "ClientReady": "True NotRequired", "Authorized": "True NotRequired",
				"Refreshed": "True NotRequired", "Published": "True Published", "Stalled": " ", "Reconciling": " ",
			},
		},
		"its Secret is gone": {
			change(holdsSecret(lifecycle.SecretStale), withoutKey(v1alpha1.ReasonSecretNotFound)), lifecycle.Done{}, map[string]string{
				"Ready": "False SecretNotFound", "ClientReady": "True NotRequired", "Authorized": "False SecretNotFound",
				"Refreshed": "True NotRequired", "Published": "False Pending", "Reconciling": "True Progressing",
			},
		},
		"its owner has withdrawn the consent": {
			change(holdsSecret(lifecycle.SecretStale), withoutKey(v1alpha1.ReasonSecretNotConsented)), lifecycle.Done{}, map[string]string{
				"Ready": "False SecretNotConsented", "Authorized": "False SecretNotConsented", "Stalled": "True SecretNotConsented",
			},
		},
		"another's Secret is in the way": {
			holdsSecret(lifecycle.SecretForeign), lifecycle.Done{}, map[string]string{
				"Ready": "False SecretOwnedByOther", "Published": "False SecretOwnedByOther", "Stalled": "True SecretOwnedByOther",
			},
		},
		"the Secret cannot be written": {
			nothing, lifecycle.Done{PublishFinding: &lifecycle.Finding{
				Condition: v1alpha1.ConditionPublished, Reason: v1alpha1.ReasonSecretWriteFailed, Message: "a quota",
			}}, map[string]string{"Ready": "False SecretWriteFailed", "Published": "False SecretWriteFailed"},
		},
		"the keyring is missing, which it does not need": {
			change(holdsSecret(lifecycle.SecretCurrent), func(f *lifecycle.Facts) { f.KeyringMissing = true }),
			lifecycle.Done{},
			map[string]string{"Ready": "True TokenValid"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := withKey()
			// It was published before.
			f.Secret = lifecycle.SecretCurrent
			settle(f, lifecycle.Done{Published: true}, ago(time.Hour))
			f.Secret = lifecycle.SecretAbsent
			test.change(f)
			settle(f, test.done, noon())
			got := map[string]string{}
			for kind := range test.want {
				got[kind] = said(f.Account.Status, kind)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if err := wellFormed(f, f.Account.Status); err != nil {
				t.Error(err)
			}
			again := f.Account.Status
			settle(f, test.done, noon())
			if !reflect.DeepEqual(again, f.Account.Status) {
				t.Errorf("a second lap changes %+v to %+v", again, f.Account.Status)
			}
		})
	}
}

func TestAnAPIKeyThatCannotBeReadSaysThatTheSecretStays(t *testing.T) {
	t.Parallel()
	f := withKey()
	withoutKey(v1alpha1.ReasonSecretNotConsented)(f)
	settle(f, lifecycle.Done{}, noon())
	message := condition(f.Account.Status, v1alpha1.ConditionReady).Message
	if !strings.Contains(message, "the Secret acme is left as it is") || !strings.HasSuffix(message, "mend the Secret") {
		t.Errorf("the message is %q", message)
	}
}

// Nobody is awake for a key: its Secret's changes are events.
func TestAnAPIKeySleeps(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*lifecycle.Facts)
		want   time.Time
	}{
		"published":                    {holdsSecret(lifecycle.SecretCurrent), time.Time{}},
		"its Secret is gone":           {withoutKey(v1alpha1.ReasonSecretNotFound), time.Time{}},
		"not published yet":            {nothing, in(time.Minute)},
		"another's Secret":             {holdsSecret(lifecycle.SecretForeign), in(15 * time.Second)},
		"with a status that is forged": {change(holdsSecret(lifecycle.SecretCurrent), forgedStatus), time.Time{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := withKey()
			test.change(f)
			status := lifecycle.Status(f, lifecycle.Done{}, noon())
			if wake := lifecycle.Wake(f, &status, noon()); !wake.Equal(test.want) {
				t.Errorf("wakes at %v, want %v", wake, test.want)
			}
		})
	}
}

func TestTheHeaderThatNamesAConnectedAccount(t *testing.T) {
	t.Parallel()
	says := func(header v1alpha1.HeaderName) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) { f.Client.Spec.OnBehalfOf.Header = header }
	}
	remembers := func(header v1alpha1.HeaderName) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) { f.Account.Status.OnBehalfOfHeader = header }
	}
	clientGone := func(f *lifecycle.Facts) { f.Client = nil }
	tests := map[string]struct {
		facts  *lifecycle.Facts
		change func(*lifecycle.Facts)
		want   v1alpha1.HeaderName
		// kept is what the status remembers afterwards.
		kept v1alpha1.HeaderName
	}{
		"is the usual one":                         {healthy(), nothing, "on-behalf-of", ""},
		"is the client's":                          {healthy(), says("Stripe-Account"), "Stripe-Account", "Stripe-Account"},
		"is the usual one again":                   {healthy(), remembers("Stripe-Account"), "on-behalf-of", ""},
		"is what the client says now":              {healthy(), change(remembers("Stripe-Account"), says("Xero-tenant-id")), "Xero-tenant-id", "Xero-tenant-id"},
		"is what the client said, once it is gone": {healthy(), change(remembers("Stripe-Account"), clientGone), "Stripe-Account", "Stripe-Account"},
		"is what a client elsewhere said, once it may not be used": {
			healthy(), change(elsewhere, says("Other"), func(f *lifecycle.Facts) { f.Client.Spec.AllowedNamespaces = nil }, remembers("Stripe-Account")),
			"Stripe-Account", "Stripe-Account",
		},
		"is the usual one where nobody ever said": {healthy(), clientGone, "on-behalf-of", ""},
		"is said by a client that is not ready":   {healthy(), change(says("Stripe-Account"), func(f *lifecycle.Facts) { f.Client.Generation++ }), "Stripe-Account", "Stripe-Account"},
		"is the account's, with an API key":       {withKey(), func(f *lifecycle.Facts) { f.Account.Spec.OnBehalfOfHeader = "Stripe-Account" }, "Stripe-Account", ""},
		"is the usual one, with an API key":       {withKey(), remembers("Stripe-Account"), "on-behalf-of", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.change(test.facts)
			if got := lifecycle.OnBehalfOfHeader(test.facts); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			status := lifecycle.Status(test.facts, lifecycle.Done{}, noon())
			if status.OnBehalfOfHeader != test.kept {
				t.Errorf("the status remembers %q, want %q", status.OnBehalfOfHeader, test.kept)
			}
		})
	}
}
