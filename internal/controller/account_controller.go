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
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// cacheDelay is how long the cache may take to show what this process wrote, before a live read is made.
const cacheDelay = 2 * time.Second

const (
	// writeDeadline bounds the write of a status.
	writeDeadline = 30 * time.Second
	// shortestSleep keeps a mistake in a plan from becoming a hot loop. longestSleep bounds how late a lap can be where
	// the machine slept or its clock was set, which timers do not notice; a lap without anything to do costs no request.
	shortestSleep = time.Second
	longestSleep  = 10 * time.Minute
	// maxNote is the longest text of an event that the API server takes, in bytes.
	maxNote = 1024
)

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
	Pace         Pace
	Metrics      *Metrics
	Events       events.EventRecorder
	Clock        clock.PassiveClock
	// ClusterID is the UID of the namespace kube-system.
	ClusterID string
	// Journal holds what token requests brought, until it is kept. Process is random, and this process's alone.
	Journal *seal.Journal
	Process string
	// TakeoverWait is for how long a contested claim is left to its holder.
	TakeoverWait time.Duration
	// ConsentURL is where the pages of the consent server are, for everybody; "": nowhere, and no links are given.
	ConsentURL string
	// Patience is how long a lap waits for its exchange, which goes on without it. 0: a quarter of a second.
	Patience time.Duration

	memory  memory
	waker   waker
	consent consentKeys
}

