package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

// Together is what lets live reads be shared.
type Together struct{ together }

// Get reads a Secret.
func (t *Together) Get(ctx context.Context, live client.Reader, key types.NamespacedName) (*corev1.Secret, error) {
	return t.get(ctx, live, key)
}
