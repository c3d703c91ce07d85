package controller

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// ConsentSecretName is the name of the Secret, in the operator's namespace, that the consent server mounts.
const ConsentSecretName = "oauth-operator-consent" //nolint:gosec // a name, not a credential

// consentLook is the pause between two looks at that Secret.
const consentLook = time.Second

// consentSecret keeps the Secret of the consent server equal to what the keyring has for it. It is a projection: whoever
// deletes or edits it has it made again, with the same keys.
type consentSecret struct {
	keyring *KeyringSource
	client  client.Client
	// secrets reads the one Secret from a cache.
	secrets client.Reader
}

// NeedLeaderElection makes the manager start it in one replica.
func (c *consentSecret) NeedLeaderElection() bool { return true }

// Start looks until the context ends.
func (c *consentSecret) Start(ctx context.Context) error {
	ticker := time.NewTicker(consentLook)
	defer ticker.Stop()
	said := ""
	for {
		err := c.look(ctx)
		switch {
		case err == nil, apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), ctx.Err() != nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			log.FromContext(ctx).Error(err, "the Secret of the consent server could not be written; it is tried again", "namespace", c.keyring.Namespace, "name", ConsentSecretName)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// look writes the Secret where it is not as it should be.
func (c *consentSecret) look(ctx context.Context) error {
	keyring, present := c.keyring.current()
	if !present {
		return nil // nothing is known of it, or it is not to be trusted
	}
	if !keyring.HasConsentKeys() {
		// It comes from an earlier version, or from a backup of one.
		if err := c.keyring.change(ctx, (*seal.Keyring).WithConsentKeys); err != nil {
			return fmt.Errorf("add the keys for consents to the keyring: %w", err)
		}
		if keyring, present = c.keyring.current(); !present || !keyring.HasConsentKeys() {
			return nil
		}
	}
	data := keyring.ConsentData()
	stored := &corev1.Secret{}
	err := c.secrets.Get(ctx, types.NamespacedName{Namespace: c.keyring.Namespace, Name: ConsentSecretName}, stored)
	if apierrors.IsNotFound(err) {
		return c.client.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: c.keyring.Namespace, Name: ConsentSecretName, Labels: map[string]string{labelManagedBy: fieldOwner}},
			Type:       corev1.SecretTypeOpaque, Data: data,
		}, client.FieldOwner(fieldOwner))
	}
	if err != nil || maps.EqualFunc(stored.Data, data, bytes.Equal) {
		return err
	}
	updated := stored.DeepCopy()
	updated.Data = data
	return c.client.Update(ctx, updated, client.FieldOwner(fieldOwner))
}

// addConsentSecret adds it to the manager, with a cache of one Secret.
func addConsentSecret(manager ctrl.Manager, keyring *KeyringSource) error {
	secrets, err := cache.New(manager.GetConfig(), cache.Options{
		HTTPClient: manager.GetHTTPClient(), Scheme: manager.GetScheme(), Mapper: manager.GetRESTMapper(),
		DefaultNamespaces:    map[string]cache.Config{keyring.Namespace: {}},
		DefaultFieldSelector: fields.OneTermEqualSelector("metadata.name", ConsentSecretName),
	})
	if err != nil {
		return fmt.Errorf("make a cache of the consent server's Secret: %w", err)
	}
	if err := manager.Add(secrets); err != nil {
		return fmt.Errorf("add the cache of the consent server's Secret: %w", err)
	}
	if err := manager.Add(&consentSecret{keyring: keyring, client: manager.GetClient(), secrets: secrets}); err != nil {
		return fmt.Errorf("add what writes the consent server's Secret: %w", err)
	}
	return nil
}
