package oauth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// AuthMethod is how the client shows who it is. Exactly one is used in a request, and none is tried after another.
type AuthMethod string

const (
	// ClientSecretPost sends client_id and client_secret in the body.
	ClientSecretPost AuthMethod = "ClientSecretPost"
	// ClientSecretBasic sends them in the Authorization header (RFC 6749 section 2.3.1).
	ClientSecretBasic AuthMethod = "ClientSecretBasic"
)

// BasicEncoding is what happens to id and secret before they are joined for ClientSecretBasic.
type BasicEncoding string

const (
	// BasicRFC6749 form-encodes both first, as RFC 6749 section 2.3.1 wants it. "" means the same.
	BasicRFC6749 BasicEncoding = "RFC6749"
	// BasicRaw joins them as they are, which many providers expect instead.
	BasicRaw BasicEncoding = "Raw"
)

// BodyFormat is how the parameters are written into the body.
type BodyFormat string

const (
	// BodyForm is application/x-www-form-urlencoded. "" means the same.
	BodyForm BodyFormat = "Form"
	// BodyJSON is one JSON object of strings.
	BodyJSON BodyFormat = "JSON"
)

// SendScope says in which token requests the scope parameter is sent, where scopes are given.
type SendScope string

const (
	// ScopeStandard sends it where it says something: with client credentials, not with a code, and not in a refresh,
	// where its absence means the scope that was granted (RFC 6749 section 6). "" means the same.
	ScopeStandard SendScope = "Standard"
	// ScopeAlways sends it in every token request.
	ScopeAlways SendScope = "Always"
	// ScopeNever sends it in none.
	ScopeNever SendScope = "Never"
)

// GrantType is the value of grant_type.
type GrantType string

const (
	// GrantClientCredentials is the grant of RFC 6749 section 4.4.
	GrantClientCredentials GrantType = "client_credentials"
	// GrantAuthorizationCode is the exchange of RFC 6749 section 4.1.3.
	GrantAuthorizationCode GrantType = "authorization_code"
	// GrantRefreshToken is the refresh of RFC 6749 section 6.
	GrantRefreshToken GrantType = "refresh_token"
)

// yieldsRefreshToken reports whether an answer to the grant may hold a refresh token that counts. The one that comes
// with client credentials does not (RFC 6749 section 4.4.3).
func (g GrantType) yieldsRefreshToken() bool { return g != GrantClientCredentials }

const defaultTimeout = 30 * time.Second

// Registration is what a token request must know of our registration at a provider.
type Registration struct {
	TokenEndpoint string // absolute https URL without user name and fragment; http on loopback with Egress.AllowLoopback
	ClientID      string
	ClientSecret  secret.Value
	Method        AuthMethod
	BasicEncoding BasicEncoding // for ClientSecretBasic
	BodyFormat    BodyFormat
	SendScope     SendScope
	Timeout       time.Duration // of Ready, and of an Exchange from resolving the name to the last byte; 0 is 30 s
	Parameters    []Parameter   // of the provider's own, in the body of every token request, and of no revocation
}

func (r Registration) timeout() time.Duration {
	if r.Timeout <= 0 {
		return defaultTimeout
	}
	return r.Timeout
}

// GrantRequest is what is asked for.
type GrantRequest struct {
	Grant        GrantType
	Scopes       []string     // one scope each, without spaces; none: no scope parameter
	RefreshToken secret.Value // for GrantRefreshToken, which wants it, and sent with no other: 1 byte to 64 KiB of 0x21-0x7E

	// For GrantAuthorizationCode, which wants the first two, and sent with no other.
	Code        secret.Value // 1 byte to 16 KiB of 0x20-0x7E (RFC 6749 appendix A.11)
	RedirectURI string       // exactly as in the authorization request
	Verifier    secret.Value // RFC 7636 section 4.5; empty: none is sent
}

// outgoing is a request that is ready to be sent. It holds secrets.
type outgoing struct {
	endpoint string
	header   http.Header
	body     []byte
}

// parameter is one name and value of the body, in the order in which they are written.
type parameter struct{ name, value string }

// prepare builds the request, or says why there is none. Nothing is sent.
func prepare(reg Registration, req GrantRequest, egress Egress) (*outgoing, *Error) {
	endpoint, err := parseEndpoint(reg.TokenEndpoint)
	if err != nil {
		return nil, notSent(reasonEndpoint)
	}
	if endpoint.Scheme != "https" && (!egress.AllowLoopback || !isLoopbackHost(endpoint.Hostname())) {
		return nil, notSent(reasonPlaintext)
	}
	if reason := checkClient(reg); reason != "" {
		return nil, notSent(reason)
	}
	parameters, reason := bodyParameters(reg, req)
	if reason != "" {
		return nil, notSent(reason)
	}
	out := &outgoing{endpoint: endpoint.String(), header: http.Header{
		"Accept":          {"application/json"}, // without it some providers answer form-encoded
		"Accept-Encoding": {"identity"},
		"User-Agent":      {"oauth-operator"},
	}}
	if reg.Method == ClientSecretBasic {
		out.header.Set("Authorization", basicAuthorization(reg))
	}
	switch reg.BodyFormat {
	case BodyJSON:
		out.header.Set("Content-Type", "application/json")
		if out.body, err = jsonBody(parameters); err != nil {
			return nil, notSent(reasonNotText)
		}
	case BodyForm, "":
		out.header.Set("Content-Type", "application/x-www-form-urlencoded")
		out.body = formBody(parameters)
	default:
		return nil, notSent(reasonMethod)
	}
	return out, nil
}

