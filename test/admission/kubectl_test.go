package admission_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

var _ = Describe("kubectl", Ordered, func() {
	var namespace string
	BeforeAll(func(ctx SpecContext) {
		namespace = newNamespace(ctx)
		for _, manifest := range []string{smallestClient, smallestAccount} {
			object := parse(manifest)
			object.SetNamespace(namespace)
			Expect(suite.admin.Create(ctx, object)).To(Succeed())
		}
		account := &v1alpha1.ConnectedAccount{}
		Expect(suite.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "acme"}, account)).To(Succeed())
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"status":{"expirationTime":"2126-01-02T03:04:05Z","conditions":[
			{"type":"Ready","status":"True","reason":"TokenValid","message":"","lastTransitionTime":"2026-01-02T03:04:05Z"}]}}`))
		Expect(suite.admin.Status().Patch(ctx, account, patch)).To(Succeed())
	})
	kubectl := func(ctx context.Context, arguments ...string) string {
		GinkgoHelper()
		output, err := runKubectl(ctx, namespace, arguments...)
		Expect(err).NotTo(HaveOccurred(), output)
		return output
	}
	columns := func(line string) string { return strings.Join(strings.Fields(line), " ") }

	DescribeTable("shows in a list what one wants to know first",
		func(ctx SpecContext, name, header, row string) {
			lines := strings.Split(strings.TrimSpace(kubectl(ctx, "get", name)), "\n")
			Expect(lines).To(HaveLen(2))
			Expect(columns(lines[0])).To(Equal(header))
			Expect(columns(lines[1])).To(MatchRegexp(row))
		},
		Entry("of clients", "oauthclients", "NAME READY REASON TOKEN ENDPOINT AGE", `^provider https://provider\.example/oauth/token \d+s$`),
		Entry("of clients, by the short name", "oauthcl", "NAME READY REASON TOKEN ENDPOINT AGE", `^provider `),
		Entry("of accounts", "connectedaccounts", "NAME READY REASON CLIENT EXPIRES AGE", `^acme True TokenValid provider 2126-01-02T03:04:05Z \d+s$`),
		Entry("of accounts, by the short name", "connacct", "NAME READY REASON CLIENT EXPIRES AGE", `^acme `),
	)

	It("lists both kinds by their category", func(ctx SpecContext) {
		Expect(strings.Fields(kubectl(ctx, "get", "oauth", "--output", "name"))).To(ConsistOf(
			"oauthclient.oauth-operator.dev/provider", "connectedaccount.oauth-operator.dev/acme"))
	})

	It("explains each field", func(ctx SpecContext) {
		Expect(columns(kubectl(ctx, "explain", "oauthclients.spec.endpoints.token"))).To(ContainSubstring("token is the token endpoint (RFC 6749 section 3.2)."))
		for _, plural := range []string{"oauthclients", "connectedaccounts"} {
			definition := &apiextensionsv1.CustomResourceDefinition{}
			Expect(suite.admin.Get(ctx, client.ObjectKey{Name: plural + "." + v1alpha1.Group}, definition)).To(Succeed())
			for _, version := range definition.Spec.Versions {
				root := version.Schema.OpenAPIV3Schema
				Expect(root.Description).NotTo(BeEmpty())
				// The API server describes the metadata by itself.
				delete(root.Properties, "metadata")
				Expect(unexplained(root)).To(BeEmpty(), "fields of %s without a description", plural)
			}
		}
	})
})

// runKubectl runs kubectl as admin and returns what it prints, on both of its outputs.
func runKubectl(ctx context.Context, namespace string, arguments ...string) (string, error) {
	global := []string{"--kubeconfig", suite.kubeconfig, "--cache-dir", filepath.Dir(suite.kubeconfig), "--namespace", namespace}
	output, err := exec.CommandContext(ctx, suite.cluster.Kubectl, append(global, arguments...)...).CombinedOutput()
	return string(output), err
}

// unexplained are the paths of the fields below a schema that have no description.
func unexplained(schema *apiextensionsv1.JSONSchemaProps) []string {
	var paths []string
	for name, property := range schema.Properties {
		if strings.TrimSpace(property.Description) == "" {
			paths = append(paths, name)
		}
		for _, below := range unexplained(&property) {
			paths = append(paths, name+"."+below)
		}
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		for _, below := range unexplained(schema.Items.Schema) {
			paths = append(paths, "[]."+below)
		}
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		for _, below := range unexplained(schema.AdditionalProperties.Schema) {
			paths = append(paths, "*."+below)
		}
	}
	return paths
}
