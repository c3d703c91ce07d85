package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// OAuthClient is a registration at a provider: id, secret, endpoints, and what it may be used for.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=oauthcl,categories=oauth
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Token Endpoint",type=string,JSONPath=`.spec.endpoints.token`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type OAuthClient struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the registration, as the provider gave it.
	// +required
	Spec OAuthClientSpec `json:"spec,omitzero"`

	// status is what the operator found.
	// +optional
	// +kubebuilder:default={observedGeneration:-1}
	Status OAuthClientStatus `json:"status,omitzero"`
}

// OAuthClientList is a list of clients.
//
// +kubebuilder:object:root=true
type OAuthClientList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard list's metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items are the clients.
	Items []OAuthClient `json:"items"`
}

// OAuthClientSpec is the registration, as the provider gave it.
//
// +kubebuilder:validation:XValidation:rule="has(self.clientID) || has(self.clientIDRef)",message="write the client identifier here, or name the Secret that holds it in clientIDRef",reason=FieldValueRequired,fieldPath=".clientID"
// +kubebuilder:validation:XValidation:rule="!has(self.clientID) || !has(self.clientIDRef)",message="clientID is set too: write one of them, not both",reason=FieldValueForbidden,fieldPath=".clientIDRef"
// +kubebuilder:validation:XValidation:rule="!has(self.clientID) || !has(self.authentication.basicEncoding) || self.authentication.basicEncoding != 'Raw' || !self.clientID.contains(':')",message="with basicEncoding Raw the server would take what follows the colon for the secret: write basicEncoding: RFC6749, or method: ClientSecretPost",fieldPath=".clientID"
// +kubebuilder:validation:XValidation:rule="!has(self.allowedNamespaces) || self.allowedNamespaces.all(entry, !has(entry.grants) || entry.grants.all(grant, grant in self.grants))",message="an entry allows a grant that is not in spec.grants: add it there, or remove it here",fieldPath=".allowedNamespaces"
// +kubebuilder:validation:XValidation:rule="!has(self.allowedNamespaces) || self.allowedNamespaces.all(entry, !has(entry.scopes) || (has(self.scopes) && entry.scopes.all(scope, scope in self.scopes)))",message="an entry allows a scope that is not in spec.scopes: add it there, or remove it here",fieldPath=".allowedNamespaces"
// +kubebuilder:validation:XValidation:rule="!has(self.authorizationResponse) || !has(self.authorizationResponse.capture) || !has(self.tokenResponse) || !has(self.tokenResponse.capture) || self.authorizationResponse.capture.all(a, self.tokenResponse.capture.all(t, a.key != t.key))",message="a key of the token Secret is captured from the callback and from the answer: write two keys",fieldPath=".tokenResponse"
type OAuthClientSpec struct {
	// endpoints are the provider's URLs.
	// +required
	Endpoints Endpoints `json:"endpoints,omitzero"`

	// issuer is the issuer identifier of a provider that names itself in the callback (RFC 9207): a callback that names another
	// one, or none, is refused. Default: what a callback says of it is not looked at.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https://[!-~]+$') || self.matches('^http://(localhost|127([.][0-9]{1,3}){3}|[[]::1[]])(:[0-9]+)?(/[!-~]*)?$')",message="write the issuer as the provider does: a URL in ASCII that begins with https://"
	// +kubebuilder:validation:XValidation:rule="!self.contains('?') && !self.contains('#')",message="an issuer has neither query nor fragment (RFC 8414 section 2): remove it"
	Issuer string `json:"issuer,omitempty"`

	// clientID is the client identifier (RFC 6749 section 2.2). Exactly one of clientID and clientIDRef is set.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ -~]+$')",message="write it in printable ASCII, as the provider gave it (RFC 6749 appendix A.1)"
	ClientID string `json:"clientID,omitempty"`

	// clientIDRef names the Secret that holds the client identifier, where it is delivered together with the client secret.
	// +optional
	ClientIDRef SecretKeyReference `json:"clientIDRef,omitzero"`

	// authentication is how the client proves who it is to the token endpoint.
	// +required
	Authentication Authentication `json:"authentication,omitzero"`

	// grants lists the grants that this registration may be used for.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(grant, grant != 'APIKey')",message="an API key needs no OAuthClient: remove it here, and name its Secret in the account's grant.apiKeyRef"
	Grants []GrantType `json:"grants,omitempty"`

	// scopes is the ceiling: what accounts of this client may ask for. Absent: no scope is sent, and none may be asked for.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	Scopes []Scope `json:"scopes,omitempty"`

	// authorizationRequest is how a person is sent to the authorization endpoint, for the grant AuthorizationCode.
	// +optional
	AuthorizationRequest AuthorizationRequest `json:"authorizationRequest,omitzero"`

	// authorizationResponse is what is taken out of the callback besides the code, for the grant AuthorizationCode.
	// +optional
	AuthorizationResponse AuthorizationResponse `json:"authorizationResponse,omitzero"`

	// tokenRequest is how a token request is written.
	// +optional
	TokenRequest TokenRequest `json:"tokenRequest,omitzero"`

	// tokenResponse is what is taken out of the answer to a token request besides the tokens.
	// +optional
	TokenResponse TokenResponse `json:"tokenResponse,omitzero"`

	// accessTokens says what is known of this provider's access tokens.
	// +optional
	AccessTokens AccessTokens `json:"accessTokens,omitzero"`

	// refreshTokens says what is known of this provider's refresh tokens. Default: the strictest, each good for one use
	// and a second use ending the grant.
	// +optional
	RefreshTokens RefreshTokens `json:"refreshTokens,omitzero"`

	// refreshBeforeSeconds is how many seconds before its expiry a token is refreshed, for accounts that do not say so
	// themselves. Default: a third of the token's lifetime.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2592000
	RefreshBeforeSeconds int32 `json:"refreshBeforeSeconds,omitempty"`

	// maxConcurrentRequests is how many token requests of this client are under way at once, at most. Other accounts wait
	// for their turn. Default: 8.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	MaxConcurrentRequests int32 `json:"maxConcurrentRequests,omitempty"`

	// onBehalfOf says how a connected account is named to this provider's API.
	// +optional
	OnBehalfOf OnBehalfOf `json:"onBehalfOf,omitzero"`

	// tls says whom to trust at the provider's end.
	// +optional
	TLS TLS `json:"tls,omitzero"`

	// allowedNamespaces lists the other namespaces whose accounts may use this client. Default: none but its own.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	AllowedNamespaces []AllowedNamespaces `json:"allowedNamespaces,omitempty"`
}

