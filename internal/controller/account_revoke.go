package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	reasonRevoked          = "Revoked"
	reasonRevocationFailed = "RevocationFailed"
)

// revoke ends the grant of a deleted account at the provider (RFC 7009), and lets the account go. It is tried for two minutes:
// whoever deletes something wants it gone, and a provider that does not answer must not keep it.
func (r *AccountReconciler) revoke(ctx context.Context, facts *lifecycle.Facts) error {
	account, since, revoked := facts.Account, r.Clock.Now(), false
	// By this process's own clock alone: it may differ from that of the API server.
	r.memory.update(account, func(m *accountMemory) {
		if m.deleting.IsZero() {
			m.deleting = since
		}
		since = m.deleting
		revoked = m.revoked != "" && m.revoked == facts.Credential.Fingerprint
	})
	if revoked { // the provider knows; it is the API server that has not let go yet
		return r.release(ctx, account)
	}
	reason, passes := lifecycle.RevocationFault(facts)
	if reason == "" {
		// A copy of an account that has gone meanwhile looks as if nothing had been sent yet.
		if err := r.isAsItWas(ctx, account); err != nil {
			return err
		}
		err := r.sendRevocation(detached(ctx), facts)
		if err == nil {
			r.memory.update(account, func(m *accountMemory) { m.revoked = facts.Credential.Fingerprint })
			r.Events.Eventf(account, nil, corev1.EventTypeNormal, reasonRevoked, "Revoke", "the grant was revoked at the provider")
			return r.release(ctx, account)
		}
		reason, passes = revocationFailure(err)
	}
	if passes && r.Clock.Since(since) < lifecycle.RevokePatience {
		log.FromContext(ctx).Info("the grant of a deleted account is not revoked yet", "reason", reason)
		return nil
	}
	r.Events.Eventf(account, nil, corev1.EventTypeWarning, reasonRevocationFailed, "Revoke", "the grant was not revoked and lives on at the provider: %s", reason)
	return r.release(ctx, account)
}

// isAsItWas reads the account live, and fails with errSuperseded where it is not what the copy shows.
func (r *AccountReconciler) isAsItWas(ctx context.Context, account *v1alpha1.ConnectedAccount) error {
	live := &v1alpha1.ConnectedAccount{}
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(account), live)
	switch {
	case isGone(err), err == nil && live.ResourceVersion != account.ResourceVersion:
		return errSuperseded
	case err != nil:
		return fmt.Errorf("read the account: %w", err)
	}
	return nil
}

// revocationFailure says why a revocation failed, in words without secrets, and whether it is worth another try.
func revocationFailure(err error) (reason string, passes bool) {
	var failed *oauth.Error
	if !errors.As(err, &failed) {
		return "the request could not be prepared", true
	}
	return failed.Reason, failed.Class == oauth.NotSent || failed.Class == oauth.OutcomeUnknown || failed.Class == oauth.Throttled
}

func (r *AccountReconciler) sendRevocation(ctx context.Context, facts *lifecycle.Facts) error {
	ctx, cancel := context.WithTimeout(ctx, lifecycle.RequestLimit(facts.Client)+readyDeadline)
	defer cancel()
	material, err := r.Credentials.material(ctx, facts.Client)
	if err != nil {
		return err
	}
	transport, err := r.Transports.of(facts.Client, material.rootCAs)
	if err != nil {
		return err
	}
	keyring, _ := r.Keyring.current()
	held, err := keyring.Open(seal.PurposeCredential, r.subject(facts.Account), facts.Account.Status.SealedCredential)
	if err != nil {
		return err
	}
	endpoint := string(facts.Client.Spec.Endpoints.Revocation)
	return transport.Revoke(ctx, registrationOf(facts.Client, material), endpoint, held.RefreshToken)
}

// release lets a deleted account go.
func (r *AccountReconciler) release(ctx context.Context, account *v1alpha1.ConnectedAccount) error {
	if err := r.setHold(ctx, account, false); err != nil {
		return err
	}
	return errSuperseded // it is gone
}

// hold adds the finalizer where there is something to revoke, and takes it off where that is not wanted any more.
func (r *AccountReconciler) hold(ctx context.Context, facts *lifecycle.Facts, written *v1alpha1.ConnectedAccount) error {
	if facts.SchemaTooOld {
		return nil // any write would erase what the definition hides
	}
	now := *facts
	now.Account = written
	switch {
	case lifecycle.ShouldHold(&now) && !lifecycle.Holds(written):
		return r.setHold(ctx, written, true)
	case lifecycle.MayRelease(&now):
		return r.setHold(ctx, written, false)
	default:
		return nil
	}
}

// setHold writes the list of finalizers, over the very version that it was made from, and nothing else.
func (r *AccountReconciler) setHold(ctx context.Context, account *v1alpha1.ConnectedAccount, held bool) error {
	ctx, cancel := context.WithTimeout(detached(ctx), writeDeadline)
	defer cancel()
	changed := account.DeepCopy()
	changed.Finalizers = slices.Clone(account.Finalizers)
	if held {
		controllerutil.AddFinalizer(changed, v1alpha1.FinalizerRevoke)
	} else {
		controllerutil.RemoveFinalizer(changed, v1alpha1.FinalizerRevoke)
	}
	patch := client.MergeFromWithOptions(account, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, changed, patch, client.FieldOwner(fieldOwner)); err != nil {
		return err
	}
	r.wrote(changed)
	return nil
}
