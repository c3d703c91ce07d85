package controller_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// consentURL is where the pages would be. The specs play them.
const consentURL = "https://oauth.example.com"

// withConsent lets a client send a person to a browser.
func (s *stage) withConsent(contract provider.Contract, changes ...func(*v1alpha1.OAuthClient)) func(*v1alpha1.OAuthClient) {
	return func(owner *v1alpha1.OAuthClient) {
		withRefresh(v1alpha1.RefreshTokens{})(owner)
		owner.Spec.Endpoints.Authorization = v1alpha1.AuthorizationEndpoint(s.provider.AuthorizeEndpoint(contract))
		owner.Spec.Endpoints.Revocation = v1alpha1.Endpoint(s.provider.RevocationEndpoint(contract))
		owner.Spec.AuthorizationRequest.PKCE = v1alpha1.PKCENone
		owner.Spec.TokenResponse.Identity.Pointer = "/account_id"
		changed(owner, changes)
	}
}

// person is an account that lives on a person's consent.
func (s *stage) person(clientName string, changes ...func(*v1alpha1.ConnectedAccount)) *v1alpha1.ConnectedAccount {
	return s.account("a", clientName, append([]func(*v1alpha1.ConnectedAccount){func(account *v1alpha1.ConnectedAccount) {
		account.Spec.Grant.Type = v1alpha1.GrantAuthorizationCode
	}}, changes...)...)
}

// link waits for the link of an account, and returns it.
func link(ctx context.Context, account *v1alpha1.ConnectedAccount) string {
	GinkgoHelper()
	var found string
	Eventually(func() string {
		found = get(ctx, account.DeepCopy()).Status.AuthorizationURL
		return found
	}).ShouldNot(BeEmpty())
	return found
}

// pagesKeys are what the consent server has.
func pagesKeys(ctx context.Context) *seal.ConsentKeys {
	GinkgoHelper()
	var keys *seal.ConsentKeys
	Eventually(func() error {
		mounted := pagesSecret()
		err := suite.admin.Get(ctx, ctrlclient.ObjectKeyFromObject(mounted), mounted)
		if err == nil {
			keys, err = seal.ParseConsentKeys(mounted.Data)
		}
		return err
	}).Should(Succeed())
	return keys
}

func pagesSecret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "oauth-operator-consent"}}
}

// handOver is what the consent server makes of a callback with a code.
func (s *stage) handOver(ctx context.Context, account *v1alpha1.ConnectedAccount, code string, fields ...seal.CapturedField) v1alpha1.HandOver {
	GinkgoHelper()
	return s.handOverOf(ctx, account, seal.HandOver{Code: secret.New(code), Captured: fields})
}

func (s *stage) handOverOf(ctx context.Context, account *v1alpha1.ConnectedAccount, brought seal.HandOver) v1alpha1.HandOver {
	GinkgoHelper()
	keys := pagesKeys(ctx)
	_, text, found := strings.Cut(link(ctx, account), "/connect?ticket=")
	Expect(found).To(BeTrue())
	ticket, err := keys.OpenTicket(text)
	Expect(err).NotTo(HaveOccurred())
	owner := get(ctx, &v1alpha1.OAuthClient{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: account.Spec.ClientRef.Name}})
	id := fmt.Sprint(time.Now().UnixNano())
	binding := seal.HandOverBinding{
		AccountUID: ticket.AccountUID, ClientUID: string(owner.UID), ClientID: owner.Spec.ClientID,
		RedirectURI: owner.Status.RedirectURI, Attempt: ticket.Attempt, StateHash: "state-" + id,
	}
	sealed, err := keys.SealHandOver(binding, brought)
	Expect(err).NotTo(HaveOccurred())
	now := metav1.NewTime(suite.clock.Now())
	return v1alpha1.HandOver{
		ID: "over-" + id, Sealed: sealed, StateHash: v1alpha1.StateHash(binding.StateHash), ClientUID: binding.ClientUID,
		ClientID: binding.ClientID, RedirectURI: binding.RedirectURI, Attempt: binding.Attempt, HandedOverTime: &now,
	}
}

