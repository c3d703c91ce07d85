package admission_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const finalizerRefusal = "of an account the operator changes the finalizer oauth-operator.dev/revoke and nothing else"

var _ = Describe("P5 an account, which the operator may patch,", func() {
	// held is an account with metadata of others.
	held := func(ctx SpecContext, finalizers string) *unstructured.Unstructured {
		GinkgoHelper()
		object := created(ctx, smallestAccount)
		patch := `{"metadata":{"finalizers":` + finalizers + `,"labels":{"team":"a"},"annotations":{"shop.example/note":"a"}}}`
		Expect(suite.admin.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(patch)))).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			Expect(suite.admin.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))).To(Succeed())
		})
		return object
	}

	It("gets its finalizer, beside those of others, and is let go", func(ctx SpecContext) {
		object := held(ctx, `["shop.example/keep"]`)
		for _, finalizers := range []string{`["shop.example/keep","oauth-operator.dev/revoke"]`, `["shop.example/keep"]`} {
			patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":`+finalizers+`}}`))
			Expect(suite.operator.Patch(ctx, object, patch)).To(Succeed())
		}
		Expect(object.GetFinalizers()).To(Equal([]string{"shop.example/keep"}))
	})

	DescribeTable("is not changed by it otherwise",
		func(ctx SpecContext, patch string) {
			object := held(ctx, `["shop.example/keep","oauth-operator.dev/revoke"]`)
			before := object.DeepCopy()
			err := suite.operator.Patch(ctx, object.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch)))
			expectForbidden(err, finalizerRefusal)
			Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
			Expect(object).To(Equal(before))
		},
		Entry("a finalizer of others less", `{"metadata":{"finalizers":["oauth-operator.dev/revoke"]}}`),
		Entry("all finalizers less", `{"metadata":{"finalizers":null}}`),
		Entry("a finalizer of others more", `{"metadata":{"finalizers":["shop.example/keep","oauth-operator.dev/revoke","shop.example/more"]}}`),
		Entry("a finalizer that only begins like its own", `{"metadata":{"finalizers":["shop.example/keep","oauth-operator.dev/revoke","oauth-operator.dev/revoked"]}}`),
		Entry("a label", `{"metadata":{"labels":{"team":"b"}}}`),
		Entry("labels away", `{"metadata":{"labels":null}}`),
		Entry("an annotation that approves", `{"metadata":{"annotations":{"oauth-operator.dev/approve":"mallory"}}}`),
		Entry("an annotation that allows deletion", `{"metadata":{"annotations":{"oauth-operator.dev/allow-delete":"acme"}}}`),
		Entry("an owner", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"x"}]}}`),
		Entry("the client", `{"spec":{"clientRef":{"name":"another"}}}`),
		Entry("the spec, together with its finalizer", `{"metadata":{"finalizers":["shop.example/keep"]},"spec":{"suspend":true}}`),
	)

	It("is the only kind that it patches", func(ctx SpecContext) {
		object := created(ctx, smallestClient)
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":["oauth-operator.dev/revoke"]}}`))
		Expect(suite.operator.Patch(ctx, object, patch)).To(Satisfy(apierrors.IsForbidden))
	})
})
