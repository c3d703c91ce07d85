package consent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// HandOver writes by a merge patch that names nothing but the fields that differ among those of the pages, with the
// resourceVersion that the account was read with: one that was changed since is a conflict, and so is another of the same
// name. All else stays as it is in the API server. An update would write the whole copy back, and a copy is not whole where
// the definition that was in force at the time of the look hides a field: the credential would be gone.
//
// A field of ours that the definition does not know is an error, and nothing is written: a write under such a definition
// erases whatever else it hides.
func (c Cluster) HandOver(ctx context.Context, read, changed *v1alpha1.ConnectedAccount) error {
	patch := client.MergeFromWithOptions(owned(read), client.MergeFromWithOptimisticLock{})
	return kind(c.api.Status().Patch(ctx, owned(changed), patch, client.FieldValidation(metav1.FieldValidationStrict)))
}

// owned is what the pages may write of an account, and which one that is.
func owned(account *v1alpha1.ConnectedAccount) *v1alpha1.ConnectedAccount {
	from := account.Status.Authorization
	return &v1alpha1.ConnectedAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name, ResourceVersion: account.ResourceVersion},
		Status: v1alpha1.ConnectedAccountStatus{Authorization: v1alpha1.Authorization{
			HandOver: from.HandOver, UsedStates: from.UsedStates, Denial: from.Denial,
		}},
	}
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
	case apierrors.IsInvalid(err):
		// The API server quotes what it was sent, and the whole account with it: none of that is for the log.
		return fmt.Errorf("%w (%s)", errInvalid, fieldsOf(err))
	}
	return err
}

// errInvalid is what becomes of a hand-over that the installed definition does not take.
var errInvalid = errors.New("the API server calls it invalid: the installed definition of accounts may be of another version than the pages")

// fieldsOf names what the API server objects to.
func fieldsOf(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return "it does not say where"
	}
	var fields []string
	for _, cause := range status.Status().Details.Causes {
		fields = append(fields, cause.Field)
	}
	return strings.Join(fields, ", ")
}
