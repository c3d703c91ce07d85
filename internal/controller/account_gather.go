package controller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// gather reads everything that a decision needs. A client or a Secret that is not there is a fact; an error means that
// the API server could not be asked.
func (r *AccountReconciler) gather(ctx context.Context, account *v1alpha1.ConnectedAccount) (*lifecycle.Facts, error) {
	facts := &lifecycle.Facts{
		Account:     account,
		LastAttempt: r.memory.of(account).lastAttempt,
	}
	var err error
	if account, facts.SchemaTooOld, err = r.gatherSchema(ctx, account); err != nil {
		return nil, err
	}
	facts.Account = account
	if facts.Client, err = r.gatherClient(ctx, account); err != nil {
		return nil, err
	}
	if facts.NamespaceLabels, err = r.gatherNamespace(ctx, account); err != nil {
		return nil, err
	}
	inputs, err := r.clientInputs(ctx, facts.Client)
	if err != nil {
		return nil, err
	}
	facts.InputsHash = inputsHash(account, inputs)
	r.gatherTurn(facts, inputs)
	keyring, present := r.Keyring.current()
	facts.KeyringMissing = !present
	held, err := r.gatherToken(ctx, facts)
	if err != nil {
		return nil, err
	}
	_, facts.SecretFault = secretLayout(account)
	facts.Secret, err = r.gatherSecret(ctx, facts, held)
	if err != nil {
		return nil, err
	}
	r.gatherClaim(facts)
	r.gatherConsent(facts)
	facts.Reseal = r.memory.of(account).reseal && underEarlierKey(keyring, account)
	facts.Import, err = r.gatherImport(ctx, facts)
	return facts, err
}

// gatherToken finds out what there is to publish: what is sealed in the status, or an API key, which lives in a Secret of
// its owner's and nowhere else.
func (r *AccountReconciler) gatherToken(ctx context.Context, facts *lifecycle.Facts) (seal.Credential, error) {
	var held seal.Credential
	if !lifecycle.IsKeyed(facts.Account) {
		keyring, _ := r.Keyring.current()
		facts.Credential, held = openCredential(keyring, r.subject(facts.Account), facts.Account)
		return held, nil
	}
	facts.Credential.State = lifecycle.CredentialNone
	key, err := r.Credentials.apiKey(ctx, facts.Account)
	if facts.APIKey.Finding, err = asFinding(err); err != nil {
		return held, err
	}
	facts.APIKey.Held, held.AccessToken = facts.APIKey.Finding == nil, key
	return held, nil
}

// gatherClaim finds out whose the open claim is, and what this process itself has under way.
func (r *AccountReconciler) gatherClaim(facts *lifecycle.Facts) {
	account := facts.Account
	facts.TakeoverWait = r.TakeoverWait
	r.memory.imports(account.UID, facts.Credential.Imports...)
	facts.ExchangeOpen = r.InFlight.holds(account.UID) || r.Journal.Holds(string(account.UID))
	facts.ResultUnread = r.memory.isUnread(account.UID)
	r.memory.update(account, func(m *accountMemory) {
		m.saw(facts.Credential)
		facts.HighestRotation = max(facts.HighestRotation, m.rotation)
		facts.SecretRefused = m.unwritable
		facts.ClaimHolder, facts.ClaimUnchanged = m.watch(account.Status.Claim, r.Journal.Instance(), r.Process, r.Clock.Now())
		facts.Consent.CodeClaim = account.Status.Authorization.Exchange.ID
		facts.Consent.CodeHolder, facts.Consent.CodeUnchanged = m.watchCode(account.Status.Authorization.Exchange, r.Journal.Instance(), r.Process, r.Clock.Now())
	})
}

// gatherSchema asks whether the installed definition keeps what must be kept; anew where a credential that was seen, or that
// there must have been, is not there: a definition that was replaced hides what it does not know, and the next write, whoever
// makes it, would erase it. It returns the account that the facts are to speak of. A copy that was read while the definition
// was too old has the version of what is there, and does not show it: written back, it would erase it without a conflict.
func (r *AccountReconciler) gatherSchema(ctx context.Context, account *v1alpha1.ConnectedAccount) (*v1alpha1.ConnectedAccount, bool, error) {
	if account.Status.SealedCredential != "" || !r.mayHold(account) {
		tooOld, err := r.Schema.tooOld(ctx, account)
		return account, tooOld, err
	}
	live := &v1alpha1.ConnectedAccount{}
	err := r.Schema.prove(ctx, account, true)
	if err == nil {
		err = r.Live.Get(ctx, client.ObjectKeyFromObject(account), live)
	}
	if err == nil && live.Status.SealedCredential == "" {
		err = r.Schema.prove(ctx, live, true) // it was not hidden from this read either
	}
	switch {
	case errors.Is(err, errSchemaTooOld):
		return account, true, nil
	case isGone(err), err == nil && live.UID != account.UID:
		return nil, false, errSuperseded
	case err != nil:
		return nil, false, fmt.Errorf("find out whether the account holds a credential: %w", err)
	case live.Status.SealedCredential == "":
		r.memory.update(live, func(m *accountMemory) { m.held = false }) // somebody has taken it out
	}
	return live, false, nil
}

