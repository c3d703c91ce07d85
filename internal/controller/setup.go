package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/pace"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	indexClient = "spec.clientRef"
	indexSource = "sourceReferences"
	indexSecret = "secretReferences"
	indexOwner  = "metadata.ownerReferences"

	// errorDelay and errorDelayMax bound how soon a lap that met an error of the API server is tried again.
	errorDelay    = 50 * time.Millisecond
	errorDelayMax = 30 * time.Second
	// lapDeadline bounds the reads of a lap. Exchange, keep and publish have deadlines of their own.
	lapDeadline = time.Minute
)

// Options is what the controllers need to know.
type Options struct {
	// Namespace is the operator's own: its keyring lives there.
	Namespace string
	// Named are the namespaces in which there may be accounts, and Watched those of them whose clients and accounts are worked
	// on. The manager's cache has to hold the latter. None: all.
	Named, Watched Watched
	// ClusterID is the UID of the namespace kube-system.
	ClusterID string
	// Egress says which addresses may be called.
	Egress oauth.Egress
	// Workers is how many accounts are worked on at once.
	Workers int
	// Limits bound the token requests that are under way at once, and MaxAccounts the accounts of a namespace; 0: not at all.
	Limits      pace.Limits
	MaxAccounts int
	Clock       clock.PassiveClock
	// Metrics are registered by the caller.
	Metrics *Metrics
	// InFlight is drained by the caller before the process ends.
	InFlight *InFlight
	// Journal is closed by the caller after that.
	Journal *seal.Journal
	// TakeoverWait is for how long a claim that its holder does not finish is left to it, once that is announced, where the
	// provider forgives no second use of a refresh token.
	TakeoverWait time.Duration
	// ConsentURL is where the pages of the consent server are, for everybody; "": nowhere.
	ConsentURL string
	// Version is what metrics tell of this build; "": what the toolchain has noted.
	Version string
}

// Setup adds both controllers to the manager, with caches that hold no more than they need. Call it before the manager starts.
func Setup(ctx context.Context, manager ctrl.Manager, options Options) error {
	tokenSecrets, err := secretCache(manager, options.Watched, selectExists(v1alpha1.LabelAccount))
	if err != nil {
		return err
	}
	labelled, err := secretCache(manager, options.Watched, labels.SelectorFromSet(labels.Set{v1alpha1.LabelCredential: "true"}))
	if err != nil {
		return err
	}
	keyring := &KeyringSource{Client: manager.GetClient(), Live: manager.GetAPIReader(), Namespace: options.Namespace, Named: options.Named, Clock: options.Clock}
	if err := keyring.Ensure(ctx); err != nil {
		return err
	}
	keyringSecret, err := keyringCache(manager, options.Namespace)
	if err != nil {
		return err
	}
	if err := addIndexes(ctx, manager, tokenSecrets); err != nil {
		return err
	}
	between := NewPace(options.Limits, options.MaxAccounts)
	options.Metrics.follow(processFacts{between, options.Journal, keyring, options.Version, options.ConsentURL})
	credentials := &ConsentedSecrets{Metadata: labelled, Live: manager.GetAPIReader()}
	transports := &Transports{Egress: options.Egress, Clock: options.Clock}
	clients := &ClientReconciler{
		Client: manager.GetClient(), Credentials: credentials, Transports: transports,
		Metrics: options.Metrics, Circuits: between.Circuits, Egress: options.Egress, Clock: options.Clock,
		ConsentURL: options.ConsentURL,
	}
	if err := clients.setup(manager, labelled); err != nil {
		return err
	}
	accounts := &AccountReconciler{
		Client: manager.GetClient(), Live: manager.GetAPIReader(), TokenSecrets: tokenSecrets,
		Credentials: credentials, Keyring: keyring, Transports: transports,
		Schema:   &SchemaProof{Client: manager.GetClient(), Clock: options.Clock},
		InFlight: options.InFlight, Pace: between, Metrics: options.Metrics,
		Events: manager.GetEventRecorder("oauth-operator"), Clock: options.Clock, ClusterID: options.ClusterID,
		Journal: options.Journal, Process: string(uuid.NewUUID()), TakeoverWait: options.TakeoverWait,
		ConsentURL: options.ConsentURL, Watched: options.Watched,
	}
	if err := manager.Add(&recovery{accounts}); err != nil {
		return fmt.Errorf("add the recovery: %w", err)
	}
	if err := manager.Add(lastRequests{options.InFlight}); err != nil {
		return fmt.Errorf("add what waits for the last requests: %w", err)
	}
	if err := manager.Add(&keyRotation{accounts: accounts}); err != nil {
		return fmt.Errorf("add the rotation of keys: %w", err)
	}
	if err := addConsentSecret(manager, keyring); err != nil {
		return err
	}
	return accounts.setup(ctx, manager, tokenSecrets, labelled, keyringSecret, options.Workers)
}

