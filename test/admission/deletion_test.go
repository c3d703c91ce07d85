package admission_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/cluster"
)

const (
	consentAccount = `
apiVersion: oauth-operator.dev/v1alpha1
kind: ConnectedAccount
metadata: {name: acme, labels: {app: shop}}
spec:
  clientRef: {name: provider}
  grant: {type: AuthorizationCode}
`
	garbageCollector = "system:serviceaccount:kube-system:generic-garbage-collector"
)

// allowCommand is the line that the policy on deletions tells its reader to run.
func allowCommand(namespace string) string {
	return "kubectl -n " + namespace + " annotate --overwrite connectedaccounts.oauth-operator.dev acme oauth-operator.dev/allow-delete=acme"
}

func deletionRefusal(namespace string) string {
	return "a person consented to this account and would have to do so again. To delete it all the same, first: " + allowCommand(namespace)
}

// held creates an account whose status, written by the operator, has one field more.
func held(ctx context.Context, object *unstructured.Unstructured, field string, value any) *unstructured.Unstructured {
	GinkgoHelper()
	Expect(suite.admin.Create(ctx, object)).To(Succeed())
	merge(object.Object, map[string]any{"status": map[string]any{field: value}})
	Expect(suite.operator.Status().Update(ctx, object)).To(Succeed())
	return object
}

func withConsent(ctx context.Context, namespace string) *unstructured.Unstructured {
	GinkgoHelper()
	object := parse(consentAccount)
	object.SetNamespace(namespace)
	return held(ctx, object, "sealedCredential", "sealed")
}

func isThere(ctx context.Context, object *unstructured.Unstructured) bool {
	GinkgoHelper()
	err := suite.admin.Get(ctx, client.ObjectKeyFromObject(object), object.DeepCopy())
	Expect(client.IgnoreNotFound(err)).To(Succeed())
	return err == nil
}

