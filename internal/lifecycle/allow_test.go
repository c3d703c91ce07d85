package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
)

func TestWhoMayUseASharedClient(t *testing.T) {
	t.Parallel()
	const (
		available   = "True ClientReady, True NotRequired"
		unavailable = "False ClientNotAvailable, True NotRequired"
		beyond      = "True ClientReady, False ScopeNotAllowed"
	)
	both := []v1alpha1.GrantType{v1alpha1.GrantClientCredentials, "AuthorizationCode"}
	selecting := func(selector *metav1.LabelSelector) v1alpha1.AllowedNamespaces {
		return v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromSelector, Selector: selector, Grants: both, Scopes: []v1alpha1.Scope{"read"}}
	}
	requires := func(key string, operator metav1.LabelSelectorOperator, values ...string) v1alpha1.AllowedNamespaces {
		return selecting(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}}})
	}
	billing := selecting(&metav1.LabelSelector{MatchLabels: map[string]string{"billing": "allowed"}})
	all := func(grants []v1alpha1.GrantType, scopes ...v1alpha1.Scope) v1alpha1.AllowedNamespaces {
		return v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll, Grants: grants, Scopes: scopes}
	}
	tests := map[string]struct {
		entries []v1alpha1.AllowedNamespaces
		labels  map[string]string
		scopes  []v1alpha1.Scope
		want    string
	}{
		"nobody, where nothing is said":                    {nil, nil, []v1alpha1.Scope{"read"}, unavailable},
		"everybody":                                        {[]v1alpha1.AllowedNamespaces{all(both, "read")}, nil, []v1alpha1.Scope{"read"}, available},
		"S20: nobody, where the grant is not named":        {[]v1alpha1.AllowedNamespaces{all(nil, "read")}, nil, []v1alpha1.Scope{"read"}, unavailable},
		"nobody, where another grant is named":             {[]v1alpha1.AllowedNamespaces{all(both[1:], "read")}, nil, []v1alpha1.Scope{"read"}, unavailable},
		"a namespace with the label":                       {[]v1alpha1.AllowedNamespaces{billing}, map[string]string{"billing": "allowed"}, []v1alpha1.Scope{"read"}, available},
		"not one with another value":                       {[]v1alpha1.AllowedNamespaces{billing}, map[string]string{"billing": "no"}, []v1alpha1.Scope{"read"}, unavailable},
		"not one without labels":                           {[]v1alpha1.AllowedNamespaces{billing}, nil, []v1alpha1.Scope{"read"}, unavailable},
		"the second entry counts as well":                  {[]v1alpha1.AllowedNamespaces{billing, all(both, "read")}, nil, []v1alpha1.Scope{"read"}, available},
		"an empty selector selects all":                    {[]v1alpha1.AllowedNamespaces{selecting(&metav1.LabelSelector{})}, nil, []v1alpha1.Scope{"read"}, available},
		"a missing selector selects none":                  {[]v1alpha1.AllowedNamespaces{selecting(nil)}, nil, []v1alpha1.Scope{"read"}, unavailable},
		"an unknown operator selects none":                 {[]v1alpha1.AllowedNamespaces{requires("billing", "Around")}, nil, []v1alpha1.Scope{"read"}, unavailable},
		"In without values selects none":                   {[]v1alpha1.AllowedNamespaces{requires("billing", metav1.LabelSelectorOpIn)}, map[string]string{"billing": ""}, []v1alpha1.Scope{"read"}, unavailable},
		"NotIn without values selects none":                {[]v1alpha1.AllowedNamespaces{requires("billing", metav1.LabelSelectorOpNotIn)}, nil, []v1alpha1.Scope{"read"}, unavailable},
		"a key that is none selects none":                  {[]v1alpha1.AllowedNamespaces{requires("no key!", metav1.LabelSelectorOpDoesNotExist)}, nil, []v1alpha1.Scope{"read"}, unavailable},
		"DoesNotExist selects those without":               {[]v1alpha1.AllowedNamespaces{requires("tenant", metav1.LabelSelectorOpDoesNotExist)}, nil, []v1alpha1.Scope{"read"}, available},
		"an unknown kind of entry selects none":            {[]v1alpha1.AllowedNamespaces{{From: "Friends", Grants: both, Scopes: []v1alpha1.Scope{"read"}}}, nil, []v1alpha1.Scope{"read"}, unavailable},
		"a scope that is not listed is beyond":             {[]v1alpha1.AllowedNamespaces{all(both, "read")}, nil, []v1alpha1.Scope{"read", "write"}, beyond},
		"any scope is beyond, where none is listed":        {[]v1alpha1.AllowedNamespaces{all(both)}, nil, []v1alpha1.Scope{"read"}, beyond},
		"scopes of several entries add up":                 {[]v1alpha1.AllowedNamespaces{all(both, "read"), all(both, "write")}, nil, []v1alpha1.Scope{"read", "write"}, available},
		"but not those of an entry for others":             {[]v1alpha1.AllowedNamespaces{all(both, "read"), all(both[1:], "write")}, nil, []v1alpha1.Scope{"write"}, beyond},
		"an entry gives no more than the client has":       {[]v1alpha1.AllowedNamespaces{all(both, "admin")}, nil, []v1alpha1.Scope{"admin"}, beyond},
		"whoever lists no scope asks for all, and may not": {[]v1alpha1.AllowedNamespaces{all(both, "read", "write")}, nil, nil, beyond},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fresh()
			elsewhere(f)
			f.Client.Spec.AllowedNamespaces, f.NamespaceLabels, f.Account.Spec.Scopes = test.entries, test.labels, test.scopes
			status := lifecycle.Status(f, lifecycle.Done{}, noon())
			if got := said(status, v1alpha1.ConditionClientReady) + ", " + said(status, v1alpha1.ConditionAuthorized); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if calls := lifecycle.Decide(f, noon()).Action == lifecycle.Exchange; calls != (test.want == available) {
				t.Errorf("calls the provider: %t", calls)
			}
		})
	}
}

