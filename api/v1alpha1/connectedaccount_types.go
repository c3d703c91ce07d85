package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConnectedAccount is one granted access: the operator keeps a Secret with a fresh access token for it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=connacct,categories=oauth
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Client",type=string,JSONPath=`.spec.clientRef.name`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expirationTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ConnectedAccount struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the access that is wanted.
	// +required
	Spec ConnectedAccountSpec `json:"spec,omitzero"`

	// status is what the operator keeps and found.
	// +optional
	// +kubebuilder:default={observedGeneration:-1}
	Status ConnectedAccountStatus `json:"status,omitzero"`
}

// ConnectedAccountList is a list of accounts.
//
// +kubebuilder:object:root=true
type ConnectedAccountList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard list's metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items are the accounts.
	Items []ConnectedAccount `json:"items"`
}

// ConnectedAccountSpec is the access that is wanted.
//
// +kubebuilder:validation:XValidation:rule="!has(self.importRefreshTokenRef) || self.grant.type == 'AuthorizationCode'",message="only the grant AuthorizationCode has a refresh token: remove it, or write grant.type: AuthorizationCode",reason=FieldValueForbidden,fieldPath=".importRefreshTokenRef"
// +kubebuilder:validation:XValidation:rule="has(self.clientRef) || self.grant.type == 'APIKey'",message="write the name of the OAuthClient to use, as clientRef.name",reason=FieldValueRequired,fieldPath=".clientRef"
// +kubebuilder:validation:XValidation:rule="!has(self.clientRef) || self.grant.type != 'APIKey'",message="an API key needs no OAuthClient: remove it",reason=FieldValueForbidden,fieldPath=".clientRef"
// +kubebuilder:validation:XValidation:rule="!has(self.scopes) || self.grant.type != 'APIKey'",message="an API key can do what it could when the provider gave it: remove it",reason=FieldValueForbidden,fieldPath=".scopes"
// +kubebuilder:validation:XValidation:rule="!has(self.refreshBeforeSeconds) || self.grant.type != 'APIKey'",message="an API key is not refreshed: remove it",reason=FieldValueForbidden,fieldPath=".refreshBeforeSeconds"
// +kubebuilder:validation:XValidation:rule="!has(self.suspend) || !self.suspend || self.grant.type != 'APIKey'",message="with an API key there are no token requests to hold back: remove it",reason=FieldValueForbidden,fieldPath=".suspend"
// +kubebuilder:validation:XValidation:rule="!has(self.onBehalfOfHeader) || self.grant.type == 'APIKey'",message="with this grant the OAuthClient names the header, in its spec.onBehalfOf.header: remove it here",reason=FieldValueForbidden,fieldPath=".onBehalfOfHeader"
// +kubebuilder:validation:XValidation:rule="!has(self.onBehalfOfHeader) || has(self.onBehalfOf)",message="the header is written only where onBehalfOf says what is in it: write that too, or remove this",reason=FieldValueForbidden,fieldPath=".onBehalfOfHeader"
// +kubebuilder:validation:XValidation:rule=`has(self.onBehalfOf) || !has(self.secret) || !has(self.secret.data) || self.secret.data.all(key, !self.secret.data[key].replace('$$', "").matches(r'\$\(on_behalf_of[).]'))`,message="spec.secret.data refers to on_behalf_of: write it here, or remove the reference",reason=FieldValueRequired,fieldPath=".onBehalfOf"
// +kubebuilder:validation:XValidation:rule="!has(self.expectedIdentity) || self.grant.type == 'AuthorizationCode'",message="only with the grant AuthorizationCode there is a person whose access it is: remove it",reason=FieldValueForbidden,fieldPath=".expectedIdentity"
// +kubebuilder:validation:XValidation:rule="!has(self.consent) || self.grant.type == 'AuthorizationCode'",message="only the grant AuthorizationCode needs somebody's consent: remove it",reason=FieldValueForbidden,fieldPath=".consent"
// +kubebuilder:validation:XValidation:rule="!has(self.deletionPolicy) || self.deletionPolicy != 'Revoke' || self.grant.type == 'AuthorizationCode'",message="only the grant AuthorizationCode leaves something to revoke: remove it, or write Retain",reason=FieldValueForbidden,fieldPath=".deletionPolicy"
type ConnectedAccountSpec struct {
	// clientRef names the OAuthClient to use. Required, but with the grant APIKey, which has none.
	// +optional
	ClientRef ClientReference `json:"clientRef,omitzero"`

	// grant is how the access is obtained.
	// +required
	Grant Grant `json:"grant,omitzero"`

	// scopes are the scopes to ask for, a subset of the client's. Default: all of the client's, for an account in the
	// client's own namespace.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	Scopes []Scope `json:"scopes,omitempty"`

	// onBehalfOf names the connected account at the provider for which the token is used: it is published beside the
	// token, as a header. The OAuthClient says which, in spec.onBehalfOf.header.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]+$')",message="write printable ASCII without spaces or line breaks: it becomes the value of a header"
	OnBehalfOf string `json:"onBehalfOf,omitempty"`

	// onBehalfOfHeader is the name of the header that has onBehalfOf as its value, for the grant APIKey, where no
	// OAuthClient says it. Default: on-behalf-of.
	// +optional
	OnBehalfOfHeader HeaderName `json:"onBehalfOfHeader,omitempty"`

	// refreshBeforeSeconds is how many seconds before its expiry the token is refreshed. Default: the client's.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2592000
	RefreshBeforeSeconds int32 `json:"refreshBeforeSeconds,omitempty"`

	// secret is the Secret that the token is written into. Default: a Secret of the account's name.
	// +optional
	Secret TokenSecret `json:"secret,omitzero"`

	// importRefreshTokenRef names a refresh token that was obtained elsewhere, whose grant this account takes over. Each
	// value is imported once, by one account; whoever had it before must not use it any more. The Secret must name, in
	// its annotation oauth-operator.dev/hosts, the hosts that may receive the token.
	// +optional
	ImportRefreshTokenRef SecretKeyReference `json:"importRefreshTokenRef,omitzero"`

	// expectedIdentity is whose access is wanted, as the provider names it: that of anybody else is refused. The OAuthClient says
	// where the name is, in spec.tokenResponse.identity. Default: whoever consents first, and nobody else after that.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[ -~]+$')",message="write it in printable ASCII, as the provider does"
	ExpectedIdentity string `json:"expectedIdentity,omitempty"`

	// consent says how a person consents, for the grant AuthorizationCode.
	// +optional
	Consent Consent `json:"consent,omitzero"`

	// deletionPolicy says what becomes of the grant when the account is deleted. Default: Retain.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// suspend holds back token requests while it is true. The Secret is kept as it is until its token expires.
	// +optional
	Suspend bool `json:"suspend,omitempty"` //nolint:kubeapilinter // absent and false mean the same
}

