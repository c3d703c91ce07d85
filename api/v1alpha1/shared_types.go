package v1alpha1

// Scope is one scope token (RFC 6749 section 3.3).
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="self.matches('^[!#-\\\\[\\\\]-~]+$')",message="write one scope for each list item: no spaces, quotes or backslashes (RFC 6749 section 3.3)"
type Scope string

// HeaderName is the name of the header that names a connected account. It is written into a file of header lines, so that
// it must be a name and nothing else, and not one that HTTP, or the token itself, needs.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9][!#$%&*+.^_|~0-9A-Za-z-]*$')",message="write the name of a header alone, without colon and spaces, such as Stripe-Account (RFC 9110 section 5.1)"
// +kubebuilder:validation:XValidation:rule="!self.matches('(?i)^(accept|accept-.*|authorization|cache-control|connection|content-.*|cookie2?|date|expect|forwarded|from|host|http2-settings|if-.*|keep-alive|max-forwards|origin|pragma|proxy-.*|range|referer|sec-.*|set-cookie2?|te|trailer|transfer-encoding|upgrade|user-agent|via|www-authenticate|x-forwarded-.*)$')",message="this header has a meaning of its own in every request: write the one that names a connected account at this provider, such as Stripe-Account"
type HeaderName string

// DefaultOnBehalfOfHeader is the header that names a connected account where nobody says another.
const DefaultOnBehalfOfHeader HeaderName = "on-behalf-of"

// GrantType is how an access is obtained.
//
// +kubebuilder:validation:Enum=ClientCredentials;AuthorizationCode;APIKey
type GrantType string

const (
	// GrantClientCredentials is the grant of RFC 6749 section 4.4: the client's own access, no person needed.
	GrantClientCredentials GrantType = "ClientCredentials"
	// GrantAuthorizationCode is the grant of RFC 6749 section 4.1: the access of a person who consented, kept fresh with a
	// refresh token (section 6).
	GrantAuthorizationCode GrantType = "AuthorizationCode"
	// GrantAPIKey is no grant of OAuth: the provider gave a key that does not change by itself, and it is published as it is.
	GrantAPIKey GrantType = "APIKey"
)

// SecretKeyReference names one key of a Secret in the same namespace. The Secret must bear the label
// oauth-operator.dev/credential: "true" and be of type Opaque, kubernetes.io/tls or kubernetes.io/basic-auth.
type SecretKeyReference struct {
	// name is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="name must be the name of a Secret: lower case letters, digits, '-' and '.'"
	Name string `json:"name,omitempty"`

	// key is the key within the Secret's data.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="key must be a key of the Secret's data: letters, digits, '-', '_' and '.'"
	Key string `json:"key,omitempty"`
}
