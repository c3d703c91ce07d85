package consent

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	// maxTicket bounds a ticket, and maxForm the form that brings one back, in bytes.
	maxTicket = 2 << 10
	maxForm   = 4 << 10
	// askDeadline bounds what is asked of the API server for one request.
	askDeadline = 10 * time.Second
	// maxFailures is how many attempts may fail within failureWindow before the account rests.
	maxFailures   = 5
	failureWindow = time.Hour
)

// invitation is what a ticket opens: an account that waits for a person, and its client.
type invitation struct {
	ticket  seal.Ticket
	account *v1alpha1.ConnectedAccount
	client  *v1alpha1.OAuthClient
	// clientID is the identifier that the provider knows.
	clientID string
	provider string
}

// start shows what a person is about to allow. It remembers nothing: no cookie is set before they agreed.
func (h *Handler) start(w http.ResponseWriter, r *http.Request) {
	query, ok := parseQuery(r.URL.RawQuery)
	if !ok {
		h.nothingHere(w)
		return
	}
	text, _, _ := single(query, "ticket")
	invited, ok := h.invite(w, r, text)
	if !ok {
		return
	}
	account, client := invited.account, invited.client
	shown := page{
		kind: pageStart, Account: account.Name, Namespace: account.Namespace, Client: client.Name, ClientNamespace: client.Namespace,
		Provider: invited.provider, Expected: account.Spec.ExpectedIdentity,
		Approval: account.Spec.Consent.Approval == v1alpha1.ApprovalRequired,
		Ticket:   text, Action: h.url(connectPath),
	}
	for _, scope := range wantedScopes(account, client) {
		shown.Scopes = append(shown.Scopes, string(scope))
	}
	h.pages.show(w, shown)
}

// begin sends a person who has read the start page to the provider. Nothing is written but their own cookie.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request) {
	// Browsers name the origin, or how the request came about, or both. What names neither is no browser, and could not be told
	// from another site's form, which would send a person on who has never seen the start page.
	if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" || h.sameWeb.Check(r) != nil {
		h.pages.show(w, page{kind: pageCrossSite})
		return
	}
	text, ok := readTicket(w, r)
	if !ok {
		h.nothingHere(w)
		return
	}
	invited, ok := h.invite(w, r, text)
	if !ok {
		return
	}
	target, cookies, err := h.send(r, invited)
	if errors.Is(err, errCookieTooLarge) {
		h.Log.Error("consent: begin", "client", invited.client.Namespace+"/"+invited.client.Name, "error", err)
		h.pages.show(w, page{kind: pageNotReady})
		return
	}
	if err != nil {
		h.unavailable(w, "begin", err)
		return
	}
	for _, cookie := range cookies {
		http.SetCookie(w, cookie)
	}
	h.pages.redirect(w, target, answerProvider)
}

// readTicket takes the ticket out of the form.
func readTicket(w http.ResponseWriter, r *http.Request) (string, bool) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return "", false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return "", false
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", false
	}
	text, present, ok := single(form, "ticket")
	return text, present && ok
}

// invite opens a ticket and reads what it is for; otherwise it answers. Whoever has no ticket of ours is answered from
// memory, and always the same; whoever has one gets told what is the matter with it.
func (h *Handler) invite(w http.ResponseWriter, r *http.Request, text string) (invitation, bool) {
	invited := invitation{}
	if text == "" || len(text) > maxTicket {
		h.nothingHere(w)
		return invited, false
	}
	keys := h.Keys.Current()
	if keys == nil {
		h.unavailable(w, "open a ticket", errNoKeys)
		return invited, false
	}
	var err error
	if invited.ticket, err = keys.OpenTicket(text); err != nil {
		h.nothingHere(w)
		return invited, false
	}
	if h.Clock.Now().After(invited.ticket.NotAfter) {
		h.pages.show(w, page{kind: pageExpiredLink})
		return invited, false
	}
	ctx, cancel := context.WithTimeout(r.Context(), askDeadline)
	defer cancel()
	if invited.account, err = h.Accounts.Account(ctx, invited.ticket.Namespace, invited.ticket.Name); err != nil {
		h.cannotRead(w, "read an account", err, pageNothing)
		return invited, false
	}
	no, is := refusal(invited.account, invited.ticket, h.Clock.Now())
	switch status := invited.account.Status; {
	case is:
	case status.AuthorizationURL == "": // nobody is invited any more
		no, is = page{kind: pageReplacedLink}, true
	case status.ObservedGeneration != nil && *status.ObservedGeneration != invited.account.Generation:
		// Whether the account may use the client and the scopes that it names by now, the controller has not said yet.
		no, is = page{kind: pageNotReady, retryAfter: busyRetry}, true
	}
	if is {
		h.pages.show(w, no)
		return invited, false
	}
	ok := h.inviteTo(ctx, w, &invited)
	return invited, ok
}

// inviteTo reads the client of an invitation.
func (h *Handler) inviteTo(ctx context.Context, w http.ResponseWriter, invited *invitation) bool {
	reference := invited.account.Spec.ClientRef
	namespace := reference.Namespace
	if namespace == "" {
		namespace = invited.account.Namespace
	}
	var err error
	if invited.client, err = h.Clients.Client(ctx, namespace, reference.Name); err != nil {
		h.cannotRead(w, "read a client", err, pageNotReady)
		return false
	}
	endpoint, err := url.Parse(string(invited.client.Spec.Endpoints.Authorization))
	invited.clientID = clientIDOf(invited.client)
	if err != nil || endpoint.Host == "" || invited.clientID == "" {
		h.pages.show(w, page{kind: pageNotReady})
		return false
	}
	invited.provider = endpoint.Host
	return true
}

