package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	// readyDeadline bounds the reads before a token request; keepDeadline the writes after it.
	readyDeadline = 15 * time.Second
	keepDeadline  = 60 * time.Second
	// keepTry bounds one of those writes, and keepPatience how long they go on where the API server answers with a no.
	keepTry      = 15 * time.Second
	keepPatience = 5 * time.Second
)

var (
	errShuttingDown = errors.New("shutting down: no new token request is made")
	errKeyringGone  = errors.New("the keyring is missing: no token request is made")
	errSuperseded   = errors.New("a newer credential was kept meanwhile, or the account is gone: this one is dropped")
)

// exchange makes one token request and keeps what it brought, before anything else is done with it. A failure is a
// request that brought nothing; an error means that the API server could not be asked or written to.
func (r *AccountReconciler) exchange(ctx context.Context, facts *lifecycle.Facts, plan lifecycle.Plan) (*lifecycle.Failure, error) {
	// From here on the work is finished whatever happens to the reconciler: a token that was obtained is kept.
	if !r.InFlight.begin() {
		return nil, errShuttingDown
	}
	defer r.InFlight.end()
	ctx = detached(ctx)

	ready, err := r.readyToSend(ctx, facts)
	if err != nil {
		return nil, err
	}
	started := r.Clock.Now()
	r.memory.update(facts.Account, func(m *accountMemory) { m.lastAttempt = started })
	answer, err := ready.transport.Exchange(ctx, ready.registration, oauth.GrantRequest{Grant: oauth.GrantClientCredentials, Scopes: plan.Scopes})
	r.Metrics.exchanged(facts.Client, err, r.Clock.Since(started))
	defer r.forgetGone(ctx, facts)
	if err != nil {
		return failureOf(ctx, err), nil
	}
	if failure := unreadableScope(facts, answer); failure != nil {
		return failure, nil
	}
	err = r.keep(ctx, facts, r.credentialOf(facts, plan, ready, answer))
	return r.notKept(ctx, facts, err)
}

// unreadableScope refuses a token for an account of another namespace if nobody can say what it is good for. In the
// client's own namespace there is no limit that it could exceed.
func unreadableScope(facts *lifecycle.Facts, answer oauth.Answer) *lifecycle.Failure {
	if facts.Client.Namespace == facts.Account.Namespace || !slices.Contains(answer.Warnings, oauth.InvalidScope) {
		return nil
	}
	return &lifecycle.Failure{
		Class:   oauth.InvalidResponse,
		Message: "the answer's scope cannot be read, so that it cannot be held against what the OAuthClient allows this namespace: the provider must mend it",
	}
}

// forgetGone drops what was made for a client that has gone since the lap began: it was forgotten already, and what came
// afterwards would stay for ever.
func (r *AccountReconciler) forgetGone(ctx context.Context, facts *lifecycle.Facts) {
	key := client.ObjectKeyFromObject(facts.Client)
	if err := r.Client.Get(ctx, key, &v1alpha1.OAuthClient{}); apierrors.IsNotFound(err) {
		r.Transports.forget(key)
		r.Metrics.forgetClient(key)
	}
}

// notKept sorts what came of keeping. What will be refused again is a failure, so that the provider is not asked again
// for what would be lost again; an API server that cannot be reached is an error.
func (r *AccountReconciler) notKept(ctx context.Context, facts *lifecycle.Facts, err error) (*lifecycle.Failure, error) {
	if err == nil {
		return nil, nil
	}
	reason, refused := refusedAs(err)
	log.FromContext(ctx).Info("a token was not kept", "refused", reason, "error", err.Error())
	r.memory.update(facts.Account, func(m *accountMemory) { m.refused = refused })
	switch {
	case errors.Is(err, seal.ErrInvalidInput):
		return &lifecycle.Failure{Class: oauth.InvalidResponse, Message: "the token endpoint's answer cannot be sealed: it is too large; check the endpoint"}, nil
	case refused:
		return &lifecycle.Failure{Class: oauth.OutcomeUnknown, Message: fmt.Sprintf(
			"a token came, but the API server refuses to keep it in this account's status (%s): look for an admission policy or webhook that forbids it", reason)}, nil
	default:
		return nil, err
	}
}

