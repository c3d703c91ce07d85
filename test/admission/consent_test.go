package admission_test

import (
	"context"
	"net/http"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/consent"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// heldKeys are keys that stay.
type heldKeys struct{ keys *seal.ConsentKeys }

func (h heldKeys) Current() *seal.ConsentKeys { return h.keys }

const consentRefusal = "the consent pages write handOver, usedStates and denial in the status.authorization of an account, and nothing else"

// invitedAccount is an account that holds a credential and waits for a person.
func invitedAccount(ctx context.Context) *v1alpha1.ConnectedAccount {
	GinkgoHelper()
	object := created(ctx, strings.Replace(smallestAccount, "ClientCredentials", "AuthorizationCode", 1))
	account := &v1alpha1.ConnectedAccount{}
	Expect(suite.operator.Get(ctx, client.ObjectKeyFromObject(object), account)).To(Succeed())
	now := metav1.Now()
	account.Status = v1alpha1.ConnectedAccountStatus{
		SealedCredential: "v1:1:sealed", Rotations: 7, ClaimSequence: 9, Scopes: []v1alpha1.Scope{"a", "b"}, ExpirationTime: &now,
		Conditions:       []metav1.Condition{{Type: "Ready", Status: metav1.ConditionFalse, Reason: "AuthorizationRequired", LastTransitionTime: now}},
		AuthorizationURL: "https://oauth.example.com/connect?ticket=x", Identity: "Ada",
		Authorization: v1alpha1.Authorization{
			Attempt: 3, UsedStates: []v1alpha1.StateHash{"used"},
			Failures:    v1alpha1.ConsentFailures{Count: 1, WindowStartTime: &now},
			LastOutcome: v1alpha1.AuthorizationOutcome{StateHash: "used", Result: v1alpha1.AuthorizationRejected},
			Exchange:    v1alpha1.CodeClaim{ID: "claimed", Sequence: 9},
		},
	}
	Expect(suite.operator.Status().Update(ctx, account)).To(Succeed())
	read := &v1alpha1.ConnectedAccount{}
	Expect(suite.consent.Get(ctx, client.ObjectKeyFromObject(account), read)).To(Succeed())
	return read
}

// hand writes what a change makes of an account's status as the pages do: by a patch that holds what differs, and that the
// account must not have changed.
func hand(ctx context.Context, account *v1alpha1.ConnectedAccount, change func(*v1alpha1.ConnectedAccountStatus)) error {
	changed := account.DeepCopy()
	change(&changed.Status)
	return suite.consent.Status().Patch(ctx, changed, client.MergeFromWithOptions(account, client.MergeFromWithOptimisticLock{}))
}

// useUp is what each hand-over writes.
func useUp(status *v1alpha1.ConnectedAccountStatus) {
	status.Authorization.UsedStates = append(status.Authorization.UsedStates, "new")
}

var _ = Describe("S17 the consent pages", func() {
	It("hand over a code and use a state up", func(ctx SpecContext) {
		account := invitedAccount(ctx)
		now := metav1.Now()
		Expect(hand(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) {
			into := &status.Authorization
			into.UsedStates = append(into.UsedStates, "new")
			into.HandOver = v1alpha1.HandOver{
				ID: "id", Sealed: "sealed", SealedVerifier: "sealed", StateHash: "new", ClientUID: "uid", ClientID: "client",
				RedirectURI: "https://oauth.example.com/callback/a/b", Attempt: 3, HandedOverTime: &now,
			}
		})).To(Succeed())
	})

	It("hand over a denial, in an account that has nothing yet", func(ctx SpecContext) {
		object := created(ctx, smallestAccount)
		account := &v1alpha1.ConnectedAccount{}
		Expect(suite.consent.Get(ctx, client.ObjectKeyFromObject(object), account)).To(Succeed())
		now := metav1.Now()
		Expect(hand(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) {
			status.Authorization = v1alpha1.Authorization{
				UsedStates: []v1alpha1.StateHash{"new"}, Denial: v1alpha1.AuthorizationDenial{Code: "access_denied", StateHash: "new", DeniedTime: &now},
			}
		})).To(Succeed())
	})

	It("write over nobody", func(ctx SpecContext) {
		account := invitedAccount(ctx)
		other := account.DeepCopy()
		other.Status.Rotations++
		Expect(suite.operator.Status().Update(ctx, other)).To(Succeed())
		Expect(hand(ctx, account, useUp)).To(Satisfy(apierrors.IsConflict))
		changed := account.DeepCopy()
		useUp(&changed.Status)
		Expect(consent.NewCluster(suite.consent).HandOver(ctx, account, changed)).To(MatchError(consent.ErrConflict))
	})

	It("write into no later account of the name", func(ctx SpecContext) {
		object := created(ctx, smallestAccount)
		account := &v1alpha1.ConnectedAccount{}
		Expect(suite.consent.Get(ctx, client.ObjectKeyFromObject(object), account)).To(Succeed())
		changed := account.DeepCopy()
		useUp(&changed.Status)
		Expect(suite.admin.Delete(ctx, account.DeepCopy())).To(Succeed())
		later := parse(smallestAccount)
		later.SetNamespace(account.Namespace)
		Expect(suite.admin.Create(ctx, later)).To(Succeed())
		Expect(consent.NewCluster(suite.consent).HandOver(ctx, account, changed)).To(MatchError(consent.ErrConflict))
	})

	DescribeTable("are refused, with 403, to write",
		func(ctx SpecContext, change func(*v1alpha1.ConnectedAccountStatus)) {
			account := invitedAccount(ctx)
			expectForbidden(hand(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) {
				useUp(status)
				change(status)
			}), consentRefusal)
			after := &v1alpha1.ConnectedAccount{}
			Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(account), after)).To(Succeed())
			Expect(after.Status).To(Equal(account.Status))
		},
		Entry("the credential", func(s *v1alpha1.ConnectedAccountStatus) { s.SealedCredential = "v1:1:another" }),
		Entry("the credential away", func(s *v1alpha1.ConnectedAccountStatus) { s.SealedCredential = "" }),
		Entry("a claim", func(s *v1alpha1.ConnectedAccountStatus) { s.Claim.ID = "mine" }),
		Entry("the claim sequence", func(s *v1alpha1.ConnectedAccountStatus) { s.ClaimSequence-- }),
		Entry("conditions", func(s *v1alpha1.ConnectedAccountStatus) { s.Conditions[0].Status = metav1.ConditionTrue }),
		Entry("conditions away", func(s *v1alpha1.ConnectedAccountStatus) { s.Conditions = nil }),
		Entry("the link", func(s *v1alpha1.ConnectedAccountStatus) { s.AuthorizationURL = "https://evil.example" }),
		Entry("the identity", func(s *v1alpha1.ConnectedAccountStatus) { s.Identity = "Mallory" }),
		Entry("scopes", func(s *v1alpha1.ConnectedAccountStatus) { s.Scopes = s.Scopes[:1] }),
		Entry("the time of expiry", func(s *v1alpha1.ConnectedAccountStatus) { s.ExpirationTime = nil }),
		Entry("the attempt", func(s *v1alpha1.ConnectedAccountStatus) { s.Authorization.Attempt++ }),
		Entry("the count of failures", func(s *v1alpha1.ConnectedAccountStatus) { s.Authorization.Failures = v1alpha1.ConsentFailures{} }),
		Entry("the last outcome", func(s *v1alpha1.ConnectedAccountStatus) {
			s.Authorization.LastOutcome.Result = v1alpha1.AuthorizationConnected
		}),
		Entry("the exchange of a code away", func(s *v1alpha1.ConnectedAccountStatus) { s.Authorization.Exchange = v1alpha1.CodeClaim{} }),
		Entry("all of it away", func(s *v1alpha1.ConnectedAccountStatus) {
			*s = v1alpha1.ConnectedAccountStatus{Authorization: s.Authorization}
		}),
	)

	It("are refused to write the status of a client", func(ctx SpecContext) {
		object := created(ctx, smallestClient)
		for _, by := range statusWrites() {
			err := by.write(ctx, suite.consent, object)
			Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%s: %v", by.way, err)
		}
	})

	It("are refused to write a spec, an annotation, or by another way", func(ctx SpecContext) {
		account := invitedAccount(ctx)
		account.Annotations = map[string]string{v1alpha1.AnnotationAllowDelete: account.Name}
		Expect(apierrors.IsForbidden(suite.consent.Update(ctx, account.DeepCopy()))).To(BeTrue())
		Expect(apierrors.IsForbidden(suite.consent.Delete(ctx, account.DeepCopy()))).To(BeTrue())
		Expect(apierrors.IsForbidden(suite.consent.Patch(ctx, account.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":true}}`))))).To(BeTrue())
		for _, by := range statusWrites() {
			Expect(apierrors.IsForbidden(by.write(ctx, suite.consent, created(ctx, smallestAccount)))).To(BeTrue(), by.way)
		}
		// With the status, a patch may send metadata too, which the API server drops.
		read := account.DeepCopy()
		read.Annotations = nil
		useUp(&account.Status)
		Expect(suite.consent.Status().Patch(ctx, account, client.MergeFrom(read))).To(Succeed())
		after := &v1alpha1.ConnectedAccount{}
		Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(account), after)).To(Succeed())
		Expect(after.Annotations).To(BeEmpty())
	})

	DescribeTable("are refused to read",
		func(ctx SpecContext, right string) {
			for _, namespace := range []string{"shop", operatorNamespace} {
				Expect(may(ctx, consentUser, attributes(namespace, right))).To(BeFalse(), right)
			}
		},
		Entry("Secrets", "get secrets"),
		Entry("the keyring", "get secrets oauth-operator-keyring"),
		Entry("their own keys by the API", "get secrets oauth-operator-consent"),
		Entry("all Secrets", "list secrets"),
		Entry("all accounts", "list connectedaccounts.oauth-operator.dev"),
		Entry("all clients", "list oauthclients.oauth-operator.dev"),
		Entry("ConfigMaps", "get configmaps"),
		Entry("pods", "list pods"),
	)

	It("take a person from the link to the hand-over, with what they may", func(ctx SpecContext) {
		r := newReception(ctx)
		Expect(r.signIn(ctx, consent.NewCluster(suite.consent)).Code).To(Equal(http.StatusSeeOther))
		after := r.handedOver(ctx)
		// All else in the status is as it was.
		after.Status.Authorization.HandOver, after.Status.Authorization.UsedStates = v1alpha1.HandOver{}, r.account.Status.Authorization.UsedStates
		Expect(after.Status).To(Equal(r.account.Status))
	})

	It("get 403 for a Secret", func(ctx SpecContext) {
		err := suite.consent.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: keyringName}, &corev1.Secret{})
		Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
	})
})
