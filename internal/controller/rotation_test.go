package controller_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// withRefresh lets a client be used for both grants.
func withRefresh(tokens v1alpha1.RefreshTokens) func(*v1alpha1.OAuthClient) {
	return func(owner *v1alpha1.OAuthClient) {
		owner.Spec.Grants = []v1alpha1.GrantType{v1alpha1.GrantClientCredentials, v1alpha1.GrantAuthorizationCode}
		owner.Spec.RefreshTokens = tokens
	}
}

// imported is an account that takes over a grant of the provider's, and the Secret that holds its refresh token.
func (s *stage) imported(ctx context.Context, name, clientName, clientID string, changes ...func(*v1alpha1.ConnectedAccount)) *v1alpha1.ConnectedAccount {
	GinkgoHelper()
	grant, err := s.provider.Grant(clientID, name)
	Expect(err).NotTo(HaveOccurred())
	s.create(ctx, s.sourceSecret(name+"-token", grant.RefreshToken))
	return s.account(name, clientName, append([]func(*v1alpha1.ConnectedAccount){func(account *v1alpha1.ConnectedAccount) {
		account.Spec.Grant.Type = v1alpha1.GrantAuthorizationCode
		account.Spec.ImportRefreshTokenRef = v1alpha1.SecretKeyReference{Name: name + "-token", Key: "refresh_token"}
	}}, changes...)...)
}

func (s *stage) sourceSecret(name, token string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: name, Labels: map[string]string{v1alpha1.LabelCredential: "true"},
			Annotations: map[string]string{v1alpha1.AnnotationHosts: s.host()},
		},
		StringData: map[string]string{"refresh_token": token},
	}
}

// host is the provider's, with its port.
func (s *stage) host() string {
	GinkgoHelper()
	parsed, err := url.Parse(s.provider.URL())
	Expect(err).NotTo(HaveOccurred())
	return parsed.Host
}

var _ = Describe("Rotating", func() {
	for _, each := range []struct {
		name, client, id string
		contract         provider.Contract
	}{
		{"JSON bodies", "business", businessID, provider.SmartBusiness},
		{"form bodies", "bills", billsID, provider.Smartbills},
	} {
		It(fmt.Sprintf("takes a grant over and keeps it fresh, with three writes and one call for each rotation (%s)", each.name), func(ctx SpecContext) {
			s := newStage(ctx, time.Hour)
			account := s.imported(ctx, "a", each.client, each.id)
			s.create(ctx, s.business(withRefresh(v1alpha1.RefreshTokens{})), s.bills(withRefresh(v1alpha1.RefreshTokens{})), account)
			becomesReady(ctx, account)
			Eventually(condition(ctx, account, v1alpha1.ConditionAuthorized)).Should(Equal("True Authorized"))
			Expect(s.provider.TokenRequests()).To(Equal(1))

			for rotation := 2; rotation < 5; rotation++ {
				mark := suite.wire.mark()
				pass(ctx, 50*time.Minute, account)
				Eventually(s.provider.TokenRequests).Should(Equal(rotation))
				Eventually(func() int64 { return get(ctx, account).Status.Rotations }).Should(Equal(int64(rotation + 1)))
				becomesReady(ctx, account)
				rests(ctx, account)
				Expect(paths(suite.wire.since(mark, writesWithin(s.namespace)))).To(Equal([]string{
					"PUT connectedaccounts/a/status", "PUT connectedaccounts/a/status", "PUT secrets/a",
				}), "claim, keep, publish")
				Expect(suite.wire.since(mark, func(made call) bool {
					return made.method == http.MethodGet && strings.HasSuffix(made.path, "/connectedaccounts/a")
				})).To(BeEmpty())
			}
			Expect(get(ctx, account).Status.Claim).To(BeZero())
		})
	}

	It("puts a refresh token back that a definition dropped under its hands, and sends nothing meanwhile", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.imported(ctx, "a", "bills", billsID)
		s.create(ctx, s.bills(withRefresh(v1alpha1.RefreshTokens{})), account)
		becomesReady(ctx, account)
		kept := get(ctx, account.DeepCopy()).Status.SealedCredential

		Expect(rests(ctx, account)).To(beIdle())
		see := blind() // the operator does not see yet that the definition hides the credential
		restore := dropSealedCredential(ctx, account)
		suite.clock.ahead.Add(int64(50 * time.Minute))
		Expect(suite.admin.Delete(ctx, s.tokenSecret(ctx, "a"))).To(Succeed())
		Eventually(suite.logs.String).Should(ContainSubstring("a credential was dropped from the status of an account"))
		see()
		Expect(s.provider.TokenRequests()).To(Equal(1))
		restore(ctx)
		Eventually(func() string { return get(ctx, account.DeepCopy()).Status.SealedCredential }).Should(Equal(kept))
		pass(ctx, 31*time.Second, account)
		Eventually(s.provider.TokenRequests).Should(Equal(2))
		becomesReady(ctx, account)
	})
})
