package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	// settleDeadline bounds the writes after a token request whose result can be had again; keepPatience, how long they go
	// on where the API server answers with a no. What cannot be had again is written until it is written.
	settleDeadline = 60 * time.Second
	keepPatience   = 5 * time.Second
	// keyringTrust is how long after a token request its result is sealed without a look at the keyring.
	keyringTrust = time.Minute
	// settleTry bounds one of those writes.
	settleTry = 15 * time.Second
	// settlePause is the longest pause between two of them.
	settlePause = 3 * time.Second
)

var errLookAgain = errors.New("the installed definition is mended: the account is read again")

var errUnclear = errors.New("the account holds a credential that cannot be opened: nothing is written over it")

// outcome is what a token request came to, until the status tells it.
type outcome struct {
	spending lifecycle.Spending
	// credential is what is to be kept; nil: nothing came. failure is why not all came that was asked for.
	credential *seal.Credential
	failure    *lifecycle.Failure
	// identity is whose access it was that was not kept; asksWhose: the client said where an answer names that.
	identity  string
	asksWhose bool
}

// irreplaceable: losing it would mean that a person must consent again, or that one is told so for nothing. What a code
// brought cannot be had again, whether or not there is a refresh token in it.
func (o *outcome) irreplaceable() bool {
	return o.credential != nil && (o.spending.Code || !o.credential.RefreshToken.Empty()) ||
		o.failure != nil && o.failure.Class == oauth.RefreshTokenRejected
}

// settle writes the outcome of a token request into the status until it is written. What is kept is later than what was
// there, whoever wrote that; nothing else of the account is touched. The facts then speak of what was written.
func (r *AccountReconciler) settle(ctx context.Context, facts *lifecycle.Facts, o *outcome) error {
	sealed := ""
	started := r.Clock.Now()
	looked := started
	if sent := r.memory.of(facts.Account).lastAttempt; !sent.IsZero() {
		looked = sent
	}
	backoff := wait.Backoff{Duration: 20 * time.Millisecond, Factor: 2, Jitter: 0.3, Steps: 1 << 16, Cap: settlePause}
	for {
		if r.Clock.Since(looked) > keyringTrust {
			r.lookAtKeyring(ctx)
			looked = r.Clock.Now()
		}
		var err error
		if sealed, err = r.sealedNow(facts, o, sealed); err != nil {
			return err
		}
		err = r.settleOnce(ctx, facts, o, sealed)
		if err == nil || errors.Is(err, errSuperseded) || !o.irreplaceable() && r.gaveUp(err, started) {
			return err
		}
		if errors.Is(err, errUnclear) && !o.irreplaceable() {
			return errSuperseded
		}
		if !apierrors.IsConflict(err) {
			log.FromContext(ctx).Info("the outcome of a token request is not written yet", "error", err.Error())
		}
		select {
		case <-ctx.Done(): // a replay, which the next start makes again
			return fmt.Errorf("write the outcome of a token request: %w", err)
		case <-time.After(backoff.Step()):
		}
		if settled, err := r.rebase(ctx, facts, o, sealed); settled || err != nil {
			return err
		}
	}
}

// lookAtKeyring finds out what the keyring is by now. A process that was paused, or whose provider took its time, may have
// missed that the key which it would seal with was retired. Without an answer, what is known has to do.
func (r *AccountReconciler) lookAtKeyring(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTry)
	defer cancel()
	if err := r.Keyring.look(ctx); err != nil {
		log.FromContext(ctx).Info("the keyring could not be read before a result is sealed", "error", err.Error())
	}
}

// sealedNow is the credential as it is to be written, under the key that is in use by now: writing it can take longer than
// that key lives. What a code brought may have to give way to what was kept meanwhile: then there is none, or it has moved.
func (r *AccountReconciler) sealedNow(facts *lifecycle.Facts, o *outcome, before string) (string, error) {
	if r.place(facts, o) {
		before = ""
	}
	if o.credential == nil {
		return "", nil
	}
	keyring, _ := r.Keyring.current()
	if id, err := seal.KeyID(before); err == nil && id == keyring.ID() {
		return before, nil
	}
	sealed, err := keyring.Seal(seal.PurposeCredential, r.subject(facts.Account), *o.credential)
	if err != nil {
		return "", fmt.Errorf("seal the credential: %w", err)
	}
	return sealed, nil
}

// gaveUp: what can be had again is not worth more writes.
func (r *AccountReconciler) gaveUp(err error, started time.Time) bool {
	took := r.Clock.Since(started)
	_, refused := refusedAs(err)
	return errors.Is(err, errSchemaTooOld) || refused && !apierrors.IsConflict(err) && took > keepPatience || took > settleDeadline
}

