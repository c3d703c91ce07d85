package controller_test

import (
	"context"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// authorized and ready are the two conditions that a guard speaks in.
func authorized(ctx context.Context, account *v1alpha1.ConnectedAccount) func() string {
	return condition(ctx, account, v1alpha1.ConditionAuthorized)
}

// beIdle matches the rules of a lap in which there was nothing to be done.
func beIdle() types.GomegaMatcher { return Or(Equal("nothing to do"), Equal("too soon")) }

// secretWrites matches what the operator writes into Secrets of a namespace.
func secretWrites(namespace string) func(call) bool {
	return func(made call) bool { return writesWithin(namespace)(made) && strings.Contains(made.path, "/secrets") }
}

// guarded checks that nothing is sent, written over or published while the rule holds, though the token is due.
func (s *stage) guarded(ctx context.Context, account *v1alpha1.ConnectedAccount, rule string) {
	GinkgoHelper()
	requests, mark := s.provider.TokenRequests(), suite.wire.mark()
	sealed := get(ctx, account.DeepCopy()).Status.SealedCredential
	suite.clock.ahead.Add(int64(untilDue))
	Expect(rests(ctx, account)).To(Equal(rule))
	Expect(rests(ctx, account)).To(Equal(rule))
	Expect(s.provider.TokenRequests()).To(Equal(requests))
	Expect(suite.wire.since(mark, secretWrites(s.namespace))).To(BeEmpty())
	Expect(get(ctx, account.DeepCopy()).Status.SealedCredential).To(Equal(sealed), "nothing is written over")
}

var _ = Describe("A status that was put back", func() {
	It("S08 is found by its earlier rotation, is not used, and the newer one written back is", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		old := get(ctx, account.DeepCopy()).Status
		rotates(ctx, account)
		newer := get(ctx, account.DeepCopy()).Status
		published := projected(s.tokenSecret(ctx, "a"))

		putStatus(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) { *status = *old.DeepCopy() })
		Eventually(authorized(ctx, account)).Should(Equal("False CredentialRolledBack"))
		Expect(condition(ctx, account, "Ready")()).To(Equal("True CredentialRolledBack"), "the token in the Secret is good")
		s.guarded(ctx, account, "credential rolled back")
		Expect(projected(s.tokenSecret(ctx, "a"))).To(Equal(published))

		By("losing the witness as well: this process remembers")
		Expect(suite.admin.Delete(ctx, s.tokenSecret(ctx, "a"))).To(Succeed())
		s.guarded(ctx, account, "credential rolled back")

		By("writing the newer status back, as the message says")
		Expect(readyMessage(ctx, account)).To(ContainSubstring("write the later status.sealedCredential back"))
		putStatus(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) { *status = *newer.DeepCopy() })
		Eventually(authorized(ctx, account)).Should(Equal("True Authorized"))
		rotates(ctx, account)
		s.neverReused()
	})

	DescribeTable("S08 is left by importing a new refresh token, and never by importing a spent one again",
		func(ctx SpecContext, put func(status *v1alpha1.ConnectedAccountStatus, early v1alpha1.ConnectedAccountStatus)) {
			s := newStage(ctx, time.Hour)
			account := s.connected(ctx)
			early := get(ctx, account.DeepCopy()).Status
			By("importing a second grant, whose token is in the Secret from now on")
			second, err := s.provider.Grant(billsID, "a")
			Expect(err).NotTo(HaveOccurred())
			s.replaceToken(ctx, second.RefreshToken)
			Eventually(func() string { return authorizedMessage(ctx, account) }).Should(ContainSubstring("Another one waits"))
			obey(ctx, authorizedMessage(ctx, account))
			pass(ctx, untilProbed, account)
			Eventually(s.lastSent).Should(Equal(providerFingerprint(second.RefreshToken)))
			becomesReady(ctx, account)
			requests := s.provider.TokenRequests()

			putStatus(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) { put(status, early) })
			Eventually(authorized(ctx, account)).Should(Equal("False CredentialRolledBack"))
			s.guarded(ctx, account, "credential rolled back")
			Expect(s.provider.TokenRequests()).To(Equal(requests))

			third, err := s.provider.Grant(billsID, "a")
			Expect(err).NotTo(HaveOccurred())
			s.replaceToken(ctx, third.RefreshToken)
			Eventually(s.lastSent).Should(Equal(providerFingerprint(third.RefreshToken)))
			becomesReady(ctx, account)
			Expect(s.provider.TokenRequests()).To(Equal(requests + 1))
			rotates(ctx, account)
			s.neverReused()
		},
		Entry("to the grant before", func(status *v1alpha1.ConnectedAccountStatus, early v1alpha1.ConnectedAccountStatus) {
			*status = *early.DeepCopy()
		}),
		Entry("to nothing at all", func(status *v1alpha1.ConnectedAccountStatus, _ v1alpha1.ConnectedAccountStatus) {
			*status = v1alpha1.ConnectedAccountStatus{ObservedGeneration: new(int64(-1))}
		}),
	)

	It("S09 is found by a process that has just started, from the token Secret", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		old := get(ctx, account.DeepCopy()).Status
		rotates(ctx, account)
		requests := s.provider.TokenRequests()

		blind()
		putStatus(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) { *status = *old.DeepCopy() })
		fresh := s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()})
		Eventually(authorized(ctx, account)).Should(Equal("False CredentialRolledBack"))
		suite.clock.ahead.Add(int64(untilDue))
		Expect(restsFrom(fresh.logs, account, touch(ctx, account))).To(Equal("credential rolled back"))
		Expect(s.provider.TokenRequests()).To(Equal(requests))
		Expect(get(ctx, account.DeepCopy()).Status.SealedCredential).To(Equal(old.SealedCredential))
	})

	DescribeTable("S09 is not believed from a witness that the operator did not write, which is put right",
		func(ctx SpecContext, forged func(ctx context.Context, s *stage, account *v1alpha1.ConnectedAccount) string) {
			s := newStage(ctx, time.Hour)
			account := s.connected(ctx)
			rotates(ctx, account)
			before, forgery := projected(s.tokenSecret(ctx, "a")), forged(ctx, s, account)

			blind()
			suite.wire.refusing(func(request *http.Request) int { // so that the process which remembers does not mend it first
				if request.Method == http.MethodPut && strings.HasSuffix(request.URL.Path, "/namespaces/"+s.namespace+"/secrets/a") {
					return http.StatusForbidden
				}
				return 0
			})
			change(ctx, s.tokenSecret(ctx, "a"), func(token *corev1.Secret) { token.Annotations[v1alpha1.AnnotationRotation] = forgery })
			fresh := s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()})
			Eventually(func() map[string]string { return projected(s.tokenSecret(ctx, "a")) }).Should(Equal(before))
			Expect(restsFrom(fresh.logs, account, touch(ctx, account))).To(beIdle())
			Expect(fresh.logs.String()).NotTo(ContainSubstring("credential rolled back"))
			Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
		},
		Entry("a number without a MAC", func(context.Context, *stage, *v1alpha1.ConnectedAccount) string { return "99" }),
		Entry("the MAC of another number", func(ctx context.Context, s *stage, _ *v1alpha1.ConnectedAccount) string {
			_, mac, _ := strings.Cut(s.tokenSecret(ctx, "a").Annotations[v1alpha1.AnnotationRotation], ".")
			return "99." + mac
		}),
		Entry("what is true of another account", func(ctx context.Context, _ *stage, account *v1alpha1.ConnectedAccount) string {
			subject := subjectOf(ctx, account)
			return "99." + installedKeyring().Fingerprint("rotation", subject.ClusterID, subject.Namespace, "another", subject.UID, "99")
		}),
		Entry("no number at all", func(context.Context, *stage, *v1alpha1.ConnectedAccount) string { return "-" }),
	)
})