// ConsentApproval says whether what a person consented to is used at once.
//
// +kubebuilder:validation:Enum=NotRequired;Required
type ConsentApproval string

const (
	// ApprovalNotRequired publishes the token at once.
	ApprovalNotRequired ConsentApproval = "NotRequired"
	// ApprovalRequired keeps the token unpublished until somebody has approved of whose it is, by an annotation.
	ApprovalRequired ConsentApproval = "Required"
)

// ConsentLink says when status.authorizationURL is there.
//
// +kubebuilder:validation:Enum=WhenNeeded;Always;Never
type ConsentLink string

const (
	// LinkWhenNeeded offers a link while a person is needed.
	LinkWhenNeeded ConsentLink = "WhenNeeded"
	// LinkAlways offers one while the account works, too, so that a person can authorize anew.
	LinkAlways ConsentLink = "Always"
	// LinkNever offers none: the refresh token is imported.
	LinkNever ConsentLink = "Never"
)

// Consent says how a person consents.
//
// +kubebuilder:validation:MinProperties=1
type Consent struct {
	// approval says whether what a person consented to is used at once. Default: NotRequired.
	// +optional
	Approval ConsentApproval `json:"approval,omitempty"`

	// link says when status.authorizationURL is there. Default: WhenNeeded.
	// +optional
	Link ConsentLink `json:"link,omitempty"`
}

// DeletionPolicy says what becomes of a grant when its account is deleted.
//
// +kubebuilder:validation:Enum=Retain;Revoke
type DeletionPolicy string

const (
	// DeletionRetain leaves it as it is at the provider.
	DeletionRetain DeletionPolicy = "Retain"
	// DeletionRevoke revokes it at the client's revocation endpoint (RFC 7009), for two minutes at most.
	DeletionRevoke DeletionPolicy = "Revoke"
)

