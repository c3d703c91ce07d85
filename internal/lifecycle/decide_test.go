package lifecycle_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	rests := func(rule string) lifecycle.Plan { return lifecycle.Plan{Rule: rule, Action: lifecycle.Rest} }
	calls := func(rule string) lifecycle.Plan {
		return lifecycle.Plan{Rule: rule, Action: lifecycle.Exchange, Scopes: []string{"read"}}
	}
	publishes := lifecycle.Plan{Rule: "nothing to do", Action: lifecycle.Rest, Publish: true}
	due := func(f *lifecycle.Facts) { f.Credential = held(ago(50*time.Minute), in(10*time.Minute)) }
	failed := func(since, until time.Duration) func(f *lifecycle.Facts) {
		return func(f *lifecycle.Facts) {
			f.Account.Status.Failures = v1alpha1.Failures{
				Count: 3, Class: string(oauth.ClientRejected), LastFailureTime: when(ago(since)), NextAttemptTime: when(in(until)), InputsHash: hash,
			}
		}
	}
	then := func(changes ...func(*lifecycle.Facts)) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) {
			for _, change := range changes {
				change(f)
			}
		}
	}
	audience := func(value string) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) {
			f.Client.Spec.TokenRequest.Parameters = []v1alpha1.TokenParameter{{Name: "audience", Value: value}}
		}
	}
	askedWith := func(f *lifecycle.Facts) { f.Credential.Parameters = lifecycle.RequestParameters(f.Client) }
	tests := map[string]struct {
		facts  *lifecycle.Facts
		change func(*lifecycle.Facts)
		want   lifecycle.Plan
	}{
		"a healthy account has nothing to do": {healthy(), nil, rests("nothing to do")},
		"a new account gets its first token":  {fresh(), nil, calls("no credential")},
		"without scopes of its own, an account asks for the client's": {
			fresh(), func(f *lifecycle.Facts) { f.Account.Spec.Scopes = nil },
			lifecycle.Plan{Rule: "no credential", Action: lifecycle.Exchange, Scopes: []string{"read", "write"}},
		},
		"a token that is due is refreshed":                     {healthy(), due, calls("refresh due")},
		"a token without known expiry is left alone for years": {healthy(), func(f *lifecycle.Facts) { f.Credential = held(ago(9*365*24*time.Hour), time.Time{}) }, rests("nothing to do")},
		"other scopes need another token": {
			healthy(), func(f *lifecycle.Facts) { f.Account.Spec.Scopes = []v1alpha1.Scope{"write"} },
			lifecycle.Plan{Rule: "request changed", Action: lifecycle.Exchange, Scopes: []string{"write"}},
		},
		"the same scopes in another order do not": {
			healthy(), func(f *lifecycle.Facts) {
				f.Account.Spec.Scopes = []v1alpha1.Scope{"write", "read"}
				f.Credential.RequestedScopes = []string{"read", "write"}
				f.Credential.Scopes = []string{"read", "write"}
			}, rests("nothing to do"),
		},
		"another client id needs another token": {healthy(), func(f *lifecycle.Facts) { f.Client.Spec.ClientID = "other" }, calls("request changed")},
		"a client id that comes from a Secret waits for the next refresh": {
			healthy(), func(f *lifecycle.Facts) {
				f.Client.Spec.ClientID, f.Client.Spec.ClientIDRef = "", v1alpha1.SecretKeyReference{Name: "bank", Key: "id"}
			}, rests("nothing to do"),
		},
		"another audience needs another token": {healthy(), audience("a"), calls("request changed")},
		"another value of it needs another token": {
			healthy(), then(audience("a"), askedWith, audience("b")), calls("request changed"),
		},
		"no audience any more needs another token": {
			healthy(), then(audience("a"), askedWith, func(f *lifecycle.Facts) { f.Client.Spec.TokenRequest = v1alpha1.TokenRequest{} }), calls("request changed"),
		},
		"the same audience does not":             {healthy(), then(audience("a"), askedWith), rests("nothing to do")},
		"another timeout of a request does not":  {healthy(), func(f *lifecycle.Facts) { f.Client.Spec.TokenRequest.TimeoutSeconds = 7 }, rests("nothing to do")},
		"another host needs another token":       {healthy(), func(f *lifecycle.Facts) { f.Client.Spec.Endpoints.Token = "https://other.example/token" }, calls("request changed")},
		"another path on the same host does not": {healthy(), func(f *lifecycle.Facts) { f.Client.Spec.Endpoints.Token = "https://bank.example:443/v2" }, rests("nothing to do")},
		"a change waits half a minute after the last request": {
			healthy(), func(f *lifecycle.Facts) {
				f.Credential = held(ago(29*time.Second), in(time.Hour))
				f.Client.Spec.ClientID = "other"
			}, rests("nothing to do"),
		},
		"a token from tomorrow is replaced": {healthy(), func(f *lifecycle.Facts) { f.Credential = held(in(24*time.Hour), in(25*time.Hour)) }, calls("clock went back")},
		"a token from four minutes ahead is the skew of two clocks": {
			healthy(), func(f *lifecycle.Facts) { f.Credential = held(in(4*time.Minute), in(time.Hour)) }, rests("nothing to do"),
		},

		"a deleted account is left alone": {
			fresh(), func(f *lifecycle.Facts) { f.Account.DeletionTimestamp = when(noon()) }, rests("deleted"),
		},
		"a definition that drops fields stops everything":  {fresh(), func(f *lifecycle.Facts) { f.SchemaTooOld = true }, rests("schema too old")},
		"without a keyring, nothing could be kept":         {fresh(), func(f *lifecycle.Facts) { f.KeyringMissing = true }, rests("keyring missing")},
		"without the key, it is not known what is held":    {fresh(), func(f *lifecycle.Facts) { f.Credential.State = lifecycle.CredentialKeyMissing }, rests("keyring missing")},
		"a credential of another cluster is not used":      {fresh(), func(f *lifecycle.Facts) { f.Credential.State = lifecycle.CredentialElsewhere }, rests("credential not ours or not readable")},
		"a credential that does not open is not replaced":  {fresh(), func(f *lifecycle.Facts) { f.Credential.State = lifecycle.CredentialUnreadable }, rests("credential not ours or not readable")},
		"a credential of a later version is not replaced":  {fresh(), func(f *lifecycle.Facts) { f.Credential.State = lifecycle.CredentialNewerFormat }, rests("credential not ours or not readable")},
		"without a client, there is nobody to ask":         {fresh(), func(f *lifecycle.Facts) { f.Client = nil }, rests("client not available")},
		"a client for other grants is not used":            {fresh(), func(f *lifecycle.Facts) { f.Client.Spec.Grants = []v1alpha1.GrantType{"Other"} }, rests("client not available")},
		"S20: client credentials are not shared by chance": {fresh(), then(elsewhere, func(f *lifecycle.Facts) { f.Client.Spec.AllowedNamespaces = nil }), rests("client not available")},
		"client credentials are shared where it is said":   {fresh(), elsewhere, calls("no credential")},
		"a client that was never checked is waited for":    {fresh(), func(f *lifecycle.Facts) { f.Client.Status.Conditions = nil }, rests("client not ready")},
		"a client that has changed is waited for":          {fresh(), func(f *lifecycle.Facts) { f.Client.Generation++ }, rests("client not ready")},
		"a client that is not ready is waited for":         {fresh(), func(f *lifecycle.Facts) { f.Client.Status.Conditions[0].Status = metav1.ConditionFalse }, rests("client not ready")},
		"a client whose readiness is unknown is not ready": {fresh(), func(f *lifecycle.Facts) { f.Client.Status.Conditions[0].Status = metav1.ConditionUnknown }, rests("client not ready")},
		"S47: a scope above the ceiling is not asked for":  {fresh(), then(elsewhere, func(f *lifecycle.Facts) { f.Account.Spec.Scopes = []v1alpha1.Scope{"write"} }), rests("scope not allowed")},
		"no token is asked for that no Secret could hold":  {fresh(), func(f *lifecycle.Facts) { f.SecretFault = secretFault() }, rests("secret not possible")},
		"nor is one refreshed, or what is held published": {
			healthy(), then(due, func(f *lifecycle.Facts) { f.Secret, f.SecretFault = lifecycle.SecretStale, secretFault() }), rests("secret not possible"),
		},
		"a Secret of somebody else's is left alone": {fresh(), func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretForeign }, rests("secret owned by other")},
		"a suspended account asks for nothing":      {fresh(), func(f *lifecycle.Facts) { f.Account.Spec.Suspend = true }, rests("suspended")},
		"a request four seconds ago was too soon ago": {
			fresh(), func(f *lifecycle.Facts) { f.LastAttempt = ago(4 * time.Second) }, rests("too soon"),
		},
		"a request whose outcome nobody wrote down is waited for": {
			fresh(), func(f *lifecycle.Facts) { f.LastAttempt = ago(29 * time.Second) }, rests("too soon"),
		},
		"but not for ever": {fresh(), func(f *lifecycle.Facts) { f.LastAttempt = ago(30 * time.Second) }, calls("no credential")},
		"a token of four seconds is too young": {
			healthy(), func(f *lifecycle.Facts) { f.Credential = held(ago(4*time.Second), ago(3*time.Second)) }, rests("too soon"),
		},
		"a token that expired five seconds after its issue is refreshed": {
			healthy(), func(f *lifecycle.Facts) { f.Credential = held(ago(5*time.Second), noon()) }, calls("refresh due"),
		},
		"after a failure, its wait is kept":                                    {healthy(), then(due, failed(time.Minute, time.Second)), rests("too soon")},
		"after the wait, the request is made again":                            {healthy(), then(due, failed(time.Minute, 0)), calls("refresh due")},
		"changed inputs need not wait":                                         {healthy(), then(due, failed(time.Minute, time.Hour), func(f *lifecycle.Facts) { f.InputsHash = "changed" }), calls("refresh due")},
		"changed inputs wait half a minute":                                    {healthy(), then(due, failed(29*time.Second, time.Hour), func(f *lifecycle.Facts) { f.InputsHash = "changed" }), rests("too soon")},
		"changed inputs wait half a minute, even where the failure waits less": {healthy(), then(due, failed(10*time.Second, 0), func(f *lifecycle.Facts) { f.InputsHash = "changed" }), rests("too soon")},
		"a wait until 2099 is not believed":                                    {healthy(), then(due, failed(2*time.Hour, 73*365*24*time.Hour)), calls("refresh due")},
		"a failure in 2099 is not believed":                                    {healthy(), then(due, failed(-73*365*24*time.Hour, 73*365*24*time.Hour)), calls("refresh due")},
		"a throttle of an hour and a tenth is kept":                            {healthy(), then(due, failed(0, 66*time.Minute)), rests("too soon")},
		"so it is by a clock that is a little behind":                          {healthy(), then(due, failed(-time.Minute, 67*time.Minute)), rests("too soon")},
		"an attempt in the future is not believed":                             {healthy(), then(due, func(f *lifecycle.Facts) { f.LastAttempt = in(24 * time.Hour) }), calls("refresh due")},

		"a Secret that is gone is written, without the provider": {healthy(), func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretAbsent }, publishes},
		"a Secret that was edited is put right":                  {healthy(), func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretStale }, publishes},
		"so it is while the account is suspended": {
			healthy(), func(f *lifecycle.Facts) { f.Account.Spec.Suspend, f.Secret = true, lifecycle.SecretAbsent },
			lifecycle.Plan{Rule: "suspended", Action: lifecycle.Rest, Publish: true},
		},
		"and while there is no client": {
			healthy(), func(f *lifecycle.Facts) { f.Client, f.Secret = nil, lifecycle.SecretAbsent },
			lifecycle.Plan{Rule: "client not available", Action: lifecycle.Rest, Publish: true},
		},
		"an exchange publishes what it brings, not what was there before": {
			healthy(), then(due, func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretAbsent }), calls("refresh due"),
		},
		"S47: a token that can do too much is not published": {
			healthy(), then(elsewhere, exceeds), rests("nothing to do"),
		},
		"S47: nor after its client was deleted": {
			healthy(), then(elsewhere, exceeds, func(f *lifecycle.Facts) { f.Client = nil }), rests("client not available"),
		},
		"S47: nor after its namespace may not use the client any more": {
			healthy(), then(elsewhere, exceeds, func(f *lifecycle.Facts) { f.Client.Spec.AllowedNamespaces = nil }), rests("client not available"),
		},
		"S47: nor after the account turned to a client of its own": {
			healthy(), then(elsewhere, exceeds, func(f *lifecycle.Facts) {
				f.Credential.ClientNamespace = other
				f.Account.Spec.ClientRef.Namespace, f.Client = "", newClient(home)
			}), calls("request changed"),
		},
		"S47: nor while that client is not ready": {
			healthy(), then(elsewhere, exceeds, func(f *lifecycle.Facts) {
				f.Credential.ClientNamespace = other
				f.Account.Spec.ClientRef.Namespace, f.Client = "", nil
			}), rests("client not available"),
		},
		"S47: nor after it turned to a third namespace's, which allows more": {
			healthy(), then(elsewhere, exceeds, func(f *lifecycle.Facts) {
				f.Credential.ClientNamespace = other
				f.Account.Spec.ClientRef.Namespace = "third"
				f.Client.Spec.AllowedNamespaces[0].Scopes = f.Client.Spec.Scopes
				f.Client.Status.Conditions[0].Status = metav1.ConditionFalse
			}), rests("client not ready"),
		},
		"S47: it is published once its own client's owner allows it": {
			healthy(), then(elsewhere, exceeds, func(f *lifecycle.Facts) {
				f.Credential.ClientNamespace = other
				f.Client.Spec.AllowedNamespaces[0].Scopes = f.Client.Spec.Scopes
			}), publishes,
		},
		"in the client's own namespace more than was asked for is welcome": {
			healthy(), exceeds, publishes,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.change != nil {
				test.change(test.facts)
			}
			if diff := cmp.Diff(test.want, lifecycle.Decide(test.facts, noon())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// exceeds: the server granted write as well, and the Secret is gone.
func exceeds(f *lifecycle.Facts) {
	f.Credential.Scopes = []string{"read", "write"}
	f.Secret = lifecycle.SecretAbsent
}
