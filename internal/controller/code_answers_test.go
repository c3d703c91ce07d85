package controller_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// answers has the provider take the next code of a person and say something of its own. The refresh token in it is one of the
// provider's; %q in the body stands for it.
func (s *stage) answers(user, body string) (refreshToken string) {
	GinkgoHelper()
	granted, err := s.provider.Grant(billsID, user)
	Expect(err).NotTo(HaveOccurred())
	Expect(s.provider.Script(billsID, provider.CommitAndReplyWith(http.StatusOK, http.Header{"Content-Type": {"application/json"}},
		fmt.Sprintf(body, granted.RefreshToken)))).To(Succeed())
	return granted.RefreshToken
}

var _ = Describe("The answer to a code", func() {
	always := func(a *v1alpha1.ConnectedAccount) { a.Spec.Consent.Link = v1alpha1.LinkAlways }

	It("whose access token cannot be used, of the same person: the refresh token takes the place of the old one, and is used", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.person("bills", always)
		s.connectedBy(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		token := s.tokenSecret(ctx, "a").Data["access_token"]
		pass(ctx, 6*time.Second, account)
		over := s.handOver(ctx, account, s.code(account, "alice"))
		kept := s.answers("alice", `{"access_token":"of-no-use","token_type":"MAC","expires_in":3600,"refresh_token":%q,"account_id":"alice"}`)
		hands(ctx, account, over)
		Eventually(outcome(ctx, account, over)).Should(Equal("Connected alice"))
		Expect(opened(ctx, account).RefreshToken.Reveal()).To(Equal(kept))
		Expect(opened(ctx, account).AccessToken.Empty()).To(BeTrue())
		Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
		pass(ctx, 2*time.Hour, account)
		becomesReady(ctx, account)
		Expect(opened(ctx, account).Identity).To(Equal("alice"))
		Expect(s.tokenSecret(ctx, "a").Data["access_token"]).NotTo(Equal(token))
		s.neverReused()
	})

	It("whose access token cannot be used, of somebody else: it is not kept", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.person("bills", always)
		s.connectedBy(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		before := opened(ctx, account)
		pass(ctx, 6*time.Second, account)
		over := s.handOver(ctx, account, s.code(account, "mallory"))
		s.answers("mallory", `{"access_token":"of-no-use","token_type":"MAC","refresh_token":%q,"account_id":"mallory"}`)
		hands(ctx, account, over)
		Eventually(outcome(ctx, account, over)).Should(Equal("SubjectChanged mallory"))
		Expect(opened(ctx, account)).To(Equal(before))
	})

	It("that does not say whose access it is takes nobody's place, and nobody else is said to have come", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.person("bills", always)
		s.connectedBy(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		before := opened(ctx, account)
		for _, body := range []string{
			`{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":%q}`,
			`{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":%q,"account_id":"alice","account_id":"mallory"}`,
		} {
			pass(ctx, 6*time.Second, account)
			over := s.handOver(ctx, account, s.code(account, "alice"))
			s.answers("alice", body)
			hands(ctx, account, over)
			Eventually(outcome(ctx, account, over)).Should(Equal("Rejected"))
			Expect(get(ctx, account.DeepCopy()).Status.Authorization.LastOutcome.Reason).To(ContainSubstring("does not say whose access it is"))
			Expect(opened(ctx, account)).To(Equal(before))
			Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
		}
		rotates(ctx, account)
		s.neverReused()
	})

	It("is taken though it says nobody, once the client does not say where it would", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account, owner := s.person("bills", always), s.bills(s.withConsent(provider.Smartbills))
		s.connectedBy(ctx, owner, account)
		change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Spec.TokenResponse.Identity.Pointer = "" })
		rests(ctx, account)
		pass(ctx, 6*time.Second, account)
		Eventually(outcome(ctx, account, s.consents(ctx, account, "alice"))).Should(Equal("Connected"))
		becomesReady(ctx, account)
		rotates(ctx, account)
		s.neverReused()
	})
})

