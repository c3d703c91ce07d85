package controller_test

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// workers is how many accounts the suite's operator works on at once.
const workers = 8

var _ = Describe("A provider that does not answer", func() {
	It("keeps no worker from the accounts of others, and what it brings late is kept and published", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		hold := provider.NewHold()
		Expect(s.provider.Script(billsID, provider.HoldAfterCommit(hold).For(workers))).To(Succeed())
		s.create(ctx, s.bills(), s.business())
		var hung []*v1alpha1.ConnectedAccount
		for i := range workers {
			account := s.account(fmt.Sprintf("hung-%d", i), "bills")
			s.create(ctx, account)
			hung = append(hung, account)
		}
		Eventually(s.provider.TokenRequests).Should(Equal(workers), "each of them waits for an answer")

		other := s.account("other", "business")
		s.create(ctx, other)
		Eventually(condition(ctx, other, "Ready")).WithTimeout(10 * time.Second).Should(Equal("True TokenValid"))

		hold.Release()
		becomesReady(ctx, hung...)
		Expect(s.provider.TokenRequests()).To(Equal(workers + 1))
	})

	It("does not hide what happened to the account meanwhile", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account, hold := s.heldExchange(ctx)
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true })
		hold.Release()
		Eventually(condition(ctx, account, "Refreshed")).Should(Equal("False Suspended"))
		Eventually(condition(ctx, account, "Published")).Should(Equal("True Published"))
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("has its failure counted when the request ends at last", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		Expect(s.provider.Script(billsID, provider.Hang())).To(Succeed())
		account := s.account("a", "bills")
		s.create(ctx, s.bills(func(c *v1alpha1.OAuthClient) { c.Spec.TokenRequest.TimeoutSeconds = 1 }), account)
		Eventually(condition(ctx, account, "Refreshed")).Should(Equal("False OutcomeUnknown"))
		Expect(get(ctx, account).Status.Failures.Count).To(BeEquivalentTo(1))
		becomesReady(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(2))
	})
})
