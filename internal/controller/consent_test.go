package controller_test

import (
	"context"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// contentReads are requests for the content of a Secret, not for its metadata alone.
func contentReads(namespace, name string) func(call) bool {
	return func(made call) bool {
		return made.method == http.MethodGet && strings.HasSuffix(made.path, "/namespaces/"+namespace+"/secrets/"+name) &&
			!strings.Contains(made.accept, "PartialObjectMetadata")
	}
}

func clientCondition(ctx context.Context, owner *v1alpha1.OAuthClient, kind string) func() string {
	return func() string {
		current := owner.DeepCopy()
		if err := suite.admin.Get(ctx, client.ObjectKeyFromObject(owner), current); err != nil {
			return err.Error()
		}
		if found := meta.FindStatusCondition(current.Status.Conditions, kind); found != nil {
			return string(found.Status) + " " + found.Reason
		}
		return "absent"
	}
}

func clientMessage(ctx context.Context, owner *v1alpha1.OAuthClient) string {
	GinkgoHelper()
	found := meta.FindStatusCondition(get(ctx, owner.DeepCopy()).Status.Conditions, "Ready")
	Expect(found).NotTo(BeNil())
	return found.Message
}

// staysUnused: the client says why, the account waits, and the provider hears nothing.
func (s *stage) staysUnused(ctx context.Context, owner *v1alpha1.OAuthClient, account *v1alpha1.ConnectedAccount, reason string) {
	GinkgoHelper()
	Eventually(clientCondition(ctx, owner, "Ready")).Should(Equal("False " + reason))
	Eventually(condition(ctx, account, "Ready")).Should(Equal("False ClientNotReady"))
	Expect(rests(ctx, account)).To(Equal("client not ready"))
	Expect(s.provider.TokenRequests()).To(BeZero())
}

var _ = Describe("Secrets of others", func() {
	It("S01 an unlabelled Secret is not read, and the message prints the line that allows it", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		unlabelled := s.credentialSecret("unlabelled")
		unlabelled.Labels = nil
		owner := s.bills(func(c *v1alpha1.OAuthClient) { c.Spec.Authentication.ClientSecretRef.Name = "unlabelled" })
		account := s.account("a", "bills")
		mark := suite.wire.mark()
		s.create(ctx, unlabelled, owner, account)
		s.staysUnused(ctx, owner, account, "SecretNotConsented")
		Expect(clientMessage(ctx, owner)).To(ContainSubstring("kubectl label secret -n " + s.namespace + " unlabelled oauth-operator.dev/credential=true"))
		Expect(suite.wire.since(mark, contentReads(s.namespace, "unlabelled"))).To(BeEmpty())

		change(ctx, unlabelled, func(secret *corev1.Secret) { secret.Labels = map[string]string{v1alpha1.LabelCredential: "true"} })
		becomesReady(ctx, account)
	})

	It("S02 a Secret whose hosts leave the token endpoint out is not sent there", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		limited := s.credentialSecret("limited")
		limited.Annotations = map[string]string{v1alpha1.AnnotationHosts: "api.example.com"}
		owner := s.bills(func(c *v1alpha1.OAuthClient) { c.Spec.Authentication.ClientSecretRef.Name = "limited" })
		account := s.account("a", "bills")
		s.create(ctx, limited, owner, account)
		s.staysUnused(ctx, owner, account, "SecretNotConsented")
		Expect(clientMessage(ctx, owner)).To(ContainSubstring("kubectl annotate --overwrite secret -n " + s.namespace + " limited oauth-operator.dev/hosts=api.example.com,127.0.0.1:"))

		change(ctx, limited, func(secret *corev1.Secret) {
			secret.Annotations[v1alpha1.AnnotationHosts] = "api.example.com, " + strings.TrimPrefix(s.provider.URL(), "https://")
		})
		becomesReady(ctx, account)
	})

	It("S04 Secrets that are credentials of the cluster are refused, though they are labelled", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		user := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "user"}}
		s.create(ctx, user)
		for _, kind := range []corev1.SecretType{corev1.SecretTypeServiceAccountToken, "bootstrap.kubernetes.io/token", "helm.sh/release.v1"} {
			name := strings.NewReplacer("/", "-", ".", "-").Replace(string(kind))
			labelled := s.credentialSecret(name)
			labelled.Type = kind
			labelled.Annotations = map[string]string{corev1.ServiceAccountNameKey: "user"}
			owner := s.bills(func(c *v1alpha1.OAuthClient) { c.Name, c.Spec.Authentication.ClientSecretRef.Name = name, name })
			account := s.account(name, name)
			s.create(ctx, labelled, owner, account)
			s.staysUnused(ctx, owner, account, "SecretNotConsented")
			Expect(clientMessage(ctx, owner)).To(ContainSubstring(string(kind)))
		}
	})

	It("takes the client id from a Secret", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		id := s.credentialSecret("registration")
		id.StringData["client_id"] = billsID
		account := s.account("a", "bills")
		s.create(ctx, id, account, s.bills(func(c *v1alpha1.OAuthClient) {
			c.Spec.ClientID, c.Spec.ClientIDRef = "", v1alpha1.SecretKeyReference{Name: "registration", Key: "client_id"}
		}))
		becomesReady(ctx, account)
	})

	It("tells the consent pages the client id that lies in a Secret, and never the client secret", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		id := s.credentialSecret("registration")
		id.StringData["client_id"] = billsID
		owner := s.bills(s.withConsent(provider.Smartbills), func(c *v1alpha1.OAuthClient) {
			c.Spec.ClientID, c.Spec.ClientIDRef = "", v1alpha1.SecretKeyReference{Name: "registration", Key: "client_id"}
		})
		told := func() string { return get(ctx, owner.DeepCopy()).Status.ClientID }
		s.create(ctx, id, owner)
		Eventually(told).Should(Equal(billsID))
		change(ctx, id, func(secret *corev1.Secret) { secret.Data["client_id"] = []byte("another") })
		Eventually(told).Should(Equal("another"))
		change(ctx, id, func(secret *corev1.Secret) { secret.Data["client_id"] = []byte(s.secret) })
		Eventually(told).Should(BeEmpty(), "the client secret was written in the wrong place")
		change(ctx, id, func(secret *corev1.Secret) { secret.Data["client_id"] = []byte(billsID) })
		Eventually(told).Should(Equal(billsID))
		change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Spec.Endpoints.Authorization = "" })
		Eventually(told).Should(BeEmpty(), "there is no page to be told")
	})

	It("names an endpoint that could never be called", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		owner := s.bills(func(c *v1alpha1.OAuthClient) { c.Spec.Endpoints.Token = "https://10.1.2.3/token" })
		account := s.account("a", "bills")
		s.create(ctx, owner, account)
		s.staysUnused(ctx, owner, account, "InvalidEndpoint")
		Expect(clientMessage(ctx, owner)).To(ContainSubstring("--allow-cidrs"))
	})
})