func TestAClientWithoutScopesIsSharedWithoutScopes(t *testing.T) {
	t.Parallel()
	f := fresh()
	elsewhere(f)
	f.Client.Spec.Scopes, f.Client.Spec.AllowedNamespaces[0].Scopes, f.Account.Spec.Scopes = nil, nil, nil
	if plan := lifecycle.Decide(f, noon()); plan.Action != lifecycle.Exchange || len(plan.Scopes) != 0 {
		t.Errorf("the plan is %+v", plan)
	}
}

func TestScopesPublishable(t *testing.T) {
	t.Parallel()
	own, shared, gone := healthy(), healthy(), healthy()
	elsewhere(shared)
	elsewhere(gone)
	gone.Client = nil
	for _, f := range []*lifecycle.Facts{own, shared, gone} {
		if !lifecycle.Publishable(f) {
			t.Errorf("what was asked for and granted is not published: %+v", f.Credential)
		}
		f.Credential.Scopes = []string{"read", "write"}
	}
	if !lifecycle.Publishable(own) {
		t.Error("more than was asked for is not published in the client's own namespace")
	}
	if lifecycle.Publishable(shared) || lifecycle.Publishable(gone) {
		t.Error("more than was asked for is published in another namespace")
	}
}

// What is wrong with a client is for those who can see it: its message names Secrets.
func TestWhyAClientIsNotReadyStaysInItsNamespace(t *testing.T) {
	t.Parallel()
	for name, shared := range map[string]bool{"own": false, "shared": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fresh()
			if shared {
				elsewhere(f)
			}
			ready := &f.Client.Status.Conditions[0]
			ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound, "there is no Secret bank"
			found := condition(lifecycle.Status(f, lifecycle.Done{}, noon()), v1alpha1.ConditionClientReady)
			told := strings.Contains(found.Message, ready.Message) && strings.Contains(found.Message, ready.Reason)
			if found.Reason != v1alpha1.ReasonClientNotReady || told == shared {
				t.Errorf("%s: %s", found.Reason, found.Message)
			}
		})
	}
}

