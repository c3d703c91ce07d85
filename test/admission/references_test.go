package admission_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const placementRefusal = "clients and accounts do not belong in the operator's own namespace: choose another one"

// referenceRefusal is what the policy on references says of a field that names a Secret.
func referenceRefusal(field, name, namespace string) string {
	return "whoever writes this spec must be allowed to get the Secret that spec." + field + " names, " + name +
		": have somebody apply it who may, or ask for that permission in the namespace " + namespace
}

var _ = Describe("P3 a client", func() {
	var namespace string
	BeforeEach(func(ctx SpecContext) { namespace = newNamespace(ctx) })
	build := func(change string) *unstructured.Unstructured {
		object := changed(smallestClient, change)
		object.SetNamespace(namespace)
		return object
	}

	DescribeTable("S01 that names a Secret is refused to somebody who may not read it",
		func(ctx SpecContext, user, change, field, name string) {
			expectForbidden(as(user).Create(ctx, build(change)), referenceRefusal(field, name, namespace))
		},
		Entry("as the client secret", tenant, `{}`, "authentication.clientSecretRef", clientSecret),
		Entry("as the client secret, where another may be read", secretReader,
			`authentication: {clientSecretRef: {name: theirs}}`, "authentication.clientSecretRef", "theirs"),
		Entry("as the client identifier", secretReader, `{clientID: null, clientIDRef: {name: theirs, key: id}}`, "clientIDRef", "theirs"),
		Entry("as the trusted certificates", secretReader, `tls: {caRef: {name: theirs, key: ca.crt}}`, "tls.caRef", "theirs"),
	)

	It("S01 that names a Secret, in each place where it can, is accepted from somebody who may read it", func(ctx SpecContext) {
		everywhere := `{clientID: null, clientIDRef: {name: provider-client, key: id}, tls: {caRef: {name: provider-client, key: ca.crt}}}`
		Expect(as(secretReader).Create(ctx, build(everywhere))).To(Succeed())
	})

	It("S02 is not sent to another host by somebody who may not read its secret", func(ctx SpecContext) {
		object := build(`{}`)
		Expect(suite.admin.Create(ctx, object)).To(Succeed())
		refusal := referenceRefusal("authentication.clientSecretRef", clientSecret, namespace)
		for _, user := range []string{tenant, administrator} {
			setEndpoint(object, "https://elsewhere.example/token")
			expectForbidden(as(user).Update(ctx, object), refusal)
			patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"endpoints":{"token":"https://elsewhere.example/token"}}}`))
			expectForbidden(as(user).Patch(ctx, object.DeepCopy(), patch), refusal)
		}
		Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
		endpoint, _, _ := unstructured.NestedString(object.Object, "spec", "endpoints", "token")
		Expect(endpoint).To(Equal("https://provider.example/oauth/token"))
	})

	It("S02 is sent to another host by somebody who may read its secret", func(ctx SpecContext) {
		object := build(`{}`)
		Expect(suite.admin.Create(ctx, object)).To(Succeed())
		setEndpoint(object, "https://elsewhere.example/token")
		Expect(as(secretReader).Update(ctx, object)).To(Succeed())
	})

	It("may have its labels, annotations and finalizers edited without the right to read, and be deleted", func(ctx SpecContext) {
		object := build(`{}`)
		Expect(suite.admin.Create(ctx, object)).To(Succeed())
		object.SetLabels(map[string]string{"team": "shop"})
		object.SetAnnotations(map[string]string{"note": "ours"})
		object.SetFinalizers([]string{"shop.example/wait"})
		Expect(as(tenant).Update(ctx, object)).To(Succeed())
		object.SetFinalizers(nil)
		Expect(as(tenant).Update(ctx, object)).To(Succeed())
		Expect(as(tenant).Delete(ctx, object)).To(Succeed())
	})
})

var _ = Describe("P3 an account", func() {
	const importing = `{grant: {type: AuthorizationCode}, importRefreshTokenRef: {name: theirs, key: refresh_token}}`
	var namespace string
	BeforeEach(func(ctx SpecContext) { namespace = newNamespace(ctx) })
	build := func(change string) *unstructured.Unstructured {
		object := changed(smallestAccount, change)
		object.SetNamespace(namespace)
		return object
	}

	It("names no Secret that is read, so whoever may write accounts writes it", func(ctx SpecContext) {
		object := build(`secret: {name: provider-client}`)
		Expect(as(tenant).Create(ctx, object)).To(Succeed())
		merge(object.Object, map[string]any{"spec": map[string]any{"suspend": true}})
		Expect(as(editor).Update(ctx, object)).To(Succeed())
	})

	It("S01 that imports a refresh token is refused to somebody who may not read it", func(ctx SpecContext) {
		refusal := referenceRefusal("importRefreshTokenRef", "theirs", namespace)
		for _, user := range []string{tenant, editor, administrator, secretReader} {
			expectForbidden(as(user).Create(ctx, build(importing)), refusal)
			expectForbidden(apply(ctx, as(user), build(importing)), refusal)
		}
	})

	It("S01 does not come to import one by an update, a patch or server-side apply of somebody who may not read it", func(ctx SpecContext) {
		refusal := referenceRefusal("importRefreshTokenRef", "theirs", namespace)
		object := build(`grant: {type: AuthorizationCode}`)
		Expect(as(tenant).Create(ctx, object)).To(Succeed())
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"importRefreshTokenRef":{"name":"theirs","key":"refresh_token"}}}`))
		expectForbidden(as(tenant).Patch(ctx, object.DeepCopy(), patch), refusal)
		expectForbidden(apply(ctx, as(tenant), build(importing)), refusal)
		merge(object.Object, map[string]any{"spec": map[string]any{"importRefreshTokenRef": map[string]any{"name": "theirs", "key": "refresh_token"}}})
		expectForbidden(as(tenant).Update(ctx, object), refusal)
	})

	It("S01 that imports one is not changed by somebody who may not read it: the client decides where it is sent", func(ctx SpecContext) {
		refusal := referenceRefusal("importRefreshTokenRef", "theirs", namespace)
		object := build(importing)
		Expect(suite.admin.Create(ctx, object)).To(Succeed())
		for _, change := range []string{`{"clientRef":{"name":"elsewhere"}}`, `{"importRefreshTokenRef":{"key":"other"}}`, `{"suspend":true}`} {
			patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":`+change+`}`))
			expectForbidden(as(tenant).Patch(ctx, object.DeepCopy(), patch), refusal)
		}
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"importRefreshTokenRef":null}}`))
		Expect(as(tenant).Patch(ctx, object, patch)).To(Succeed(), "it names nothing any more")
	})

	It("S01 that imports one is accepted from somebody who may read it, and may be changed by them", func(ctx SpecContext) {
		object := build(`{grant: {type: AuthorizationCode}, importRefreshTokenRef: {name: provider-client, key: refresh_token}}`)
		Expect(as(secretReader).Create(ctx, object)).To(Succeed())
		merge(object.Object, map[string]any{"spec": map[string]any{"suspend": true}})
		Expect(as(secretReader).Update(ctx, object)).To(Succeed())
	})

	It("that imports one may have its labels, annotations and finalizers edited without the right to read, and be deleted", func(ctx SpecContext) {
		object := build(importing)
		Expect(suite.admin.Create(ctx, object)).To(Succeed())
		object.SetLabels(map[string]string{"team": "shop"})
		object.SetAnnotations(map[string]string{"note": "ours"})
		object.SetFinalizers([]string{"shop.example/wait"})
		Expect(as(tenant).Update(ctx, object)).To(Succeed())
		object.SetFinalizers(nil)
		Expect(as(tenant).Update(ctx, object)).To(Succeed())
		Expect(as(tenant).Delete(ctx, object)).To(Succeed())
	})
})

var _ = Describe("P3 an account with an API key", func() {
	const publishing = `{clientRef: null, grant: {type: APIKey, apiKeyRef: {name: theirs, key: api_key}}}`
	var namespace string
	BeforeEach(func(ctx SpecContext) { namespace = newNamespace(ctx) })
	build := func(change string) *unstructured.Unstructured {
		object := changed(smallestAccount, change)
		object.SetNamespace(namespace)
		return object
	}

	It("S01 is refused to somebody who may not read it", func(ctx SpecContext) {
		refusal := referenceRefusal("grant.apiKeyRef", "theirs", namespace)
		for _, user := range []string{tenant, editor, administrator, secretReader} {
			expectForbidden(as(user).Create(ctx, build(publishing)), refusal)
			expectForbidden(apply(ctx, as(user), build(publishing)), refusal)
		}
	})

	It("S01 is not changed by somebody who may not read it: the spec decides under which name it can be had", func(ctx SpecContext) {
		refusal := referenceRefusal("grant.apiKeyRef", "theirs", namespace)
		object := build(publishing)
		Expect(suite.admin.Create(ctx, object)).To(Succeed())
		for _, change := range []string{`{"secret":{"name":"mine"}}`, `{"grant":{"apiKeyRef":{"key":"other"}}}`, `{"onBehalfOf":"acct_1"}`} {
			patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":`+change+`}`))
			expectForbidden(as(tenant).Patch(ctx, object.DeepCopy(), patch), refusal)
		}
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"team":"shop"}}}`))
		Expect(as(tenant).Patch(ctx, object.DeepCopy(), patch)).To(Succeed(), "labels may be edited")
		Expect(as(tenant).Delete(ctx, object)).To(Succeed())
	})

	It("S01 does not come to name another Secret by a patch of somebody who may read the first only", func(ctx SpecContext) {
		object := build(`{clientRef: null, grant: {type: APIKey, apiKeyRef: {name: provider-client, key: api_key}}}`)
		Expect(as(secretReader).Create(ctx, object)).To(Succeed())
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"grant":{"apiKeyRef":{"name":"theirs"}}}}`))
		expectForbidden(as(secretReader).Patch(ctx, object, patch), referenceRefusal("grant.apiKeyRef", "theirs", namespace))
	})
})

var _ = Describe("S03 in the operator's own namespace", func() {
	for _, manifest := range []string{smallestClient, smallestAccount} {
		It("no "+parse(manifest).GetKind()+" is created, whoever asks", func(ctx SpecContext) {
			for _, creator := range []client.Client{as(secretReader), suite.admin} {
				object := parse(manifest)
				object.SetNamespace(operatorNamespace)
				expectForbidden(creator.Create(ctx, object), placementRefusal)
			}
		})

		It("no "+parse(manifest).GetKind()+" is created by server-side apply", func(ctx SpecContext) {
			object := parse(manifest)
			object.SetNamespace(operatorNamespace)
			expectForbidden(apply(ctx, suite.admin, object), placementRefusal)
		})
	}
})

func apply(ctx context.Context, writer client.Client, object *unstructured.Unstructured) error {
	return writer.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("test"))
}

func setEndpoint(object *unstructured.Unstructured, endpoint string) {
	GinkgoHelper()
	Expect(unstructured.SetNestedField(object.Object, endpoint, "spec", "endpoints", "token")).To(Succeed())
}
