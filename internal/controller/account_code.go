package controller

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// connectPath is where, below the address of the pages, a person begins.
const connectPath = "/connect?ticket="

// consentKeys holds the keys of links of the keyring that was last asked for. The zero value is ready for use.
type consentKeys struct {
	mu   sync.Mutex
	of   *seal.Keyring
	keys *seal.ConsentKeys
}

// get gives the keys of a keyring; nil: it has none.
func (c *consentKeys) get(keyring *seal.Keyring) *seal.ConsentKeys {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of != keyring {
		keys, err := seal.ParseConsentKeys(keyring.ConsentData())
		if err != nil {
			keys = nil // the keyring says so itself, by HasConsentKeys
		}
		c.of, c.keys = keyring, keys
	}
	return c.keys
}

// gatherConsent finds out what the link in the status is, and makes another one where that is worth it. A link is written
// into the status only where a person is needed.
func (r *AccountReconciler) gatherConsent(facts *lifecycle.Facts) {
	account := facts.Account
	keyring, present := r.Keyring.current()
	facts.Consent.BaseURL = r.ConsentURL
	facts.Consent.KeysMissing = !present || !keyring.HasConsentKeys()
	if facts.Consent.KeysMissing || r.ConsentURL == "" || account.Spec.Grant.Type != v1alpha1.GrantAuthorizationCode ||
		facts.Client == nil || facts.Client.Spec.Endpoints.Authorization == "" {
		return
	}
	keys, now := r.consent.get(keyring), r.Clock.Now()
	begin := strings.TrimSuffix(r.ConsentURL, "/") + connectPath
	if text, ours := strings.CutPrefix(account.Status.AuthorizationURL, begin); ours {
		ticket, err := keys.OpenTicket(text)
		if err == nil && ticket.Namespace == account.Namespace && ticket.Name == account.Name && ticket.AccountUID == string(account.UID) {
			facts.Consent.Link = lifecycle.Link{URL: account.Status.AuthorizationURL, Attempt: ticket.Attempt, NotAfter: ticket.NotAfter}
		}
	}
	if !lifecycle.RenewLink(account, facts.Consent.Link, now) {
		return
	}
	fresh := seal.Ticket{
		Namespace: account.Namespace, Name: account.Name, AccountUID: string(account.UID),
		Attempt: lifecycle.ConsentAttempt(account), NotAfter: now.Add(lifecycle.LinkLifetime).UTC().Truncate(time.Second),
	}
	if text, err := keys.SealTicket(fresh); err == nil {
		facts.Consent.Fresh = lifecycle.Link{URL: begin + text, Attempt: fresh.Attempt, NotAfter: fresh.NotAfter}
	}
}

// readyToRedeem is readyToSpend for a code: everything is in hand that could fail after it is sent. A code that cannot be
// sent is dropped from the status.
func (r *AccountReconciler) readyToRedeem(ctx context.Context, facts *lifecycle.Facts, plan lifecycle.Plan) (*spend, exchanged, error) {
	ready, err := r.readyToSend(ctx, facts)
	if err != nil {
		return nil, exchanged{}, err
	}
	request, captured, reason, err := r.openCode(facts, plan, ready.registration)
	if err != nil {
		return nil, exchanged{}, err
	}
	if reason != "" {
		_, err := r.writeStatus(ctx, facts, lifecycle.WithoutCode(facts, reason, r.Clock.Now()))
		if err == nil {
			err = errSuperseded // the next lap goes on from there
		}
		return nil, exchanged{}, err
	}
	request.Scopes = plan.Scopes
	connecting, cancel := context.WithTimeout(ctx, readyDeadline)
	defer cancel()
	// As what is to come: what is earlier than the Secret is not written into it, nor tried.
	next := seal.Credential{Captured: captured, Rotation: max(facts.Credential.Rotation, facts.HighestRotation) + 1}
	if finding, err := r.secretWritable(connecting, facts, next); finding != nil || err != nil {
		return nil, exchanged{publish: finding}, err
	}
	s := newSpend(ready)
	template := r.templateOf(facts, plan, ready.registration)
	template.Captured = captured
	s.describeCode(facts, template)
	failure, err := r.connect(connecting, facts, s, ready, request)
	if failure != nil {
		// It is no failure of the grant that is held. The code waits, as long as it may.
		log.FromContext(ctx).Info("a code could not be sent yet", "reason", failure.Message)
	}
	if failure != nil || err != nil {
		return nil, exchanged{}, err
	}
	return s, exchanged{}, nil
}