// An account must not be a way to look around in other namespaces: whatever is there that it may not use, everything
// about the account is as if there was nothing.
func TestAClientThatMayNotBeUsedIsAsIfItWereNotThere(t *testing.T) {
	t.Parallel()
	states := map[string]func(client *v1alpha1.OAuthClient){
		"not shared": func(client *v1alpha1.OAuthClient) { client.Spec.AllowedNamespaces = nil },
		"shared for another grant": func(client *v1alpha1.OAuthClient) {
			client.Spec.AllowedNamespaces[0].Grants = []v1alpha1.GrantType{"AuthorizationCode"}
		},
		"shared, but not for the grant": func(client *v1alpha1.OAuthClient) { client.Spec.Grants = []v1alpha1.GrantType{"AuthorizationCode"} },
		"not shared, and never checked": func(client *v1alpha1.OAuthClient) { client.Spec.AllowedNamespaces, client.Status.Conditions = nil, nil },
		"not shared, and just changed":  func(client *v1alpha1.OAuthClient) { client.Spec.AllowedNamespaces = nil; client.Generation++ },
		"not shared, with another lead": func(client *v1alpha1.OAuthClient) {
			client.Spec.AllowedNamespaces = nil
			client.Spec.RefreshBeforeSeconds = 60
		},
		"not shared, of another client id": func(client *v1alpha1.OAuthClient) {
			client.Spec.AllowedNamespaces = nil
			client.Spec.ClientID = "other"
		},
		"not shared, without scopes": func(client *v1alpha1.OAuthClient) { client.Spec.AllowedNamespaces, client.Spec.Scopes = nil, nil },
	}
	accounts := map[string]func() *lifecycle.Facts{
		"a new account":                     fresh,
		"a new account that lists no scope": func() *lifecycle.Facts { f := fresh(); f.Account.Spec.Scopes = nil; return f },
		"an account with a token":           healthy,
		"an account whose Secret is gone":   func() *lifecycle.Facts { f := healthy(); f.Secret = lifecycle.SecretAbsent; return f },
		"an account whose token is due": func() *lifecycle.Facts {
			f := healthy()
			f.Credential = held(ago(59*time.Minute), in(time.Minute))
			return f
		},
		"an account whose token can do too much": func() *lifecycle.Facts { f := healthy(); exceeds(f); return f },
	}
	for stateName, hide := range states {
		for accountName, account := range accounts {
			t.Run(accountName+", and a client that is "+stateName, func(t *testing.T) {
				t.Parallel()
				hidden, none := account(), account()
				elsewhere(hidden)
				hide(hidden.Client)
				elsewhere(none)
				none.Client = nil
				if diff := cmp.Diff(outcome(none), outcome(hidden)); diff != "" {
					t.Errorf("it shows that the client is there: %s", diff)
				}
			})
		}
	}
}

// outcome is all that comes of facts.
func outcome(f *lifecycle.Facts) any {
	plan := lifecycle.Decide(f, noon())
	status := lifecycle.Status(f, lifecycle.Done{}, noon())
	return []any{plan, status, lifecycle.Wake(f, &status, noon()), lifecycle.Publishable(f)}
}

func TestNames(t *testing.T) {
	t.Parallel()
	account := fresh().Account
	if name := lifecycle.TokenSecretName(account); name != "acme" {
		t.Errorf("the Secret is called %s", name)
	}
	account.Spec.Secret.Name = "token"
	if name := lifecycle.TokenSecretName(account); name != "token" {
		t.Errorf("the Secret is called %s", name)
	}
	if namespace := lifecycle.ClientNamespace(account); namespace != home {
		t.Errorf("the client is looked for in %s", namespace)
	}
	account.Spec.ClientRef.Namespace = other
	if namespace := lifecycle.ClientNamespace(account); namespace != other {
		t.Errorf("the client is looked for in %s", namespace)
	}
	client := newClient(home)
	client.Spec.Endpoints.Token = "HTTPS://Bank.Example/Token?x=y"
	if diff := cmp.Diff([]string{"https://bank.example:443"}, lifecycle.ClientOrigins(client)); diff != "" {
		t.Error(diff)
	}
	client.Spec.Endpoints.Token = "no URL"
	if origins := lifecycle.ClientOrigins(client); origins != nil {
		t.Errorf("origins of nothing: %q", origins)
	}
}
