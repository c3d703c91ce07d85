package controller_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// asksAnew asks for a new token, half a minute after the last one.
func asksAnew(ctx context.Context, account *v1alpha1.ConnectedAccount) {
	GinkgoHelper()
	pass(ctx, untilProbed)
	annotate(ctx, account, v1alpha1.AnnotationRefreshRequestedAt, suite.clock.Now().UTC().Format(time.RFC3339))
}

// token is the access token in the Secret of the account a.
func (s *stage) token(ctx context.Context) func() string {
	return func() string {
		GinkgoHelper()
		return string(s.tokenSecret(ctx, "a").Data["access_token"])
	}
}

var _ = Describe("A refresh that is asked for", func() {
	It("is made once, for a token of the client's own", func(ctx SpecContext) {
		s := newStage(ctx, 12*time.Hour)
		account := s.account("a", "business")
		s.create(ctx, s.business(), account)
		becomesReady(ctx, account)
		first := s.token(ctx)()

		asksAnew(ctx, account)
		Eventually(rotations(ctx, account)).Should(BeEquivalentTo(2))
		Eventually(s.token(ctx)).ShouldNot(Equal(first))
		becomesReady(ctx, account)
		pass(ctx, time.Minute, account)
		Expect(rests(ctx, account)).To(beIdle())
		change(ctx, account.DeepCopy(), func(a *v1alpha1.ConnectedAccount) { a.Labels = map[string]string{"applied": "again"} })
		Expect(rests(ctx, account)).To(beIdle())
		Expect(s.provider.TokenRequests()).To(Equal(2))
	})

	It("is one rotation, with all that belongs to it, for a grant", func(ctx SpecContext) {
		s := newStage(ctx, 12*time.Hour)
		account := s.connected(ctx)
		requests, before := s.provider.TokenRequests(), rotations(ctx, account)()
		asksAnew(ctx, account)
		Eventually(rotations(ctx, account)).Should(Equal(before + 1))
		becomesReady(ctx, account)
		status := get(ctx, account.DeepCopy()).Status
		Expect(status.Claim).To(BeZero())
		Expect(status.ClaimSequence).To(BeEquivalentTo(before), "it was claimed like any other")
		pass(ctx, time.Minute, account)
		Expect(rests(ctx, account)).To(beIdle())
		Expect(s.provider.TokenRequests()).To(Equal(requests + 1))
		s.neverReused()
	})

	It("does not wait for what failed before", func(ctx SpecContext) {
		s := newStage(ctx, 12*time.Hour)
		right := s.secret
		s.secret = "wrong"
		wrong := s.credentialSecret("mine")
		s.secret = right
		account := s.account("a", "bills")
		s.create(ctx, wrong, account, s.bills(func(c *v1alpha1.OAuthClient) { c.Spec.Authentication.ClientSecretRef.Name = "mine" }))
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False ClientRejected"))
		pass(ctx, time.Minute+time.Second, account)
		Eventually(s.provider.TokenRequests).Should(Equal(2), "the wait after a first failure is a minute at most")
		asksAnew(ctx, account) // within the minute that follows a second one, at least
		Eventually(s.provider.TokenRequests).Should(Equal(3))
	})

	It("is not made while the account is suspended", func(ctx SpecContext) {
		s := newStage(ctx, 12*time.Hour)
		account := s.connected(ctx)
		change(ctx, account.DeepCopy(), func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true })
		requests := s.provider.TokenRequests()
		asksAnew(ctx, account)
		Expect(rests(ctx, account)).To(Equal("suspended"))
		Expect(s.provider.TokenRequests()).To(Equal(requests))
	})

	It("at a time that no calendar has is not made, and that is told", func(ctx SpecContext) {
		s := newStage(ctx, 12*time.Hour)
		account := s.account("a", "bills")
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		annotate(ctx, account, v1alpha1.AnnotationRefreshRequestedAt, "2026-02-30T12:00:00Z")
		Eventually(func() string {
			return meta.FindStatusCondition(get(ctx, account.DeepCopy()).Status.Conditions, v1alpha1.ConditionRefreshed).Message
		}).Should(ContainSubstring("the annotation oauth-operator.dev/refresh-requested-at is not a time"))
		pass(ctx, untilProbed, account)
		Expect(rests(ctx, account)).To(beIdle())
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})
})
