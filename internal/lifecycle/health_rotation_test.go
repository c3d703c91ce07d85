package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// with is an account of refresh tokens, changed.
func with(account func() *lifecycle.Facts, changes ...func(*lifecycle.Facts)) func(*lifecycle.Facts) lifecycle.Done {
	return func(f *lifecycle.Facts) lifecycle.Done {
		*f = *account()
		change(changes...)(f)
		return lifecycle.Done{}
	}
}

// refusedWith is a lap in which the token request of an account of refresh tokens was refused.
func refusedWith(class oauth.Class, changes ...func(*lifecycle.Facts)) func(*lifecycle.Facts) lifecycle.Done {
	return func(f *lifecycle.Facts) lifecycle.Done {
		with(overdue, changes...)(f)
		return lifecycle.Done{Failure: &lifecycle.Failure{Class: class, Message: "no token came"}}
	}
}

// usedUp lets the access token expire.
func usedUp(f *lifecycle.Facts) {
	f.Credential.IssuedTime, f.Credential.ExpirationTime = ago(2*time.Hour), ago(time.Hour)
	f.Account.Status.ExpirationTime = when(ago(time.Hour))
}

func grantStates() []health {
	missing := imports(lifecycle.ImportFault)
	already := func(f *lifecycle.Facts) { missing(f); f.Import.Finding = alreadyImported() }
	unusable := func(reason string) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) {
			missing(f)
			f.Import.Finding = &lifecycle.Finding{Condition: v1alpha1.ConditionAuthorized, Reason: reason, Message: "the Secret"}
		}
	}
	unconsented := unusable(v1alpha1.ReasonSecretNotConsented)
	tokenless := func(f *lifecycle.Facts) { f.Credential.HasRefreshToken = false }
	moved := endpoint("https://other.example:8443/token")
	older := func(f *lifecycle.Facts) { f.HighestRotation = 5; f.Secret = lifecycle.SecretStale }
	unused := func(f *lifecycle.Facts) {
		f.Credential.HasAccessToken, f.Secret, f.Account.Status = false, lifecycle.SecretAbsent, v1alpha1.ConnectedAccountStatus{}
	}
	elsewhere := func(f *lifecycle.Facts) {
		f.Credential, f.Secret = lifecycle.Credential{State: lifecycle.CredentialElsewhere}, lifecycle.SecretAbsent
		f.Account.Status.BoundTo.AccountUID = "earlier"
	}
	return []health{
		{"a refresh token is held", with(rotating), "True TokenValid", current(), nobody},
		{"a refresh token is held, and another waits", with(rotating, imports(lifecycle.ImportNew)), "True TokenValid", current(), nobody},
		{"a refresh token was imported, before its first use", with(rotating, unused), "False Pending", progresses(), nobody},
		{"a refresh token waits for the client to be ready", with(importing, imports(lifecycle.ImportNew), func(f *lifecycle.Facts) { f.Client.Generation++ }), "False ClientNotReady", progresses(), nobody},
		{"a refresh token waits for the end of a suspension", with(importing, imports(lifecycle.ImportNew), func(f *lifecycle.Facts) { f.Account.Spec.Suspend = true }), "False AuthorizationRequired", awaitsPerson(), owner},
		{"no refresh token, and no room for the account in its namespace", with(importing, func(f *lifecycle.Facts) { f.BeyondLimit = true }), "False AuthorizationRequired", degraded(), owner},
		{"no refresh token, and no access token", with(importing), "False AuthorizationRequired", awaitsPerson(), owner},
		{"no refresh token, with an access token", with(rotating, tokenless), "True AuthorizationRequired", current(), owner},
		{"no refresh token, and the access token has expired", with(rotating, tokenless, usedUp), "False AuthorizationRequired", awaitsPerson(), owner},
		{"the refresh token was imported by another account", with(importing, already), "False AlreadyImported", degraded(), owner},
		{"so was one for later, while the grant lives", with(rotating, already), "True TokenValid", current(), nobody},
		{"the refresh token's owner did not consent", with(importing, unconsented), "False SecretNotConsented", degraded(), "the Secret's owner"},
		{"the refresh token's Secret is not there", with(importing, unusable(v1alpha1.ReasonSecretNotFound)), "False SecretNotFound", progresses(), owner},
		{"the refresh token's Secret has no such key", with(importing, unusable(v1alpha1.ReasonSecretKeyMissing)), "False SecretKeyMissing", progresses(), owner},
		{"the client names another host, with a token", with(rotating, moved), "True EndpointChanged", current(), client},
		{"the client names another host, without a token", with(rotating, moved, usedUp), "False EndpointChanged", degraded(), client},
		{"the status was rolled back, with a token", with(rotating, older), "True CredentialRolledBack", current(), owner},
		{"the status was rolled back, and its token has expired", with(rotating, older, usedUp), "False CredentialRolledBack", degraded(), owner},
		{"a refresh token of an earlier account", with(rotating, elsewhere), "False CredentialFromElsewhere", degraded(), owner},
	}
}

