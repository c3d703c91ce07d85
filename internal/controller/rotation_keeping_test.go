package controller_test

import (
	"context"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// unkept lets the account become due, and has an operator's keep refused with a status once its token is spent. It
// returns when that has happened a few times, with what waits for it to happen again.
func (s *stage) unkept(ctx context.Context, by *wire, account *v1alpha1.ConnectedAccount, status int) (again func()) {
	GinkgoHelper()
	hold := provider.NewHold()
	DeferCleanup(hold.Release)
	Expect(s.provider.Script(billsID, provider.HoldAfterCommit(hold))).To(Succeed())
	pass(ctx, untilDue, account)
	Eventually(hold.Reached()).Should(BeClosed())
	refused := s.refuseStatus(by, status)
	hold.Release()
	again = func() {
		GinkgoHelper()
		so := refused(account)
		Eventually(func() int { return refused(account) }).Should(BeNumerically(">=", so+3))
	}
	again()
	return again
}

var _ = Describe("A rotated refresh token that cannot be kept", func() {
	DescribeTable("H46 is held until it can be, and nothing is sent meanwhile",
		func(ctx SpecContext, status int) {
			s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
			account := s.connected(ctx)
			published, before := projected(s.tokenSecret(ctx, "a")), get(ctx, account.DeepCopy()).Status
			again := s.unkept(ctx, suite.wire, account, status)
			pass(ctx, 2*time.Hour, account)
			again()
			Expect(s.provider.TokenRequests()).To(Equal(2))
			Expect(get(ctx, account.DeepCopy()).Status.SealedCredential).To(Equal(before.SealedCredential))
			Expect(projected(s.tokenSecret(ctx, "a"))).To(Equal(published), "nothing is published before it is kept")

			suite.wire.set(nil)
			Eventually(rotations(ctx, account)).Should(BeNumerically(">", before.Rotations), "and it is old by now: the next may follow at once")
			s.goesOn(ctx, account)
		},
		Entry("forbidden", http.StatusForbidden),
		Entry("not found, as where the resource is not served at the moment", http.StatusNotFound),
		Entry("a storm of conflicts", http.StatusConflict),
		Entry("invalid, as by an admission policy", http.StatusUnprocessableEntity),
		Entry("an internal error", http.StatusInternalServerError),
		Entry("unavailable", http.StatusServiceUnavailable),
	)

	It("H46 is held through an API server that does not serve the resource at all", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.connected(ctx)
		hold := provider.NewHold()
		Expect(s.provider.Script(billsID, provider.HoldAfterCommit(hold))).To(Succeed())
		pass(ctx, untilDue, account)
		Eventually(hold.Reached()).Should(BeClosed())
		suite.wire.refusing(func(request *http.Request) int {
			if aboutAccount(request, account) {
				return http.StatusNotFound
			}
			return 0
		})
		mark := suite.wire.mark()
		hold.Release()
		Eventually(func() int {
			return len(suite.wire.since(mark, func(made call) bool { return made.status == http.StatusNotFound && within(s.namespace)(made) }))
		}).Should(BeNumerically(">=", 6), "writes, and the reads between them")
		suite.wire.set(nil)
		Eventually(rotations(ctx, account)).Should(Equal(int64(3)))
		s.goesOn(ctx, account)
	})

	It("H46 is waited for by a process that stops, and kept after its manager has ended", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		see := blind()
		ending := s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()})
		account := s.connected(ctx)
		s.unkept(ctx, ending.wire, account, http.StatusServiceUnavailable)
		ending.inFlight.Close()
		ending.stop()
		soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		Expect(ending.inFlight.Drain(soon)).To(Equal(1))
		Expect(ending.journal.Holds(string(account.UID))).To(BeTrue())

		ending.wire.set(nil)
		later, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		Expect(ending.inFlight.Drain(later)).To(BeZero())
		Expect(rotations(ctx, account)()).To(Equal(int64(3)))
		Expect(ending.journal.Holds(string(account.UID))).To(BeFalse())
		see()
		becomesReady(ctx, account)
		s.goesOn(ctx, account)
	})

	It("H46 is kept by the next process of the pod, from the journal, before it has the lease", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		see := blind()
		in := seal.JournalOptions{Dir: GinkgoT().TempDir()}
		ending := s.operator(ctx, in)
		account := s.connected(ctx)
		s.unkept(ctx, ending.wire, account, http.StatusServiceUnavailable)
		ending.stop()
		soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		Expect(ending.inFlight.Drain(soon)).To(Equal(1))
		Expect(ending.journal.Close()).To(Succeed())

		next := s.operator(ctx, in, withoutLease(ctx))
		Eventually(rotations(ctx, account)).Should(Equal(int64(3)))
		Eventually(func() bool { return next.journal.Holds(string(account.UID)) }).Should(BeFalse())
		Expect(get(ctx, account.DeepCopy()).Status.Claim).To(BeZero())
		Expect(s.provider.TokenRequests()).To(Equal(2))
		kept := get(ctx, account.DeepCopy()).Status.SealedCredential

		By("leaving what was kept alone, when the dead come back")
		ending.wire.set(nil)
		later, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		Expect(ending.inFlight.Drain(later)).To(BeZero())
		Expect(get(ctx, account.DeepCopy()).Status.SealedCredential).To(Equal(kept))
		see()
		becomesReady(ctx, account)
		s.goesOn(ctx, account)
	})

	It("is told of where it cannot be read, and nothing is sent as long as it may be the only one that is good", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.connected(ctx)
		see := blind()
		in := seal.JournalOptions{Dir: GinkgoT().TempDir()}
		kubeSystem := get(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}})
		subject := seal.Subject{ClusterID: string(kubeSystem.UID), Namespace: account.Namespace, Name: account.Name, UID: string(account.UID)}
		other, err := seal.GenerateKeyring()
		Expect(err).NotTo(HaveOccurred())
		sealed, err := other.SealReceipt(subject, seal.Receipt{ClaimID: "of-another-keyring", Attempt: 1, Reply: []byte("unread")})
		Expect(err).NotTo(HaveOccurred())
		journal, err := seal.OpenJournal(in)
		Expect(err).NotTo(HaveOccurred())
		slot, err := journal.Reserve(subject, "of-another-keyring")
		Expect(err).NotTo(HaveOccurred())
		Expect(slot.Write(sealed)).To(Succeed())
		Expect(journal.Close()).To(Succeed())

		next := s.operator(ctx, in)
		pass(ctx, untilDue, account)
		Eventually(condition(ctx, account, "Refreshed")).Should(Equal("False ResultUnread"))
		Expect(condition(ctx, account, "Ready")()).To(Equal("True ResultUnread"), "the token that is there is good")
		Expect(restsFrom(next.logs, account, touch(ctx, account))).To(Equal("exchange open"))
		Expect(s.provider.TokenRequests()).To(Equal(1))

		By("going on once it is gone")
		Expect(next.journal.Remove(subject.UID, "of-another-keyring")).To(Succeed())
		see()
		touch(ctx, account)
		Eventually(rotations(ctx, account)).Should(Equal(int64(3)))
		becomesReady(ctx, account)
	})

	It("is not asked for where the journal has no room for it", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		see := blind()
		full := s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir(), MaxEntries: 1})
		accounts := s.connect(ctx, v1alpha1.RefreshTokens{}, "a", "b")
		first, second := accounts[0], accounts[1]
		// Both come due at once, and what the operator has yet to see of the second would start it first.
		change(ctx, second.DeepCopy(), func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true })
		Eventually(condition(ctx, second, "Ready")).Should(Equal("True Suspended"))
		s.unkept(ctx, full.wire, first, http.StatusServiceUnavailable)
		claims := get(ctx, second.DeepCopy()).Status.ClaimSequence
		change(ctx, second.DeepCopy(), func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = false })
		Eventually(full.logs.String).Should(ContainSubstring("make room in the journal: the journal has no room for another result"))
		Expect(s.provider.TokenRequests()).To(Equal(3))
		Expect(get(ctx, second.DeepCopy()).Status.ClaimSequence).To(Equal(claims), "nothing is claimed either")
		Expect(condition(ctx, second, "Ready")()).To(HavePrefix("True "))

		full.wire.set(nil)
		Eventually(rotations(ctx, first)).Should(Equal(int64(3)))
		Eventually(rotations(ctx, second)).Should(Equal(int64(3)))
		see()
		s.goesOn(ctx, accounts...)
	})

	It("is dropped with the account that it is for", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		blind()
		here := s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()})
		account := s.connected(ctx)
		s.unkept(ctx, here.wire, account, http.StatusServiceUnavailable)
		s.remove(ctx, account)
		Eventually(func() bool { return here.journal.Holds(string(account.UID)) }).Should(BeFalse())
		here.wire.set(nil)
		again := s.imported(ctx, "b", "bills", billsID)
		s.create(ctx, again)
		becomesReady(ctx, again)
	})
})

