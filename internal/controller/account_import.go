package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

const (
	// importDeadline bounds the reads and writes of an import.
	importDeadline = 30 * time.Second
	// importsRemembered is how many imported tokens an account remembers, so that none is imported twice.
	importsRemembered = 16
)

// gatherImport finds out what is to be said of the refresh token that the account names. The Secret is read again only
// where it, or the client that is to receive the token, has changed.
func (r *AccountReconciler) gatherImport(ctx context.Context, facts *lifecycle.Facts) (lifecycle.Import, error) {
	account, ref := facts.Account, facts.Account.Spec.ImportRefreshTokenRef
	keyring, present := r.Keyring.current()
	if ref.Name == "" || facts.Client == nil || !present || account.Spec.Grant.Type != v1alpha1.GrantAuthorizationCode {
		return lifecycle.Import{}, nil
	}
	version, err := r.Credentials.version(ctx, account.Namespace, ref.Name)
	if err != nil {
		return lifecycle.Import{}, err
	}
	version += fmt.Sprintf("/%s/%s/%d", ref.Key, facts.Client.UID, facts.Client.Generation)
	seen := r.memory.of(account).imported
	if seen.version != version || strings.HasPrefix(version, "/") {
		token, source, err := r.Credentials.refreshToken(ctx, account, facts.Client)
		seen = seenImport{version: version}
		if seen.finding, err = asFinding(err); err != nil {
			return lifecycle.Import{}, err
		}
		if seen.finding == nil {
			seen.token = r.importMark(keyring, token)
			seen.by = importedBy(source, seen.token)
		}
		r.memory.update(account, func(m *accountMemory) { m.imported = seen })
	}
	switch {
	case seen.finding != nil:
		finding := *seen.finding
		finding.Condition = v1alpha1.ConditionAuthorized
		return lifecycle.Import{State: lifecycle.ImportFault, Finding: &finding}, nil
	case slices.Contains(facts.Credential.Imports, seen.token), importedBefore(facts, seen):
		return lifecycle.Import{State: lifecycle.ImportDone}, nil
	}
	by := seen.by
	if known := r.memory.importer(seen.token); by == "" && known != "" {
		by = string(known) // from another Secret
	}
	if by != "" && by != string(account.UID) {
		return lifecycle.Import{State: lifecycle.ImportFault, Finding: &lifecycle.Finding{
			Condition: v1alpha1.ConditionAuthorized, Reason: v1alpha1.ReasonAlreadyImported,
			Message: fmt.Sprintf("the refresh token in the Secret %s was imported by another account (%s) before, which spends it: have the person authorize again, and put the new refresh token there", ref.Name, by),
		}}, nil
	}
	return lifecycle.Import{State: lifecycle.ImportNew}, nil
}

// importedBefore: this account has imported the token, though a status that was put back since does not tell. A mark without
// a credential that was kept after it means only that the import was interrupted, before the token was sent.
func importedBefore(facts *lifecycle.Facts, seen seenImport) bool {
	putBack := lifecycle.SingleUse(facts.Client) && facts.Credential.Rotation < facts.HighestRotation
	return putBack && seen.by == string(facts.Account.UID)
}

// seenImport is what was last seen of the Secret that an account imports from.
type seenImport struct {
	version string
	finding *lifecycle.Finding
	// token stands for the token, and by for the account that has imported it.
	token, by string
}

// importMark stands for an imported token, the same in all accounts of this cluster.
func (r *AccountReconciler) importMark(keyring *seal.Keyring, token secret.Value) string {
	return keyring.Fingerprint("import", r.ClusterID, token.Reveal())
}

// importedBy is the UID of the account that has imported the token that is in the Secret now; "": none.
func importedBy(source *corev1.Secret, token string) string {
	fields := strings.Fields(source.Annotations[v1alpha1.AnnotationImported])
	if len(fields) != 3 || fields[2] != token {
		return ""
	}
	return fields[0]
}

