package controller_test

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// manifests are what a newcomer applies: each mistake spoils one of them, or leaves one out.
type manifests struct {
	secret  *corev1.Secret
	owner   *v1alpha1.OAuthClient
	account *v1alpha1.ConnectedAccount
	// further is what is in the cluster besides.
	further []client.Object
}

// mistake is one way to get the manifests wrong.
type mistake struct {
	spoil func(ctx context.Context, s *stage, m *manifests)
	// reason is that of the account's Ready. The message names the thing that is wrong, and prints what to write: in both,
	// NAMESPACE and ELSEWHERE stand for the spec's own namespaces.
	reason, names, prints string
	// diagnosis is the reason that kubectl oauth doctor names, which looks behind a client that is not ready; sees is what it says
	// that the message does not.
	diagnosis, sees string
	// mend is what a reader of the message does.
	mend func(ctx context.Context, s *stage, m *manifests)
}

// otherNamespace makes a further namespace of the spec.
func (s *stage) otherNamespace(ctx context.Context) string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-elsewhere"}}
	s.create(ctx, namespace)
	DeferCleanup(func(ctx SpecContext) { Expect(suite.admin.Delete(ctx, namespace)).To(Succeed()) })
	return namespace.Name
}

// says reads Ready as "Status Reason: message".
func says(ctx context.Context, account *v1alpha1.ConnectedAccount) func() string {
	return func() string {
		ready := meta.FindStatusCondition(get(ctx, account.DeepCopy()).Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil {
			return "nothing yet"
		}
		return string(ready.Status) + " " + ready.Reason + ": " + ready.Message
	}
}

// newcomersMistakes are all of them.
func newcomersMistakes() []TableEntry {
	// rewrite has the Secret of the credentials say something else.
	rewrite := func(edit func(map[string]string)) func(context.Context, *stage, *manifests) {
		return func(_ context.Context, _ *stage, m *manifests) { edit(m.secret.StringData) }
	}
	correct := func(ctx context.Context, s *stage, m *manifests) {
		change(ctx, m.secret, func(secret *corev1.Secret) { secret.StringData = s.credentialSecret("mine").StringData })
	}

	return []TableEntry{
		Entry("no Secret", mistake{
			spoil:  func(_ context.Context, _ *stage, m *manifests) { m.secret = nil },
			reason: "ClientNotReady", names: "there is no Secret mine", prints: `create it, with the label oauth-operator.dev/credential: "true"`,
			diagnosis: "SecretNotFound",
			mend:      func(ctx context.Context, s *stage, _ *manifests) { s.create(ctx, s.credentialSecret("mine")) },
		}),
		Entry("a Secret in another namespace", mistake{
			spoil: func(ctx context.Context, s *stage, m *manifests) {
				// Other specs have Secrets, too: none of theirs may be found in place of this one.
				m.secret.Namespace, m.secret.Name = s.otherNamespace(ctx), "of-"+s.namespace
				m.owner.Spec.Authentication.ClientSecretRef.Name = m.secret.Name
			},
			reason: "ClientNotReady", names: "there is no Secret of-NAMESPACE in this namespace", prints: "create it",
			diagnosis: "SecretNotFound", sees: "There is one of that name in the namespace ELSEWHERE",
			mend: func(ctx context.Context, s *stage, _ *manifests) {
				s.create(ctx, s.credentialSecret("of-"+s.namespace))
			},
		}),
		Entry("another key", mistake{
			spoil: rewrite(func(data map[string]string) {
				data["clientSecret"] = data["client_secret"]
				delete(data, "client_secret")
			}),
			reason: "ClientNotReady", names: "the Secret mine has nothing under the key client_secret", prints: "add it, or correct the reference", diagnosis: "SecretKeyMissing", sees: "Is the key clientSecret meant?",
			mend: correct,
		}),
		Entry("an empty value", mistake{
			spoil:  rewrite(func(data map[string]string) { data["client_secret"] = "" }),
			reason: "ClientNotReady", names: "the Secret mine has nothing under the key client_secret", prints: "add it", diagnosis: "SecretKeyMissing", sees: "The key is there, and nothing is in it",
			mend: correct,
		}),
		Entry("no label", mistake{
			spoil:  func(_ context.Context, _ *stage, m *manifests) { m.secret.Labels = nil },
			reason: "ClientNotReady", names: "the Secret mine", prints: "kubectl label secret -n NAMESPACE mine oauth-operator.dev/credential=true",
			diagnosis: "SecretNotConsented",
			mend: func(ctx context.Context, _ *stage, m *manifests) {
				change(ctx, m.secret, func(secret *corev1.Secret) { secret.Labels = map[string]string{v1alpha1.LabelCredential: "true"} })
			},
		}),
		Entry("a Secret that is meant for another host", mistake{
			spoil: func(_ context.Context, _ *stage, m *manifests) {
				m.secret.Annotations = map[string]string{v1alpha1.AnnotationHosts: "other.example"}
			},
			reason: "ClientNotReady", names: "the annotation oauth-operator.dev/hosts of the Secret mine does not name the host of",
			prints:    "kubectl annotate --overwrite secret -n NAMESPACE mine oauth-operator.dev/hosts=other.example,127.0.0.1:",
			diagnosis: "SecretNotConsented",
			mend: func(ctx context.Context, _ *stage, m *manifests) {
				change(ctx, m.secret, func(secret *corev1.Secret) { delete(secret.Annotations, v1alpha1.AnnotationHosts) })
			},
		}),
		Entry("a newline at the end", mistake{
			spoil:  rewrite(func(data map[string]string) { data["client_secret"] += "\n" }),
			reason: "ClientNotReady", names: "the key client_secret of the Secret mine", prints: "newline", diagnosis: "SecretKeyMissing", sees: "newline",
			mend: correct,
		}),
		Entry("a client in another namespace that is not named", mistake{
			spoil: func(ctx context.Context, s *stage, m *manifests) {
				m.account.Namespace = s.otherNamespace(ctx)
				// Other specs have clients, too: no name of theirs may be found in place of this one.
				m.owner.Name, m.account.Spec.ClientRef.Name = "of-"+s.namespace, "of-"+s.namespace
				m.owner.Spec.AllowedNamespaces = []v1alpha1.AllowedNamespaces{{
					From: v1alpha1.NamespacesFromAll, Grants: []v1alpha1.GrantType{v1alpha1.GrantClientCredentials}, Scopes: []v1alpha1.Scope{"invoices"},
				}}
				m.account.Spec.Scopes = []v1alpha1.Scope{"invoices"}
			},
			reason: "ClientNotAvailable", names: "there is no OAuthClient of-NAMESPACE in this namespace", prints: "spec.clientRef.namespace",
			diagnosis: "ClientNotAvailable", sees: "There is one of that name in NAMESPACE",
			mend: func(ctx context.Context, s *stage, m *manifests) {
				change(ctx, m.account, func(a *v1alpha1.ConnectedAccount) { a.Spec.ClientRef.Namespace = s.namespace })
			},
		}),
		Entry("a client in another namespace that does not list this one", mistake{
			spoil: func(ctx context.Context, s *stage, m *manifests) {
				m.account.Namespace = s.otherNamespace(ctx)
				m.account.Spec.ClientRef.Namespace, m.account.Spec.Scopes = s.namespace, []v1alpha1.Scope{"invoices"}
			},
			reason: "ClientNotAvailable", names: "no OAuthClient NAMESPACE/business that this namespace may use", prints: "spec.allowedNamespaces",
			diagnosis: "ClientNotAvailable",
			mend: func(ctx context.Context, _ *stage, m *manifests) {
				change(ctx, m.owner, func(c *v1alpha1.OAuthClient) {
					c.Spec.AllowedNamespaces = []v1alpha1.AllowedNamespaces{{
						From: v1alpha1.NamespacesFromAll, Grants: []v1alpha1.GrantType{v1alpha1.GrantClientCredentials}, Scopes: []v1alpha1.Scope{"invoices"},
					}}
				})
			},
		}),
		Entry("a scope above the ceiling", mistake{
			spoil: func(_ context.Context, _ *stage, m *manifests) {
				m.account.Spec.Scopes = []v1alpha1.Scope{"invoices", "payments"}
			},
			reason: "ScopeNotAllowed", names: "the scopes payments", prints: "remove them from spec.scopes",
			diagnosis: "ScopeNotAllowed",
			mend: func(ctx context.Context, _ *stage, m *manifests) {
				change(ctx, m.account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Scopes = []v1alpha1.Scope{"invoices"} })
			},
		}),
		Entry("a name that another's Secret has", mistake{
			spoil: func(_ context.Context, s *stage, m *manifests) {
				m.further = []client.Object{&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "a"}}}
			},
			reason: "SecretOwnedByOther", names: "a Secret a exists that is not this account's", prints: "set spec.secret.name to another name",
			diagnosis: "SecretOwnedByOther",
			mend: func(ctx context.Context, _ *stage, m *manifests) {
				change(ctx, m.account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Secret.Name = "a-token" })
			},
		}),
	}
}