// Reconcile is one lap. Errors are those of the API server: everything else is a fact, and ends in the status.
func (r *AccountReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	account, err := r.read(ctx, request)
	switch {
	case errors.Is(err, errBehind):
		return ctrl.Result{RequeueAfter: cacheDelay, Priority: ptr.To(lifecycle.UrgencyChanged)}, nil
	case apierrors.IsNotFound(err):
		r.memory.forget(request.NamespacedName)
		r.Metrics.forget(request.NamespacedName)
		r.passTurn(request.NamespacedName)
		return ctrl.Result{}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	result, err := r.lap(ctx, request, account)
	if result.Priority == nil { // what started this lap says nothing of the next one
		result.Priority = ptr.To(lifecycle.Urgency(account, r.Clock.Now().Add(result.RequeueAfter)))
	}
	return result, err
}

// lap is Reconcile, for an account that is there.
func (r *AccountReconciler) lap(ctx context.Context, request ctrl.Request, account *v1alpha1.ConnectedAccount) (ctrl.Result, error) {
	if r.InFlight.turnsAway(account.UID, r.Clock.Now()) {
		return ctrl.Result{RequeueAfter: quietTime}, nil
	}
	facts, err := r.gather(ctx, account)
	if errors.Is(err, errSuperseded) {
		return abandoned(err)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	plan := lifecycle.Decide(facts, r.Clock.Now())
	log.FromContext(ctx).V(1).Info("decided", "version", account.ResourceVersion, "rule", plan.Rule, "action", plan.Action, "publish", plan.Publish)
	if plan.Action == lifecycle.Exchange {
		return r.aside(ctx, request, facts, plan)
	}
	r.passTurn(request.NamespacedName)
	return r.carryOut(ctx, request, facts, plan)
}

// carryOut is the second half of a lap: effects and status.
func (r *AccountReconciler) carryOut(ctx context.Context, request ctrl.Request, facts *lifecycle.Facts, plan lifecycle.Plan) (ctrl.Result, error) {
	done, err := r.act(ctx, facts, plan)
	if err != nil {
		return abandoned(err)
	}
	now := r.Clock.Now()
	status := lifecycle.Status(facts, done, now)
	written, err := r.writeStatus(ctx, facts, status)
	if err == nil {
		err = r.hold(ctx, facts, written)
	}
	if err != nil {
		return abandoned(err)
	}
	r.Metrics.observe(request.NamespacedName, &status, facts.Secret == lifecycle.SecretCurrent, now)
	if facts.Secret == lifecycle.SecretCurrent {
		ctx, cancel := context.WithTimeout(ctx, lapDeadline)
		defer cancel()
		if err := r.removeRenamed(ctx, facts.Account); err != nil {
			return ctrl.Result{}, err
		}
	}
	return wakeAt(lifecycle.Wake(facts, &status, now), facts.Account, &status, now), nil
}

// act carries out the plan. The facts follow what is done: an exchange that is kept changes the credential in them.
func (r *AccountReconciler) act(ctx context.Context, facts *lifecycle.Facts, plan lifecycle.Plan) (lifecycle.Done, error) {
	var done lifecycle.Done
	publish := plan.Publish
	var err error
	switch plan.Action {
	case lifecycle.Exchange:
		var came exchanged
		came, err = r.request(ctx, facts, plan)
		done.Failure, done.PublishFinding = came.failure, came.publish
		// The account is the one that was kept in, which may be going by now.
		publish = came.kept && lifecycle.Publishable(facts)
	case lifecycle.Contest:
		err = r.writeClaim(ctx, facts, lifecycle.WithContest(facts, r.Clock.Now()))
	case lifecycle.Unclaim:
		err = r.writeClaim(ctx, facts, lifecycle.WithoutClaim(facts))
	case lifecycle.ImportToken:
		err = r.importToken(ctx, facts)
	case lifecycle.Adopt:
		err = r.adopt(ctx, facts)
	case lifecycle.Revoke:
		err = r.revoke(ctx, facts)
	case lifecycle.Reseal:
		err = r.sealAnew(ctx, facts, func(*seal.Credential) {})
	case lifecycle.Approve:
		err = r.sealAnew(ctx, facts, func(held *seal.Credential) { held.Approved = true })
	case lifecycle.Rest:
	}
	if errors.Is(err, errSchemaTooOld) {
		facts.SchemaTooOld = true
		return lifecycle.Done{}, nil
	}
	if err != nil {
		return done, err
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

// writeClaim writes a status in which the claim alone has changed.
func (r *AccountReconciler) writeClaim(ctx context.Context, facts *lifecycle.Facts, status v1alpha1.ConnectedAccountStatus) error {
	updated, err := r.writeStatus(ctx, facts, status)
	if err != nil {
		return err
	}
	facts.Account = updated
	r.memory.update(updated, func(m *accountMemory) {
		facts.ClaimHolder, facts.ClaimUnchanged = m.watch(updated.Status.Claim, r.Journal.Instance(), r.Process, r.Clock.Now())
		facts.Consent.CodeClaim = updated.Status.Authorization.Exchange.ID
		facts.Consent.CodeHolder, facts.Consent.CodeUnchanged = m.watchCode(updated.Status.Authorization.Exchange, r.Journal.Instance(), r.Process, r.Clock.Now())
	})
	return nil
}

// writeStatus writes the status if it differs, with the resourceVersion of the copy that the plan was made from. It
// adds no time of its own, so that a lap in which nothing happened writes nothing. A definition that drops fields would
// make every write a loss, so that nothing is written under it where there may be something to lose.
func (r *AccountReconciler) writeStatus(ctx context.Context, facts *lifecycle.Facts, status v1alpha1.ConnectedAccountStatus) (*v1alpha1.ConnectedAccount, error) {
	account := facts.Account
	if apiequality.Semantic.DeepEqual(account.Status, status) {
		return account, nil
	}
	updated := account.DeepCopy()
	updated.Status = status
	if facts.SchemaTooOld && r.mayHold(account) { // also where it was mended since: the copy is of before, and has the same version
		r.tell(account, updated)
		return account, nil
	}
	ctx, cancel := context.WithTimeout(detached(ctx), writeDeadline)
	defer cancel()
	err := r.Schema.prove(ctx, account, false)
	if errors.Is(err, errSchemaTooOld) && r.mayHold(account) {
		r.tell(account, updated)
		return account, nil
	}
	if err != nil && !errors.Is(err, errSchemaTooOld) {
		return nil, err
	}
	if err := r.updateStatus(ctx, updated); err != nil && !errors.Is(err, errSchemaTooOld) {
		return nil, err
	}
	r.tell(account, updated)
	return updated, nil
}

// mayHold: the account may hold a credential that cannot be seen at present.
func (r *AccountReconciler) mayHold(account *v1alpha1.ConnectedAccount) bool {
	return account.Status.SealedCredential != "" || account.Status.Rotations > 0 || r.memory.of(account).held
}

// wrote remembers a version of this process's own making.
func (r *AccountReconciler) wrote(account *v1alpha1.ConnectedAccount) {
	r.memory.update(account, func(m *accountMemory) { m.version, m.writtenTime = account.ResourceVersion, r.Clock.Now() })
}

// tell makes an event of a change in readiness or its reason.
func (r *AccountReconciler) tell(before, after *v1alpha1.ConnectedAccount) {
	r.tellConsent(before, after)
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	if is == nil || was != nil && was.Status == is.Status && was.Reason == is.Reason || is.Reason == v1alpha1.ReasonPending {
		return
	}
	kind := corev1.EventTypeWarning
	switch is.Reason {
	case v1alpha1.ReasonTokenValid:
		kind = corev1.EventTypeNormal
	case v1alpha1.ReasonClientNotAvailable, v1alpha1.ReasonClientNotReady:
		// Pipelines apply in any order: that the client is not there yet is no reason for alarm while nothing worked before.
		if was == nil || was.Status != metav1.ConditionTrue {
			kind = corev1.EventTypeNormal
		}
	}
	note := is.Message
	if len(note) > maxNote {
		note = strings.ToValidUTF8(note[:maxNote], "")
	}
	r.Events.Eventf(after, nil, kind, is.Reason, "Refresh", "%s", note)
}

// abandoned ends a lap that somebody else has overtaken. What was done stands in the status already or is done again by
// the next lap, which the newer copy starts; the second look is only for the case that it came already.
func abandoned(err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) || errors.Is(err, errSuperseded) || errors.Is(err, errExchangeOpen) {
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	return ctrl.Result{}, client.IgnoreNotFound(err)
}

// wakeAt asks for the next lap, as urgent as the account will be by then.
func wakeAt(wake time.Time, account *v1alpha1.ConnectedAccount, status *v1alpha1.ConnectedAccountStatus, now time.Time) ctrl.Result {
	if wake.IsZero() {
		return ctrl.Result{}
	}
	then := *account
	then.Status = *status
	after := min(max(wake.Sub(now), shortestSleep), longestSleep)
	return ctrl.Result{RequeueAfter: after, Priority: ptr.To(lifecycle.Urgency(&then, now.Add(after)))}
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

// read takes the account from the cache, unless the cache is behind what this process wrote: a plan made from such a copy
// would spend a call for nothing, or lose what came of it. Such a lap ends with errBehind, and the cache's own event
// starts the next one. A cache that stays behind is not waited for: a live read tells.
func (r *AccountReconciler) read(ctx context.Context, request ctrl.Request) (*v1alpha1.ConnectedAccount, error) {
	account := &v1alpha1.ConnectedAccount{}
	if err := r.Client.Get(ctx, request.NamespacedName, account); err != nil {
		return nil, err
	}
	known := r.memory.of(account)
	if !isBefore(account.ResourceVersion, known.version) {
		return account, nil
	}
	if r.Clock.Since(known.writtenTime) < cacheDelay {
		return nil, errBehind
	}
	live := &v1alpha1.ConnectedAccount{}
	if err := r.Live.Get(ctx, request.NamespacedName, live); err != nil {
		return nil, fmt.Errorf("read the account: %w", err)
	}
	r.memory.update(live, func(m *accountMemory) { m.version = live.ResourceVersion })
	return live, nil
}

// isBefore compares two versions of one object; what cannot be compared, as where nothing is remembered, is not before.
func isBefore(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}
