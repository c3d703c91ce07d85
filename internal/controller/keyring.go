package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// KeyringName is the name of the Secret, in the operator's namespace, that holds the keyring.
const KeyringName = "oauth-operator-keyring"

// accountsPerPage bounds what one request for all accounts brings.
const accountsPerPage = 500

// KeyringSource knows the keyring, and whether it is in its Secret now. A keyring that is gone is never made anew: all
// that it sealed would be lost.
type KeyringSource struct {
	// Client writes the Secret when it is first made; Live reads from the API server.
	Client client.Client
	Live   client.Reader
	// Namespace is the operator's.
	Namespace string

	mu      sync.Mutex
	keyring *seal.Keyring
	present bool
	changed chan event.GenericEvent
}

// NewKeyringSource prepares a source; Load it before use.
func NewKeyringSource(writer client.Client, live client.Reader, namespace string) *KeyringSource {
	return &KeyringSource{Client: writer, Live: live, Namespace: namespace, changed: make(chan event.GenericEvent, 1)}
}

// current is the keyring that this process began with, to open with; and whether it may be sealed with: whether its
// Secret holds its key now.
func (k *KeyringSource) current() (*seal.Keyring, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keyring, k.present
}

// Load reads the keyring. Where there is none it makes one, but only if no account holds anything sealed.
func (k *KeyringSource) Load(ctx context.Context) error {
	stored := &corev1.Secret{}
	err := k.Live.Get(ctx, types.NamespacedName{Namespace: k.Namespace, Name: KeyringName}, stored)
	if apierrors.IsNotFound(err) {
		return k.create(ctx)
	}
	if err != nil {
		return fmt.Errorf("read the keyring Secret: %w", err)
	}
	k.take(ctx, stored)
	return nil
}

func (k *KeyringSource) create(ctx context.Context) error {
	sealed, err := k.anySealed(ctx)
	if err != nil {
		return err
	}
	if sealed {
		log.FromContext(ctx).Error(errors.New("the keyring Secret is missing"), "there are sealed credentials, so no new keyring is made: restore the Secret from a backup",
			"namespace", k.Namespace, "name", KeyringName)
		return nil
	}
	keyring, err := seal.GenerateKeyring()
	if err != nil {
		return fmt.Errorf("make a keyring: %w", err)
	}
	created := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: KeyringName, Labels: map[string]string{labelManagedBy: fieldOwner}},
		Type:       corev1.SecretTypeOpaque, Data: keyring.Data(),
	}
	if err := k.Client.Create(ctx, created); apierrors.IsAlreadyExists(err) {
		return k.Load(ctx) // another replica was faster
	} else if err != nil {
		return fmt.Errorf("create the keyring Secret: %w", err)
	}
	k.take(ctx, created)
	return nil
}

func (k *KeyringSource) anySealed(ctx context.Context) (bool, error) {
	accounts := &v1alpha1.ConnectedAccountList{}
	for {
		if err := k.Live.List(ctx, accounts, client.Limit(accountsPerPage), client.Continue(accounts.Continue)); err != nil {
			return false, fmt.Errorf("look for sealed credentials: %w", err)
		}
		for i := range accounts.Items {
			if accounts.Items[i].Status.SealedCredential != "" {
				return true, nil
			}
		}
		if accounts.Continue == "" {
			return false, nil
		}
	}
}

// take judges what the Secret holds now. What does not hold the key in use is another keyring, whatever it is.
func (k *KeyringSource) take(ctx context.Context, stored *corev1.Secret) {
	read, err := seal.ParseKeyring(stored.Data)
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.present
	switch {
	case err != nil:
		k.present = false
		log.FromContext(ctx).Error(err, "the keyring Secret cannot be used", "namespace", k.Namespace, "name", KeyringName)
	case k.keyring != nil && !read.Contains(k.keyring.ID()):
		k.present = false
		log.FromContext(ctx).Error(errors.New("the keyring was replaced"), "the Secret does not hold the key in use: restore it from a backup", "namespace", k.Namespace, "name", KeyringName)
	default:
		k.keyring, k.present = read, true
	}
	k.tell(was)
}

// gone notes that the Secret was deleted.
func (k *KeyringSource) gone(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	log.FromContext(ctx).Error(errors.New("the keyring Secret was deleted"), "restore it from a backup: until then no token is refreshed", "namespace", k.Namespace, "name", KeyringName)
	was := k.present
	k.present = false
	k.tell(was)
}

// tell has every account looked at again, once for any number of changes.
func (k *KeyringSource) tell(was bool) {
	if was == k.present {
		return
	}
	select {
	case k.changed <- event.GenericEvent{Object: &v1alpha1.ConnectedAccount{}}:
	default:
	}
}