// refusedAs tells an API server that says no, and its one word for why, from one that cannot be asked or asks to come
// back. Its message may quote what was written.
func refusedAs(err error) (metav1.StatusReason, bool) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code >= 500 || apierrors.IsTooManyRequests(err) {
		return "", false
	}
	return status.Status().Reason, true
}

// ready is all that a token request needs, in hand before it is sent.
type ready struct {
	transport    *oauth.Client
	registration oauth.Registration
}

// readyToSend gets everything in hand: nothing that could fail may lie between the answer and its keeping, and no
// secret is sent unless its owner still consents.
func (r *AccountReconciler) readyToSend(ctx context.Context, facts *lifecycle.Facts) (ready, error) {
	ctx, cancel := context.WithTimeout(ctx, readyDeadline)
	defer cancel()
	if _, present := r.Keyring.current(); !present {
		return ready{}, errKeyringGone
	}
	// What was refused, or kept and is not there any more, may not be kept this time either.
	known := r.memory.of(facts.Account)
	if err := r.Schema.prove(ctx, facts.Account, known.refused || known.kept && facts.Credential.State == lifecycle.CredentialNone); err != nil {
		return ready{}, err
	}
	material, err := r.Credentials.material(ctx, facts.Client)
	if err != nil {
		// The client's own status says what is wrong with its Secrets; here the lap ends, and the change that led here
		// starts another.
		return ready{}, fmt.Errorf("read the client's Secrets: %w", err)
	}
	transport, err := r.Transports.of(facts.Client, material.rootCAs)
	if err != nil {
		return ready{}, fmt.Errorf("prepare the connection: %w", err)
	}
	return ready{transport: transport, registration: registrationOf(facts.Client, material)}, nil
}

// credentialOf makes a credential of an answer: what was granted, and what it was obtained with.
func (r *AccountReconciler) credentialOf(facts *lifecycle.Facts, plan lifecycle.Plan, ready ready, answer oauth.Answer) seal.Credential {
	scopes := plan.Scopes
	if answer.Scope != nil {
		scopes = answer.Scopes() // RFC 6749 section 5.1: absent means that all was granted
	}
	issued := answer.ReceivedTime.UTC().Truncate(time.Second)
	return seal.Credential{
		ClientID: ready.registration.ClientID, ClientNamespace: facts.Client.Namespace, Origins: lifecycle.ClientOrigins(facts.Client),
		Lineage: string(uuid.NewUUID()), Rotation: facts.Credential.Rotation + 1,
		IssuedTime: issued, ExpirationTime: lifecycle.ExpirationTime(facts.Client, issued, answer.Lifetime),
		AccessToken: answer.AccessToken, TokenType: answer.TokenType,
		Scopes: scopes, RequestedScopes: plan.Scopes,
	}
}

// keep writes the sealed credential into the status until it is written. The precondition is its rotation, greater than
// the stored one, and the account's UID. The facts then speak of the kept credential.
func (r *AccountReconciler) keep(ctx context.Context, facts *lifecycle.Facts, credential seal.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, keepDeadline)
	defer cancel()
	keyring, _ := r.Keyring.current()
	sealed, err := keyring.Seal(seal.PurposeCredential, r.subject(facts.Account), credential)
	if err != nil {
		return fmt.Errorf("seal the credential: %w", err)
	}
	started := r.Clock.Now()
	backoff := wait.Backoff{Duration: 20 * time.Millisecond, Factor: 2, Jitter: 0.3, Steps: 1 << 16, Cap: 2 * time.Second}
	for {
		err := r.keepOnce(ctx, facts, credential, sealed)
		_, refused := refusedAs(err)
		switch {
		case err == nil, errors.Is(err, errSchemaTooOld):
			return err
		case apierrors.IsNotFound(err):
			return errSuperseded
		case apierrors.IsConflict(err):
			if kept, err := r.rebase(ctx, facts, credential, sealed); kept || err != nil {
				return err
			}
		case refused && r.Clock.Since(started) > keepPatience:
			return fmt.Errorf("keep the credential: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("keep the credential: %w", err)
		case <-time.After(backoff.Step()):
		}
	}
}