// hands writes a hand-over into the status, as the consent server does.
func hands(ctx context.Context, account *v1alpha1.ConnectedAccount, over v1alpha1.HandOver) {
	GinkgoHelper()
	editAuthorization(ctx, account, func(into *v1alpha1.Authorization) {
		into.HandOver = over
		into.UsedStates = append(into.UsedStates, over.StateHash)
	})
}

func editAuthorization(ctx context.Context, account *v1alpha1.ConnectedAccount, edit func(*v1alpha1.Authorization)) {
	GinkgoHelper()
	Eventually(func() error {
		current := get(ctx, account.DeepCopy())
		edit(&current.Status.Authorization)
		return suite.admin.Status().Update(ctx, current)
	}).Should(Succeed())
}

// code has a person consent at the provider.
func (s *stage) code(account *v1alpha1.ConnectedAccount, user string, scopes ...string) string {
	GinkgoHelper()
	id := map[string]string{"business": businessID, "bills": billsID}[account.Spec.ClientRef.Name]
	code, err := s.provider.Consent(id, user, consentURL+"/callback/"+s.namespace+"/"+account.Spec.ClientRef.Name, "", scopes...)
	Expect(err).NotTo(HaveOccurred())
	return code
}

// consents plays the whole part of a person and of the pages.
func (s *stage) consents(ctx context.Context, account *v1alpha1.ConnectedAccount, user string, fields ...seal.CapturedField) v1alpha1.HandOver {
	GinkgoHelper()
	over := s.handOver(ctx, account, s.code(account, user), fields...)
	hands(ctx, account, over)
	return over
}

// outcome is what came of the attempt with that code: "Result identity".
func outcome(ctx context.Context, account *v1alpha1.ConnectedAccount, over v1alpha1.HandOver) func() string {
	return func() string {
		known := get(ctx, account.DeepCopy()).Status.Authorization.LastOutcome
		if known.StateHash != over.StateHash {
			return "none yet"
		}
		return strings.TrimSpace(string(known.Result) + " " + known.Identity)
	}
}

// connectedBy is an account that alice has consented to, with a token in its Secret.
func (s *stage) connectedBy(ctx context.Context, owner *v1alpha1.OAuthClient, account *v1alpha1.ConnectedAccount) {
	GinkgoHelper()
	s.create(ctx, owner, account)
	Eventually(outcome(ctx, account, s.consents(ctx, account, "alice"))).Should(Equal("Connected alice"))
	becomesReady(ctx, account)
}

