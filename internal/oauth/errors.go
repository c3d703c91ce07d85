package oauth

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Class says what a failed exchange means for what follows: whether something may be spent, who must act, and how
// soon to try again.
type Class string

const (
	// NotSent means: not one byte of the request was written. Nothing is spent; trying again is safe.
	NotSent Class = "NotSent"
	// OutcomeUnknown means: something was written and no usable word came back. The provider may have acted on it.
	OutcomeUnknown Class = "OutcomeUnknown"
	// Throttled means: the provider asks to wait; Error.RetryAfter says how long.
	Throttled Class = "Throttled"
	// ClientRejected means: the provider does not accept the client id, its secret, or this grant from this client.
	ClientRejected Class = "ClientRejected"
	// RequestRejected means: the provider, or something in front of it, does not accept the request as it was made.
	RequestRejected Class = "RequestRejected"
	// InvalidResponse means: a complete answer came that holds no usable access token and names no known error.
	InvalidResponse Class = "InvalidResponse"
	// RefreshTokenRejected means: the provider's definite no to the refresh token or the code.
	RefreshTokenRejected Class = "RefreshTokenRejected"
	// AuthorizationDenied means: a person or a policy refused the access.
	AuthorizationDenied Class = "AuthorizationDenied"
	// AuthorizationRequired means: a person must authorize (again).
	AuthorizationRequired Class = "AuthorizationRequired"
)

// CodeUnrecognised stands for every error code that is not a registered one. The code itself is the server's text,
// which may hold anything, our own secret included.
const CodeUnrecognised = "unrecognised"

// Error is the only error that Exchange, Ready, Send and Judge return. Nothing in it was written by the server: Code is one of a fixed
// list, Reason is ours, and the cause is an error of this process.
type Error struct {
	Class      Class
	Code       string        // a registered OAuth error code, CodeUnrecognised, or "" where the answer named none
	Status     int           // HTTP status; 0 where no status line was read
	RetryAfter time.Duration // for Throttled, and for 503 where the server says it: 1 s to 1 h; else 0
	Reason     string        // a sentence of ours from a fixed vocabulary, with what to do; fit for conditions and events

	err error // see filteredCause
}

// Error gives class, code, status, reason and cause in one line, for logs.
func (e *Error) Error() string {
	var details []string
	if e.Code != "" {
		details = append(details, e.Code)
	}
	if e.Status != 0 {
		details = append(details, "HTTP "+strconv.Itoa(e.Status))
	}
	var b strings.Builder
	b.WriteString(string(e.Class))
	if len(details) > 0 {
		b.WriteString(" (" + strings.Join(details, ", ") + ")")
	}
	b.WriteString(": " + e.Reason)
	if e.err != nil {
		b.WriteString(": " + e.err.Error())
	}
	return b.String()
}

// Unwrap gives the cause, where it is one that cannot hold server text.
func (e *Error) Unwrap() error { return e.err }

// filteredCause keeps of a transport error only what names no server text. net/http quotes the server's bytes in its
// parse errors, crypto/x509 quotes the certificate, and net/url quotes the endpoint with its query.
func filteredCause(err error) error {
	var (
		refused *refusedAddressError
		errno   syscall.Errno
	)
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &errno):
		return errno
	}
	for _, known := range []error{context.DeadlineExceeded, context.Canceled, io.ErrUnexpectedEOF, io.EOF} {
		if errors.Is(err, known) {
			return known
		}
	}
	return nil
}

// classOf gives the class of a registered error code; false for every other text. Sources: RFC 6749 sections 4.1.2.1
// and 5.2, RFC 6750, RFC 7009, RFC 8628, RFC 8707, RFC 9396, RFC 9449, OpenID Connect Core 3.1.2.6; and
// bad_refresh_token, which GitHub sends.
func classOf(code string) (Class, bool) {
	switch code {
	case "invalid_client", "unauthorized_client":
		return ClientRejected, true
	case "invalid_request", "invalid_scope", "insufficient_scope", "unsupported_grant_type",
		"unsupported_response_type", "unsupported_token_type", "invalid_token", "invalid_target",
		"invalid_authorization_details", "invalid_dpop_proof", "use_dpop_nonce", "invalid_request_uri",
		"invalid_request_object", "request_not_supported", "request_uri_not_supported", "registration_not_supported":
		return RequestRejected, true
	case "invalid_grant", "bad_refresh_token":
		return RefreshTokenRejected, true
	case "access_denied":
		return AuthorizationDenied, true
	case "login_required", "interaction_required", "consent_required", "account_selection_required", "expired_token":
		return AuthorizationRequired, true
	case "slow_down", "authorization_pending":
		return Throttled, true
	case "server_error", "temporarily_unavailable":
		return OutcomeUnknown, true
	default:
		return "", false
	}
}

// classFor adapts the class of an error code to the grant. With client credentials there is neither a refresh token
// nor a person: a refusal that would elsewhere call for one is a refusal of the client, mended at the provider or in
// the client's Secret, and worth a slow probe.
func classFor(class Class, grant GrantType) Class {
	if grant != GrantClientCredentials {
		return class
	}
	switch class {
	case RefreshTokenRejected, AuthorizationDenied, AuthorizationRequired:
		return ClientRejected
	case NotSent, OutcomeUnknown, Throttled, ClientRejected, RequestRejected, InvalidResponse:
		return class
	default:
		return class
	}
}