// The API server quotes an invalid value in its answer, but not one that it calls forbidden: that is for URLs which may
// hold a secret.

// Endpoint is a literal URL of the provider: https; http only for a loopback address, and only where the operator's flag
// allows it. Its query, if it has one, is sent as it is, so it must not set what the operator sends itself.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=2048
// +kubebuilder:validation:XValidation:rule="isURL(self) && self.matches('^[!-~]+$') && self.matches('^[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*@)?([A-Za-z0-9._-]+|[[][0-9A-Fa-f:.]+[]])(:(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?([/?#]|$)')",message="write an absolute URL in ASCII, without spaces, such as https://provider.example/oauth/token or https://provider.example:8443/oauth/token"
// +kubebuilder:validation:XValidation:rule="!self.contains('://') || self.startsWith('https://') || self.matches('^http://([^/?#]*@)?(localhost|127([.][0-9]{1,3}){3}|[[]::1[]])(:[0-9]+)?([/?#]|$)')",message="the URL must begin with https:// (http:// is for a provider on localhost, in tests)"
// +kubebuilder:validation:XValidation:rule="!self.matches('^[^/?#]*://[^/?#]*@')",message="the URL must not contain a user name or password: put the client secret into a Secret and name it in authentication.clientSecretRef",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="!self.contains('#')",message="the URL must not have a fragment: remove '#' and what follows it"
// +kubebuilder:validation:XValidation:rule="!self.matches('(?i)[?&;](client_id|client_secret|client_assertion|client_assertion_type|grant_type|scope|code|code_verifier|redirect_uri|refresh_token|username|password|assertion|device_code|subject_token|subject_token_type|actor_token|actor_token_type|requested_token_type)([=&;#]|$)')",message="the URL's query must not set a parameter of the token request, such as client_secret or scope: remove it, the operator sends these itself",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="!self.matches('[?&;][^=&;#]*%(3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9Aa])')",message="letters, digits and '_' in the name of a query parameter must not be percent-encoded: write them as they are",reason=FieldValueForbidden
type Endpoint string

