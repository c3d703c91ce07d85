package controller_test

import (
	"context"
	"crypto/md5"  //nolint:gosec // looked for in what is written, not relied on
	"crypto/sha1" //nolint:gosec // the same
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

func statusWrite(request *http.Request, namespace string) bool {
	return request.Method == http.MethodPut && strings.Contains(request.URL.Path, "/namespaces/"+namespace+"/connectedaccounts/") &&
		strings.HasSuffix(request.URL.Path, "/status") && !strings.Contains(request.URL.RawQuery, "dryRun")
}

// claimWrite tells writes of a status that holds a claim.
func claimWrite(request *http.Request, namespace string) bool {
	if !statusWrite(request, namespace) {
		return false
	}
	body, err := request.GetBody()
	if err != nil {
		return false
	}
	defer func() { _ = body.Close() }()
	var written v1alpha1.ConnectedAccount
	return json.NewDecoder(body).Decode(&written) == nil && written.Status.Claim.ID != ""
}

var _ = Describe("Keeping", func() {
	It("goes on until the API server takes the credential, publishes nothing before, and asks for no second one", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills")
		s.create(ctx, s.bills())
		hold := provider.NewHold()
		Expect(s.provider.Script(billsID, provider.HoldAfterCommit(hold))).To(Succeed())
		s.create(ctx, account)
		Eventually(hold.Reached()).Should(BeClosed())
		refused := make(chan struct{}, 100)
		suite.wire.refusing(func(request *http.Request) int {
			if statusWrite(request, s.namespace) {
				refused <- struct{}{}
				return http.StatusServiceUnavailable
			}
			return 0
		})
		mark := suite.wire.mark()
		hold.Release()
		for range 3 {
			Eventually(refused).Should(Receive())
		}
		Expect(suite.wire.since(mark, writesWithin(s.namespace))).To(BeEmpty(), "nothing is published before it is kept")
		suite.wire.set(nil)
		becomesReady(ctx, account)
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("takes up the account as it is when somebody edits it meanwhile", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills")
		s.create(ctx, s.bills())
		hold := provider.NewHold()
		Expect(s.provider.Script(billsID, provider.HoldAfterCommit(hold))).To(Succeed())
		s.create(ctx, account)
		Eventually(hold.Reached()).Should(BeClosed())
		change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Annotations = map[string]string{"edited": "meanwhile"} })
		hold.Release()
		becomesReady(ctx, account)
		Expect(get(ctx, account).Annotations).To(HaveKeyWithValue("edited", "meanwhile"))
		Expect(s.provider.TokenRequests()).To(Equal(1))
	})

	It("drops the token of an account that was deleted and created again meanwhile", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills")
		s.create(ctx, s.bills())
		hold := provider.NewHold()
		Expect(s.provider.Script(billsID, provider.HoldAfterCommit(hold))).To(Succeed())
		s.create(ctx, account)
		Eventually(hold.Reached()).Should(BeClosed())
		first := s.provider.IssuedTokens()[0].Value
		Expect(suite.admin.Delete(ctx, account)).To(Succeed())
		again := s.account("a", "bills")
		s.create(ctx, again)
		hold.Release()
		becomesReady(ctx, again)
		Expect(string(s.tokenSecret(ctx, "a").Data["access_token"])).NotTo(Equal(first))
		Expect(get(ctx, again).Status.BoundTo.AccountUID).To(Equal(string(again.UID)))
	})

	It("finds an installed definition that drops the credential, sends nothing while it does, and writes nothing that would erase one", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		first, second := s.account("first", "bills"), s.account("second", "bills")
		s.create(ctx, s.bills(), first, second)
		becomesReady(ctx, first, second)
		kept := get(ctx, first.DeepCopy()).Status.SealedCredential
		Expect(kept).NotTo(BeEmpty())
		restore := dropSealedCredential(ctx, first)

		mark := suite.wire.mark()
		s.hidden(ctx, first)
		By("being due")
		suite.clock.ahead.Add(int64(45 * time.Minute))
		fresh := s.account("fresh", "bills")
		s.create(ctx, fresh)
		Eventually(condition(ctx, fresh, "Authorized")).Should(Equal("False SchemaTooOld"), "where there is nothing to erase, the status tells")
		Eventually(condition(ctx, fresh, "Stalled")).Should(Equal("True SchemaTooOld"))
		Expect(s.provider.TokenRequests()).To(Equal(2))
		for _, write := range suite.wire.since(mark, writesWithin(s.namespace)) {
			Expect(write.path).NotTo(MatchRegexp("connectedaccounts/(first|second)"))
		}

		restore(ctx)
		Expect(get(ctx, first.DeepCopy()).Status.SealedCredential).To(Equal(kept))
		pass(ctx, 31*time.Second, first, second, fresh)
		becomesReady(ctx, first, second, fresh)
	})

	It("doubts the definition when a credential that was kept is not there any more, before a token is asked for", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills")
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		restore := dropSealedCredential(ctx, account)
		pass(ctx, 31*time.Second, account) // whoever writes the account drops the credential
		Eventually(eventsOf(ctx, account)).Should(ContainElement("SchemaTooOld"))
		Expect(s.provider.TokenRequests()).To(Equal(1))

		restore(ctx)
		pass(ctx, 31*time.Second, account)
		Eventually(s.provider.TokenRequests).Should(Equal(2))
		becomesReady(ctx, account)
	})
})

