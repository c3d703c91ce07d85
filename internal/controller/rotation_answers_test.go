package controller_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

var _ = Describe("The cost of a refresh", func() {
	for _, each := range []struct {
		name   string
		kind   provider.ReuseKind
		tokens v1alpha1.RefreshTokens
		writes []string
	}{
		{"a refresh token for one use: three writes", provider.Strict, v1alpha1.RefreshTokens{}, []string{
			"PUT connectedaccounts/a/status", "PUT connectedaccounts/a/status", "PUT secrets/a",
		}},
		{"a reusable refresh token: two writes", provider.Reusable, v1alpha1.RefreshTokens{Use: v1alpha1.RefreshTokenReusable}, []string{
			"PUT connectedaccounts/a/status", "PUT secrets/a",
		}},
	} {
		It("M2 "+each.name+", one token request, and no read of the account", func(ctx SpecContext) {
			s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: each.kind})
			account := s.connect(ctx, each.tokens, "a")[0]
			rests(ctx, account)
			for range 2 {
				mark, requests := suite.wire.mark(), s.provider.TokenRequests()
				rotates(ctx, account)
				rests(ctx, account)
				made := suite.wire.since(mark, func(made call) bool { return within(s.namespace)(made) && !strings.Contains(made.path, "/events") })
				writes := slices.DeleteFunc(slices.Clone(made), func(made call) bool { return made.method == http.MethodGet })
				reads := slices.DeleteFunc(slices.Clone(made), func(made call) bool { return made.method != http.MethodGet })
				Expect(paths(writes)).To(Equal(each.writes), "in this order, and none that is only tried")
				Expect(paths(reads)).NotTo(ContainElement(ContainSubstring("connectedaccounts")))
				Expect(s.provider.TokenRequests()).To(Equal(requests + 1))
			}
		})
	}
})

// keptAsItWas checks that a failed refresh has cost the account nothing: the token is published and good, and no person is asked.
func (s *stage) keptAsItWas(ctx context.Context, account *v1alpha1.ConnectedAccount, token string) {
	GinkgoHelper()
	Expect(string(s.tokenSecret(ctx, "a").Data["access_token"])).To(Equal(token))
	Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
	Expect(condition(ctx, account, "Stalled")()).To(Equal("absent"))
}