// AuthorizationEndpoint is the literal URL that a person is sent to: https; http only for a loopback address. Its query, if
// it has one, is sent as it is, so it must not set what the operator sends itself.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=2048
// +kubebuilder:validation:XValidation:rule="isURL(self) && self.matches('^[!-~]+$') && self.matches('^[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*@)?([A-Za-z0-9._-]+|[[][0-9A-Fa-f:.]+[]])(:(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?([/?#]|$)')",message="write an absolute URL in ASCII, without spaces, such as https://provider.example/oauth/authorize"
// +kubebuilder:validation:XValidation:rule="!self.contains('://') || self.startsWith('https://') || self.matches('^http://([^/?#]*@)?(localhost|127([.][0-9]{1,3}){3}|[[]::1[]])(:[0-9]+)?([/?#]|$)')",message="the URL must begin with https:// (http:// is for a provider on localhost, in tests)"
// +kubebuilder:validation:XValidation:rule="!self.matches('^[^/?#]*://[^/?#]*@')",message="the URL must not contain a user name or password: put the client secret into a Secret and name it in authentication.clientSecretRef",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="!self.contains('#')",message="the URL must not have a fragment: remove '#' and what follows it"
// +kubebuilder:validation:XValidation:rule="!self.matches('(?i)[?&;](client_id|client_secret|code|code_challenge|code_challenge_method|code_verifier|redirect_uri|request|request_uri|response_mode|response_type|scope|state)([=&;#]|$)')",message="the URL's query must not set a parameter of the authorization request, such as state or scope: remove it, the operator sends these itself",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="!self.matches('[?&;][^=&;#]*%(3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9Aa])')",message="letters, digits and '_' in the name of a query parameter must not be percent-encoded: write them as they are",reason=FieldValueForbidden
type AuthorizationEndpoint string

// Endpoints are the provider's URLs.
type Endpoints struct {
	// authorization is the authorization endpoint (RFC 6749 section 3.1), where a person consents in a browser. Default: none,
	// and accounts with the grant AuthorizationCode import their refresh tokens.
	// +optional
	Authorization AuthorizationEndpoint `json:"authorization,omitempty"`

	// token is the token endpoint (RFC 6749 section 3.2).
	// +required
	Token Endpoint `json:"token,omitempty"`

	// revocation is the revocation endpoint (RFC 7009), for accounts with deletionPolicy Revoke. Default: none.
	// +optional
	Revocation Endpoint `json:"revocation,omitempty"`
}

// PKCE says whether a code is bound to whoever asked for it (RFC 7636).
//
// +kubebuilder:validation:Enum=S256;None
type PKCE string

const (
	// PKCES256 sends a code challenge, with a new verifier for each attempt.
	PKCES256 PKCE = "S256"
	// PKCENone sends none, for providers that refuse it.
	PKCENone PKCE = "None"
)

// AuthorizationRequest is how a person is sent to the authorization endpoint.
//
// +kubebuilder:validation:MinProperties=1
type AuthorizationRequest struct {
	// pkce says whether the code is bound to whoever asked for it (RFC 7636). Default: S256.
	// +optional
	PKCE PKCE `json:"pkce,omitempty"`

	// scopeSeparator stands between two scopes: a space, a comma or a plus sign. Default: a space.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1
	// +kubebuilder:validation:XValidation:rule="self in [' ', ',', '+']",message="write a space, a comma or a plus sign"
	ScopeSeparator string `json:"scopeSeparator,omitempty"`

	// parameters are sent besides those of the standard. A name may come more than once.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Parameters []AuthorizationParameter `json:"parameters,omitempty"`
}

// AuthorizationParameter is one parameter of an authorization request.
type AuthorizationParameter struct {
	// name is the parameter's name. Those that the operator sends itself are refused.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[]A-Za-z0-9._~[-]+$')",message="write the name of a parameter: letters, digits, '-', '.', '_', '~' and brackets"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(?i)^(client_id|client_secret|code|code_challenge|code_challenge_method|code_verifier|redirect_uri|request|request_uri|response_mode|response_type|scope|state)$')",message="the operator sends this parameter itself, or must not send it: remove it",reason=FieldValueForbidden
	Name string `json:"name,omitempty"`

	// value is the parameter's value. It is no place for a secret: whoever follows the link sees it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ -~]+$')",message="write printable ASCII"
	Value string `json:"value,omitempty"`
}