// make applies the manifests with the mistake in them, and waits until the account says so.
func (made mistake) make(ctx context.Context, s *stage) *manifests {
	GinkgoHelper()
	m := &manifests{
		secret:  s.credentialSecret("mine"),
		owner:   s.business(func(c *v1alpha1.OAuthClient) { c.Spec.Authentication.ClientSecretRef.Name = "mine" }),
		account: s.account("a", "business"),
	}
	made.spoil(ctx, s, m)
	if m.secret != nil {
		s.create(ctx, m.secret)
	}
	s.create(ctx, append(m.further, m.owner, m.account)...)
	Eventually(says(ctx, m.account)).Should(And(
		HavePrefix("False "+made.reason+": "),
		ContainSubstring(s.placed(made.names)), ContainSubstring(s.placed(made.prints)),
	))
	return m
}

// placed puts the spec's namespaces in their places.
func (s *stage) placed(text string) string {
	return strings.NewReplacer("NAMESPACE", s.namespace, "ELSEWHERE", s.namespace+"-elsewhere").Replace(text)
}

var _ = Describe("A newcomer's mistake", func() {
	DescribeTable("is named with what to do, calls nobody, writes nothing again and again, and is over in seconds once mended",
		func(ctx SpecContext, made mistake) {
			s := newStage(ctx, time.Hour)
			m := made.make(ctx, s)

			rests(ctx, m.account)
			mark := suite.wire.mark()
			for range 3 {
				rests(ctx, m.account)
			}
			Expect(paths(suite.wire.since(mark, writesWithin(m.account.Namespace)))).To(BeEmpty(), "what has been said is not said again")
			Expect(s.provider.TokenRequests()).To(BeZero())

			made.mend(ctx, s, m)
			becomesReady(ctx, m.account)
			Expect(s.provider.TokenRequests()).To(Equal(1))
		},
		newcomersMistakes(),
	)

	DescribeTable("is named by kubectl oauth doctor, and what that says to type mends it",
		func(ctx SpecContext, made mistake) {
			s := newStage(ctx, time.Hour)
			m := made.make(ctx, s)
			typing := s.terminal()

			found := diagnosed(ctx, typing, m.account)
			Expect(found).To(HaveLen(1), "one mistake is one fault")
			Expect(found[0].What).To(Equal(made.diagnosis))
			Expect(found[0].Message).To(And(ContainSubstring(s.placed(made.names)), ContainSubstring(s.placed(made.sees))))
			Expect(found[0].Actor).NotTo(BeEmpty())
			Expect(found[0].Commands).NotTo(BeEmpty())

			typing.environment = append(typing.environment, "CLIENT_SECRET="+s.secret)
			for _, command := range found[0].Commands {
				typing.types(ctx, command)
			}
			becomesReady(ctx, m.account)
			Expect(diagnosed(ctx, typing, m.account)).To(BeEmpty())
		},
		newcomersMistakes(),
	)
})
