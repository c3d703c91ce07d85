package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/person"
	"github.com/oauth-operator/oauth-operator/test/stage"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

const (
	// rotationsVariable is how many refresh tokens have to be spent in all: make test-rotations sets it.
	rotationsVariable = "ROTATIONS"
	// fewRotations and fewAccounts are for every run of the tests. More rotations are spread over manyAccounts, since the
	// refreshes of one account are 5 s apart.
	fewRotations = 20
	fewAccounts  = 5
	manyAccounts = 50
	// mostBetween is a generous bound for the time between two refreshes of one account, most of which are 5 to 7 s apart.
	mostBetween = 15 * time.Second
	// atOnce is how many people connect at the same time.
	atOnce = 8

	connected = "Connected"
	otherApp  = "other-app"
	// bareApp is the same registration, used without PKCE.
	bareApp = "bare-app"
)

// away is an authorization server that is not ours, and people who have accounts there.
type away struct {
	*stage.AuthServer
	played *stage.Stage
	people map[string]string // who connects an account, by the account's name
}

// An authorization server made of a library that is not ours: people connect through the pages, refresh tokens rotate where
// a second use ends the grant, the deletion of an account revokes it there, and the same person connects again.
func TestConnectRotateRevokeReconnect(t *testing.T) {
	t.Parallel()
	rotations, accounts := fewRotations, fewAccounts
	if text := os.Getenv(rotationsVariable); text != "" {
		var err error
		if rotations, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		accounts = manyAccounts
	}
	played := stagetest.Play(t, stage.Options{Consent: true})
	there := startAway(t, played, accounts)
	start(t, played, stage.OperatorOptions{})
	if _, err := played.StartConsent(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	there.apply(t)
	began := time.Now()
	there.connect(t)
	t.Logf("%d accounts are connected after %s", accounts, time.Since(began).Round(time.Millisecond))
	there.works(t)

	began = time.Now()
	limit := patience + time.Duration(rotations/accounts)*mostBetween
	stagetest.Within(t, limit, fmt.Sprintf("%d refresh tokens are spent", rotations), func(context.Context) error { return there.rotated(rotations) })
	t.Logf("%d refresh tokens of %d accounts were spent within %s", rotations, accounts, time.Since(began).Round(time.Millisecond))
	there.works(t)
	there.nothingWrong(t)

	tokens := there.tokens(t)
	began = time.Now()
	for account := range there.people { // or a policy would protect what a person consented to
		there.kubectl(t, "annotate", "connectedaccount", account, v1alpha1.AnnotationAllowDelete+"="+account)
	}
	there.kubectl(t, "delete", "connectedaccounts", "--all", "--wait=false")
	there.revoked(t, tokens)
	t.Logf("%d grants were revoked within %s", accounts, time.Since(began).Round(time.Millisecond))

	there.apply(t)
	there.connect(t)
	there.works(t)
	there.nothingWrong(t)
}

// startAway starts the server, with a person for each account.
func startAway(t *testing.T, played *stage.Stage, accounts int) *away {
	t.Helper()
	program := os.Getenv(stage.AuthServerVariable)
	if program == "" {
		t.Skip("there is no authorization server: run `make test`, which builds one, or `make authserver`, and set " + stage.AuthServerVariable)
	}
	there := &away{played: played, people: map[string]string{}}
	users := map[string]string{}
	for i := range accounts {
		name := fmt.Sprintf("person-%d", i)
		there.people[fmt.Sprintf("account-%d", i)] = name
		users[name] = "password of " + name
	}
	var err error
	there.AuthServer, err = played.StartAuthServer(t.Context(), program, stage.AuthServerOptions{
		Users: users,
		Clients: []stage.AuthServerClient{{
			ID: otherApp, Secret: "a client secret", Scopes: []string{"offline_access", "invoices"}, AccessTokenLifetime: "15s",
			RedirectURIs: []string{
				played.Front.URL + "/callback/" + stage.Namespace + "/" + otherApp, played.Front.URL + "/callback/" + stage.Namespace + "/" + bareApp,
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return there
}

func (a *away) kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	output, err := a.played.Kubectl(t.Context(), admin(a.played), append(arguments, "--namespace="+stage.Namespace)...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

const otherClient = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Secret
metadata:
  name: other-app-client
  labels: {oauth-operator.dev/credential: "true"}
  annotations: {oauth-operator.dev/hosts: "%[2]s"}
stringData: {client_secret: a client secret}
---
apiVersion: v1
kind: Secret
metadata:
  name: other-ca
  labels: {oauth-operator.dev/credential: "true"}
stringData: {ca.crt: %[3]q}
---
apiVersion: oauth-operator.dev/v1alpha1
kind: OAuthClient
metadata: {name: other-app}
spec:
  endpoints: {authorization: "%[1]s/oauth2/auth", token: "%[1]s/oauth2/token", revocation: "%[1]s/oauth2/revoke"}
  issuer: "%[1]s"
  clientID: other-app
  authentication:
    method: ClientSecretBasic
    clientSecretRef: {name: other-app-client, key: client_secret}
  grants: [AuthorizationCode]
  scopes: [offline_access, invoices]
  # The server knows none, and passes over it, with codes and refreshes (RFC 6749 section 3.2).
  tokenRequest: {parameters: [{name: resource, value: "https://api.example"}]}
  tokenResponse:
    identity: {pointer: /account/id}
  # As often as the least distance of two refreshes, 5 s, allows.
  refreshBeforeSeconds: 10
  tls: {caRef: {name: other-ca, key: ca.crt}}
`

const otherAccount = `---
apiVersion: oauth-operator.dev/v1alpha1
kind: ConnectedAccount
metadata: {name: %s}
spec:
  clientRef: {name: other-app}
  grant: {type: AuthorizationCode}
  expectedIdentity: %s
  deletionPolicy: Revoke
`

// apply applies the client and the accounts.
func (a *away) apply(t *testing.T) {
	t.Helper()
	authority, err := os.ReadFile(a.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(otherClient, a.URL, strings.TrimPrefix(a.URL, "https://"), authority)
	for account, who := range a.people {
		text += fmt.Sprintf(otherAccount, account, who)
	}
	manifest := filepath.Join(a.played.Dir, "away.yaml")
	if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a.kubectl(t, "apply", "--filename="+manifest)
}

// connect has each person follow the link of their account, a few at a time.
func (a *away) connect(t *testing.T) {
	t.Helper()
	var group sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for account, who := range a.people {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := a.connectOne(t.Context(), account, who); err != nil {
				t.Errorf("%s connects %s: %v", who, account, err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func (a *away) connectOne(ctx context.Context, account, who string) error {
	page, err := a.follow(ctx, account, who)
	if err != nil {
		return err
	}
	if page.Heading != connected || !strings.Contains(page.Text, who) {
		return fmt.Errorf("the way ended at %s with %d %q: %s", page.URL.Host, page.Status, page.Heading, page.Text)
	}
	return nil
}

// follow has somebody follow the link of an account, log in and say yes, and returns what they see at the end.
func (a *away) follow(ctx context.Context, account, who string) (person.Page, error) {
	link, err := a.link(ctx, account)
	if err != nil {
		return person.Page{}, err
	}
	somebody, err := person.New(person.Options{
		CAFiles: []string{a.CAFile, a.played.Front.CAFile},
		Fields:  map[string]string{"user": who, "password": "password of " + who},
		Address: "192.0.2." + strings.TrimPrefix(who, "person-"),
	})
	if err != nil {
		return person.Page{}, err
	}
	defer somebody.Close()
	return somebody.Follow(ctx, link)
}

// link waits for an account's link.
func (a *away) link(ctx context.Context, account string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		link, err := a.played.Kubectl(ctx, admin(a.played), "get", "connectedaccount", account, "--namespace="+stage.Namespace, "--output=jsonpath={.status.authorizationURL}")
		if err != nil || link != "" {
			return link, err
		}
	}
}

// tokens are those in the Secrets now, by the accounts' names.
func (a *away) tokens(t *testing.T) map[string]string {
	t.Helper()
	tokens := map[string]string{}
	for account := range a.people {
		secret, err := a.played.Secret(t.Context(), account)
		if err != nil {
			t.Fatal(err)
		}
		tokens[account] = string(secret.Data["access_token"])
	}
	return tokens
}

// works wants the token of each Secret to be good for its person. One that is replaced meanwhile is no good any more: this
// server ends an access token when its successor is issued.
func (a *away) works(t *testing.T) {
	t.Helper()
	published(t, a.played, keysOf(a.people)...)
	for account, who := range a.people {
		eventually(t, "the token of "+account+" is good", func(ctx context.Context) error {
			secret, err := a.played.Secret(ctx, account)
			if err != nil {
				return err
			}
			status, id, err := a.me(ctx, string(secret.Data["access_token"]))
			if err == nil && (status != http.StatusOK || id != who) {
				err = fmt.Errorf("%d, it is %q's", status, id)
			}
			return err
		})
	}
}

func keysOf(people map[string]string) []string {
	all := make([]string, 0, len(people))
	for account := range people {
		all = append(all, account)
	}
	return all
}

// me asks the server whose a token is.
func (a *away) me(ctx context.Context, token string) (status int, id string, err error) {
	authority, err := os.ReadFile(a.CAFile)
	if err != nil {
		return 0, "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+"/me", http.NoBody)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	var answer struct {
		ID string `json:"id"`
	}
	if response.StatusCode == http.StatusOK {
		err = json.NewDecoder(response.Body).Decode(&answer)
	}
	return response.StatusCode, answer.ID, err
}

// rotated wants so many rotations in all, and an equal share of each account, more or less.
func (a *away) rotated(least int) error {
	entries, err := a.Entries()
	if err != nil {
		return err
	}
	total, each := 0, map[string]int{}
	for _, entry := range entries {
		if entry.Kind == "rotated" {
			total++
			each[entry.User]++
		}
	}
	for _, who := range a.people {
		if share := least / len(a.people) * 3 / 4; each[who] < share {
			return fmt.Errorf("%d of %s, want %d", each[who], who, share)
		}
	}
	if total < least {
		return fmt.Errorf("%d of %d", total, least)
	}
	return nil
}

// nothingWrong wants the server to have refused nothing and seen no token a second time.
func (a *away) nothingWrong(t *testing.T) {
	t.Helper()
	entries, err := a.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Kind == "refused" || entry.Kind == "reused" {
			t.Errorf("the server has %s a request of %s: %s, %s (%s)", entry.Kind, entry.User, entry.Grant, entry.Error, entry.Hint)
		}
	}
}

// revoked waits until each grant is revoked at the server and its tokens are of no use.
func (a *away) revoked(t *testing.T, tokens map[string]string) {
	t.Helper()
	eventually(t, "all grants are revoked", func(context.Context) error {
		entries, err := a.Entries()
		if err != nil {
			return err
		}
		gone := map[string]bool{}
		for _, entry := range entries {
			if entry.Kind == "revoked" {
				gone[entry.User] = true
			}
		}
		if len(gone) != len(a.people) {
			return fmt.Errorf("%d of %d", len(gone), len(a.people))
		}
		return nil
	})
	for account, token := range tokens {
		if status, _, err := a.me(t.Context(), token); err != nil || status != http.StatusUnauthorized {
			t.Errorf("the token of %s, whose grant was revoked, is answered with %d, %v", account, status, err)
		}
	}
	eventually(t, "the accounts are gone", func(ctx context.Context) error {
		left, err := a.played.Kubectl(ctx, admin(a.played), "get", "connectedaccounts", "--namespace="+stage.Namespace, "--output=name")
		if err == nil && left != "" {
			err = errors.New(left)
		}
		return err
	})
}