// AuthorizationResponse is what is taken out of a callback besides the code.
//
// +kubebuilder:validation:MinProperties=1
type AuthorizationResponse struct {
	// capture lists fields of the callback's query that become keys of the token Secret, such as a realmId. They come through
	// a person's browser, and are what that sends: nobody vouches for them.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Capture []CallbackCapture `json:"capture,omitempty"`
}

// CapturedKey is a key of the token Secret that holds a captured value.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:XValidation:rule=`self.matches(r'^([-\w]|\.[-\w])[-.\w]*$')`,message="the key must be one of a Secret: letters, digits, '-', '_' and '.'"
// +kubebuilder:validation:XValidation:rule="!(self in ['access_token', 'token_type', 'expires_at', 'scope', 'authorization', 'headers', 'on_behalf_of'])",message="access_token, token_type, expires_at, scope, authorization, headers and on_behalf_of are there without it and cannot be replaced: write another key"
type CapturedKey string

// CallbackCapture is a field of the callback's query that becomes a key of the token Secret.
type CallbackCapture struct {
	// name is the field's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-A-Za-z0-9._~]+$')",message="write the name of a field: letters, digits, '-', '.', '_' and '~'"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(?i)^(access_token|code|error|error_description|error_uri|id_token|iss|refresh_token|response|state|token_type)$')",message="this field has a meaning of its own in every callback: remove it",reason=FieldValueForbidden
	Name string `json:"name,omitempty"`

	// key is the key of the token Secret.
	// +required
	Key CapturedKey `json:"key,omitempty"`
}

// AuthenticationMethod is how a client proves who it is.
//
// +kubebuilder:validation:Enum=ClientSecretPost;ClientSecretBasic
type AuthenticationMethod string

const (
	// ClientSecretPost sends client id and secret in the request's body (RFC 6749 section 2.3.1).
	ClientSecretPost AuthenticationMethod = "ClientSecretPost"
	// ClientSecretBasic sends client id and secret in the Authorization header (RFC 6749 section 2.3.1).
	ClientSecretBasic AuthenticationMethod = "ClientSecretBasic"
)

// BasicEncoding is how client id and secret are written before they are joined for the Authorization header.
//
// +kubebuilder:validation:Enum=RFC6749;Raw
type BasicEncoding string

const (
	// BasicEncodingRFC6749 form-encodes both first, as RFC 6749 section 2.3.1 says.
	BasicEncodingRFC6749 BasicEncoding = "RFC6749"
	// BasicEncodingRaw takes both as they are, as many servers expect.
	BasicEncodingRaw BasicEncoding = "Raw"
)

// Authentication is how a client proves who it is to the token endpoint. It is a union, discriminated by method.
//
// +kubebuilder:validation:XValidation:rule="!(self.method in ['ClientSecretPost','ClientSecretBasic']) || has(self.clientSecretRef)",message="with this method, write the name of the Secret and the key that hold the client secret",reason=FieldValueRequired,fieldPath=".clientSecretRef"
// +kubebuilder:validation:XValidation:rule="!has(self.basicEncoding) || self.method == 'ClientSecretBasic'",message="remove it, or write method: ClientSecretBasic",reason=FieldValueForbidden,fieldPath=".basicEncoding"
type Authentication struct {
	// method is the way; it decides which of the other fields are set.
	// +required
	// +unionDiscriminator
	Method AuthenticationMethod `json:"method,omitempty"`

	// clientSecretRef names the client secret, for ClientSecretPost and ClientSecretBasic.
	// +optional
	ClientSecretRef SecretKeyReference `json:"clientSecretRef,omitzero"`

	// basicEncoding says how id and secret are written for ClientSecretBasic. Default: RFC6749.
	// +optional
	BasicEncoding BasicEncoding `json:"basicEncoding,omitempty"`
}

// BodyFormat is the format of a token request's body.
//
// +kubebuilder:validation:Enum=Form;JSON
type BodyFormat string

