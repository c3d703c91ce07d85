package controller_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// claimEdits is what somebody who may write a status could do to a claim. Each is for an account of its own.
func claimEdits() map[string]func(*v1alpha1.ConnectedAccountStatus) {
	far := metav1.NewTime(time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))
	return map[string]func(*v1alpha1.ConnectedAccountStatus){
		"cleared":     func(status *v1alpha1.ConnectedAccountStatus) { status.Claim = v1alpha1.Claim{} },
		"renamed":     func(status *v1alpha1.ConnectedAccountStatus) { status.Claim.ID = "another" },
		"other-token": func(status *v1alpha1.ConnectedAccountStatus) { status.Claim.Fingerprint = "another" },
		"other-turn":  func(status *v1alpha1.ConnectedAccountStatus) { status.Claim.Rotation = new(int64(99)) },
		"longer":      func(status *v1alpha1.ConnectedAccountStatus) { status.Claim.DurationSeconds = 3600 },
		"dated-2099": func(status *v1alpha1.ConnectedAccountStatus) {
			status.Claim.StartTime, status.Claim.ContestedTime = &far, &far
		},
		"other-holder": func(status *v1alpha1.ConnectedAccountStatus) {
			status.Claim.Holder, status.Claim.Sequence, status.ClaimSequence = v1alpha1.ClaimHolder{Journal: "another", Process: "another"}, 99, 99
		},
	}
}

// stopped is a rotation of some accounts that stands still at one step, until it is let go.
type stopped struct{ release func() }

// rotationSteps are the steps at which a rotation can be stopped.
func rotationSteps() map[string]func(SpecContext, *stage, []*v1alpha1.ConnectedAccount) stopped {
	return map[string]func(SpecContext, *stage, []*v1alpha1.ConnectedAccount) stopped{
		"claimed": func(ctx SpecContext, s *stage, accounts []*v1alpha1.ConnectedAccount) stopped {
			var first sync.Map
			arrived, release := make(chan struct{}, len(accounts)), make(chan struct{})
			suite.wire.losing(func(request *http.Request) bool {
				if !claimWrite(request, s.namespace) { // what is still to be written about the grant before
					return false
				}
				if _, seen := first.LoadOrStore(request.URL.Path, true); !seen {
					arrived <- struct{}{}
					<-release
				}
				return false
			})
			pass(ctx, untilDue, accounts...)
			for range accounts {
				Eventually(arrived).Should(Receive())
			}
			return stopped{sync.OnceFunc(func() { close(release) })}
		},
		"sent": func(ctx SpecContext, s *stage, accounts []*v1alpha1.ConnectedAccount) stopped {
			hold := provider.NewHold()
			return s.stopAtProvider(ctx, provider.HoldBeforeCommit(hold), hold, accounts)
		},
		"committed": func(ctx SpecContext, s *stage, accounts []*v1alpha1.ConnectedAccount) stopped {
			hold := provider.NewHold()
			return s.stopAtProvider(ctx, provider.HoldAfterCommit(hold), hold, accounts)
		},
		"before keep": func(ctx SpecContext, s *stage, accounts []*v1alpha1.ConnectedAccount) stopped {
			hold := provider.NewHold()
			sent := s.stopAtProvider(ctx, provider.HoldAfterCommit(hold), hold, accounts)
			refused := s.refuseStatus(suite.wire, http.StatusServiceUnavailable)
			sent.release()
			for _, account := range accounts {
				Eventually(func() int { return refused(account) }).Should(BeNumerically(">=", 1))
			}
			return stopped{func() { suite.wire.set(nil) }}
		},
	}
}

// stopAtProvider has the accounts' requests wait at the provider.
func (s *stage) stopAtProvider(ctx SpecContext, step provider.Step, hold *provider.Hold, accounts []*v1alpha1.ConnectedAccount) stopped {
	GinkgoHelper()
	DeferCleanup(hold.Release)
	before := s.provider.TokenRequests()
	Expect(s.provider.Script(billsID, step.For(len(accounts)))).To(Succeed())
	pass(ctx, untilDue, accounts...)
	Eventually(s.provider.TokenRequests).Should(Equal(before + len(accounts)))
	return stopped{hold.Release}
}

