package controller_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// projected is what makes a token Secret what it is.
func projected(secret *corev1.Secret) map[string]string {
	parts := map[string]string{"type": string(secret.Type)}
	for key, value := range secret.Data {
		parts["data "+key] = string(value)
	}
	for key, value := range secret.Labels {
		parts["label "+key] = value
	}
	for key, value := range secret.Annotations {
		parts["annotation "+key] = value
	}
	for _, owner := range secret.OwnerReferences {
		parts["owner "+owner.Name] = string(owner.UID)
	}
	return parts
}

var _ = Describe("The token Secret", func() {
	DescribeTable("is right again after somebody's hand, without a call to the provider",
		func(ctx SpecContext, meddle func(ctx context.Context, secret *corev1.Secret)) {
			s := newStage(ctx, time.Hour)
			account := s.account("a", "business", func(a *v1alpha1.ConnectedAccount) {
				a.Spec.Secret = v1alpha1.TokenSecret{
					Labels: map[string]v1alpha1.LabelValue{"team": "billing"}, Annotations: map[string]v1alpha1.AnnotationValue{"note": "mounted"},
				}
			})
			s.create(ctx, s.business(), account)
			becomesReady(ctx, account)
			before := s.tokenSecret(ctx, "a")
			mark := suite.wire.mark()

			meddle(ctx, before.DeepCopy())
			now := func() (map[string]string, error) {
				secret := &corev1.Secret{}
				err := suite.admin.Get(ctx, client.ObjectKeyFromObject(before), secret)
				return projected(secret), err
			}
			Eventually(now).Should(Equal(projected(before)))
			rests(ctx, account) // the write is there to see before its answer, by which it is counted
			writes := suite.wire.since(mark, writesWithin(s.namespace))
			rests(ctx, account)
			Expect(now()).To(Equal(projected(before)))
			Expect(s.provider.TokenRequests()).To(Equal(1))
			for _, made := range writes {
				Expect(made.path).To(ContainSubstring("/secrets"), "nothing else is written: %s", made)
			}
			Expect(len(writes)).To(BeNumerically("<=", 3))
			Expect(suite.wire.since(mark, writesWithin(s.namespace))).To(HaveLen(len(writes)), "and nothing once it is right")
		},
		Entry("deleted", func(ctx context.Context, secret *corev1.Secret) {
			Expect(suite.admin.Delete(ctx, secret)).To(Succeed())
		}),
		Entry("token changed", func(ctx context.Context, secret *corev1.Secret) {
			change(ctx, secret, func(secret *corev1.Secret) { secret.Data["access_token"] = []byte("forged") })
		}),
		Entry("key added", func(ctx context.Context, secret *corev1.Secret) {
			change(ctx, secret, func(secret *corev1.Secret) { secret.Data["more"] = []byte("x") })
		}),
		Entry("emptied", func(ctx context.Context, secret *corev1.Secret) {
			change(ctx, secret, func(secret *corev1.Secret) { secret.Data = nil })
		}),
		Entry("a wanted label removed", func(ctx context.Context, secret *corev1.Secret) {
			change(ctx, secret, func(secret *corev1.Secret) { delete(secret.Labels, "team") })
		}),
		Entry("our label removed", func(ctx context.Context, secret *corev1.Secret) {
			change(ctx, secret, func(secret *corev1.Secret) { delete(secret.Labels, v1alpha1.LabelAccount) })
		}),
		Entry("our annotation changed", func(ctx context.Context, secret *corev1.Secret) {
			change(ctx, secret, func(secret *corev1.Secret) { secret.Annotations[v1alpha1.AnnotationRotation] = "99.forged" })
		}),
		Entry("edited and made immutable", func(ctx context.Context, secret *corev1.Secret) {
			change(ctx, secret, func(secret *corev1.Secret) {
				secret.Data["access_token"], secret.Immutable = []byte("forged"), new(true)
			})
		}),
	)

	It("keeps the labels of others, and drops its own that are not wanted any more", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills", func(a *v1alpha1.ConnectedAccount) {
			a.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "billing", "tier": "gold"}
		})
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		change(ctx, s.tokenSecret(ctx, "a"), func(secret *corev1.Secret) { secret.Labels["theirs"] = "stays" })
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) {
			a.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "billing"}
		})
		Eventually(func() map[string]string { return s.tokenSecret(ctx, "a").Labels }).ShouldNot(HaveKey("tier"))
		Expect(s.tokenSecret(ctx, "a").Labels).To(SatisfyAll(HaveKeyWithValue("theirs", "stays"), HaveKeyWithValue("team", "billing")))
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("leaves another's Secret alone, asks for no token that it could not publish, and goes on when the name is free", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "taken"}, StringData: map[string]string{"precious": "bytes"}}
		account := s.account("taken", "bills")
		mark := suite.wire.mark()
		s.create(ctx, theirs, s.bills(), account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False SecretOwnedByOther"))
		Expect(rests(ctx, account)).To(Equal("secret owned by other"))
		Expect(s.provider.TokenRequests()).To(BeZero())
		Expect(s.tokenSecret(ctx, "taken").Data).To(Equal(map[string][]byte{"precious": []byte("bytes")}))
		Expect(suite.wire.since(mark, contentReads(s.namespace, "taken"))).To(BeEmpty(), "what is another's is not read either")
		Expect(suite.admin.Delete(ctx, theirs)).To(Succeed())
		touch(ctx, account)
		becomesReady(ctx, account)
	})

	It("is not taken from an account by a Secret that only looks like its own", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		first := s.account("first", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Secret.Name = "shared" })
		second := s.account("second", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Secret.Name = "shared" })
		s.create(ctx, s.bills(), first)
		becomesReady(ctx, first)
		before := s.tokenSecret(ctx, "shared")
		s.create(ctx, second)
		Eventually(condition(ctx, second, "Ready")).Should(Equal("False SecretOwnedByOther"))
		change(ctx, before.DeepCopy(), func(secret *corev1.Secret) { secret.Labels[v1alpha1.LabelAccount] = string(second.UID) })
		Eventually(func() map[string]string { return projected(s.tokenSecret(ctx, "shared")) }).Should(Equal(projected(before)))
		Expect(condition(ctx, second, "Ready")()).To(Equal("False SecretOwnedByOther"))
	})

	It("moves with its name, and the old one goes only when the new one is there", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills")
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		mark := suite.wire.mark()
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Secret.Name = "renamed" })
		Eventually(func() bool {
			return apierrors.IsNotFound(suite.admin.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: "a"}, &corev1.Secret{}))
		}).Should(BeTrue())
		Expect(s.tokenSecret(ctx, "renamed").Data).To(HaveKey("access_token"))
		var secrets []string
		for _, made := range paths(suite.wire.since(mark, writesWithin(s.namespace))) {
			if strings.Contains(made, "secrets") {
				secrets = append(secrets, made)
			}
		}
		Expect(secrets).To(Equal([]string{"POST secrets", "DELETE secrets/a"}))
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("names the connected account under the header that its client says, or last said", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		owner := s.bills()
		account := s.account("a", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.OnBehalfOf = "acct_8f2" })
		s.create(ctx, owner, account)
		becomesReady(ctx, account)
		second := func() string {
			_, line, _ := strings.Cut(string(s.tokenSecret(ctx, "a").Data["headers"]), "\n")
			return line
		}
		Expect(second()).To(Equal("on-behalf-of: acct_8f2\n"))
		change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Spec.OnBehalfOf.Header = "Stripe-Account" })
		Eventually(second).Should(Equal("Stripe-Account: acct_8f2\n"))
		Eventually(func() v1alpha1.HeaderName { return get(ctx, account.DeepCopy()).Status.OnBehalfOfHeader }).Should(BeEquivalentTo("Stripe-Account"))

		By("deleting the client, and then the Secret")
		before := s.tokenSecret(ctx, "a")
		Expect(suite.admin.Delete(ctx, owner)).To(Succeed())
		Eventually(condition(ctx, account, "ClientReady")).Should(Equal("False ClientNotAvailable"))
		Expect(suite.admin.Delete(ctx, before.DeepCopy())).To(Succeed())
		Eventually(func() (map[string]string, error) {
			secret := &corev1.Secret{}
			err := suite.admin.Get(ctx, client.ObjectKeyFromObject(before), secret)
			return projected(secret), err
		}).Should(Equal(projected(before)))
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("says who refuses it, and follows when the refusal is over", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		suite.wire.refusing(func(request *http.Request) int {
			if request.Method == http.MethodPost && strings.HasSuffix(request.URL.Path, "/namespaces/"+s.namespace+"/secrets") {
				return http.StatusForbidden
			}
			return 0
		})
		account := s.account("a", "bills")
		s.create(ctx, s.bills(), account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False SecretWriteFailed"))
		Expect(rests(ctx, account)).To(Or(beIdle(), Equal("secret not writable")))
		Expect(s.provider.TokenRequests()).To(Equal(1), "the token that is kept is not asked for again")
		suite.wire.set(nil)
		touch(ctx, account)
		becomesReady(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("has the keys that spec.secret.data adds, and follows when they change, without a call to the provider", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills", func(a *v1alpha1.ConnectedAccount) {
			a.Spec.Secret.Data = map[string]v1alpha1.SecretText{"login": "user:$(access_token)", "basic": "Basic $(login.base64)"}
		})
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		held := s.tokenSecret(ctx, "a").Data
		login := "user:" + string(held["access_token"])
		Expect(string(held["login"])).To(Equal(login))
		Expect(string(held["basic"])).To(Equal("Basic " + base64.StdEncoding.EncodeToString([]byte(login))))
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) {
			a.Spec.Secret.Data = map[string]v1alpha1.SecretText{"env": "T='$(access_token.sh)'"}
		})
		Eventually(func() map[string][]byte { return s.tokenSecret(ctx, "a").Data }).Should(SatisfyAll(
			HaveKey("env"), Not(HaveKey("login")), Not(HaveKey("basic")), HaveKeyWithValue("access_token", held["access_token"])))
		becomesReady(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	// asPullSecret is what makes a pull secret of a token Secret.
	asPullSecret := func(a *v1alpha1.ConnectedAccount) {
		a.Spec.Secret.Type = v1alpha1.SecretTypeDockerConfigJSON
		a.Spec.Secret.Data = map[string]v1alpha1.SecretText{
			"login": "oauth2:$(access_token)", ".dockerconfigjson": `{"auths":{"registry.example":{"auth":"$(login.base64)"}}}`,
		}
	}

	It("is replaced when its type changes, at once, and without a call to the provider", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills")
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		token := s.tokenSecret(ctx, "a").Data["access_token"]
		mark := suite.wire.mark()
		change(ctx, account, asPullSecret)
		Eventually(func() (corev1.SecretType, error) {
			secret := &corev1.Secret{}
			err := suite.admin.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: "a"}, secret)
			return secret.Type, err
		}).Should(Equal(corev1.SecretTypeDockerConfigJson))
		rests(ctx, account)
		Expect(s.tokenSecret(ctx, "a").Data).To(HaveKeyWithValue("access_token", token))
		made := suite.wire.since(mark, func(made call) bool {
			return within(s.namespace)(made) && made.method != http.MethodGet && strings.Contains(made.path, "/secrets")
		})
		Expect(paths(made)).To(Equal([]string{"POST secrets", "DELETE secrets/a", "POST secrets"}))
		Expect(made[0].query).To(ContainSubstring("dryRun=All"), "that the new one is taken is tried before the old one goes")
		becomesReady(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("stays as it is when one of the new type is refused, and is replaced when that is over", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills")
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		before := projected(s.tokenSecret(ctx, "a"))
		suite.wire.refusing(func(request *http.Request) int {
			if request.Method == http.MethodPost && strings.HasSuffix(request.URL.Path, "/namespaces/"+s.namespace+"/secrets") {
				return http.StatusForbidden
			}
			return 0
		})
		change(ctx, account, asPullSecret)
		Eventually(condition(ctx, account, "Published")).Should(Equal("False SecretWriteFailed"))
		rests(ctx, account)
		Expect(projected(s.tokenSecret(ctx, "a"))).To(Equal(before))
		suite.wire.set(nil)
		touch(ctx, account)
		becomesReady(ctx, account)
		Expect(s.tokenSecret(ctx, "a").Type).To(Equal(corev1.SecretTypeDockerConfigJson))
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("S37 is refused before a token is asked for, where it could become too large", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills", func(a *v1alpha1.ConnectedAccount) {
			a.Spec.Secret.Data = map[string]v1alpha1.SecretText{"text": v1alpha1.SecretText(strings.Repeat("$(access_token)", 40))}
		})
		s.create(ctx, s.bills(), account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False SecretTooLarge"))
		Expect(readyMessage(ctx, account)).To(ContainSubstring("spec.secret.data[text]"))
		Expect(rests(ctx, account)).To(Equal("secret not possible"))
		Expect(s.provider.TokenRequests()).To(BeZero())
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Secret.Data["text"] = "$(access_token)" })
		becomesReady(ctx, account)
		before := projected(s.tokenSecret(ctx, "a"))
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) {
			a.Spec.Secret.Data["text"] = v1alpha1.SecretText(strings.Repeat("$(access_token)", 40))
		})
		Eventually(condition(ctx, account, "Published")).Should(Equal("False SecretTooLarge"))
		Expect(projected(s.tokenSecret(ctx, "a"))).To(Equal(before), "workloads keep what they have")
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("S38 is not moved over another's Secret, of whatever type and content, and the old one stays", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		first, second := s.account("first", "bills", asPullSecret), s.account("second", "bills")
		theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "theirs"}, StringData: map[string]string{"precious": "bytes"}}
		s.create(ctx, s.bills(), first, second, theirs)
		becomesReady(ctx, first, second)
		// The garbage collector and the operator add nothing to these: they are compared whole.
		others := map[string]*corev1.Secret{"first": s.tokenSecret(ctx, "first"), "theirs": s.tokenSecret(ctx, "theirs")}
		own := projected(s.tokenSecret(ctx, "second"))
		for name, other := range others {
			change(ctx, second, func(a *v1alpha1.ConnectedAccount) {
				a.Spec.Secret = v1alpha1.TokenSecret{Name: name}
				asPullSecret(a)
			})
			Eventually(func() string { return condition(ctx, second, "Ready")() + readyMessage(ctx, second) }).Should(SatisfyAll(
				HavePrefix("False SecretOwnedByOther"), ContainSubstring("a Secret "+name+" exists that is not this account's")))
			Expect(rests(ctx, second)).To(Equal("secret owned by other"))
			Expect(s.tokenSecret(ctx, name)).To(Equal(other))
			Expect(projected(s.tokenSecret(ctx, "second"))).To(Equal(own), "the old one goes only when there is a new one")
		}
		becomesReady(ctx, first)
		change(ctx, second, func(a *v1alpha1.ConnectedAccount) { a.Spec.Secret.Name = "free" })
		becomesReady(ctx, second)
		Expect(s.tokenSecret(ctx, "free").Type).To(Equal(corev1.SecretTypeDockerConfigJson))
		Eventually(func() bool {
			return apierrors.IsNotFound(suite.admin.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: "second"}, &corev1.Secret{}))
		}).Should(BeTrue())
		Expect(s.provider.TokenRequests()).To(Equal(2))
	})
})
