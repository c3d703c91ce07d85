package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// bodyLimit bounds the body of a token request, in bytes.
const bodyLimit = 256 << 10

// tokenRequest is what arrived at a token endpoint. It is read as far as that is possible even when it is wrong, so
// that the ledger and the script know whose it is.
type tokenRequest struct {
	number   uint64
	contract Contract
	received time.Time
	format   string
	params   map[string]string
	// basic tells that there was an Authorization header; id and secret are what it held, if it could be read.
	basic               bool
	basicID, basicValue string
	// problem is the first mistake in the shape of the request.
	problem *refusal
}

// clientID is what the request claims, before anybody has believed it.
func (q *tokenRequest) clientID() string {
	if q.basic && q.basicID != "" {
		return q.basicID
	}
	return q.params["client_id"]
}

func (q *tokenRequest) complain(reason string) {
	if q.problem == nil {
		q.problem = badRequest("invalid_request", reason)
	}
}

// readTokenRequest reads a request as the contract wants it.
func readTokenRequest(contract Contract, r *http.Request) *tokenRequest {
	request := &tokenRequest{contract: contract, format: "other"}
	if r.Method != http.MethodPost {
		request.problem = &refusal{status: http.StatusMethodNotAllowed, code: "invalid_request", reason: "method"}
	}
	if r.URL.RawQuery != "" {
		request.complain("parameters_in_the_url")
	}
	request.readAuthorization(r)
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit+1))
	if err != nil {
		request.complain("unreadable_body")
		return request
	}
	if len(body) > bodyLimit {
		request.complain("body_too_large")
		return request
	}
	request.readFormat(r.Header.Values("Content-Type"))
	wantFormat := "form"
	if contract == SmartBusiness {
		wantFormat = "json"
	}
	if request.format != wantFormat {
		request.complain("content_type")
	}
	switch request.format {
	case "json":
		request.params, err = jsonParameters(body)
	case "form":
		request.params, err = formParameters(body)
	}
	if err != nil {
		request.complain(err.Error())
	}
	return request
}

// readFormat accepts a charset parameter if it is UTF-8, and no other parameter.
func (q *tokenRequest) readFormat(values []string) {
	if len(values) != 1 {
		q.complain("content_type")
		return
	}
	mediaType, params, err := mime.ParseMediaType(values[0])
	charset := params["charset"]
	delete(params, "charset")
	if err != nil || len(params) > 0 || (charset != "" && !strings.EqualFold(charset, "utf-8")) {
		q.complain("content_type")
		return
	}
	switch mediaType {
	case "application/json":
		q.format = "json"
	case "application/x-www-form-urlencoded":
		q.format = "form"
	}
}

// readAuthorization decodes id and secret of a Basic header, which RFC 6749 section 2.3.1 wants form-encoded first.
func (q *tokenRequest) readAuthorization(r *http.Request) {
	values := r.Header.Values("Authorization")
	q.basic = len(values) > 0
	id, value, ok := r.BasicAuth()
	if !ok || len(values) != 1 {
		return
	}
	decodedID, errID := url.QueryUnescape(id)
	decodedValue, errValue := url.QueryUnescape(value)
	if errID == nil && errValue == nil {
		q.basicID, q.basicValue = decodedID, decodedValue
	}
}

// jsonParameters reads an object of strings. The errors are reasons for the ledger. When a mistake is met, what
// was read before it is returned as well.
func jsonParameters(body []byte) (map[string]string, error) {
	params := map[string]string{}
	if !utf8.Valid(body) || !json.Valid(body) {
		return params, errors.New("malformed_body")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if opening, _ := decoder.Token(); opening != json.Delim('{') {
		return params, errors.New("malformed_body")
	}
	for decoder.More() {
		key, _ := decoder.Token()
		value, _ := decoder.Token()
		name, nameOK := key.(string)
		text, textOK := value.(string)
		if !nameOK || !textOK {
			return params, errors.New("parameter_is_not_a_string")
		}
		if err := setParameter(params, name, text); err != nil {
			return params, err
		}
	}
	return params, nil
}

// formParameters is jsonParameters for a form.
func formParameters(body []byte) (map[string]string, error) {
	params := map[string]string{}
	values, err := url.ParseQuery(string(body))
	if err != nil || !utf8.Valid(body) {
		return params, errors.New("malformed_body")
	}
	for name, each := range values {
		for _, text := range each {
			err = errors.Join(err, setParameter(params, name, text))
		}
	}
	if err != nil {
		return params, errors.New("duplicate_or_empty_parameter")
	}
	return params, nil
}

func setParameter(params map[string]string, name, text string) error {
	if _, twice := params[name]; twice || text == "" {
		return errors.New("duplicate_or_empty_parameter")
	}
	params[name] = text
	return nil
}

// checkParameters holds the parameters against the contract: all that are wanted, and no other.
func (q *tokenRequest) checkParameters(registration *Registration) *refusal {
	want := []string{"grant_type"}
	if !q.basic {
		want = append(want, "client_id", "client_secret")
	}
	if q.contract == SmartBusiness {
		want = append(want, "scope")
	}
	switch q.params["grant_type"] {
	case GrantAuthorizationCode:
		want = append(want, "code", "redirect_uri")
		if registration.PKCE {
			want = append(want, "code_verifier")
		}
	case GrantRefreshToken:
		want = append(want, "refresh_token")
	}
	want = slices.AppendSeq(want, maps.Keys(registration.Parameters))
	for _, name := range want {
		if q.params[name] == "" {
			return badRequest("invalid_request", "missing_parameter")
		}
	}
	for name, values := range registration.Parameters {
		if !slices.Contains(values, q.params[name]) {
			return badRequest("invalid_target", "parameter_value")
		}
	}
	for name := range q.params {
		// RFC 6749 section 3.2.1 lets a client name itself in the body beside a header.
		named := q.basic && name == "client_id" && q.params[name] == registration.ClientID
		if !named && !slices.Contains(want, name) {
			return badRequest("invalid_request", "unknown_parameter")
		}
	}
	return nil
}
