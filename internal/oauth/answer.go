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
	// InvalidRefreshToken means: a refresh token came that cannot be one.
	InvalidRefreshToken Warning = "InvalidRefreshToken"
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
	found, problem := readFields(r.header, r.body)
	switch {
	case !r.tooLarge && problem == "" && isPresent(found.Error):
		return Answer{}, errorAnswer(r, found, grant)
	case !r.isSuccess():
		return Answer{}, statusAnswer(r)
	case r.tooLarge:
		return Answer{}, r.failure(OutcomeUnknown, reasonTooLarge)
	case problem != "":
		return Answer{}, r.failure(InvalidResponse, problem)
	}
	answer, problem := readAnswer(found, grant)
	if problem != "" {
		return Answer{}, r.failure(InvalidResponse, problem)
	}
	answer.ReceivedTime = r.received
	return answer, nil
}

// readAnswer reads the members one by one. The refresh token does not depend on the rest, and nothing but the access
// token and its type makes an answer unusable.
func readAnswer(found fields, grant GrantType) (answer Answer, reason string) {
	warn := func(warning Warning) {
		if warning != "" {
			answer.Warnings = append(answer.Warnings, warning)
		}
	}
	var warning Warning
	answer.RefreshToken, warning = readRefreshToken(found, grant)
	warn(warning)
	if answer.AccessToken, reason = readToken(found.AccessToken); reason != "" {
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
	answer.Lifetime, warning = readLifetime(found.ExpiresIn)
	warn(warning)
	answer.Scope, warning = readScope(found.Scope)
	warn(warning)
	return answer, ""
}

func readRefreshToken(found fields, grant GrantType) (secret.Value, Warning) {
	if !isPresent(found.RefreshToken) {
		return secret.Value{}, ""
	}
	if grant == GrantClientCredentials {
		return secret.Value{}, RefreshTokenIgnored
	}
	token, reason := readToken(found.RefreshToken)
	if reason != "" {
		return secret.Value{}, InvalidRefreshToken
	}
	return token, ""
}

// errorAnswer judges an answer that names an error. An unregistered code says no more than its status does.
func errorAnswer(r *reply, found fields, grant GrantType) *Error {
	code, _ := readText(found.Error)
	class, registered := classOf(code)
	if !registered {
		failure := statusAnswer(r)
		failure.Code = CodeUnrecognised
		return failure
	}
	class = classFor(class, grant)
	if r.asksToWait() {
		class = Throttled
	}
	failure := r.failure(class, reasonFor(class))
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
func statusAnswer(r *reply) *Error {
	switch {
	case r.asksToWait():
		return r.failure(Throttled, reasonThrottled)
	case r.isSuccess():
		return r.failure(InvalidResponse, reasonCode)
	case r.status == http.StatusUnauthorized:
		return r.failure(ClientRejected, reasonUnauthorized)
	case r.status == http.StatusRequestTimeout, r.status >= 500:
		return r.failure(OutcomeUnknown, reasonServer)
	default:
		return r.failure(RequestRejected, reasonRequest)
	}
}

func (r *reply) asksToWait() bool {
	return r.status == http.StatusTooManyRequests ||
		r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") != ""
}

func (r *reply) failure(class Class, reason string) *Error {
	failure := &Error{Class: class, Status: r.status, Reason: reason}
	if class == Throttled {
		failure.RetryAfter = retryAfter(r.header.Get("Retry-After"), r.received)
	}
	return failure
}