// eventsOf are the reasons of an account's events.
func eventsOf(ctx context.Context, account *v1alpha1.ConnectedAccount) func() []string {
	return func() []string {
		list := &eventsv1.EventList{}
		if err := suite.admin.List(ctx, list, client.InNamespace(account.Namespace)); err != nil {
			return []string{err.Error()}
		}
		var reasons []string
		for _, event := range list.Items {
			if event.Regarding.Name == account.Name {
				reasons = append(reasons, event.Reason)
			}
		}
		return reasons
	}
}

// dropSealedCredential installs a definition without the field, as an earlier version's, and waits until the API server
// drops it. What it returns puts the field back, at the end of the spec at the latest.
func dropSealedCredential(ctx context.Context, account *v1alpha1.ConnectedAccount) (restore func(context.Context)) {
	GinkgoHelper()
	// A replaced definition ends the watches of its objects, and after a few of them client-go waits up to a minute before
	// it lists again: until then the operator sees no event.
	SetDefaultEventuallyTimeout(5 * time.Minute)
	DeferCleanup(func() { SetDefaultEventuallyTimeout(patience) })
	definition := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "connectedaccounts.oauth-operator.dev"}}
	whole := apiextensionsv1.JSONSchemaProps{}
	edit := func(ctx context.Context, with func(status *apiextensionsv1.JSONSchemaProps), holds bool) {
		GinkgoHelper()
		change(ctx, crd(definition), func(object *unstructured.Unstructured) { editStatusSchema(object, with) })
		Eventually(func() (bool, error) {
			tried := account.DeepCopy()
			if err := suite.admin.Get(ctx, client.ObjectKeyFromObject(account), tried); err != nil {
				return false, err
			}
			tried.Status.SealedCredential = "tried"
			err := suite.admin.Status().Update(ctx, tried, client.DryRunAll)
			return tried.Status.SealedCredential != "", err
		}).Should(Equal(holds))
	}
	edit(ctx, func(status *apiextensionsv1.JSONSchemaProps) {
		whole = status.Properties["sealedCredential"]
		delete(status.Properties, "sealedCredential")
	}, false)
	restored := false
	restore = func(ctx context.Context) {
		GinkgoHelper()
		if !restored {
			edit(ctx, func(status *apiextensionsv1.JSONSchemaProps) { status.Properties["sealedCredential"] = whole }, true)
			restored = true
		}
	}
	DeferCleanup(func(ctx SpecContext) {
		restore(ctx)
		seesAgain(ctx, account)
	})
	return restore
}

// seesAgain waits until the operator's watch has begun anew, and shows what the definition hid: it needs no read of the
// account any more to know what is in it.
func seesAgain(ctx context.Context, account *v1alpha1.ConnectedAccount) {
	GinkgoHelper()
	Eventually(func() []call {
		mark := suite.wire.mark()
		lapFrom(suite.logs, account, touch(ctx, account))
		return suite.wire.since(mark, func(made call) bool {
			return made.method == http.MethodGet && within(account.Namespace)(made) && strings.HasSuffix(made.path, "/connectedaccounts/"+account.Name)
		})
	}).WithPolling(time.Second).Should(BeEmpty())
}

