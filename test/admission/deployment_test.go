package admission_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// operatorPod is the pod that the operator's Deployment would make.
func operatorPod(ctx context.Context) *corev1.Pod {
	GinkgoHelper()
	return podOf(ctx, operatorName)
}

// podOf is the pod that a Deployment in the operator's namespace would make.
func podOf(ctx context.Context, name string) *corev1.Pod {
	GinkgoHelper()
	deployment := &appsv1.Deployment{}
	Expect(suite.admin.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: name}, deployment)).To(Succeed())
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: name, Labels: deployment.Spec.Template.Labels},
		Spec:       deployment.Spec.Template.Spec,
	}
}

var _ = Describe("the operator's namespace", func() {
	It("demands the restricted profile of its pods, and admits the operator's", func(ctx SpecContext) {
		pod := operatorPod(ctx)
		Expect(pod.Spec.ServiceAccountName).To(Equal(operatorName))
		Expect(suite.admin.Create(ctx, pod.DeepCopy(), client.DryRunAll)).To(Succeed())

		pod.Spec.Containers[0].SecurityContext = nil
		Expect(suite.admin.Create(ctx, pod, client.DryRunAll)).To(MatchError(ContainSubstring("violates PodSecurity \"restricted:latest\"")))
	})
})

var _ = Describe("the consent pages' pod", func() {
	It("is admitted under the restricted profile, writes nothing to its disk and has its keys mounted", func(ctx SpecContext) {
		pod := podOf(ctx, consentName)
		Expect(pod.Spec.ServiceAccountName).To(Equal(consentName))
		Expect(suite.admin.Create(ctx, pod.DeepCopy(), client.DryRunAll)).To(Succeed())
		container := pod.Spec.Containers[0]
		Expect(container.SecurityContext.ReadOnlyRootFilesystem).To(Equal(ptr.To(true)))
		Expect(container.VolumeMounts).To(HaveExactElements(HaveField("ReadOnly", true)))
		Expect(pod.Spec.Volumes).To(HaveExactElements(HaveField("Secret.SecretName", consentName)))
		Expect(container.Args).To(ContainElements("--serve=consent", "--consent-keys="+container.VolumeMounts[0].MountPath))
		Expect(container.EnvFrom).To(BeEmpty())
	})

	It("is what the Service reaches, on the port of the pages", func(ctx SpecContext) {
		service := &corev1.Service{}
		Expect(suite.admin.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: consentName}, service)).To(Succeed())
		pod := podOf(ctx, consentName)
		for name, value := range service.Spec.Selector {
			Expect(pod.Labels).To(HaveKeyWithValue(name, value))
		}
		Expect(service.Spec.Ports).To(HaveLen(1))
		Expect(pod.Spec.Containers[0].Ports).To(ContainElement(And(
			HaveField("Name", service.Spec.Ports[0].TargetPort.StrVal), HaveField("ContainerPort", BeEquivalentTo(8082)))))
		Expect(service.Spec.Type).To(Equal(corev1.ServiceTypeClusterIP))
		for name := range service.Spec.Selector {
			Expect(operatorPod(ctx).Labels[name]).NotTo(Equal(service.Spec.Selector[name]))
		}
	})
})

var _ = Describe("the operator's pod", func() {
	It("keeps its journal in a volume that outlives the container, is on disk and has room for all that is ever in it", func(ctx SpecContext) {
		pod := operatorPod(ctx)
		container := pod.Spec.Containers[0]
		var journal string
		for _, argument := range container.Args {
			if folder, is := strings.CutPrefix(argument, "--journal-dir="); is {
				journal = folder
			}
		}
		Expect(journal).NotTo(BeEmpty())
		Expect(container.VolumeMounts).To(HaveLen(1))
		mount := container.VolumeMounts[0]
		within, err := filepath.Rel(mount.MountPath, journal)
		Expect(err).NotTo(HaveOccurred())
		// A folder of its own: the kubelet gives the volume itself modes that the operator does not decide.
		Expect(within).To(Equal("journal"))
		Expect(mount.ReadOnly).To(BeFalse())
		Expect(mount.SubPath + mount.SubPathExpr).To(BeEmpty())

		Expect(pod.Spec.Volumes).To(HaveLen(1))
		volume := pod.Spec.Volumes[0]
		Expect(volume.Name).To(Equal(mount.Name))
		Expect(volume.EmptyDir).NotTo(BeNil())
		Expect(volume.EmptyDir.Medium).To(Equal(corev1.StorageMediumDefault))
		// 64 entries, each an answer of at most 1 MiB; twice that while files are renamed, and in Base64.
		Expect(volume.EmptyDir.SizeLimit.Cmp(resource.MustParse("192Mi"))).To(BeNumerically(">", 0))
		requested := container.Resources.Requests[corev1.ResourceEphemeralStorage]
		Expect(requested.Cmp(*volume.EmptyDir.SizeLimit)).To(BeZero())
	})

	It("runs as the image's user, who may write the journal", func(ctx SpecContext) {
		dockerfile, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
		Expect(err).NotTo(HaveOccurred())
		Expect(regexp.MustCompile(`(?m)^USER (.*)$`).FindStringSubmatch(string(dockerfile))).To(HaveExactElements(Not(BeEmpty()), "65532:65532"))
		spec := operatorPod(ctx).Spec
		Expect(spec.SecurityContext.RunAsUser).To(Equal(ptr.To[int64](65532)))
		Expect(spec.SecurityContext.RunAsGroup).To(Equal(ptr.To[int64](65532)))
		Expect(spec.SecurityContext.FSGroup).To(Equal(ptr.To[int64](65532)))
		Expect(spec.Containers[0].SecurityContext.RunAsUser).To(BeNil())
	})

	It("has the time to keep what it has asked for", func(ctx SpecContext) {
		Expect(operatorPod(ctx).Spec.TerminationGracePeriodSeconds).To(Equal(ptr.To[int64](120)))
	})
})