// openCode opens what was handed over. A reason is why it can never be sent. Whoever has the public key can have sealed it, so
// that nothing in it is believed: the code is held against what it can be, and the captured fields against what the client
// wants.
func (r *AccountReconciler) openCode(facts *lifecycle.Facts, plan lifecycle.Plan, registration oauth.Registration) (request oauth.GrantRequest, captured map[string]string, reason string, err error) {
	over := facts.Account.Status.Authorization.HandOver
	keyring, present := r.Keyring.current()
	if !present {
		return request, nil, "", errKeyringGone
	}
	const changed = "what was handed over does not belong to this account and client: authorize again"
	if over.ClientID != registration.ClientID {
		return request, nil, changed, nil
	}
	binding := seal.HandOverBinding{
		AccountUID: string(facts.Account.UID), ClientUID: string(facts.Client.UID), ClientID: over.ClientID,
		RedirectURI: over.RedirectURI, Attempt: over.Attempt, StateHash: string(over.StateHash),
	}
	opened, err := keyring.OpenHandOver(binding, over.Sealed)
	if err != nil {
		return request, nil, changed, nil //nolint:nilerr // whatever it is, nobody else will open it either
	}
	var verifier secret.Value
	if over.SealedVerifier != "" {
		if verifier, err = keyring.OpenVerifier(binding, over.SealedVerifier); err != nil {
			return request, nil, changed, nil //nolint:nilerr // likewise
		}
	}
	if issuer := facts.Client.Spec.Issuer; issuer != "" && opened.Issuer != issuer {
		return request, nil, "the callback names another issuer than the OAuthClient (RFC 9207): nothing was sent", nil
	}
	// An answer that names no scopes grants those that were asked for then (RFC 6749 section 5.1), whatever the spec says by now.
	if opened.ScopeHash != "" && opened.ScopeHash != seal.ScopeHash(plan.Scopes) {
		return request, nil, "other scopes are wanted by now than the person was asked for: authorize again", nil
	}
	request = oauth.GrantRequest{Grant: oauth.GrantAuthorizationCode, Code: opened.Code, RedirectURI: over.RedirectURI, Verifier: verifier}
	if fault := oauth.CodeFault(request); fault != "" {
		return oauth.GrantRequest{}, nil, fault, nil
	}
	return request, callbackCaptures(facts.Client, opened.Captured), "", nil
}

// callbackCaptures are the fields of a callback that the client wants, by their keys. One that comes twice says nothing.
func callbackCaptures(owner *v1alpha1.OAuthClient, fields []seal.CapturedField) map[string]string {
	captured := map[string]string{}
	for _, wanted := range owner.Spec.AuthorizationResponse.Capture {
		named := slices.DeleteFunc(slices.Clone(fields), func(field seal.CapturedField) bool { return field.Name != wanted.Name })
		if len(named) == 1 && oauth.IsCapturable(named[0].Value) {
			captured[string(wanted.Key)] = named[0].Value
		}
	}
	return captured
}

// declaredCaptures are those captured values that the client still wants.
func declaredCaptures(owner *v1alpha1.OAuthClient, captured map[string]string) map[string]string {
	kept := maps.Clone(captured)
	maps.DeleteFunc(kept, func(key, _ string) bool {
		return !slices.ContainsFunc(owner.Spec.AuthorizationResponse.Capture, func(c v1alpha1.CallbackCapture) bool { return string(c.Key) == key }) &&
			!slices.ContainsFunc(owner.Spec.TokenResponse.Capture, func(c v1alpha1.AnswerCapture) bool { return string(c.Key) == key })
	})
	return kept
}

// describeCode fills in the receipt of a code: what it brings is a new grant.
func (s *spend) describeCode(facts *lifecycle.Facts, template seal.Credential) {
	over, held := facts.Account.Status.Authorization.HandOver, facts.Credential
	s.spending = lifecycle.Spending{
		ClaimID: s.claimID, ClaimSequence: lifecycle.NextClaimSequence(facts), Attempt: 1,
		Code: true, HandOverID: over.ID, StateHash: over.StateHash, ConsentAttempt: over.Attempt,
	}
	template.GrantSequence = held.GrantSequence + 1
	if held.State == lifecycle.CredentialNone {
		template.GrantSequence = facts.HighestRotation + 1 // somebody may have erased the status: later than any grant before
	}
	template.Origins = slices.Concat(template.Origins, lifecycle.RevocationOrigins(facts.Client))
	template.Lineage, template.ClaimSequence, template.Issuer = string(uuid.NewUUID()), s.spending.ClaimSequence, facts.Client.Spec.Issuer
	s.receipt = seal.Receipt{
		ClaimID: s.claimID, Attempt: 1, Template: template, DefaultLifetime: lifecycle.DefaultLifetime(facts.Client),
		Code: &seal.ReceiptCode{HandOverID: over.ID, StateHash: string(over.StateHash), Attempt: over.Attempt},
	}
	s.extracts(facts.Client)
}