var _ = Describe("What a provider answers to a refresh token", func() {
	It("H45 without a new one: the old one is kept, and used again", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.Reusable})
		account := s.connected(ctx)
		first := s.lastSent()
		for range 2 {
			rotates(ctx, account)
			Expect(s.lastSent()).To(Equal(first))
		}
		Expect(rotations(ctx, account)()).To(Equal(int64(4)))
		Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
	})

	DescribeTable("with a new one beside an access token that cannot be used: the new one is kept, and used next",
		func(ctx SpecContext, rest string) {
			s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
			account := s.connected(ctx)
			token := string(s.tokenSecret(ctx, "a").Data["access_token"])
			before, held := rotations(ctx, account)(), opened(ctx, account)
			successor, err := s.provider.Grant(billsID, "a") // stands for the one that the reply below names
			Expect(err).NotTo(HaveOccurred())
			Expect(s.provider.Script(billsID, provider.CommitAndReplyWith(200, http.Header{"Content-Type": {"application/json"}},
				`{"refresh_token":"`+successor.RefreshToken+`"`+rest+`}`))).To(Succeed())
			pass(ctx, untilDue, account)
			Eventually(condition(ctx, account, "Refreshed")).Should(Equal("False InvalidResponse"))
			Expect(rotations(ctx, account)()).To(Equal(before + 1))
			Expect(opened(ctx, account).RefreshToken.Reveal()).To(Equal(successor.RefreshToken))
			Expect(opened(ctx, account).AccessToken.Reveal()).To(Equal(held.AccessToken.Reveal()))
			Expect(opened(ctx, account).ExpirationTime).To(Equal(held.ExpirationTime))
			Expect(condition(ctx, account, "Ready")()).To(Equal("True InvalidResponse"))
			s.keptAsItWas(ctx, account, token)
			Expect(get(ctx, account.DeepCopy()).Status.Claim).To(BeZero())
			Expect(rests(ctx, account)).To(Equal("too soon"))
			Expect(s.provider.TokenRequests()).To(Equal(2))

			pass(ctx, 61*time.Second, account)
			Eventually(s.provider.TokenRequests).Should(Equal(3))
			becomesReady(ctx, account)
			Expect(s.lastSent()).To(Equal(providerFingerprint(successor.RefreshToken)))
			Eventually(func() string { return string(s.tokenSecret(ctx, "a").Data["access_token"]) }).ShouldNot(Equal(token))
			s.goesOn(ctx, account)
		},
		Entry("none", `,"token_type":"Bearer"`),
		Entry("a number", `,"token_type":"Bearer","access_token":7`),
		Entry("a line break in it", `,"token_type":"Bearer","access_token":"a\r\nX-Evil: 1"`),
		Entry("two of them", `,"token_type":"Bearer","access_token":"opat_a","access_token":"opat_b"`),
		Entry("another type of token", `,"token_type":"mac","access_token":"opat_a"`),
	)

	It("H52 with a refusal, while a newer one was put into the store: the newer one is used", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.connected(ctx)
		newer, err := s.provider.Grant(billsID, "a")
		Expect(err).NotTo(HaveOccurred())
		hold, refuse := provider.NewHold(), provider.RefuseWith(400, "invalid_grant")
		refuse.HoldBeforeCommit = hold
		DeferCleanup(hold.Release)
		Expect(s.provider.Script(billsID, refuse)).To(Succeed())
		pass(ctx, untilDue, account)
		Eventually(hold.Reached()).Should(BeClosed())
		held := opened(ctx, account)
		held.RefreshToken, held.GrantSequence, held.Rotation = secret.New(newer.RefreshToken), held.GrantSequence+1, held.Rotation+1
		sealed, err := installedKeyring().Seal(seal.PurposeCredential, subjectOf(ctx, account), held)
		Expect(err).NotTo(HaveOccurred())
		putStatus(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) {
			status.SealedCredential, status.Claim = sealed, v1alpha1.Claim{}
		})
		hold.Release()

		pass(ctx, untilProbed, account)
		Eventually(s.lastSent).Should(Equal(providerFingerprint(newer.RefreshToken)))
		becomesReady(ctx, account)
		Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
		Expect(eventsOf(ctx, account)()).NotTo(ContainElement(HavePrefix("RefreshToken")))
		Expect(s.provider.TokenRequests()).To(Equal(3))
		rotates(ctx, account)
		s.neverReused()
	})

	DescribeTable("H54 to wait: that is obeyed within bounds, and the access token stays",
		func(ctx SpecContext, header func(now time.Time) string, least, most time.Duration) {
			s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
			account := s.connected(ctx)
			token := string(s.tokenSecret(ctx, "a").Data["access_token"])
			Expect(s.provider.Script(billsID, provider.Throttle(http.StatusTooManyRequests, header(suite.clock.Now().Add(untilDue))))).To(Succeed())
			pass(ctx, untilDue, account)
			Eventually(condition(ctx, account, "Ready")).Should(Equal("True Throttled"))
			failures := get(ctx, account.DeepCopy()).Status.Failures
			Expect(failures.NextAttemptTime.Sub(failures.LastFailureTime.Time)).To(SatisfyAll(BeNumerically(">=", least), BeNumerically("<=", most)))
			Expect(get(ctx, account.DeepCopy()).Status.Claim).To(BeZero(), "the token is not spent")
			s.keptAsItWas(ctx, account, token)
			Expect(rests(ctx, account)).To(Equal("too soon"))
			Expect(s.provider.TokenRequests()).To(Equal(2))
			pass(ctx, most, account)
			Eventually(s.provider.TokenRequests).Should(Equal(3))
			becomesReady(ctx, account)
			s.neverReused()
		},
		Entry("120", func(time.Time) string { return "120" }, 2*time.Minute, 2*time.Minute+15*time.Second),
		Entry("a date", func(now time.Time) string { return now.Add(2 * time.Minute).UTC().Format(http.TimeFormat) }, 110*time.Second, 135*time.Second),
		Entry("-1", func(time.Time) string { return "-1" }, 5*time.Second, 7*time.Second),
		Entry("10^9", func(time.Time) string { return "1000000000" }, time.Hour, 67*time.Minute),
		Entry("garbage", func(time.Time) string { return "soon" }, 5*time.Second, 70*time.Second),
		Entry("absent", func(time.Time) string { return "" }, 5*time.Second, 70*time.Second),
	)

	It("H55 for six hours that it is not available: it recovers by itself, and nobody is asked", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.connected(ctx)
		Expect(s.provider.SetOutage(provider.Answering503)).To(Succeed())
		pass(ctx, untilDue, account)
		for range 36 {
			pass(ctx, 10*time.Minute, account)
			rotationLap(ctx, account)
			Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
		}
		Expect(condition(ctx, account, "Ready")()).To(Equal("False OutcomeUnknown"))
		Expect(s.provider.TokenRequests()).To(SatisfyAll(BeNumerically(">", 5), BeNumerically("<", 40)))
		Expect(s.provider.SetOutage(provider.NoOutage)).To(Succeed())
		pass(ctx, 70*time.Minute, account)
		becomesReady(ctx, account)
		Expect(get(ctx, account.DeepCopy()).Status.Failures).To(BeZero())
		for _, reason := range eventsOf(ctx, account)() {
			Expect(reason).NotTo(HavePrefix("RefreshToken"))
		}
		rotates(ctx, account)
		Expect(get(ctx, account.DeepCopy()).Status.DoubtSequence).To(BeZero())
		s.neverReused()
	})

	It("H56 invalid_client, until the client's new secret is there: tried again at once, and the refresh token is not spent on it", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.connected(ctx)
		token := string(s.tokenSecret(ctx, "a").Data["access_token"])
		Expect(s.provider.SetClientSecret(billsID, s.secret+"-new")).To(Succeed())
		pass(ctx, untilDue, account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("True ClientRejected"))
		Expect(get(ctx, account.DeepCopy()).Status.Claim).To(BeZero())
		s.keptAsItWas(ctx, account, token)
		Expect(rests(ctx, account)).To(Equal("too soon"))
		Expect(s.provider.TokenRequests()).To(Equal(2))

		credentials := s.source(ctx, "credentials")
		change(ctx, credentials, func(owned *corev1.Secret) { owned.Data["client_secret"] = []byte(s.secret + "-new") })
		pass(ctx, untilProbed, account)
		Eventually(s.provider.TokenRequests).Should(Equal(3))
		becomesReady(ctx, account)
		rotates(ctx, account)
		s.neverReused()
	})
})