// hidden waits until the operator's own copy of the account does not show the credential any more, and the operator has
// noticed. Its watch begins anew after a while, and that is no event, since the version is the same: another one is needed
// then, which does not write the account.
func (s *stage) hidden(ctx context.Context, account *v1alpha1.ConnectedAccount) {
	GinkgoHelper()
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name}}
	Eventually(func() []string {
		_ = client.IgnoreNotFound(suite.admin.Delete(ctx, token.DeepCopy()))
		return eventsOf(ctx, account)()
	}).WithPolling(time.Second).Should(ContainElement("SchemaTooOld"))
}

// crd and editStatusSchema change a definition without the loss that an older Go type would bring.
func crd(definition *apiextensionsv1.CustomResourceDefinition) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	object.SetName(definition.Name)
	return object
}

func editStatusSchema(object *unstructured.Unstructured, with func(*apiextensionsv1.JSONSchemaProps)) {
	GinkgoHelper()
	versions, _, err := unstructured.NestedSlice(object.Object, "spec", "versions")
	Expect(err).NotTo(HaveOccurred())
	version, is := versions[0].(map[string]any)
	Expect(is).To(BeTrue())
	raw, _, err := unstructured.NestedMap(version, "schema", "openAPIV3Schema", "properties", "status")
	Expect(err).NotTo(HaveOccurred())
	text, err := json.Marshal(raw)
	Expect(err).NotTo(HaveOccurred())
	status := &apiextensionsv1.JSONSchemaProps{}
	Expect(json.Unmarshal(text, status)).To(Succeed())
	with(status)
	text, err = json.Marshal(status)
	Expect(err).NotTo(HaveOccurred())
	edited := map[string]any{}
	Expect(json.Unmarshal(text, &edited)).To(Succeed())
	Expect(unstructured.SetNestedMap(version, edited, "schema", "openAPIV3Schema", "properties", "status")).To(Succeed())
	Expect(unstructured.SetNestedSlice(object.Object, versions, "spec", "versions")).To(Succeed())
}