func (r *ClientReconciler) setup(manager ctrl.Manager, labelled cache.Cache) error {
	err := ctrl.NewControllerManagedBy(manager).Named("oauthclient").
		For(&v1alpha1.OAuthClient{}).
		WatchesRawSource(source.Kind(labelled, newSecretMetadata(), handler.TypedEnqueueRequestsFromMapFunc(r.clientsOfSecret))).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4, RateLimiter: rateLimiter(), ReconciliationTimeout: lapDeadline}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("add the controller of clients: %w", err)
	}
	return nil
}

func (r *AccountReconciler) setup(ctx context.Context, manager ctrl.Manager, tokenSecrets, labelled, keyringSecret cache.Cache, workers int) error {
	owner := handler.TypedEnqueueRequestForOwner[*metav1.PartialObjectMetadata](manager.GetScheme(), manager.GetRESTMapper(), &v1alpha1.ConnectedAccount{}, handler.OnlyControllerOwner())
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	counted, err := r.followAccounts(ctx, manager)
	if err != nil {
		return err
	}
	keyring, err := r.Keyring.follow(ctx, keyringSecret, r.accounts)
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(manager).Named("connectedaccount").
		Watches(&v1alpha1.ConnectedAccount{}, r.ownLaps()).
		Watches(&v1alpha1.OAuthClient{}, lapsOf(r.accountsOfClient)).
		Watches(namespace, lapsOf(r.accountsOfNamespace), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesRawSource(source.Kind(tokenSecrets, newSecretMetadata(), owner)).
		WatchesRawSource(source.Kind(labelled, newSecretMetadata(), lapsOf(r.accountsOfSecret))).
		// No lap begins before its sources are in step: what is known of the keyring is never older than the lease.
		WatchesRawSource(keyring).
		WatchesRawSource(r.waker.source(counted)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, RateLimiter: rateLimiter(), ReconciliationTimeout: lapDeadline}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("add the controller of accounts: %w", err)
	}
	return nil
}

// followAccounts counts the accounts of each namespace, and notes, in every replica, since when each claim is as it is:
// whoever takes the lease over has then waited already, and a grace of the provider's may not have passed. It returns what
// tells when all that there are have been seen.
func (r *AccountReconciler) followAccounts(ctx context.Context, manager ctrl.Manager) (toolscache.InformerSynced, error) {
	informer, err := manager.GetCache().GetInformer(ctx, &v1alpha1.ConnectedAccount{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch accounts: %w", err)
	}
	// Where the limit's edge has moved, the account at it is looked at again.
	lookAt := func(namespace, name string) {
		if name != "" {
			r.waker.wake(0, wanted{reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}, lifecycle.UrgencyChanged})
		}
	}
	note := func(object any) {
		if account, is := object.(*v1alpha1.ConnectedAccount); is {
			r.memory.update(account, func(m *accountMemory) {
				m.watch(account.Status.Claim, r.Journal.Instance(), r.Process, r.Clock.Now())
				m.watchCode(account.Status.Authorization.Exchange, r.Journal.Instance(), r.Process, r.Clock.Now())
			})
			lookAt(account.Namespace, r.Pace.Census.Add(account.Namespace, account.Name, account.CreationTimestamp.Time))
		}
	}
	following, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: note, UpdateFunc: func(_, account any) { note(account) },
		DeleteFunc: func(object any) {
			if last, is := object.(toolscache.DeletedFinalStateUnknown); is {
				object = last.Obj
			}
			if account, is := object.(*v1alpha1.ConnectedAccount); is {
				r.memory.forget(client.ObjectKeyFromObject(account))
				lookAt(account.Namespace, r.Pace.Census.Remove(account.Namespace, account.Name))
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch accounts: %w", err)
	}
	return following.HasSynced, nil
}

func rateLimiter() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](errorDelay, errorDelayMax)
}

// secretCache holds the metadata of the Secrets with a label: memory does not grow with those of others.
func secretCache(manager ctrl.Manager, watched Watched, selector labels.Selector) (cache.Cache, error) {
	made, err := cache.New(manager.GetConfig(), cache.Options{
		HTTPClient: manager.GetHTTPClient(), Scheme: manager.GetScheme(), Mapper: manager.GetRESTMapper(),
		DefaultNamespaces: watched.Caches(), DefaultLabelSelector: selector, DefaultTransform: dropMetadata,
	})
	if err != nil {
		return nil, fmt.Errorf("make a cache of Secrets: %w", err)
	}
	return made, manager.Add(made)
}

// dropMetadata leaves out what no decision looks at.
func dropMetadata(object any) (any, error) {
	if metadata, is := object.(*metav1.PartialObjectMetadata); is {
		rotation, witness := metadata.Annotations[v1alpha1.AnnotationRotation]
		metadata.ManagedFields, metadata.Annotations = nil, nil
		if witness {
			metadata.Annotations = map[string]string{v1alpha1.AnnotationRotation: rotation}
		}
	}
	return object, nil
}

func selectExists(label string) labels.Selector {
	requirement, err := labels.NewRequirement(label, selection.Exists, nil)
	if err != nil {
		return labels.Nothing() // the label is a constant of ours: it is valid
	}
	return labels.NewSelector().Add(*requirement)
}

