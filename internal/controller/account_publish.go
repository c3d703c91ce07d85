package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	publishDeadline = 30 * time.Second
	publishTries    = 4
)

// publish makes the Secret equal to the kept credential. A finding is why it could not be; an error, why the API server
// could not be asked.
func (r *AccountReconciler) publish(ctx context.Context, facts *lifecycle.Facts) (*lifecycle.Finding, error) {
	ctx, cancel := context.WithTimeout(detached(ctx), publishDeadline)
	defer cancel()
	account := facts.Account
	now := lifecycle.Facts{Account: account}
	held, err := r.gatherToken(ctx, &now)
	if err != nil {
		return nil, err
	}
	if held.AccessToken.Empty() {
		return nil, fmt.Errorf("open what is to be published: %s", now.Credential.State)
	}
	wanted, finding := r.tokenSecret(facts, held)
	if finding != nil {
		facts.SecretFault = finding // the spec has changed since the facts were gathered
		return finding, nil
	}
	for range publishTries {
		var written *corev1.Secret
		written, err = r.writeSecret(ctx, account, wanted, r.Client)
		switch {
		case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
			continue // somebody else wrote it between our read and our write
		case err != nil:
			r.memory.update(account, func(m *accountMemory) { m.writable, m.unwritable = "", r.Clock.Now() })
			return publishFailure(wanted.Name, err)
		case written == nil:
			facts.Secret = lifecycle.SecretForeign
			return lifecycle.SecretForeignFinding(wanted.Name), nil
		}
		r.memory.update(account, func(m *accountMemory) {
			m.secret, m.writable, m.unwritable = seenSecret(written.ResourceVersion, wanted), place(wanted), time.Time{}
		})
		facts.Secret = lifecycle.SecretCurrent
		return nil, nil
	}
	return publishFailure(wanted.Name, err)
}

// publishFailure tells a refusal, which goes into the status, from an API server that cannot be asked.
func publishFailure(name string, err error) (*lifecycle.Finding, error) {
	reason, refused := refusedAs(err)
	if !refused {
		return nil, fmt.Errorf("write the token Secret: %w", err)
	}
	return &lifecycle.Finding{
		Condition: v1alpha1.ConditionPublished, Reason: v1alpha1.ReasonSecretWriteFailed,
		Message: fmt.Sprintf("the API server refuses the Secret %s (%s): look for a quota, an admission policy or a missing permission in this namespace", name, reason),
	}, nil
}

// writeSecret brings one Secret to the wanted content, or only tries to. It returns nil where the Secret is not the account's.
func (r *AccountReconciler) writeSecret(ctx context.Context, account *v1alpha1.ConnectedAccount, wanted *corev1.Secret, writer client.Writer) (*corev1.Secret, error) {
	metadata, err := r.secretMetadata(ctx, client.ObjectKeyFromObject(wanted))
	if apierrors.IsNotFound(err) {
		created := wanted.DeepCopy()
		return created, writer.Create(ctx, created, client.FieldOwner(fieldOwner))
	}
	if err != nil || !ownedBy(metadata, account) {
		return nil, err
	}
	live := &corev1.Secret{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(wanted), live); err != nil {
		if apierrors.IsNotFound(err) {
			created := wanted.DeepCopy() // the cache had not seen its deletion
			return created, writer.Create(ctx, created, client.FieldOwner(fieldOwner))
		}
		return nil, err
	}
	switch {
	case !ownedBy(live, account):
		return nil, nil //nolint:nilnil // not ours: nothing is written
	case holds(live, wanted):
		return live, nil
	case r.isNewer(account, live, wanted):
		return nil, errSuperseded
	case live.Immutable != nil && *live.Immutable || live.Type != wanted.Type:
		// Neither can be changed in place.
		return r.replaceSecret(ctx, live, wanted, writer)
	}
	updated := merged(live, wanted)
	return updated, writer.Update(ctx, updated, client.FieldOwner(fieldOwner))
}

// replaceSecret deletes the Secret and creates it anew, at once. That the new one will be taken is tried first, under a name
// of its own: workloads must not be left without any because of a policy or a quota.
func (r *AccountReconciler) replaceSecret(ctx context.Context, live, wanted *corev1.Secret, writer client.Writer) (*corev1.Secret, error) {
	tried := wanted.DeepCopy()
	tried.Name, tried.GenerateName = "", wanted.Name+"-" // the API server cuts it where it is too long
	if err := client.NewDryRunClient(r.Client).Create(ctx, tried, client.FieldOwner(fieldOwner)); err != nil {
		return nil, err
	}
	same := client.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion}
	if err := writer.Delete(ctx, live, same); err != nil {
		return nil, err
	}
	created := wanted.DeepCopy()
	return created, writer.Create(ctx, created, client.FieldOwner(fieldOwner))
}

// isNewer: the Secret holds a later result than is to be written. Whoever wrote it has gone on, and this process is behind.
func (r *AccountReconciler) isNewer(account *v1alpha1.ConnectedAccount, live, wanted *corev1.Secret) bool {
	keyring, _ := r.Keyring.current()
	subject := r.subject(account)
	return witnessed(keyring, subject, live) > witnessed(keyring, subject, wanted)
}

// removeRenamed deletes what the account had published under another name, now that the new Secret is there. It looks in
// each lap, for what the cache has not shown yet or could not be deleted the last time.
func (r *AccountReconciler) removeRenamed(ctx context.Context, account *v1alpha1.ConnectedAccount) error {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := r.TokenSecrets.List(ctx, list, client.InNamespace(account.Namespace), client.MatchingFields{indexOwner: string(account.UID)})
	if err != nil {
		return fmt.Errorf("list the account's Secrets: %w", err)
	}
	for i := range list.Items {
		old := &list.Items[i]
		if old.Name == lifecycle.TokenSecretName(account) || !ownedBy(old, account) {
			continue
		}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: old.Namespace, Name: old.Name}}
		same := client.Preconditions{UID: &old.UID, ResourceVersion: &old.ResourceVersion}
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, secret, same)); err != nil {
			return fmt.Errorf("delete the Secret of the earlier name: %w", err)
		}
	}
	return nil
}

// tokenSecret is the Secret that projects the credential, or the API key, of which there is only one version.
func (r *AccountReconciler) tokenSecret(facts *lifecycle.Facts, held seal.Credential) (*corev1.Secret, *lifecycle.Finding) {
	account, annotations := facts.Account, map[string]string{}
	if !lifecycle.IsKeyed(account) {
		keyring, _ := r.Keyring.current()
		annotations[v1alpha1.AnnotationRotation] = witness(keyring, r.subject(account), held.Rotation)
	}
	return tokenSecret(account, held, string(lifecycle.OnBehalfOfHeader(facts)), annotations)
}
