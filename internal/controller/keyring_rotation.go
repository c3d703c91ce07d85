package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	// keyTurn is the pause between two looks at what is to be done about the keys.
	keyTurn = time.Second
	// keyCheck is how often a retirement that was refused is tried again.
	keyCheck = 30 * time.Second
	// resealsPerTurn bounds how many accounts are sealed anew in one turn, and resealPause and resealLook are how long it takes
	// to look for more, after some were found and after none were.
	resealsPerTurn = 10
	resealPause    = 10 * time.Second
	resealLook     = 10 * time.Minute
)

// The reasons of events of the keyring Secret.
const (
	reasonKeyAdded       = "KeyAdded"
	reasonKeyInUse       = "KeyInUse"
	reasonResealed       = "Resealed"
	reasonKeyDisabled    = "KeyDisabled"
	reasonKeyEnabled     = "KeyEnabled"
	reasonKeyRetired     = "KeyRetired"
	reasonKeyWaits       = "KeyWaits"
	reasonKeyNeeded      = "KeyNeeded"
	reasonKeyNotRotated  = "KeyNotRotated"
	reasonRotationFailed = "RotationFailed"
)

// keyRotation carries out, in the replica that has the lease, what the annotations of the keyring Secret ask for, and has the
// accounts sealed anew that are sealed under an earlier key. All that it must remember is in the Secret: whoever has the lease
// next goes on from there.
type keyRotation struct {
	accounts *AccountReconciler

	// said is what was last said of what cannot be done; checked is when that was last tried.
	said    string
	checked time.Time
	// keys are those for which accounts are sealed anew, todo are those that were found, look is when to look for more, and
	// found, whether there were any the last time.
	keys  []seal.Key
	todo  []reconcile.Request
	look  time.Time
	found bool
}

// NeedLeaderElection makes the manager start it in one replica.
func (r *keyRotation) NeedLeaderElection() bool { return true }

// Start takes turns until the context ends.
func (r *keyRotation) Start(ctx context.Context) error {
	ticker := time.NewTicker(keyTurn)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := r.turn(ctx); err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Info("the keys of the keyring could not be seen to; it is tried again", "error", err.Error())
		}
	}
}

// turn does the next thing, if there is any.
func (r *keyRotation) turn(ctx context.Context) error {
	now, present := r.accounts.Keyring.now()
	if !present {
		return nil
	}
	if err := r.reseal(ctx, now); err != nil {
		return err
	}
	age := func(key seal.Key) time.Duration {
		since, known := now.since[key]
		if !known {
			return 0
		}
		return r.accounts.Clock.Since(since)
	}
	next := now.NextKeyStep(seal.KeyRequest{Rotate: now.rotate, Retire: now.retire}, age)
	switch {
	case next.Refused:
		key := next.Key.ID
		if next.Key.State == "" {
			key = "" // what the annotation holds is not repeated: it may be anything
		}
		r.say(ctx, now, saying{corev1.EventTypeWarning, reasonKeyNotRotated, key, refusedStep(now, next), nil})
	case next.Rest > 0:
		r.say(ctx, now, saying{corev1.EventTypeNormal, reasonKeyWaits, next.Key.ID, "key " + next.Key.ID + " is retired when this replica has seen for an hour that it seals nothing", nil})
	case next.Action != seal.KeyRests:
		return r.carryOut(ctx, now, next)
	}
	return nil
}

// refusedStep says what is wrong with a request, and what to write.
func refusedStep(now keyringNow, next seal.KeyStep) string {
	switch {
	case next.Key.State == seal.KeyPrimary:
		return fmt.Sprintf("key %s seals, and is not retired: replace it first, by the annotation %s=%s", next.Key.ID, v1alpha1.AnnotationRotateKey, next.Key.ID)
	case next.Key.ID == now.rotate:
		return fmt.Sprintf("the annotation %s must name the key that seals at present: %s=%s", v1alpha1.AnnotationRotateKey, v1alpha1.AnnotationRotateKey, now.ID())
	case next.Key.State == seal.KeyDistributed:
		return fmt.Sprintf("key %s is about to seal, and is not retired", next.Key.ID)
	default:
		return fmt.Sprintf("the annotation %s must name a key of the keyring that only opens any more", v1alpha1.AnnotationRetireKey)
	}
}

