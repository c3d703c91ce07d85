package v1alpha1

// Scope is one scope token (RFC 6749 section 3.3).
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="self.matches('^[!#-\\\\[\\\\]-~]+$')",message="write one scope for each list item: no spaces, quotes or backslashes (RFC 6749 section 3.3)"
type Scope string

// GrantType is how an access is obtained.
//
// +kubebuilder:validation:Enum=ClientCredentials;AuthorizationCode
type GrantType string

const (
	// GrantClientCredentials is the grant of RFC 6749 section 4.4: the client's own access, no person needed.
	GrantClientCredentials GrantType = "ClientCredentials"
	// GrantAuthorizationCode is the grant of RFC 6749 section 4.1: the access of a person who consented, kept fresh with a
	// refresh token (section 6).
	GrantAuthorizationCode GrantType = "AuthorizationCode"
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
