package oauth

import (
	"net/http"
	"strings"
	"time"

	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// Answer is what a token endpoint granted (RFC 6749 section 5.1).
type Answer struct {
	AccessToken secret.Value // 1 byte to 16 KiB of 0x21-0x7E
	TokenType   string       // as it was sent; equals "Bearer" without regard to case
	// Lifetime is expires_in in whole seconds, at most ten years. Nil: the answer did not say, said zero, or said
	// something unusable, and a default applies. Zero: the answer said a negative number, so the token is expired
	// already. Warnings tells these apart.
	Lifetime *time.Duration
	// Scope is what was granted, with spaces between. Nil: the answer did not say, which means what was asked for.
	Scope *string
	// RefreshToken is empty if there is none. With client credentials it is ignored (RFC 6749 section 4.4.3).
	RefreshToken secret.Value
	ReceivedTime time.Time // when the headers of the answer had been read
	Warnings     []Warning // what was put up with
}

// Scopes gives the granted scopes one by one; nil where the answer named none.
func (a Answer) Scopes() []string {
	if a.Scope == nil {
		return nil
	}
	return strings.Fields(*a.Scope)
}

// Warning names a flaw of an answer that was accepted all the same.
type Warning string

const (
	// LongAccessToken means: longer than 8 KiB; many servers refuse header lines of that size.
	LongAccessToken Warning = "LongAccessToken"
	// MissingTokenType means: Bearer was assumed.
	MissingTokenType Warning = "MissingTokenType"
	// InvalidExpiresIn means: not a number; treated as missing.
	InvalidExpiresIn Warning = "InvalidExpiresIn"
	// ZeroExpiresIn means: zero, or less than a second; treated as missing.
	ZeroExpiresIn Warning = "ZeroExpiresIn"
	// NegativeExpiresIn means: the lifetime is zero.
	NegativeExpiresIn Warning = "NegativeExpiresIn"
	// ClampedExpiresIn means: more than ten years; cut to that.
	ClampedExpiresIn Warning = "ClampedExpiresIn"
	// InvalidScope means: neither text nor a list of texts in the characters of RFC 6749; treated as missing.
	InvalidScope Warning = "InvalidScope"
	// ScopeList means: a JSON list instead of one text.
	ScopeList Warning = "ScopeList"
	// RefreshTokenIgnored means: a refresh token came with client credentials.
	RefreshTokenIgnored Warning = "RefreshTokenIgnored"
)

// judge turns a reply into an answer or an error. The order matters: an error that is named counts on any status and
// beside any token; a token counts on a 2xx status only.
func judge(r *reply, grant GrantType) (Answer, *Error) {
	switch {
	case r.status < 200:
		return Answer{}, r.failure(InvalidResponse, reasonStatus)
	case r.isRedirect():
		return Answer{}, r.failure(RequestRejected, reasonRedirect)
	}
	r = r.unpacked()
	found, problem := readFields(r.header, r.body)
	switch {
	case !r.tooLarge && problem == "" && isPresent(found.Error):
		return Answer{}, errorAnswer(r, found, grant)
	case !r.isSuccess():
		return Answer{}, statusAnswer(r, grant)
	case r.tooLarge:
		return Answer{}, r.failure(OutcomeUnknown, reasonTooLarge)
	default:
		return grantedAnswer(r, found, problem, grant)
	}
}

// grantedAnswer judges a 2xx answer by what could be read of it. The refresh token comes first and for itself: it may be
// the only successor of one that is spent, and a flaw of the rest must not cost it.
func grantedAnswer(r *reply, found fields, problem string, grant GrantType) (Answer, *Error) {
	var refresh secret.Value
	if grant.yieldsRefreshToken() && !found.namesError() {
		var doubt string
		if refresh, doubt = readRefreshToken(found); doubt != "" {
			return Answer{}, r.failure(OutcomeUnknown, doubt)
		}
	}
	var answer Answer
	if problem == "" {
		answer, problem = readAnswer(found, grant)
	}
	if problem == "" {
		answer.RefreshToken, answer.ReceivedTime = refresh, r.received
		return answer, nil
	}
	failure := r.failure(InvalidResponse, problem)
	if refresh.Empty() {
		return Answer{}, failure
	}
	return Answer{RefreshToken: refresh, ReceivedTime: r.received}, failure
}

// readRefreshToken gives the one refresh token, or none if none came, or says why nobody can tell.
func readRefreshToken(found fields) (token secret.Value, doubt string) {
	if found.repeated["refresh_token"] {
		return secret.Value{}, reasonTwoRefreshTokens
	}
	if !isPresent(found.RefreshToken) {
		return secret.Value{}, ""
	}
	token, reason := readToken(found.RefreshToken, maxRefreshTokenBytes)
	if reason != "" {
		return secret.Value{}, reasonBadRefreshToken
	}
	return token, ""
}

// readAnswer reads the other members one by one. Nothing but the access token and its type makes an answer unusable.
func readAnswer(found fields, grant GrantType) (answer Answer, reason string) {
	warn := func(warning Warning) {
		if warning != "" {
			answer.Warnings = append(answer.Warnings, warning)
		}
	}
	if !grant.yieldsRefreshToken() && isPresent(found.RefreshToken) {
		warn(RefreshTokenIgnored)
	}
	if answer.AccessToken, reason = readToken(found.AccessToken, maxTokenBytes); reason != "" {
		return answer, reason
	}
	if answer.AccessToken.Len() > longTokenBytes {
		warn(LongAccessToken)
	}
	if !isPresent(found.TokenType) {
		// Required by RFC 6749 section 5.1, and left out by many.
		answer.TokenType = "Bearer"
		warn(MissingTokenType)
	} else if answer.TokenType, _ = readText(found.TokenType); !strings.EqualFold(answer.TokenType, "Bearer") {
		return answer, reasonTokenType
	}
	var warning Warning
	answer.Lifetime, warning = readLifetime(found.ExpiresIn)
	warn(warning)
	answer.Scope, warning = readScope(found.Scope)
	warn(warning)
	return answer, ""
}

// errorAnswer judges an answer that names an error. An unregistered code says no more than its status does.
func errorAnswer(r *reply, found fields, grant GrantType) *Error {
	code, _ := readText(found.Error)
	class, registered := classOf(code)
	if !registered {
		failure := statusAnswer(r, grant)
		failure.Code = CodeUnrecognised
		return failure
	}
	class = classFor(class, grant)
	if r.asksToWait(grant) {
		class = Throttled
	}
	reason := reasonFor(class)
	switch {
	case class == RequestRejected && (code == "invalid_scope" || code == "insufficient_scope"):
		reason = reasonScopeRefused
	case class == RefreshTokenRejected && saysInProcess(r.body):
		class, reason = OutcomeUnknown, reasonInProcess
	}
	failure := r.failure(class, reason)
	failure.Code = code
	return failure
}

func reasonFor(class Class) string {
	switch class {
	case ClientRejected:
		return reasonClientRefused
	case RequestRejected:
		return reasonRequest
	case RefreshTokenRejected:
		return reasonRefreshRefused
	case AuthorizationDenied:
		return reasonDenied
	case AuthorizationRequired:
		return reasonPerson
	case Throttled:
		return reasonThrottled
	case OutcomeUnknown:
		return reasonServer
	case NotSent, InvalidResponse:
		return reasonCode
	default:
		return reasonCode
	}
}

// statusAnswer judges by the status alone.
func statusAnswer(r *reply, grant GrantType) *Error {
	switch {
	case r.asksToWait(grant):
		return r.failure(Throttled, reasonThrottled)
	case r.isSuccess():
		return r.failure(InvalidResponse, reasonCode)
	case r.status == http.StatusUnauthorized:
		return r.failure(ClientRejected, reasonUnauthorized)
	case r.status == http.StatusRequestTimeout, r.status >= 500:
		return r.failure(OutcomeUnknown, reasonServer)
	case r.status == http.StatusNotFound:
		return r.failure(RequestRejected, reasonNotThere)
	default:
		return r.failure(RequestRejected, reasonRequest)
	}
}

// asksToWait: the request was turned away. A gateway says 503 too where it has lost sight of a request that it passed on,
// so that where a token may be spent by it, nobody knows.
func (r *reply) asksToWait(grant GrantType) bool {
	return r.status == http.StatusTooManyRequests ||
		grant == GrantClientCredentials && r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") != ""
}

func (r *reply) failure(class Class, reason string) *Error {
	failure := &Error{Class: class, Status: r.status, Reason: reason}
	if class == Throttled || r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") != "" {
		failure.RetryAfter = retryAfter(r.header.Get("Retry-After"), r.received)
	}
	return failure
}