// settleOnce writes the status once, and checks in the object that came back that nothing was dropped from it.
func (r *AccountReconciler) settleOnce(ctx context.Context, facts *lifecycle.Facts, o *outcome, sealed string) error {
	ctx, cancel := context.WithTimeout(ctx, settleTry)
	defer cancel()
	known := r.Schema.known()
	if err := r.Schema.prove(ctx, facts.Account, false); err != nil {
		return err
	}
	if !known {
		return errLookAgain // the copy was read while the definition may have hidden what is in it
	}
	if state := facts.Credential.State; state != lifecycle.CredentialHeld && state != lifecycle.CredentialNone {
		return errUnclear
	}
	next, done, keeps := r.settled(facts, o, sealed)
	with := next.Account
	with.Status = lifecycle.Status(&next, done, r.Clock.Now())
	if !apiequality.Semantic.DeepEqual(with.Status, facts.Account.Status) {
		write := r.updateStatus
		if keeps {
			write = r.updateKept
		}
		if err := write(ctx, with); err != nil {
			return err
		}
		r.tell(facts.Account, with)
	}
	r.memory.update(with, func(m *accountMemory) {
		m.refused = false
		m.saw(next.Credential)
	})
	if done.Failure != nil && done.Failure.Class == lifecycle.RefreshTokenLost {
		r.Metrics.lost(facts.Account.Namespace, facts.Account.Name)
	}
	*facts = next
	if o.credential != nil && !keeps {
		return errSuperseded
	}
	return nil
}

// settled are the facts once the outcome is written, with the account as it is to be written.
func (r *AccountReconciler) settled(facts *lifecycle.Facts, o *outcome, sealed string) (next lifecycle.Facts, done lifecycle.Done, keeps bool) {
	next = *facts
	next.Account = facts.Account.DeepCopy()
	status := &next.Account.Status
	if o.credential == nil && o.spending.Code {
		lifecycle.CodeFailed(status, *o.failure, o.identity, o.spending, r.Clock.Now())
		return next, done, false
	}
	if o.credential == nil {
		class, counts := lifecycle.Refused(status, facts.Credential, o.failure.Class, o.spending)
		if counts {
			failure := *o.failure
			failure.Class = class
			done.Failure = &failure
		}
		return next, done, false
	}
	keyring, _ := r.Keyring.current()
	known := knownOf(keyring, r.subject(facts.Account), *o.credential)
	if !lifecycle.MayKeep(status, facts.Credential, known.Version(), o.spending) {
		lifecycle.Dropped(status, o.spending)
		return next, done, false
	}
	lifecycle.Kept(status, facts.Credential, known.Version(), o.spending)
	if o.spending.Code {
		lifecycle.CodeKept(facts, status, known, o.spending, r.Clock.Now())
	}
	status.SealedCredential = sealed
	status.BoundTo = v1alpha1.BoundTo{ClusterID: r.ClusterID, AccountUID: string(facts.Account.UID)}
	next.Credential = known
	if facts.Secret == lifecycle.SecretCurrent {
		next.Secret = lifecycle.SecretStale
	}
	done.Failure = o.failure
	return next, done, true
}

// rebase takes up the account as it is now, after a write that failed. It reports whether the outcome stands in it: the
// write may have arrived although its answer did not.
func (r *AccountReconciler) rebase(ctx context.Context, facts *lifecycle.Facts, o *outcome, sealed string) (settled bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, settleTry)
	defer cancel()
	live := &v1alpha1.ConnectedAccount{}
	err = r.Live.Get(ctx, client.ObjectKeyFromObject(facts.Account), live)
	if isGone(err) || err == nil && live.UID != facts.Account.UID {
		return false, errSuperseded
	}
	if err != nil {
		return false, nil // the write is tried again, and meets the same conflict if nothing changed
	}
	keyring, _ := r.Keyring.current()
	known, _ := openCredential(keyring, r.subject(live), live)
	facts.Account, facts.Credential = live, known
	if o.credential == nil || live.Status.SealedCredential != sealed {
		return false, nil
	}
	if facts.Secret == lifecycle.SecretCurrent {
		facts.Secret = lifecycle.SecretStale
	}
	r.memory.update(live, func(m *accountMemory) { m.saw(known) })
	return true, nil
}

// isGone: the API server says that the object is not there. A plain 404, as from one that does not serve the resource at
// the moment or from a proxy in front of it, says nothing about the object.
func isGone(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