func (r *AccountReconciler) gatherClient(ctx context.Context, account *v1alpha1.ConnectedAccount) (*v1alpha1.OAuthClient, error) {
	if account.Spec.ClientRef.Name == "" {
		return nil, nil //nolint:nilnil // an API key needs none
	}
	key := types.NamespacedName{Namespace: lifecycle.ClientNamespace(account), Name: account.Spec.ClientRef.Name}
	if !r.Watched.has(key.Namespace) {
		return nil, nil //nolint:nilnil // where nothing may be read, nothing is to be had
	}
	found := &v1alpha1.OAuthClient{}
	if err := r.Client.Get(ctx, key, found); apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // that there is none is the fact that is asked for
	} else if err != nil {
		return nil, fmt.Errorf("read the client: %w", err)
	}
	return found, nil
}

func (r *AccountReconciler) gatherNamespace(ctx context.Context, account *v1alpha1.ConnectedAccount) (map[string]string, error) {
	if lifecycle.ClientNamespace(account) == account.Namespace {
		return nil, nil
	}
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.Client.Get(ctx, types.NamespacedName{Name: account.Namespace}, namespace); err != nil {
		// Not seen yet is no fact either: a selector may ask that a label be absent.
		return nil, fmt.Errorf("read the namespace: %w", err)
	}
	return namespace.Labels, nil
}

// clientInputs stand for what the token requests of a client are made with. Nothing secret is among them: a Secret counts
// by its version.
func (r *AccountReconciler) clientInputs(ctx context.Context, owner *v1alpha1.OAuthClient) ([]string, error) {
	if owner == nil {
		return nil, nil
	}
	parts := []string{string(owner.UID), fmt.Sprint(owner.Generation)}
	for _, ref := range secretReferences(owner) {
		version, err := r.Credentials.version(ctx, owner.Namespace, ref.Name)
		if err != nil {
			return nil, err
		}
		parts = append(parts, version)
	}
	return parts, nil
}