// ClientReference names an OAuthClient.
type ClientReference struct {
	// name is the client's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="name must be the name of an OAuthClient: lower case letters, digits, '-' and '.' (its namespace goes into clientRef.namespace)"
	Name string `json:"name,omitempty"`

	// namespace is the client's namespace. Default: the account's own.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="namespace must be the name of a namespace: lower case letters, digits and '-'"
	Namespace string `json:"namespace,omitempty"`
}

// Grant is how an access is obtained. It is a union, discriminated by type.
//
// +kubebuilder:validation:XValidation:rule="self.type == oldSelf.type",message="the type of a grant cannot be changed: delete the account and create it again",fieldPath=".type"
// +kubebuilder:validation:XValidation:rule="self.type != 'APIKey' || has(self.apiKeyRef)",message="with this grant, write the name of the Secret and the key that hold the API key",reason=FieldValueRequired,fieldPath=".apiKeyRef"
// +kubebuilder:validation:XValidation:rule="!has(self.apiKeyRef) || self.type == 'APIKey'",message="only the grant APIKey has an API key: remove it, or write type: APIKey",reason=FieldValueForbidden,fieldPath=".apiKeyRef"
type Grant struct {
	// type is the grant; it decides which of the other fields are set.
	// +required
	// +unionDiscriminator
	Type GrantType `json:"type,omitempty"`

	// apiKeyRef names the API key, for APIKey. It is published into the token Secret as it is, and follows its Secret.
	// +optional
	APIKeyRef SecretKeyReference `json:"apiKeyRef,omitzero"`
}

// SecretType is the type of a token Secret.
//
// +kubebuilder:validation:Enum=Opaque;kubernetes.io/dockerconfigjson;kubernetes.io/basic-auth
type SecretType string

const (
	// SecretTypeOpaque is the type of Secrets with keys of any name.
	SecretTypeOpaque SecretType = "Opaque"
	// SecretTypeDockerConfigJSON is the type of Secrets that a pod names in imagePullSecrets. It needs the key .dockerconfigjson.
	SecretTypeDockerConfigJSON SecretType = "kubernetes.io/dockerconfigjson"
	// SecretTypeBasicAuth is the type of Secrets with the keys username and password.
	SecretTypeBasicAuth SecretType = "kubernetes.io/basic-auth"
)

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
type LabelValue string

// AnnotationValue is the value of an annotation.
//
// +kubebuilder:validation:MaxLength=4096
type AnnotationValue string

// SecretText is a text with references to the values of a token Secret: $(access_token), or $(access_token.json) where it
// has to be escaped. It holds nothing secret itself.
//
// +kubebuilder:validation:MaxLength=4096
// +kubebuilder:validation:XValidation:rule=`self.matches(r'^([^$]|\$\$|\$\(\w+(\.(json|base64|url|sh))?\)|\$[^$(])*\$?$')`,message="each $( must begin a reference: write $(name), $(name.json), $(name.base64), $(name.url) or $(name.sh), and $$( for the characters themselves"
// +kubebuilder:validation:XValidation:rule=`!self.replace('$$', "").matches(r"^([^']*'[^']*')*[^']*\$\(\w+\.sh\)")`,message="$(name.sh) must stand between single quotes, or a shell could run what is in it: write '$(access_token.sh)'"
// +kubebuilder:validation:XValidation:rule=`!self.replace('$$', "").replace(r'\\', "").replace(r'\"', "").matches(r'^([^"]*"[^"]*")*[^"]*\$\(\w+\.json\)')`,message="$(name.json) must stand between double quotes: write \"$(access_token.json)\""
type SecretText string

