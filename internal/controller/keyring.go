package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// KeyringName is the name of the Secret, in the operator's namespace, that holds the keyring.
const KeyringName = "oauth-operator-keyring"

// KeyringSource knows the keyring, and whether it is in its Secret now. A keyring that is gone is never made anew: all
// that it sealed would be lost.
type KeyringSource struct {
	// Client writes the Secret when it is first made; Live reads from the API server.
	Client client.Client
	Live   client.Reader
	// Namespace is the operator's.
	Namespace string
	// Named are the namespaces in which there may be accounts.
	Named Watched
	Clock clock.PassiveClock

	mu      sync.Mutex
	keyring *seal.Keyring
	present bool
	// stored is the Secret's metadata as it was last seen, and since, when each key was first seen in its present state.
	stored metav1.ObjectMeta
	since  map[seal.Key]time.Time
	// laps starts laps of accounts; nil: this replica makes none yet. accounts are all of them.
	laps     laps
	accounts func(context.Context, ...client.ListOption) []wanted
}

// current is the keyring that this process began with, to open with; and whether it may be sealed with: whether its
// Secret holds its key now. There is none before the watch has shown it.
func (k *KeyringSource) current() (*seal.Keyring, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keyring, k.present
}

// Ensure makes a keyring where there is none, but only if no account holds anything sealed.
func (k *KeyringSource) Ensure(ctx context.Context) error {
	stored := &corev1.Secret{}
	err := k.Live.Get(ctx, types.NamespacedName{Namespace: k.Namespace, Name: KeyringName}, stored)
	if err == nil {
		return k.complete(ctx, stored)
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("read the keyring Secret: %w", err)
	}
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
	if err == nil {
		keyring, err = keyring.WithConsentKeys()
	}
	if err != nil {
		return fmt.Errorf("make a keyring: %w", err)
	}
	err = k.Client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: KeyringName, Labels: map[string]string{labelManagedBy: fieldOwner}},
		Type:       corev1.SecretTypeOpaque, Data: keyring.Data(),
	})
	if err != nil && !apierrors.IsAlreadyExists(err) { // another replica may have been faster
		return fmt.Errorf("create the keyring Secret: %w", err)
	}
	return nil
}

// complete gives a keyring of an earlier version the keys that consents need. Without them tokens are refreshed all the same,
// so that it is no error where that is refused.
func (k *KeyringSource) complete(ctx context.Context, stored *corev1.Secret) error {
	keyring, err := seal.ParseKeyring(stored.Data)
	if err != nil || keyring.HasConsentKeys() {
		return nil //nolint:nilerr // whoever follows the Secret says what is wrong with it
	}
	next, err := keyring.WithConsentKeys()
	if err == nil {
		stored.Data = next.Data()
		err = k.Client.Update(ctx, stored, client.FieldOwner(fieldOwner))
	}
	if err != nil && !apierrors.IsConflict(err) { // another replica may have been faster
		log.FromContext(ctx).Error(err, "the keyring has no keys for consents, and they could not be added", "namespace", k.Namespace, "name", KeyringName)
	}
	return nil
}

func (k *KeyringSource) anySealed(ctx context.Context) (bool, error) {
	found := false
	err := k.Named.eachPage(ctx, k.Live, func(accounts []v1alpha1.ConnectedAccount) bool {
		found = slices.ContainsFunc(accounts, func(account v1alpha1.ConnectedAccount) bool { return account.Status.SealedCredential != "" })
		return !found
	})
	if err != nil {
		return false, fmt.Errorf("look for sealed credentials: %w", err)
	}
	return found, nil
}

// follow keeps what is known of the keyring up to date from here on, in every replica. The source that it returns has every
// account looked at again when something changed; no lap begins before it has caught up, so that what a lap knows of the
// keyring is never older than its lease.
func (k *KeyringSource) follow(ctx context.Context, secrets cache.Cache, accounts func(context.Context, ...client.ListOption) []wanted) (source.Source, error) {
	informer, err := secrets.GetInformer(ctx, &corev1.Secret{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch the keyring: %w", err)
	}
	k.accounts = accounts
	take := func(object any) {
		if stored, is := object.(*corev1.Secret); is {
			k.take(ctx, stored)
		}
	}
	following, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: take, UpdateFunc: func(_, stored any) { take(stored) }, DeleteFunc: func(any) { k.gone(ctx) },
	})
	if err != nil {
		return nil, fmt.Errorf("watch the keyring: %w", err)
	}
	return source.Func(func(ctx context.Context, queue laps) error {
		if !toolscache.WaitForCacheSync(ctx.Done(), following.HasSynced) {
			return errors.New("the keyring's watch did not begin in time")
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.laps = queue
		return nil
	}), nil
}

// queue is where laps are started; nil: this replica makes none yet.
func (k *KeyringSource) queue() laps {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.laps
}

