package consent

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// Bounds of what a provider sends back through the browser, in bytes.
const (
	maxQuery    = 12 << 10
	maxCode     = 4 << 10
	maxCaptured = 1 << 10
	maxIssuer   = 2 << 10
	// maxErrorCode bounds an error code; the registered ones are far shorter.
	maxErrorCode = 256
	stateLength  = 32
)

// answer is an authorization response (RFC 6749 section 4.1.2) that is well-formed. Either code or denial is set.
type answer struct {
	code secret.Value
	// denial is the error code, if it is a registered one; unrecognised, if it is any other.
	denial   string
	issuer   string
	captured []captured
}

// captured is a query field that the client wants to have.
type captured struct{ name, value string }

// unrecognised stands for an error code that is not a registered one: what a stranger writes goes nowhere.
const unrecognised = "unrecognised"

// registeredErrors are the codes that an authorization endpoint answers with: RFC 6749 section 4.1.2.1, OpenID Connect Core
// section 3.1.2.6, RFC 8707, RFC 9396.
func registeredErrors() []string {
	return []string{
		"access_denied", "invalid_request", "invalid_scope", "server_error", "temporarily_unavailable", "unauthorized_client",
		"unsupported_response_type", "account_selection_required", "consent_required", "interaction_required", "invalid_request_object",
		"invalid_request_uri", "invalid_target", "invalid_authorization_details", "login_required", "registration_not_supported",
		"request_not_supported", "request_uri_not_supported",
	}
}

// isNavigation reports whether a person's browser went here, as a tab does. An image, a frame, a script and a prefetch did
// not come from a person who looks at the page. Browsers that are too old to say are believed; the cookie speaks for them.
func isNavigation(header http.Header) bool {
	if purpose := header.Get("Sec-Purpose") + header.Get("Purpose") + header.Get("X-Moz"); strings.Contains(strings.ToLower(purpose), "pre") {
		return false
	}
	destination := header.Values("Sec-Fetch-Dest")
	return len(destination) == 0 || slices.Equal(destination, []string{"document"})
}

// parseQuery reads a query strictly, and wants each field that matters to stand there once at most.
func parseQuery(raw string) (url.Values, bool) {
	if len(raw) > maxQuery {
		return nil, false
	}
	query, err := url.ParseQuery(raw)
	return query, err == nil
}

// single returns the one value of a field; ok is false where it stands there twice.
func single(query url.Values, name string) (value string, present, ok bool) {
	switch values := query[name]; len(values) {
	case 0:
		return "", false, true
	case 1:
		return values[0], true, true
	default:
		return "", true, false
	}
}

// parseState returns a state, if the query has one that this package could have made.
func parseState(query url.Values) (string, bool) {
	state, present, ok := single(query, "state")
	if !present || !ok {
		return "", false
	}
	bytes, err := base64.RawURLEncoding.Strict().DecodeString(state)
	return state, err == nil && len(bytes) == stateLength && !strings.ContainsAny(state, "\r\n")
}

// parseAnswer judges the rest of the query. Whatever is not beyond doubt is no answer: RFC 6749 section 3.1 forbids
// parameters that stand twice, RFC 9207 section 2.4 a missing or wrong issuer where one is expected.
func parseAnswer(query url.Values, issuer string, capture []string) (answer, bool) {
	// A token that comes this way is of a grant that is not offered: it went through places where no token belongs.
	for _, name := range []string{"access_token", "refresh_token", "id_token", "token", "response"} {
		if query.Has(name) {
			return answer{}, false
		}
	}
	got := answer{}
	var ok bool
	if got.issuer, ok = parseIssuer(query, issuer); !ok {
		return answer{}, false
	}
	denial, denied, ok := single(query, "error")
	if !ok || denied && !isErrorCode(denial) {
		return answer{}, false
	}
	if denied { // a code beside an error is dropped
		got.denial = unrecognised
		if slices.Contains(registeredErrors(), denial) {
			got.denial = denial
		}
		return got, true
	}
	code, present, ok := single(query, "code")
	if !present || !ok || !isCode(code) {
		return answer{}, false
	}
	got.code = secret.New(code)
	got.captured, ok = parseCaptured(query, capture)
	return got, ok
}

func parseIssuer(query url.Values, want string) (string, bool) {
	got, present, ok := single(query, "iss")
	switch {
	case !ok || len(got) > maxIssuer || !isPrintable(got):
		return "", false
	case want != "" && (!present || got != want): // compared as it is, RFC 9207 section 2.4
		return "", false
	}
	return got, true
}

// isErrorCode accepts what RFC 6749 appendix A.7 has, within bounds.
func isErrorCode(text string) bool {
	return text != "" && len(text) <= maxErrorCode && !strings.ContainsFunc(text, func(r rune) bool {
		return r < ' ' || r > '~' || r == '"' || r == '\\'
	})
}

// isCode accepts what RFC 6749 appendix A.11 has, within bounds.
func isCode(text string) bool {
	return text != "" && len(text) <= maxCode && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

func isPrintable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

func parseCaptured(query url.Values, names []string) ([]captured, bool) {
	var all []captured
	for _, name := range names {
		value, present, ok := single(query, name)
		if !ok || len(value) > maxCaptured || !isPrintable(value) {
			return nil, false
		}
		if present && value != "" {
			all = append(all, captured{name, value})
		}
	}
	return all, true
}