// TokenSecret is the Secret that a token is written into.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'kubernetes.io/dockerconfigjson' || has(self.data) && '.dockerconfigjson' in self.data",message="with this type, write the key .dockerconfigjson: '{\"auths\":{\"registry.example\":{\"auth\":\"$(login.base64)\"}}}', and the key login: user:$(access_token)",reason=FieldValueRequired,fieldPath=".data"
// +kubebuilder:validation:XValidation:rule=`!has(self.type) || self.type != 'kubernetes.io/dockerconfigjson' || !has(self.data) || !('.dockerconfigjson' in self.data) || !self.data['.dockerconfigjson'].replace('$$', "").matches(r'\$\(\w+(\.(sh|url))?\)')`,message="with this type, .dockerconfigjson must be JSON with every token: write $(name.json) or $(name.base64) in it",fieldPath=".data"
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'kubernetes.io/basic-auth' || has(self.data) && 'username' in self.data && 'password' in self.data",message="with this type, write the keys username and password: the name that the server wants, and $(access_token)",reason=FieldValueRequired,fieldPath=".data"
type TokenSecret struct {
	// name is the Secret's name. Default: the account's name. When it changes, the old Secret is removed once the new one is written.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="name must be a name for a Secret: lower case letters, digits, '-' and '.'"
	Name string `json:"name,omitempty"`

	// type is the Secret's type. Default: Opaque. When it changes, the Secret is replaced.
	// +optional
	Type SecretType `json:"type,omitempty"`

	// data are further keys of the Secret, for what reads the token in a form of its own. In each value, $(name) stands for
	// the default key of that name, or for another key of data that has only default keys in it; $(name.json) for its value
	// as it is written between double quotes, $(name.base64) in base64, $(name.url) percent-encoded, $(name.sh) as it is
	// written between single quotes in a shell; and $$( for the characters themselves. A value that is absent is empty. What
	// can become larger than 512 KiB, with a token of 16 KiB, is not written.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule=`self.all(key, key.size() <= 253 && key.matches(r'^([-\w]|\.[-\w])[-.\w]*$'))`,message="each key must be one of a Secret: letters, digits, '-', '_' and '.', at most 253 of them, and not '..' at the beginning"
	// +kubebuilder:validation:XValidation:rule="self.all(key, !(key in ['access_token', 'token_type', 'expires_at', 'scope', 'authorization', 'headers', 'on_behalf_of']))",message="access_token, token_type, expires_at, scope, authorization, headers and on_behalf_of are there without it and cannot be replaced: write another key"
	// +kubebuilder:validation:XValidation:rule=`self.all(key, self[key].replace('$$', '').findAll(r'\$\(\w+').all(name, name in ['$(access_token', '$(token_type', '$(expires_at', '$(scope', '$(authorization', '$(headers', '$(on_behalf_of'] || name.substring(2) in self))`,message="there is a reference to a key that is not there: write access_token, token_type, expires_at, scope, authorization, headers or on_behalf_of, or the name of another key of data"
	// +kubebuilder:validation:XValidation:rule=`self.all(key, !self[key].replace('$$', '').findAll(r'\$\(\w+').exists(name, name.substring(2) in self) || self.all(other, !(('$(' + key) in self[other].replace('$$', '').findAll(r'\$\(\w+'))))`,message="a key of data that others refer to cannot refer to one itself: write only access_token, token_type, expires_at, scope, authorization, headers and on_behalf_of into it"
	Data map[string]SecretText `json:"data,omitempty"`

	// labels are set on the Secret. Those of kubernetes.io, k8s.io and oauth-operator.dev are reserved.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|oauth-operator[.]dev)/'))",message="labels of kubernetes.io, k8s.io and oauth-operator.dev, as of the domains below them, are reserved: write a key of another domain, or without one"
	// +kubebuilder:validation:XValidation:rule="self.all(key, key.size() <= 317 && !format.qualifiedName().validate(key).hasValue() && !format.labelValue().validate(self[key]).hasValue())",message="each label must have a valid key and value: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
	Labels map[string]LabelValue `json:"labels,omitempty"`

	// annotations are set on the Secret. Those of kubernetes.io, k8s.io and oauth-operator.dev are reserved.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|oauth-operator[.]dev)/'))",message="annotations of kubernetes.io, k8s.io and oauth-operator.dev, as of the domains below them, are reserved: write a key of another domain, or without one"
	// +kubebuilder:validation:XValidation:rule="self.all(key, key.size() <= 317 && !format.qualifiedName().validate(key.lowerAscii()).hasValue())",message="each annotation must have a valid key: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
	Annotations map[string]AnnotationValue `json:"annotations,omitempty"`
}

