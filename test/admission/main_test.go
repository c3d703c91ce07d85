// Package admission_test tries out, on a real API server, what stands between a manifest and the operator: the schemas of
// the two kinds, the admission policies and the roles, all of them as config/default renders them. No operator runs
// here, but the controllers that collect owned objects and empty namespaces do.
package admission_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/cluster"
)

const (
	operatorNamespace = "oauth-operator-system"
	operatorName      = "oauth-operator"
	keyringName       = "oauth-operator-keyring"
	consentName       = "oauth-operator-consent"
)

var suite struct {
	cluster *cluster.Cluster
	// admin may do everything. Like all clients here it has its fields checked strictly, as kubectl has.
	admin client.Client
	// operator acts as the operator's ServiceAccount, with a token of its own.
	operator client.Client
	// consent acts as the ServiceAccount of the consent pages, with a token of its own.
	consent client.Client
	// rendered is config/default and config/consent, as kubectl renders them.
	rendered []byte
	// kubeconfig is the path of a kubeconfig of the admin, for kubectl.
	kubeconfig string
}

func TestAdmission(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(30 * time.Second)
	SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	RunSpecs(t, "admission")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	var err error
	suite.cluster, err = cluster.Start(ctx, cluster.Options{
		Manifests: []string{config("default"), config("consent")}, ControllerManager: true, Log: GinkgoWriter,
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(suite.cluster.Stop()).To(Succeed()) })
	suite.rendered = slices.Concat(render(ctx, "default"), []byte("\n---\n"), render(ctx, "consent"))
	suite.kubeconfig = filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(suite.cluster.WriteKubeconfig(suite.kubeconfig, suite.cluster.Admin)).To(Succeed())

	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(apiextensionsv1.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	admin, err := client.New(suite.cluster.Admin, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	suite.admin = client.WithFieldValidation(admin, metav1.FieldValidationStrict)
	asOperator, err := suite.cluster.ServiceAccountConfig(ctx, operatorNamespace, operatorName)
	Expect(err).NotTo(HaveOccurred())
	suite.operator = newClient(asOperator)
	asConsent, err := suite.cluster.ServiceAccountConfig(ctx, operatorNamespace, consentName)
	Expect(err).NotTo(HaveOccurred())
	suite.consent = newClient(asConsent)

	createUsers(ctx)
	awaitPolicies(ctx)
}, NodeTimeout(3*time.Minute))

// config is the path of a folder of the project's configuration.
func config(folder string) string { return filepath.Join("..", "..", "config", folder) }

// render gives the manifests of a folder with a kustomization.
func render(ctx context.Context, folder string) []byte {
	GinkgoHelper()
	command := exec.CommandContext(ctx, suite.cluster.Kubectl, "kustomize", config(folder))
	var problem bytes.Buffer
	command.Stderr = &problem
	rendered, err := command.Output()
	Expect(err).NotTo(HaveOccurred(), problem.String())
	return rendered
}

// awaitPolicies returns when the API server enforces the policies that were applied before. It takes them up together and
// a moment later, so it is enough to wait for one that is created last.
func awaitPolicies(ctx context.Context) {
	GinkgoHelper()
	const name = "last.admission.test"
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				ResourceNames: []string{name},
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				},
			}}},
			Validations: []admissionv1.Validation{{Expression: "false"}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}
	Expect(suite.admin.Create(ctx, policy)).To(Succeed())
	Expect(suite.admin.Create(ctx, binding)).To(Succeed())
	probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name}}
	Eventually(func() error {
		return suite.admin.Create(ctx, probe.DeepCopy(), client.DryRunAll)
	}).Should(Satisfy(apierrors.IsInvalid), "the API server should enforce the policies by now")
}