// refuseStatus refuses an operator's writes of statuses, and returns how many were, by account.
func (s *stage) refuseStatus(through *wire, status int) func(*v1alpha1.ConnectedAccount) int {
	var mu sync.Mutex
	counts := map[string]int{}
	through.refusing(func(request *http.Request) int {
		if !statusWrite(request, s.namespace) {
			return 0
		}
		mu.Lock()
		defer mu.Unlock()
		counts[request.URL.Path]++
		return status
	})
	return func(account *v1alpha1.ConnectedAccount) int {
		mu.Lock()
		defer mu.Unlock()
		return counts[fmt.Sprintf("/apis/oauth-operator.dev/v1alpha1/namespaces/%s/connectedaccounts/%s/status", s.namespace, account.Name)]
	}
}

var _ = Describe("A claim that somebody meddles with", func() {
	for _, step := range []string{"claimed", "sent", "committed", "before keep"} {
		It("S14 costs no successor and sends nothing twice: edited while "+step, func(ctx SpecContext) {
			s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
			edits := claimEdits()
			names := make([]string, 0, len(edits))
			for name := range edits {
				names = append(names, name)
			}
			accounts := s.connect(ctx, v1alpha1.RefreshTokens{}, names...)
			requests := s.provider.TokenRequests()
			at := rotationSteps()[step](ctx, s, accounts)
			DeferCleanup(at.release)
			for i, account := range accounts {
				putStatus(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) {
					Expect(status.Claim.ID).NotTo(BeEmpty())
					edits[names[i]](status)
				})
			}
			at.release()
			for i, account := range accounts {
				Eventually(rotations(ctx, account)).Should(Equal(int64(3)), names[i])
			}
			becomesReady(ctx, accounts...)
			Expect(s.provider.TokenRequests()).To(Equal(requests + len(accounts)))
			suite.wire.losing(func(*http.Request) bool { return false })
			s.goesOn(ctx, accounts...)
		})

		It("S14 costs no successor and sends nothing twice: the clock set ahead by ten minutes while "+step, func(ctx SpecContext) {
			s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
			accounts := s.connect(ctx, v1alpha1.RefreshTokens{}, "a")
			at := rotationSteps()[step](ctx, s, accounts)
			DeferCleanup(at.release)
			suite.clock.ahead.Add(int64(10 * time.Minute))
			at.release()
			if step == "claimed" {
				Eventually(condition(ctx, accounts[0], "Refreshed")).Should(Equal("False ServerUnreachable"), "it is too late to send")
				Expect(get(ctx, accounts[0].DeepCopy()).Status.Claim).To(BeZero())
				Expect(s.provider.TokenRequests()).To(Equal(1))
				pass(ctx, untilProbed, accounts...)
			}
			Eventually(rotations(ctx, accounts[0])).Should(Equal(int64(3)))
			becomesReady(ctx, accounts...)
			Expect(s.provider.TokenRequests()).To(Equal(2))
			s.goesOn(ctx, accounts...)
		})
	}

	It("S14 leaves a claim of nobody's alone for a minute at most", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.connected(ctx)
		putStatus(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) {
			status.Claim = v1alpha1.Claim{ID: "forged", Sequence: 7, Attempt: 1, DurationSeconds: 3600, Holder: v1alpha1.ClaimHolder{Journal: "another", Process: "another"}}
		})
		Expect(rests(ctx, account)).To(Equal("claimed by another"))
		pass(ctx, 61*time.Second, account)
		Eventually(func() v1alpha1.Claim { return get(ctx, account.DeepCopy()).Status.Claim }).Should(BeZero())
		Expect(s.provider.TokenRequests()).To(Equal(1))
		s.goesOn(ctx, account)
	})
})

// goesOn checks that the successor was kept: each account rotates once more, and no token was ever sent twice.
func (s *stage) goesOn(ctx context.Context, accounts ...*v1alpha1.ConnectedAccount) {
	GinkgoHelper()
	rotates(ctx, accounts...)
	sent := map[string]int{}
	for _, entry := range s.entries(func(entry provider.Entry) bool { return entry.Kind == provider.KindTokenRequest }) {
		sent[entry.RefreshFingerprint]++
	}
	for fingerprint, times := range sent {
		Expect(times).To(Equal(1), "the refresh token %s", fingerprint)
	}
	s.neverReused()
	for _, account := range accounts {
		Expect(get(ctx, account.DeepCopy()).Status.DoubtSequence).To(BeZero(), account.Name)
	}
}

