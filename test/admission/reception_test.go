package admission_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/consent"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// reception is an account that waits for a person, its client, and what the pages need to let the person in.
type reception struct {
	account  *v1alpha1.ConnectedAccount
	provider *unstructured.Unstructured
	keyring  *seal.Keyring
	keys     *seal.ConsentKeys
	log      bytes.Buffer
}

func newReception(ctx context.Context) *reception {
	GinkgoHelper()
	r := &reception{account: invitedAccount(ctx)}
	r.provider = parse(strings.Replace(smallestClient, "endpoints: {token:", `endpoints: {authorization: "https://login.provider.example/authorize", token:`, 1))
	r.provider.SetNamespace(r.account.Namespace)
	Expect(unstructured.SetNestedStringSlice(r.provider.Object, []string{"AuthorizationCode"}, "spec", "grants")).To(Succeed())
	Expect(suite.admin.Create(ctx, r.provider)).To(Succeed())
	keyring, err := seal.GenerateKeyring()
	Expect(err).NotTo(HaveOccurred())
	r.keyring, err = keyring.WithConsentKeys()
	Expect(err).NotTo(HaveOccurred())
	r.keys, err = seal.ParseConsentKeys(r.keyring.ConsentData())
	Expect(err).NotTo(HaveOccurred())
	return r
}

// signIn takes a person from the link to the callback, by pages that read and write accounts in the way that is given.
func (r *reception) signIn(ctx context.Context, accounts consent.Accounts) *httptest.ResponseRecorder {
	GinkgoHelper()
	pages, err := consent.New(consent.Options{
		Base: &url.URL{Scheme: "https", Host: "oauth.example.com"}, Accounts: accounts, Clients: consent.NewCluster(suite.consent),
		Keys: heldKeys{r.keys}, Clock: clock.RealClock{}, Limits: consent.NewLimits(nil), Metrics: consent.NewMetrics(nil, ""), Random: rand.Reader,
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(GinkgoWriter, &r.log), nil)),
	})
	Expect(err).NotTo(HaveOccurred())
	ticket, err := r.keys.SealTicket(seal.Ticket{
		Namespace: r.account.Namespace, Name: r.account.Name, AccountUID: string(r.account.UID), Attempt: 3, NotAfter: time.Now().Add(time.Hour),
	})
	Expect(err).NotTo(HaveOccurred())

	press := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://oauth.example.com/connect", strings.NewReader("ticket="+ticket))
	press.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	press.Header.Set("Sec-Fetch-Site", "same-origin")
	pressed := httptest.NewRecorder()
	pages.ServeHTTP(pressed, press)
	Expect(pressed.Code).To(Equal(http.StatusSeeOther), pressed.Body.String())
	target, err := url.Parse(pressed.Header().Get("Location"))
	Expect(err).NotTo(HaveOccurred())

	back := httptest.NewRequestWithContext(ctx, http.MethodGet,
		target.Query().Get("redirect_uri")+"?code=a-code&state="+target.Query().Get("state"), http.NoBody)
	for _, cookie := range pressed.Result().Cookies() {
		back.AddCookie(cookie)
	}
	came := httptest.NewRecorder()
	pages.ServeHTTP(came, back)
	return came
}

// handedOver reads the account, in which the person's code has to wait for the operator.
func (r *reception) handedOver(ctx context.Context) *v1alpha1.ConnectedAccount {
	GinkgoHelper()
	after := &v1alpha1.ConnectedAccount{}
	Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(r.account), after)).To(Succeed())
	handed := after.Status.Authorization.HandOver
	opened, err := r.keyring.OpenHandOver(seal.HandOverBinding{
		AccountUID: string(r.account.UID), ClientUID: string(r.provider.GetUID()), ClientID: "my-client",
		RedirectURI: "https://oauth.example.com/callback/" + r.account.Namespace + "/provider", Attempt: 3, StateHash: string(handed.StateHash),
	}, handed.Sealed)
	Expect(err).NotTo(HaveOccurred())
	Expect(opened.Code.Reveal()).To(Equal("a-code"))
	return after
}

// stored is the version of the account, which every write changes.
func (r *reception) stored(ctx context.Context) string {
	GinkgoHelper()
	account := &v1alpha1.ConnectedAccount{}
	Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(r.account), account)).To(Succeed())
	return account.ResourceVersion
}

