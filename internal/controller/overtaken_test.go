package controller_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// heldExchange makes an account whose first token request waits at the provider, committed.
func (s *stage) heldExchange(ctx context.Context) (*v1alpha1.ConnectedAccount, *provider.Hold) {
	GinkgoHelper()
	account, hold := s.account("a", "bills"), provider.NewHold()
	s.create(ctx, s.bills())
	Expect(s.provider.Script(billsID, provider.HoldAfterCommit(hold))).To(Succeed())
	s.create(ctx, account)
	Eventually(hold.Reached()).Should(BeClosed())
	return account, hold
}

// keepsCredential matches writes of a status that holds a credential, those that are only tried too.
func keepsCredential(request *http.Request, namespace string) bool {
	if request.Method != http.MethodPut || !strings.Contains(request.URL.Path, "/namespaces/"+namespace+"/connectedaccounts/") {
		return false
	}
	body, err := io.ReadAll(request.Body)
	request.Body = io.NopCloser(bytes.NewReader(body))
	return err == nil && bytes.Contains(body, []byte(`"sealedCredential"`))
}

var _ = Describe("An account that changes under the operator's hands", func() {
	It("is not worked on from a copy that the operator itself has overtaken", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		good, bad := s.credentialSecret("mine"), s.credentialSecret("mine")
		bad.StringData["client_secret"] += "\n"
		account := s.account("a", "bills")
		Expect(s.provider.Script(billsID, provider.RefuseWith(401, "invalid_client"))).To(Succeed())
		s.create(ctx, bad, account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False ClientNotAvailable"))
		rests(ctx, account)

		suite.wire.frozen.Lock()
		defer suite.wire.frozen.Unlock()
		s.create(ctx, s.bills(func(c *v1alpha1.OAuthClient) { c.Spec.Authentication.ClientSecretRef.Name = "mine" }))
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False ClientNotReady"))
		change(ctx, bad, func(secret *corev1.Secret) { secret.StringData = good.StringData })
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False ClientRejected"), "what the provider said is not lost")
		Expect(s.provider.TokenRequests()).To(Equal(1))
		Expect(get(ctx, account).Status.Failures.Count).To(BeEquivalentTo(1))
	})

	It("holds the token, though the answer to its keeping was lost", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account, hold := s.heldExchange(ctx)
		var lost atomic.Int32
		suite.wire.losing(func(request *http.Request) bool {
			return statusWrite(request, s.namespace) && lost.Add(1) == 1
		})
		mark := len(suite.logs.String())
		hold.Release()
		becomesReady(ctx, account)
		Expect(lost.Load()).To(BeNumerically(">=", 1))
		Expect(s.provider.TokenRequests()).To(Equal(1))
		Expect(suite.logs.String()[mark:]).NotTo(ContainSubstring("a token was not kept"))
	})

	It("gets no Secret any more when it is being deleted", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account, hold := s.heldExchange(ctx)
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Finalizers = []string{"example.com/waits"} })
		DeferCleanup(func(ctx SpecContext) {
			change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Finalizers = nil })
		})
		Expect(suite.admin.Delete(ctx, account.DeepCopy())).To(Succeed())
		mark := suite.wire.mark()
		hold.Release()
		Expect(rests(ctx, account)).To(Equal("deleted"))
		Expect(paths(suite.wire.since(mark, writesWithin(s.namespace)))).NotTo(ContainElement(ContainSubstring("secrets")))
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	DescribeTable("keeps what somebody put into its status meanwhile, unless it is known to be older",
		func(ctx SpecContext, sealed func(seal.Subject) string, keeps bool) {
			s := newStage(ctx, time.Hour)
			account, hold := s.heldExchange(ctx)
			kubeSystem := get(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}})
			subject := seal.Subject{ClusterID: string(kubeSystem.UID), Namespace: s.namespace, Name: "a", UID: string(account.UID)}
			put := sealed(subject)
			Eventually(func() error {
				current := get(ctx, account.DeepCopy())
				current.Status.SealedCredential = put
				current.Status.BoundTo = v1alpha1.BoundTo{ClusterID: subject.ClusterID, AccountUID: subject.UID}
				return suite.admin.Status().Update(ctx, current)
			}).Should(Succeed())
			hold.Release()
			if keeps {
				rests(ctx, account)
				Expect(get(ctx, account).Status.SealedCredential).To(Equal(put))
			} else {
				becomesReady(ctx, account)
				Expect(get(ctx, account).Status.SealedCredential).NotTo(Equal(put))
			}
			Expect(s.provider.TokenRequests()).To(Equal(1))
		},
		Entry("of a later version", func(seal.Subject) string { return "v9:1:bmV3ZXI" }, true),
		Entry("unreadable", func(seal.Subject) string { return "v1:1:AQ" }, true),
		Entry("sealed by a key that is not in the keyring", func(subject seal.Subject) string { return sealedBy(otherKeyring(), subject, 1) }, true),
		Entry("of the same rotation", func(subject seal.Subject) string { return sealedBy(installedKeyring(), subject, 1) }, true),
		Entry("of an earlier rotation", func(subject seal.Subject) string { return sealedBy(installedKeyring(), subject, 0) }, false),
	)
})

