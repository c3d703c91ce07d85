package controller

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/pace"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// The readers of texts in Secrets, for the tests: each says what is wrong, or nothing.

// RefreshTokenFault reads a refresh token to import.
func RefreshTokenFault(value []byte) string { return refreshTokenFault(value) }

// ClientIDFault reads a client id.
func ClientIDFault(value []byte) string { return clientIDFault(value) }

// ClientSecretFault reads a client secret.
func ClientSecretFault(value []byte) string { return clientSecretFault(value) }

// CertificateFault reads a list of authorities.
func CertificateFault(value []byte) string { return certificateFault(value) }

// Place gives a result its place after what is held. It tells whether it is kept.
func Place(held, result *seal.Credential, code bool) (kept bool) {
	known := func(c *seal.Credential) lifecycle.Credential {
		return lifecycle.Credential{State: lifecycle.CredentialHeld, GrantSequence: c.GrantSequence, Rotation: c.Rotation, ClaimSequence: c.ClaimSequence, Identity: c.Identity}
	}
	account := &v1alpha1.ConnectedAccount{}
	o := &outcome{credential: result, spending: lifecycle.Spending{Code: code}}
	(&AccountReconciler{}).place(&lifecycle.Facts{Account: account, Credential: known(held)}, o)
	return o.credential != nil && lifecycle.MayKeep(&account.Status, known(held), known(o.credential).Version(), o.spending)
}

// Waiting counts the laps of accounts that wait in the manager that Setup has added the runnable to; not, where it is not the
// one of them that knows.
func Waiting(added manager.Runnable) (laps int, known bool) {
	recovery, is := added.(*recovery)
	if !is {
		return 0, false
	}
	waker := &recovery.accounts.waker
	waker.mu.Lock()
	defer waker.mu.Unlock()
	if waker.queue == nil {
		return 0, true
	}
	return waker.queue.Len(), true
}

// Together is what lets live reads be shared.
type Together struct{ together }

// Get reads a Secret.
func (t *Together) Get(ctx context.Context, live client.Reader, key types.NamespacedName) (*corev1.Secret, error) {
	return t.get(ctx, live, key)
}

// Observe is what a lap notes of an account, Forget what is done when it is gone, and Count what is counted of a token request, a
// refresh token that was lost, and a consent.
func (m *Metrics) Observe(key types.NamespacedName, status *v1alpha1.ConnectedAccountStatus, now time.Time) {
	m.observe(key, status, true, now)
}

func (m *Metrics) Forget(key types.NamespacedName) { m.forget(key) }

func (m *Metrics) Count(owner *v1alpha1.OAuthClient, account types.NamespacedName) {
	m.exchanged(owner, nil, time.Second)
	m.lost(account.Namespace, account.Name)
	m.consented(v1alpha1.AuthorizationConnected)
}

// Follow has the metrics tell of a process with this journal, a keyring that was never seen, and the version v1.2.3.
func (m *Metrics) Follow(journal *seal.Journal) {
	between := NewPace(pace.Limits{Namespace: 2, Total: 2}, 0)
	between.Slots.Take(pace.Turn{Account: "shop/acme", Client: "shop/bank", Namespace: "shop", ClientLimit: 1}, m.clock.Now())
	m.follow(processFacts{between, journal, &KeyringSource{}, "v1.2.3", "https://oauth.example.com"})
}