// lookAgain has every account looked at, whoever noticed that the keyring has changed.
func (k *KeyringSource) lookAgain(ctx context.Context) {
	if queue := k.queue(); queue != nil {
		enqueue(queue, 0, k.accounts(ctx)...)
	}
}

// look reads the keyring from the API server, for work that is done before any lap.
func (k *KeyringSource) look(ctx context.Context) error {
	stored := &corev1.Secret{}
	err := k.Live.Get(ctx, types.NamespacedName{Namespace: k.Namespace, Name: KeyringName}, stored)
	if apierrors.IsNotFound(err) {
		k.gone(ctx)
		return errKeyringGone
	}
	if err != nil {
		return fmt.Errorf("read the keyring Secret: %w", err)
	}
	k.take(ctx, stored)
	if _, present := k.current(); !present {
		return errKeyringGone
	}
	return nil
}

// take takes up what the Secret holds now.
func (k *KeyringSource) take(ctx context.Context, stored *corev1.Secret) {
	if k.judge(ctx, stored) {
		k.lookAgain(ctx)
	}
}

// gone takes up that the Secret was deleted.
func (k *KeyringSource) gone(ctx context.Context) {
	if k.judgeGone(ctx) {
		k.lookAgain(ctx)
	}
}

// judge judges what the Secret holds now, and reports whether anything changed. What does not come of the keyring in use is
// another one, whatever it is.
func (k *KeyringSource) judge(ctx context.Context, stored *corev1.Secret) bool {
	read, err := seal.ParseKeyring(stored.Data)
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.present
	switch {
	case err != nil:
		k.present = false
		log.FromContext(ctx).Error(err, "the keyring Secret cannot be used", "namespace", k.Namespace, "name", KeyringName)
		return was
	case k.keyring != nil && !read.Follows(k.keyring):
		k.present = false
		log.FromContext(ctx).Error(errors.New("the keyring was replaced"), "the Secret does not hold the key in use, or another fingerprint key: restore it from a backup",
			"namespace", k.Namespace, "name", KeyringName, "key", k.keyring.ID())
		return was
	}
	same := was && maps.EqualFunc(k.keyring.Data(), read.Data(), bytes.Equal)
	k.keyring, k.present, k.stored = read, true, stored.ObjectMeta
	since, now := map[seal.Key]time.Time{}, k.Clock.Now()
	for _, key := range read.Keys() {
		since[key] = now
		if at, known := k.since[key]; known {
			since[key] = at
		}
	}
	k.since = since
	return !same
}

// keyringNow is what is known of a keyring that may be used.
type keyringNow struct {
	*seal.Keyring
	// rotate and retire are what the Secret's annotations ask for.
	rotate, retire string
	// stored is the Secret, without what is in it.
	stored *corev1.Secret
	since  map[seal.Key]time.Time
}

// now returns what is known of the keyring; false: it may not be used at present.
func (k *KeyringSource) now() (keyringNow, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.present {
		return keyringNow{}, false
	}
	return keyringNow{
		Keyring: k.keyring, since: k.since,
		rotate: k.stored.Annotations[v1alpha1.AnnotationRotateKey], retire: k.stored.Annotations[v1alpha1.AnnotationRetireKey],
		stored: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: k.stored.Namespace, Name: k.stored.Name, UID: k.stored.UID}},
	}, true
}

// change writes another keyring in the place of the one that is stored, if that is what is known of it here. It is written
// as a whole, over the very version that it was made from.
func (k *KeyringSource) change(ctx context.Context, change func(*seal.Keyring) (*seal.Keyring, error)) error {
	stored := &corev1.Secret{}
	if err := k.Live.Get(ctx, types.NamespacedName{Namespace: k.Namespace, Name: KeyringName}, stored); err != nil {
		return fmt.Errorf("read the keyring Secret: %w", err)
	}
	k.take(ctx, stored)
	if _, present := k.current(); !present {
		return errKeyringGone
	}
	read, err := seal.ParseKeyring(stored.Data) // not what is known by now, which may be of another version
	if err != nil {
		return fmt.Errorf("read the keyring: %w", err)
	}
	next, err := change(read)
	if err != nil {
		return fmt.Errorf("change the keyring: %w", err)
	}
	if !next.Follows(read) {
		return errors.New("change the keyring: nothing is written that would not be taken for it")
	}
	stored.Data = next.Data()
	if err := k.Client.Update(ctx, stored, client.FieldOwner(fieldOwner)); err != nil {
		return fmt.Errorf("update the keyring Secret: %w", err)
	}
	k.take(ctx, stored)
	return nil
}

// judgeGone notes that the Secret was deleted, and reports whether that is news.
func (k *KeyringSource) judgeGone(ctx context.Context) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	log.FromContext(ctx).Error(errors.New("the keyring Secret was deleted"), "restore it from a backup: until then no token is refreshed", "namespace", k.Namespace, "name", KeyringName)
	was := k.present
	k.present = false
	return was
}
