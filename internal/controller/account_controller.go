// Package controller holds the two reconcilers: they gather facts, let package lifecycle decide, do the effects, and
// write the status.
//
// It must never decide anything about the life of an account by itself, never log a secret, and never send a token
// request whose result it could not keep.
package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
)

// cacheDelay is how long the cache may take to show what this process wrote, before a live read is made.
const cacheDelay = 2 * time.Second

// publishDelay is how soon a Secret that was refused is written again.
const publishDelay = 10 * time.Second

var errBehind = errors.New("the cache is behind this process's own write")

// AccountReconciler brings one ConnectedAccount a lap further: facts, plan, effects, status.
type AccountReconciler struct {
	// Client reads our kinds from the cache and writes to the API server. Live reads from the API server.
	Client client.Client
	Live   client.Reader
	// TokenSecrets reads the metadata of token Secrets from a cache that holds nothing else.
	TokenSecrets client.Reader
	Credentials  *ConsentedSecrets
	Keyring      *KeyringSource
	Transports   *Transports
	Schema       *SchemaProof
	InFlight     *InFlight
	Metrics      *Metrics
	Events       events.EventRecorder
	Clock        clock.PassiveClock
	// ClusterID is the UID of the namespace kube-system.
	ClusterID string

	memory memory
}

// Reconcile is one lap. Errors are those of the API server: everything else is a fact, and ends in the status.
func (r *AccountReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	account, err := r.read(ctx, request)
	switch {
	case errors.Is(err, errBehind):
		return ctrl.Result{RequeueAfter: cacheDelay}, nil
	case apierrors.IsNotFound(err):
		r.memory.forget(request.NamespacedName)
		r.Metrics.forget(request.NamespacedName)
		return ctrl.Result{}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	facts, err := r.gather(ctx, account)
	if err != nil {
		return ctrl.Result{}, err
	}
	plan := lifecycle.Decide(facts, r.Clock.Now())
	log.FromContext(ctx).V(1).Info("decided", "rule", plan.Rule, "action", plan.Action, "publish", plan.Publish)

	done, err := r.act(ctx, facts, plan)
	if err != nil {
		return ctrl.Result{}, err
	}
	now := r.Clock.Now()
	status := lifecycle.Status(facts, done, now)
	if err := r.writeStatus(ctx, facts.Account, status); err != nil {
		return abandonOnConflict(err)
	}
	r.Metrics.observe(request.NamespacedName, &status, facts.Secret == lifecycle.SecretCurrent, now)
	wake := lifecycle.Wake(facts, plan, &status, now)
	if again := now.Add(publishDelay); done.PublishFinding != nil && (wake.IsZero() || again.Before(wake)) {
		wake = again // what refuses the Secret may be mended without an event that reaches us
	}
	return wakeAt(wake, facts.Credential.ExpirationTime, now), nil
}

// act carries out the plan. The facts follow what is done: an exchange that is kept changes the credential in them.
func (r *AccountReconciler) act(ctx context.Context, facts *lifecycle.Facts, plan lifecycle.Plan) (lifecycle.Done, error) {
	var done lifecycle.Done
	publish := plan.Publish
	if plan.Action == lifecycle.Exchange {
		failure, err := r.exchange(ctx, facts, plan)
		switch {
		case errors.Is(err, errSchemaTooOld):
			facts.SchemaTooOld = true
			return done, nil
		case err != nil:
			return done, err
		}
		done.Failure = failure
		publish = failure == nil && lifecycle.ScopesPublishable(facts)
	}
	if publish {
		finding, err := r.publish(ctx, facts)
		if err != nil {
			return done, err
		}
		done.PublishFinding, done.Published = finding, finding == nil
	}
	return done, nil
}

// writeStatus writes the status if it differs, with the resourceVersion of the copy that the plan was made from. It
// adds no time of its own, so that a lap in which nothing happened writes nothing.
func (r *AccountReconciler) writeStatus(ctx context.Context, account *v1alpha1.ConnectedAccount, status v1alpha1.ConnectedAccountStatus) error {
	if apiequality.Semantic.DeepEqual(account.Status, status) {
		return nil
	}
	updated := account.DeepCopy()
	updated.Status = status
	if err := r.Client.Status().Update(detached(ctx), updated); err != nil {
		return err
	}
	r.tell(account, updated)
	return nil
}

// tell makes an event of a change in readiness or its reason.
func (r *AccountReconciler) tell(before, after *v1alpha1.ConnectedAccount) {
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	if is == nil || was != nil && was.Status == is.Status && was.Reason == is.Reason || is.Reason == v1alpha1.ReasonPending {
		return
	}
	kind := corev1.EventTypeWarning
	if is.Reason == v1alpha1.ReasonTokenValid {
		kind = corev1.EventTypeNormal
	}
	r.Events.Eventf(after, nil, kind, is.Reason, "Refresh", "%s", is.Message)
}

// abandonOnConflict ends a lap whose copy of the account was stale. What was done stands in the status already or is
// done again by the next lap, which the newer copy starts; the second look is only for the case that it came already.
func abandonOnConflict(err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	return ctrl.Result{}, client.IgnoreNotFound(err)
}

// wakeAt asks for the next lap. Those whose token ends soon go before those that have time.
func wakeAt(wake, expiration, now time.Time) ctrl.Result {
	if wake.IsZero() {
		return ctrl.Result{}
	}
	priority := 0
	if slack := expiration.Sub(wake); expiration.IsZero() || slack > 10*time.Minute {
		priority = -10
	} else if slack < time.Minute {
		priority = 10
	}
	return ctrl.Result{RequeueAfter: max(wake.Sub(now), time.Millisecond), Priority: ptr.To(priority)}
}

// detached is a context for work that a shutdown or a lost lease must not interrupt: whoever uses it sets a deadline.
func detached(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// ownerReference makes the account the controller of its token Secret. It does not block the account's deletion: that
// would need a permission on finalizers, which the operator does not have.
func ownerReference(account *v1alpha1.ConnectedAccount) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion().String(), Kind: "ConnectedAccount",
		Name: account.Name, UID: account.UID, Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(false),
	}
}

// read takes the account from the cache, unless the cache is behind what this process wrote: a plan made from such a
// copy would spend a call for nothing. Such a lap ends with errBehind; the cache's own event starts the next one.
// Where the two differ for longer, somebody changed the status, and a live read tells.
func (r *AccountReconciler) read(ctx context.Context, request ctrl.Request) (*v1alpha1.ConnectedAccount, error) {
	account := &v1alpha1.ConnectedAccount{}
	if err := r.Client.Get(ctx, request.NamespacedName, account); err != nil {
		return nil, err
	}
	known := r.memory.of(account)
	if known.kept == "" || known.kept == account.Status.SealedCredential {
		return account, nil
	}
	if r.Clock.Since(known.keptTime) < cacheDelay {
		return nil, errBehind
	}
	live := &v1alpha1.ConnectedAccount{}
	if err := r.Live.Get(ctx, request.NamespacedName, live); err != nil {
		return nil, fmt.Errorf("read the account: %w", err)
	}
	r.memory.update(live, func(m *accountMemory) { m.kept = live.Status.SealedCredential })
	return live, nil
}
