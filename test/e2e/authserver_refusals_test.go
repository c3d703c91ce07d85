package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/stage"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// What an authorization server that is not ours refuses: somebody uses a refresh token that the operator has spent, so the
// server ends the whole grant. The operator learns of it with its next refresh, says so, asks no more, and has the person
// connect again.
func TestAReusedRefreshTokenEndsTheGrantAndThePersonIsAskedAgain(t *testing.T) {
	t.Parallel()
	const account, who = "account-0", "person-0"
	there := awayWithPages(t)
	there.apply(t)
	there.connect(t)
	old := there.refreshToken(t, account)
	eventually(t, "the refresh token is spent", func(context.Context) error { return there.rotated(1) })
	if status, said := there.use(t, old); status != http.StatusBadRequest || said != "invalid_grant" {
		t.Fatalf("a refresh token that is used a second time is answered with %d %q", status, said)
	}
	if got := there.kinds(t)["reused"]; got != 1 {
		t.Fatalf("the server has found %d refresh tokens to be used twice, want 1", got)
	}

	eventually(t, "the account says so", func(context.Context) error {
		const reason = `{.status.conditions[?(@.type=="Authorized")].status} {.status.conditions[?(@.type=="Authorized")].reason}`
		if got := statusOf(t, there.played, account, reason); got != "False "+v1alpha1.ReasonRefreshTokenRejected {
			return errors.New(got)
		}
		return nil
	})
	// The one refresh that told the operator; a test that waits longer would see no other.
	before := there.kinds(t)
	if refused := before["refused"] + before["reused"] - 1; refused != 1 {
		t.Errorf("the server has refused %d refreshes of the operator's, want 1", refused)
	}
	if err := there.connectOne(t.Context(), account, who); err != nil {
		t.Fatal(err)
	}
	there.works(t)
	after := there.kinds(t)
	if after["issued"] != 2 || after["refused"] != before["refused"] || after["reused"] != before["reused"] {
		t.Errorf("after the second consent the server has noted %v, before it %v", after, before)
	}
}

// An authorization request without a code challenge: the server refuses it, and the person is told whose fault it is. With
// one, as every other test here has it, the same registration is fine.
func TestAnotherServerRefusesARequestWithoutPKCE(t *testing.T) {
	t.Parallel()
	const account, who = "without-pkce", "person-0"
	there := awayWithPages(t)
	there.apply(t)
	there.applyBare(t, account)
	page, err := there.follow(t.Context(), account, who)
	if err != nil {
		t.Fatal(err)
	}
	// With the provider's word for it, and not as if waiting would help.
	if page.Heading != "It did not work" || !strings.Contains(page.Text, "invalid_request") {
		t.Errorf("the way ends at %q: %s", page.Heading, page.Text)
	}
	eventually(t, "the account says so", func(context.Context) error {
		const outcome = `{.status.authorization.lastOutcome.result}, {.status.sealedCredential}`
		if got := statusOf(t, there.played, account, outcome); got != "Rejected, " {
			return errors.New(got)
		}
		return nil
	})
	there.connect(t)
	there.works(t)
	if kinds := there.kinds(t); kinds["consented"] != 1 || kinds["issued"] != 1 {
		t.Errorf("the server has noted %v, want one consent and one grant: those of the request that had a challenge", kinds)
	}
}

// awayWithPages is a stage with that server, and one person who has an account there.
func awayWithPages(t *testing.T) *away {
	t.Helper()
	played := stagetest.Play(t, stage.Options{Consent: true})
	there := startAway(t, played, 1)
	start(t, played, stage.OperatorOptions{})
	if _, err := played.StartConsent(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	return there
}

// kinds counts the entries of the server's ledger.
func (a *away) kinds(t *testing.T) map[string]int {
	t.Helper()
	entries, err := a.Entries()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, entry := range entries {
		counts[entry.Kind]++
	}
	return counts
}

// refreshToken is the one that an account holds now: what a thief would have who has status and keyring.
func (a *away) refreshToken(t *testing.T, account string) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(a.played.Cluster.Admin)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := client.CoreV1().Secrets(stage.OperatorNamespace).Get(t.Context(), "oauth-operator-keyring", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	keyring, err := seal.ParseKeyring(stored.Data)
	if err != nil {
		t.Fatal(err)
	}
	status := v1alpha1.ConnectedAccountStatus{}
	if err := json.Unmarshal([]byte(statusOf(t, a.played, account, "{.status}")), &status); err != nil {
		t.Fatal(err)
	}
	subject := seal.Subject{ClusterID: status.BoundTo.ClusterID, Namespace: stage.Namespace, Name: account, UID: status.BoundTo.AccountUID}
	held, err := keyring.Open(seal.PurposeCredential, subject, status.SealedCredential)
	if err != nil {
		t.Fatal(err)
	}
	return held.RefreshToken.Reveal()
}

// use sends a refresh token as the client would, and returns what the server answers.
func (a *away) use(t *testing.T, token string) (status int, said string) {
	t.Helper()
	authority, err := os.ReadFile(a.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(otherApp, url.QueryEscape("a client secret"))
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("the answer %s: %v", text, err)
	}
	return response.StatusCode, answer.Error
}

const bareManifest = `apiVersion: oauth-operator.dev/v1alpha1
kind: OAuthClient
metadata: {name: bare-app}
spec:
  endpoints: {authorization: "%[1]s/oauth2/auth", token: "%[1]s/oauth2/token"}
  issuer: "%[1]s"
  clientID: other-app
  authentication:
    method: ClientSecretBasic
    clientSecretRef: {name: other-app-client, key: client_secret}
  grants: [AuthorizationCode]
  scopes: [offline_access, invoices]
  authorizationRequest: {pkce: None}
  tls: {caRef: {name: other-ca, key: ca.crt}}
---
apiVersion: oauth-operator.dev/v1alpha1
kind: ConnectedAccount
metadata: {name: %[2]s}
spec:
  clientRef: {name: bare-app}
  grant: {type: AuthorizationCode}
`

// applyBare applies an account whose client does without PKCE.
func (a *away) applyBare(t *testing.T, account string) {
	t.Helper()
	manifest := filepath.Join(a.played.Dir, "bare.yaml")
	if err := os.WriteFile(manifest, fmt.Appendf(nil, bareManifest, a.URL, account), 0o600); err != nil {
		t.Fatal(err)
	}
	a.kubectl(t, "apply", "--filename="+manifest)
}
