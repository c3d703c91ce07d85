package admission_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const statusRefusal = "the status is written by the operator alone; to restore one from a backup, act as somebody who may update " +
	"the Secret oauth-operator-keyring in the namespace oauth-operator-system"

// statusWrite is a way in which a status can be written: it sets observedGeneration to 7.
type statusWrite struct {
	way   string
	write func(ctx context.Context, writer client.Client, object *unstructured.Unstructured) error
}

func statusWrites() []statusWrite {
	return []statusWrite{{"update", updateStatus}, {"patch", patchStatus}, {"server-side apply", applyStatus}}
}

func updateStatus(ctx context.Context, writer client.Client, object *unstructured.Unstructured) error {
	updated := object.DeepCopy()
	updated.Object["status"] = map[string]any{"observedGeneration": int64(7)}
	return writer.Status().Update(ctx, updated)
}

func patchStatus(ctx context.Context, writer client.Client, object *unstructured.Unstructured) error {
	patch := client.RawPatch(types.MergePatchType, []byte(`{"status":{"observedGeneration":7}}`))
	return writer.Status().Patch(ctx, object.DeepCopy(), patch)
}

func applyStatus(ctx context.Context, writer client.Client, object *unstructured.Unstructured) error {
	applied := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"observedGeneration": int64(7)}}}
	applied.SetGroupVersionKind(object.GroupVersionKind())
	applied.SetNamespace(object.GetNamespace())
	applied.SetName(object.GetName())
	return writer.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("test"), client.ForceOwnership)
}

var _ = Describe("P1 the status", func() {
	for _, manifest := range []string{smallestClient, smallestAccount} {
		kind := parse(manifest).GetKind()
		for _, by := range statusWrites() {
			It("of "+kind+" is not written by a tenant, by "+by.way, func(ctx SpecContext) {
				object := created(ctx, manifest)
				err := by.write(ctx, as(tenant), object)
				expectForbidden(err, statusRefusal)
				Expect(observedGeneration(ctx, object)).To(BeEquivalentTo(-1))
			})

			It("of "+kind+" is written by whoever may update the keyring, by "+by.way, func(ctx SpecContext) {
				object := created(ctx, manifest)
				Expect(by.write(ctx, as(restorer), object)).To(Succeed())
				Expect(observedGeneration(ctx, object)).To(BeEquivalentTo(7))
			})
		}

		It("of "+kind+" is written by the operator", func(ctx SpecContext) {
			object := created(ctx, manifest)
			Expect(updateStatus(ctx, suite.operator, object)).To(Succeed())
			Expect(observedGeneration(ctx, object)).To(BeEquivalentTo(7))
		})
	}

	It("is not written by another ServiceAccount of the operator's name", func(ctx SpecContext) {
		object := created(ctx, smallestAccount)
		lookalike := "system:serviceaccount:" + object.GetNamespace() + ":" + operatorName
		grant(ctx, lookalike, rule("*", []string{"*"}, []string{"get", "list", "watch", "create", "patch"}),
			rule(object.GroupVersionKind().Group, []string{"*"}, []string{"*"}))
		Eventually(func() error {
			return as(lookalike).Get(ctx, client.ObjectKeyFromObject(object), object)
		}).Should(Succeed())
		expectForbidden(updateStatus(ctx, as(lookalike), object), statusRefusal)
	})
})

// created creates an object of a manifest in a namespace of its own.
func created(ctx context.Context, manifest string) *unstructured.Unstructured {
	GinkgoHelper()
	object := parse(manifest)
	object.SetNamespace(newNamespace(ctx))
	Expect(suite.admin.Create(ctx, object)).To(Succeed())
	return object
}

func observedGeneration(ctx context.Context, object *unstructured.Unstructured) int64 {
	GinkgoHelper()
	live := object.DeepCopy()
	Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(object), live)).To(Succeed())
	generation, found, err := unstructured.NestedInt64(live.Object, "status", "observedGeneration")
	Expect(err).NotTo(HaveOccurred())
	Expect(found).To(BeTrue())
	return generation
}

// expectForbidden expects a policy's refusal: 403, and its message.
func expectForbidden(err error, message string) {
	GinkgoHelper()
	Expect(err).To(HaveOccurred(), "it should be refused: %s", message)
	Expect(apierrors.ReasonForError(err)).To(Equal(metav1.StatusReasonForbidden), "%v", err)
	Expect(err).To(MatchError(HaveSuffix("denied request: " + message)))
}