var _ = Describe("P4 an account that a person consented to", func() {
	var namespace string
	BeforeEach(func(ctx SpecContext) { namespace = newNamespace(ctx) })

	It("is not deleted before somebody has run the line that kubectl prints", func(ctx SpecContext) {
		account := withConsent(ctx, namespace)
		output, err := runKubectl(ctx, namespace, "delete", "connectedaccount", "acme")
		Expect(err).To(HaveOccurred())
		Expect(strings.TrimSpace(output)).To(Equal(`Error from server (Forbidden): connectedaccounts.oauth-operator.dev "acme" is forbidden: ` +
			`ValidatingAdmissionPolicy 'deletion.oauth-operator.dev' with binding 'deletion.oauth-operator.dev' denied request: ` + deletionRefusal(namespace)))
		Expect(isThere(ctx, account)).To(BeTrue())

		_, printed, _ := strings.Cut(output, "kubectl ")
		output, err = runKubectl(ctx, namespace, strings.Fields(printed)...)
		Expect(err).NotTo(HaveOccurred(), output)
		output, err = runKubectl(ctx, namespace, "delete", "connectedaccount", "acme")
		Expect(err).NotTo(HaveOccurred(), output)
		Expect(isThere(ctx, account)).To(BeFalse())
	})

	DescribeTable("is not deleted with an annotation",
		func(ctx SpecContext, key, value string) {
			account := withConsent(ctx, namespace)
			account.SetAnnotations(map[string]string{key: value})
			Expect(suite.admin.Update(ctx, account)).To(Succeed())
			expectForbidden(suite.admin.Delete(ctx, account), deletionRefusal(namespace))
		},
		Entry("that names another account", v1alpha1.AnnotationAllowDelete, "acme-2"),
		Entry("that names it in capitals", v1alpha1.AnnotationAllowDelete, "Acme"),
		Entry("that says yes to any", v1alpha1.AnnotationAllowDelete, "true"),
		Entry("that is empty", v1alpha1.AnnotationAllowDelete, ""),
		Entry("of another name", "allow-delete", "acme"),
	)

	DescribeTable("is not deleted",
		func(ctx SpecContext, arguments ...string) {
			account := withConsent(ctx, namespace)
			output, err := runKubectl(ctx, namespace, arguments...)
			Expect(err).To(HaveOccurred(), output)
			Expect(output).To(ContainSubstring(deletionRefusal(namespace)))
			Expect(isThere(ctx, account)).To(BeTrue())
		},
		Entry("with all others", "delete", "connectedaccounts", "--all"),
		Entry("by its label", "delete", "connectedaccounts", "--selector=app=shop"),
		Entry("to leave what it owns behind", "delete", "connectedaccount", "acme", "--cascade=orphan"),
		Entry("after what it owns", "delete", "connectedaccount", "acme", "--cascade=foreground"),
		Entry("by force", "delete", "connectedaccount", "acme", "--force", "--grace-period=0"),
		Entry("in a dry run", "delete", "connectedaccount", "acme", "--dry-run=server"),
	)

	It("is not pruned by a pipeline whose folder has lost its manifest", func(ctx SpecContext) {
		account := withConsent(ctx, namespace)
		folder := GinkgoT().TempDir()
		Expect(os.WriteFile(filepath.Join(folder, "other.yaml"), []byte(strings.Replace(consentAccount, "name: acme", "name: other", 1)), 0o600)).To(Succeed())
		prune := []string{"apply", "--filename", folder, "--selector=app=shop", "--prune", "--prune-allowlist=oauth-operator.dev/v1alpha1/ConnectedAccount"}
		// kubectl prunes what it has applied itself.
		account.SetAnnotations(map[string]string{corev1.LastAppliedConfigAnnotation: "{}"})
		Expect(suite.admin.Update(ctx, account)).To(Succeed())
		output, err := runKubectl(ctx, namespace, prune...)
		Expect(err).To(HaveOccurred(), output)
		Expect(output).To(ContainSubstring(deletionRefusal(namespace)))
		Expect(isThere(ctx, account)).To(BeTrue())
	})

	It("is not replaced by force", func(ctx SpecContext) {
		account := withConsent(ctx, namespace)
		manifest := filepath.Join(GinkgoT().TempDir(), "account.yaml")
		Expect(os.WriteFile(manifest, []byte(consentAccount), 0o600)).To(Succeed())
		output, err := runKubectl(ctx, namespace, "replace", "--force", "--filename", manifest)
		Expect(err).To(HaveOccurred(), output)
		Expect(output).To(ContainSubstring(deletionRefusal(namespace)))
		Expect(isThere(ctx, account)).To(BeTrue())
	})

	It("is not deleted by a deletion of the collection, alone or among others", func(ctx SpecContext) {
		account := withConsent(ctx, namespace)
		all := &v1alpha1.ConnectedAccount{}
		expectForbidden(suite.admin.DeleteAllOf(ctx, all, client.InNamespace(namespace)), deletionRefusal(namespace))
		for _, name := range []string{"aaa", "zzz"} {
			other := parse(smallestAccount)
			other.SetNamespace(namespace)
			other.SetName(name)
			Expect(suite.admin.Create(ctx, other)).To(Succeed())
		}
		expectForbidden(suite.admin.DeleteAllOf(ctx, all, client.InNamespace(namespace)), deletionRefusal(namespace))
		Expect(isThere(ctx, account)).To(BeTrue())
		account.SetAnnotations(map[string]string{v1alpha1.AnnotationAllowDelete: "acme"})
		Expect(suite.admin.Update(ctx, account)).To(Succeed())
		Expect(suite.admin.DeleteAllOf(ctx, all, client.InNamespace(namespace))).To(Succeed())
		Expect(isThere(ctx, account)).To(BeFalse())
	})

	It("is not deleted while its first refresh token is being spent", func(ctx SpecContext) {
		account := parse(consentAccount)
		account.SetNamespace(namespace)
		held(ctx, account, "claim", map[string]any{"id": "random", "sequence": int64(1)})
		expectForbidden(suite.admin.Delete(ctx, account), deletionRefusal(namespace))
	})

	It("is not deleted while its first code is being exchanged", func(ctx SpecContext) {
		account := parse(consentAccount)
		account.SetNamespace(namespace)
		held(ctx, account, "authorization", map[string]any{"attempt": int64(1), "exchange": map[string]any{"id": "random", "sequence": int64(1)}})
		expectForbidden(suite.admin.Delete(ctx, account), deletionRefusal(namespace))
	})

	It("is deleted by whoever may, once the annotation names it, and not by whoever may not", func(ctx SpecContext) {
		account := withConsent(ctx, namespace)
		expectForbidden(as(editor).Delete(ctx, account), deletionRefusal(namespace))
		account.SetAnnotations(map[string]string{v1alpha1.AnnotationAllowDelete: "acme"})
		Expect(as(editor).Update(ctx, account)).To(Succeed())
		Expect(as(viewer).Delete(ctx, account)).To(Satisfy(apierrors.IsForbidden))
		Expect(as(editor).Delete(ctx, account)).To(Succeed())
		Expect(isThere(ctx, account)).To(BeFalse())
	})

	It("is held by its finalizers once it is deleted, and no longer by the policy", func(ctx SpecContext) {
		account := withConsent(ctx, namespace)
		account.SetFinalizers([]string{"shop.example/wait"})
		Expect(suite.admin.Update(ctx, account)).To(Succeed())
		expectForbidden(suite.admin.Delete(ctx, account), deletionRefusal(namespace))
		account.SetAnnotations(map[string]string{v1alpha1.AnnotationAllowDelete: "acme"})
		Expect(suite.admin.Update(ctx, account)).To(Succeed())
		Expect(suite.admin.Delete(ctx, account)).To(Succeed())

		Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(account), account)).To(Succeed())
		account.SetAnnotations(nil)
		Expect(suite.admin.Update(ctx, account)).To(Succeed())
		Expect(suite.admin.Delete(ctx, account)).To(Succeed())
		Expect(isThere(ctx, account)).To(BeTrue())
		account.SetFinalizers(nil)
		Expect(suite.admin.Update(ctx, account)).To(Succeed())
		Expect(isThere(ctx, account)).To(BeFalse())
	})

	It("goes with its namespace", func(ctx SpecContext) {
		account := withConsent(ctx, namespace)
		output, err := runKubectl(ctx, namespace, "delete", "namespace", namespace, "--timeout=60s")
		Expect(err).NotTo(HaveOccurred(), output)
		Expect(isThere(ctx, account)).To(BeFalse())
	})

	It("is not taken by the garbage collector, which goes on once the annotation names it", func(ctx SpecContext) {
		owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}}
		Expect(suite.admin.Create(ctx, owner)).To(Succeed())
		owned := []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}}
		account, other := parse(consentAccount), parse(smallestAccount)
		other.SetName("other")
		for _, object := range []*unstructured.Unstructured{account, other} {
			object.SetNamespace(namespace)
			object.SetOwnerReferences(owned)
			held(ctx, object, "sealedCredential", "sealed")
		}
		Expect(suite.admin.Delete(ctx, owner)).To(Succeed())
		Eventually(func() bool { return isThere(ctx, other) }).Should(BeFalse(), "without a consent, it is collected")
		Eventually(func() []int { return answers(garbageCollector, account) }).Should(ContainElement(http.StatusForbidden))
		Expect(isThere(ctx, account)).To(BeTrue())

		Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(account), account)).To(Succeed())
		account.SetAnnotations(map[string]string{v1alpha1.AnnotationAllowDelete: "acme"})
		Expect(suite.admin.Update(ctx, account)).To(Succeed())
		Eventually(func() bool { return isThere(ctx, account) }).Should(BeFalse())
	})
})

