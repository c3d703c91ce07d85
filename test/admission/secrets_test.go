package admission_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// What the policy on the operator's Secrets says.
const (
	notOurs = "the operator touches Secrets that an account controls, and no others; in one that it was given to read it may set the " +
		"annotation oauth-operator.dev/imported and nothing else"
	notMarked    = "the operator writes Secrets that bear its label and that an account controls, and no others"
	wrongType    = "the operator writes no Secrets of this type"
	ownNamespace = "in its own namespace the operator creates and updates its keyring and the Secret of the consent server, and touches no other Secret"
)

var _ = Describe("P2 of Secrets elsewhere, the operator", func() {
	var namespace string
	BeforeEach(func(ctx SpecContext) { namespace = newNamespace(ctx) })

	It("creates, updates and deletes those of an account", func(ctx SpecContext) {
		secret := ownedSecret(ctx, namespace)
		Expect(suite.operator.Create(ctx, secret)).To(Succeed())
		secret.Data["access_token"] = []byte("another")
		Expect(suite.operator.Update(ctx, secret)).To(Succeed())
		Expect(suite.operator.Delete(ctx, secret)).To(Succeed())
	})

	DescribeTable("creates those of the types that an account may ask for",
		func(ctx SpecContext, change func(secret *corev1.Secret)) {
			secret := tokenSecret(namespace)
			change(secret)
			Expect(suite.operator.Create(ctx, secret)).To(Succeed())
		},
		Entry("a pull secret", func(s *corev1.Secret) {
			s.Type, s.Data[corev1.DockerConfigJsonKey] = corev1.SecretTypeDockerConfigJson, []byte(`{"auths":{}}`)
		}),
		Entry("user and password", func(s *corev1.Secret) {
			s.Type, s.Data["username"], s.Data["password"] = corev1.SecretTypeBasicAuth, []byte("u"), []byte("p")
		}),
	)

	It("puts right one whose label somebody removed", func(ctx SpecContext) {
		secret := withoutLabel(ctx, namespace)
		secret.Labels = map[string]string{v1alpha1.LabelAccount: "uid"}
		Expect(suite.operator.Update(ctx, secret)).To(Succeed())
	})

	It("deletes one whose label somebody removed", func(ctx SpecContext) {
		Expect(suite.operator.Delete(ctx, withoutLabel(ctx, namespace))).To(Succeed())
	})

	DescribeTable("does not create",
		func(ctx SpecContext, change func(secret *corev1.Secret), message string) {
			secret := tokenSecret(namespace)
			change(secret)
			expectForbidden(suite.operator.Create(ctx, secret), message)
		},
		Entry("one without its label", func(s *corev1.Secret) { s.Labels = nil }, notMarked),
		Entry("one with the label of others only", func(s *corev1.Secret) { s.Labels = map[string]string{v1alpha1.LabelCredential: "true"} }, notMarked),
		Entry("one that belongs to nobody", func(s *corev1.Secret) { s.OwnerReferences = nil }, notMarked),
		Entry("one that belongs to a client", func(s *corev1.Secret) { s.OwnerReferences[0].Kind = "OAuthClient" }, notMarked),
		Entry("one that belongs to an account of another group", func(s *corev1.Secret) { s.OwnerReferences[0].APIVersion = "oauth-operator.device/v1" }, notMarked),
		Entry("one that an account owns but does not control", func(s *corev1.Secret) { s.OwnerReferences[0].Controller = nil }, notMarked),
		Entry("S05 a ServiceAccount's token", func(s *corev1.Secret) {
			s.Type = corev1.SecretTypeServiceAccountToken
			s.Annotations = map[string]string{corev1.ServiceAccountNameKey: "default"}
		}, wrongType),
		Entry("S05 a bootstrap token", func(s *corev1.Secret) { s.Type = corev1.SecretTypeBootstrapToken }, wrongType),
		Entry("S05 a Helm release", func(s *corev1.Secret) { s.Type = "helm.sh/release.v1" }, wrongType),
	)

	DescribeTable("touches nobody else's",
		func(ctx SpecContext, act func(ctx context.Context, secret *corev1.Secret) error) {
			secret := foreignSecret(namespace, "theirs")
			Expect(suite.admin.Create(ctx, secret)).To(Succeed())
			expectForbidden(act(ctx, secret.DeepCopy()), notOurs)
			live := &corev1.Secret{}
			Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(secret), live)).To(Succeed())
			Expect(live).To(Equal(secret))
		},
		Entry("to delete it", func(ctx context.Context, secret *corev1.Secret) error { return suite.operator.Delete(ctx, secret) }),
		Entry("to change its data", func(ctx context.Context, secret *corev1.Secret) error {
			secret.Data["key"] = []byte("overwritten")
			return suite.operator.Update(ctx, secret)
		}),
		Entry("S38 to make it its own", func(ctx context.Context, secret *corev1.Secret) error {
			ours := tokenSecret(namespace)
			secret.Labels, secret.OwnerReferences, secret.Data = ours.Labels, ours.OwnerReferences, ours.Data
			return suite.operator.Update(ctx, secret)
		}),
	)

	It("S38 is not misled by its label on somebody else's", func(ctx SpecContext) {
		secret := foreignSecret(namespace, "forged")
		secret.Labels = map[string]string{v1alpha1.LabelAccount: "uid"}
		Expect(suite.admin.Create(ctx, secret)).To(Succeed())
		expectForbidden(suite.operator.Delete(ctx, secret), notOurs)
	})

	It("does not let go of an account's Secret other than by deleting it", func(ctx SpecContext) {
		secret := ownedSecret(ctx, namespace)
		Expect(suite.operator.Create(ctx, secret)).To(Succeed())
		secret.OwnerReferences = nil
		expectForbidden(suite.operator.Update(ctx, secret), notMarked)
	})

	It("is bounded, and nobody else is", func(ctx SpecContext) {
		grant(ctx, "writer-"+namespace, rule("", []string{"secrets"}, []string{"*"}))
		writer := as("writer-" + namespace)
		secret := foreignSecret(namespace, "free")
		Eventually(func() error { return writer.Create(ctx, secret) }).Should(Succeed())
		Expect(writer.Delete(ctx, secret)).To(Succeed())
	})
})

