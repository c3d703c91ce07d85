package admission_test

import (
	"errors"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Each entry makes one mistake in a manifest that is accepted otherwise: the change is merged into its spec, where null
// removes. The message is all that the API server says of it; a stranger has nothing else.
var _ = DescribeTable("a manifest with a mistake is refused, and the message says what to write",
	func(ctx SpecContext, manifest, change, message string) {
		object := changed(manifest, change)
		object.SetNamespace(newNamespace(ctx))
		err := as(secretReader).Create(ctx, object)
		Expect(err).To(HaveOccurred(), "the API server should refuse:\n%s", text(object))
		Expect(complaint(err, object)).To(Equal(message))
	},
	Entry("a token endpoint without TLS", smallestClient, `endpoints: {token: "http://provider.example/oauth/token"}`,
		`spec.endpoints.token: Invalid value: "http://provider.example/oauth/token": the URL must begin with https:// (http:// is for a provider on localhost, in tests)`),
	Entry("a token endpoint that only begins like a loopback address", smallestClient, `endpoints: {token: "http://localhost.provider.example/token"}`,
		`spec.endpoints.token: Invalid value: "http://localhost.provider.example/token": the URL must begin with https:// (http:// is for a provider on localhost, in tests)`),
	Entry("a token endpoint of another scheme", smallestClient, `endpoints: {token: "ftp://provider.example/oauth/token"}`,
		`spec.endpoints.token: Invalid value: "ftp://provider.example/oauth/token": the URL must begin with https:// (http:// is for a provider on localhost, in tests)`),
	Entry("a token endpoint without a scheme", smallestClient, `endpoints: {token: provider.example/oauth/token}`,
		`spec.endpoints.token: Invalid value: "provider.example/oauth/token": write an absolute URL in ASCII, without spaces, such as https://provider.example/oauth/token or https://provider.example:8443/oauth/token`),
	Entry("a token endpoint with a space", smallestClient, `endpoints: {token: "https://provider.example/oauth /token"}`,
		`spec.endpoints.token: Invalid value: "https://provider.example/oauth /token": write an absolute URL in ASCII, without spaces, such as https://provider.example/oauth/token or https://provider.example:8443/oauth/token`),
	Entry("a token endpoint with a port that cannot be", smallestClient, `endpoints: {token: "https://provider.example:84433/oauth/token"}`,
		`spec.endpoints.token: Invalid value: "https://provider.example:84433/oauth/token": write an absolute URL in ASCII, without spaces, such as https://provider.example/oauth/token or https://provider.example:8443/oauth/token`),
	Entry("a token endpoint with a user name and password", smallestClient, `endpoints: {token: "https://me:mine@provider.example/oauth/token"}`,
		`spec.endpoints.token: Forbidden: the URL must not contain a user name or password: put the client secret into a Secret and name it in authentication.clientSecretRef`),
	Entry("a token endpoint with a fragment", smallestClient, `endpoints: {token: "https://provider.example/oauth/token#top"}`,
		`spec.endpoints.token: Invalid value: "https://provider.example/oauth/token#top": the URL must not have a fragment: remove '#' and what follows it`),
	Entry("S42 a client secret in the token endpoint's query", smallestClient, `endpoints: {token: "https://provider.example/oauth/token?v=2&client_secret=mine"}`,
		`spec.endpoints.token: Forbidden: the URL's query must not set a parameter of the token request, such as client_secret or scope: remove it, the operator sends these itself`),
	Entry("S42 a reserved name in the query in capitals, after a semicolon, without a value", smallestClient, `endpoints: {token: "https://provider.example/oauth/token?v=2;Grant_Type"}`,
		`spec.endpoints.token: Forbidden: the URL's query must not set a parameter of the token request, such as client_secret or scope: remove it, the operator sends these itself`),
	Entry("S42 a reserved name in the query, percent-encoded", smallestClient, `endpoints: {token: "https://provider.example/oauth/token?%63ode=1"}`,
		`spec.endpoints.token: Forbidden: letters, digits and '_' in the name of a query parameter must not be percent-encoded: write them as they are`),
	Entry("no endpoints", smallestClient, `endpoints: null`,
		`spec.endpoints: Required value`),
	Entry("no authentication method", smallestClient, `authentication: {method: null}`,
		`spec.authentication.method: Required value`),
	Entry("an unknown authentication method", smallestClient, `authentication: {method: client_secret_post}`,
		`spec.authentication.method: Unsupported value: "client_secret_post": supported values: "ClientSecretPost", "ClientSecretBasic"`),
	Entry("no client secret for a method that needs one", smallestClient, `authentication: {clientSecretRef: null}`,
		`spec.authentication.clientSecretRef: Required value: with this method, write the name of the Secret and the key that hold the client secret`),
	Entry("a client secret without its key", smallestClient, `authentication: {clientSecretRef: {key: null}}`,
		`spec.authentication.clientSecretRef.key: Required value`),
	Entry("a name that no Secret can have", smallestClient, `authentication: {clientSecretRef: {name: Provider_Client}}`,
		`spec.authentication.clientSecretRef.name: Invalid value: "Provider_Client": name must be the name of a Secret: lower case letters, digits, '-' and '.'`),
	Entry("a key that no Secret can have", smallestClient, `authentication: {clientSecretRef: {key: client secret}}`,
		`spec.authentication.clientSecretRef.key: Invalid value: "client secret": key must be a key of the Secret's data: letters, digits, '-', '_' and '.'`),
	Entry("basicEncoding with a method that is not Basic", smallestClient, `authentication: {basicEncoding: Raw}`,
		`spec.authentication.basicEncoding: Forbidden: remove it, or write method: ClientSecretBasic`),
	Entry("a client id with a colon, sent raw", smallestClient, `{clientID: "my:client", authentication: {method: ClientSecretBasic, basicEncoding: Raw}}`,
		`spec.clientID: Invalid value: with basicEncoding Raw the server would take what follows the colon for the secret: write basicEncoding: RFC6749, or method: ClientSecretPost`),
	Entry("a client id outside ASCII", smallestClient, `clientID: münchen`,
		`spec.clientID: Invalid value: "münchen": write it in printable ASCII, as the provider gave it (RFC 6749 appendix A.1)`),
	Entry("both clientID and clientIDRef", smallestClient, `clientIDRef: {name: provider-client, key: client_id}`,
		`spec.clientIDRef: Forbidden: clientID is set too: write one of them, not both`),
	Entry("neither clientID nor clientIDRef", smallestClient, `clientID: null`,
		`spec.clientID: Required value: write the client identifier here, or name the Secret that holds it in clientIDRef`),
	Entry("no grants", smallestClient, `grants: null`,
		`spec.grants: Required value`),
	Entry("an empty list of grants", smallestClient, `grants: []`,
		`spec.grants: Invalid value: 0: spec.grants in body should have at least 1 items`),
	Entry("an unknown grant", smallestClient, `grants: [client_credentials]`,
		`spec.grants[0]: Unsupported value: "client_credentials": supported values: "ClientCredentials", "AuthorizationCode"`),
	Entry("a grant for other namespaces that the client does not have", smallestClient, `allowedNamespaces: [{from: All, grants: [AuthorizationCode]}]`,
		`spec.allowedNamespaces: Invalid value: an entry allows a grant that is not in spec.grants: add it there, or remove it here`),
	Entry("a grace for refresh tokens that can be used again", smallestClient, `refreshTokens: {use: Reusable, reuseGraceSeconds: 60}`,
		`spec.refreshTokens.reuseGraceSeconds: Forbidden: a reusable token needs no grace: remove it, or write use: SingleUse`),
	Entry("the reuse of refresh tokens that can be used again", smallestClient, `refreshTokens: {use: Reusable, onReuse: Rejects}`,
		`spec.refreshTokens.onReuse: Forbidden: using a reusable token again is no offence: remove it, or write use: SingleUse`),
	Entry("an unknown use of refresh tokens", smallestClient, `refreshTokens: {use: Rotating}`,
		`spec.refreshTokens.use: Unsupported value: "Rotating": supported values: "SingleUse", "Reusable"`),
	Entry("an unknown answer to reuse", smallestClient, `refreshTokens: {onReuse: Revoke}`,
		`spec.refreshTokens.onReuse: Unsupported value: "Revoke": supported values: "RevokesGrant", "Rejects"`),
	Entry("a grace of no time", smallestClient, `refreshTokens: {reuseGraceSeconds: 0}`,
		`spec.refreshTokens.reuseGraceSeconds: Invalid value: 0: write 3 to 3600 seconds, as the provider documents it; leave it out if there is no grace`),
	Entry("a grace in which nothing can be done", smallestClient, `refreshTokens: {reuseGraceSeconds: 2}`,
		`spec.refreshTokens.reuseGraceSeconds: Invalid value: 2: write 3 to 3600 seconds, as the provider documents it; leave it out if there is no grace`),
	Entry("a grace that is too long", smallestClient, `refreshTokens: {reuseGraceSeconds: 3601}`,
		`spec.refreshTokens.reuseGraceSeconds: Invalid value: 3601: write 3 to 3600 seconds, as the provider documents it; leave it out if there is no grace`),
	Entry("a grace in words", smallestClient, `refreshTokens: {reuseGraceSeconds: 30s}`,
		`spec.refreshTokens.reuseGraceSeconds: Invalid value: "string": spec.refreshTokens.reuseGraceSeconds in body must be of type integer: "string"`),
	Entry("nothing said of refresh tokens", smallestClient, `refreshTokens: {}`,
		`spec.refreshTokens: Invalid value: 0: spec.refreshTokens in body should have at least 1 properties`),
	Entry("two scopes in one item", smallestClient, `scopes: [contact invoices]`,
		`spec.scopes[0]: Invalid value: "contact invoices": write one scope for each list item: no spaces, quotes or backslashes (RFC 6749 section 3.3)`),
	Entry("the same scope twice", smallestClient, `scopes: [contact, contact]`,
		`spec.scopes[1]: Duplicate value: "contact"`),
	Entry("a timeout of no time", smallestClient, `tokenRequest: {timeoutSeconds: 0}`,
		`spec.tokenRequest.timeoutSeconds: Invalid value: 0: spec.tokenRequest.timeoutSeconds in body should be greater than or equal to 1`),
	Entry("a timeout that is too long", smallestClient, `tokenRequest: {timeoutSeconds: 31}`,
		`spec.tokenRequest.timeoutSeconds: Invalid value: 31: spec.tokenRequest.timeoutSeconds in body should be less than or equal to 30`),
	Entry("an unknown body format", smallestClient, `tokenRequest: {bodyFormat: json}`,
		`spec.tokenRequest.bodyFormat: Unsupported value: "json": supported values: "Form", "JSON"`),
	Entry("allowedNamespaces by selector, without one", smallestClient, `allowedNamespaces: [{from: Selector}]`,
		`spec.allowedNamespaces[0].selector: Required value: with from: Selector, write which labels select a namespace, such as matchLabels: {team: shop}`),
	Entry("allowedNamespaces by a selector that selects all", smallestClient, `allowedNamespaces: [{from: Selector, selector: {}}]`,
		`spec.allowedNamespaces[0].selector: Invalid value: an empty selector would select every namespace: write matchLabels or matchExpressions, or from: All if all are meant`),
	Entry("allowedNamespaces for all, with a selector", smallestClient, `allowedNamespaces: [{from: All, selector: {matchLabels: {team: shop}}}]`,
		`spec.allowedNamespaces[0].selector: Forbidden: remove it, or write from: Selector`),
	Entry("allowedNamespaces with a scope that the client does not have", smallestClient, `{scopes: [contact], allowedNamespaces: [{from: All, scopes: [invoices]}]}`,
		`spec.allowedNamespaces: Invalid value: an entry allows a scope that is not in spec.scopes: add it there, or remove it here`),
	Entry("an unknown field", smallestClient, `clientId: my-client`,
		`strict decoding error: unknown field "spec.clientId"`),
	Entry("an unknown field further down", smallestClient, `authentication: {clientSecret: mine}`,
		`strict decoding error: unknown field "spec.authentication.clientSecret"`),

	Entry("no client", smallestAccount, `clientRef: null`,
		`spec.clientRef: Required value`),
	Entry("a client with its namespace in its name", smallestAccount, `clientRef: {name: platform/provider}`,
		`spec.clientRef.name: Invalid value: "platform/provider": name must be the name of an OAuthClient: lower case letters, digits, '-' and '.' (its namespace goes into clientRef.namespace)`),
	Entry("a namespace that cannot be", smallestAccount, `clientRef: {namespace: my_platform}`,
		`spec.clientRef.namespace: Invalid value: "my_platform": namespace must be the name of a namespace: lower case letters, digits and '-'`),
	Entry("no grant type", smallestAccount, `grant: {type: null}`,
		`spec.grant.type: Required value`),
	Entry("an unknown grant type", smallestAccount, `grant: {type: client_credentials}`,
		`spec.grant.type: Unsupported value: "client_credentials": supported values: "ClientCredentials", "AuthorizationCode"`),
	Entry("a refresh token to import, where the grant has none", smallestAccount, `importRefreshTokenRef: {name: provider-client, key: refresh_token}`,
		`spec.importRefreshTokenRef: Forbidden: only the grant AuthorizationCode has a refresh token: remove it, or write grant.type: AuthorizationCode`),
	Entry("a refresh token to import, without its key", smallestAccount, `{grant: {type: AuthorizationCode}, importRefreshTokenRef: {name: provider-client}}`,
		`spec.importRefreshTokenRef.key: Required value`),
	Entry("a refresh token to import, without its Secret", smallestAccount, `{grant: {type: AuthorizationCode}, importRefreshTokenRef: {key: refresh_token}}`,
		`spec.importRefreshTokenRef.name: Required value`),
	Entry("a refresh token to import, from a Secret that cannot be", smallestAccount, `{grant: {type: AuthorizationCode}, importRefreshTokenRef: {name: shop/old, key: refresh_token}}`,
		`spec.importRefreshTokenRef.name: Invalid value: "shop/old": name must be the name of a Secret: lower case letters, digits, '-' and '.'`),
	Entry("a refresh token to import, from a key that cannot be", smallestAccount, `{grant: {type: AuthorizationCode}, importRefreshTokenRef: {name: provider-client, key: refresh token}}`,
		`spec.importRefreshTokenRef.key: Invalid value: "refresh token": key must be a key of the Secret's data: letters, digits, '-', '_' and '.'`),
	Entry("a refresh token to import, as it is: the answer does not repeat it", smallestAccount, `{grant: {type: AuthorizationCode}, importRefreshTokenRef: my-token}`,
		`spec.importRefreshTokenRef: Invalid value: "string": spec.importRefreshTokenRef in body must be of type object: "string"`),
	Entry("a refresh token to import, from another namespace", smallestAccount, `{grant: {type: AuthorizationCode}, importRefreshTokenRef: {name: provider-client, namespace: platform, key: refresh_token}}`,
		`strict decoding error: unknown field "spec.importRefreshTokenRef.namespace"`),
	Entry("a scope with a line break at its end", smallestAccount, `scopes: ["contact\n"]`,
		`spec.scopes[0]: Invalid value: "contact\n": write one scope for each list item: no spaces, quotes or backslashes (RFC 6749 section 3.3)`),
	Entry("onBehalfOf with a space", smallestAccount, `onBehalfOf: acme corp`,
		`spec.onBehalfOf: Invalid value: "acme corp": write printable ASCII without spaces or line breaks: it becomes the value of a header`),
	Entry("onBehalfOf with a line break at its end", smallestAccount, `onBehalfOf: "acct_8f2\n"`,
		`spec.onBehalfOf: Invalid value: "acct_8f2\n": write printable ASCII without spaces or line breaks: it becomes the value of a header`),
	Entry("a name that the token Secret cannot have", smallestAccount, `secret: {name: Acme_Token}`,
		`spec.secret.name: Invalid value: "Acme_Token": name must be a name for a Secret: lower case letters, digits, '-' and '.'`),
	Entry("an empty description of the Secret", smallestAccount, `secret: {}`,
		`spec.secret: Invalid value: 0: spec.secret in body should have at least 1 properties`),
	Entry("S05 a label of ours on the Secret", smallestAccount, `secret: {labels: {oauth-operator.dev/credential: "true"}}`,
		`spec.secret.labels: Invalid value: labels of kubernetes.io, k8s.io and oauth-operator.dev, as of the domains below them, are reserved: write a key of another domain, or without one`),
	Entry("S05 a label of Kubernetes on the Secret", smallestAccount, `secret: {labels: {app.kubernetes.io/name: shop}}`,
		`spec.secret.labels: Invalid value: labels of kubernetes.io, k8s.io and oauth-operator.dev, as of the domains below them, are reserved: write a key of another domain, or without one`),
	Entry("S05 an annotation of Kubernetes on the Secret", smallestAccount, `secret: {annotations: {kubernetes.io/service-account.name: default}}`,
		`spec.secret.annotations: Invalid value: annotations of kubernetes.io, k8s.io and oauth-operator.dev, as of the domains below them, are reserved: write a key of another domain, or without one`),
	Entry("S05 an annotation of ours on the Secret", smallestAccount, `secret: {annotations: {oauth-operator.dev/rotation: "9"}}`,
		`spec.secret.annotations: Invalid value: annotations of kubernetes.io, k8s.io and oauth-operator.dev, as of the domains below them, are reserved: write a key of another domain, or without one`),
	Entry("a label that cannot be", smallestAccount, `secret: {labels: {team: "my shop"}}`,
		`spec.secret.labels: Invalid value: each label must have a valid key and value: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit`),
	Entry("an annotation that cannot be", smallestAccount, `secret: {annotations: {"my team": shop}}`,
		`spec.secret.annotations: Invalid value: each annotation must have a valid key: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit`),
	Entry("S05 a Secret that would be a ServiceAccount's token", smallestAccount, `secret: {type: kubernetes.io/service-account-token}`,
		`spec.secret.type: Unsupported value: "kubernetes.io/service-account-token": supported values: "Opaque"`),
	Entry("a refresh longer before expiry than there can be", smallestAccount, `refreshBeforeSeconds: 2592001`,
		`spec.refreshBeforeSeconds: Invalid value: 2592001: spec.refreshBeforeSeconds in body should be less than or equal to 2592000`),
	Entry("a refresh no time before expiry", smallestAccount, `refreshBeforeSeconds: 0`,
		`spec.refreshBeforeSeconds: Invalid value: 0: spec.refreshBeforeSeconds in body should be greater than or equal to 1`),
	Entry("text where a boolean belongs", smallestAccount, `suspend: "yes"`,
		`spec.suspend: Invalid value: "string": spec.suspend in body must be of type boolean: "string"`),
	Entry("an unknown field of an account", smallestAccount, `scope: invoices`,
		`strict decoding error: unknown field "spec.scope"`),
)

// unchecked is what the API server adds where a fault keeps it from trying the rules of the schema.
const unchecked = ", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; " +
	"correct the existing errors to complete validation]"

// complaint is what the API server says of an object, without the words that name it and without its remark on rules that
// it did not try.
func complaint(err error, object *unstructured.Unstructured) string {
	GinkgoHelper()
	var status apierrors.APIStatus
	Expect(errors.As(err, &status)).To(BeTrue(), "%v", err)
	message := status.Status().Message
	_, said, found := strings.Cut(message, `"`+object.GetName()+`" is invalid: `)
	if !found {
		_, said, found = strings.Cut(message, "cannot be handled as a "+object.GetKind()+": ")
	}
	Expect(found).To(BeTrue(), "the API server should find fault with the object: %v", err)
	if only, cut := strings.CutSuffix(said, unchecked); cut {
		return strings.TrimPrefix(only, "[")
	}
	return said
}