// rotationLap waits until two laps have begun from now on: whatever the first one did is done by then.
func rotationLap(ctx context.Context, account *v1alpha1.ConnectedAccount) {
	GinkgoHelper()
	for range 2 {
		lapFrom(suite.logs, account, touch(ctx, account))
	}
}

var _ = Describe("A clock that jumps", func() {
	It("H58 by a day makes one request for each jump, and never takes a token for good that is not", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.connected(ctx)
		requests := s.provider.TokenRequests()
		settled := func() {
			GinkgoHelper()
			requests++
			Eventually(s.provider.TokenRequests).Should(Equal(requests))
			becomesReady(ctx, account)
			for range 3 {
				Expect(rests(ctx, account)).To(beIdle())
			}
			Expect(s.provider.TokenRequests()).To(Equal(requests))
		}
		By("going a day ahead")
		pass(ctx, 24*time.Hour, account)
		settled()

		By("going a day back, while the provider is away")
		Expect(s.provider.SetAvailable(false)).To(Succeed())
		pass(ctx, -24*time.Hour, account)
		Eventually(condition(ctx, account, "Ready")).Should(HavePrefix("False "))
		Expect(rests(ctx, account)).To(beIdle())
		Expect(s.provider.SetAvailable(true)).To(Succeed())
		pass(ctx, time.Hour, account)
		settled()
		pass(ctx, 23*time.Hour, account)
		settled()

		By("going back a little, as clocks do that are set right")
		pass(ctx, -time.Minute, account)
		for range 3 {
			Expect(rests(ctx, account)).To(beIdle())
		}
		Expect(s.provider.TokenRequests()).To(Equal(requests))
		pass(ctx, time.Minute, account)
		s.goesOn(ctx, account)
	})
})