var _ = Describe("A person's consent", func() {
	for _, each := range []struct {
		name, client string
		contract     provider.Contract
	}{{"JSON bodies", "business", provider.SmartBusiness}, {"form bodies", "bills", provider.Smartbills}} {
		It("leads from a link to a token that is kept fresh, by one request ("+each.name+")", func(ctx SpecContext) {
			s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
			account := s.person(each.client)
			owner := s.business(s.withConsent(each.contract))
			if each.client == "bills" {
				owner = s.bills(s.withConsent(each.contract))
			}
			s.create(ctx, owner, account)
			Eventually(authorized(ctx, account)).Should(Equal("False AuthorizationRequired"))
			first := link(ctx, account)
			Expect(get(ctx, owner).Status.RedirectURI).To(Equal(consentURL + "/callback/" + s.namespace + "/" + each.client))
			Expect(condition(ctx, account, "Stalled")()).To(Equal("absent"), "a person is waited for, and nothing is to be rolled back")
			rests(ctx, account)
			Expect(link(ctx, account)).To(Equal(first))
			Expect(s.provider.TokenRequests()).To(BeZero())

			mark := suite.wire.mark()
			over := s.consents(ctx, account, "alice")
			Eventually(outcome(ctx, account, over)).Should(Equal("Connected alice"))
			becomesReady(ctx, account)
			rests(ctx, account)
			Expect(s.provider.TokenRequests()).To(Equal(1))
			Expect(paths(suite.wire.since(mark, writesWithin(s.namespace)))).To(Equal([]string{
				"PUT connectedaccounts/a/status", "PUT connectedaccounts/a/status", "POST secrets", "PUT connectedaccounts/a/status",
			}), "claim, keep, publish, and the first time that the account is ready")
			status := get(ctx, account.DeepCopy()).Status
			Expect(status.Identity).To(Equal("alice"))
			Expect(status.AuthorizationURL).To(BeEmpty())
			Expect(status.Authorization.HandOver).To(BeZero())
			Expect(status.Authorization.Exchange).To(BeZero())
			Expect(status.Authorization.Attempt).To(Equal(int64(2)))
			Expect(opened(ctx, account).GrantTime).NotTo(BeZero())

			rotates(ctx, account)
			rotates(ctx, account)
			Expect(s.provider.TokenRequests()).To(Equal(3))
			s.neverReused()
		})
	}

	It("S15 during a refresh waits for it, and the newer grant stays", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.person("business", func(a *v1alpha1.ConnectedAccount) { a.Spec.Consent.Link = v1alpha1.LinkAlways })
		s.connectedBy(ctx, s.business(s.withConsent(provider.SmartBusiness)), account)
		rests(ctx, account)
		before := opened(ctx, account)
		hold := provider.NewHold()
		DeferCleanup(hold.Release)
		Expect(s.provider.Script(businessID, provider.HoldAfterCommit(hold))).To(Succeed())
		over := s.handOver(ctx, account, s.code(account, "alice"))
		pass(ctx, untilDue, account)
		Eventually(hold.Reached()).Should(BeClosed())
		now := metav1.NewTime(suite.clock.Now())
		over.HandedOverTime = &now
		hands(ctx, account, over)
		Consistently(s.provider.TokenRequests, time.Second).Should(Equal(2), "the code waits")
		hold.Release()
		Eventually(outcome(ctx, account, over)).Should(Equal("Connected alice"))
		becomesReady(ctx, account)
		held := opened(ctx, account)
		Expect(held.GrantSequence).To(Equal(before.GrantSequence + 1))
		Expect(held.Rotation).To(Equal(before.Rotation + 2))
		Expect(held.Lineage).NotTo(Equal(before.Lineage))
		rotates(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(4))
		s.neverReused()
	})

	It("S18 gives the consent server keys that open nothing, again when they were deleted", func(ctx SpecContext) {
		Eventually(func() error {
			return suite.admin.Get(ctx, ctrlclient.ObjectKeyFromObject(pagesSecret()), pagesSecret())
		}).Should(Succeed())
		first := get(ctx, pagesSecret())
		Expect(first.Data).To(HaveLen(2))
		Expect(string(first.Data[seal.HandOverPublicKeyset])).To(ContainSubstring("ASYMMETRIC_PUBLIC"))
		Expect(string(first.Data[seal.HandOverPublicKeyset])).NotTo(ContainSubstring("PRIVATE"))
		Expect(suite.admin.Delete(ctx, pagesSecret())).To(Succeed())
		Eventually(func() map[string][]byte {
			again := pagesSecret()
			_ = suite.admin.Get(ctx, ctrlclient.ObjectKeyFromObject(again), again)
			return again.Data
		}).Should(Equal(first.Data))
		edited := get(ctx, pagesSecret())
		edited.Data = map[string][]byte{"x": []byte("y")}
		Expect(suite.admin.Update(ctx, edited)).To(Succeed())
		Eventually(func() map[string][]byte { return get(ctx, pagesSecret()).Data }).Should(Equal(first.Data))
	})

	It("H76 S25 with a no: the attempt fails, five of them within an hour make a wait, and the old tokens stay", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.person("bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Consent.Link = v1alpha1.LinkAlways })
		s.connectedBy(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		token, before := string(s.tokenSecret(ctx, "a").Data["access_token"]), s.provider.TokenRequests()
		first := link(ctx, account)
		for n := 1; n <= 5; n++ {
			pass(ctx, 6*time.Second, account)
			over := s.handOver(ctx, account, fmt.Sprintf("garbage-%d", n))
			hands(ctx, account, over)
			Eventually(outcome(ctx, account, over)).Should(Equal("Rejected"))
			Expect(s.provider.TokenRequests()).To(Equal(before + n))
			Expect(get(ctx, account.DeepCopy()).Status.Authorization.Failures.Count).To(Equal(int32(n)))
		}
		s.keptAsItWas(ctx, account, token)
		Expect(link(ctx, account)).To(Equal(first), "a failed code uses up its state, not the attempt")
		pass(ctx, 6*time.Second, account)
		Eventually(outcome(ctx, account, s.consents(ctx, account, "alice"))).Should(Equal("Connected alice"))
		Expect(get(ctx, account.DeepCopy()).Status.Authorization.Failures).To(BeZero())
		s.neverReused()
	})

	It("S26 is exchanged once, however often it is handed over", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Consent.Link = v1alpha1.LinkAlways })
		s.create(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		over := s.consents(ctx, account, "alice")
		Eventually(outcome(ctx, account, over)).Should(Equal("Connected alice"))
		pass(ctx, 6*time.Second, account)
		hands(ctx, account, over)
		Eventually(func() v1alpha1.HandOver { return get(ctx, account.DeepCopy()).Status.Authorization.HandOver }).Should(BeZero())
		rests(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(1))
		Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
	})

	It("S27 is good though the keys were rotated since the link was given", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills")
		s.create(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		given := link(ctx, account)
		over := s.handOver(ctx, account, s.code(account, "alice"))
		keyring := keyringSecret()
		read, err := seal.ParseKeyring(get(ctx, keyring).Data)
		Expect(err).NotTo(HaveOccurred())
		next, err := read.WithNewKey()
		Expect(err).NotTo(HaveOccurred())
		next, err = next.WithPrimary(next.Keys()[len(next.Keys())-1].ID)
		Expect(err).NotTo(HaveOccurred())
		keyring.Data = next.Data()
		Expect(suite.admin.Update(ctx, keyring)).To(Succeed())
		Eventually(func() map[string][]byte { return get(ctx, pagesSecret()).Data }).Should(Equal(next.ConsentData()))
		rests(ctx, account)
		Expect(link(ctx, account)).To(Equal(given))
		hands(ctx, account, over)
		Eventually(outcome(ctx, account, over)).Should(Equal("Connected alice"))
	})

	It("S29 S45 is not published before somebody has approved of whom the status names", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills", func(a *v1alpha1.ConnectedAccount) {
			a.Spec.Consent.Approval = v1alpha1.ApprovalRequired
			a.Annotations = map[string]string{v1alpha1.AnnotationApprove: "bob"}
		})
		s.create(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		Eventually(outcome(ctx, account, s.consents(ctx, account, "alice"))).Should(Equal("ApprovalRequired alice"))
		Eventually(authorized(ctx, account)).Should(Equal("False ApprovalRequired"))
		rests(ctx, account)
		secrets := &corev1.SecretList{}
		Expect(suite.admin.List(ctx, secrets, ctrlclient.InNamespace(s.namespace))).To(Succeed())
		for _, each := range secrets.Items {
			Expect(each.Name).NotTo(Equal("a"), "nothing is published")
		}
		Expect(get(ctx, account.DeepCopy()).Status.Identity).To(Equal("alice"))
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Annotations[v1alpha1.AnnotationApprove] = "alice" })
		becomesReady(ctx, account)
		Eventually(func() bool { return opened(ctx, account).Approved }).Should(BeTrue())
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { delete(a.Annotations, v1alpha1.AnnotationApprove) })
		rotates(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(2))
	})
})