const (
	// BodyFormatForm is application/x-www-form-urlencoded, the standard's.
	BodyFormatForm BodyFormat = "Form"
	// BodyFormatJSON is application/json, an object of strings.
	BodyFormatJSON BodyFormat = "JSON"
)

// SendScope says in which token requests the scope parameter is sent.
//
// +kubebuilder:validation:Enum=Standard;Always;Never
type SendScope string

const (
	// SendScopeStandard sends it where the standard has it and it is needed: with client credentials.
	SendScopeStandard SendScope = "Standard"
	// SendScopeAlways sends it in every token request.
	SendScopeAlways SendScope = "Always"
	// SendScopeNever sends it in none.
	SendScopeNever SendScope = "Never"
)

// TokenRequest is how a token request is written.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.bodyFormat) || self.bodyFormat != 'JSON' || !has(self.parameters) || self.parameters.all(each, self.parameters.exists_one(other, other.name == each.name))",message="a JSON object has each name once: write one value for it, or bodyFormat: Form, which can repeat a name",fieldPath=".parameters"
type TokenRequest struct {
	// bodyFormat is the format of the body. Default: Form.
	// +optional
	BodyFormat BodyFormat `json:"bodyFormat,omitempty"`

	// sendScope says in which requests scope is sent. Default: Standard.
	// +optional
	SendScope SendScope `json:"sendScope,omitempty"`

	// timeoutSeconds is how many seconds one token request may take, from the first packet to the last. Default: 30.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=30
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`

	// parameters are sent in the body of every token request, besides those of the standard: an audience, or the resource of
	// RFC 8707. A name may come more than once in a form, and once in JSON, where each value is a text. Default: none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Parameters []TokenParameter `json:"parameters,omitempty"`
}

// A name is refused as well if a server might read it as one of the standard's: some take '.' and '[' for '_', and what is
// in brackets for part of the value.

// TokenParameter is one parameter of a token request.
type TokenParameter struct {
	// name is the parameter's name. Those of the standard, which the operator sends itself or must not send, are refused.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[]A-Za-z0-9._~[-]+$')",message="write the name of a parameter, such as audience: letters, digits, '-', '.', '_', '~' and brackets"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(?i)^(client[._[]id|client[._[]secret|client[._[]assertion|client[._[]assertion[._[]type)([[].*)?$')",message="the operator names the client itself: write clientID, and authentication with its Secret, and remove it here",reason=FieldValueForbidden
	// +kubebuilder:validation:XValidation:rule="!self.matches('(?i)^scope([[].*)?$')",message="scopes are written in scopes of client and account, and tokenRequest.sendScope says when they are sent: remove it here",reason=FieldValueForbidden
	// +kubebuilder:validation:XValidation:rule="!self.matches('(?i)^(grant[._[]type|code|code[._[]verifier|redirect[._[]uri|refresh[._[]token)([[].*)?$')",message="the operator sends this parameter itself, by the account's grant: remove it",reason=FieldValueForbidden
	// +kubebuilder:validation:XValidation:rule="!self.matches('(?i)^(username|password|assertion|device[._[]code|subject[._[]token|subject[._[]token[._[]type|actor[._[]token|actor[._[]token[._[]type|requested[._[]token[._[]type|access[._[]token)([[].*)?$')",message="this is a parameter of another grant, or a secret, and neither can be sent: remove it",reason=FieldValueForbidden
	Name string `json:"name,omitempty"`

	// value is the parameter's value. It is no place for a secret: whoever may read the client sees it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ -~]+$')",message="write printable ASCII"
	Value string `json:"value,omitempty"`
}

// Pointer names a value in a JSON answer (RFC 6901). A token, or the client secret, cannot be named: they have places of
// their own.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="self.matches('^(/([ -.0-}]|~[01])*)+$')",message="write a JSON pointer (RFC 6901), such as /instance_url or /team/id"
// +kubebuilder:validation:XValidation:rule="!self.matches('(?i)/[^/]*(access_token|refresh_token|id_token|client_secret)$')",message="a token or a secret is not captured: write the pointer of something else",reason=FieldValueForbidden
type Pointer string

// TokenResponse is what is taken out of the answer to a token request besides the tokens.
//
// +kubebuilder:validation:MinProperties=1
type TokenResponse struct {
	// capture lists values of the answer that become keys of the token Secret, such as /instance_url.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Capture []AnswerCapture `json:"capture,omitempty"`

	// identity says where the answer names whose access it is. An access that is another person's or account's than before
	// is then refused.
	// +optional
	Identity Identity `json:"identity,omitzero"`
}

// CaptureFormat says what a captured value must be.
//
// +kubebuilder:validation:Enum=Text;URL
type CaptureFormat string

const (
	// CaptureText is a text, a number or a boolean, in printable ASCII.
	CaptureText CaptureFormat = "Text"
	// CaptureURL is an https URL.
	CaptureURL CaptureFormat = "URL"
)

// AnswerCapture is a value of the answer that becomes a key of the token Secret. The operator itself never calls what is in it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.hosts) || (has(self.format) && self.format == 'URL')",message="only a URL has a host: remove it, or write format: URL",reason=FieldValueForbidden,fieldPath=".hosts"
type AnswerCapture struct {
	// pointer names the value.
	// +required
	Pointer Pointer `json:"pointer,omitempty"`

	// key is the key of the token Secret.
	// +required
	Key CapturedKey `json:"key,omitempty"`

	// format says what the value must be; what is not is left out. Default: Text.
	// +optional
	Format CaptureFormat `json:"format,omitempty"`

	// hosts are those that a URL may name, where *.example.com stands for all below it. Default: any but an IP address.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Hosts []CaptureHost `json:"hosts,omitempty"`
}

// CaptureHost is a host that a captured URL may name.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^([*][.])?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="write a host in lower case without a port, such as api.example.com or *.example.com"
type CaptureHost string

// Identity says where an answer names whose access it is.
type Identity struct {
	// pointer names the value, such as /account_id.
	// +required
	Pointer Pointer `json:"pointer,omitempty"`
}

// AccessTokens says what is known of a provider's access tokens.
//
// +kubebuilder:validation:MinProperties=1
type AccessTokens struct {
	// defaultLifetimeSeconds is how many seconds a token is good for when the answer does not say. Default: no expiry is assumed.
	// +optional
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=315360000
	DefaultLifetimeSeconds int32 `json:"defaultLifetimeSeconds,omitempty"`
}

// RefreshTokenUse says how often a refresh token can be used.
//
// +kubebuilder:validation:Enum=SingleUse;Reusable
type RefreshTokenUse string

const (
	// RefreshTokenSingleUse means that a refresh brings a new refresh token, and that the old one is spent.
	RefreshTokenSingleUse RefreshTokenUse = "SingleUse"
	// RefreshTokenReusable means that a refresh token stays good when it is used.
	RefreshTokenReusable RefreshTokenUse = "Reusable"
)

// RefreshTokenReuse says what the provider does with a refresh token that is used again.
//
// +kubebuilder:validation:Enum=RevokesGrant;Rejects
type RefreshTokenReuse string

const (
	// ReuseRevokesGrant means that a second use ends the whole grant, its newest tokens included (RFC 9700 section 4.14.2).
	ReuseRevokesGrant RefreshTokenReuse = "RevokesGrant"
	// ReuseRejects means that a second use is refused, and nothing else happens.
	ReuseRejects RefreshTokenReuse = "Rejects"
)

// RefreshTokens says what is known of a provider's refresh tokens. What is not declared is taken to be at its strictest.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.use) || self.use != 'Reusable' || !has(self.reuseGraceSeconds)",message="a reusable token needs no grace: remove it, or write use: SingleUse",reason=FieldValueForbidden,fieldPath=".reuseGraceSeconds"
// +kubebuilder:validation:XValidation:rule="!has(self.use) || self.use != 'Reusable' || !has(self.onReuse)",message="using a reusable token again is no offence: remove it, or write use: SingleUse",reason=FieldValueForbidden,fieldPath=".onReuse"
type RefreshTokens struct {
	// use says how often a refresh token can be used. Default: SingleUse.
	// +optional
	Use RefreshTokenUse `json:"use,omitempty"`

	// reuseGraceSeconds is for how many seconds after its use a single-use token is still taken once more, in case the
	// first answer was lost: 3 to 3600. Declare it only if the provider documents it. Default: none.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 3 && self <= 3600",message="write 3 to 3600 seconds, as the provider documents it; leave it out if there is no grace"
	ReuseGraceSeconds int32 `json:"reuseGraceSeconds,omitempty"` //nolint:kubeapilinter // the rule refuses 0, and says what to write

	// onReuse says what the provider does when a spent token is used again, after the grace if there is one. Default: RevokesGrant.
	// +optional
	OnReuse RefreshTokenReuse `json:"onReuse,omitempty"`

	// idleLifetimeSeconds is for how many seconds a refresh token is good if it is not used. The operator uses it in time,
	// whether or not a new access token is needed. Default: for ever.
	// +optional
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=315360000
	IdleLifetimeSeconds int32 `json:"idleLifetimeSeconds,omitempty"`

	// absoluteLifetimeSeconds is how many seconds after a person's consent the grant ends, however it is used. The person is
	// asked again before that. Default: never.
	// +optional
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=315360000
	AbsoluteLifetimeSeconds int32 `json:"absoluteLifetimeSeconds,omitempty"`
}

// OnBehalfOf says how a connected account is named to a provider's API.
//
// +kubebuilder:validation:MinProperties=1
type OnBehalfOf struct {
	// header is the name of the header that has the account's onBehalfOf as its value. Default: on-behalf-of.
	// +optional
	Header HeaderName `json:"header,omitempty"`
}

// TLS says whom to trust at the provider's end.
//
// +kubebuilder:validation:MinProperties=1
type TLS struct {
	// caRef names PEM certificates that are trusted instead of the system's.
	// +optional
	CARef SecretKeyReference `json:"caRef,omitzero"`
}

// NamespacesFrom says which namespaces an entry speaks of.
//
// +kubebuilder:validation:Enum=All;Selector
type NamespacesFrom string

const (
	// NamespacesFromAll means every namespace.
	NamespacesFromAll NamespacesFrom = "All"
	// NamespacesFromSelector means the namespaces whose labels match the selector.
	NamespacesFromSelector NamespacesFrom = "Selector"
)

// AllowedNamespaces lets accounts of other namespaces use a client. It is a union, discriminated by from.
//
// +kubebuilder:validation:XValidation:rule="self.from != 'Selector' || has(self.selector)",message="with from: Selector, write which labels select a namespace, such as matchLabels: {team: shop}",reason=FieldValueRequired,fieldPath=".selector"
// +kubebuilder:validation:XValidation:rule="self.from == 'Selector' || !has(self.selector)",message="remove it, or write from: Selector",reason=FieldValueForbidden,fieldPath=".selector"
// +kubebuilder:validation:XValidation:rule="!has(self.selector) || (has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0) || (has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0)",message="an empty selector would select every namespace: write matchLabels or matchExpressions, or from: All if all are meant",fieldPath=".selector"
type AllowedNamespaces struct {
	// from says which namespaces the entry speaks of.
	// +required
	// +unionDiscriminator
	From NamespacesFrom `json:"from,omitempty"`

	// selector selects namespaces by their labels, for from: Selector.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// grants lists the grants that are allowed. Default: those that act for a person who consented, so AuthorizationCode;
	// ClientCredentials, which hands out the client owner's own access, must be named.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Grants []GrantType `json:"grants,omitempty"`

	// scopes lists the scopes that are allowed, within the client's own. Accounts in other namespaces must list theirs. Default: none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	Scopes []Scope `json:"scopes,omitempty"`
}

// OAuthClientStatus is what the operator found.
//
// +kubebuilder:validation:MinProperties=1
type OAuthClientStatus struct {
	// conditions are Ready, Accepted and ResolvedRefs, and Reconciling or Stalled while one is True.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that the conditions speak of; -1 before the operator has looked.
	// +optional
	// +kubebuilder:validation:Minimum=-1
	ObservedGeneration *int64 `json:"observedGeneration,omitempty"`

	// redirectURI is what to register at the provider as this client's redirect URI, exactly as it is written here. Absent:
	// the client has no authorization endpoint, or the operator no --consent-url.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	RedirectURI string `json:"redirectURI,omitempty"`

	// clientID is the client identifier as the Secret that spec.clientIDRef names holds it: the consent pages, which read no
	// Secrets, send a person on with it. Absent where spec.clientID says it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	ClientID string `json:"clientID,omitempty"`
}