// ConnectedAccountStatus is what the operator keeps and found. Decisions are made from sealedCredential; the plain
// fields beside it are for people.
//
// +kubebuilder:validation:MinProperties=1
type ConnectedAccountStatus struct {
	// conditions are Ready, ClientReady, Authorized, Refreshed and Published, and Reconciling or Stalled while one is True.
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

	// sealedCredential is the credential, encrypted for this account by the operator's keyring. It is the only home of the tokens.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=524288
	SealedCredential string `json:"sealedCredential,omitempty"`

	// boundTo says what sealedCredential was sealed for.
	// +optional
	BoundTo BoundTo `json:"boundTo,omitzero"`

	// scopes are the scopes of the token, as the server granted them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	Scopes []Scope `json:"scopes,omitempty"`

	// expirationTime is when the token expires; absent while there is no token, or one without a known expiry.
	// +optional
	ExpirationTime *metav1.Time `json:"expirationTime,omitempty"`

	// nextRefreshTime is when the token will be refreshed.
	// +optional
	NextRefreshTime *metav1.Time `json:"nextRefreshTime,omitempty"`

	// lastRefreshTime is when the token was obtained.
	// +optional
	LastRefreshTime *metav1.Time `json:"lastRefreshTime,omitempty"`

	// rotations counts the tokens that this account has had; absent before the first.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Rotations int64 `json:"rotations,omitempty"`

	// failures describes the token requests that failed since the last one that worked.
	// +optional
	Failures Failures `json:"failures,omitzero"`

	// onBehalfOfHeader is the header's name that the client last said, unless it is on-behalf-of: it is kept while the
	// client is not there to say it.
	// +optional
	OnBehalfOfHeader HeaderName `json:"onBehalfOfHeader,omitempty"`

	// claim is the record of a refresh token that is about to be spent: written before the token request is sent, and
	// there until what it brought is kept, or until it is certain that it brought nothing.
	// +optional
	Claim Claim `json:"claim,omitzero"`

	// claimSequence counts the claims that this account has had. It never goes back.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ClaimSequence int64 `json:"claimSequence,omitempty"`

	// doubtSequence is the claimSequence at which the outcome of a token request was last in doubt; absent: no doubt stands.
	// +optional
	// +kubebuilder:validation:Minimum=1
	DoubtSequence int64 `json:"doubtSequence,omitempty"`

	// authorizationURL is the link that a person follows to consent. It stays the same while a person is needed, for a week at
	// least; whoever has it can consent for this account, with an access of their own.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	AuthorizationURL string `json:"authorizationURL,omitempty"`

	// identity is whose access it is, as the provider names it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Identity string `json:"identity,omitempty"`

	// consentDueTime is when the grant ends and the person must have consented again; absent: it is not known to end.
	// +optional
	ConsentDueTime *metav1.Time `json:"consentDueTime,omitempty"`

	// authorization is what passes between the consent server and the operator while a person consents.
	// +optional
	Authorization Authorization `json:"authorization,omitzero"`
}

// Authorization is what passes between the consent server and the operator. The consent server writes handOver, usedStates
// and denial, and the operator all else.
//
// +kubebuilder:validation:MinProperties=1
type Authorization struct {
	// attempt is the number of the consent that authorizationURL is for. A link with another number is good for nothing.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Attempt int64 `json:"attempt,omitempty"`

	// handOver is an authorization code that waits to be exchanged.
	// +optional
	HandOver HandOver `json:"handOver,omitzero"`

	// usedStates are hashes of the states that were used up by a callback, the newest last.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	UsedStates []StateHash `json:"usedStates,omitempty"`

	// denial is the provider's no, as the callback brought it.
	// +optional
	Denial AuthorizationDenial `json:"denial,omitzero"`

	// failures count the attempts that came to nothing within an hour.
	// +optional
	Failures ConsentFailures `json:"failures,omitzero"`

	// exchange is the record of a code that is about to be exchanged: written before the token request is sent, and there
	// until what it brought is kept, or until it is given up.
	// +optional
	Exchange CodeClaim `json:"exchange,omitzero"`

	// lastOutcome is what came of the last attempt.
	// +optional
	LastOutcome AuthorizationOutcome `json:"lastOutcome,omitzero"`

	// inDoubtTime is when it was last found that nobody knows what came of a code. The refresh token of before is not used for
	// two minutes from then, whatever came of later attempts.
	// +optional
	InDoubtTime *metav1.Time `json:"inDoubtTime,omitempty"`
}

// StateHash is a hash of the state of an attempt, in base64url.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=64
type StateHash string

