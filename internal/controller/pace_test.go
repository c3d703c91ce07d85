package controller_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// maxAccounts is how many accounts of a namespace the suite's operator works on.
const maxAccounts = 30

// several makes accounts of the client bills, all in one namespace.
func (s *stage) several(ctx context.Context, n int, changes ...func(*v1alpha1.ConnectedAccount)) []*v1alpha1.ConnectedAccount {
	GinkgoHelper()
	accounts := make([]*v1alpha1.ConnectedAccount, n)
	for i := range accounts {
		accounts[i] = s.account(fmt.Sprintf("bills-%d", i), "bills", changes...)
		s.create(ctx, accounts[i])
	}
	return accounts
}

// saying counts the accounts of which a condition says so.
func saying(ctx context.Context, accounts []*v1alpha1.ConnectedAccount, kind, what string) func() int {
	return func() int {
		found := 0
		for _, account := range accounts {
			if condition(ctx, account, kind)() == what {
				found++
			}
		}
		return found
	}
}

var _ = Describe("Token requests of one client", func() {
	It("are as many at once as it takes, and the others have their turn when these end", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		hold := provider.NewHold()
		Expect(s.provider.Script(billsID, provider.HoldAfterCommit(hold).For(-1))).To(Succeed())
		s.create(ctx, s.bills(func(c *v1alpha1.OAuthClient) { c.Spec.MaxConcurrentRequests = 2 }), s.business())
		accounts := s.several(ctx, 6)
		Eventually(s.provider.TokenRequests).Should(Equal(2))
		Eventually(scrape).Should(ContainSubstring(fmt.Sprintf(`oauth_operator_token_requests_waiting{client="bills",client_namespace=%q} 4`, s.namespace)))
		Expect(scrape()).To(ContainSubstring(fmt.Sprintf(`oauth_operator_token_requests_open{client="bills",client_namespace=%q} 2`, s.namespace)))
		for _, account := range accounts { // looked at again, none finds a slot
			touch(ctx, account)
		}
		other := s.account("other", "business")
		s.create(ctx, other)
		becomesReady(ctx, other)
		Expect(s.provider.TokenRequests()).To(Equal(2 + 1))

		hold.Release()
		becomesReady(ctx, accounts...)
		Expect(s.provider.TokenRequests()).To(Equal(6 + 1))
	})
})

var _ = Describe("The circuit of a client", func() {
	It("H53 opens on a bad secret: few requests for many accounts, one event each, and all go on once it is right", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		Expect(s.provider.SetClientSecret(billsID, s.secret+"-new")).To(Succeed())
		const limit = 2
		s.create(ctx, s.bills(func(c *v1alpha1.OAuthClient) { c.Spec.MaxConcurrentRequests = limit }))
		accounts := s.several(ctx, 15)
		Eventually(scrape).Should(ContainSubstring(fmt.Sprintf(`oauth_operator_circuit_open{account_namespace=%q,client="bills",client_namespace=%q} 1`, s.namespace, s.namespace)))
		sent := s.provider.TokenRequests()
		Expect(sent).To(BeNumerically("<=", 3+limit), "three, and those that were on their way")

		suite.clock.ahead.Add(int64(11 * time.Second))
		for _, account := range accounts {
			touch(ctx, account)
		}
		Eventually(saying(ctx, accounts, "Ready", "False ClientRejected")).Should(Equal(len(accounts)))
		Expect(readyMessage(ctx, accounts[len(accounts)-1])).To(Or(ContainSubstring("the circuit of the OAuthClient is open"), ContainSubstring("invalid_client")))
		Expect(s.provider.TokenRequests()).To(BeNumerically("<=", sent+1))
		for _, account := range accounts {
			Eventually(func() int {
				return len(slices.DeleteFunc(eventsOf(ctx, account)(), func(reason string) bool { return reason != "ClientRejected" }))
			}).Should(Equal(1))
		}

		By("a minute later: one request finds out")
		sent = s.provider.TokenRequests()
		suite.clock.ahead.Add(int64(time.Minute))
		for _, account := range accounts {
			touch(ctx, account)
		}
		Eventually(s.provider.TokenRequests).Should(BeNumerically(">", sent))
		Expect(s.provider.TokenRequests()).To(BeNumerically("<=", sent+2))

		By("the new secret")
		credentials := s.source(ctx, "credentials")
		change(ctx, credentials, func(owned *corev1.Secret) { owned.Data["client_secret"] = []byte(s.secret + "-new") })
		suite.clock.ahead.Add(int64(31 * time.Second))
		for _, account := range accounts {
			touch(ctx, account)
		}
		becomesReady(ctx, accounts...)
		Expect(scrape()).NotTo(ContainSubstring(fmt.Sprintf(`oauth_operator_circuit_open{account_namespace=%q`, s.namespace)))
	})

	It("H54 opens when the server asks for time, for all accounts of the namespace, and no other's", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		Expect(s.provider.Script(billsID, provider.Throttle(429, "120"))).To(Succeed())
		s.create(ctx, s.bills(), s.business())
		first := s.account("first", "bills")
		s.create(ctx, first)
		Eventually(condition(ctx, first, "Ready")).Should(Equal("False Throttled"))

		second, other := s.account("second", "bills"), s.account("other", "business")
		s.create(ctx, second, other)
		becomesReady(ctx, other)
		Expect(rests(ctx, second)).To(Equal("client held back"))
		By("an edit of the account, which does not give the server less time")
		change(ctx, first, func(a *v1alpha1.ConnectedAccount) { a.Spec.OnBehalfOf = "acct_8f2" })
		suite.clock.ahead.Add(int64(31 * time.Second))
		Expect(rests(ctx, first)).To(Equal("client held back"))
		pass(ctx, 69*time.Second, second)
		Eventually(condition(ctx, second, "Ready")).Should(Equal("False Throttled"))
		Expect(s.provider.TokenRequests()).To(Equal(1 + 1))

		pass(ctx, 40*time.Second, second, first)
		becomesReady(ctx, second, first)
	})
})

