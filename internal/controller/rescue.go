package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// rescuePause is the pause between two tries to write back what a definition has dropped.
const rescuePause = 5 * time.Second

// updateStatus writes a status, and checks in the object that came back that the credential is still in it. A definition
// that was replaced a moment ago by one of an earlier version drops it silently, and it is written back once the
// definition is mended.
func (r *AccountReconciler) updateStatus(ctx context.Context, account *v1alpha1.ConnectedAccount) error {
	wanted := account.Status.DeepCopy()
	err := r.updateKept(ctx, account)
	if errors.Is(err, errSchemaTooOld) && wanted.SealedCredential != "" {
		r.rescue(ctx, account, wanted)
	}
	return err
}

// updateKept is updateStatus for whoever holds the credential and writes it until it is written.
func (r *AccountReconciler) updateKept(ctx context.Context, account *v1alpha1.ConnectedAccount) error {
	wanted := account.Status.DeepCopy()
	if err := r.Client.Status().Update(ctx, account); err != nil {
		return err
	}
	status := account.Status
	if status.SealedCredential != wanted.SealedCredential || status.BoundTo != wanted.BoundTo || status.Claim.ID != wanted.Claim.ID || status.ClaimSequence != wanted.ClaimSequence ||
		status.Authorization.Exchange.ID != wanted.Authorization.Exchange.ID || status.Authorization.Attempt != wanted.Authorization.Attempt {
		r.Schema.disprove()
		return errSchemaTooOld
	}
	r.wrote(account)
	return nil
}

// rescue keeps a credential that was dropped in the journal and in memory until it is back in the status.
func (r *AccountReconciler) rescue(ctx context.Context, account *v1alpha1.ConnectedAccount, dropped *v1alpha1.ConnectedAccountStatus) {
	id := string(uuid.NewUUID())
	log.FromContext(ctx).Error(errSchemaTooOld, "a credential was dropped from the status of an account; it is written back once the definition is mended")
	slot, err := r.Journal.Reserve(r.subject(account), id)
	if err == nil {
		defer slot.Release()
		err = slot.Write(dropped.SealedCredential)
	}
	if err != nil {
		log.FromContext(ctx).Error(err, "the dropped credential could not be written to the journal; a crash before it is back would lose it")
	}
	inFlight := types.UID("rescue/" + id)
	if r.InFlight.begin(inFlight, r.Clock.Now()) != nil {
		return // shutting down: the journal has it
	}
	entry := seal.Entry{Subject: r.subject(account), ClaimID: id, Sealed: dropped.SealedCredential}
	ctx = detached(ctx)
	go func() {
		defer r.InFlight.end(inFlight)
		for {
			if err := r.putBack(ctx, entry, dropped.Claim, dropped.ClaimSequence); err == nil {
				return
			}
			time.Sleep(rescuePause)
		}
	}()
}

// putBack writes a credential back that a definition has dropped, unless something else is there by now. The entry goes
// once that is certain.
//
// The claim comes back with it, if it is known. Otherwise there may have been one: the doubt mark says so.
func (r *AccountReconciler) putBack(ctx context.Context, entry seal.Entry, claim v1alpha1.Claim, claims int64) error {
	ctx, cancel := context.WithTimeout(ctx, settleTry)
	defer cancel()
	account := &v1alpha1.ConnectedAccount{}
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: entry.Subject.Namespace, Name: entry.Subject.Name}, account)
	switch {
	case isGone(err), err == nil && string(account.UID) != entry.Subject.UID:
		return r.Journal.Remove(entry.Subject.UID, entry.ClaimID)
	case err != nil:
		return fmt.Errorf("read the account: %w", err)
	}
	if err := r.Schema.prove(ctx, account, true); err != nil {
		return err
	}
	// Read again: what is not there may only have been hidden by the definition.
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(account), account); err != nil {
		return fmt.Errorf("read the account: %w", err)
	}
	if account.Status.SealedCredential == "" {
		account.Status.SealedCredential = entry.Sealed
		account.Status.BoundTo = v1alpha1.BoundTo{ClusterID: entry.Subject.ClusterID, AccountUID: entry.Subject.UID}
		if account.Status.Claim.ID == "" {
			account.Status.Claim = claim
		}
		account.Status.ClaimSequence = max(account.Status.ClaimSequence, claims, 1)
		account.Status.DoubtSequence = account.Status.ClaimSequence
		if err := r.Client.Status().Update(ctx, account); err != nil {
			return err
		}
		if account.Status.SealedCredential != entry.Sealed {
			return errSchemaTooOld
		}
		r.wrote(account)
	}
	return r.Journal.Remove(entry.Subject.UID, entry.ClaimID)
}