// answers are the codes with which the API server has answered a user's deletions of an object.
func answers(user string, object *unstructured.Unstructured) []int {
	GinkgoHelper()
	events, err := cluster.ReadAudit(suite.cluster.AuditLog)
	Expect(err).NotTo(HaveOccurred())
	var codes []int
	for _, event := range events {
		if event.User == user && event.Verb == "delete" && event.Namespace == object.GetNamespace() && event.Name == object.GetName() {
			codes = append(codes, event.Code)
		}
	}
	return codes
}

var _ = Describe("P4 an account without a consent is deleted as ever", func() {
	DescribeTable("",
		func(ctx SpecContext, manifest, field string, value any) {
			object := parse(manifest)
			object.SetNamespace(newNamespace(ctx))
			held(ctx, object, field, value)
			Expect(as(editor).Delete(ctx, object)).To(Succeed())
			Expect(isThere(ctx, object)).To(BeFalse())
		},
		Entry("with client credentials, though it has a token", smallestAccount, "sealedCredential", "sealed"),
		Entry("before anything was imported or consented to", consentAccount, "observedGeneration", int64(1)),
		Entry("after a claim came to nothing", consentAccount, "claimSequence", int64(1)),
		Entry("while a person is asked", consentAccount, "authorization", map[string]any{"attempt": int64(1)}),
	)

	It("also before the operator has seen it", func(ctx SpecContext) {
		Expect(as(editor).Delete(ctx, created(ctx, consentAccount))).To(Succeed())
	})
})