var _ = Describe("A definition that hides a refresh token for a while", func() {
	It("costs nothing: what an old copy does not show is not written over", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.connected(ctx)
		rotates(ctx, account)
		kept := get(ctx, account.DeepCopy()).Status.SealedCredential
		restore := dropSealedCredential(ctx, account)
		s.hidden(ctx, account)

		see := blind() // the copy stays as it is
		restore(ctx)
		Expect(get(ctx, account.DeepCopy()).Status.SealedCredential).To(Equal(kept))
		suite.clock.ahead.Add(int64(untilProbed))
		mark := suite.wire.mark()
		change(ctx, s.bills(), func(c *v1alpha1.OAuthClient) { c.Spec.RefreshBeforeSeconds = 1200 }) // another such event
		Eventually(func() []call {
			return suite.wire.since(mark, func(made call) bool {
				return made.method != http.MethodPost && strings.Contains(made.path, "/connectedaccounts/a")
			})
		}).ShouldNot(BeEmpty(), "the operator asks, or writes")
		see()
		becomesReady(ctx, account)
		s.goesOn(ctx, account)
	})

	It("costs nothing where it is mended between the look at an account and the write", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.connected(ctx)
		kept := get(ctx, account.DeepCopy()).Status.SealedCredential
		restore := dropSealedCredential(ctx, account)
		s.hidden(ctx, account)
		see := blind() // laps go on with the copy that does not show it
		// The definition is tried twice in a lap, before it is decided and before the status is written.
		decided, mark, mended := -1, 0, make(chan struct{})
		suite.wire.refusing(func(request *http.Request) int {
			if request.Method != http.MethodPut || request.URL.Path != statusPath(account) || !request.URL.Query().Has("dryRun") || mark > 0 {
				return 0
			}
			before := decided
			if decided = len(suite.logs.decisions()); before >= 0 && decided > before {
				restore(ctx)
				mark = suite.wire.mark()
				close(mended)
			}
			return 0
		})
		lead := int32(1200)
		Eventually(func() <-chan struct{} {
			lead++
			suite.clock.ahead.Add(int64(untilProbed))
			change(ctx, s.bills(), func(c *v1alpha1.OAuthClient) { c.Spec.RefreshBeforeSeconds = lead }) // starts a lap, and writes no account
			return mended
		}).WithPolling(time.Second).Should(BeClosed())
		Eventually(func() []call {
			return suite.wire.since(mark, func(made call) bool {
				return strings.Contains(made.path, "/connectedaccounts/a") && made.method != http.MethodPost && !strings.Contains(made.query, "dryRun")
			})
		}).ShouldNot(BeEmpty(), "the operator asks, or writes")
		Expect(get(ctx, account.DeepCopy()).Status.SealedCredential).To(Equal(kept))
		see()
		becomesReady(ctx, account)
		s.goesOn(ctx, account)
	})
})

