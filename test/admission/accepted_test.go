package admission_test

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

var _ = Describe("a manifest that makes sense", func() {
	DescribeTable("is accepted",
		func(ctx SpecContext, manifest, change string) {
			object := changed(manifest, change)
			object.SetNamespace(newNamespace(ctx))
			Expect(as(secretReader).Create(ctx, object)).To(Succeed(), text(object))
		},
		Entry("the smallest client", smallestClient, `{}`),
		Entry("the smallest account", smallestAccount, `{}`),
		Entry("a token endpoint without a path", smallestClient, `endpoints: {token: "https://provider.example"}`),
		Entry("a token endpoint with a port and a query of its own", smallestClient, `endpoints: {token: "https://provider.example:8443/token?audience=a&filter%5Bx%5D=b%20c&scopes=all"}`),
		Entry("a token endpoint at an IPv6 address", smallestClient, `endpoints: {token: "https://[2001:db8::1]:8443/token"}`),
		Entry("a token endpoint on localhost without TLS", smallestClient, `endpoints: {token: "http://localhost:8080/token"}`),
		Entry("a token endpoint at a loopback address without TLS", smallestClient, `endpoints: {token: "http://127.0.0.1:8080/token"}`),
		Entry("a token endpoint at the IPv6 loopback address without TLS", smallestClient, `endpoints: {token: "http://[::1]:8080/token"}`),
		Entry("an @ in a path", smallestClient, `endpoints: {token: "https://provider.example/@me/token"}`),
		Entry("a client id from a Secret", smallestClient, `{clientID: null, clientIDRef: {name: provider-client, key: client_id}}`),
		Entry("a client id with a colon, in the body", smallestClient, `clientID: "urn:my:client"`),
		Entry("HTTP Basic as the standard has it", smallestClient, `{clientID: "my:client", authentication: {method: ClientSecretBasic, basicEncoding: RFC6749}}`),
		Entry("HTTP Basic as many servers have it", smallestClient, `authentication: {method: ClientSecretBasic, basicEncoding: Raw}`),
		Entry("scopes that are URLs", smallestClient, `scopes: ["https://provider.example/auth/invoices.readonly", "openid", "a!#$%&'()*+,-./:;<=>?@[]^_{|}~"]`),
		Entry("a client for other namespaces", smallestClient, `
scopes: [contact, invoices]
allowedNamespaces:
- {from: Selector, selector: {matchLabels: {billing: allowed}}, grants: [ClientCredentials], scopes: [invoices]}
- {from: Selector, selector: {matchExpressions: [{key: team, operator: Exists}]}, grants: [ClientCredentials]}
- {from: All}`),
		Entry("a client for consents", smallestClient, `grants: [AuthorizationCode]`),
		Entry("a client for both grants, shared for consents alone", smallestClient, `
grants: [ClientCredentials, AuthorizationCode]
allowedNamespaces: [{from: All, grants: [AuthorizationCode]}]`),
		Entry("refresh tokens as they are without a word on them", smallestClient, `{grants: [AuthorizationCode], refreshTokens: {use: SingleUse, onReuse: RevokesGrant}}`),
		Entry("refresh tokens that can be used again", smallestClient, `{grants: [AuthorizationCode], refreshTokens: {use: Reusable}}`),
		Entry("refresh tokens whose reuse does no harm", smallestClient, `{grants: [AuthorizationCode], refreshTokens: {onReuse: Rejects}}`),
		Entry("the shortest grace", smallestClient, `{grants: [AuthorizationCode], refreshTokens: {reuseGraceSeconds: 3}}`),
		Entry("the longest grace, and what follows it", smallestClient, `{grants: [AuthorizationCode], refreshTokens: {use: SingleUse, reuseGraceSeconds: 3600, onReuse: Rejects}}`),
		Entry("further keys of the Secret, with all that a text can have", smallestAccount, `
onBehalfOf: acct_8f2
secret: {data: {plain: "5$ $x $$(not this) $$$(access_token)", login: "user:$(access_token)", basic: "Basic $(login.base64)",
  env: "A='$(authorization.sh)'\nB='$(login.sh)'\n", json: '{"a\"":"$(on_behalf_of.json)"}', url: "https://x/?t=$(access_token.url)", .hidden-Key: ""}}`),
		Entry("an account that waits for a consent", smallestAccount, `grant: {type: AuthorizationCode}`),
		Entry("an account that imports a refresh token", smallestAccount, `{grant: {type: AuthorizationCode}, importRefreshTokenRef: {name: provider-client, key: refresh_token}}`),
		Entry("an account that publishes an API key", smallestAccount, `{clientRef: null, suspend: false, grant: {type: APIKey, apiKeyRef: {name: provider-client, key: api_key}}}`),
		Entry("an API key for a connected account", smallestAccount, `{clientRef: null, onBehalfOf: acct_1, onBehalfOfHeader: Stripe-Account, secret: {name: acme}, grant: {type: APIKey, apiKeyRef: {name: provider-client, key: api_key}}}`),
		Entry("the header of a connected account", smallestClient, `onBehalfOf: {header: Xero-tenant-id}`),
		Entry("a header that only begins like one of HTTP's", smallestClient, `onBehalfOf: {header: Host-Account}`),
		Entry("a header with every character that a name can have", smallestClient, `onBehalfOf: {header: "X!#$%&*+.^_|~9-a"}`),
		Entry("two resources in the form of a token request (RFC 8707 section 2)", smallestClient, `
tokenRequest: {parameters: [{name: resource, value: "https://a.example"}, {name: resource, value: "https://b.example"}]}`),
		Entry("parameters that only begin or end like the standard's, with every character that they can have", smallestClient, `
tokenRequest: {parameters: [{name: scopes, value: a}, {name: "x[scope]", value: a}, {name: client_id_hint, value: a}, {name: "Aa0-._~[]", value: " ~!\"#$%&'()*+,-./:;<=>?@[\\]^_{|}"}]}`),
		Entry("every field of a client", smallestClient, `
onBehalfOf: {header: on-behalf-of}
authentication: {method: ClientSecretPost}
tokenRequest: {bodyFormat: JSON, sendScope: Always, timeoutSeconds: 30, parameters: [{name: audience, value: "https://api.provider.example/"}]}
accessTokens: {defaultLifetimeSeconds: 3600}
grants: [ClientCredentials, AuthorizationCode]
refreshTokens: {use: SingleUse, reuseGraceSeconds: 60, onReuse: RevokesGrant}
refreshBeforeSeconds: 14400
tls: {caRef: {name: provider-client, key: ca.crt}}`),
		Entry("every field of an account", smallestAccount, `
clientRef: {name: provider, namespace: platform}
grant: {type: AuthorizationCode}
importRefreshTokenRef: {name: provider-client, key: refresh_token}
scopes: [invoices]
onBehalfOf: acct_8f2
refreshBeforeSeconds: 3600
secret: {name: acme.token, type: Opaque, labels: {team: shop, shop.example/tier: "1"}, annotations: {shop.example/Note: "any text, 1"}}
suspend: true`),
	)

	It("has status.observedGeneration -1 until the operator has looked, so that nothing looks healthy before", func(ctx SpecContext) {
		namespace := newNamespace(ctx)
		for _, manifest := range []string{smallestClient, smallestAccount} {
			object := parse(manifest)
			object.SetNamespace(namespace)
			Expect(as(secretReader).Create(ctx, object)).To(Succeed())
			Expect(as(viewer).Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
			Expect(object.Object["status"]).To(Equal(map[string]any{"observedGeneration": int64(-1)}), object.GetKind())
		}
	})

	It("cannot bring a status of its own", func(ctx SpecContext) {
		object := parse(smallestAccount)
		object.SetNamespace(newNamespace(ctx))
		object.Object["status"] = map[string]any{"observedGeneration": int64(1), "sealedCredential": "forged"}
		Expect(as(tenant).Create(ctx, object)).To(Succeed())
		Expect(as(viewer).Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
		Expect(object.Object["status"]).To(Equal(map[string]any{"observedGeneration": int64(-1)}))
	})
})

var _ = Describe("the samples", func() {
	DescribeTable("are accepted, and no account's Secret is one that somebody else writes",
		func(ctx SpecContext, folder string) {
			objects := parseAll(render(ctx, folder))
			Expect(objects).NotTo(BeEmpty())
			namespace := newNamespace(ctx)
			named, written := map[string]bool{}, map[string]bool{}
			for _, object := range objects {
				object.SetNamespace(namespace)
				Expect(suite.admin.Create(ctx, object)).To(Succeed(), text(object))
				for _, path := range [][]string{{"authentication", "clientSecretRef"}, {"importRefreshTokenRef"}, {"grant", "apiKeyRef"}} {
					if name, found, _ := unstructured.NestedString(object.Object, slices.Concat([]string{"spec"}, path, []string{"name"})...); found {
						named[name] = true
					}
				}
				if object.GetKind() == "ConnectedAccount" {
					name, found, _ := unstructured.NestedString(object.Object, "spec", "secret", "name")
					if !found {
						name = object.GetName()
					}
					Expect(written).NotTo(HaveKey(name), "two accounts write one Secret")
					written[name] = true
				}
			}
			for name := range written {
				Expect(named).NotTo(HaveKey(name), "the account's token would be written over what it is made from")
			}
		},
		Entry("of the client's own access", "samples"),
		Entry("of an imported consent", filepath.Join("samples", "import")),
		Entry("of an API key", filepath.Join("samples", "apikey")),
		Entry("of what consumers read", filepath.Join("samples", "consumers")),
	)

	It("of an imported consent name Secrets that the operator may read and send to the client's host", func(ctx SpecContext) {
		sources, clients := map[string]*unstructured.Unstructured{}, map[string]*unstructured.Unstructured{}
		var accounts []*unstructured.Unstructured
		for _, object := range parseAll(render(ctx, filepath.Join("samples", "import"))) {
			switch object.GetKind() {
			case "Secret":
				sources[object.GetName()] = object
			case "OAuthClient":
				clients[object.GetName()] = object
			default:
				accounts = append(accounts, object)
			}
		}
		Expect(accounts).NotTo(BeEmpty())
		for _, account := range accounts {
			reference, _, _ := unstructured.NestedStringMap(account.Object, "spec", "importRefreshTokenRef")
			source := sources[reference["name"]]
			Expect(source).NotTo(BeNil(), text(account))
			data, _, _ := unstructured.NestedStringMap(source.Object, "stringData")
			Expect(data).To(HaveKeyWithValue(reference["key"], Not(BeEmpty())))
			Expect(source.GetLabels()).To(HaveKeyWithValue(v1alpha1.LabelCredential, "true"))
			name, _, _ := unstructured.NestedString(account.Object, "spec", "clientRef", "name")
			Expect(clients).To(HaveKey(name))
			endpoint, _, _ := unstructured.NestedString(clients[name].Object, "spec", "endpoints", "token")
			host, err := url.Parse(endpoint)
			Expect(err).NotTo(HaveOccurred())
			Expect(source.GetAnnotations()).To(HaveKeyWithValue(v1alpha1.AnnotationHosts, host.Host))
		}
	})
})

var _ = Describe("the largest legal objects", func() {
	scopes := func(count int) []any {
		var all []any
		for i := range count {
			// They differ at the end only, which is what costs most to compare.
			all = append(all, strings.Repeat("x", 256-4)+fmt.Sprintf("%04d", i))
		}
		return all
	}
	namespaces := func(count int) []any {
		var all []any
		for range count {
			all = append(all, map[string]any{
				"from":     "Selector",
				"selector": map[string]any{"matchLabels": map[string]any{"team": "shop"}},
				"grants":   []any{"ClientCredentials"}, "scopes": scopes(100),
			})
		}
		return all
	}
	parameters := func() []any {
		var all []any
		for i := range 16 {
			all = append(all, map[string]any{"name": strings.Repeat("n", 64-2) + fmt.Sprintf("%02d", i), "value": strings.Repeat("v", 1024)})
		}
		return all
	}
	largestClient := func() *unstructured.Unstructured {
		object := parse(smallestClient)
		endpoint := "https://provider.example/token?audience="
		merge(object.Object, map[string]any{"spec": map[string]any{
			"endpoints":         map[string]any{"token": endpoint + strings.Repeat("a", 2048-len(endpoint))},
			"clientID":          strings.Repeat("c", 512),
			"authentication":    map[string]any{"clientSecretRef": map[string]any{"key": strings.Repeat("k", 253)}},
			"scopes":            scopes(100),
			"allowedNamespaces": namespaces(32),
			"tokenRequest":      map[string]any{"bodyFormat": "JSON", "parameters": parameters()},
		}})
		return object
	}
	largestAccount := func() *unstructured.Unstructured {
		labels, annotations := map[string]any{}, map[string]any{}
		for i := range 16 {
			key := fmt.Sprintf("%s.example/%s%02d", strings.Repeat("d", 63), strings.Repeat("k", 61), i)
			labels[key], annotations[key] = strings.Repeat("v", 63), strings.Repeat("v", 4096)
		}
		// One key that the others refer to, as often as they can.
		texts := map[string]any{"a": strings.Repeat("$$", 2048)}
		for i := range 15 {
			texts[strings.Repeat("k", 251)+fmt.Sprintf("%02d", i)] = strings.Repeat("$(a)", 1024)
		}
		object := parse(smallestAccount)
		merge(object.Object, map[string]any{"spec": map[string]any{
			"grant":                 map[string]any{"type": "AuthorizationCode"},
			"importRefreshTokenRef": map[string]any{"name": clientSecret, "key": strings.Repeat("k", 253)},
			"scopes":                scopes(100), "onBehalfOf": strings.Repeat("~", 256),
			"secret": map[string]any{"name": strings.Repeat("n", 63), "labels": labels, "annotations": annotations, "data": texts},
		}})
		return object
	}

	It("are accepted: the rules of the schema stay within what the API server lets them cost", func(ctx SpecContext) {
		namespace := newNamespace(ctx)
		for _, object := range []*unstructured.Unstructured{largestClient(), largestAccount()} {
			object.SetNamespace(namespace)
			Expect(as(secretReader).Create(ctx, object)).To(Succeed())
		}
	})

	DescribeTable("are refused with one item more",
		func(ctx SpecContext, object *unstructured.Unstructured, field string, value any, message string) {
			object.SetNamespace(newNamespace(ctx))
			merge(object.Object, map[string]any{"spec": map[string]any{field: value}})
			err := as(secretReader).Create(ctx, object)
			Expect(err).To(HaveOccurred())
			Expect(complaint(err, object)).To(Equal(message))
		},
		Entry("a scope", largestAccount(), "scopes", scopes(101), "spec.scopes: Too many: 101: must have at most 100 items"),
		Entry("a scope of the client", largestClient(), "scopes", scopes(101), "spec.scopes: Too many: 101: must have at most 100 items"),
		Entry("an entry for namespaces", largestClient(), "allowedNamespaces", namespaces(33), "spec.allowedNamespaces: Too many: 33: must have at most 32 items"),
		Entry("a character", largestAccount(), "onBehalfOf", strings.Repeat("~", 257), "spec.onBehalfOf: Too long: may not be more than 256 bytes"),
	)
})

var _ = Describe("the grant of an account", func() {
	DescribeTable("cannot be changed",
		func(ctx SpecContext, from, to string) {
			object := changed(smallestAccount, `grant: {type: `+from+`}`)
			object.SetNamespace(newNamespace(ctx))
			Expect(suite.admin.Create(ctx, object)).To(Succeed())
			merge(object.Object, map[string]any{"spec": map[string]any{"grant": map[string]any{"type": to}}})
			err := suite.admin.Update(ctx, object)
			Expect(err).To(HaveOccurred())
			Expect(complaint(err, object)).To(Equal("spec.grant.type: Invalid value: the type of a grant cannot be changed: delete the account and create it again"))
		},
		Entry("from client credentials", "ClientCredentials", "AuthorizationCode"),
		Entry("to client credentials, which would delete the consent", "AuthorizationCode", "ClientCredentials"),
	)
})