// extracts notes what is to be taken out of the reply, whatever the client says by then.
func (s *spend) extracts(owner *v1alpha1.OAuthClient) {
	s.receipt.Identity = string(owner.Spec.TokenResponse.Identity.Pointer)
	s.receipt.Captures = answerCaptures(owner)
}

// answerCaptures are the values of an answer that the client wants.
func answerCaptures(owner *v1alpha1.OAuthClient) (all []seal.ReceiptCapture) {
	for _, each := range owner.Spec.TokenResponse.Capture {
		wanted := seal.ReceiptCapture{Pointer: string(each.Pointer), Key: string(each.Key), URL: each.Format == v1alpha1.CaptureURL}
		for _, host := range each.Hosts {
			wanted.Hosts = append(wanted.Hosts, string(host))
		}
		all = append(all, wanted)
	}
	return all
}

// sameSubject finds the answer to a refresh that is about somebody else than before. Its access token is not used; its refresh
// token is the only successor of the one that was sent, and is not lost. Of a code it is judged where it is kept.
func (s *spend) sameSubject(reply oauth.Reply, answer oauth.Answer) (oauth.Answer, *lifecycle.Failure) {
	held, named := s.receipt.Template.Identity, reply.Identity(s.receipt.Identity)
	if s.spending.Code || held == "" || named == "" || named == held {
		return answer, nil
	}
	return oauth.Answer{RefreshToken: answer.RefreshToken, ReceivedTime: answer.ReceivedTime}, &lifecycle.Failure{
		Class: lifecycle.SubjectChanged, Message: "the token endpoint answered with the access of somebody else than before, which is not used",
	}
}

// lifetime is how long an access token is good for whose answer does not say. Where nothing could bring another one, no end is
// assumed.
func (s *spend) lifetime(answer oauth.Answer) time.Duration {
	if s.spending.Code && answer.RefreshToken.Empty() {
		return 0
	}
	return s.receipt.DefaultLifetime
}

// withinBounds finds a token for an account of another namespace of which nobody can say what it is good for. It is not used;
// a refresh token that came with it may be the only one, and is kept: a later answer may be plainer.
func (s *spend) withinBounds(namespace string, answer oauth.Answer) (oauth.Answer, *lifecycle.Failure) {
	template := s.receipt.Template
	if template.ClientNamespace == namespace {
		return answer, nil // there is no limit that it could exceed
	}
	// Without a word on scopes it is good for all that was granted (RFC 6749 sections 5.1 and 6), if that is known.
	unknown := !s.spending.Code && !template.GrantTime.IsZero() && template.GrantedScopes == nil
	if scopesLegible(answer) && (answer.Scope != nil || !unknown) {
		return answer, nil
	}
	return oauth.Answer{RefreshToken: answer.RefreshToken, ReceivedTime: answer.ReceivedTime}, scopeIllegible()
}

// complete adds to a credential what the reply says besides the tokens.
func (s *spend) complete(credential *seal.Credential, reply oauth.Reply, answer oauth.Answer) {
	named := reply.Identity(s.receipt.Identity)
	if s.spending.Code {
		credential.GrantTime = answer.ReceivedTime.UTC().Truncate(time.Second)
		credential.Identity = named // whatever is wrong with the access token: it decides whose place the refresh token takes
	}
	if answer.AccessToken.Empty() {
		return // what stands beside it is not believed either
	}
	if named != "" {
		credential.Identity = named
	}
	if !credential.GrantTime.IsZero() && credential.GrantedScopes == nil && scopesLegible(answer) {
		credential.GrantedScopes = slices.Concat([]string{}, credential.Scopes) // the first answer that tells
	}
	capture(credential, reply, s.receipt.Captures, s.clientSecret)
}

// capture takes out of a reply what the client wants, over what was captured before. A secret is never captured.
func capture(credential *seal.Credential, reply oauth.Reply, captures []seal.ReceiptCapture, clientSecret secret.Value) {
	var wanted []oauth.Capture
	for _, each := range captures {
		wanted = append(wanted, oauth.Capture(each))
	}
	values, _ := reply.Captured(wanted)
	captured := maps.Clone(credential.Captured)
	if captured == nil {
		captured = map[string]string{}
	}
	maps.Copy(captured, values)
	secrets := []secret.Value{credential.RefreshToken, clientSecret}
	maps.DeleteFunc(captured, func(_, value string) bool {
		return slices.ContainsFunc(secrets, func(one secret.Value) bool { return !one.Empty() && strings.Contains(value, one.Reveal()) })
	})
	credential.Captured = captured
}