var _ = Describe("Two processes", func() {
	It("H50 that work on the same accounts send each refresh token once", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		accounts := s.connect(ctx, v1alpha1.RefreshTokens{}, "a", "b", "c", "d")
		second := s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()})
		for _, account := range accounts {
			restsFrom(second.logs, account, touch(ctx, account))
		}
		for range 3 {
			s.goesOn(ctx, accounts...)
		}
	})

	It("H50 of which one sees nothing new send each refresh token once", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.connected(ctx)
		Expect(rests(ctx, account)).To(beIdle())
		see := blind()
		second := s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()})
		restsFrom(second.logs, account, touch(ctx, account))
		s.goesOn(ctx, account)
		mark := suite.wire.mark()
		By("having the blind one look at its old copy, in which the token is due")
		change(ctx, s.tokenSecret(ctx, "a"), func(token *corev1.Secret) { token.Data["access_token"] = []byte("edited") })
		Eventually(func() []call {
			return suite.wire.since(mark, func(made call) bool { return made.status == http.StatusConflict && within(s.namespace)(made) })
		}).ShouldNot(BeEmpty(), "its claim meets a conflict")
		see()
		s.goesOn(ctx, account)
	})

	It("leave a claim to each other, announce a takeover, and take over one at a time", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		see := blind()
		earlier := s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()})
		account := s.connected(ctx)
		earlier.stop() // or it may refresh before there is the claim
		suite.clock.ahead.Add(int64(untilDue))
		s.claimBy(ctx, account, v1alpha1.ClaimHolder{Journal: "gone", Process: "gone"}, 45)
		see()
		Expect(rests(ctx, account)).To(Equal("claimed by another"))
		suite.clock.ahead.Add(int64(44 * time.Second))
		Expect(rests(ctx, account)).To(Equal("claimed by another"))
		pass(ctx, 2*time.Second, account)
		Eventually(func() *metav1.Time { return get(ctx, account.DeepCopy()).Status.Claim.ContestedTime }).ShouldNot(BeNil())
		Expect(rests(ctx, account)).To(Equal("claimed by another"))
		suite.clock.ahead.Add(int64(43 * time.Second))
		Expect(rests(ctx, account)).To(Equal("claimed by another"))
		Expect(s.provider.TokenRequests()).To(Equal(1))
		By("waiting for the end of the access token, since a second use could end the grant")
		suite.clock.ahead.Add(int64(3 * time.Second))
		Expect(rests(ctx, account)).To(Equal("in doubt"))
		before := rotations(ctx, account)()
		pass(ctx, 8*time.Minute, account)
		Eventually(s.provider.TokenRequests).Should(Equal(2))
		Eventually(rotations(ctx, account)).Should(Equal(before + 1)) // it was ready all the while
		Expect(get(ctx, account.DeepCopy()).Status.DoubtSequence).NotTo(BeZero(), "until the next first attempt works")
		s.goesOn(ctx, account)
	})
})

// claimBy writes a claim on the account's present refresh token, as a process would have that is not there any more.
func (s *stage) claimBy(ctx context.Context, account *v1alpha1.ConnectedAccount, holder v1alpha1.ClaimHolder, seconds int32) {
	GinkgoHelper()
	held, subject := opened(ctx, account), subjectOf(ctx, account)
	now := metav1.NewTime(suite.clock.Now().Truncate(time.Second))
	putStatus(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) {
		status.ClaimSequence++
		status.Claim = v1alpha1.Claim{
			ID: "of-the-dead", Sequence: status.ClaimSequence, Attempt: 1, GrantSequence: &held.GrantSequence, Rotation: &held.Rotation,
			Fingerprint:     installedKeyring().Fingerprint("refresh token", subject.ClusterID, subject.Namespace, subject.Name, subject.UID, held.RefreshToken.Reveal()),
			DurationSeconds: seconds, StartTime: &now, Holder: holder,
		}
	})
}

