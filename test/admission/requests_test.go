package admission_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

var _ = Describe("a refresh that is asked for", func() {
	var namespace string
	BeforeEach(func(ctx SpecContext) { namespace = newNamespace(ctx) })
	asks := func(value string) *unstructured.Unstructured {
		object := parse(smallestAccount)
		object.SetNamespace(namespace)
		object.SetAnnotations(map[string]string{v1alpha1.AnnotationRefreshRequestedAt: value})
		return object
	}

	DescribeTable("is accepted with a time",
		func(ctx SpecContext, value string) {
			Expect(as(editor).Create(ctx, asks(value))).To(Succeed())
		},
		Entry("as date prints it", "2026-03-14T12:00:00Z"),
		Entry("of another zone", "2026-03-14T12:00:00+01:00"),
		Entry("with a fraction", "2026-03-14T12:00:00.123456789Z"),
		Entry("that is far away", "2099-12-31T23:59:59Z"),
	)

	DescribeTable("is refused with anything else, and the message says what to write",
		func(ctx SpecContext, value string) {
			refused := Satisfy(apierrors.IsInvalid)
			saying := MatchError(ContainSubstring("write oauth-operator.dev/refresh-requested-at=$(date -u +%FT%TZ)"))
			Expect(as(editor).Create(ctx, asks(value))).To(And(refused, saying))

			By("an update")
			object := parse(smallestAccount)
			object.SetNamespace(namespace)
			Expect(as(editor).Create(ctx, object)).To(Succeed())
			object.SetAnnotations(map[string]string{v1alpha1.AnnotationRefreshRequestedAt: value})
			if value != "" { // nothing instead of nothing is no change
				Expect(as(editor).Update(ctx, object)).To(And(refused, saying))
			}
		},
		Entry("a word", "now"),
		Entry("nothing", ""),
		Entry("a date", "2026-03-14"),
		Entry("a space in it", "2026-03-14 12:00:00Z"),
		Entry("no zone", "2026-03-14T12:00:00"),
		Entry("seconds since 1970", "1773489600"),
		Entry("a month that is not", "2026-13-14T12:00:00Z"),
		Entry("a line break at its end", "2026-03-14T12:00:00Z\n"),
	)

	It("does not keep an account from being edited, once it is there", func(ctx SpecContext) {
		object := asks("2026-02-30T12:00:00Z")
		Expect(as(editor).Create(ctx, object)).To(Succeed(), "the operator tells of a day that is not in the calendar")
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"suspend":true}}`))
		Expect(as(editor).Patch(ctx, object, patch)).To(Succeed())
	})
})