var _ = Describe("Another person's consent", func() {
	It("H77 is not kept, whoever was there before stays, and the status names who came", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.person("business", func(a *v1alpha1.ConnectedAccount) { a.Spec.Consent.Link = v1alpha1.LinkAlways })
		s.connectedBy(ctx, s.business(s.withConsent(provider.SmartBusiness)), account)
		token := string(s.tokenSecret(ctx, "a").Data["access_token"])
		pass(ctx, 6*time.Second, account)
		Eventually(outcome(ctx, account, s.consents(ctx, account, "mallory"))).Should(Equal("SubjectChanged mallory"))
		Eventually(authorized(ctx, account)).Should(Equal("False SubjectChanged"))
		Expect(condition(ctx, account, v1alpha1.ConditionReady)()).To(Equal("True SubjectChanged"))
		Expect(string(s.tokenSecret(ctx, "a").Data["access_token"])).To(Equal(token))
		Expect(get(ctx, account.DeepCopy()).Status.Identity).To(Equal("alice"))
		Expect(opened(ctx, account).Identity).To(Equal("alice"))

		pass(ctx, 6*time.Second)
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.ExpectedIdentity = "mallory" })
		Eventually(outcome(ctx, account, s.consents(ctx, account, "mallory"))).Should(Equal("Connected mallory"))
		becomesReady(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(3))
		s.neverReused()
	})

	It("H42 with the access of somebody else: the token is not used, the refresh token is not lost, and the account says so", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.person("bills")
		s.connectedBy(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		token := string(s.tokenSecret(ctx, "a").Data["access_token"])
		successor, err := s.provider.Grant(billsID, "alice")
		Expect(err).NotTo(HaveOccurred())
		body := fmt.Sprintf(`{"access_token":"of-mallory","token_type":"Bearer","expires_in":3600,"refresh_token":%q,"account_id":"mallory"}`, successor.RefreshToken)
		Expect(s.provider.Script(billsID, provider.CommitAndReplyWith(http.StatusOK, http.Header{"Content-Type": {"application/json"}}, body))).To(Succeed())
		pass(ctx, untilDue, account)
		Eventually(authorized(ctx, account)).Should(Equal("False SubjectChanged"))
		Expect(string(s.tokenSecret(ctx, "a").Data["access_token"])).To(Equal(token))
		held := opened(ctx, account)
		Expect(held.RefreshToken.Reveal()).To(Equal(successor.RefreshToken))
		Expect(held.Identity).To(Equal("alice"))
		Expect(link(ctx, account)).NotTo(BeEmpty())
	})
})