// keyringCache holds the one Secret that holds the keyring.
func keyringCache(manager ctrl.Manager, namespace string) (cache.Cache, error) {
	made, err := cache.New(manager.GetConfig(), cache.Options{
		HTTPClient: manager.GetHTTPClient(), Scheme: manager.GetScheme(), Mapper: manager.GetRESTMapper(),
		DefaultNamespaces:    map[string]cache.Config{namespace: {}},
		DefaultFieldSelector: fields.OneTermEqualSelector("metadata.name", KeyringName),
	})
	if err != nil {
		return nil, fmt.Errorf("make a cache of the keyring: %w", err)
	}
	return made, manager.Add(made)
}

func addIndexes(ctx context.Context, manager ctrl.Manager, tokenSecrets cache.Cache) error {
	err := tokenSecrets.IndexField(ctx, newSecretMetadata(), indexOwner, func(object client.Object) []string {
		owner := metav1.GetControllerOf(object)
		if owner == nil {
			return nil
		}
		return []string{string(owner.UID)}
	})
	if err != nil {
		return fmt.Errorf("index token Secrets by account: %w", err)
	}
	indexer := manager.GetFieldIndexer()
	err = indexer.IndexField(ctx, &v1alpha1.ConnectedAccount{}, indexClient, func(object client.Object) []string {
		account, is := object.(*v1alpha1.ConnectedAccount)
		if !is || account.Spec.ClientRef.Name == "" {
			return nil
		}
		return []string{lifecycle.ClientNamespace(account) + "/" + account.Spec.ClientRef.Name}
	})
	if err != nil {
		return fmt.Errorf("index accounts by client: %w", err)
	}
	err = indexer.IndexField(ctx, &v1alpha1.ConnectedAccount{}, indexSource, func(object client.Object) []string {
		account, is := object.(*v1alpha1.ConnectedAccount)
		if !is {
			return nil
		}
		var names []string
		for _, ref := range []v1alpha1.SecretKeyReference{account.Spec.ImportRefreshTokenRef, account.Spec.Grant.APIKeyRef} {
			if ref.Name != "" {
				names = append(names, ref.Name)
			}
		}
		return names
	})
	if err != nil {
		return fmt.Errorf("index accounts by the Secret that they take something from: %w", err)
	}
	err = indexer.IndexField(ctx, &v1alpha1.OAuthClient{}, indexSecret, func(object client.Object) []string {
		owner, is := object.(*v1alpha1.OAuthClient)
		if !is {
			return nil
		}
		var names []string
		for _, ref := range secretReferences(owner) {
			names = append(names, ref.Name)
		}
		return names
	})
	if err != nil {
		return fmt.Errorf("index clients by Secret: %w", err)
	}
	return nil
}

// clientsOfSecret are the clients that name a Secret.
func (r *ClientReconciler) clientsOfSecret(ctx context.Context, metadata *metav1.PartialObjectMetadata) []reconcile.Request {
	return clientsNaming(ctx, r.Client, metadata)
}

func clientsNaming(ctx context.Context, reader client.Reader, metadata *metav1.PartialObjectMetadata) []reconcile.Request {
	list := &v1alpha1.OAuthClientList{}
	if err := reader.List(ctx, list, client.InNamespace(metadata.Namespace), client.MatchingFields{indexSecret: metadata.Name}); err != nil {
		return nil // the cache always answers
	}
	var requests []reconcile.Request
	for i := range list.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return requests
}

func (r *AccountReconciler) accountsOfClient(ctx context.Context, object client.Object) []wanted {
	return r.accounts(ctx, client.MatchingFields{indexClient: object.GetNamespace() + "/" + object.GetName()})
}

func (r *AccountReconciler) accountsOfNamespace(ctx context.Context, object client.Object) []wanted {
	return r.accounts(ctx, client.InNamespace(object.GetName()))
}

// accountsOfSecret are the accounts that import from a Secret or publish what is in it, and those of the clients that name it: what they wait for may
// have been mended.
func (r *AccountReconciler) accountsOfSecret(ctx context.Context, metadata *metav1.PartialObjectMetadata) []wanted {
	all := r.accounts(ctx, client.InNamespace(metadata.Namespace), client.MatchingFields{indexSource: metadata.Name})
	for _, owner := range clientsNaming(ctx, r.Client, metadata) {
		all = append(all, r.accounts(ctx, client.MatchingFields{indexClient: owner.Namespace + "/" + owner.Name})...)
	}
	return all
}

// accounts are those that match, for something that they have in common: none of them is more urgent for it than it is.
func (r *AccountReconciler) accounts(ctx context.Context, options ...client.ListOption) []wanted {
	list := &v1alpha1.ConnectedAccountList{}
	if err := r.Client.List(ctx, list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil // the cache always answers
	}
	all, now := make([]wanted, len(list.Items)), r.Clock.Now()
	for i := range list.Items {
		account := &list.Items[i]
		all[i].NamespacedName = client.ObjectKeyFromObject(account)
		all[i].urgency = max(lifecycle.UrgencyMany, lifecycle.Urgency(account, now))
	}
	return all
}