// importToken takes over a refresh token: it marks the source, and seals the token into the status as the beginning of a new
// grant. From there it is spent like any other. The mark comes first, so that no other account ever sends it too.
func (r *AccountReconciler) importToken(ctx context.Context, facts *lifecycle.Facts) error {
	ctx, cancel := context.WithTimeout(detached(ctx), importDeadline)
	defer cancel()
	ready, err := r.readyToSend(ctx, facts)
	if err != nil {
		return err
	}
	token, source, err := r.Credentials.refreshToken(ctx, facts.Account, facts.Client)
	if err != nil {
		return err
	}
	keyring, _ := r.Keyring.current()
	mark := r.importMark(keyring, token)
	if !r.memory.imports(facts.Account.UID, mark) {
		return errSuperseded
	}
	if by := importedBy(source, mark); by == "" {
		marked := source.DeepCopy()
		if marked.Annotations == nil {
			marked.Annotations = map[string]string{}
		}
		marked.Annotations[v1alpha1.AnnotationImported] = fmt.Sprintf("%s %s %s", facts.Account.UID, r.Clock.Now().UTC().Format(time.RFC3339), mark)
		if err := r.Client.Update(ctx, marked, client.FieldOwner(fieldOwner)); err != nil {
			if reason, refused := refusedAs(err); refused && !apierrors.IsConflict(err) {
				return fmt.Errorf("the Secret %s could not be marked as imported: %s", source.Name, reason)
			}
			return fmt.Errorf("mark the Secret %s as imported: %w", source.Name, err)
		}
	} else if by != string(facts.Account.UID) {
		r.memory.update(facts.Account, func(m *accountMemory) { m.imported = seenImport{} })
		return errSuperseded
	}
	held := facts.Credential
	grant := held.GrantSequence
	if held.State == lifecycle.CredentialNone {
		grant = facts.HighestRotation // somebody has erased the status: later than any grant before
	}
	imports := append(slices.Clone(held.Imports), mark)
	return r.reseal(ctx, facts, seal.Credential{
		ClientID: ready.registration.ClientID, ClientNamespace: facts.Client.Namespace, Origins: lifecycle.ClientOrigins(facts.Client),
		Lineage: string(uuid.NewUUID()), GrantSequence: grant + 1, Rotation: max(held.Rotation, facts.HighestRotation) + 1,
		ClaimSequence: lifecycle.NextClaimSequence(facts) - 1, RefreshToken: token,
		Imports: imports[max(0, len(imports)-importsRemembered):],
	})
}

// adopt seals for this account what was sealed for an earlier one of its name.
func (r *AccountReconciler) adopt(ctx context.Context, facts *lifecycle.Facts) error {
	ctx, cancel := context.WithTimeout(detached(ctx), importDeadline)
	defer cancel()
	keyring, present := r.Keyring.current()
	if !present {
		return errKeyringGone
	}
	held, err := keyring.Open(seal.PurposeCredential, earlierSubject(facts.Account), facts.Account.Status.SealedCredential)
	if err != nil {
		return fmt.Errorf("open the credential of the earlier account: %w", err)
	}
	if err := r.Schema.prove(ctx, facts.Account, false); err != nil {
		return err
	}
	return r.reseal(ctx, facts, held)
}

// earlierSubject is whom the sealed credential was made for, as the status says.
func earlierSubject(account *v1alpha1.ConnectedAccount) seal.Subject {
	bound := account.Status.BoundTo
	return seal.Subject{ClusterID: bound.ClusterID, Namespace: account.Namespace, Name: account.Name, UID: bound.AccountUID}
}

