package admission_test

import (
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const accountsDefinition = "connectedaccounts." + v1alpha1.Group

// What is deleted here is deleted in a dry run: the others need it.
var _ = Describe("P6 what all consents depend on", func() {
	definition := func(name string) client.Object {
		return &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	namespace := func(name string) client.Object {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	const (
		accountsGo = "all accounts go with their definition, and with them all consents. To delete it all the same, first: kubectl annotate --overwrite " +
			"customresourcedefinitions connectedaccounts.oauth-operator.dev oauth-operator.dev/allow-delete=connectedaccounts.oauth-operator.dev"
		keyringGoes = "the keyring is in this namespace, and without it no credential opens. To delete it all the same, first: kubectl annotate --overwrite " +
			"namespaces oauth-operator-system oauth-operator.dev/allow-delete=oauth-operator-system"
	)

	It("is not deleted with an installation", func(ctx SpecContext) {
		output, err := runKubectl(ctx, operatorNamespace, "delete", "--dry-run=server", "-k", config("default"))
		Expect(err).To(HaveOccurred())
		Expect(output).To(ContainSubstring(accountsGo))
		Expect(output).To(ContainSubstring(keyringGoes))
		Expect(output).To(ContainSubstring(`deployment.apps "oauth-operator" deleted`), "all else goes")
	})

	DescribeTable("is deleted once an annotation names it",
		func(ctx SpecContext, object client.Object, refusal string) {
			Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
			DeferCleanup(annotate, object, "")
			expectForbidden(suite.admin.Delete(ctx, object, client.DryRunAll), refusal)
			annotate(ctx, object, "true")
			expectForbidden(suite.admin.Delete(ctx, object, client.DryRunAll), refusal)
			annotate(ctx, object, object.GetName())
			Expect(suite.admin.Delete(ctx, object, client.DryRunAll)).To(Succeed())
		},
		Entry("a definition", definition(accountsDefinition), accountsGo),
		Entry("a namespace", namespace(operatorNamespace), keyringGoes),
	)

	// Whoever types the lines one after the other, or pastes them, is faster than the API server, which goes by a policy for a
	// moment after its deletion. So Helm removes nothing here.
	It("is deleted by the lines that the documents have, while the policy is still in force", func(ctx SpecContext) {
		for _, object := range []client.Object{definition(accountsDefinition), namespace(operatorNamespace)} {
			DeferCleanup(func(ctx SpecContext) {
				Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
				annotate(ctx, object, "")
			})
		}
		deleted := 0
		for _, line := range uninstalling() {
			words := strings.Fields(line)
			switch {
			case strings.HasPrefix(line, "kubectl delete "):
				deleted++
				words = append(words, "--dry-run=server")
			case !strings.HasPrefix(line, "kubectl annotate "):
				continue
			}
			output, err := runKubectl(ctx, operatorNamespace, words[1:]...)
			Expect(err).NotTo(HaveOccurred(), "%s: %s", line, output)
		}
		Expect(deleted).To(Equal(2), "the definitions, and the namespace")
	})

	It("is nothing else", func(ctx SpecContext) {
		for _, object := range []client.Object{definition("oauthclients." + v1alpha1.Group), namespace(newNamespace(ctx))} {
			Expect(suite.admin.Delete(ctx, object, client.DryRunAll)).To(Succeed())
		}
	})
})

// uninstalling are the lines of docs/operations.md from where no account is left until Helm's installation is removed.
func uninstalling() []string {
	GinkgoHelper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	Expect(err).NotTo(HaveOccurred())
	_, after, found := strings.Cut(string(text), "\nWhen the last line finds none any more, ")
	Expect(found).To(BeTrue())
	from, rest, found := strings.Cut(after, "\nhelm -n oauth-operator-system uninstall ")
	Expect(found).To(BeTrue())
	block, _, found := strings.Cut(rest, "\n```\n")
	Expect(found).To(BeTrue())
	return strings.Split(from+"\n"+block, "\n")
}

// annotate allows a deletion, by an annotation of this value; an empty one takes it back.
func annotate(ctx SpecContext, object client.Object, value string) {
	GinkgoHelper()
	before, is := object.DeepCopyObject().(client.Object)
	Expect(is).To(BeTrue())
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationAllowDelete] = value
	if value == "" {
		delete(annotations, v1alpha1.AnnotationAllowDelete)
	}
	object.SetAnnotations(annotations)
	Expect(suite.admin.Patch(ctx, object, client.MergeFrom(before))).To(Succeed())
}