// inputsHash stands for what a token request of the account is made with.
func inputsHash(account *v1alpha1.ConnectedAccount, client []string) string {
	parts := append([]string{fmt.Sprint(account.Generation)}, client...)
	if asked := account.Annotations[v1alpha1.AnnotationRefreshRequestedAt]; asked != "" {
		parts = append(parts, asked) // whoever asks does not wait for what failed before
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}

func (r *AccountReconciler) subject(account *v1alpha1.ConnectedAccount) seal.Subject {
	return seal.Subject{ClusterID: r.ClusterID, Namespace: account.Namespace, Name: account.Name, UID: string(account.UID)}
}

// openCredential opens what the status holds, and says what became of it.
func openCredential(keyring *seal.Keyring, subject seal.Subject, account *v1alpha1.ConnectedAccount) (lifecycle.Credential, seal.Credential) {
	sealed, bound := account.Status.SealedCredential, account.Status.BoundTo
	state := func(state lifecycle.CredentialState) (lifecycle.Credential, seal.Credential) {
		return lifecycle.Credential{State: state}, seal.Credential{}
	}
	if sealed == "" {
		return state(lifecycle.CredentialNone)
	}
	ours := bound.AccountUID == subject.UID && bound.ClusterID == subject.ClusterID
	adopted := !ours && account.Annotations[v1alpha1.AnnotationAdopt] == bound.AccountUID && bound.AccountUID != "" && bound.ClusterID != ""
	switch {
	case !ours && !adopted:
		return state(lifecycle.CredentialElsewhere)
	case keyring == nil:
		return state(lifecycle.CredentialKeyMissing)
	case adopted:
		subject = earlierSubject(account)
	}
	held, err := keyring.Open(seal.PurposeCredential, subject, sealed)
	switch {
	case errors.Is(err, seal.ErrUnknownKey):
		return state(lifecycle.CredentialKeyMissing)
	case errors.Is(err, seal.ErrNewerFormat):
		return state(lifecycle.CredentialNewerFormat)
	case err != nil:
		return state(lifecycle.CredentialUnreadable)
	case adopted:
		return state(lifecycle.CredentialElsewhere) // it opens, and is sealed anew before it is used
	}
	return knownOf(keyring, subject, held), held
}

// knownOf is what may be known of a credential without its secrets.
func knownOf(keyring *seal.Keyring, subject seal.Subject, held seal.Credential) lifecycle.Credential {
	known := lifecycle.Credential{
		State: lifecycle.CredentialHeld, HasAccessToken: !held.AccessToken.Empty(), HasRefreshToken: !held.RefreshToken.Empty(),
		GrantSequence: held.GrantSequence, Rotation: held.Rotation, ClaimSequence: held.ClaimSequence, Imports: held.Imports,
		IssuedTime: held.IssuedTime, ExpirationTime: held.ExpirationTime,
		Scopes: held.Scopes, RequestedScopes: held.RequestedScopes, Parameters: held.Parameters,
		ClientID: held.ClientID, Origins: held.Origins, ClientNamespace: held.ClientNamespace,
		Identity: held.Identity, GrantTime: held.GrantTime, GrantedScopes: held.GrantedScopes, Approved: held.Approved,
	}
	if known.HasRefreshToken {
		known.Fingerprint = keyring.Fingerprint("refresh token", subject.ClusterID, subject.Namespace, subject.Name, subject.UID, held.RefreshToken.Reveal())
	}
	return known
}

// gatherSecret compares the token Secret with what is to be in it, and takes its witness. The content is read only where
// something has changed since it was last seen to be right.
func (r *AccountReconciler) gatherSecret(ctx context.Context, facts *lifecycle.Facts, held seal.Credential) (lifecycle.SecretState, error) {
	account := facts.Account
	key := types.NamespacedName{Namespace: account.Namespace, Name: lifecycle.TokenSecretName(account)}
	metadata, err := r.secretMetadata(ctx, key)
	switch {
	case apierrors.IsNotFound(err):
		return lifecycle.SecretAbsent, nil
	case err != nil:
		return "", fmt.Errorf("read the token Secret's metadata: %w", err)
	case !ownedBy(metadata, account):
		return lifecycle.SecretForeign, nil
	}
	keyring, _ := r.Keyring.current()
	facts.HighestRotation = witnessed(keyring, r.subject(account), metadata)
	if held.AccessToken.Empty() {
		return lifecycle.SecretStale, nil
	}
	wanted, finding := r.tokenSecret(facts, held)
	if finding != nil {
		return lifecycle.SecretStale, nil
	}
	if wasSeen(r.memory.of(account).secret, metadata.GetResourceVersion(), wanted) {
		return lifecycle.SecretCurrent, nil
	}
	live := &corev1.Secret{}
	if err := r.Live.Get(ctx, key, live); apierrors.IsNotFound(err) {
		return lifecycle.SecretAbsent, nil
	} else if err != nil {
		return "", fmt.Errorf("read the token Secret: %w", err)
	}
	switch {
	case !ownedBy(live, account):
		return lifecycle.SecretForeign, nil
	case !holds(live, wanted):
		return lifecycle.SecretStale, nil
	}
	r.memory.update(account, func(m *accountMemory) { m.secret = seenSecret(live.ResourceVersion, wanted) })
	return lifecycle.SecretCurrent, nil
}

// secretMetadata reads who owns a Secret, and nothing of what is in it.
func (r *AccountReconciler) secretMetadata(ctx context.Context, key types.NamespacedName) (*metav1.PartialObjectMetadata, error) {
	metadata := newSecretMetadata()
	err := r.TokenSecrets.Get(ctx, key, metadata)
	if apierrors.IsNotFound(err) {
		// The cache holds only Secrets with our label. One without it may be in the way, or ours with its label removed.
		err = r.Live.Get(ctx, key, metadata)
	}
	return metadata, err
}

func newSecretMetadata() *metav1.PartialObjectMetadata {
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return metadata
}

// ownedBy reports whether the account, this one and not an earlier one of its name, is the object's controller.
func ownedBy(object metav1.Object, account *v1alpha1.ConnectedAccount) bool {
	owner := metav1.GetControllerOf(object)
	return owner != nil && owner.UID == account.UID && owner.Kind == "ConnectedAccount" &&
		strings.HasPrefix(owner.APIVersion, v1alpha1.Group+"/")
}
