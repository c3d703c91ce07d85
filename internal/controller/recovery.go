package controller

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// recoveryPause is the pause between two tries of what cannot be recovered yet.
const recoveryPause = time.Second

// longestRecoveryPause is what it grows to.
const longestRecoveryPause = time.Minute

var errNotOpened = errors.New("the entry cannot be opened")

// errNotJudged is an errNotOpened that no time will mend.
var errNotJudged = fmt.Errorf("%w: it cannot be judged", errNotOpened)

// idlePause is the pause where nothing can be done without somebody's doing.
const idlePause = 30 * time.Second

// recovery finishes, at the start of every replica, what an earlier process of the same pod has left behind: first the
// replies in the journal, then its claims. It needs no lease: what it writes is later than what was there, or is not
// written.
type recovery struct{ accounts *AccountReconciler }

// NeedLeaderElection makes the manager start it in every replica.
func (r *recovery) NeedLeaderElection() bool { return false }

// Start works until nothing is left, or the context ends.
func (r *recovery) Start(ctx context.Context) error {
	entries, err := r.accounts.Journal.Entries()
	if err != nil {
		log.FromContext(ctx).Error(err, "there are files in the journal that cannot be read")
		r.removeBroken(ctx, err)
	}
	for _, entry := range entries {
		go r.settleEntry(ctx, entry)
	}
	return r.resolve(ctx)
}

// removeBroken removes what no version will ever read: it would keep its account from being refreshed, for nothing. What a
// later version has written, and what the disk does not give out, stays.
func (r *recovery) removeBroken(ctx context.Context, err error) {
	var unreadable *seal.UnreadableError
	if !errors.As(err, &unreadable) {
		return
	}
	for _, file := range unreadable.Files {
		if file.UID == "" {
			continue
		}
		if !errors.Is(file.Err, seal.ErrMalformed) {
			r.accounts.memory.setUnread(types.UID(file.UID), true)
			continue
		}
		log.FromContext(ctx).Error(file.Err, "a file in the journal is broken and is removed", "file", file.Name)
		if err := r.accounts.Journal.Remove(file.UID, file.ClaimID); err != nil {
			log.FromContext(ctx).Error(err, "a broken file in the journal could not be removed", "file", file.Name)
		}
	}
}

// settleEntry works until an entry is settled, whatever happens to the manager: it may be the only copy of what it holds, and
// goes with the pod. An end of the process waits for it, unless it cannot be opened as things are.
func (r *recovery) settleEntry(ctx context.Context, entry seal.Entry) {
	accounts, ctx := r.accounts, detached(ctx)
	id := types.UID("replay/" + entry.ClaimID)
	waited := accounts.InFlight.begin(id, accounts.Clock.Now()) == nil
	end := func() {
		if waited {
			accounts.InFlight.end(id)
			waited = false
		}
	}
	defer end()
	for pause := recoveryPause; ; pause = min(2*pause, longestRecoveryPause) {
		err := accounts.replay(ctx, entry)
		accounts.memory.setUnread(types.UID(entry.Subject.UID), errors.Is(err, errNotOpened))
		if err == nil || errors.Is(err, errNotJudged) {
			return
		}
		if errors.Is(err, errNotOpened) {
			end()
		}
		log.FromContext(ctx).Info("an entry of the journal is not settled yet", "namespace", entry.Subject.Namespace, "name", entry.Subject.Name, "error", err.Error())
		time.Sleep(pause)
	}
}

// resolve finds out what became of the claims of an earlier process of this pod, which is dead. Where the provider
// forgives a second use for a few seconds only, there is no time to wait for the lease of the dead; and at the end of a code
// there is a person who waits to hear of it.
func (r *recovery) resolve(ctx context.Context) error {
	list := &v1alpha1.ConnectedAccountList{}
	if err := r.accounts.Client.List(ctx, list); err != nil {
		return fmt.Errorf("look for claims of an earlier process: %w", err)
	}
	var open sync.WaitGroup
	for i := range list.Items {
		if !slices.ContainsFunc(r.claimsHere(&list.Items[i]), func(holder v1alpha1.ClaimHolder) bool { return holder.Process != r.accounts.Process }) {
			continue
		}
		key := types.NamespacedName{Namespace: list.Items[i].Namespace, Name: list.Items[i].Name}
		open.Go(func() { r.resolveOne(ctx, key) })
	}
	open.Wait()
	return nil
}

// claimsHere are the holders of an account's open claims that are, or were, processes of this pod.
func (r *recovery) claimsHere(account *v1alpha1.ConnectedAccount) []v1alpha1.ClaimHolder {
	holders := []v1alpha1.ClaimHolder{account.Status.Claim.Holder, account.Status.Authorization.Exchange.Holder}
	return slices.DeleteFunc(holders, func(holder v1alpha1.ClaimHolder) bool { return holder.Journal != r.accounts.Journal.Instance() })
}