// carryOut writes the keyring's next state. A key that is to go is first looked for, wherever it may be named.
func (r *keyRotation) carryOut(ctx context.Context, now keyringNow, next seal.KeyStep) error {
	id := next.Key.ID
	switch next.Action {
	case seal.KeyRests:
		return nil
	case seal.KeyAdd:
		return r.write(ctx, now, reasonKeyAdded, "a new key was added; it seals in ten minutes, when every replica and every consent page has it. Back up the keyring now", id,
			func(keyring *seal.Keyring, _ string) (*seal.Keyring, error) { return keyring.WithNewKey() })
	case seal.KeyPromote:
		return r.write(ctx, now, reasonKeyInUse, fmt.Sprintf("key %s seals from now on, and key %s only opens; all accounts are sealed anew, ten in a second", id, now.ID()), id, (*seal.Keyring).WithPrimary)
	case seal.KeyDisable, seal.KeyRemove:
	}
	if r.accounts.Clock.Since(r.checked) < keyCheck {
		return nil
	}
	r.checked = r.accounts.Clock.Now()
	uses, err := r.usesOf(ctx, id)
	switch {
	case err != nil:
		return err
	case uses.needed() && next.Action == seal.KeyRemove:
		return r.write(ctx, now, reasonKeyEnabled, "key "+id+" is enabled again, since it is needed by "+uses.String(), id, (*seal.Keyring).WithEnabled)
	case uses.needed():
		r.say(ctx, now, saying{corev1.EventTypeWarning, reasonKeyNeeded, id, "key " + id + " is not retired yet, since it is needed by " + uses.String(), uses.account})
		return nil
	case next.Action == seal.KeyRemove:
		return r.write(ctx, now, reasonKeyRetired, "key "+id+" was removed: what it has sealed, such as a status in a backup, cannot be opened any more. Back up the keyring now", id, (*seal.Keyring).Without)
	default:
		return r.write(ctx, now, reasonKeyDisabled, "nothing is sealed under key "+id+": it is disabled, and removed in a minute if that stays so", id, (*seal.Keyring).WithDisabled)
	}
}

// write changes the keyring, and says so.
func (r *keyRotation) write(ctx context.Context, now keyringNow, reason, note, key string, change func(*seal.Keyring, string) (*seal.Keyring, error)) error {
	err := r.accounts.Keyring.change(ctx, func(keyring *seal.Keyring) (*seal.Keyring, error) {
		if !maps.EqualFunc(keyring.Data(), now.Data(), bytes.Equal) {
			return nil, errSuperseded
		}
		return change(keyring, key)
	})
	if apierrors.IsConflict(err) || errors.Is(err, errSuperseded) {
		return nil // somebody else has written it: the next turn looks again
	}
	if err != nil {
		r.say(ctx, now, saying{corev1.EventTypeWarning, reasonRotationFailed, key, "the keyring could not be changed; the log says why, and it is tried again", nil})
		return err
	}
	r.say(ctx, now, saying{corev1.EventTypeNormal, reason, key, note, nil})
	return nil
}

// saying is what is to be said: about which key, and because of which account, if one is the reason.
type saying struct {
	kind, reason, key, note string
	account                 *v1alpha1.ConnectedAccount
}

// say makes an event and a line in the log, once for what it says. Events that differ in nothing but their note are counted
// as one, with the first note; so the key is in the action as well.
func (r *keyRotation) say(ctx context.Context, now keyringNow, what saying) {
	if what.note == r.said {
		return
	}
	r.said = what.note
	var related runtime.Object
	if what.account != nil {
		related = what.account
	}
	r.accounts.Events.Eventf(now.stored, related, what.kind, what.reason, "SeeToKey"+what.key, "%s", what.note)
	log.FromContext(ctx).WithName("keyring").Info(what.note, "reason", what.reason)
}

// reseal has the next accounts sealed anew, in the order in which they are found.
func (r *keyRotation) reseal(ctx context.Context, now keyringNow) error {
	if keys := now.Keys(); !slices.Equal(r.keys, keys) {
		r.keys, r.todo, r.look = keys, nil, time.Time{}
	}
	if len(r.todo) == 0 && !r.accounts.Clock.Now().Before(r.look) {
		if err := r.findEarlier(ctx, now); err != nil {
			return err
		}
	}
	queue := r.accounts.Keyring.queue()
	if queue == nil {
		return nil
	}
	count := min(resealsPerTurn, len(r.todo))
	for _, request := range r.todo[:count] {
		account := &v1alpha1.ConnectedAccount{}
		if err := r.accounts.Client.Get(ctx, request.NamespacedName, account); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return fmt.Errorf("read an account: %w", err)
		}
		r.accounts.memory.update(account, func(m *accountMemory) { m.reseal = true })
		queue.Add(request)
	}
	r.todo = r.todo[count:]
	return nil
}

// findEarlier looks in the cache for accounts that are sealed under an earlier key and could be sealed anew now.
func (r *keyRotation) findEarlier(ctx context.Context, now keyringNow) error {
	list := &v1alpha1.ConnectedAccountList{}
	if err := r.accounts.Client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("look for accounts that are sealed under an earlier key: %w", err)
	}
	for i := range list.Items {
		account := &list.Items[i]
		id, err := seal.KeyID(account.Status.SealedCredential)
		if err == nil && id != now.ID() && now.Contains(id) && account.Status.Claim.ID == "" && account.Status.BoundTo.AccountUID == string(account.UID) {
			r.todo = append(r.todo, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(account)})
		}
	}
	pause := resealLook
	if len(r.todo) > 0 {
		pause = resealPause
	} else if r.found {
		r.say(ctx, now, saying{corev1.EventTypeNormal, reasonResealed, now.ID(), "every account that can be opened and has no open claim is sealed under key " + now.ID(), nil})
	}
	r.found, r.look = len(r.todo) > 0, r.accounts.Clock.Now().Add(pause)
	return nil
}

