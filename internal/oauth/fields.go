package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	kjson "sigs.k8s.io/json"

	"github.com/oauth-operator/oauth-operator/internal/secret"
)

const (
	maxTokenBytes  = 16 << 10
	longTokenBytes = 8 << 10
	maxScopeBytes  = 16 << 10
	maxLifetime    = 10 * 365 * 24 * time.Hour
)

// fields are the members of an answer that mean something to us, unread. A nil member was not in the answer. Each is
// read by itself, so that an unusable one does not take the others with it.
type fields struct {
	AccessToken  json.RawMessage `json:"access_token"`
	TokenType    json.RawMessage `json:"token_type"`
	ExpiresIn    json.RawMessage `json:"expires_in"`
	Scope        json.RawMessage `json:"scope"`
	RefreshToken json.RawMessage `json:"refresh_token"`
	Error        json.RawMessage `json:"error"`

	repeated map[string]bool // the names of those that come more than once
}

// namesError reports whether the answer is an error, or says something of one that nobody can read.
func (f fields) namesError() bool { return isPresent(f.Error) || f.repeated["error"] }

// readFields reads the body as one JSON object; reason is "" if it is one. With reasonDuplicate, and with no other
// reason, the fields are filled in all the same, for the sake of those that are not repeated. Names are case-sensitive and may not come
// twice; members that are not ours may, and are ignored (RFC 6749 section 5.1). The content decides, not the media
// type: providers send JSON as text/html and login pages as application/json.
func readFields(header http.Header, body []byte) (found fields, reason string) {
	if encoding := strings.Join(header.Values("Content-Encoding"), ","); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return fields{}, reasonEncoding
	}
	if !isUTF8Declared(header) {
		return fields{}, reasonCharset
	}
	body = bytes.Trim(body, " \t\r\n")
	switch {
	case len(body) == 0:
		return fields{}, reasonEmpty
	case body[0] == '<':
		return fields{}, reasonMarkup
	case body[0] != '{':
		return fields{}, reasonNotJSON
	}
	// Only the members above are tracked for duplicates, because the rest is not decoded. That matters: the list of
	// duplicates ends at a hundred, and others could fill it.
	duplicates, err := kjson.UnmarshalStrict(body, &found, kjson.DisallowDuplicateFields)
	switch {
	case err != nil:
		return fields{}, reasonNotJSON
	case len(duplicates) == 0:
		return found, ""
	}
	found.repeated = map[string]bool{}
	for _, duplicate := range duplicates {
		var field kjson.FieldError
		if !errors.As(duplicate, &field) {
			return fields{}, reasonNotJSON // nobody could say which ones are not repeated
		}
		found.repeated[field.FieldPath()] = true
	}
	return found, reasonDuplicate
}

// saysInProcess reports whether an error's description says that the request is being processed already. Some servers
// answer so, with invalid_grant, to one of two requests that carry the same refresh token; the other one succeeds.
func saysInProcess(body []byte) bool {
	var found struct {
		Description json.RawMessage `json:"error_description"`
	}
	// Read apart from the other fields: a description that comes twice spoils nothing.
	if kjson.UnmarshalCaseSensitivePreserveInts(body, &found) != nil {
		return false
	}
	text, _ := readText(found.Description)
	return strings.Contains(strings.ToLower(text), "already being processed")
}

// isUTF8Declared refuses a declared charset other than UTF-8, and a Content-Type that declares one illegibly.
func isUTF8Declared(header http.Header) bool {
	for _, value := range header.Values("Content-Type") {
		_, parameters, err := mime.ParseMediaType(value)
		charset := strings.ToLower(parameters["charset"])
		if err != nil && strings.Contains(strings.ToLower(value), "charset") {
			return false
		}
		if charset != "" && charset != "utf-8" && charset != "utf8" {
			return false
		}
	}
	return true
}

// isPresent reports whether a member was sent with a value; null is how many serialisers write absence.
func isPresent(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// readText reads a JSON string. Invalid UTF-8 and lone surrogates come out as U+FFFD, which no reader here lets pass.
func readText(raw json.RawMessage) (string, bool) {
	var text string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", false
	}
	return text, true
}

// readToken reads an access or refresh token: 1 byte to 16 KiB of 0x21-0x7E (RFC 6750 section 2.1, RFC 6749 appendix A).
// Anything else could end a header line or a file line wherever the token is used.
func readToken(raw json.RawMessage) (token secret.Value, reason string) {
	if !isPresent(raw) {
		return secret.Value{}, reasonNoToken
	}
	text, ok := readText(raw)
	if !ok {
		return secret.Value{}, reasonBadToken
	}
	if len(text) > maxTokenBytes {
		return secret.Value{}, reasonLongToken
	}
	if !isToken(text) {
		return secret.Value{}, reasonBadToken
	}
	return secret.New(text), ""
}

// isToken reports whether text can be a token.
func isToken(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return text != "" && len(text) <= maxTokenBytes
}

// readLifetime reads expires_in: a JSON number, or a string that is one, cut to whole seconds and to ten years. No
// value of it ever costs the token that it came with; what cannot be used is nil and a warning.
func readLifetime(raw json.RawMessage) (*time.Duration, Warning) {
	if len(raw) == 0 {
		return nil, ""
	}
	text := string(raw)
	if quoted, ok := readText(raw); ok {
		text = quoted
	}
	if text == "Infinity" {
		return atMost(maxLifetime), ClampedExpiresIn
	}
	// strconv alone would take hexadecimal, infinities and NaN as well.
	if !json.Valid([]byte(text)) {
		return nil, InvalidExpiresIn
	}
	seconds, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil && !isOutOfRange(err):
		return nil, InvalidExpiresIn
	case seconds < 0:
		return atMost(0), NegativeExpiresIn
	case seconds < 1:
		return nil, ZeroExpiresIn
	case seconds > maxLifetime.Seconds():
		return atMost(maxLifetime), ClampedExpiresIn
	default:
		return atMost(time.Duration(seconds) * time.Second), ""
	}
}

func atMost(d time.Duration) *time.Duration { return &d }

// isOutOfRange reports a number too large for a float, for which strconv gives an infinity of the right sign.
func isOutOfRange(err error) bool { return errors.Is(err, strconv.ErrRange) }

// readScope reads scope: a string of scopes with spaces between, or, off the standard, a list of strings.
func readScope(raw json.RawMessage) (*string, Warning) {
	if !isPresent(raw) {
		return nil, ""
	}
	var warning Warning
	text, ok := readText(raw)
	if !ok {
		var list []string
		if json.Unmarshal(raw, &list) != nil {
			return nil, InvalidScope
		}
		text, warning = strings.Join(list, " "), ScopeList
	}
	if len(text) > maxScopeBytes {
		return nil, InvalidScope
	}
	scopes := strings.Split(text, " ")
	for _, scope := range scopes {
		if scope != "" && !isScopeToken(scope) {
			return nil, InvalidScope
		}
	}
	return &text, warning
}