// keepOnce writes the status once, and checks in the object that came back that nothing was dropped from it.
func (r *AccountReconciler) keepOnce(ctx context.Context, facts *lifecycle.Facts, credential seal.Credential, sealed string) error {
	ctx, cancel := context.WithTimeout(ctx, keepTry)
	defer cancel()
	with := facts.Account.DeepCopy()
	with.Status.SealedCredential = sealed
	with.Status.BoundTo = v1alpha1.BoundTo{ClusterID: r.ClusterID, AccountUID: string(facts.Account.UID)}
	kept := keptFacts(facts, with, credential)
	with.Status = lifecycle.Status(&kept, lifecycle.Done{}, r.Clock.Now())
	if err := r.Client.Status().Update(ctx, with); err != nil {
		return err
	}
	r.tell(facts.Account, with)
	if with.Status.SealedCredential != sealed || with.Status.BoundTo.AccountUID != string(facts.Account.UID) {
		r.Schema.disprove()
		return errSchemaTooOld
	}
	r.wrote(with)
	r.memory.update(with, func(m *accountMemory) { m.kept, m.refused = true, false })
	*facts = kept
	return nil
}

// keptFacts are the facts once the account holds the credential.
func keptFacts(facts *lifecycle.Facts, account *v1alpha1.ConnectedAccount, credential seal.Credential) lifecycle.Facts {
	kept := *facts
	kept.Account, kept.Credential = account, knownOf(credential)
	if facts.Secret == lifecycle.SecretCurrent {
		kept.Secret = lifecycle.SecretStale
	}
	return kept
}

// rebase takes up the account as it is now, after a conflict. It reports whether it holds the credential: the write may
// have arrived although its answer did not. What is not known to be older than the credential is not overwritten.
func (r *AccountReconciler) rebase(ctx context.Context, facts *lifecycle.Facts, credential seal.Credential, sealed string) (kept bool, err error) {
	live := &v1alpha1.ConnectedAccount{}
	err = r.Live.Get(ctx, client.ObjectKeyFromObject(facts.Account), live)
	if apierrors.IsNotFound(err) || err == nil && live.UID != facts.Account.UID {
		return false, errSuperseded
	}
	if err != nil {
		return false, nil //nolint:nilerr // the write is tried again, and meets the same conflict if nothing changed
	}
	if live.Status.SealedCredential == sealed {
		*facts = keptFacts(facts, live, credential)
		return true, nil
	}
	keyring, _ := r.Keyring.current()
	stored, _ := openCredential(keyring, r.subject(live), live)
	older := stored.State == lifecycle.CredentialHeld && stored.Rotation < credential.Rotation
	if !older && stored.State != lifecycle.CredentialNone {
		return false, errSuperseded
	}
	facts.Account = live
	return false, nil
}

// failureOf takes over what the exchange said, in words that are free of secrets and of the server's text. The cause goes
// into the log alone: it may tell which address a name has inside the network.
func failureOf(ctx context.Context, err error) *lifecycle.Failure {
	var failed *oauth.Error
	if !errors.As(err, &failed) {
		return &lifecycle.Failure{Class: oauth.NotSent, Message: "the token request could not be prepared"}
	}
	log.FromContext(ctx).Info("token request failed", "error", failed.Error())
	message := failed.Reason
	if failed.Code != "" {
		message += "; the answer was " + failed.Code
	}
	if failed.Status != 0 {
		message += fmt.Sprintf(" (HTTP %d)", failed.Status)
	}
	return &lifecycle.Failure{Class: failed.Class, Message: message, RetryAfter: failed.RetryAfter}
}

// registrationOf is the client, as a token request needs it.
func registrationOf(owner *v1alpha1.OAuthClient, material clientMaterial) oauth.Registration {
	spec := owner.Spec
	return oauth.Registration{
		TokenEndpoint: string(spec.Endpoints.Token),
		ClientID:      material.clientID, ClientSecret: material.clientSecret,
		Method:        oauth.AuthMethod(spec.Authentication.Method),
		BasicEncoding: oauth.BasicEncoding(spec.Authentication.BasicEncoding),
		BodyFormat:    oauth.BodyFormat(spec.TokenRequest.BodyFormat),
		SendScope:     oauth.SendScope(spec.TokenRequest.SendScope),
		Timeout:       time.Duration(spec.TokenRequest.TimeoutSeconds) * time.Second,
	}
}