var _ = Describe("More accounts than a namespace may have", func() {
	It("are told so, the youngest, until there is room", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		suspended := func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true }
		old := s.several(ctx, maxAccounts, suspended)
		s.create(ctx, s.bills())
		// Ages are whole seconds, and of one age the name decides: this one is the last either way.
		young := s.account("young", "bills")
		s.create(ctx, young)
		Eventually(condition(ctx, young, "Ready")).Should(Equal("False TooManyAccounts"))
		Expect(condition(ctx, young, "Stalled")()).To(Equal("True TooManyAccounts"))
		Expect(readyMessage(ctx, young)).To(ContainSubstring("--max-accounts-per-namespace"))
		Expect(rests(ctx, young)).To(Equal("too many accounts"))
		Expect(s.provider.TokenRequests()).To(BeZero())

		Expect(suite.admin.Delete(ctx, old[3])).To(Succeed())
		becomesReady(ctx, young)
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})
})

var _ = Describe("Somebody who changes things without end", func() {
	It("S36 causes no more than one request in half a minute, wherever the change is made", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		owner := s.business()
		account := s.account("a", "business", func(a *v1alpha1.ConnectedAccount) { a.Spec.Scopes = []v1alpha1.Scope{"invoices"} })
		s.create(ctx, owner, account)
		becomesReady(ctx, account)
		credentials := s.source(ctx, "credentials")
		meddle := func(round int) {
			GinkgoHelper()
			scopes := []v1alpha1.Scope{"invoices", "contact"}
			change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Scopes = scopes[round%2 : round%2+1] })
			change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Spec.RefreshBeforeSeconds = []int32{1, 2}[round%2] })
			change(ctx, credentials, func(owned *corev1.Secret) { owned.Labels["round"] = fmt.Sprint(round) })
			change(ctx, credentials, func(owned *corev1.Secret) { owned.Data["other"] = fmt.Append(nil, round) })
			change(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}, func(n *corev1.Namespace) { n.Labels["round"] = fmt.Sprint(round) })
			touch(ctx, account)
		}
		began := time.Now()
		for round := range 20 {
			meddle(round)
		}
		lapFrom(suite.logs, account, touch(ctx, account))
		Expect(s.provider.TokenRequests()).To(BeNumerically("<=", 2+int(time.Since(began)/(30*time.Second))))

		By("failing, too")
		Expect(s.provider.SetClientSecret(businessID, s.secret+"-new")).To(Succeed())
		began, sent := time.Now(), s.provider.TokenRequests()
		suite.clock.ahead.Add(int64(50 * time.Minute))
		for round := range 20 {
			meddle(round)
		}
		lapFrom(suite.logs, account, touch(ctx, account))
		Expect(s.provider.TokenRequests() - sent).To(And(BeNumerically(">=", 1), BeNumerically("<=", 2+int(time.Since(began)/(30*time.Second)))))
	})
})