func installedKeyring() *seal.Keyring {
	GinkgoHelper()
	stored := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: controller.KeyringName}}
	Expect(suite.admin.Get(context.Background(), client.ObjectKeyFromObject(stored), stored)).To(Succeed())
	opened, err := seal.ParseKeyring(stored.Data)
	Expect(err).NotTo(HaveOccurred())
	return opened
}

func otherKeyring() *seal.Keyring {
	GinkgoHelper()
	made, err := seal.GenerateKeyring()
	Expect(err).NotTo(HaveOccurred())
	return made
}

func sealedBy(keyring *seal.Keyring, subject seal.Subject, rotation int64) string {
	GinkgoHelper()
	sealed, err := keyring.Seal(seal.PurposeCredential, subject, seal.Credential{
		ClientID: billsID, Rotation: rotation, IssuedTime: suite.clock.Now(), ExpirationTime: suite.clock.Now().Add(time.Hour),
		AccessToken: secret.New("opat_put"), TokenType: "Bearer",
	})
	Expect(err).NotTo(HaveOccurred())
	return sealed
}

var _ = Describe("A token that cannot be kept", func() {
	It("is not asked for again and again: the account says who refuses it", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		var tried atomic.Int32
		suite.wire.refusing(func(request *http.Request) int {
			switch {
			case !keepsCredential(request, s.namespace) || s.provider.TokenRequests() == 0:
				return 0 // the first look is let through
			case strings.Contains(request.URL.RawQuery, "dryRun"):
				tried.Add(1)
			}
			return http.StatusForbidden
		})
		account := s.account("a", "bills")
		s.create(ctx, s.bills(), account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False OutcomeUnknown"))
		Expect(readyMessage(ctx, account)).To(ContainSubstring("(Forbidden)"))
		Expect(get(ctx, account).Status.Failures.Count).To(BeEquivalentTo(1))
		Expect(s.provider.TokenRequests()).To(Equal(1))

		pass(ctx, 2*time.Hour, account)
		Eventually(tried.Load).Should(BeNumerically(">=", 2), "it is tried without a token first")
		Expect(s.provider.TokenRequests()).To(Equal(1))
		suite.wire.set(nil)
		becomesReady(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(2))
	})

	It("is none because of its many scopes", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		var list strings.Builder
		for i := range 1_400 {
			fmt.Fprintf(&list, "scope%05d ", i)
		}
		list.WriteString("invoices")
		Expect(s.provider.Script(businessID, provider.ReplyWith(200, http.Header{"Content-Type": {"application/json"}},
			`{"access_token":"opat_wide","token_type":"Bearer","expires_in":3600,"scope":"`+list.String()+`"}`))).To(Succeed())
		account := s.account("a", "business", func(a *v1alpha1.ConnectedAccount) { a.Spec.Scopes = []v1alpha1.Scope{"invoices"} })
		s.create(ctx, s.business(), account)
		becomesReady(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(1))
		Expect(string(s.tokenSecret(ctx, "a").Data["scope"])).To(HaveSuffix(" scope01399 invoices"))
	})
})