var _ = Describe("What is sealed", func() {
	// put writes a status as whoever may update the keyring may do.
	put := func(ctx context.Context, account *v1alpha1.ConnectedAccount, sealed string, bound v1alpha1.BoundTo) {
		GinkgoHelper()
		Eventually(func() error {
			if err := suite.admin.Get(ctx, client.ObjectKeyFromObject(account), account); err != nil {
				return err
			}
			account.Status.SealedCredential, account.Status.BoundTo = sealed, bound
			return suite.admin.Status().Update(ctx, account)
		}).Should(Succeed())
	}
	keyring := func(ctx context.Context) *seal.Keyring {
		GinkgoHelper()
		stored := get(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: controller.KeyringName}})
		opened, err := seal.ParseKeyring(stored.Data)
		Expect(err).NotTo(HaveOccurred())
		return opened
	}

	DescribeTable("S10 for something else is named, and nothing is sent",
		func(ctx SpecContext, alter func(*seal.Subject, *seal.Purpose, *v1alpha1.BoundTo), reason string) {
			s := newStage(ctx, time.Hour)
			account := s.account("a", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true })
			s.create(ctx, s.bills(), account)
			Eventually(condition(ctx, account, "Ready")).Should(Equal("False Suspended"))
			kubeSystem := get(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}})
			subject := seal.Subject{ClusterID: string(kubeSystem.UID), Namespace: s.namespace, Name: "a", UID: string(account.UID)}
			purpose, bound := seal.PurposeCredential, v1alpha1.BoundTo{ClusterID: subject.ClusterID, AccountUID: subject.UID}
			alter(&subject, &purpose, &bound)
			sealed, err := keyring(ctx).Seal(purpose, subject, seal.Credential{
				ClientID: billsID, Rotation: 1, IssuedTime: time.Now().Add(-2 * time.Hour), ExpirationTime: time.Now().Add(-time.Hour),
				AccessToken: secret.New("opat_foreign"), TokenType: "Bearer",
			})
			Expect(err).NotTo(HaveOccurred())
			put(ctx, account, sealed, bound)
			change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = false })
			Eventually(condition(ctx, account, "Ready")).Should(Equal("False " + reason))
			Expect(rests(ctx, account)).To(Equal("credential not ours or not readable"))
			Expect(s.provider.TokenRequests()).To(BeZero())
			Expect(get(ctx, account).Status.SealedCredential).To(Equal(sealed), "nothing is overwritten")
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
		Entry("another purpose", func(_ *seal.Subject, purpose *seal.Purpose, _ *v1alpha1.BoundTo) { *purpose = seal.PurposeJournal }, "CredentialUnreadable"),
	)

	It("is not asked for while the keyring is missing or replaced, and goes on when it is back", Serial, func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		before, after := s.account("before", "bills"), s.account("after", "bills")
		s.create(ctx, s.bills(), before)
		becomesReady(ctx, before)
		stored := get(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: controller.KeyringName}})
		restore := func(ctx SpecContext) {
			_ = suite.admin.Delete(ctx, stored.DeepCopy())
			fresh := stored.DeepCopy()
			fresh.ObjectMeta = metav1.ObjectMeta{Namespace: operatorNamespace, Name: controller.KeyringName}
			Expect(suite.admin.Create(ctx, fresh)).To(Succeed())
		}
		Expect(suite.admin.Delete(ctx, stored.DeepCopy())).To(Succeed())
		DeferCleanup(restore)
		Eventually(condition(ctx, before, "Authorized")).Should(Equal("False KeyringMissing"))
		Expect(condition(ctx, before, "Ready")()).To(Equal("True KeyringMissing"), "the token in the Secret is good")
		s.create(ctx, after)
		Eventually(condition(ctx, after, "Ready")).Should(Equal("False KeyringMissing"))
		Expect(suite.admin.Delete(ctx, s.tokenSecret(ctx, "before"))).To(Succeed())
		Eventually(func() error {
			return suite.admin.Get(ctx, types.NamespacedName{Namespace: s.namespace, Name: "before"}, &corev1.Secret{})
		}).Should(Succeed(), "what was sealed is published all the same")

		By("replacing it by another")
		other, err := seal.GenerateKeyring()
		Expect(err).NotTo(HaveOccurred())
		replaced := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: controller.KeyringName}, Data: other.Data()}
		Expect(suite.admin.Create(ctx, replaced)).To(Succeed())
		Expect(rests(ctx, before)).To(Equal("keyring missing"))
		Expect(rests(ctx, after)).To(Equal("keyring missing"))
		Expect(s.provider.TokenRequests()).To(Equal(1))

		restore(ctx)
		becomesReady(ctx, before, after)
	})
})