// place gives what a code brought its place in the account's life as it is by now, and reports whether that has changed it: the
// newest consent is the latest grant, and its rotation is later than all before. Somebody else's access is not kept at all.
func (r *AccountReconciler) place(facts *lifecycle.Facts, o *outcome) (changed bool) {
	stored := facts.Credential
	if !o.spending.Code {
		return placeAfter(stored, o.credential)
	}
	if o.credential == nil || stored.State != lifecycle.CredentialHeld && stored.State != lifecycle.CredentialNone {
		return false
	}
	next := o.credential
	if stored.State == lifecycle.CredentialHeld && stored.ClaimSequence == next.ClaimSequence && stored.GrantSequence == next.GrantSequence {
		return false // it stands there already
	}
	if failure := lifecycle.OtherSubject(facts.Account, stored, next.Identity, o.asksWhose && !lifecycle.GivesWay(facts)); failure != nil {
		o.identity, o.credential, o.failure = next.Identity, nil, failure
		return true
	}
	if approved := lifecycle.Approved(stored, next.Identity); approved != next.Approved {
		next.Approved, changed = approved, true
	}
	if stored.State != lifecycle.CredentialHeld || stored.ClaimSequence >= next.ClaimSequence && stored.GrantSequence >= next.GrantSequence {
		return changed
	}
	if stored.GrantSequence >= next.GrantSequence {
		next.GrantSequence, changed = stored.GrantSequence+1, true
	}
	if stored.Rotation >= next.Rotation {
		next.Rotation, changed = stored.Rotation+1, true
	}
	return changed
}

// placeAfter has what was obtained without a claim go on with the number of the last one: it tells whether a code was exchanged
// before or after what is held. Without it, the result of an earlier code that comes back from a journal would pass for the newest.
func placeAfter(stored lifecycle.Credential, next *seal.Credential) (changed bool) {
	if next == nil || stored.State != lifecycle.CredentialHeld || next.GrantSequence != stored.GrantSequence || next.ClaimSequence > 0 || stored.ClaimSequence == 0 {
		return false
	}
	next.ClaimSequence = stored.ClaimSequence
	return true
}

// tellConsent makes an event of what came of a consent.
func (r *AccountReconciler) tellConsent(before, after *v1alpha1.ConnectedAccount) {
	was, is := before.Status.Authorization.LastOutcome, after.Status.Authorization.LastOutcome
	if is.Result == "" || was.StateHash == is.StateHash && was.Result == is.Result {
		return
	}
	r.Metrics.consented(is.Result)
	nameless := func(name string) string { return cmp.Or(name, "somebody whom the provider does not name") }
	whose := nameless(is.Identity)
	said := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionAuthorized)
	kept := is.Result == v1alpha1.AuthorizationConnected || is.Result == v1alpha1.AuthorizationNeedsApproval
	if kept && said != nil && said.Reason == v1alpha1.ReasonApprovalRequired && before.Status.Identity != is.Identity {
		r.Events.Eventf(after, nil, corev1.EventTypeWarning, "Replaced", "Authorize",
			"the access of %s, of which nobody had approved, has given way to that of %s; it lives on at the provider until it is ended there", nameless(before.Status.Identity), whose)
	}
	switch is.Result {
	case v1alpha1.AuthorizationConnected:
		r.Events.Eventf(after, nil, corev1.EventTypeNormal, "Connected", "Authorize", "a person has consented: the access of %s is kept", whose)
	case v1alpha1.AuthorizationNeedsApproval:
		r.Events.Eventf(after, nil, corev1.EventTypeNormal, v1alpha1.ReasonApprovalRequired, "Authorize", "a person has consented: the access of %s is held until somebody approves of it", whose)
	case v1alpha1.AuthorizationSubjectChanged:
		r.Events.Eventf(after, nil, corev1.EventTypeWarning, v1alpha1.ReasonSubjectChanged, "Authorize", "%s has consented, who is not expected: their access was not kept", whose)
	case v1alpha1.AuthorizationWasDenied, v1alpha1.AuthorizationRejected, v1alpha1.AuthorizationInDoubt, v1alpha1.AuthorizationExpired:
		r.Events.Eventf(after, nil, corev1.EventTypeWarning, "ConsentFailed", "Authorize", "%s: %s", is.Result, is.Reason)
	}
}