var _ = Describe("A client of another namespace", func() {
	shared := func(s *stage, entries ...v1alpha1.AllowedNamespaces) *v1alpha1.OAuthClient {
		return s.business(func(c *v1alpha1.OAuthClient) { c.Spec.AllowedNamespaces = entries })
	}
	elsewhere := func(ctx context.Context, s *stage, scopes ...v1alpha1.Scope) *v1alpha1.ConnectedAccount {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "tenant-", Labels: map[string]string{"billing": "allowed"}}}
		s.create(ctx, namespace)
		DeferCleanup(func(ctx SpecContext) { Expect(suite.admin.Delete(ctx, namespace)).To(Succeed()) })
		account := s.account("tenant", "business", func(a *v1alpha1.ConnectedAccount) {
			a.Namespace, a.Spec.ClientRef.Namespace, a.Spec.Scopes = namespace.Name, s.namespace, scopes
		})
		s.create(ctx, account)
		return account
	}
	credentials := []v1alpha1.GrantType{v1alpha1.GrantClientCredentials}

	It("S20 does not share client credentials unless an entry says so, and tells no more than if it did not exist", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		owner := shared(s, v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll, Scopes: []v1alpha1.Scope{"invoices"}})
		s.create(ctx, owner)
		account := elsewhere(ctx, s, "invoices")
		missing := elsewhere(ctx, s, "invoices")
		change(ctx, missing, func(a *v1alpha1.ConnectedAccount) { a.Spec.ClientRef.Name = "nothing" })
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False ClientNotAvailable"))
		Eventually(condition(ctx, missing, "Ready")).Should(Equal("False ClientNotAvailable"))
		Eventually(func() string { return readyMessage(ctx, missing) }).
			Should(Equal(strings.ReplaceAll(readyMessage(ctx, account), "business", "nothing")))
		Expect(rests(ctx, account)).To(Equal("client not available"))
		Expect(s.provider.TokenRequests()).To(BeZero())

		change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Spec.AllowedNamespaces[0].Grants = credentials })
		becomesReady(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("follows the labels of the namespace", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		s.create(ctx, shared(s, v1alpha1.AllowedNamespaces{
			From: v1alpha1.NamespacesFromSelector, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}},
			Grants: credentials, Scopes: []v1alpha1.Scope{"invoices"},
		}))
		account := elsewhere(ctx, s, "invoices")
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False ClientNotAvailable"))
		change(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: account.Namespace}}, func(n *corev1.Namespace) { n.Labels["tier"] = "gold" })
		becomesReady(ctx, account)
	})

	It("is held to the scopes that its entry lists", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		s.create(ctx, shared(s, v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll, Grants: credentials, Scopes: []v1alpha1.Scope{"invoices"}}))
		for _, account := range []*v1alpha1.ConnectedAccount{elsewhere(ctx, s, "contact"), elsewhere(ctx, s)} {
			Eventually(condition(ctx, account, "Ready")).Should(Equal("False ScopeNotAllowed"))
			Expect(rests(ctx, account)).To(Equal("scope not allowed"))
		}
		Expect(s.provider.TokenRequests()).To(BeZero())
	})

	It("does not hand out a token of which nobody can say what it is good for", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		s.create(ctx, shared(s, v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll, Grants: credentials, Scopes: []v1alpha1.Scope{"invoices"}}))
		Expect(s.provider.Script(businessID, provider.ReplyWith(200, http.Header{"Content-Type": {"application/json"}},
			`{"access_token":"opat_more","token_type":"Bearer","expires_in":3600,"scope":"invoices `+strings.Repeat("x", 17<<10)+`"}`))).To(Succeed())
		account := elsewhere(ctx, s, "invoices")
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False InvalidResponse"))
		Expect(get(ctx, account).Status.SealedCredential).To(BeEmpty())
	})

	It("is told of a selector that makes no sense", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		owner := shared(s, v1alpha1.AllowedNamespaces{
			From: v1alpha1.NamespacesFromSelector, Grants: credentials, Scopes: []v1alpha1.Scope{"invoices"},
			Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: "Like", Values: []string{"gold"}}}},
		})
		s.create(ctx, owner)
		Eventually(clientCondition(ctx, owner, "Ready")).Should(Equal("False InvalidSelector"))
		Expect(clientMessage(ctx, owner)).To(ContainSubstring("spec.allowedNamespaces[0].selector"))
	})

	It("does not hand out a token that can do more than the entry lists", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		s.create(ctx, shared(s, v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll, Grants: credentials, Scopes: []v1alpha1.Scope{"invoices"}}))
		Expect(s.provider.Script(businessID, provider.ReplyWith(200, http.Header{"Content-Type": {"application/json"}},
			`{"access_token":"opat_more","token_type":"Bearer","expires_in":3600,"scope":"contact invoices"}`))).To(Succeed())
		account := elsewhere(ctx, s, "invoices")
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False ScopeExceeded"))
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name}}
		Expect(rests(ctx, account)).To(Or(Equal("too soon"), Equal("nothing to do")))
		Expect(apierrors.IsNotFound(suite.admin.Get(ctx, client.ObjectKeyFromObject(secret), secret))).To(BeTrue())
	})

	It("asks for no scope above the ceiling in the client's own namespace either", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("greedy", "business", func(a *v1alpha1.ConnectedAccount) { a.Spec.Scopes = []v1alpha1.Scope{"invoices", "payments"} })
		s.create(ctx, s.business(), account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False ScopeNotAllowed"))
		Expect(condition(ctx, account, "Stalled")()).To(Equal("True ScopeNotAllowed"))
		Expect(readyMessage(ctx, account)).To(ContainSubstring("payments"))
		Expect(rests(ctx, account)).To(Equal("scope not allowed"))
		Expect(s.provider.TokenRequests()).To(BeZero())
	})
})