func statusPath(account *v1alpha1.ConnectedAccount) string {
	return "/apis/oauth-operator.dev/v1alpha1/namespaces/" + account.Namespace + "/connectedaccounts/" + account.Name + "/status"
}

// aboutAccount matches requests for one account or its status.
func aboutAccount(request *http.Request, account *v1alpha1.ConnectedAccount) bool {
	return strings.TrimSuffix(request.URL.Path, "/status") == strings.TrimSuffix(statusPath(account), "/status")
}

var _ = Describe("A keyring that goes while a refresh token is spent", Serial, func() {
	DescribeTable("S40 takes nothing along: what comes is kept, and nothing more is sent until it is back",
		func(ctx SpecContext, replace bool) {
			s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
			accounts := s.connect(ctx, v1alpha1.RefreshTokens{}, "a", "b")
			account, idle := accounts[0], accounts[1]
			// Whatever wakes it when the clock has moved, it is the other one's request that is held.
			change(ctx, idle, func(a *v1alpha1.ConnectedAccount) { a.Spec.RefreshBeforeSeconds = 1 })
			rests(ctx, idle)
			hold := provider.NewHold()
			DeferCleanup(hold.Release)
			Expect(s.provider.Script(billsID, provider.HoldAfterCommit(hold))).To(Succeed())
			pass(ctx, untilDue, account)
			Eventually(hold.Reached()).Should(BeClosed())

			named := metav1.ObjectMeta{Namespace: operatorNamespace, Name: controller.KeyringName}
			stored := get(ctx, &corev1.Secret{ObjectMeta: named})
			restore := func(ctx SpecContext) {
				GinkgoHelper()
				Expect(client.IgnoreNotFound(suite.admin.Delete(ctx, &corev1.Secret{ObjectMeta: named}))).To(Succeed())
				Expect(suite.admin.Create(ctx, &corev1.Secret{ObjectMeta: named, Data: stored.Data})).To(Succeed())
			}
			DeferCleanup(restore)
			Expect(suite.admin.Delete(ctx, stored.DeepCopy())).To(Succeed())
			if replace {
				Expect(suite.admin.Create(ctx, &corev1.Secret{ObjectMeta: named, Data: otherKeyring().Data()})).To(Succeed())
			}
			Eventually(authorized(ctx, idle)).Should(Equal("False KeyringMissing"))
			change(ctx, idle, func(a *v1alpha1.ConnectedAccount) { a.Spec.RefreshBeforeSeconds = 1800 })
			Expect(rests(ctx, idle)).To(Equal("keyring missing"), "though it is due")
			before := rotations(ctx, account)()
			hold.Release()
			Eventually(rotations(ctx, account)).Should(Equal(before+1), "the open result is kept")
			Eventually(authorized(ctx, account)).Should(Equal("False KeyringMissing"))
			s.guarded(ctx, account, "keyring missing")
			Expect(s.provider.TokenRequests()).To(Equal(3))

			restore(ctx)
			becomesReady(ctx, accounts...)
			s.goesOn(ctx, accounts...)
		},
		Entry("deleted", false),
		Entry("replaced by another", true),
	)
})