// The reasons. Each says what was seen and what to do, and is complete without the server's own words.
const (
	reasonEndpoint          = "the token endpoint must be an absolute https URL without user name and fragment; correct it in the client"
	reasonPlaintext         = "the token endpoint uses http, which is allowed for loopback only, with --insecure-allow-loopback; use https"
	reasonClientID          = "the client id is missing; set it in the client"
	reasonClientSecret      = "the client secret is missing; set it in the client's Secret"
	reasonNotText           = "the client id or secret is not UTF-8 text and cannot be sent in a JSON body; correct it, or use a form body"
	reasonColon             = "the client id holds a colon, which raw Basic authentication cannot carry; use the RFC6749 encoding"
	reasonMethod            = "the authentication method, Basic encoding, body format or scope setting is not known to this version; correct it in the client"
	reasonGrant             = "the grant is not known to this version"
	reasonRefreshToken      = "the refresh token is missing, longer than 64 KiB, or not a text of the characters 0x21-0x7E; authorize again"
	reasonAuthorizationCode = "the code is missing, longer than 16 KiB, or not a text of the characters 0x20-0x7E; authorize again"
	reasonRedirectURI       = "the redirect URI or the code verifier is not a text of the characters 0x20-0x7E; authorize again"
	reasonScope             = "a scope is empty or holds a character that RFC 6749 does not allow; correct the scopes"
	reasonParameter         = "a parameter is empty, is one of the standard's, comes twice in JSON, or holds a character that is not allowed; correct tokenRequest.parameters of the client"
	reasonPrivate           = "the token endpoint is at a private address; name its network in --allow-cidrs if it is meant to be reached"
	reasonLoopback          = "the token endpoint is at a loopback address; --insecure-allow-loopback permits it, for tests and demos"
	reasonNever             = "the token endpoint is at an address that is never allowed (link-local, metadata service, API server and the like); correct the endpoint"
	reasonName              = "the host name of the token endpoint cannot be resolved; check the endpoint and the cluster's DNS"
	reasonConnect           = "no connection to the token endpoint; check the endpoint, network policies and the provider's state"
	reasonUnknownCA         = "the certificate of the token endpoint is signed by an authority that is not trusted; name the authority in the client's tls.caRef"
	reasonExpired           = "the certificate of the token endpoint is expired or not yet valid; the provider must renew it"
	reasonWrongHost         = "the certificate of the token endpoint is for another host; check the endpoint"
	reasonCertificate       = "the certificate of the token endpoint is not valid; check the endpoint and its certificate"
	reasonHandshake         = "the TLS handshake with the token endpoint failed; check that it speaks TLS 1.2 or later and HTTP/1.1, and asks for no client certificate"
	reasonLate              = "the time limit was reached before the request was written"
	reasonClosedUnsent      = "the connection was closed before the request was written"
	reasonGivenUp           = "the request was given up before it was written"
	reasonCanceled          = "the exchange was canceled"
	reasonNoAnswer          = "no complete answer from the token endpoint within the time limit"
	reasonBroken            = "the connection broke, or what came back is not HTTP, before a complete answer was read"
	reasonTooLarge          = "the answer is larger than 1 MiB; check the endpoint"
	reasonRedirect          = "the token endpoint redirects, and redirects are not followed; set the endpoint to its final address"
	reasonStatus            = "the token endpoint answered with a status that ends no token request; check the endpoint"
	reasonUnauthorized      = "the token endpoint does not accept the client id and secret; check both, and the authentication method"
	reasonRequest           = "the token endpoint does not accept the request; check endpoint, body format, scopes, authentication method, and what else the provider wants, such as an audience in tokenRequest.parameters"
	reasonScopeRefused      = "the provider refuses the scopes that were asked for; check those of client and account, letter by letter, and the registration at the provider"
	reasonNotThere          = "there is no token endpoint at that URL; check its path"
	reasonServer            = "the token endpoint failed to answer the request; the provider must mend it"
	reasonThrottled         = "the token endpoint asks to wait"
	reasonClientRefused     = "the provider refuses this client or this grant for it; check client id, secret, authentication method, and the registration at the provider"
	reasonRefreshRefused    = "the provider does not accept the refresh token or code any more; authorize again"
	reasonDenied            = "the authorization was denied; authorize again if it was not meant"
	reasonPerson            = "the provider wants a person to authorize"
	reasonCode              = "the answer is an error with a code that is not registered; see the provider's documentation"
	reasonEncoding          = "the answer is encoded, though nothing of the kind was asked for, and not by gzip, or not rightly; check the endpoint and what stands before it"
	reasonCharset           = "the answer declares a charset other than UTF-8; check the endpoint"
	reasonEmpty             = "the answer is empty; check the endpoint"
	reasonMarkup            = "the answer is a page, not a token; check the endpoint and what stands before it"
	reasonNotJSON           = "the answer is not one JSON object; check the endpoint"
	reasonSurplus           = "something follows the JSON object of the answer; check the endpoint and what stands before it"
	reasonDuplicate         = "the answer names a field twice, so that nobody can say which one counts"
	reasonNoToken           = "the answer holds no access_token; check the endpoint"
	reasonBadToken          = "the access_token is not a text of the characters 0x21-0x7E"
	reasonLongToken         = "the access_token is longer than 16 KiB"
	reasonTwoRefreshTokens  = "the answer names the refresh_token twice, so that nobody can say which one counts"
	reasonBadRefreshToken   = "the refresh_token of the answer is empty, longer than 64 KiB, or not a text of the characters 0x21-0x7E"
	reasonInProcess         = "the provider says that a request with this refresh token or code is being processed already"
	reasonTokenType         = "the token is not a Bearer token; configure the client at the provider for Bearer tokens"
)

// notSent makes the error for what was found wrong before anything was sent.
func notSent(reason string) *Error { return &Error{Class: NotSent, Reason: reason} }