// afterLook lets something happen between the pages' first look at an account in a callback and their write.
type afterLook struct {
	consent.Accounts
	looks   int
	happens func()
}

func (a *afterLook) Account(ctx context.Context, namespace, name string) (*v1alpha1.ConnectedAccount, error) {
	account, err := a.Accounts.Account(ctx, namespace, name)
	a.looks++
	if a.looks == 2 { // the first one is for the link
		a.happens()
	}
	return account, err
}

// Pages run in their own name, which a policy bounds, or in the operator's, whose process may serve them too.
var _ = Describe("A hand-over, where the definition of accounts hides a field,", func() {
	DescribeTable("erases nothing when the definition is mended between look and write",
		func(ctx SpecContext, writer func() client.Client) {
			r := newReception(ctx)
			mend := hide(ctx, r.account, "sealedCredential")
			came := r.signIn(ctx, &afterLook{Accounts: consent.NewCluster(writer()), happens: mend})
			after := &v1alpha1.ConnectedAccount{}
			Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(r.account), after)).To(Succeed())
			Expect(after.Status.SealedCredential).To(Equal(r.account.Status.SealedCredential))
			Expect(came.Code).To(Equal(http.StatusSeeOther), came.Body.String())
			r.handedOver(ctx)
		},
		Entry("in a process of their own", func() client.Client { return suite.consent }),
		Entry("in the process of the operator", func() client.Client { return suite.operator }),
	)

	DescribeTable("writes nothing while it would lose what it hands over",
		func(ctx SpecContext, writer func() client.Client) {
			r := newReception(ctx)
			pages := &afterLook{Accounts: consent.NewCluster(writer()), happens: func() { hide(ctx, r.account, "authorization", "usedStates") }}
			before := r.stored(ctx)
			Expect(r.signIn(ctx, pages).Code).To(Equal(http.StatusServiceUnavailable))
			Expect(r.stored(ctx)).To(Equal(before))
			Expect(r.log.String()).To(ContainSubstring("definition"))
			Expect(r.log.String()).NotTo(ContainSubstring("sealed"), "the API server's answer has the whole account in it")
		},
		Entry("in a process of their own", func() client.Client { return suite.consent }),
		Entry("in the process of the operator", func() client.Client { return suite.operator }),
	)
})

// hide installs a definition without one field of the status, as an earlier version's, and waits until the API server no
// longer shows it. What it returns mends the definition, at the end of the spec at the latest.
func hide(ctx context.Context, account *v1alpha1.ConnectedAccount, path ...string) (mend func()) {
	GinkgoHelper()
	at := "/spec/versions/0/schema/openAPIV3Schema/properties/status"
	for _, field := range path {
		at += "/properties/" + field
	}
	read := func(ctx context.Context) *unstructured.Unstructured {
		GinkgoHelper()
		definition := &unstructured.Unstructured{}
		definition.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
		Expect(suite.admin.Get(ctx, client.ObjectKey{Name: "connectedaccounts." + v1alpha1.Group}, definition)).To(Succeed())
		return definition
	}
	shown := func(ctx context.Context) bool {
		GinkgoHelper()
		seen := &unstructured.Unstructured{}
		seen.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind("ConnectedAccount"))
		Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(account), seen)).To(Succeed())
		_, found, err := unstructured.NestedFieldNoCopy(seen.Object, append([]string{"status"}, path...)...)
		Expect(err).NotTo(HaveOccurred())
		return found
	}
	change := func(ctx context.Context, shows bool, operation map[string]any) {
		GinkgoHelper()
		text, err := json.Marshal([]any{operation})
		Expect(err).NotTo(HaveOccurred())
		Expect(suite.admin.Patch(ctx, read(ctx), client.RawPatch(types.JSONPatchType, text))).To(Succeed())
		Eventually(shown).WithContext(ctx).Should(Equal(shows))
	}
	Expect(shown(ctx)).To(BeTrue())
	versions, _, err := unstructured.NestedSlice(read(ctx).Object, "spec", "versions")
	Expect(err).NotTo(HaveOccurred())
	change(ctx, false, map[string]any{"op": "remove", "path": at})
	mended := false
	again := func(ctx context.Context) {
		if !mended {
			mended = true
			change(ctx, true, map[string]any{"op": "replace", "path": "/spec/versions/0", "value": versions[0]})
		}
	}
	DeferCleanup(func(ctx SpecContext) { again(ctx) })
	return func() { again(ctx) }
}