var _ = Describe("P2 of Secrets in its own namespace, the operator", Ordered, func() {
	AfterEach(func(ctx SpecContext) {
		for _, name := range []string{keyringName, "theirs"} {
			Expect(client.IgnoreNotFound(suite.admin.Delete(ctx, foreignSecret(operatorNamespace, name)))).To(Succeed())
		}
	})

	It("S40 creates and updates its keyring, and cannot delete it", func(ctx SpecContext) {
		keyring := foreignSecret(operatorNamespace, keyringName)
		Expect(suite.operator.Create(ctx, keyring)).To(Succeed())
		keyring.Data["key"] = []byte("another")
		Expect(suite.operator.Update(ctx, keyring)).To(Succeed())
		expectForbidden(suite.operator.Delete(ctx, keyring), ownNamespace)
	})

	It("S05 does not create a ServiceAccount's token by the name of its keyring", func(ctx SpecContext) {
		forged := foreignSecret(operatorNamespace, keyringName)
		forged.Type = corev1.SecretTypeServiceAccountToken
		forged.Annotations = map[string]string{corev1.ServiceAccountNameKey: operatorName}
		expectForbidden(suite.operator.Create(ctx, forged), wrongType)
	})

	It("creates no other, not even one that looks like an account's", func(ctx SpecContext) {
		expectForbidden(suite.operator.Create(ctx, foreignSecret(operatorNamespace, "theirs")), ownNamespace)
		expectForbidden(suite.operator.Create(ctx, tokenSecret(operatorNamespace)), ownNamespace)
		generated := tokenSecret(operatorNamespace)
		generated.Name, generated.GenerateName = "", keyringName
		expectForbidden(suite.operator.Create(ctx, generated), ownNamespace)
	})

	It("updates and deletes no other", func(ctx SpecContext) {
		secret := foreignSecret(operatorNamespace, "theirs")
		Expect(suite.admin.Create(ctx, secret)).To(Succeed())
		expectForbidden(suite.operator.Update(ctx, secret), ownNamespace)
		expectForbidden(suite.operator.Delete(ctx, secret), ownNamespace)
	})

	It("has no keyring elsewhere", func(ctx SpecContext) {
		expectForbidden(suite.operator.Create(ctx, foreignSecret(newNamespace(ctx), keyringName)), notMarked)
	})
})

// ownedSecret is a Secret as the operator writes it, of an account that exists: the garbage collector leaves it.
func ownedSecret(ctx context.Context, namespace string) *corev1.Secret {
	GinkgoHelper()
	account := parse(smallestAccount)
	account.SetNamespace(namespace)
	Expect(suite.admin.Create(ctx, account)).To(Succeed())
	secret := tokenSecret(namespace)
	secret.OwnerReferences[0].UID = account.GetUID()
	return secret
}

// tokenSecret is a Secret as the operator writes it, of an account that does not exist.
func tokenSecret(namespace string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "acme",
			Labels: map[string]string{v1alpha1.LabelAccount: "uid"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion().String(), Kind: "ConnectedAccount", Name: "acme", UID: "uid", Controller: ptr.To(true),
			}},
		},
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{"access_token": []byte("token")},
	}
}

// foreignSecret is a Secret that has nothing to do with the operator.
func foreignSecret(namespace, name string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{"key": []byte("value")},
	}
}

// withoutLabel is the operator's Secret after somebody else removed its label.
func withoutLabel(ctx context.Context, namespace string) *corev1.Secret {
	GinkgoHelper()
	secret := ownedSecret(ctx, namespace)
	Expect(suite.operator.Create(ctx, secret)).To(Succeed())
	secret.Labels = nil
	Expect(suite.admin.Update(ctx, secret)).To(Succeed())
	return secret
}