// replaceToken puts another refresh token into the Secret that the account a imports from.
func (s *stage) replaceToken(ctx context.Context, token string) {
	GinkgoHelper()
	change(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "a-token"}}, func(source *corev1.Secret) {
		source.StringData = map[string]string{"refresh_token": token}
	})
}

var _ = Describe("A refresh token that was sealed for something else", func() {
	DescribeTable("S10 is named, not sent, and not imported over",
		func(ctx SpecContext, alter func(*seal.Subject, *seal.Purpose, *v1alpha1.BoundTo), reason string) {
			s := newStage(ctx, time.Hour)
			account := s.imported(ctx, "a", "bills", billsID, func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true })
			s.create(ctx, s.bills(withRefresh(v1alpha1.RefreshTokens{})), account)
			Eventually(condition(ctx, account, "Refreshed")).Should(Equal("False Suspended"))
			subject := subjectOf(ctx, account)
			purpose, bound := seal.PurposeCredential, v1alpha1.BoundTo{ClusterID: subject.ClusterID, AccountUID: subject.UID}
			alter(&subject, &purpose, &bound)
			issued := suite.clock.Now().Add(-2 * time.Hour).UTC().Truncate(time.Second)
			sealed, err := installedKeyring().Seal(purpose, subject, seal.Credential{
				ClientID: billsID, Origins: []string{s.provider.URL()}, GrantSequence: 1, Rotation: 1, IssuedTime: issued, ExpirationTime: issued.Add(time.Hour),
				AccessToken: secret.New("opat_foreign"), RefreshToken: secret.New("oprt_foreign"), TokenType: "Bearer",
			})
			Expect(err).NotTo(HaveOccurred())
			putStatus(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) { status.SealedCredential, status.BoundTo = sealed, bound })
			change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = false })
			Eventually(condition(ctx, account, "Ready")).Should(Equal("False " + reason))
			s.guarded(ctx, account, "credential not ours or not readable")
			Expect(s.provider.TokenRequests()).To(BeZero())
			source := get(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "a-token"}})
			Expect(source.Annotations).NotTo(HaveKey(v1alpha1.AnnotationImported))
		},
		Entry("another account, said so", func(subject *seal.Subject, _ *seal.Purpose, bound *v1alpha1.BoundTo) {
			subject.UID, bound.AccountUID = "another", "another"
		}, "CredentialFromElsewhere"),
		Entry("another account, hidden", func(subject *seal.Subject, _ *seal.Purpose, _ *v1alpha1.BoundTo) { subject.UID = "another" }, "CredentialUnreadable"),
		Entry("another cluster, said so", func(subject *seal.Subject, _ *seal.Purpose, bound *v1alpha1.BoundTo) {
			subject.ClusterID, bound.ClusterID = "another", "another"
		}, "CredentialFromElsewhere"),
		Entry("another namespace", func(subject *seal.Subject, _ *seal.Purpose, _ *v1alpha1.BoundTo) { subject.Namespace = "another" }, "CredentialUnreadable"),
		Entry("another name", func(subject *seal.Subject, _ *seal.Purpose, _ *v1alpha1.BoundTo) { subject.Name = "another" }, "CredentialUnreadable"),
		Entry("the journal", func(_ *seal.Subject, purpose *seal.Purpose, _ *v1alpha1.BoundTo) { *purpose = seal.PurposeJournal }, "CredentialUnreadable"),
	)

	It("S13 after a restore, is used once somebody says that it may be", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		rotates(ctx, account)
		backup := get(ctx, account.DeepCopy())
		s.remove(ctx, account)
		requests := s.provider.TokenRequests()

		restored := s.account("a", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec = backup.Spec })
		s.create(ctx, restored)
		Eventually(authorized(ctx, restored)).Should(Equal("False AlreadyImported"), "nothing is imported a second time")
		putStatus(ctx, restored, func(status *v1alpha1.ConnectedAccountStatus) { *status = *backup.Status.DeepCopy() })
		Eventually(authorized(ctx, restored)).Should(Equal("False CredentialFromElsewhere"))
		s.guarded(ctx, restored, "credential not ours or not readable")
		for _, wrong := range []string{string(restored.UID), "another", backup.Status.BoundTo.ClusterID} {
			annotate(ctx, restored, v1alpha1.AnnotationAdopt, wrong)
			s.guarded(ctx, restored, "credential not ours or not readable")
		}
		Expect(s.provider.TokenRequests()).To(Equal(requests))

		obey(ctx, readyMessage(ctx, restored))
		becomesReady(ctx, restored)
		adopted := get(ctx, restored.DeepCopy())
		Expect(adopted.Status.BoundTo.AccountUID).To(Equal(string(restored.UID)))
		Expect(authorized(ctx, restored)()).To(Equal("True Authorized"))
		rotates(ctx, restored)
		s.neverReused()

		By("taking the annotation for what it is: about that one credential")
		old := backup.Status
		old.BoundTo.AccountUID = "yet-another"
		putStatus(ctx, restored, func(status *v1alpha1.ConnectedAccountStatus) { *status = *old.DeepCopy() })
		Eventually(authorized(ctx, restored)).Should(Equal("False CredentialFromElsewhere"))
	})
})