// refusalStates: each class of failure of a refresh, with a token and without.
func refusalStates() []health {
	var table []health
	for _, row := range []struct {
		class  oauth.Class
		reason string
		pipeline
		acts string
	}{
		{oauth.RefreshTokenRejected, v1alpha1.ReasonRefreshTokenRejected, degraded(), owner},
		{lifecycle.RefreshTokenLost, v1alpha1.ReasonRefreshTokenLost, degraded(), owner},
		{oauth.AuthorizationRequired, v1alpha1.ReasonAuthorizationRequired, awaitsPerson(), owner},
		{oauth.AuthorizationDenied, v1alpha1.ReasonAuthorizationDenied, degraded(), owner},
		{oauth.OutcomeUnknown, v1alpha1.ReasonOutcomeUnknown, progresses(), nobody},
		{oauth.InvalidResponse, v1alpha1.ReasonInvalidResponse, progresses(), provider},
		{oauth.ClientRejected, v1alpha1.ReasonClientRejected, degraded(), client},
	} {
		doubtful := claimed(lifecycle.ClaimInDoubt, 1, time.Second)
		table = append(table,
			health{"a refresh failed, " + string(row.class) + ", with a token", refusedWith(row.class), "True " + row.reason, current(), row.acts},
			health{"a refresh failed, " + string(row.class) + ", without a token", refusedWith(row.class, usedUp), "False " + row.reason, row.pipeline, row.acts},
			health{"a refresh failed, " + string(row.class) + ", and its claim is open", refusedWith(row.class, doubtful), "True " + row.reason, current(), row.acts},
		)
	}
	return table
}