var _ = Describe("A token request that fails", func() {
	DescribeTable("is told by its reason, and made again when it is due",
		func(ctx SpecContext, step provider.Step, reason string) {
			s := newStage(ctx, time.Hour)
			Expect(s.provider.Script(billsID, step)).To(Succeed())
			account := s.account("a", "bills")
			s.create(ctx, s.bills(), account)
			Eventually(condition(ctx, account, "Ready")).Should(Equal("False " + reason))
			status := get(ctx, account).Status
			Expect(status.Failures.Count).To(BeEquivalentTo(1))
			Expect(status.Failures.NextAttemptTime.Time).To(BeTemporally(">=", status.Failures.LastFailureTime.Add(5*time.Second)))
			Expect(rests(ctx, account)).To(Equal("too soon"))
			change(ctx, account, func(a *v1alpha1.ConnectedAccount) { a.Spec.OnBehalfOf = "acct_8f2" })
			Expect(rests(ctx, account)).To(Equal("too soon"))
			Expect(s.provider.TokenRequests()).To(Equal(1))
			pass(ctx, 31*time.Second, account)
			becomesReady(ctx, account)
			Expect(s.provider.TokenRequests()).To(Equal(2), "a changed spec need not wait for the backoff")
			Expect(get(ctx, account).Status.Failures).To(BeZero())
		},
		Entry("invalid_client", provider.RefuseWith(401, "invalid_client"), "ClientRejected"),
		Entry("invalid_scope", provider.RefuseWith(400, "invalid_scope"), "RequestRejected"),
		Entry("a page in place of an answer", provider.ReplyWith(200, http.Header{"Content-Type": {"text/html"}}, "<html>sign in</html>"), "InvalidResponse"),
		Entry("a dropped connection", provider.Drop(), "OutcomeUnknown"),
		Entry("a redirect", provider.ReplyWith(307, http.Header{"Location": {"/elsewhere"}}, ""), "RequestRejected"),
	)

	It("is made again when the client's Secret changes, without waiting for the backoff", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		wrong := s.credentialSecret("wrong")
		wrong.StringData["client_secret"] = "not-the-secret"
		account := s.account("a", "bills")
		s.create(ctx, wrong, account, s.bills(func(c *v1alpha1.OAuthClient) { c.Spec.Authentication.ClientSecretRef.Name = "wrong" }))
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False ClientRejected"))
		Expect(condition(ctx, account, "Stalled")()).To(Equal("True ClientRejected"))
		change(ctx, wrong, func(secret *corev1.Secret) { secret.Data["client_secret"] = []byte(s.secret) })
		pass(ctx, 31*time.Second, account)
		becomesReady(ctx, account)
	})

	It("leaves a token that is good in its Secret, and the account ready", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills")
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		token := s.tokenSecret(ctx, "a").Data["access_token"]
		Expect(s.provider.SetAvailable(false)).To(Succeed())
		pass(ctx, 45*time.Minute, account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("True ServerUnreachable"))
		Expect(s.tokenSecret(ctx, "a").Data["access_token"]).To(Equal(token))
		pass(ctx, 15*time.Minute, account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False ServerUnreachable"), "once the token has expired")
		Expect(s.provider.SetAvailable(true)).To(Succeed())
		pass(ctx, time.Hour, account)
		becomesReady(ctx, account)
	})

	It("S43 shows nothing of what the server says, the secret that it echoes least of all", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		echo := "echoed-" + s.secret
		encoded := base64.StdEncoding.EncodeToString([]byte(s.secret))
		Expect(s.provider.Script(billsID, provider.ReplyWith(400, http.Header{"Content-Type": {"application/json"}},
			`{"error":"`+echo+`","error_description":"`+encoded+`","error_uri":"https://x/`+s.secret+`"}`))).To(Succeed())
		account := s.account("a", "bills")
		s.create(ctx, s.bills(), account)
		Eventually(condition(ctx, account, "Ready")).Should(Equal("False RequestRejected"))
		for _, planted := range []string{s.secret, encoded} {
			Expect(s.everythingSaid(ctx)).NotTo(ContainSubstring(planted))
		}
	})
})

// everythingSaid is all that is to be read of a namespace by somebody who may not read Secrets, and the log.
func (s *stage) everythingSaid(ctx context.Context) string {
	GinkgoHelper()
	accounts, owners, events := &v1alpha1.ConnectedAccountList{}, &v1alpha1.OAuthClientList{}, &eventsv1.EventList{}
	var all strings.Builder
	for _, list := range []client.ObjectList{accounts, owners, events} {
		Expect(suite.admin.List(ctx, list, client.InNamespace(s.namespace))).To(Succeed())
		text, err := json.Marshal(list)
		Expect(err).NotTo(HaveOccurred())
		all.Write(text)
	}
	metrics, err := scrape()
	Expect(err).NotTo(HaveOccurred())
	return all.String() + metrics + suite.logs.String()
}

var _ = Describe("What is written", func() {
	It("S39 holds no unkeyed hash of a secret", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.account("a", "bills")
		s.create(ctx, s.bills(), account)
		becomesReady(ctx, account)
		said := s.everythingSaid(ctx)
		token := s.tokenSecret(ctx, "a")
		annotations, err := json.Marshal(token.ObjectMeta)
		Expect(err).NotTo(HaveOccurred())
		said += string(annotations)
		for _, planted := range [][]byte{[]byte(s.secret), token.Data["access_token"], token.Data["headers"]} {
			md5sum, sha1sum, sha256sum, sha512sum := md5.Sum(planted), sha1.Sum(planted), sha256.Sum256(planted), sha512.Sum512(planted) //nolint:gosec // looked for
			for _, sum := range [][]byte{md5sum[:], sha1sum[:], sha256sum[:], sha512sum[:]} {
				for _, form := range []string{hex.EncodeToString(sum)[:16], base64.RawStdEncoding.EncodeToString(sum)[:16], base64.RawURLEncoding.EncodeToString(sum)[:16]} {
					Expect(said).NotTo(ContainSubstring(form))
				}
			}
			Expect(said).NotTo(ContainSubstring(string(planted)))
		}
		Expect(said).To(ContainSubstring(s.namespace), "the search looks at what is there")
	})
})