var _ = Describe("The access of somebody whom nobody has approved of", func() {
	It("S29 gives way to that of whoever comes next by the same link, until somebody approves", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.person("bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Consent.Approval = v1alpha1.ApprovalRequired })
		s.create(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		first := link(ctx, account)
		Eventually(outcome(ctx, account, s.consents(ctx, account, "mallory"))).Should(Equal("ApprovalRequired mallory"))
		Eventually(authorized(ctx, account)).Should(Equal("False ApprovalRequired"))
		Expect(link(ctx, account)).To(Equal(first))
		pass(ctx, 6*time.Second, account)
		Eventually(outcome(ctx, account, s.consents(ctx, account, "alice"))).Should(Equal("ApprovalRequired alice"))
		Expect(opened(ctx, account).Identity).To(Equal("alice"))
		Eventually(eventsOf(ctx, account)).Should(ContainElement("Replaced"), "mallory's access lives on at the provider")
		Expect(get(ctx, account.DeepCopy()).Status.Authorization.Failures.Count).To(Equal(int32(1)), "who replace each other wait at last")

		pass(ctx, 6*time.Second, account)
		late := s.handOver(ctx, account, s.code(account, "mallory"))
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) {
			a.Annotations = map[string]string{v1alpha1.AnnotationApprove: "alice"}
		})
		becomesReady(ctx, account)
		Eventually(func() string { return get(ctx, account.DeepCopy()).Status.AuthorizationURL }).Should(BeEmpty())
		Expect(get(ctx, account.DeepCopy()).Status.Authorization.Attempt).To(Equal(int64(2)), "the link has led to a grant, and is good for nothing")
		hands(ctx, account, late)
		Eventually(outcome(ctx, account, late)).Should(Equal("Expired"))
		Expect(opened(ctx, account).Identity).To(Equal("alice"))
		rotates(ctx, account)
		s.neverReused()
	})

	It("S29 stays where it was in use before anybody wanted it approved of", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.person("bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Consent.Link = v1alpha1.LinkAlways })
		s.connectedBy(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Consent.Approval = v1alpha1.ApprovalRequired })
		Eventually(authorized(ctx, account)).Should(Equal("False ApprovalRequired"))
		pass(ctx, 6*time.Second, account)
		Eventually(outcome(ctx, account, s.consents(ctx, account, "mallory"))).Should(Equal("SubjectChanged mallory"))
		Expect(opened(ctx, account).Identity).To(Equal("alice"))
	})
})

var _ = Describe("Scopes that cannot be read", func() {
	const illegible = `{"access_token":"legible","token_type":"Bearer","expires_in":3600,"refresh_token":%q,"account_id":"alice","scope":{"a":1}}`

	It("in the answer to a code are not known, and are not taken for those that were asked for", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		scoped := func(owner *v1alpha1.OAuthClient) { owner.Spec.Scopes = []v1alpha1.Scope{"invoices"} }
		account := s.person("bills")
		s.create(ctx, s.bills(s.withConsent(provider.Smartbills, scoped)), account)
		over := s.handOver(ctx, account, s.code(account, "alice"))
		s.answers("alice", illegible)
		hands(ctx, account, over)
		Eventually(outcome(ctx, account, over)).Should(Equal("Connected alice"))
		becomesReady(ctx, account)
		held := opened(ctx, account)
		Expect(held.Scopes).To(BeNil())
		Expect(held.GrantedScopes).To(BeNil())
		Expect(held.RequestedScopes).To(Equal([]string{"invoices"}))
		Expect(get(ctx, account.DeepCopy()).Status.Scopes).To(BeEmpty())
		Expect(s.tokenSecret(ctx, "a").Data).NotTo(HaveKey("scope"))
	})

	It("S47 keep a person's token from another namespace, and the refresh token is kept until scopes can be read", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		shared := func(owner *v1alpha1.OAuthClient) {
			owner.Spec.Scopes = []v1alpha1.Scope{"invoices", "contact"}
			owner.Spec.AllowedNamespaces = []v1alpha1.AllowedNamespaces{{
				From: v1alpha1.NamespacesFromAll, Grants: []v1alpha1.GrantType{v1alpha1.GrantAuthorizationCode}, Scopes: []v1alpha1.Scope{"invoices"},
			}}
		}
		account := s.person("bills", func(a *v1alpha1.ConnectedAccount) {
			a.Namespace, a.Spec.ClientRef.Namespace, a.Spec.Scopes = s.otherNamespace(context.WithoutCancel(ctx)), s.namespace, []v1alpha1.Scope{"invoices"}
		})
		s.create(ctx, s.bills(s.withConsent(provider.Smartbills, shared)), account)
		over := s.handOver(ctx, account, s.code(account, "alice"))
		kept := s.answers("alice", illegible)
		hands(ctx, account, over)
		Eventually(outcome(ctx, account, over)).Should(Equal("Connected alice"))
		Expect(condition(ctx, account, v1alpha1.ConditionReady)()).To(HavePrefix("False"))
		held := opened(ctx, account)
		Expect(held.AccessToken.Empty()).To(BeTrue())
		Expect(held.RefreshToken.Reveal()).To(Equal(kept))

		next := s.answers("alice", `{"access_token":"unsaid","token_type":"Bearer","expires_in":3600,"refresh_token":%q}`)
		pass(ctx, 2*time.Hour, account)
		Eventually(func() string { return opened(ctx, account).RefreshToken.Reveal() }).Should(Equal(next))
		Expect(opened(ctx, account).AccessToken.Empty()).To(BeTrue(), "all that was granted is more than anybody knows")

		s.answers("alice", `{"access_token":"said","token_type":"Bearer","expires_in":3600,"refresh_token":%q,"scope":"invoices"}`)
		pass(ctx, 2*time.Hour, account)
		becomesReady(ctx, account)
		Expect(opened(ctx, account).GrantedScopes).To(Equal([]string{"invoices"}))
		s.neverReused()
	})
})