// What a person must do about a grant is said where it is wanted, and stays the same while nothing changes: whoever waits
// for a word to change must not be woken by a counter.
func TestWhatIsSaidOfAGrantIsWhatToDo(t *testing.T) {
	t.Parallel()
	const again, replace = "have the person authorize", "kubectl annotate --overwrite connectedaccount -n shop acme oauth-operator.dev/"
	tests := map[string]struct {
		account func(*lifecycle.Facts) lifecycle.Done
		want    string // status and reason of Authorized
		says    []string
	}{
		"nothing, while all is well":            {with(rotating), "True Authorized", []string{"holds a refresh token"}},
		"how to give the grant up":              {with(rotating, imports(lifecycle.ImportNew)), "True Authorized", []string{"the Secret bank", replace + "replace-grant=2"}},
		"where to put a refresh token":          {with(importing), "False AuthorizationRequired", []string{again, "spec.importRefreshTokenRef"}},
		"that one will be imported":             {with(importing, imports(lifecycle.ImportNew)), "False AuthorizationRequired", []string{"is imported as soon as"}},
		"that it was refused":                   {with(overdue, refusing(oauth.RefreshTokenRejected)), "False RefreshTokenRejected", []string{"ended there, or the token was used elsewhere", "Have the person authorize", "spec.importRefreshTokenRef"}},
		"that it was lost, and until when":      {with(overdue, refusing(lifecycle.RefreshTokenLost)), "False RefreshTokenLost", []string{"lost on the way", "good until it expires", again, "spec.importRefreshTokenRef"}},
		"that a refusal may pass":               {with(overdue, refusing(oauth.AuthorizationRequired)), "False AuthorizationRequired", []string{"authorize again", "from time to time"}},
		"that a denial may":                     {with(overdue, refusing(oauth.AuthorizationDenied)), "False AuthorizationDenied", []string{"denied at the provider", "from time to time"}},
		"which origin would have to be allowed": {with(rotating, endpoint("https://other.example/token")), "False EndpointChanged", []string{"kubectl annotate --overwrite oauthclient -n shop bank oauth-operator.dev/accept-origin=https://other.example:443"}},
		"that the client is another one":        {with(rotating, func(f *lifecycle.Facts) { f.Client.Spec.ClientID = "other" }), "False EndpointChanged", []string{"put the identifier back", again}},
		"how to come forward again":             {with(rotating, func(f *lifecycle.Facts) { f.HighestRotation = 5 }), "False CredentialRolledBack", []string{"status.sealedCredential back", again}},
		"how to adopt": {with(rotating, func(f *lifecycle.Facts) {
			f.Credential, f.Account.Status.BoundTo.AccountUID = lifecycle.Credential{State: lifecycle.CredentialElsewhere}, "earlier"
		}), "False CredentialFromElsewhere", []string{"status.boundTo", replace + "adopt=earlier"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := importing()
			test.account(f)
			now := lifecycle.Status(f, lifecycle.Done{}, noon())
			found := condition(now, v1alpha1.ConditionAuthorized)
			if said(now, v1alpha1.ConditionAuthorized) != test.want {
				t.Fatalf("said is %q, want %q", said(now, v1alpha1.ConditionAuthorized), test.want)
			}
			for _, word := range test.says {
				if !strings.Contains(found.Message, word) {
					t.Errorf("%q is not said: %s", word, found.Message)
				}
			}
			if f.Account.Status.Failures.Count > 0 {
				f.Account.Status.Failures.Count = 1234
			}
			if f.HighestRotation > f.Credential.Rotation {
				f.HighestRotation = 1234
			}
			f.Account.Status.ClaimSequence = 1234
			later := lifecycle.Status(f, lifecycle.Done{}, in(20*time.Minute))
			if message := condition(later, v1alpha1.ConditionAuthorized).Message; message != found.Message {
				t.Errorf("another time, other counters, and another message:\n%s\n%s", found.Message, message)
			}
		})
	}
}

// A grant that dies shows in Ready, which stays True until the last access token has expired; and at that moment somebody
// looks.
func TestALostGrantIsReadyToItsEnd(t *testing.T) {
	t.Parallel()
	for class, reason := range map[oauth.Class]string{oauth.RefreshTokenRejected: v1alpha1.ReasonRefreshTokenRejected, lifecycle.RefreshTokenLost: v1alpha1.ReasonRefreshTokenLost} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			f := importing()
			settle(f, refusedWith(class)(f), noon())
			if f.Account.Status.Failures.NextAttemptTime != nil {
				t.Errorf("a next attempt is promised: %v", f.Account.Status.Failures)
			}
			end := f.Credential.ExpirationTime
			wake := lifecycle.Wake(f, &f.Account.Status, noon())
			if !wake.Equal(end) {
				t.Errorf("wakes at %v, want %v", wake, end)
			}
			for at, want := range map[time.Time]string{noon(): "True " + reason, end.Add(-1): "True " + reason, end: "False " + reason} {
				if got := said(lifecycle.Status(f, lifecycle.Done{}, at), v1alpha1.ConditionReady); got != want {
					t.Errorf("%v: Ready is %q, want %q", at, got, want)
				}
			}
			f.Account.Status = lifecycle.Status(f, lifecycle.Done{}, end)
			if wake := lifecycle.Wake(f, &f.Account.Status, end); !wake.IsZero() {
				t.Errorf("then wakes at %v", wake)
			}
		})
	}
}