var _ = Describe("A refresh", func() {
	It("H42 with the access of somebody else and no refresh token leaves no doubt: the one that was sent is used again", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.Reusable})
		account := s.person("bills")
		s.connectedBy(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		before := opened(ctx, account)
		Expect(s.provider.Script(billsID, provider.ReplyWith(http.StatusOK, http.Header{"Content-Type": {"application/json"}},
			`{"access_token":"of-mallory","token_type":"Bearer","expires_in":3600,"account_id":"mallory"}`))).To(Succeed())
		pass(ctx, untilDue, account)
		Eventually(authorized(ctx, account)).Should(Equal("False SubjectChanged"))
		status := get(ctx, account.DeepCopy()).Status
		Expect(status.Claim).To(BeZero())
		Expect(status.DoubtSequence).To(BeZero())
		held := opened(ctx, account)
		Expect(held.RefreshToken.Reveal()).To(Equal(before.RefreshToken.Reveal()))
		Expect(held.AccessToken.Reveal()).To(Equal(before.AccessToken.Reveal()))
		Expect(held.Identity).To(Equal("alice"))
		pass(ctx, 2*time.Hour, account)
		becomesReady(ctx, account)
		Eventually(authorized(ctx, account)).Should(Equal("True Authorized"))
	})
})

var _ = Describe("A code", func() {
	It("whose answer is lost is in doubt: it is given up, never sent again, and the old tokens stay", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.person("business", func(a *v1alpha1.ConnectedAccount) { a.Spec.Consent.Link = v1alpha1.LinkAlways })
		s.connectedBy(ctx, s.business(s.withConsent(provider.SmartBusiness)), account)
		token := string(s.tokenSecret(ctx, "a").Data["access_token"])
		Expect(s.provider.Script(businessID, provider.CommitAndDrop())).To(Succeed())
		pass(ctx, 6*time.Second, account)
		over := s.consents(ctx, account, "alice")
		Eventually(outcome(ctx, account, over)).Should(Equal("InDoubt"))
		pass(ctx, 6*time.Second, account)
		Expect(rests(ctx, account)).To(Equal("old grant rests"))
		Expect(s.provider.TokenRequests()).To(Equal(2))
		s.keptAsItWas(ctx, account, token)
		rotates(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(3))
		s.neverReused()
	})

	It("whose token needs no refresh token is kept, however long the API server takes nothing", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills")
		s.create(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		hold := provider.NewHold()
		DeferCleanup(hold.Release)
		answer := provider.CommitAndReplyWith(http.StatusOK, http.Header{"Content-Type": {"application/json"}}, `{"access_token":"without-end","token_type":"Bearer","account_id":"alice"}`)
		answer.HoldAfterCommit = hold
		Expect(s.provider.Script(billsID, answer)).To(Succeed())
		over := s.consents(ctx, account, "alice")
		Eventually(hold.Reached()).Should(BeClosed())
		refused := s.refuseStatus(suite.wire, http.StatusForbidden)
		hold.Release()
		Eventually(func() int { return refused(account) }).Should(BeNumerically(">=", 3))
		pass(ctx, 2*time.Hour, account)
		so := refused(account)
		Eventually(func() int { return refused(account) }).Should(BeNumerically(">=", so+3), "a code is sent once: what it brought cannot be had again")
		suite.wire.set(nil)
		Eventually(outcome(ctx, account, over)).Should(Equal("Connected alice"))
		becomesReady(ctx, account)
		Expect(s.tokenSecret(ctx, "a").Data).To(HaveKeyWithValue("access_token", []byte("without-end")))
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	DescribeTable("is not sent where it does not belong",
		func(ctx SpecContext, edit func(*v1alpha1.HandOver)) {
			s := newStage(ctx, time.Hour)
			account := s.person("bills")
			s.create(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
			over := s.handOver(ctx, account, s.code(account, "alice"))
			edit(&over)
			hands(ctx, account, over)
			Eventually(outcome(ctx, account, over)).Should(Equal("Expired"))
			Expect(s.provider.TokenRequests()).To(BeZero())
			Expect(get(ctx, account.DeepCopy()).Status.Authorization.HandOver).To(BeZero())
		},
		Entry("of another client", func(over *v1alpha1.HandOver) { over.ClientUID = "other" }),
		Entry("of another client id", func(over *v1alpha1.HandOver) { over.ClientID = "other" }),
		Entry("of another redirect URI", func(over *v1alpha1.HandOver) { over.RedirectURI = "https://evil.example/callback" }),
		Entry("of another token host", func(over *v1alpha1.HandOver) { over.Host = "evil.example" }),
		Entry("of another link", func(over *v1alpha1.HandOver) { over.Attempt = 7 }),
		Entry("after eleven minutes", func(over *v1alpha1.HandOver) {
			at := metav1.NewTime(over.HandedOverTime.Add(-11 * time.Minute))
			over.HandedOverTime = &at
		}),
		Entry("that was sealed for something else", func(over *v1alpha1.HandOver) { over.StateHash = "state-of-another" }),
		Entry("that nobody has sealed", func(over *v1alpha1.HandOver) { over.Sealed = strings.Repeat("A", 200) }),
	)

	It("is exchanged by a process that has just started, though there is a token Secret of the grant before", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Consent.Link = v1alpha1.LinkAlways })
		s.connectedBy(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		see := blind()
		s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()})
		Eventually(outcome(ctx, account, s.consents(ctx, account, "alice"))).Should(Equal("Connected alice"))
		see()
		becomesReady(ctx, account)
	})

	It("S47 that was asked for with other scopes than are wanted by now is not sent", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills")
		s.create(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		over := s.handOverOf(ctx, account, seal.HandOver{Code: secret.New(s.code(account, "alice")), ScopeHash: seal.ScopeHash([]string{"admin"})})
		hands(ctx, account, over)
		Eventually(outcome(ctx, account, over)).Should(Equal("Expired"))
		Expect(s.provider.TokenRequests()).To(BeZero())
		owner := get(ctx, &v1alpha1.OAuthClient{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "bills"}})
		var scopes []string
		for _, scope := range owner.Spec.Scopes {
			scopes = append(scopes, string(scope))
		}
		over = s.handOverOf(ctx, account, seal.HandOver{Code: secret.New(s.code(account, "alice")), ScopeHash: seal.ScopeHash(scopes)})
		hands(ctx, account, over)
		Eventually(outcome(ctx, account, over)).Should(Equal("Connected alice"))
	})

	It("brings captured values into the Secret, and nothing that was not wanted", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills")
		s.create(ctx, s.bills(s.withConsent(provider.Smartbills, func(owner *v1alpha1.OAuthClient) {
			owner.Spec.AuthorizationResponse.Capture = []v1alpha1.CallbackCapture{{Name: "realmId", Key: "realm"}}
			owner.Spec.TokenResponse.Capture = []v1alpha1.AnswerCapture{
				{Pointer: "/account_id", Key: "account"}, {Pointer: "/instance_url", Key: "url", Format: v1alpha1.CaptureURL},
			}
		})), account)
		over := s.consents(ctx, account, "alice", seal.CapturedField{Name: "realmId", Value: "42"}, seal.CapturedField{Name: "other", Value: "x"})
		Eventually(outcome(ctx, account, over)).Should(Equal("Connected alice"))
		becomesReady(ctx, account)
		published := s.tokenSecret(ctx, "a").Data
		Expect(published).To(HaveKeyWithValue("realm", []byte("42")))
		Expect(published).To(HaveKeyWithValue("account", []byte("alice")))
		Expect(published).NotTo(HaveKey("url"))
		Expect(published).NotTo(HaveKey("other"))
		rotates(ctx, account)
		Expect(s.tokenSecret(ctx, "a").Data).To(HaveKeyWithValue("realm", []byte("42")), "a refresh brings no callback")
	})

	It("of a person who says no is none: the account says so, and asks again", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills")
		s.create(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		first := link(ctx, account)
		now := metav1.NewTime(suite.clock.Now())
		editAuthorization(ctx, account, func(into *v1alpha1.Authorization) {
			into.Denial = v1alpha1.AuthorizationDenial{Code: "access_denied", StateHash: "state-1", DeniedTime: &now}
		})
		Eventually(authorized(ctx, account)).Should(Equal("False AuthorizationDenied"))
		Expect(get(ctx, account.DeepCopy()).Status.Authorization.LastOutcome.Result).To(Equal(v1alpha1.AuthorizationWasDenied))
		Expect(link(ctx, account)).To(Equal(first))
		Eventually(outcome(ctx, account, s.consents(ctx, account, "alice"))).Should(Equal("Connected alice"))
		becomesReady(ctx, account)
	})

	It("keeps nobody waiting for the end of a grant: more scopes are asked for with a link, and the old token stays", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("business", func(a *v1alpha1.ConnectedAccount) { a.Spec.Scopes = []v1alpha1.Scope{"invoices"} })
		s.create(ctx, s.business(s.withConsent(provider.SmartBusiness)), account)
		over := s.handOver(ctx, account, s.code(account, "alice", "invoices"))
		hands(ctx, account, over)
		Eventually(outcome(ctx, account, over)).Should(Equal("Connected alice"))
		becomesReady(ctx, account)
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Scopes = []v1alpha1.Scope{"invoices", "contact"} })
		Eventually(authorized(ctx, account)).Should(Equal("False ScopeReduced"))
		link(ctx, account)
		pass(ctx, untilDue, account)
		Eventually(s.provider.TokenRequests).Should(Equal(2))
		Eventually(rotations(ctx, account)).Should(Equal(int64(2)))
		Expect(condition(ctx, account, v1alpha1.ConditionReady)()).To(HavePrefix("True"))
		over = s.handOver(ctx, account, s.code(account, "alice", "invoices", "contact"))
		hands(ctx, account, over)
		Eventually(outcome(ctx, account, over)).Should(Equal("Connected alice"))
		becomesReady(ctx, account)
		Expect(get(ctx, account.DeepCopy()).Status.Scopes).To(ConsistOf(v1alpha1.Scope("invoices"), v1alpha1.Scope("contact")))
		Expect(get(ctx, account.DeepCopy()).Status.AuthorizationURL).To(BeEmpty())
	})
})