var _ = Describe("What is plain in a status", func() {
	far := metav1.NewTime(time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))
	past := metav1.NewTime(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	DescribeTable("S35 changes nothing in what is sent, and is put right",
		func(ctx SpecContext, edit func(*v1alpha1.ConnectedAccountStatus)) {
			s := newStage(ctx, time.Hour)
			account := s.connected(ctx)
			before := get(ctx, account.DeepCopy()).Status
			requests := s.provider.TokenRequests()
			putStatus(ctx, account, edit)
			Expect(rests(ctx, account)).To(beIdle())
			Expect(rests(ctx, account)).To(beIdle())
			Expect(s.provider.TokenRequests()).To(Equal(requests))
			after := get(ctx, account.DeepCopy()).Status
			Expect(after.SealedCredential).To(Equal(before.SealedCredential))
			Expect([]any{after.Rotations, after.ExpirationTime, after.NextRefreshTime, after.LastRefreshTime, after.Scopes, after.ObservedGeneration}).
				To(Equal([]any{before.Rotations, before.ExpirationTime, before.NextRefreshTime, before.LastRefreshTime, before.Scopes, before.ObservedGeneration}))

			rotates(ctx, account)
			Expect(s.provider.TokenRequests()).To(Equal(requests+1), "it is refreshed when it is due, once")
			rotates(ctx, account)
			s.neverReused()
		},
		Entry("times in the past", func(status *v1alpha1.ConnectedAccountStatus) {
			status.ExpirationTime, status.NextRefreshTime, status.LastRefreshTime = &past, &past, &past
		}),
		Entry("times in 2099", func(status *v1alpha1.ConnectedAccountStatus) {
			status.ExpirationTime, status.NextRefreshTime, status.LastRefreshTime = &far, &far, &far
		}),
		Entry("no times", func(status *v1alpha1.ConnectedAccountStatus) {
			status.ExpirationTime, status.NextRefreshTime, status.LastRefreshTime = nil, nil, nil
		}),
		Entry("rotations, scopes and generation", func(status *v1alpha1.ConnectedAccountStatus) {
			status.Rotations, status.Scopes, status.ObservedGeneration = 99, []v1alpha1.Scope{"everything"}, new(int64(99))
		}),
		Entry("no conditions", func(status *v1alpha1.ConnectedAccountStatus) { status.Conditions = nil }),
		Entry("conditions that say the opposite", func(status *v1alpha1.ConnectedAccountStatus) {
			for i := range status.Conditions {
				status.Conditions[i].Status, status.Conditions[i].Reason = metav1.ConditionFalse, v1alpha1.ReasonRefreshTokenLost
			}
		}),
		Entry("failures that forbid to ask until 2099", func(status *v1alpha1.ConnectedAccountStatus) {
			status.Failures = v1alpha1.Failures{Count: 9, Class: "Throttled", LastFailureTime: &far, NextAttemptTime: &far}
		}),
		Entry("counters of claims", func(status *v1alpha1.ConnectedAccountStatus) { status.ClaimSequence, status.DoubtSequence = 1, 1 }),
		Entry("counters of claims at their end", func(status *v1alpha1.ConnectedAccountStatus) {
			status.ClaimSequence, status.DoubtSequence = 1<<63-1, 1<<63-1
		}),
	)
})