var _ = Describe("What a tenant may read", func() {
	It("does not tell which address a name has", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills")
		s.create(ctx, s.bills(func(c *v1alpha1.OAuthClient) {
			c.Spec.Endpoints.Token = v1alpha1.Endpoint(fmt.Sprintf("https://localhost:%d/token", apiServerAddress().Port()))
		}), account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False ServerUnreachable"))
		Expect(readyMessage(ctx, account)).To(SatisfyAll(ContainSubstring("never allowed"), Not(ContainSubstring("127.0.0.1"))))
	})

	It("is told by an event too, however long the message", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "business", func(a *v1alpha1.ConnectedAccount) {
			for i := range 50 {
				a.Spec.Scopes = append(a.Spec.Scopes, v1alpha1.Scope(fmt.Sprintf("%s%d", strings.Repeat("x", 100), i)))
			}
		})
		s.create(ctx, s.business(), account)
		Eventually(func() ([]string, error) {
			list, reasons := &eventsv1.EventList{}, []string(nil)
			err := suite.admin.List(ctx, list, client.InNamespace(s.namespace))
			for i := range list.Items {
				reasons = append(reasons, list.Items[i].Reason)
			}
			return reasons, err
		}).Should(ContainElement("ScopeNotAllowed"))
	})
})

var _ = Describe("What is left over", func() {
	It("of an earlier name goes, though it could not be deleted at once", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills")
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		var refused atomic.Int32
		suite.wire.refusing(func(request *http.Request) int {
			if request.Method == http.MethodDelete && strings.HasSuffix(request.URL.Path, "/namespaces/"+s.namespace+"/secrets/a") && refused.Add(1) == 1 {
				return http.StatusServiceUnavailable
			}
			return 0
		})
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Secret.Name = "renamed" })
		Eventually(func() bool {
			return apierrors.IsNotFound(suite.admin.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: "a"}, &corev1.Secret{}))
		}).Should(BeTrue())
		Expect(refused.Load()).To(BeNumerically(">=", 2))
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("of a client that goes during its token request is nothing", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account, hold := s.heldExchange(ctx)
		Expect(suite.admin.Delete(ctx, s.bills())).To(Succeed())
		gone := s.account("gone", "bills")
		s.create(ctx, gone)
		Eventually(condition(ctx, gone, "Ready")).Should(HaveSuffix("ClientNotAvailable"), "the operator has noticed")
		hold.Release()
		Eventually(condition(ctx, account, "Ready")).Should(HaveSuffix("ClientNotAvailable"))
		Eventually(scrape).ShouldNot(ContainSubstring(fmt.Sprintf("client_namespace=%q", s.namespace)))
	})
})

var _ = Describe("A mistake in a list of authorities", func() {
	DescribeTable("is named by the client", func(ctx SpecContext, spoil func(string) string) {
		s := newStage(ctx, time.Hour)
		spoilt := s.credentialSecret("spoilt")
		spoilt.StringData["ca.crt"] = spoil(spoilt.StringData["ca.crt"])
		owner := s.bills(func(c *v1alpha1.OAuthClient) { c.Spec.TLS.CARef.Name = "spoilt" })
		account := s.account("a", "bills")
		s.create(ctx, spoilt, owner, account)
		s.staysUnused(ctx, owner, account, "SecretKeyMissing")
		change(ctx, spoilt, func(secret *corev1.Secret) { secret.Data["ca.crt"] = s.provider.CAPEM() })
		becomesReady(ctx, account)
	},
		Entry("no certificate", func(string) string { return "none" }),
		Entry("another kind of block", func(good string) string { return good + strings.ReplaceAll(good, "CERTIFICATE", "PUBLIC KEY") }),
		Entry("a certificate that is cut off", func(good string) string {
			return good + "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
		}),
	)
})