// usesOf finds what keeps a key from being retired. It asks the API server and not the cache, under a definition that hides
// nothing.
func (r *keyRotation) usesOf(ctx context.Context, key string) (*keyUses, error) {
	uses := &keyUses{key: key}
	if err := r.inJournal(uses); err != nil || uses.needed() {
		return uses, err
	}
	// The cache is asked first, so that a retirement that waits for weeks costs nothing.
	cached := &v1alpha1.ConnectedAccountList{}
	if err := r.accounts.Client.List(ctx, cached, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("look for what is sealed under a key: %w", err)
	}
	uses.add(cached.Items)
	if uses.needed() {
		return uses, nil
	}
	page := &v1alpha1.ConnectedAccountList{}
	if err := r.accounts.Live.List(ctx, page, client.Limit(1)); err != nil {
		return nil, fmt.Errorf("look for what is sealed under a key: %w", err)
	}
	if len(page.Items) > 0 {
		err := r.accounts.Schema.prove(ctx, &page.Items[0], true)
		if errors.Is(err, errSchemaTooOld) {
			uses.other = "what the installed definition hides: install the definitions of this version (config/crd)"
			return uses, nil
		}
		if err != nil {
			return nil, err
		}
	}
	page = &v1alpha1.ConnectedAccountList{}
	for {
		if err := r.accounts.Live.List(ctx, page, client.Limit(accountsPerPage), client.Continue(page.Continue)); err != nil {
			return nil, fmt.Errorf("look for what is sealed under a key: %w", err)
		}
		uses.add(page.Items)
		if page.Continue == "" {
			return uses, nil
		}
	}
}

// inJournal looks into this replica's own journal. What lies in those of others has a claim that is open, or was lost.
func (r *keyRotation) inJournal(uses *keyUses) error {
	entries, err := r.accounts.Journal.Entries()
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	for _, entry := range entries {
		if id, err := seal.KeyID(entry.Sealed); err != nil || id == uses.key {
			uses.other = fmt.Sprintf("a result for %s/%s in the journal of the replica at work, which is not kept yet", entry.Subject.Namespace, entry.Subject.Name)
		}
	}
	return nil
}

// keyUses is what needs a key: accounts, with the first of them, and why; or something else.
type keyUses struct {
	key     string
	count   int
	account *v1alpha1.ConnectedAccount
	why     string
	other   string
}

func (u *keyUses) add(accounts []v1alpha1.ConnectedAccount) {
	for i := range accounts {
		why := needsKey(&accounts[i], u.key)
		if why == "" {
			continue
		}
		u.count++
		if u.count == 1 {
			u.account, u.why = accounts[i].DeepCopy(), why
		}
	}
}

func (u *keyUses) needed() bool { return u.count > 0 || u.other != "" }

func (u *keyUses) String() string {
	if u.account == nil {
		return u.other
	}
	first := fmt.Sprintf("%s/%s, which %s", u.account.Namespace, u.account.Name, u.why)
	if u.count == 1 {
		return "the account " + first
	}
	return fmt.Sprintf("%d accounts; the first is %s", u.count, first)
}

// needsKey tells why an account may need a key that is to be retired; "": it does not.
func needsKey(account *v1alpha1.ConnectedAccount, key string) string {
	status := account.Status
	id, err := seal.KeyID(status.SealedCredential)
	switch {
	case status.SealedCredential != "" && errors.Is(err, seal.ErrNewerFormat):
		return "was sealed by a later version of the operator, which may need any key"
	case status.SealedCredential != "" && err == nil && id == key:
		return "is sealed under it: " + notResealed(account)
	case status.SealedCredential == "" && status.Rotations > 0:
		return "has lost its credential, which may be on its way back"
	case status.Claim.ID != "", status.Authorization.Exchange.ID != "":
		return "has an open claim, whose result may be sealed under it"
	case status.Failures.Count > 0 && status.Failures.Class == string(lifecycle.RefreshTokenLost):
		return "has lost its refresh token, whose successor may lie in the journal of a pod that was stopped: import another one first"
	default:
		return ""
	}
}

// notResealed tells what keeps an account from being sealed anew.
func notResealed(account *v1alpha1.ConnectedAccount) string {
	authorized := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionAuthorized)
	switch {
	case !account.DeletionTimestamp.IsZero():
		return "it is being deleted"
	case account.Status.Claim.ID != "":
		return "it has an open claim"
	case account.Status.BoundTo.AccountUID != string(account.UID):
		return "it was made for another account; adopt it, or delete it"
	case authorized != nil && authorized.Reason == v1alpha1.ReasonCredentialUnreadable:
		return "it cannot be read; its condition says what to do"
	default:
		return "it is about to be sealed anew"
	}
}
