package consent

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// Cluster reads and writes by the API server.
type Cluster struct {
	api client.Client
}

// NewCluster takes a client without a cache: what a person did a moment ago must be seen.
func NewCluster(api client.Client) Cluster { return Cluster{api: api} }

// Account reads an account.
func (c Cluster) Account(ctx context.Context, namespace, name string) (*v1alpha1.ConnectedAccount, error) {
	account := &v1alpha1.ConnectedAccount{}
	return account, kind(c.api.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, account))
}

// UpdateStatus writes an account's status, with the resourceVersion that it was read with.
func (c Cluster) UpdateStatus(ctx context.Context, account *v1alpha1.ConnectedAccount) error {
	return kind(c.api.Status().Update(ctx, account))
}

// Client reads a client.
func (c Cluster) Client(ctx context.Context, namespace, name string) (*v1alpha1.OAuthClient, error) {
	found := &v1alpha1.OAuthClient{}
	return found, kind(c.api.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, found))
}

// kind sorts the API server's errors into those of this package.
func kind(err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case apierrors.IsConflict(err):
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}