// cannotRead answers where an object could not be read: with a page of its own where there is none.
func (h *Handler) cannotRead(w http.ResponseWriter, doing string, err error, missing pageKind) {
	if errors.Is(err, ErrNotFound) {
		h.pages.show(w, page{kind: missing})
		return
	}
	h.unavailable(w, doing, err)
}

// refusal says why an account does not take a ticket, if it does not.
func refusal(account *v1alpha1.ConnectedAccount, ticket seal.Ticket, now time.Time) (page, bool) {
	waits := account.Status.Authorization
	switch rest := restOf(waits.Failures, now); {
	case string(account.UID) != ticket.AccountUID || account.Spec.Grant.Type != v1alpha1.GrantAuthorizationCode:
		// Another account of the name: its link is not this one.
		return page{kind: pageNothing}, true
	case waits.Attempt != ticket.Attempt || !account.DeletionTimestamp.IsZero():
		return page{kind: pageReplacedLink}, true
	case rest > 0:
		return page{kind: pageWaiting, retryAfter: rest}, true
	}
	return page{}, false
}

// restOf is how long an account rests after failures. A window that begins in the future was written by a clock that is
// ahead: it counts as beginning now. One that begins an hour ahead or more was written by no clock that is worth anything, and
// nobody would be let in before that time; the operator does not count it either.
func restOf(failures v1alpha1.ConsentFailures, now time.Time) time.Duration {
	if failures.Count < maxFailures || failures.WindowStartTime == nil || failures.WindowStartTime.Sub(now) >= failureWindow {
		return 0
	}
	return min(failures.WindowStartTime.Add(failureWindow).Sub(now), failureWindow)
}

// clientIDOf is the client identifier. One that lies in a Secret was published by the controller, since every browser sees
// it and this part of the operator reads no Secrets.
func clientIDOf(client *v1alpha1.OAuthClient) string {
	return cmp.Or(client.Spec.ClientID, client.Status.ClientID)
}

// send makes the state, the verifier and the cookie of an attempt, and says where it goes.
func (h *Handler) send(r *http.Request, invited invitation) (string, []*http.Cookie, error) {
	keys := h.Keys.Current()
	if keys == nil {
		return "", nil, errNoKeys
	}
	state, err := h.random(stateLength)
	if err != nil {
		return "", nil, err
	}
	asked := invited.client.Spec.AuthorizationRequest
	flow := seal.Cookie{
		Ticket: invited.ticket, ClientUID: string(invited.client.UID), ClientID: invited.clientID,
		RedirectURI: h.url(callbackPath + invited.client.Namespace + "/" + invited.client.Name),
		Issuer:      invited.client.Spec.Issuer, StartTime: h.Clock.Now(),
		TokenHost: tokenHost(invited.client), ScopeHash: scopeHash(wantedScopes(invited.account, invited.client)),
	}
	for _, each := range invited.client.Spec.AuthorizationResponse.Capture {
		flow.Capture = append(flow.Capture, each.Name)
	}
	request := authorizationRequest{
		endpoint: string(invited.client.Spec.Endpoints.Authorization), clientID: flow.ClientID, redirectURI: flow.RedirectURI,
		scope: joinScopes(wantedScopes(invited.account, invited.client), cmp.Or(asked.ScopeSeparator, " ")), state: state,
	}
	if asked.PKCE != v1alpha1.PKCENone {
		verifier, err := h.random(verifierLength)
		if err != nil {
			return "", nil, err
		}
		request.challenge = challengeOf(verifier)
		if flow.SealedVerifier, err = keys.SealVerifier(bindingOf(flow, hashOf(state)), verifier); err != nil {
			return "", nil, fmt.Errorf("seal a verifier: %w", err)
		}
	}
	for _, each := range asked.Parameters {
		request.parameters = append(request.parameters, parameter{each.Name, each.Value})
	}
	cookie, err := h.flowCookie(keys, hashOf(state), flow, flowLifetime)
	if err != nil {
		return "", nil, err
	}
	return request.url(), append(h.surplus(r, keys), cookie), nil
}

// tokenHost is the host, with port, that the code is for; "": it cannot be said.
func tokenHost(client *v1alpha1.OAuthClient) string {
	endpoint, err := url.Parse(string(client.Spec.Endpoints.Token))
	if err != nil || len(endpoint.Host) > maxTokenHost {
		return ""
	}
	return endpoint.Host
}

// maxTokenHost is the longest host that a hand-over takes.
const maxTokenHost = 512

// verifierLength is that of a code verifier, in bytes before they are encoded: RFC 7636 section 4.1.
const verifierLength = 32

// random makes a text of so many random bytes, in base64url.
func (h *Handler) random(length int) (string, error) {
	bytes := make([]byte, length)
	if _, err := io.ReadFull(h.Random, bytes); err != nil {
		return "", fmt.Errorf("draw random bytes: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(bytes), nil
}
