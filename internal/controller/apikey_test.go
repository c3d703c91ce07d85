package controller_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// keySecret is a Secret with an API key, as its owner gives it to the operator, and the key.
func (s *stage) keySecret() (source *corev1.Secret, key string) {
	key = fmt.Sprintf("planted-key-%d", time.Now().UnixNano())
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "key", Labels: map[string]string{v1alpha1.LabelCredential: "true"}},
		StringData: map[string]string{"api_key": key},
	}, key
}

// keyed is an account that publishes the API key in the Secret named key.
func (s *stage) keyed(name string, changes ...func(*v1alpha1.ConnectedAccount)) *v1alpha1.ConnectedAccount {
	return changed(&v1alpha1.ConnectedAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: v1alpha1.ConnectedAccountSpec{Grant: v1alpha1.Grant{
			Type: v1alpha1.GrantAPIKey, APIKeyRef: v1alpha1.SecretKeyReference{Name: "key", Key: "api_key"},
		}},
	}, changes)
}

var _ = Describe("An API key", func() {
	It("is published like a token, follows its Secret, and is nowhere else", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		source, key := s.keySecret()
		account := s.keyed("a", func(a *v1alpha1.ConnectedAccount) {
			a.Spec.OnBehalfOf, a.Spec.OnBehalfOfHeader = "acct_1", "Stripe-Account"
			a.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "billing"}
		})
		s.create(ctx, source, account)
		becomesReady(ctx, account)
		published := s.tokenSecret(ctx, "a")
		texts := map[string]string{}
		for name, value := range published.Data {
			texts[name] = string(value)
		}
		Expect(texts).To(Equal(map[string]string{
			"access_token": key, "token_type": "Bearer", "authorization": "Bearer " + key, "on_behalf_of": "acct_1",
			"headers": "Authorization: Bearer " + key + "\nStripe-Account: acct_1\n",
		}))
		Expect(published.Labels).To(SatisfyAll(HaveKeyWithValue("team", "billing"), HaveKeyWithValue(v1alpha1.LabelAccount, string(account.UID))))
		for kind, want := range map[string]string{
			"ClientReady": "True NotRequired", "Authorized": "True NotRequired", "Refreshed": "True NotRequired", "Published": "True Published",
		} {
			Expect(condition(ctx, account, kind)()).To(Equal(want), kind)
		}

		By("changing the key")
		next := key + "-next"
		change(ctx, source, func(secret *corev1.Secret) { secret.StringData = map[string]string{"api_key": next} })
		Eventually(s.token(ctx)).Should(Equal(next))
		Expect(condition(ctx, account, "Ready")()).To(Equal("True TokenValid"))

		By("looking again")
		mark := suite.wire.mark()
		Expect(rests(ctx, account)).To(Equal("api key"))
		Expect(suite.wire.since(mark, writesWithin(s.namespace))).To(BeEmpty())
		Expect(s.provider.TokenRequests()).To(BeZero())
		written, err := json.Marshal(get(ctx, account.DeepCopy()))
		Expect(err).NotTo(HaveOccurred())
		events := &corev1.EventList{}
		Expect(suite.admin.List(ctx, events)).To(Succeed())
		told, err := json.Marshal(events)
		Expect(err).NotTo(HaveOccurred())
		for where, text := range map[string]string{"account": string(written), "log": suite.logs.String(), "events": string(told)} {
			Expect(strings.Contains(text, key)).To(BeFalse(), "the key is in the %s", where)
		}
		Expect(get(ctx, account.DeepCopy()).Status.SealedCredential).To(BeEmpty())
	})

	DescribeTable("that cannot be used is named, and published as soon as that is mended",
		func(ctx SpecContext, spoil func(*corev1.Secret), reason, says string) {
			s := newStage(ctx, time.Hour)
			good, key := s.keySecret()
			spoilt := good.DeepCopy()
			spoil(spoilt)
			account := s.keyed("a")
			mark := suite.wire.mark()
			if spoilt.Name != "" {
				s.create(ctx, spoilt)
			}
			s.create(ctx, account)
			Eventually(condition(ctx, account, "Ready")).Should(Equal("False " + reason))
			Expect(condition(ctx, account, "Authorized")()).To(Equal("False " + reason))
			Expect(readyMessage(ctx, account)).To(ContainSubstring(says))
			Expect(rests(ctx, account)).To(Equal("api key"))
			if spoilt.Labels == nil {
				Expect(suite.wire.since(mark, contentReads(s.namespace, "key"))).To(BeEmpty())
			}

			if spoilt.Name != "" {
				Expect(suite.admin.Delete(ctx, spoilt)).To(Succeed())
			}
			s.create(ctx, good)
			becomesReady(ctx, account)
			Expect(s.token(ctx)()).To(Equal(key))
		},
		Entry("no Secret", func(secret *corev1.Secret) { secret.Name = "" }, "SecretNotFound", "there is no Secret key in this namespace"),
		Entry("S01 no label", func(secret *corev1.Secret) { secret.Labels = nil }, "SecretNotConsented", "kubectl label secret -n "),
		Entry("S04 another type", func(secret *corev1.Secret) { secret.Type = "helm.sh/release.v1" }, "SecretNotConsented", "helm.sh/release.v1"),
		Entry("another key", func(secret *corev1.Secret) { secret.StringData = map[string]string{"apiKey": "x"} }, "SecretKeyMissing", "nothing under the key api_key"),
		Entry("a newline at its end", func(secret *corev1.Secret) { secret.StringData["api_key"] += "\n" }, "SecretKeyMissing", "it ends with a newline"),
		Entry("nothing", func(secret *corev1.Secret) { secret.StringData["api_key"] = "" }, "SecretKeyMissing", "nothing under the key api_key"),
		Entry("a space in it", func(secret *corev1.Secret) { secret.StringData["api_key"] = "Bearer abc" }, "SecretKeyMissing", "it has a space in it"),
		Entry("a second header in it", func(secret *corev1.Secret) { secret.StringData["api_key"] = "a\nHost: b" }, "SecretKeyMissing", "printable ASCII only"),
		Entry("too long", func(secret *corev1.Secret) { secret.StringData["api_key"] = strings.Repeat("k", 16<<10+1) }, "SecretKeyMissing", "longer than 16 KiB"),
	)

	It("stays published when its Secret is gone or its owner does not consent any more, and the account says so", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		source, key := s.keySecret()
		account := s.keyed("a")
		s.create(ctx, source, account)
		becomesReady(ctx, account)
		before := projected(s.tokenSecret(ctx, "a"))

		change(ctx, source, func(secret *corev1.Secret) { secret.Labels = nil })
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False SecretNotConsented"))
		Expect(condition(ctx, account, "Stalled")()).To(Equal("True SecretNotConsented"))
		Expect(readyMessage(ctx, account)).To(ContainSubstring("the Secret a is left as it is"))
		Expect(rests(ctx, account)).To(Equal("api key"))
		Expect(projected(s.tokenSecret(ctx, "a"))).To(Equal(before))
		obey(ctx, readyMessage(ctx, account))
		becomesReady(ctx, account)

		Expect(suite.admin.Delete(ctx, source)).To(Succeed())
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False SecretNotFound"))
		Expect(rests(ctx, account)).To(Equal("api key"))
		Expect(projected(s.tokenSecret(ctx, "a"))).To(Equal(before))
		again, _ := s.keySecret()
		again.StringData["api_key"] = key + "-again"
		s.create(ctx, again)
		Eventually(s.token(ctx)).Should(Equal(key + "-again"))
		becomesReady(ctx, account)
	})

	It("is right again in its token Secret after somebody's hand", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		source, _ := s.keySecret()
		account := s.keyed("a")
		s.create(ctx, source, account)
		becomesReady(ctx, account)
		before := s.tokenSecret(ctx, "a")
		now := func() (map[string]string, error) {
			secret := &corev1.Secret{}
			err := suite.admin.Get(ctx, client.ObjectKeyFromObject(before), secret)
			return projected(secret), err
		}
		change(ctx, before.DeepCopy(), func(secret *corev1.Secret) { secret.Data["access_token"] = []byte("forged") })
		Eventually(now).Should(Equal(projected(before)))
		Expect(suite.admin.Delete(ctx, before.DeepCopy())).To(Succeed())
		Eventually(now).Should(Equal(projected(before)))
	})

	It("leaves another's Secret of the account's name alone", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		source, _ := s.keySecret()
		theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "taken"}, StringData: map[string]string{"precious": "bytes"}}
		account := s.keyed("taken")
		mark := suite.wire.mark()
		s.create(ctx, theirs, source, account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False SecretOwnedByOther"))
		Expect(suite.wire.since(mark, contentReads(s.namespace, "taken"))).To(BeEmpty())
		Expect(s.tokenSecret(ctx, "taken").Data).To(Equal(map[string][]byte{"precious": []byte("bytes")}))
	})

	It("is not published where the API server refuses it, and says so", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		suite.wire.refusing(func(request *http.Request) int {
			if request.Method == http.MethodPost && strings.HasSuffix(request.URL.Path, "/namespaces/"+s.namespace+"/secrets") {
				return http.StatusForbidden
			}
			return 0
		})
		source, _ := s.keySecret()
		account := s.keyed("a")
		s.create(ctx, source, account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False SecretWriteFailed"))
		suite.wire.set(nil)
		touch(ctx, account)
		becomesReady(ctx, account)
	})
})
