package consent

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// authorizationRequest is what is sent to an authorization endpoint, RFC 6749 section 4.1.1 and RFC 7636 section 4.3.
type authorizationRequest struct {
	endpoint    string
	clientID    string
	redirectURI string
	scope       string
	state       string
	// challenge is empty where the client does without PKCE.
	challenge  string
	parameters []parameter
}

type parameter struct{ name, value string }

// url writes the request, with the endpoint's own query first, as it is. A space is written %20, which every server reads,
// and not +, which some take for what it is.
func (a authorizationRequest) url() string {
	all := []parameter{
		{"response_type", "code"},
		{"client_id", a.clientID},
		{"redirect_uri", a.redirectURI},
	}
	if a.scope != "" {
		all = append(all, parameter{"scope", a.scope})
	}
	all = append(all, parameter{"state", a.state})
	if a.challenge != "" {
		all = append(all, parameter{"code_challenge", a.challenge}, parameter{"code_challenge_method", "S256"})
	}
	var target strings.Builder
	target.WriteString(a.endpoint)
	separator := "?"
	if i := strings.IndexByte(a.endpoint, '?'); i >= 0 {
		separator = "&"
		if i == len(a.endpoint)-1 || strings.HasSuffix(a.endpoint, "&") {
			separator = ""
		}
	}
	for _, each := range slices.Concat(all, a.parameters) {
		target.WriteString(separator + escape(each.name) + "=" + escape(each.value))
		separator = "&"
	}
	return target.String()
}

func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

// challengeOf is the S256 challenge of a verifier, RFC 7636 section 4.2.
func challengeOf(verifier string) string { return hashOf(verifier) }

// hashOf is the SHA-256 of a text, in base64url. Of a state it is what stands in cookie names and in status: who reads it
// there cannot make the state of it.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// wantedScopes are the scopes to ask for: the account's, or all of the client's, in the client's order.
func wantedScopes(account *v1alpha1.ConnectedAccount, client *v1alpha1.OAuthClient) []v1alpha1.Scope {
	if len(account.Spec.Scopes) > 0 {
		return account.Spec.Scopes
	}
	return client.Spec.Scopes
}

func joinScopes(scopes []v1alpha1.Scope, separator string) string {
	texts := make([]string, len(scopes))
	for i, scope := range scopes {
		texts[i] = string(scope)
	}
	return strings.Join(texts, separator)
}