var _ = Describe("A claim of an earlier process of the same pod", func() {
	for _, spent := range []bool{false, true} {
		It(fmt.Sprintf("is resolved within seconds where the provider forgives, without the lease (token spent: %t)", spent), func(ctx SpecContext) {
			s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.GraceSameSuccessor, Grace: 30 * time.Second})
			account := s.connect(ctx, v1alpha1.RefreshTokens{ReuseGraceSeconds: 30}, "a")[0]
			in := seal.JournalOptions{Dir: GinkgoT().TempDir()}
			dead, err := seal.OpenJournal(in)
			Expect(err).NotTo(HaveOccurred())
			see := blind()
			s.claimBy(ctx, account, v1alpha1.ClaimHolder{Journal: dead.Instance(), Process: "dead"}, 15)
			Expect(dead.Close()).To(Succeed())
			if spent {
				s.spend(ctx, opened(ctx, account))
			}
			requests := s.provider.TokenRequests()

			s.operator(ctx, in, withoutLease(ctx))
			Eventually(rotations(ctx, account), 10*time.Second).Should(Equal(int64(3)))
			Expect(get(ctx, account.DeepCopy()).Status.Claim).To(BeZero())
			Expect(s.provider.TokenRequests()).To(Equal(requests + 1))
			see()
			becomesReady(ctx, account)
			rotates(ctx, account)
			Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
		})
	}

	It("is given up within seconds where it is of a code, without the lease, and the person is asked again", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{})
		account := s.person("bills")
		s.create(ctx, s.bills(s.withConsent(provider.Smartbills)), account)
		in := seal.JournalOptions{Dir: GinkgoT().TempDir()}
		dead, err := seal.OpenJournal(in)
		Expect(err).NotTo(HaveOccurred())
		over := s.handOver(ctx, account, "a code that was sent, perhaps")
		blind()
		editAuthorization(ctx, account, func(into *v1alpha1.Authorization) {
			into.HandOver, into.UsedStates = over, append(into.UsedStates, over.StateHash)
			into.Exchange = v1alpha1.CodeClaim{
				ID: "of-the-dead", Sequence: 1, HandOverID: over.ID, StateHash: over.StateHash, ClientUID: over.ClientUID, DurationSeconds: 45,
				StartTime: over.HandedOverTime, Holder: v1alpha1.ClaimHolder{Journal: dead.Instance(), Process: "dead"},
			}
		})
		Expect(dead.Close()).To(Succeed())

		s.operator(ctx, in, withoutLease(ctx))
		Eventually(outcome(ctx, account, over), 10*time.Second).Should(Equal("InDoubt"))
		status := get(ctx, account.DeepCopy()).Status
		Expect(status.Authorization.Exchange).To(BeZero())
		Expect(status.Authorization.HandOver).To(BeZero())
		Expect(status.AuthorizationURL).NotTo(BeEmpty())
		Expect(s.provider.TokenRequests()).To(BeZero(), "a code is sent once")
	})

	It("is resolved though another's Secret stands in the way of publishing", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.GraceSameSuccessor, Grace: 30 * time.Second})
		account := s.connect(ctx, v1alpha1.RefreshTokens{ReuseGraceSeconds: 30}, "a")[0]
		in := seal.JournalOptions{Dir: GinkgoT().TempDir()}
		dead, err := seal.OpenJournal(in)
		Expect(err).NotTo(HaveOccurred())
		blind()
		s.claimBy(ctx, account, v1alpha1.ClaimHolder{Journal: dead.Instance(), Process: "dead"}, 15)
		Expect(dead.Close()).To(Succeed())
		s.spend(ctx, opened(ctx, account))
		change(ctx, s.tokenSecret(ctx, "a"), func(token *corev1.Secret) { token.OwnerReferences = nil })

		s.operator(ctx, in, withoutLease(ctx))
		Eventually(rotations(ctx, account), 10*time.Second).Should(Equal(int64(3)), "what is in doubt is not left in doubt for that")
		Eventually(condition(ctx, account, "Ready")).Should(HaveSuffix("SecretOwnedByOther"))
	})
})

// spend uses a refresh token, as a process did that died before it could keep what came.
func (s *stage) spend(ctx context.Context, held seal.Credential) {
	GinkgoHelper()
	roots := x509.NewCertPool()
	Expect(roots.AppendCertsFromPEM(s.provider.CAPEM())).To(BeTrue())
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer browser.CloseIdleConnections()
	body := url.Values{
		"grant_type": {"refresh_token"}, "client_id": {billsID}, "client_secret": {s.secret}, "refresh_token": {held.RefreshToken.Reveal()},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.provider.TokenEndpoint(provider.Smartbills), strings.NewReader(body.Encode()))
	Expect(err).NotTo(HaveOccurred())
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	reply, err := browser.Do(request)
	Expect(err).NotTo(HaveOccurred())
	Expect(reply.Body.Close()).To(Succeed())
	Expect(reply.StatusCode).To(Equal(http.StatusOK))
}
