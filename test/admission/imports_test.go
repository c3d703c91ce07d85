package admission_test

import (
	"bytes"
	"context"
	"maps"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const markedBy = "0b6c2c1e-1d2f-4a43-9d3f-0f2f5a4f7c11 2026-01-02T03:04:05Z mac"

var _ = Describe("P2 of a Secret whose refresh token is imported, the operator", func() {
	var namespace string
	BeforeEach(func(ctx SpecContext) { namespace = newNamespace(ctx) })
	mark := func(secret *corev1.Secret) {
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, v1alpha1.AnnotationImported, markedBy)
	}
	get := func(ctx context.Context) *corev1.Secret {
		GinkgoHelper()
		live := &corev1.Secret{}
		Expect(suite.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "source"}, live)).To(Succeed())
		return live
	}
	expectUntouched := func(ctx context.Context, secret *corev1.Secret) {
		GinkgoHelper()
		live, want := get(ctx), secret.DeepCopy()
		live.ManagedFields, want.ManagedFields = nil, nil
		Expect(live).To(Equal(want))
	}

	DescribeTable("sets the mark",
		func(ctx SpecContext, change func(secret *corev1.Secret)) {
			secret := importSource(ctx, namespace)
			change(secret)
			Expect(suite.admin.Create(ctx, secret)).To(Succeed())
			want := maps.Clone(secret.Annotations)
			mark(secret)
			Expect(suite.operator.Update(ctx, secret)).To(Succeed())
			live := get(ctx)
			if want == nil {
				want = map[string]string{}
			}
			want[v1alpha1.AnnotationImported] = markedBy
			Expect(live.Annotations).To(Equal(want))
			Expect(live.Data).To(Equal(secret.Data))
		},
		Entry("with owners, finalizers, labels and annotations", func(*corev1.Secret) {}),
		Entry("with nothing but the label", func(s *corev1.Secret) {
			s.Labels = map[string]string{v1alpha1.LabelCredential: "true"}
			s.Annotations, s.OwnerReferences, s.Finalizers = nil, nil, nil
		}),
		Entry("that is immutable", func(s *corev1.Secret) { s.Immutable = ptr.To(true) }),
		Entry("of the type for certificates", func(s *corev1.Secret) {
			s.Type = corev1.SecretTypeTLS
			s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = []byte("certificate"), []byte("key")
		}),
		Entry("of the type for passwords", func(s *corev1.Secret) {
			s.Type, s.Data[corev1.BasicAuthPasswordKey] = corev1.SecretTypeBasicAuth, []byte("password")
		}),
		Entry("as large as can be", func(s *corev1.Secret) {
			s.Data["rest"] = bytes.Repeat([]byte("x"), corev1.MaxSecretSize-len(s.Data["refresh_token"])-len(s.Data["client"]))
		}),
		Entry("over another mark, since somebody put a new token there", func(s *corev1.Secret) {
			s.Annotations[v1alpha1.AnnotationImported] = "another account's"
		}),
	)

	// Each of them comes together with the mark, which alone would be allowed.
	DescribeTable("changes nothing else: not",
		func(ctx SpecContext, change func(secret *corev1.Secret)) {
			secret := importSource(ctx, namespace)
			Expect(suite.admin.Create(ctx, secret)).To(Succeed())
			changed := secret.DeepCopy()
			mark(changed)
			change(changed)
			expectForbidden(suite.operator.Update(ctx, changed), notOurs)
			expectUntouched(ctx, secret)
		},
		Entry("a value", func(s *corev1.Secret) { s.Data["refresh_token"] = []byte("another") }),
		Entry("a value, by the field for plain text", func(s *corev1.Secret) { s.StringData = map[string]string{"refresh_token": "another"} }),
		Entry("a key more", func(s *corev1.Secret) { s.Data["more"] = []byte("more") }),
		Entry("a key more, without a value", func(s *corev1.Secret) { s.Data["more"] = nil }),
		Entry("a key less", func(s *corev1.Secret) { delete(s.Data, "client") }),
		Entry("no data", func(s *corev1.Secret) { s.Data = nil }),
		Entry("that it is immutable", func(s *corev1.Secret) { s.Immutable = ptr.To(true) }),
		Entry("that it says it is not immutable", func(s *corev1.Secret) { s.Immutable = ptr.To(false) }),
		Entry("a label more", func(s *corev1.Secret) { s.Labels["more"] = "more" }),
		Entry("a label less", func(s *corev1.Secret) { delete(s.Labels, "team") }),
		Entry("a label's value", func(s *corev1.Secret) { s.Labels["team"] = "another" }),
		Entry("its owner's consent withdrawn", func(s *corev1.Secret) { delete(s.Labels, v1alpha1.LabelCredential) }),
		Entry("S38 the label of a token Secret", func(s *corev1.Secret) { s.Labels[v1alpha1.LabelAccount] = "uid" }),
		Entry("an owner less", func(s *corev1.Secret) { s.OwnerReferences = nil }),
		Entry("an owner more", func(s *corev1.Secret) {
			s.OwnerReferences = append(s.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "more", UID: "more"})
		}),
		Entry("S38 an owner that is an account", func(s *corev1.Secret) {
			s.OwnerReferences = append(s.OwnerReferences, tokenSecret(namespace).OwnerReferences...)
		}),
		Entry("who its owner is", func(s *corev1.Secret) { s.OwnerReferences[0].UID = "another" }),
		Entry("that its owner controls it", func(s *corev1.Secret) { s.OwnerReferences[0].Controller = ptr.To(true) }),
		Entry("a finalizer more", func(s *corev1.Secret) { s.Finalizers = append(s.Finalizers, "shop.example/more") }),
		Entry("a finalizer less", func(s *corev1.Secret) { s.Finalizers = nil }),
		Entry("the prefix of its name", func(s *corev1.Secret) { s.GenerateName = "another-" }),
		Entry("an annotation more", func(s *corev1.Secret) { s.Annotations["more"] = "more" }),
		Entry("an annotation less", func(s *corev1.Secret) { delete(s.Annotations, "note") }),
		Entry("an annotation's value", func(s *corev1.Secret) { s.Annotations["note"] = "another" }),
		Entry("an annotation without a value", func(s *corev1.Secret) { s.Annotations["empty"] = "" }),
		Entry("S02 the hosts that may receive it", func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationHosts] = "elsewhere.example" }),
		Entry("S02 that any host may receive it", func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.AnnotationHosts) }),
	)

	It("cannot change its type, which nobody can", func(ctx SpecContext) {
		secret := importSource(ctx, namespace)
		Expect(suite.admin.Create(ctx, secret)).To(Succeed())
		changed := secret.DeepCopy()
		mark(changed)
		changed.Type = corev1.SecretTypeBasicAuth
		Expect(suite.operator.Update(ctx, changed)).To(Satisfy(apierrors.IsInvalid))
		expectUntouched(ctx, secret)
	})

	It("cannot take the mark off, and cannot write what has none", func(ctx SpecContext) {
		secret := importSource(ctx, namespace)
		Expect(suite.admin.Create(ctx, secret)).To(Succeed())
		expectForbidden(suite.operator.Update(ctx, secret.DeepCopy()), notOurs)
		mark(secret)
		Expect(suite.operator.Update(ctx, secret)).To(Succeed())
		without := secret.DeepCopy()
		delete(without.Annotations, v1alpha1.AnnotationImported)
		expectForbidden(suite.operator.Update(ctx, without), notOurs)
		expectUntouched(ctx, secret)
	})

	It("cannot delete it", func(ctx SpecContext) {
		secret := importSource(ctx, namespace)
		Expect(suite.admin.Create(ctx, secret)).To(Succeed())
		expectForbidden(suite.operator.Delete(ctx, secret.DeepCopy()), notOurs)
		expectUntouched(ctx, secret)
	})

	It("cannot create one", func(ctx SpecContext) {
		secret := importSource(ctx, namespace)
		mark(secret)
		expectForbidden(suite.operator.Create(ctx, secret), notMarked)
	})

	DescribeTable("does not mark one",
		func(ctx SpecContext, change func(secret *corev1.Secret)) {
			secret := importSource(ctx, namespace)
			change(secret)
			Expect(suite.admin.Create(ctx, secret)).To(Succeed())
			changed := secret.DeepCopy()
			mark(changed)
			expectForbidden(suite.operator.Update(ctx, changed), notOurs)
			expectUntouched(ctx, secret)
		},
		Entry("without the label", func(s *corev1.Secret) { delete(s.Labels, v1alpha1.LabelCredential) }),
		Entry("without any label", func(s *corev1.Secret) { s.Labels = nil }),
		Entry("with another value of the label", func(s *corev1.Secret) { s.Labels[v1alpha1.LabelCredential] = "false" }),
		Entry("S05 that is a ServiceAccount's token", func(s *corev1.Secret) {
			s.Type = corev1.SecretTypeServiceAccountToken
			s.Annotations[corev1.ServiceAccountNameKey] = "default"
		}),
		Entry("S05 that is a bootstrap token", func(s *corev1.Secret) { s.Type = corev1.SecretTypeBootstrapToken }),
		Entry("S05 that is a Helm release", func(s *corev1.Secret) { s.Type = "helm.sh/release.v1" }),
	)

	It("does not mark one in its own namespace", func(ctx SpecContext) {
		secret := importSource(ctx, operatorNamespace)
		Expect(suite.admin.Create(ctx, secret)).To(Succeed())
		DeferCleanup(func(ctx context.Context) {
			secret.Finalizers = nil
			Expect(suite.admin.Update(ctx, secret)).To(Succeed())
			Expect(suite.admin.Delete(ctx, secret)).To(Succeed())
		})
		changed := secret.DeepCopy()
		mark(changed)
		expectForbidden(suite.operator.Update(ctx, changed), ownNamespace)
	})
})

// importSource is a Secret with a refresh token, as its owner gives it to the operator, that has a bit of everything. Its
// owner reference names an object that exists: the garbage collector leaves it.
func importSource(ctx context.Context, namespace string) *corev1.Secret {
	GinkgoHelper()
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "owner-"}}
	Expect(suite.admin.Create(ctx, owner)).To(Succeed())
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "source",
			Labels:          map[string]string{v1alpha1.LabelCredential: "true", "team": "shop"},
			Annotations:     map[string]string{v1alpha1.AnnotationHosts: "provider.example", "note": "ours"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}},
			Finalizers:      []string{"shop.example/wait"},
		},
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{"refresh_token": []byte("token"), "client": []byte("id")},
	}
}