// checkClient returns why id, secret and method cannot be used together; "" if they can.
func checkClient(reg Registration) (reason string) {
	switch {
	case reg.ClientID == "":
		return reasonClientID
	case reg.ClientSecret.Empty():
		return reasonClientSecret
	case reg.BodyFormat == BodyJSON && reg.Method == ClientSecretPost &&
		(!utf8.ValidString(reg.ClientID) || !utf8.ValidString(reg.ClientSecret.Reveal())):
		// JSON would carry U+FFFD instead, and the provider would see a wrong secret.
		return reasonNotText
	}
	switch reg.Method {
	case ClientSecretPost:
		return ""
	case ClientSecretBasic:
		return checkBasic(reg)
	default:
		return reasonMethod
	}
}

func checkBasic(reg Registration) (reason string) {
	switch reg.BasicEncoding {
	case BasicRFC6749, "":
		return ""
	case BasicRaw:
		if strings.Contains(reg.ClientID, ":") {
			return reasonColon // the provider would cut the id there and take the rest for the secret
		}
		return ""
	default:
		return reasonMethod
	}
}

// bodyParameters gives the parameters in a fixed order: grant, client, code or refresh token, scope, and the provider's own.
func bodyParameters(reg Registration, req GrantRequest) (parameters []parameter, reason string) {
	if req.Grant != grantRevocation {
		parameters = []parameter{{"grant_type", string(req.Grant)}}
	}
	if reg.Method == ClientSecretPost {
		parameters = append(parameters,
			parameter{"client_id", reg.ClientID},
			parameter{"client_secret", reg.ClientSecret.Reveal()})
	}
	switch req.Grant {
	case GrantClientCredentials:
	case GrantAuthorizationCode:
		if reason := checkCode(req); reason != "" {
			return nil, reason
		}
		parameters = append(parameters, parameter{"code", req.Code.Reveal()}, parameter{"redirect_uri", req.RedirectURI})
		if !req.Verifier.Empty() {
			parameters = append(parameters, parameter{"code_verifier", req.Verifier.Reveal()})
		}
	case GrantRefreshToken:
		if !isToken(req.RefreshToken.Reveal(), maxRefreshTokenBytes) {
			return nil, reasonRefreshToken
		}
		parameters = append(parameters, parameter{"refresh_token", req.RefreshToken.Reveal()})
	case grantRevocation:
		if !isToken(req.RefreshToken.Reveal(), maxRefreshTokenBytes) {
			return nil, reasonRefreshToken
		}
		return append(parameters, parameter{"token", req.RefreshToken.Reveal()}, parameter{"token_type_hint", "refresh_token"}), ""
	default:
		return nil, reasonGrant
	}
	for _, scope := range req.Scopes {
		if !isScopeToken(scope) {
			return nil, reasonScope
		}
	}
	send, known := sendsScope(reg.SendScope, req.Grant)
	if !known {
		return nil, reasonMethod
	}
	if send && len(req.Scopes) > 0 {
		parameters = append(parameters, parameter{"scope", strings.Join(req.Scopes, " ")})
	}
	further, reason := furtherParameters(reg)
	return append(parameters, further...), reason
}

// checkCode returns why a code cannot be sent; "" if it can.
func checkCode(req GrantRequest) (reason string) {
	code := req.Code.Reveal()
	switch {
	case code == "" || len(code) > maxTokenBytes || !isVisible(code):
		return reasonAuthorizationCode
	case req.RedirectURI == "" || !isVisible(req.RedirectURI), !isVisible(req.Verifier.Reveal()):
		return reasonRedirectURI
	}
	return ""
}

// isVisible reports whether text is of the characters 0x20-0x7E.
func isVisible(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' })
}

func sendsScope(setting SendScope, grant GrantType) (send, known bool) {
	switch setting {
	case ScopeStandard, "":
		return grant == GrantClientCredentials, true
	case ScopeAlways:
		return true, true
	case ScopeNever:
		return false, true
	default:
		return false, false
	}
}

func basicAuthorization(reg Registration) string {
	id, password := reg.ClientID, reg.ClientSecret.Reveal()
	if reg.BasicEncoding != BasicRaw {
		id, password = url.QueryEscape(id), url.QueryEscape(password)
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+password))
}

func formBody(parameters []parameter) []byte {
	var body bytes.Buffer
	for i, p := range parameters {
		if i > 0 {
			body.WriteByte('&')
		}
		body.WriteString(url.QueryEscape(p.name) + "=" + url.QueryEscape(p.value))
	}
	return body.Bytes()
}

// jsonBody writes one object of strings. It escapes nothing for HTML, which a careless reader might not undo.
func jsonBody(parameters []parameter) ([]byte, error) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	for i, p := range parameters {
		body.WriteByte("{,"[min(i, 1)])
		for _, part := range []struct {
			text string
			end  string
		}{{p.name, ":"}, {p.value, ""}} {
			if err := encoder.Encode(part.text); err != nil {
				return nil, err
			}
			body.Truncate(body.Len() - len("\n"))
			body.WriteString(part.end)
		}
	}
	body.WriteByte('}')
	return body.Bytes(), nil
}

// isScopeToken reports whether text is one scope-token of RFC 6749 section 3.3: 0x21, 0x23-0x5B, 0x5D-0x7E.
func isScopeToken(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return text != ""
}
