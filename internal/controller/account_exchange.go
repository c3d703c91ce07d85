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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// readyDeadline bounds the reads before a token request, and its connection.
const readyDeadline = 15 * time.Second

var (
	errShuttingDown = errors.New("shutting down: no new token request is made")
	errExchangeOpen = errors.New("a token request of this account is under way")
	errKeyringGone  = errors.New("the keyring is missing: no token request is made")
	errSuperseded   = errors.New("a newer credential was kept meanwhile, or the account is gone: this one is dropped")
)

// exchanged is what an exchange came to.
type exchanged struct {
	// kept: a credential was kept. The facts speak of it.
	kept bool
	// failure is why nothing came, where the status does not tell it yet.
	failure *lifecycle.Failure
	// publish is why the token Secret could not be written, which is found out before the request is made.
	publish *lifecycle.Finding
}

// obtain asks with the client's own credentials. What is lost can be asked for again, so that there is no claim.
func (r *AccountReconciler) obtain(ctx context.Context, facts *lifecycle.Facts, plan lifecycle.Plan) (exchanged, error) {
	ready, err := r.readyToSend(ctx, facts)
	if err != nil {
		return exchanged{}, err
	}
	started := r.Clock.Now()
	r.memory.update(facts.Account, func(m *accountMemory) { m.lastAttempt = started })
	request := oauth.GrantRequest{Grant: oauth.GrantClientCredentials, Scopes: plan.Scopes}
	reply, err := ready.transport.Ask(ctx, ready.registration, request)
	var answer oauth.Answer
	if err == nil {
		answer, err = reply.Judge(request.Grant)
	}
	r.answered(ctx, facts, err, r.Clock.Since(started))
	if err != nil {
		return exchanged{failure: failureOf(ctx, err)}, nil
	}
	if failure := unreadableScope(facts, answer); failure != nil {
		return exchanged{failure: failure}, nil
	}
	template := r.templateOf(facts, plan, ready.registration)
	template.Lineage = string(uuid.NewUUID())
	credential := completed(template, answer, lifecycle.DefaultLifetime(facts.Client))
	capture(&credential, reply, answerCaptures(facts.Client), ready.registration.ClientSecret)
	err = r.settle(ctx, facts, &outcome{credential: &credential})
	failure, err := r.notKept(ctx, facts, err)
	return exchanged{kept: failure == nil && err == nil, failure: failure}, err
}

// unreadableScope refuses a token for an account of another namespace if nobody can say what it is good for. In the
// client's own namespace there is no limit that it could exceed.
func unreadableScope(facts *lifecycle.Facts, answer oauth.Answer) *lifecycle.Failure {
	if facts.Client.Namespace == facts.Account.Namespace || scopesLegible(answer) {
		return nil
	}
	return scopeIllegible()
}

// scopesLegible: the answer says which scopes were granted, be it by saying nothing.
func scopesLegible(answer oauth.Answer) bool {
	return !slices.Contains(answer.Warnings, oauth.InvalidScope)
}

func scopeIllegible() *lifecycle.Failure {
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
		r.Pace.Circuits.Forget(key.String())
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
	return knownReason(status.Status().Reason), true
}

// knownReason lets through the API server's own words. A webhook may say anything in their place.
func knownReason(reason metav1.StatusReason) metav1.StatusReason {
	switch reason {
	case metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonNotFound, metav1.StatusReasonConflict,
		metav1.StatusReasonAlreadyExists, metav1.StatusReasonBadRequest, metav1.StatusReasonUnauthorized, metav1.StatusReasonGone,
		metav1.StatusReasonExpired, metav1.StatusReasonMethodNotAllowed, metav1.StatusReasonNotAcceptable,
		metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonUnsupportedMediaType:
		return reason
	default:
		return "Refused"
	}
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
	// What was refused may not be kept this time either.
	if err := r.Schema.prove(ctx, facts.Account, r.memory.of(facts.Account).refused); err != nil {
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

// templateOf is the credential to be, without its tokens: what it is asked for with, and its place in the account's life.
func (r *AccountReconciler) templateOf(facts *lifecycle.Facts, plan lifecycle.Plan, registration oauth.Registration) seal.Credential {
	return seal.Credential{
		ClientID: registration.ClientID, ClientNamespace: facts.Client.Namespace, Origins: lifecycle.ClientOrigins(facts.Client),
		GrantSequence: facts.Credential.GrantSequence, Rotation: max(facts.Credential.Rotation, facts.HighestRotation) + 1,
		Imports: facts.Credential.Imports, RequestedScopes: plan.Scopes, Parameters: lifecycle.RequestParameters(facts.Client),
	}
}

// completed is the credential that an answer makes of its template. Where the answer brought no access token that can be
// used, or no refresh token, that of the template stays.
func completed(template seal.Credential, answer oauth.Answer, defaultLifetime time.Duration) seal.Credential {
	credential := template
	if !answer.RefreshToken.Empty() {
		credential.RefreshToken = answer.RefreshToken
	}
	if answer.AccessToken.Empty() {
		return credential
	}
	credential.IssuedTime = answer.ReceivedTime.UTC().Truncate(time.Second)
	credential.ExpirationTime = lifecycle.ExpirationTime(credential.IssuedTime, answer.Lifetime, defaultLifetime)
	credential.AccessToken, credential.TokenType = answer.AccessToken, answer.TokenType
	switch {
	case answer.Scope != nil:
		credential.Scopes = answer.Scopes()
	case scopesLegible(answer):
		credential.Scopes = credential.RequestedScopes // RFC 6749 section 5.1: absent means that all was granted
	default:
		credential.Scopes = nil // nobody knows
	}
	return credential
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
	var parameters []oauth.Parameter
	for _, each := range spec.TokenRequest.Parameters {
		parameters = append(parameters, oauth.Parameter{Name: each.Name, Value: each.Value})
	}
	return oauth.Registration{
		TokenEndpoint: string(spec.Endpoints.Token),
		ClientID:      material.clientID, ClientSecret: material.clientSecret,
		Method:        oauth.AuthMethod(spec.Authentication.Method),
		BasicEncoding: oauth.BasicEncoding(spec.Authentication.BasicEncoding),
		BodyFormat:    oauth.BodyFormat(spec.TokenRequest.BodyFormat),
		SendScope:     oauth.SendScope(spec.TokenRequest.SendScope),
		Timeout:       time.Duration(spec.TokenRequest.TimeoutSeconds) * time.Second,
		Parameters:    parameters,
	}
}