// reseal writes a credential that no token request brought, on the very copy that the plan was made from.
func (r *AccountReconciler) reseal(ctx context.Context, facts *lifecycle.Facts, credential seal.Credential) error {
	keyring, _ := r.Keyring.current()
	subject := r.subject(facts.Account)
	sealed, err := keyring.Seal(seal.PurposeCredential, subject, credential)
	if err != nil {
		return fmt.Errorf("seal the credential: %w", err)
	}
	next := *facts
	next.Account, next.Credential = facts.Account.DeepCopy(), knownOf(keyring, subject, credential)
	next.Import = lifecycle.Import{State: lifecycle.ImportDone}
	if facts.Secret == lifecycle.SecretCurrent {
		next.Secret = lifecycle.SecretStale
	}
	status := &next.Account.Status
	lifecycle.Kept(status, facts.Credential, next.Credential.Version(), lifecycle.Spending{Attempt: 2})
	if status.Claim.ID != "" {
		// What an earlier account claimed, nobody knows the outcome of.
		status.DoubtSequence = max(status.ClaimSequence, 1)
	}
	status.SealedCredential = sealed
	status.BoundTo = v1alpha1.BoundTo{ClusterID: r.ClusterID, AccountUID: string(facts.Account.UID)}
	*status = lifecycle.Status(&next, lifecycle.Done{}, r.Clock.Now())
	if err := r.updateStatus(ctx, next.Account); err != nil {
		return err
	}
	r.memory.update(next.Account, func(m *accountMemory) { m.saw(next.Credential) })
	*facts = next
	return nil
}

// sealAnew seals what the account holds under the key in use, on the very copy that the plan was made from. It is the same
// credential, of the same rotation, but for what is changed about it: nothing else in the status changes.
func (r *AccountReconciler) sealAnew(ctx context.Context, facts *lifecycle.Facts, change func(*seal.Credential)) error {
	ctx, cancel := context.WithTimeout(detached(ctx), writeDeadline)
	defer cancel()
	// One try for each turn: an API server that refuses it must not keep the account from being refreshed.
	r.memory.update(facts.Account, func(m *accountMemory) { m.reseal = false })
	keyring, present := r.Keyring.current()
	if !present {
		return errKeyringGone
	}
	known, held := openCredential(keyring, r.subject(facts.Account), facts.Account)
	if known.State != lifecycle.CredentialHeld {
		return fmt.Errorf("open the credential: %s", known.State)
	}
	if err := r.Schema.prove(ctx, facts.Account, false); err != nil {
		return err
	}
	change(&held)
	sealed, err := keyring.Seal(seal.PurposeCredential, r.subject(facts.Account), held)
	if err != nil {
		return fmt.Errorf("seal the credential: %w", err)
	}
	anew := facts.Account.DeepCopy()
	anew.Status.SealedCredential = sealed
	if err := r.updateStatus(ctx, anew); err != nil {
		return err
	}
	facts.Account, facts.Reseal = anew, false
	facts.Credential = knownOf(keyring, r.subject(facts.Account), held)
	return nil
}

// underEarlierKey: the account's credential is sealed under another key than the one in use.
func underEarlierKey(keyring *seal.Keyring, account *v1alpha1.ConnectedAccount) bool {
	if keyring == nil || account.Status.SealedCredential == "" {
		return false
	}
	id, err := seal.KeyID(account.Status.SealedCredential)
	return err == nil && id != keyring.ID()
}

// secretWritable finds out, before a refresh token is spent, whether the token Secret can be written, unless this process
// has done so before.
func (r *AccountReconciler) secretWritable(ctx context.Context, facts *lifecycle.Facts, held seal.Credential) (*lifecycle.Finding, error) {
	if held.AccessToken.Empty() {
		held.AccessToken = secret.New(probe)
	}
	wanted, finding := r.tokenSecret(facts, held)
	if finding != nil || r.memory.of(facts.Account).writable == place(wanted) {
		return finding, nil
	}
	written, err := r.writeSecret(ctx, facts.Account, wanted, client.NewDryRunClient(r.Client))
	switch {
	case apierrors.IsAlreadyExists(err):
		// One that must be replaced, and that the deletion which is not carried out has left there.
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil, fmt.Errorf("try whether the token Secret can be written: %w", err) // somebody else wrote it meanwhile
	case err != nil:
		r.memory.update(facts.Account, func(m *accountMemory) { m.unwritable = r.Clock.Now() })
		return publishFailure(wanted.Name, err)
	case written == nil:
		facts.Secret = lifecycle.SecretForeign
		return lifecycle.SecretForeignFinding(wanted.Name), nil
	}
	r.memory.update(facts.Account, func(m *accountMemory) { m.writable, m.unwritable = place(wanted), time.Time{} })
	return nil, nil
}
