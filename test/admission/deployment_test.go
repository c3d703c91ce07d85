package admission_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var _ = Describe("the operator's namespace", func() {
	It("demands the restricted profile of its pods, and admits the operator's", func(ctx SpecContext) {
		deployment := &appsv1.Deployment{}
		Expect(suite.admin.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: operatorName}, deployment)).To(Succeed())
		template := deployment.Spec.Template
		Expect(template.Spec.ServiceAccountName).To(Equal(operatorName))
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: operatorName, Labels: template.Labels},
			Spec:       template.Spec,
		}
		Expect(suite.admin.Create(ctx, pod.DeepCopy(), client.DryRunAll)).To(Succeed())

		pod.Spec.Containers[0].SecurityContext = nil
		Expect(suite.admin.Create(ctx, pod, client.DryRunAll)).To(MatchError(ContainSubstring("violates PodSecurity \"restricted:latest\"")))
	})
})
