package controller_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// authorizedMessage is what the account says of its grant.
func authorizedMessage(ctx context.Context, account *v1alpha1.ConnectedAccount) string {
	GinkgoHelper()
	found := meta.FindStatusCondition(get(ctx, account.DeepCopy()).Status.Conditions, v1alpha1.ConditionAuthorized)
	Expect(found).NotTo(BeNil())
	return found.Message
}

func providerFingerprint(token string) string { return provider.Fingerprint(token) }

// source is the Secret that an account imports from, as it is now.
func (s *stage) source(ctx context.Context, name string) *corev1.Secret {
	GinkgoHelper()
	return get(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}})
}

var _ = Describe("A refresh token to import", func() {
	DescribeTable("is left where it is while something is wrong with its Secret, and taken as soon as that is mended",
		func(ctx SpecContext, spoil func(*corev1.Secret), reason, says string, mend func(ctx context.Context, s *stage, account *v1alpha1.ConnectedAccount)) {
			s := newStage(ctx, time.Hour)
			grant, err := s.provider.Grant(billsID, "a")
			Expect(err).NotTo(HaveOccurred())
			spoilt := s.sourceSecret("a-token", grant.RefreshToken)
			spoil(spoilt)
			account := s.account("a", "bills", func(a *v1alpha1.ConnectedAccount) {
				a.Spec.Grant.Type = v1alpha1.GrantAuthorizationCode
				a.Spec.ImportRefreshTokenRef = v1alpha1.SecretKeyReference{Name: "a-token", Key: "refresh_token"}
			})
			mark := suite.wire.mark()
			if spoilt.Name != "" {
				s.create(ctx, spoilt)
			}
			s.create(ctx, s.bills(withRefresh(v1alpha1.RefreshTokens{})), account)
			Eventually(condition(ctx, account, "Ready")).Should(Equal("False " + reason))
			Expect(authorized(ctx, account)()).To(Equal("False " + reason))
			Expect(readyMessage(ctx, account)).To(ContainSubstring(says))
			Expect(rests(ctx, account)).To(Equal("not authorized"))
			Expect(s.provider.TokenRequests()).To(BeZero())
			Expect(get(ctx, account.DeepCopy()).Status.SealedCredential).To(BeEmpty())
			if spoilt.Labels == nil {
				Expect(suite.wire.since(mark, contentReads(s.namespace, "a-token"))).To(BeEmpty(), "what nobody consented to is not read")
			}
			if spoilt.Name != "" {
				Expect(s.source(ctx, "a-token").Annotations).NotTo(HaveKey(v1alpha1.AnnotationImported))
			}

			if mend == nil {
				obey(ctx, readyMessage(ctx, account))
			} else {
				_ = client.IgnoreNotFound(suite.admin.Delete(ctx, s.sourceSecret("a-token", "")))
				s.create(ctx, s.sourceSecret("a-token", grant.RefreshToken))
				mend(ctx, s, account)
			}
			Eventually(condition(ctx, account, "Ready"), 10*time.Second).Should(Equal("True TokenValid"))
			Expect(s.lastSent()).To(Equal(providerFingerprint(grant.RefreshToken)))
			Expect(s.source(ctx, "a-token").Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationImported, HavePrefix(string(account.UID)+" ")))
		},
		Entry("S01 no label", func(source *corev1.Secret) { source.Labels = nil }, "SecretNotConsented", "may not read the Secret a-token", nil),
		Entry("S02 no hosts", func(source *corev1.Secret) { source.Annotations = nil }, "SecretNotConsented", "does not say which hosts", nil),
		Entry("S02 other hosts", func(source *corev1.Secret) {
			source.Annotations[v1alpha1.AnnotationHosts] = "api.example.com"
		}, "SecretNotConsented", "does not name the host of", nil),
		Entry("S02 no hosts left", func(source *corev1.Secret) { source.Annotations[v1alpha1.AnnotationHosts] = "" }, "SecretNotConsented", "does not name the host of", nil),
		Entry("S04 the type of a credential of the cluster", func(source *corev1.Secret) { source.Type = "bootstrap.kubernetes.io/token" },
			"SecretNotConsented", "is of type bootstrap.kubernetes.io/token", nothingMore),
		Entry("S01 no Secret", func(source *corev1.Secret) { source.Name = "" }, "SecretNotFound", "there is no Secret a-token", nothingMore),
		Entry("S01 another key", func(source *corev1.Secret) {
			source.StringData["token"] = source.StringData["refresh_token"]
			delete(source.StringData, "refresh_token")
		}, "SecretKeyMissing", "nothing under the key refresh_token", nothingMore),
		Entry("S01 a newline at the end", func(source *corev1.Secret) { source.StringData["refresh_token"] += "\n" }, "SecretKeyMissing", "ends with a newline", nothingMore),
		Entry("S01 an empty value", func(source *corev1.Secret) { source.StringData["refresh_token"] = "" }, "SecretKeyMissing", "nothing under the key", nothingMore),
		Entry("S01 a space within it", func(source *corev1.Secret) { source.StringData["refresh_token"] = "Bearer abc" }, "SecretKeyMissing", "contains a space", nothingMore),
		Entry("S01 something else", func(source *corev1.Secret) { source.StringData["refresh_token"] = "zwei Wörter" }, "SecretKeyMissing", "printable ASCII only", nothingMore),
	)

	It("S02 is not sent to a client's other host while its Secret names the first alone", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.imported(ctx, "a", "bills", billsID)
		owner := s.bills(withRefresh(v1alpha1.RefreshTokens{}), func(c *v1alpha1.OAuthClient) {
			c.Spec.Endpoints.Token = elsewhere(c.Spec.Endpoints.Token)
		})
		s.create(ctx, owner, account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False SecretNotConsented"))
		Expect(rests(ctx, account)).To(Equal("not authorized"))
		Expect(s.provider.TokenRequests()).To(BeZero())
		change(ctx, owner, func(c *v1alpha1.OAuthClient) {
			c.Spec.Endpoints.Token = v1alpha1.Endpoint(s.provider.TokenEndpoint(provider.Smartbills))
		})
		becomesReady(ctx, account)
	})

	It("S34 is not taken by an account of the same name that comes later, until its value is another", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		s.remove(ctx, account)
		again := s.account("a", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec = account.Spec })
		s.create(ctx, again)
		Eventually(condition(ctx, again, "Ready")).Should(Equal("False AlreadyImported"))
		Expect(readyMessage(ctx, again)).To(ContainSubstring(string(account.UID)))
		Expect(condition(ctx, again, "Stalled")()).To(Equal("True AlreadyImported"))
		s.guarded(ctx, again, "not authorized")
		Expect(s.provider.TokenRequests()).To(Equal(1))

		fresh, err := s.provider.Grant(billsID, "a")
		Expect(err).NotTo(HaveOccurred())
		s.replaceToken(ctx, fresh.RefreshToken)
		becomesReady(ctx, again)
		Expect(s.lastSent()).To(Equal(providerFingerprint(fresh.RefreshToken)))
		s.neverReused()
	})

	It("S34 is taken by one of two accounts that name the same Secret", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		first := s.imported(ctx, "a", "bills", billsID)
		second := s.account("b", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec = *first.Spec.DeepCopy() })
		s.create(ctx, first, second, s.bills(withRefresh(v1alpha1.RefreshTokens{})))
		both := func() []string { return []string{condition(ctx, first, "Ready")(), condition(ctx, second, "Ready")()} }
		Eventually(both).Should(ConsistOf("True TokenValid", "False AlreadyImported"))
		Expect(s.provider.TokenRequests()).To(Equal(1))
		s.neverReused()
	})

	DescribeTable("S34 is not taken again by the account that has it, whatever becomes of the mark",
		func(ctx SpecContext, edit func(map[string]string)) {
			s := newStage(ctx, time.Hour)
			account := s.connected(ctx)
			rotates(ctx, account)
			requests := s.provider.TokenRequests()
			change(ctx, s.source(ctx, "a-token"), func(source *corev1.Secret) { edit(source.Annotations) })
			Expect(rests(ctx, account)).To(beIdle())
			Expect(s.provider.TokenRequests()).To(Equal(requests))
			rotates(ctx, account)
			Expect(s.provider.TokenRequests()).To(Equal(requests + 1))

			By("ending the grant: a spent token is no way out")
			_, err := s.provider.Revoke(provider.Revocation{ClientID: billsID})
			Expect(err).NotTo(HaveOccurred())
			pass(ctx, untilDue, account)
			Eventually(authorized(ctx, account)).Should(Equal("False RefreshTokenRejected"))
			s.guarded(ctx, account, "not authorized")
			s.neverReused()
		},
		Entry("removed", func(annotations map[string]string) { delete(annotations, v1alpha1.AnnotationImported) }),
		Entry("of another account", func(annotations map[string]string) {
			annotations[v1alpha1.AnnotationImported] = "another 2026-01-01T00:00:00Z mac"
		}),
		Entry("garbled", func(annotations map[string]string) { annotations[v1alpha1.AnnotationImported] = " , " }),
	)

	It("S34 does not replace a grant that works, unless somebody says so of this very grant", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		second, err := s.provider.Grant(billsID, "a")
		Expect(err).NotTo(HaveOccurred())
		s.replaceToken(ctx, second.RefreshToken)
		Eventually(func() string { return authorizedMessage(ctx, account) }).Should(ContainSubstring("Another one waits in the Secret a-token"))
		Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
		annotate(ctx, account, v1alpha1.AnnotationReplaceGrant, "7")
		Expect(rests(ctx, account)).To(beIdle())
		rotates(ctx, account)
		Expect(s.source(ctx, "a-token").Annotations[v1alpha1.AnnotationImported]).NotTo(BeEmpty())
		Expect(s.lastSent()).NotTo(Equal(providerFingerprint(second.RefreshToken)))

		requests := s.provider.TokenRequests()
		obey(ctx, authorizedMessage(ctx, account))
		pass(ctx, untilProbed, account)
		Eventually(s.lastSent).Should(Equal(providerFingerprint(second.RefreshToken)))
		becomesReady(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(requests + 1))
		lineage := opened(ctx, account).Lineage

		By("leaving the annotation there, as a pipeline does")
		third, err := s.provider.Grant(billsID, "a")
		Expect(err).NotTo(HaveOccurred())
		s.replaceToken(ctx, third.RefreshToken)
		Eventually(func() string { return authorizedMessage(ctx, account) }).Should(ContainSubstring("Another one waits"))
		rotates(ctx, account)
		Expect(opened(ctx, account).Lineage).To(Equal(lineage))
		s.neverReused()
	})

	It("S34 is taken without being asked for where the grant before it has ended", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		_, err := s.provider.Revoke(provider.Revocation{ClientID: billsID})
		Expect(err).NotTo(HaveOccurred())
		pass(ctx, untilDue, account)
		Eventually(authorized(ctx, account)).Should(Equal("False RefreshTokenRejected"))
		Expect(condition(ctx, account, "Ready")()).To(Equal("True RefreshTokenRejected"))
		fresh, err := s.provider.Grant(billsID, "a")
		Expect(err).NotTo(HaveOccurred())
		s.replaceToken(ctx, fresh.RefreshToken)
		Eventually(authorized(ctx, account)).Should(Equal("True Authorized"))
		pass(ctx, untilProbed, account)
		becomesReady(ctx, account)
		Expect(get(ctx, account.DeepCopy()).Status.Failures).To(BeZero())
		rotates(ctx, account)
	})

	It("is sent only once it is marked, and is not marked without a way to keep it", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.imported(ctx, "a", "bills", billsID)
		suite.wire.refusing(refuseMark(s.namespace))
		s.create(ctx, s.bills(withRefresh(v1alpha1.RefreshTokens{})), account)
		Eventually(suite.logs.String).Should(ContainSubstring("the Secret a-token could not be marked as imported: Forbidden"))
		Expect(s.provider.TokenRequests()).To(BeZero())
		Expect(get(ctx, account.DeepCopy()).Status.SealedCredential).To(BeEmpty())
		suite.wire.set(nil)
		becomesReady(ctx, account)
		Expect(apierrors.IsForbidden(suite.admin.Delete(ctx, account.DeepCopy()))).To(BeTrue(), "a consent is not deleted by accident")
	})
})

// nothingMore is for mistakes that are mended by the right Secret alone.
func nothingMore(context.Context, *stage, *v1alpha1.ConnectedAccount) {}