var _ = Describe("A deleted account", func() {
	revoking := func(account *v1alpha1.ConnectedAccount) {
		account.Spec.DeletionPolicy = v1alpha1.DeletionRevoke
		account.Annotations = map[string]string{v1alpha1.AnnotationAllowDelete: account.Name}
	}
	live := func(s *stage) int {
		count := 0
		for _, issued := range s.provider.IssuedTokens() {
			if issued.Refresh && issued.Live {
				count++
			}
		}
		return count
	}
	gone := func(ctx context.Context, account *v1alpha1.ConnectedAccount) func() bool {
		return func() bool {
			return apierrors.IsNotFound(suite.admin.Get(ctx, ctrlclient.ObjectKeyFromObject(account), account.DeepCopy()))
		}
	}

	It("has its grant revoked where that is asked for, by one request, and is gone then", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills", revoking)
		s.connectedBy(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		Eventually(func() []string { return get(ctx, account.DeepCopy()).Finalizers }).Should(ConsistOf(v1alpha1.FinalizerRevoke))
		rotates(ctx, account)
		Expect(suite.admin.Delete(ctx, account)).To(Succeed())
		Eventually(gone(ctx, account)).Should(BeTrue())
		Expect(live(s)).To(BeZero())
		Expect(s.provider.RevocationRequests()).To(Equal(1))
	})

	It("has its grant revoked once, however often the API server refuses to let it go", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills", revoking)
		s.connectedBy(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		Eventually(func() []string { return get(ctx, account.DeepCopy()).Finalizers }).Should(ConsistOf(v1alpha1.FinalizerRevoke))
		refused := make(chan struct{}, 100)
		suite.wire.refusing(func(request *http.Request) int {
			if request.Method != http.MethodPatch || !within(s.namespace)(call{path: request.URL.Path}) || !strings.HasSuffix(request.URL.Path, "/"+account.Name) {
				return 0
			}
			select {
			case refused <- struct{}{}:
			default:
			}
			return http.StatusConflict
		})
		Expect(suite.admin.Delete(ctx, account)).To(Succeed())
		for range 3 {
			Eventually(refused).Should(Receive())
		}
		suite.wire.set(nil)
		Eventually(gone(ctx, account)).Should(BeTrue())
		Expect(s.provider.RevocationRequests()).To(Equal(1))
	})

	It("leaves the grant alone where nobody asks for that", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills", revoking, func(a *v1alpha1.ConnectedAccount) { a.Spec.DeletionPolicy = "" })
		s.connectedBy(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		Expect(get(ctx, account.DeepCopy()).Finalizers).To(BeEmpty())
		Expect(suite.admin.Delete(ctx, account)).To(Succeed())
		Eventually(gone(ctx, account)).Should(BeTrue())
		Expect(live(s)).To(Equal(1))
		Expect(s.provider.RevocationRequests()).To(BeZero())
	})

	It("H85 is gone after two minutes though its grant could not be revoked", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills", revoking)
		s.connectedBy(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		Eventually(func() []string { return get(ctx, account.DeepCopy()).Finalizers }).Should(ConsistOf(v1alpha1.FinalizerRevoke))
		Expect(s.provider.SetAvailable(false)).To(Succeed())
		Expect(suite.admin.Delete(ctx, account)).To(Succeed())
		Eventually(suite.logs.String).Should(ContainSubstring("the grant of a deleted account is not revoked yet"))
		Expect(gone(ctx, account)()).To(BeFalse())
		suite.clock.ahead.Add(int64(2 * time.Minute)) // the operator looks again every five seconds
		Eventually(gone(ctx, account)).Should(BeTrue())
		Expect(live(s)).To(Equal(1))
	})

	It("S12 sends nothing to a revocation endpoint that was moved to another host", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.person("bills", revoking)
		owner := s.bills(s.withConsent(provider.Smartbills))
		s.connectedBy(ctx, owner, account)
		Eventually(func() []string { return get(ctx, account.DeepCopy()).Finalizers }).Should(ConsistOf(v1alpha1.FinalizerRevoke))
		other, err := provider.Start(provider.Options{TLS: true, Registrations: []provider.Registration{{Contract: provider.Smartbills, ClientID: billsID, ClientSecret: s.secret}}})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { Expect(other.Close()).To(Succeed()) })
		change(ctx, owner, func(owner *v1alpha1.OAuthClient) {
			owner.Spec.Endpoints.Revocation = v1alpha1.Endpoint(other.RevocationEndpoint(provider.Smartbills))
		})
		rests(ctx, account)
		Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
		Expect(suite.admin.Delete(ctx, account)).To(Succeed())
		Eventually(gone(ctx, account)).Should(BeTrue())
		Expect(other.RevocationRequests()).To(BeZero())
	})
})
