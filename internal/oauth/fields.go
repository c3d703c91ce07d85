package oauth

import (
	"bytes"
	"compress/gzip"
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
	maxTokenBytes = 16 << 10
	// maxRefreshTokenBytes is more: no header and no file has to carry one, and one that is not kept is lost.
	maxRefreshTokenBytes = 64 << 10

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

// readFields reads the body as one JSON object; reason is "" if it is one, and is labelled as one. Where there is a reason,
// the fields are filled in all the same if they can be read beyond doubt, for the sake of a refresh token: what is wrong
// with its surroundings does not make it another one. Names are case-sensitive and may not come twice; members that are
// not ours may, and are ignored (RFC 6749 section 5.1). The content decides, not the media type: providers send JSON as
// text/html and login pages as application/json.
func readFields(header http.Header, body []byte) (found fields, reason string) {
	label := ""
	switch {
	case !isPlain(header): // what could be decoded was, see unpack
		label = reasonEncoding
	case !isUTF8Declared(header):
		label = reasonCharset
	}
	if found, reason = readObject(body); label != "" {
		return found, label
	}
	return found, reason
}

// readObject reads one JSON object. With reasonDuplicate and reasonSurplus the fields are filled in, with no other reason.
func readObject(body []byte) (found fields, reason string) {
	// A byte order mark says nothing; a reader may ignore it (RFC 8259 section 8.1).
	body = bytes.Trim(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), " \t\r\n")
	switch {
	case len(body) == 0:
		return fields{}, reasonEmpty
	case body[0] == '<':
		return fields{}, reasonMarkup
	case body[0] != '{':
		return fields{}, reasonNotJSON
	}
	if body, reason = cutSurplus(body); reason == reasonNotJSON {
		return fields{}, reason
	}
	// Only the members above are tracked for duplicates, because the rest is not decoded. That matters: the list of
	// duplicates ends at a hundred, and others could fill it.
	duplicates, err := kjson.UnmarshalStrict(body, &found, kjson.DisallowDuplicateFields)
	switch {
	case err != nil:
		return fields{}, reasonNotJSON
	case len(duplicates) == 0:
		return found, reason
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

// cutSurplus gives the object without what follows it. An object that is whole is no part of an answer that was cut; but
// another one behind it could say something else, so that nobody knows which counts.
func cutSurplus(body []byte) (object []byte, reason string) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	var first json.RawMessage
	if decoder.Decode(&first) != nil {
		return nil, reasonNotJSON
	}
	switch surplus := body[decoder.InputOffset():]; {
	case len(surplus) == 0:
		return body, ""
	case bytes.ContainsRune(surplus, '{'):
		return nil, reasonNotJSON
	default:
		return first, reasonSurplus
	}
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

// coding is what Content-Encoding says in all of its lines, in lower case.
func coding(header http.Header) string {
	return strings.ToLower(strings.TrimSpace(strings.Join(header.Values("Content-Encoding"), ",")))
}

// isPlain reports whether the body is said to be as it is.
func isPlain(header http.Header) bool { return coding(header) == "" || coding(header) == "identity" }

// unpack undoes gzip, which nobody asked for, but which some servers and what stands before them send all the same: the
// only successor of a refresh token may be in it. What is no gzip in truth, or of another coding, is left as it is.
func unpack(header http.Header, body []byte) (plainHeader http.Header, unpacked []byte, tooLarge bool) {
	if said := coding(header); said != "gzip" && said != "x-gzip" {
		return header, body, false
	}
	from, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return header, body, false
	}
	unpacked, tooLarge, err = readBody(from)
	if err != nil {
		return header, body, false
	}
	plainHeader = header.Clone()
	plainHeader.Del("Content-Encoding")
	return plainHeader, unpacked, tooLarge
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

// readToken reads an access or refresh token: 1 byte to so many of 0x21-0x7E (RFC 6750 section 2.1, RFC 6749 appendix A).
// Anything else could end a header line or a file line wherever the token is used.
func readToken(raw json.RawMessage, most int) (token secret.Value, reason string) {
	if !isPresent(raw) {
		return secret.Value{}, reasonNoToken
	}
	text, ok := readText(raw)
	if !ok {
		return secret.Value{}, reasonBadToken
	}
	if len(text) > most {
		return secret.Value{}, reasonLongToken
	}
	if !isToken(text, most) {
		return secret.Value{}, reasonBadToken
	}
	return secret.New(text), ""
}

// isToken reports whether text can be a token of at most so many bytes.
func isToken(text string, most int) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return text != "" && len(text) <= most
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