var _ = Describe("A client that is shared no more", func() {
	It("S20 S47 sends nothing for accounts of other namespaces from then on, nor above a lower ceiling, and goes on when it is shared again", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		entry := v1alpha1.AllowedNamespaces{
			From: v1alpha1.NamespacesFromAll, Grants: []v1alpha1.GrantType{v1alpha1.GrantClientCredentials}, Scopes: []v1alpha1.Scope{"contact", "invoices"},
		}
		owner := s.business(func(c *v1alpha1.OAuthClient) { c.Spec.AllowedNamespaces = []v1alpha1.AllowedNamespaces{entry} })
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "tenant-"}}
		s.create(ctx, owner, namespace)
		DeferCleanup(func(ctx SpecContext) { Expect(suite.admin.Delete(ctx, namespace)).To(Succeed()) })
		account := s.account("tenant", "business", func(a *v1alpha1.ConnectedAccount) {
			a.Namespace, a.Spec.ClientRef.Namespace, a.Spec.Scopes = namespace.Name, s.namespace, []v1alpha1.Scope{"invoices"}
		})
		s.create(ctx, account)
		becomesReady(ctx, account)

		change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Spec.AllowedNamespaces = nil })
		Eventually(condition(ctx, account, "Ready")).Should(Equal("True ClientNotAvailable"), "its token is good until it expires")
		suite.clock.ahead.Add(int64(untilDue))
		// Until the client is looked at, that is what a lap says first.
		Eventually(func() string { return rests(ctx, account) }).Should(Equal("client not available"))
		Expect(s.provider.TokenRequests()).To(Equal(1))

		By("a lower ceiling")
		change(ctx, owner, func(c *v1alpha1.OAuthClient) {
			lower := entry
			lower.Scopes = []v1alpha1.Scope{"contact"}
			c.Spec.AllowedNamespaces = []v1alpha1.AllowedNamespaces{lower}
		})
		Eventually(condition(ctx, account, "Authorized")).Should(Equal("False ScopeNotAllowed"))
		Eventually(func() string { return rests(ctx, account) }).Should(Equal("scope not allowed"))
		Expect(s.provider.TokenRequests()).To(Equal(1))

		change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Spec.AllowedNamespaces = []v1alpha1.AllowedNamespaces{entry} })
		Eventually(s.provider.TokenRequests).Should(Equal(2))
		becomesReady(ctx, account)
	})
})

var _ = Describe("An answer", func() {
	It("S37 of the largest size is kept and published; of one byte more, the refresh token is kept and the rest is not used", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.connected(ctx)
		const most = 16 << 10
		answers := func(access, refresh string) {
			GinkgoHelper()
			body, err := json.Marshal(map[string]any{
				"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 3600, "scope": strings.Repeat("<", most),
			})
			Expect(err).NotTo(HaveOccurred())
			Expect(s.provider.Script(billsID, provider.ReplyWith(200, http.Header{"Content-Type": {"application/json"}}, string(body)))).To(Succeed())
			pass(ctx, untilDue, account)
		}
		rotations := func() int64 { return get(ctx, account.DeepCopy()).Status.Rotations }
		before := rotations()
		large := strings.Repeat("&", most)        // written as six characters in JSON
		longest := strings.Repeat("\\", 64<<10-1) // two characters each in JSON; no header has to carry it
		answers(large, "1"+longest)
		Eventually(rotations).Should(Equal(before + 1))
		becomesReady(ctx, account)
		Eventually(func() map[string][]byte { return s.tokenSecret(ctx, "a").Data }).Should(HaveKeyWithValue("access_token", []byte(large)))
		Expect(len(get(ctx, account.DeepCopy()).Status.SealedCredential)).To(BeNumerically("<", 512<<10))

		answers(large+"&", "2"+longest)
		Eventually(rotations).Should(Equal(before + 2))
		Eventually(condition(ctx, account, "Refreshed")).Should(Equal("False InvalidResponse"))
		Expect(s.tokenSecret(ctx, "a").Data).To(HaveKeyWithValue("access_token", []byte(large)))
	})
})
