package controller_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

var _ = Describe("The walking line", func() {
	It("brings a token of each contract from the manifest into its Secret, kept before it is published", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		var published, early atomic.Int32
		suite.wire.refusing(func(request *http.Request) int {
			if request.Method == http.MethodPost && strings.HasSuffix(request.URL.Path, "/namespaces/"+s.namespace+"/secrets") {
				accounts, kept := &v1alpha1.ConnectedAccountList{}, int32(0)
				if suite.admin.List(ctx, accounts, client.InNamespace(s.namespace)) == nil {
					for i := range accounts.Items {
						kept += int32(min(len(accounts.Items[i].Status.SealedCredential), 1))
					}
				}
				if published.Add(1) > kept {
					early.Add(1)
				}
			}
			return 0
		})
		all := s.account("all", "business")
		invoices := s.account("invoices", "business", func(a *v1alpha1.ConnectedAccount) { a.Spec.Scopes = []v1alpha1.Scope{"invoices"} })
		acme := s.account("acme", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.OnBehalfOf = "acct_8f2" })
		s.create(ctx, s.business(), s.bills(), all, invoices, acme)
		becomesReady(ctx, all, invoices, acme)

		secret := s.tokenSecret(ctx, "acme")
		token := string(secret.Data["access_token"])
		Expect(token).To(HavePrefix(provider.AccessTokenPrefix))
		Expect(secret.Data).To(HaveKeyWithValue("token_type", []byte("Bearer")))
		Expect(secret.Data).To(HaveKeyWithValue("authorization", []byte("Bearer "+token)))
		Expect(secret.Data).To(HaveKeyWithValue("on_behalf_of", []byte("acct_8f2")))
		Expect(secret.Data).To(HaveKeyWithValue("headers", []byte("Authorization: Bearer "+token+"\non-behalf-of: acct_8f2\n")))
		Expect(secret.Data).NotTo(HaveKey("scope"))
		expires, err := time.Parse(time.RFC3339, string(secret.Data["expires_at"]))
		Expect(err).NotTo(HaveOccurred())
		Expect(expires).To(BeTemporally("~", suite.clock.Now().Add(time.Hour), time.Minute))
		Expect(s.tokenSecret(ctx, "invoices").Data).To(HaveKeyWithValue("scope", []byte("invoices")))
		Expect(s.tokenSecret(ctx, "all").Data).To(HaveKeyWithValue("scope", []byte("contact invoices")))

		By("asking once for each, and keeping before publishing")
		Expect(s.provider.TokenRequests()).To(Equal(3))
		Expect(published.Load()).To(BeEquivalentTo(3))
		Expect(early.Load()).To(BeZero(), "nothing is in a Secret before it is in a status")

		By("setting all conditions, for a stranger and for kstatus")
		account := get(ctx, all)
		for _, kind := range []string{"Ready", "ClientReady", "Authorized", "Refreshed", "Published"} {
			Expect(condition(ctx, account, kind)()).To(HavePrefix("True "), kind)
		}
		Expect(condition(ctx, account, "Reconciling")()).To(Equal("absent"))
		Expect(*account.Status.ObservedGeneration).To(Equal(account.Generation))
		Expect(account.Status.Rotations).To(BeEquivalentTo(1))
		Expect(account.Status.SealedCredential).NotTo(ContainSubstring(provider.AccessTokenPrefix))
	})

	It("authenticates with the header where the client says so", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("basic", "bills")
		s.create(ctx, s.bills(func(c *v1alpha1.OAuthClient) { c.Spec.Authentication.Method = v1alpha1.ClientSecretBasic }), account)
		becomesReady(ctx, account)
	})

	It("renews ahead of expiry with one call, two writes and no read of the account", func(ctx SpecContext) {
		s := newStage(ctx, 12*time.Second)
		account := s.account("short", "bills")
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		first := s.tokenSecret(ctx, "short")
		mark := suite.wire.mark()

		Eventually(func() string { return string(s.tokenSecret(ctx, "short").Data["access_token"]) }).
			ShouldNot(Equal(string(first.Data["access_token"])))
		expires, err := time.Parse(time.RFC3339, string(first.Data["expires_at"]))
		Expect(err).NotTo(HaveOccurred())
		Expect(suite.clock.Now()).To(BeTemporally("<", expires), "the Secret never holds an expired token")
		Expect(s.provider.TokenRequests()).To(Equal(2))
		// A request is noted when its answer has arrived, which may be after somebody else saw what it did.
		Eventually(func() []string { return paths(suite.wire.since(mark, writesWithin(s.namespace))) }).Should(Equal([]string{
			"PUT connectedaccounts/short/status", "PUT secrets/short",
		}))
		Expect(suite.wire.since(mark, func(made call) bool {
			return within(s.namespace)(made) && made.method == http.MethodGet && strings.Contains(made.path, "/connectedaccounts/")
		})).To(BeEmpty())
	})

	It("takes an edited spec up, half a minute after the last request at the soonest", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("edited", "business")
		s.create(ctx, s.business(), account)
		becomesReady(ctx, account)
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Scopes = []v1alpha1.Scope{"contact"} })
		Expect(rests(ctx, account)).To(Or(Equal("too soon"), Equal("nothing to do")))
		pass(ctx, 31*time.Second, account)
		Eventually(func() string { return string(s.tokenSecret(ctx, "edited").Data["scope"]) }).Should(Equal("contact"))
		Expect(s.provider.TokenRequests()).To(Equal(2))
	})

	It("makes no request while suspended, and goes on afterwards", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("held", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true })
		s.create(ctx, s.bills(), account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False Suspended"))
		Expect(rests(ctx, account)).To(Equal("suspended"))
		Expect(s.provider.TokenRequests()).To(BeZero())
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = false })
		becomesReady(ctx, account)
	})

	It("leaves nothing behind when an account is deleted, and calls nobody for it", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("gone", "bills")
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		Expect(suite.admin.Delete(ctx, account)).To(Succeed())
		Eventually(func() bool {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "gone"}}
			return apierrors.IsNotFound(suite.admin.Get(ctx, client.ObjectKeyFromObject(secret), secret))
		}, time.Minute).Should(BeTrue())
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("waits for a client that comes later, as pipelines apply in any order", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("early", "bills")
		s.create(ctx, account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False ClientNotAvailable"))
		Expect(condition(ctx, account, "Stalled")()).To(Equal("absent"))
		s.create(ctx, s.bills())
		becomesReady(ctx, account)
	})

	It("shows the metrics of an account", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("measured", "bills")
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		labels := fmt.Sprintf(`{account="measured",account_namespace=%q}`, s.namespace)
		Eventually(scrape).Should(SatisfyAll(
			ContainSubstring("oauth_operator_account_ready"+labels+" 1"),
			ContainSubstring("oauth_operator_account_token_expiration_timestamp_seconds"+labels),
			ContainSubstring("oauth_operator_secret_expired_seconds_total"+labels+" 0"),
			ContainSubstring(fmt.Sprintf(`oauth_operator_token_requests_total{client="bills",client_namespace=%q,outcome="ok"} 1`, s.namespace)),
		))
		Expect(suite.admin.Delete(ctx, account)).To(Succeed())
		Eventually(scrape).ShouldNot(ContainSubstring(labels))
	})
})
