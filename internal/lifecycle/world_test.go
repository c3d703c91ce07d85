package lifecycle_test

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
)

const (
	home  = "shop"     // the account's namespace
	other = "platform" // another one, in which a shared client lives
	uid   = "5a1f4f0e-7d0e-4a3e-9a53-0f4e1c2b9d77"
	hash  = "inputs-1"
)

// noon is the present in all tests.
func noon() time.Time { return time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC) }

func ago(d time.Duration) time.Time { return noon().Add(-d) }

func in(d time.Duration) time.Time { return noon().Add(d) }

func when(t time.Time) *metav1.Time { return &metav1.Time{Time: t} }

// newClient is a client of the given namespace that is ready.
func newClient(namespace string) *v1alpha1.OAuthClient {
	return &v1alpha1.OAuthClient{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bank", UID: "client-uid", Generation: 3},
		Spec: v1alpha1.OAuthClientSpec{
			Endpoints:      v1alpha1.Endpoints{Token: "https://bank.example/token"}, //nolint:gosec // an address, not a credential
			ClientID:       "id",
			Authentication: v1alpha1.Authentication{Method: v1alpha1.ClientSecretPost},
			Grants:         []v1alpha1.GrantType{v1alpha1.GrantClientCredentials},
			Scopes:         []v1alpha1.Scope{"read", "write"},
		},
		Status: v1alpha1.OAuthClientStatus{Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady,
			ObservedGeneration: 3, LastTransitionTime: metav1.NewTime(ago(24 * time.Hour)),
		}}},
	}
}

// share lets every namespace use the client for client credentials, with the scope read.
func share(client *v1alpha1.OAuthClient) {
	client.Spec.AllowedNamespaces = []v1alpha1.AllowedNamespaces{{
		From:   v1alpha1.NamespacesFromAll,
		Grants: []v1alpha1.GrantType{v1alpha1.GrantClientCredentials},
		Scopes: []v1alpha1.Scope{"read"},
	}}
}

// fresh is an account that has just been created, with a client that is ready.
func fresh() *lifecycle.Facts {
	return &lifecycle.Facts{
		Account: &v1alpha1.ConnectedAccount{
			ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "acme", UID: uid, Generation: 7},
			Spec: v1alpha1.ConnectedAccountSpec{
				ClientRef: v1alpha1.ClientReference{Name: "bank"},
				Grant:     v1alpha1.Grant{Type: v1alpha1.GrantClientCredentials},
				Scopes:    []v1alpha1.Scope{"read"},
			},
		},
		Client:     newClient(home),
		Credential: lifecycle.Credential{State: lifecycle.CredentialNone},
		Secret:     lifecycle.SecretAbsent,
		InputsHash: hash,
	}
}

// held is a credential for the scope read, obtained from newClient.
func held(issued, expiration time.Time) lifecycle.Credential {
	return lifecycle.Credential{
		State: lifecycle.CredentialHeld, HasAccessToken: true, Rotation: 4, IssuedTime: issued, ExpirationTime: expiration,
		Scopes: []string{"read"}, RequestedScopes: []string{"read"},
		ClientID: "id", Origins: []string{"https://bank.example:443"},
	}
}

// healthy is an account whose token was issued ten minutes ago, for an hour, and is published.
func healthy() *lifecycle.Facts {
	f := fresh()
	f.Credential = held(ago(10*time.Minute), in(50*time.Minute))
	f.Secret = lifecycle.SecretCurrent
	f.Account.Status.SealedCredential = "sealed-4"
	f.Account.Status.BoundTo = v1alpha1.BoundTo{ClusterID: "cluster", AccountUID: uid}
	f.Account.Status = lifecycle.Status(f, lifecycle.Done{Published: true}, ago(10*time.Minute))
	return f
}

// elsewhere moves the account's client into another namespace, shared with the account's.
func elsewhere(f *lifecycle.Facts) {
	f.Account.Spec.ClientRef.Namespace = other
	f.Client = newClient(other)
	share(f.Client)
}

// settle writes the status into the account, as often as it changes it: what a few laps leave behind.
func settle(f *lifecycle.Facts, done lifecycle.Done, now time.Time) {
	f.Account.Status = lifecycle.Status(f, done, now)
	f.Account.Status = lifecycle.Status(f, lifecycle.Done{PublishFinding: done.PublishFinding}, now)
}

func condition(status v1alpha1.ConnectedAccountStatus, kind string) metav1.Condition {
	if found := meta.FindStatusCondition(status.Conditions, kind); found != nil {
		return *found
	}
	return metav1.Condition{}
}

// said is what a condition says, without its times: "False Suspended".
func said(status v1alpha1.ConnectedAccountStatus, kind string) string {
	found := condition(status, kind)
	return string(found.Status) + " " + found.Reason
}