var _ = Describe("The keyring", func() {
	It("is not taken for present by a replica that waited while it went", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills")
		idle := s.account("idle", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true })
		s.create(ctx, s.bills(), idle)
		lease := &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "oauth-operator"},
			Spec: coordinationv1.LeaseSpec{
				HolderIdentity: new("another"), LeaseDurationSeconds: new(int32(600)), RenewTime: &metav1.MicroTime{Time: time.Now()},
			},
		}
		s.create(ctx, lease)
		DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(suite.admin.Delete(ctx, lease))).To(Succeed()) })
		logs, seen := &syncBuffer{}, &wire{}
		run(ctx, seen, ctrl.Options{
			Scheme: suite.admin.Scheme(), Logger: jsonLogger(logs, 5), Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{s.namespace: {}}},
			LeaderElection: true, LeaderElectionID: "oauth-operator", LeaderElectionNamespace: operatorNamespace, RetryPeriod: new(200 * time.Millisecond),
		})
		Eventually(func() []call {
			return seen.since(0, func(made call) bool { return strings.HasSuffix(made.path, "/leases/oauth-operator") })
		}).ShouldNot(BeEmpty())

		stored := get(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: controller.KeyringName}})
		Expect(suite.admin.Delete(ctx, stored.DeepCopy())).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			stored.ObjectMeta = metav1.ObjectMeta{Namespace: operatorNamespace, Name: controller.KeyringName}
			Expect(suite.admin.Create(ctx, stored)).To(Succeed())
			becomesReady(ctx, account)
		})
		Eventually(condition(ctx, idle, "Ready")).Should(Equal("False KeyringMissing"), "the working replica has noticed")
		s.create(ctx, account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False KeyringMissing"))
		Expect(logs.String()).NotTo(ContainSubstring(`"decided"`), "the replica without the lease rests")
		change(ctx, lease, func(lease *coordinationv1.Lease) { lease.Spec.HolderIdentity = nil })
		Expect(restsFrom(logs, account, account.ResourceVersion)).To(Equal("keyring missing"))
		Expect(s.provider.TokenRequests()).To(BeZero())
	})

	It("has an account looked at when the key that it lacked comes back beside the one in use", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true })
		s.create(ctx, s.bills(), account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False Suspended"))
		kubeSystem := get(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}})
		other := otherKeyring()
		Eventually(func() error {
			current := get(ctx, account.DeepCopy())
			subject := seal.Subject{ClusterID: string(kubeSystem.UID), Namespace: s.namespace, Name: "a", UID: string(account.UID)}
			current.Status.SealedCredential = sealedBy(other, subject, 1)
			current.Status.BoundTo = v1alpha1.BoundTo{ClusterID: subject.ClusterID, AccountUID: subject.UID}
			return suite.admin.Status().Update(ctx, current)
		}).Should(Succeed())
		Eventually(condition(ctx, account, "Authorized")).Should(Equal("False KeyringMissing"))

		stored := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: controller.KeyringName}}
		before := get(ctx, stored).Data[seal.SealingKeyset]
		DeferCleanup(func(ctx SpecContext) {
			change(ctx, stored, func(secret *corev1.Secret) { secret.Data[seal.SealingKeyset] = before })
		})
		change(ctx, stored, func(secret *corev1.Secret) {
			secret.Data[seal.SealingKeyset] = withKeysOf(before, other.Data()[seal.SealingKeyset])
		})
		Eventually(condition(ctx, account, "Authorized")).Should(Equal("True NotRequired"))
		Expect(s.provider.TokenRequests()).To(BeZero())
	})
})

// withKeysOf is a keyset with the keys of another beside its own.
func withKeysOf(keyset, other []byte) []byte {
	GinkgoHelper()
	var into, from map[string]any
	Expect(json.Unmarshal(keyset, &into)).To(Succeed())
	Expect(json.Unmarshal(other, &from)).To(Succeed())
	more, is := from["key"].([]any)
	Expect(is).To(BeTrue())
	keys, is := into["key"].([]any)
	Expect(is).To(BeTrue())
	into["key"] = append(keys, more...)
	text, err := json.Marshal(into)
	Expect(err).NotTo(HaveOccurred())
	return text
}