// HandOver is an authorization code on its way from the consent server to the operator, which alone can open it.
//
// +kubebuilder:validation:MinProperties=1
type HandOver struct {
	// id is random.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`

	// sealed is the code, encrypted to the operator.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32768
	Sealed string `json:"sealed,omitempty"`

	// sealedVerifier is the code verifier (RFC 7636), encrypted to the operator; absent without PKCE.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	SealedVerifier string `json:"sealedVerifier,omitempty"`

	// stateHash is the hash of the state that the code came with.
	// +optional
	StateHash StateHash `json:"stateHash,omitempty"`

	// clientUID is the UID of the OAuthClient that the code was asked for with.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ClientUID string `json:"clientUID,omitempty"`

	// clientID is the client identifier that the code was asked for with.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	ClientID string `json:"clientID,omitempty"`

	// redirectURI is the redirect URI that the code was asked for with.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	RedirectURI string `json:"redirectURI,omitempty"`

	// host is the host, with port, of the token endpoint when the code was asked for; absent: not known.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Host string `json:"host,omitempty"`

	// attempt is the number of the consent that it was asked for in.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Attempt int64 `json:"attempt,omitempty"`

	// handedOverTime is when it was handed over. After ten minutes it is dropped.
	// +optional
	HandedOverTime *metav1.Time `json:"handedOverTime,omitempty"`
}

// AuthorizationDenial is a provider's no to an authorization request.
//
// +kubebuilder:validation:MinProperties=1
type AuthorizationDenial struct {
	// code is the error code, if it is one of the standard (RFC 6749 section 4.1.2.1), else unrecognised.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Code string `json:"code,omitempty"`

	// stateHash is the hash of the state that it came with.
	// +optional
	StateHash StateHash `json:"stateHash,omitempty"`

	// deniedTime is when it came.
	// +optional
	DeniedTime *metav1.Time `json:"deniedTime,omitempty"`
}

// ConsentFailures count the attempts that came to nothing within an hour.
//
// +kubebuilder:validation:MinProperties=1
type ConsentFailures struct {
	// count is how many there were. After five, the next one waits until the hour is over.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Count int32 `json:"count,omitempty"`

	// windowStartTime is when the hour began, with the first of them.
	// +optional
	WindowStartTime *metav1.Time `json:"windowStartTime,omitempty"`
}

// CodeClaim says that an authorization code is about to be exchanged, by whom, and for how long others leave it to them. It
// is never taken over: a code is sent once.
//
// +kubebuilder:validation:MinProperties=1
type CodeClaim struct {
	// id is random, and known to the process that made the claim before it is written.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`

	// sequence is the claimSequence of the claim.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Sequence int64 `json:"sequence,omitempty"`

	// handOverID is the id of the hand-over whose code is exchanged.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	HandOverID string `json:"handOverID,omitempty"`

	// stateHash is the hash of the state that the code came with.
	// +optional
	StateHash StateHash `json:"stateHash,omitempty"`

	// clientUID is the OAuthClient's UID.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ClientUID string `json:"clientUID,omitempty"`

	// host is the host, with port, that receives the code.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Host string `json:"host,omitempty"`

	// durationSeconds is for how many seconds the claim is left to its holder, from when somebody else first saw it.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	DurationSeconds int32 `json:"durationSeconds,omitempty"`

	// startTime is when the code was claimed.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// holder is who made the claim.
	// +optional
	Holder ClaimHolder `json:"holder,omitzero"`
}

// AuthorizationResult is what came of an attempt.
//
// +kubebuilder:validation:Enum=Connected;ApprovalRequired;Denied;Rejected;InDoubt;SubjectChanged;Expired
type AuthorizationResult string

const (
	// AuthorizationConnected means that a new credential was kept.
	AuthorizationConnected AuthorizationResult = "Connected"
	// AuthorizationNeedsApproval means that a new credential was kept, and waits for approval.
	AuthorizationNeedsApproval AuthorizationResult = "ApprovalRequired"
	// AuthorizationWasDenied means that the provider said no before there was a code.
	AuthorizationWasDenied AuthorizationResult = "Denied"
	// AuthorizationRejected means that the provider did not give a token for the code, or none that can be used.
	AuthorizationRejected AuthorizationResult = "Rejected"
	// AuthorizationInDoubt means that nobody knows what came of the code. It is not sent again.
	AuthorizationInDoubt AuthorizationResult = "InDoubt"
	// AuthorizationSubjectChanged means that it was another person's access than expected. It was not kept.
	AuthorizationSubjectChanged AuthorizationResult = "SubjectChanged"
	// AuthorizationExpired means that the code was not exchanged in time, or not for the client as it is by now.
	AuthorizationExpired AuthorizationResult = "Expired"
)