// resolveOne makes laps of an account for as long as a claim of this pod is open in it.
func (r *recovery) resolveOne(ctx context.Context, key types.NamespacedName) {
	for failed := recoveryPause; ctx.Err() == nil; failed = min(2*failed, longestRecoveryPause) {
		account := &v1alpha1.ConnectedAccount{}
		err := r.accounts.Live.Get(ctx, key, account)
		if isGone(err) || err == nil && len(r.claimsHere(account)) == 0 {
			return
		}
		pause := failed
		if err == nil {
			err = r.accounts.Keyring.look(ctx)
		}
		if err == nil {
			var result ctrl.Result
			result, err = r.accounts.Reconcile(ctx, ctrl.Request{NamespacedName: key})
			if err == nil {
				pause, failed = result.RequeueAfter, recoveryPause
			}
			switch {
			case r.accounts.InFlight.holds(account.UID), r.accounts.Pace.Slots.Waits(key.String()):
				pause = recoveryPause // nobody else tells of its end
			case pause == 0:
				pause = idlePause
			}
		}
		if err != nil {
			log.FromContext(ctx).Info("a claim of an earlier process is still open", "namespace", key.Namespace, "name", key.Name, "error", err.Error())
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// replay writes what an entry of the journal holds, unless something later is there. The entry goes once that is certain.
func (r *AccountReconciler) replay(ctx context.Context, entry seal.Entry) (err error) {
	defer func() {
		// The same bytes would end every process that starts with them.
		if panicked := recover(); panicked != nil {
			log.FromContext(ctx).Error(fmt.Errorf("%v", panicked), "an entry of the journal cannot be judged; it is left alone", "claim", entry.ClaimID, "stack", string(debug.Stack()))
			err = errNotJudged
		}
	}()
	account := &v1alpha1.ConnectedAccount{}
	err = r.Live.Get(ctx, types.NamespacedName{Namespace: entry.Subject.Namespace, Name: entry.Subject.Name}, account)
	if isGone(err) || err == nil && (string(account.UID) != entry.Subject.UID || r.ClusterID != entry.Subject.ClusterID) {
		return r.Journal.Remove(entry.Subject.UID, entry.ClaimID) // whoever it was for is gone
	}
	if err != nil {
		return fmt.Errorf("read the account: %w", err)
	}
	if err := r.Keyring.look(ctx); errors.Is(err, errKeyringGone) {
		return fmt.Errorf("%w: %w", errNotOpened, err)
	} else if err != nil {
		return err
	}
	keyring, _ := r.Keyring.current()
	receipt, err := keyring.OpenReceipt(entry.Subject, entry.Sealed)
	if err != nil {
		if _, isCredential := keyring.Open(seal.PurposeCredential, entry.Subject, entry.Sealed); isCredential == nil {
			return r.putBack(ctx, entry, v1alpha1.Claim{}, account.Status.ClaimSequence+1)
		}
		return fmt.Errorf("%w: %w", errNotOpened, err)
	}
	reply, err := oauth.DecodeReply(receipt.Reply)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotOpened, err)
	}
	facts, err := r.gather(ctx, account)
	if err != nil {
		return err
	}
	err = r.settle(ctx, facts, r.outcomeOf(ctx, account.Namespace, spendOf(receipt, facts.Client), reply, nil))
	if err != nil && !errors.Is(err, errSuperseded) {
		return err
	}
	log.FromContext(ctx).Info("a reply from before the restart is settled", "namespace", account.Namespace, "name", account.Name, "kept", err == nil)
	return r.Journal.Remove(entry.Subject.UID, entry.ClaimID)
}

// spendOf is the spending that a receipt tells of.
func spendOf(receipt seal.Receipt, owner *v1alpha1.OAuthClient) *spend {
	s := &spend{claimID: receipt.ClaimID, receipt: receipt, spending: lifecycle.Spending{
		Attempt: receipt.Attempt, Spent: receipt.Spent, Forgiven: owner != nil && lifecycle.Grace(owner) > 0,
	}}
	if receipt.Template.ClaimSequence > 0 {
		s.spending.ClaimID, s.spending.ClaimSequence = receipt.ClaimID, receipt.Template.ClaimSequence
	}
	if code := receipt.Code; code != nil {
		s.spending.Code, s.spending.HandOverID = true, code.HandOverID
		s.spending.StateHash, s.spending.ConsentAttempt = v1alpha1.StateHash(code.StateHash), code.Attempt
	}
	return s
}
