package controller_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// The freight company is a provider of none of the contracts that test/provider plays, with habits that are found at real ones: it
// wants id and secret in the header, encoded, and an audience, in the URL or in the body; it says how long a token is good for in a string, spells Bearer
// without a capital, names the tenant in its answer, for a header of its API, and spends a refresh token by its use.
const (
	freightID       = "freight client"
	freightAudience = "https://api.freight.example"
)

type freight struct {
	*httptest.Server
	secret string // of characters that mean something in a header or a form
	body   bool   // the audience is wanted in the body of every request, and nowhere else

	mu      sync.Mutex
	issued  int
	good    map[string]bool // refresh tokens
	refused []string        // what a request was refused for
}

func newFreight(body bool) *freight {
	f := &freight{body: body, good: map[string]bool{}, secret: fmt.Sprintf("planted:/+%% %d", time.Now().UnixNano())}
	f.Server = httptest.NewTLSServer(http.HandlerFunc(f.serve))
	DeferCleanup(f.Close)
	return f
}

func (f *freight) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	refreshes, fault := f.fault(r)
	if fault != "" {
		f.refused = append(f.refused, fault)
		reply(w, http.StatusBadRequest, map[string]any{"error": fault})
		return
	}
	f.issued++
	answer := map[string]any{
		"access_token": fmt.Sprintf("access-%d", f.issued), "token_type": "bearer", "expires_in": "3600",
		"tenant": map[string]any{"id": 4711, "region": "eu-north"},
	}
	if refreshes {
		next := fmt.Sprintf("refresh-%d", f.issued)
		f.good[next], answer["refresh_token"] = true, next
	}
	reply(w, http.StatusOK, answer)
}

func reply(w http.ResponseWriter, status int, body map[string]any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // texts and numbers only: it cannot be
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // whoever has hung up has no use for it
}

// fault is why the request is refused. An answer to a person's code or a refresh token brings a refresh token.
func (f *freight) fault(r *http.Request) (refreshes bool, fault string) {
	id, password, basic := r.BasicAuth()
	id, idErr := url.QueryUnescape(id)
	password, passwordErr := url.QueryUnescape(password)
	if !basic || idErr != nil || passwordErr != nil || id != freightID || password != f.secret || r.PostFormValue("client_secret") != "" {
		return false, "invalid_client"
	}
	switch grant, spent := r.PostFormValue("grant_type"), r.PostFormValue("refresh_token"); {
	case !f.isMeant(r):
		return false, "invalid_target"
	case grant == "client_credentials" && r.PostFormValue("scope") != "shipments:read":
		return false, "invalid_scope"
	case grant == "refresh_token" && !f.good[spent], grant == "authorization_code" && r.PostFormValue("code") != "consented":
		return false, "invalid_grant"
	default:
		delete(f.good, spent)
		return grant != "client_credentials", ""
	}
}

// isMeant: the request names the audience, once, and where it is wanted.
func (f *freight) isMeant(r *http.Request) bool {
	inURL, inBody := r.URL.Query()["audience"], r.PostForm["audience"]
	if f.body {
		inURL, inBody = inBody, inURL
	}
	return slices.Equal(inURL, []string{freightAudience}) && inBody == nil
}

func (f *freight) refusals() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.refused)
}

// declares is what a platform team writes for it, and an account of the grant.
func (s *stage) declares(f *freight, grant v1alpha1.GrantType) (*corev1.Secret, *v1alpha1.OAuthClient, *v1alpha1.ConnectedAccount) {
	GinkgoHelper()
	const client = `
metadata: {name: freight}
spec:
  endpoints:
    authorization: URL/identity/authorize
    token: URL/identity/tokenQUERY
  clientID: freight client
  authentication:
    method: ClientSecretBasic
    clientSecretRef: {name: freight-client, key: client_secret}
  grants: [ClientCredentials, AuthorizationCode]
  scopes: ["shipments:read"]
  authorizationRequest:
    pkce: None
    parameters: [{name: audience, value: "https://api.freight.example"}]
  tokenRequest: {BODY}
  tokenResponse:
    capture: [{pointer: /tenant/id, key: tenant_id}]
  onBehalfOf: {header: X-Tenant-Id}
  tls:
    caRef: {name: freight-client, key: ca.crt}
`
	const account = `
metadata: {name: a}
spec:
  clientRef: {name: freight}
  grant: {type: GRANT}
  onBehalfOf: "4711"
`
	owner, connected := &v1alpha1.OAuthClient{}, &v1alpha1.ConnectedAccount{}
	declared := strings.NewReplacer("URL", f.URL, "QUERY", "?audience=https%3A%2F%2Fapi.freight.example", "{BODY}", "{timeoutSeconds: 30}")
	if f.body {
		declared = strings.NewReplacer("URL", f.URL, "QUERY", "", "BODY", `parameters: [{name: audience, value: "https://api.freight.example"}]`)
	}
	Expect(yaml.UnmarshalStrict([]byte(declared.Replace(client)), owner)).To(Succeed())
	Expect(yaml.UnmarshalStrict([]byte(strings.ReplaceAll(account, "GRANT", string(grant))), connected)).To(Succeed())
	owner.Namespace, connected.Namespace = s.namespace, s.namespace
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: "freight-client", Labels: map[string]string{v1alpha1.LabelCredential: "true"},
			Annotations: map[string]string{v1alpha1.AnnotationHosts: strings.TrimPrefix(f.URL, "https://")},
		},
		StringData: map[string]string{"client_secret": f.secret, "ca.crt": pemOf(f.Certificate())},
	}, owner, connected
}

func pemOf(certificate *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))
}

var _ = Describe("A provider with habits of its own", func() {
	DescribeTable("is connected by what is declared, with client credentials", func(ctx SpecContext, body bool) {
		s, f := newStage(ctx, time.Hour), newFreight(body)
		credentials, owner, account := s.declares(f, v1alpha1.GrantClientCredentials)
		s.create(ctx, credentials, owner, account)
		becomesReady(ctx, account)
		published := s.tokenSecret(ctx, "a").Data
		Expect(published).To(HaveKeyWithValue("headers", []byte("Authorization: Bearer access-1\nX-Tenant-Id: 4711\n")))
		Expect(published).To(HaveKeyWithValue("tenant_id", []byte("4711")))
		Expect(published).To(HaveKey("expires_at"))
		Expect(f.refusals()).To(BeEmpty())
	},
		Entry("and an audience in the URL", false),
		Entry("and an audience in the body", true),
	)

	DescribeTable("is connected by what is declared, with a person's consent, and spends no refresh token twice", func(ctx SpecContext, body bool) {
		s, f := newStage(ctx, time.Hour), newFreight(body)
		credentials, owner, account := s.declares(f, v1alpha1.GrantAuthorizationCode)
		s.create(ctx, credentials, owner, account)
		over := s.handOverOf(ctx, account, seal.HandOver{Code: secret.New("consented")})
		hands(ctx, account, over)
		Eventually(outcome(ctx, account, over)).Should(Equal("Connected"))
		becomesReady(ctx, account)
		for range 3 {
			rotates(ctx, account)
		}
		published := s.tokenSecret(ctx, "a").Data
		Expect(published).To(HaveKeyWithValue("headers", []byte("Authorization: Bearer access-4\nX-Tenant-Id: 4711\n")))
		Expect(published).To(HaveKeyWithValue("tenant_id", []byte("4711")))
		Expect(f.refusals()).To(BeEmpty())
	},
		Entry("and an audience in the URL", false),
		Entry("and an audience in the body", true),
	)
})