// AuthorizationOutcome is what came of an attempt.
//
// +kubebuilder:validation:MinProperties=1
type AuthorizationOutcome struct {
	// stateHash is the hash of the attempt's state.
	// +optional
	StateHash StateHash `json:"stateHash,omitempty"`

	// result is what came of it.
	// +optional
	Result AuthorizationResult `json:"result,omitempty"`

	// identity is whose access it was, as the provider names it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Identity string `json:"identity,omitempty"`

	// reason says why it came to nothing, in the operator's words.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Reason string `json:"reason,omitempty"`

	// error is the error code with which the provider sent the person back (RFC 6749 section 4.1.2.1), or "unrecognised".
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Error string `json:"error,omitempty"`

	// outcomeTime is when it was known.
	// +optional
	OutcomeTime *metav1.Time `json:"outcomeTime,omitempty"`
}

// Claim says that the account's refresh token is about to be spent, by whom, and for how long others leave it to them.
//
// +kubebuilder:validation:MinProperties=1
type Claim struct {
	// id is random, and known to the process that made the claim before it is written.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`

	// sequence is the claimSequence of the claim.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Sequence int64 `json:"sequence,omitempty"`

	// attempt counts how often this refresh token was claimed: from 2 on, the outcome of an earlier time is in doubt.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Attempt int32 `json:"attempt,omitempty"`

	// grantSequence is the number of the grant whose refresh token is spent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	GrantSequence *int64 `json:"grantSequence,omitempty"`

	// rotation is the number of the result whose refresh token is spent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Rotation *int64 `json:"rotation,omitempty"`

	// fingerprint is a MAC of the refresh token that is spent, under the operator's keyring.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Fingerprint string `json:"fingerprint,omitempty"`

	// clientUID is the OAuthClient's UID.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ClientUID string `json:"clientUID,omitempty"`

	// host is the host, with port, that receives the refresh token.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Host string `json:"host,omitempty"`

	// durationSeconds is for how many seconds the claim is left to its holder, from when somebody else first saw it.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	DurationSeconds int32 `json:"durationSeconds,omitempty"`

	// startTime is when this refresh token was first claimed.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// holder is who made the claim.
	// +optional
	Holder ClaimHolder `json:"holder,omitzero"`

	// contestedTime is when somebody else announced to take the claim over, unless its holder finishes.
	// +optional
	ContestedTime *metav1.Time `json:"contestedTime,omitempty"`
}

// ClaimHolder is a process of the operator.
//
// +kubebuilder:validation:MinProperties=1
type ClaimHolder struct {
	// journal identifies the journal of the pod. A container that restarts in the same pod has the same.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Journal string `json:"journal,omitempty"`

	// process identifies the process.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Process string `json:"process,omitempty"`
}

// BoundTo says what a sealed credential was sealed for.
//
// +kubebuilder:validation:MinProperties=1
type BoundTo struct {
	// clusterID is the UID of the cluster's kube-system namespace.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ClusterID string `json:"clusterID,omitempty"`

	// accountUID is the UID of the account.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	AccountUID string `json:"accountUID,omitempty"`
}

// Failures describes the token requests that failed since the last one that worked.
//
// +kubebuilder:validation:MinProperties=1
type Failures struct {
	// count is how many failed in a row.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Count int32 `json:"count,omitempty"`

	// class is the error class of the last one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Class string `json:"class,omitempty"`

	// lastFailureTime is when the last one failed.
	// +optional
	LastFailureTime *metav1.Time `json:"lastFailureTime,omitempty"`

	// nextAttemptTime is the earliest time of the next one, unless what inputsHash stands for changes.
	// +optional
	NextAttemptTime *metav1.Time `json:"nextAttemptTime,omitempty"`

	// inputsHash stands for what the attempt was made with: spec, client and the versions of the client's Secrets. When
	// it changes, the next attempt need not wait.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	InputsHash string `json:"inputsHash,omitempty"`
}
