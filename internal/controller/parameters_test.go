package controller_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// wantsAudience gives the stage a provider that refuses every token request without an audience in its body, and Secrets for
// it by the name "theirs".
func (s *stage) wantsAudience(ctx context.Context, audiences ...string) {
	GinkgoHelper()
	wanting := map[string][]string{"audience": audiences}
	strict := provider.ReusePolicy{Kind: provider.RevokeFamily}
	var err error
	s.provider, err = provider.Start(provider.Options{TLS: true, Registrations: []provider.Registration{
		{Contract: provider.SmartBusiness, ClientID: businessID, ClientSecret: s.secret, Scopes: []string{"contact", "invoices"}, AccessTokenLifetime: time.Hour, Parameters: wanting, Reuse: strict},
		{Contract: provider.Smartbills, ClientID: billsID, ClientSecret: s.secret, AccessTokenLifetime: time.Hour, Parameters: wanting, Reuse: strict},
	}})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(s.provider.Close()).To(Succeed()) })
	s.create(ctx, s.credentialSecret("theirs"))
}

// audience has a client of that provider send an audience; "" is none.
func audience(value string) func(*v1alpha1.OAuthClient) {
	return func(owner *v1alpha1.OAuthClient) {
		owner.Spec.Authentication.ClientSecretRef.Name, owner.Spec.TLS.CARef.Name = "theirs", "theirs"
		owner.Spec.TokenRequest.Parameters = nil
		if value != "" {
			owner.Spec.TokenRequest.Parameters = []v1alpha1.TokenParameter{{Name: "audience", Value: value}}
		}
	}
}

// hasNothingToDo waits until the operator has looked at the account, and its client, and leaves the provider alone.
func hasNothingToDo(ctx context.Context, account *v1alpha1.ConnectedAccount) {
	GinkgoHelper()
	Eventually(func() string { return rests(ctx, account) }).Should(Equal("nothing to do"))
}

var _ = Describe("A parameter of the provider's own", func() {
	It("is named where it may be what is missing, and works as soon as it is added, in JSON and in forms", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		s.wantsAudience(ctx, "https://api.example/v1")
		s.create(ctx, s.business(audience("")), s.bills(audience("")))
		business, bills := s.account("a", "business"), s.account("b", "bills")
		s.create(ctx, business, bills)
		for _, account := range []*v1alpha1.ConnectedAccount{business, bills} {
			Eventually(condition(ctx, account, "Ready")).Should(Equal("False RequestRejected"))
			Expect(readyMessage(ctx, account)).To(ContainSubstring("such as an audience in tokenRequest.parameters"))
		}
		Expect(s.provider.TokenRequests()).To(Equal(2))
		change(ctx, s.business(), audience("https://api.example/v1"))
		change(ctx, s.bills(), audience("https://api.example/v1"))
		pass(ctx, untilProbed, business, bills)
		becomesReady(ctx, business, bills)
		Expect(s.provider.TokenRequests()).To(Equal(4))
		Expect(s.everythingSaid(ctx)).NotTo(ContainSubstring(s.secret))
	})

	It("with another value brings another token, once, with client credentials", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		s.wantsAudience(ctx, "first", "second")
		account := s.account("a", "bills")
		s.create(ctx, s.bills(audience("first")), account)
		becomesReady(ctx, account)
		token := s.tokenSecret(ctx, "a").Data["access_token"]
		change(ctx, s.bills(), audience("second"))
		pass(ctx, untilProbed, account)
		Eventually(func() []byte { return s.tokenSecret(ctx, "a").Data["access_token"] }).ShouldNot(Equal(token))
		becomesReady(ctx, account)
		pass(ctx, untilProbed)
		hasNothingToDo(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(2))
	})

	It("with a value that is refused leaves the token that is good, and is let go by putting the former back", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		s.wantsAudience(ctx, "first")
		account := s.account("a", "bills")
		s.create(ctx, s.bills(audience("first")), account)
		becomesReady(ctx, account)
		token := s.tokenSecret(ctx, "a").Data["access_token"]
		change(ctx, s.bills(), audience("misspelt"))
		pass(ctx, untilProbed, account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("True RequestRejected"))
		Expect(s.tokenSecret(ctx, "a").Data["access_token"]).To(Equal(token))
		change(ctx, s.bills(), audience("first"))
		rotates(ctx, account)
	})

	It("spends no refresh token when it changes, and is in the next refresh", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		s.wantsAudience(ctx, "first", "second")
		s.create(ctx, s.bills(withRefresh(v1alpha1.RefreshTokens{}), audience("first")))
		account := s.imported(ctx, "a", "bills", billsID)
		s.create(ctx, account)
		becomesReady(ctx, account)
		requests := s.provider.TokenRequests()
		for _, value := range []string{"second", "misspelt", "", "second"} {
			owner := s.bills()
			change(ctx, owner, audience(value))
			Eventually(func() int64 { return ptr.Deref(get(ctx, owner.DeepCopy()).Status.ObservedGeneration, 0) }).Should(Equal(owner.Generation))
			pass(ctx, untilProbed)
			hasNothingToDo(ctx, account)
		}
		Expect(s.provider.TokenRequests()).To(Equal(requests))
		rotates(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(requests + 1))

		change(ctx, s.bills(), audience("misspelt"))
		pass(ctx, untilDue, account)
		Eventually(condition(ctx, account, "Refreshed")).Should(Equal("False RequestRejected"))
		change(ctx, s.bills(), audience("second"))
		pass(ctx, untilProbed, account)
		becomesReady(ctx, account)
		s.neverReused()
	})
})
