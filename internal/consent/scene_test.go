package consent_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/consent"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	publicURL = "https://oauth.example.com/consent"
	provider  = "https://login.provider.example"
	// stranger and person are where requests come from, unless a test says otherwise.
	person = "198.51.100.7:40000"
)

func epoch() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// store plays the API server, resourceVersions included, and counts.
type store struct {
	mu            sync.Mutex
	accounts      map[types.NamespacedName]*v1alpha1.ConnectedAccount
	clients       map[types.NamespacedName]*v1alpha1.OAuthClient
	version       int
	reads, writes int
	// beforeWrite runs before a write is judged; an error of it is the answer. afterWrite answers a write that was done.
	beforeWrite, afterWrite func() error
	readError               error
}

func (s *store) Account(_ context.Context, namespace, name string) (*v1alpha1.ConnectedAccount, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	found := s.accounts[types.NamespacedName{Namespace: namespace, Name: name}]
	if s.readError != nil || found == nil {
		return nil, errors.Join(s.readError, map[bool]error{true: consent.ErrNotFound}[found == nil])
	}
	return found.DeepCopy(), nil
}

func (s *store) Client(_ context.Context, namespace, name string) (*v1alpha1.OAuthClient, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	found := s.clients[types.NamespacedName{Namespace: namespace, Name: name}]
	if found == nil {
		return nil, consent.ErrNotFound
	}
	return found.DeepCopy(), nil
}

func (s *store) HandOver(_ context.Context, account, changed *v1alpha1.ConnectedAccount) error {
	s.mu.Lock()
	before := s.beforeWrite
	s.mu.Unlock()
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	stored := s.accounts[types.NamespacedName{Namespace: account.Namespace, Name: account.Name}]
	switch {
	case stored == nil:
		return consent.ErrNotFound
	case stored.ResourceVersion != account.ResourceVersion:
		return consent.ErrConflict
	}
	status, from := stored.Status.DeepCopy(), changed.Status.Authorization
	into := &status.Authorization
	into.HandOver, into.UsedStates, into.Denial = from.HandOver, from.UsedStates, from.Denial
	s.put(stored.DeepCopy(), *status)
	if s.afterWrite != nil {
		return s.afterWrite()
	}
	return nil
}

// put stores a status; the caller holds the lock.
func (s *store) put(account *v1alpha1.ConnectedAccount, status v1alpha1.ConnectedAccountStatus) {
	s.version++
	status.DeepCopyInto(&account.Status)
	account.ResourceVersion = time.Unix(int64(s.version), 0).Format("05")
	s.accounts[types.NamespacedName{Namespace: account.Namespace, Name: account.Name}] = account
}

// change is what the controller, or somebody with kubectl, does.
func (s *store) change(change func(*v1alpha1.ConnectedAccount)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, account := range s.accounts {
		changed := account.DeepCopy()
		change(changed)
		s.put(changed, changed.Status)
	}
}

func (s *store) counts() (reads, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads, s.writes
}

func (s *store) resetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads, s.writes = 0, 0
}

// held are keys that stay.
type held struct{ keys *seal.ConsentKeys }

func (h held) Current() *seal.ConsentKeys { return h.keys }

// scene is an account that waits for a person, and the pages in front of it.
type scene struct {
	*store
	t       *testing.T
	clock   *clocktesting.FakePassiveClock
	keys    testKeys
	handler *consent.Handler
	log     *bytes.Buffer
	metrics *consent.Metrics
	ticket  string
}

type sceneOptions struct {
	trusted []netip.Prefix
	account func(*v1alpha1.ConnectedAccount)
	client  func(*v1alpha1.OAuthClient)
	keys    consent.Keys
}

func newScene(t *testing.T, options sceneOptions) *scene {
	t.Helper()
	s := &scene{t: t, clock: clocktesting.NewFakePassiveClock(epoch()), keys: newTestKeys(t), log: &bytes.Buffer{}, metrics: consent.NewMetrics(nil, "")}
	account, client := exampleAccount(), exampleClient()
	if options.account != nil {
		options.account(account)
	}
	if options.client != nil {
		options.client(client)
	}
	s.store = &store{
		accounts: map[types.NamespacedName]*v1alpha1.ConnectedAccount{{Namespace: account.Namespace, Name: account.Name}: account},
		clients:  map[types.NamespacedName]*v1alpha1.OAuthClient{{Namespace: client.Namespace, Name: client.Name}: client},
	}
	if options.keys == nil {
		options.keys = held{s.keys.consent}
	}
	s.handler = newHandler(t, s, options.keys, options.trusted)
	s.ticket = s.sealTicket(seal.Ticket{
		Namespace: account.Namespace, Name: account.Name, AccountUID: string(account.UID), Attempt: 1, NotAfter: epoch().Add(24 * time.Hour),
	})
	return s
}

func newHandler(t *testing.T, s *scene, keys consent.Keys, trusted []netip.Prefix) *consent.Handler {
	t.Helper()
	return makeHandler(t, s, s.store, keys, trusted)
}

// newHandlerOver is a handler that reads accounts in another way.
func newHandlerOver(t *testing.T, s *scene, accounts consent.Accounts) *consent.Handler {
	t.Helper()
	return makeHandler(t, s, accounts, held{s.keys.consent}, nil)
}

func makeHandler(t *testing.T, s *scene, accounts consent.Accounts, keys consent.Keys, trusted []netip.Prefix) *consent.Handler {
	t.Helper()
	base, err := url.Parse(publicURL)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := consent.New(consent.Options{
		Base: base, Accounts: accounts, Clients: s.store, Keys: keys, Clock: s.clock, Limits: consent.NewLimits(trusted), Metrics: s.metrics,
		Random: rand.Reader, Log: slog.New(slog.NewTextHandler(s.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func exampleAccount() *v1alpha1.ConnectedAccount {
	return &v1alpha1.ConnectedAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "acme", UID: "uid-of-acme", ResourceVersion: "0"},
		Spec: v1alpha1.ConnectedAccountSpec{
			ClientRef: v1alpha1.ClientReference{Name: "smartbusiness", Namespace: "platform"},
			Grant:     v1alpha1.Grant{Type: v1alpha1.GrantAuthorizationCode},
			Scopes:    []v1alpha1.Scope{"invoices", "contact"},
		},
		Status: v1alpha1.ConnectedAccountStatus{ //nolint:gosec // it holds no credential
			AuthorizationURL: publicURL + "/connect?ticket=...",
			SealedCredential: "v1:1:what-was-there-before",
			Authorization:    v1alpha1.Authorization{Attempt: 1},
		},
	}
}

func exampleClient() *v1alpha1.OAuthClient {
	return &v1alpha1.OAuthClient{
		ObjectMeta: metav1.ObjectMeta{Namespace: "platform", Name: "smartbusiness", UID: "uid-of-smartbusiness"},
		Spec: v1alpha1.OAuthClientSpec{
			Endpoints: v1alpha1.Endpoints{Authorization: provider + "/authorize", Token: "https://api.provider.example/token"}, //nolint:gosec // addresses
			ClientID:  "client-of-ours",
			Grants:    []v1alpha1.GrantType{v1alpha1.GrantAuthorizationCode},
			Scopes:    []v1alpha1.Scope{"contact", "invoices"},
		},
	}
}

func (s *scene) sealTicket(ticket seal.Ticket) string {
	s.t.Helper()
	text, err := s.keys.consent.SealTicket(ticket)
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

func (s *scene) account() *v1alpha1.ConnectedAccount {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accounts[types.NamespacedName{Namespace: "shop", Name: "acme"}].DeepCopy()
}

// browser holds cookies, and says of its requests what browsers do.
type browser struct {
	s       *scene
	from    string
	cookies map[string]string
}

func (s *scene) browser() *browser {
	return &browser{s: s, from: person, cookies: map[string]string{}}
}

// get opens a URL as if somebody had clicked on a link of another site; with changes to the request.
func (b *browser) get(target string, changes ...func(*http.Request)) *httptest.ResponseRecorder {
	b.s.t.Helper()
	return b.send(http.MethodGet, target, nil, append([]func(*http.Request){func(r *http.Request) {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}}, changes...)...)
}

// press sends the form of a start page.
func (b *browser) press(ticket string, changes ...func(*http.Request)) *httptest.ResponseRecorder {
	b.s.t.Helper()
	form := url.Values{"ticket": {ticket}}
	return b.send(http.MethodPost, publicURL+"/connect", strings.NewReader(form.Encode()), append([]func(*http.Request){func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Origin", "https://oauth.example.com")
	}}, changes...)...)
}

func (b *browser) send(method, target string, body io.Reader, changes ...func(*http.Request)) *httptest.ResponseRecorder {
	b.s.t.Helper()
	request := httptest.NewRequestWithContext(b.s.t.Context(), method, target, body)
	request.RemoteAddr = b.from
	request.TLS = &tls.ConnectionState{}
	request.Header.Set("Sec-Fetch-Dest", "document")
	request.Header.Set("Sec-Fetch-Mode", "navigate")
	for name, value := range b.cookies {
		request.AddCookie(&http.Cookie{Name: name, Value: value}) //nolint:gosec // in a request there is nothing but name and value
	}
	for _, change := range changes {
		change(request)
	}
	recorder := httptest.NewRecorder()
	b.s.handler.ServeHTTP(recorder, request)
	for _, cookie := range recorder.Result().Cookies() {
		if cookie.MaxAge < 0 {
			delete(b.cookies, cookie.Name)
		} else {
			b.cookies[cookie.Name] = cookie.Value
		}
	}
	return recorder
}

// attempt is a sign-in that was begun: what the provider was asked.
type attempt struct {
	asked url.Values
	state string
}

// begin goes from the link to the provider.
func (b *browser) begin() attempt {
	b.s.t.Helper()
	got := b.press(b.s.ticket)
	if got.Code != http.StatusSeeOther {
		b.s.t.Fatalf("the start says %d: %s", got.Code, title(got))
	}
	target, err := url.Parse(got.Header().Get("Location"))
	if err != nil {
		b.s.t.Fatal(err)
	}
	return attempt{asked: target.Query(), state: target.Query().Get("state")}
}

// callbackURL is where the provider sends a browser back to.
func callbackURL(query url.Values) string {
	return publicURL + "/callback/platform/smartbusiness?" + query.Encode()
}

// answers is the query of a callback that has a code.
func (a attempt) answers(code string) url.Values {
	return url.Values{"state": {a.state}, "code": {code}}
}

// title is that of a page.
func title(answer *httptest.ResponseRecorder) string {
	_, rest, _ := strings.Cut(answer.Body.String(), "<title>")
	text, _, _ := strings.Cut(rest, "</title>")
	return text
}

// handedOver opens what waits for the controller: "code ...", "denial ...", or "" for nothing.
func (s *scene) handedOver() string {
	s.t.Helper()
	waiting := s.account().Status.Authorization
	switch {
	case waiting.HandOver.ID != "":
		over := waiting.HandOver
		opened, err := s.keys.openHandOver(seal.HandOverBinding{
			AccountUID: "uid-of-acme", ClientUID: over.ClientUID, ClientID: over.ClientID, RedirectURI: over.RedirectURI,
			Attempt: over.Attempt, StateHash: string(over.StateHash),
		}, over.Sealed)
		if err != nil {
			s.t.Fatal(err)
		}
		return "code " + opened
	case waiting.Denial.Code != "":
		return "denial " + waiting.Denial.Code
	}
	return ""
}

// settle is what the controller does with a hand-over or a denial.
func (s *scene) settle(result v1alpha1.AuthorizationResult, identity string) {
	s.change(func(account *v1alpha1.ConnectedAccount) {
		into := &account.Status.Authorization
		hash := into.HandOver.StateHash
		if hash == "" {
			hash = into.Denial.StateHash
		}
		into.LastOutcome = v1alpha1.AuthorizationOutcome{StateHash: hash, Result: result, Identity: identity, Error: into.Denial.Code, OutcomeTime: ptr.To(metav1.NewTime(s.clock.Now()))}
		into.HandOver, into.Denial = v1alpha1.HandOver{}, v1alpha1.AuthorizationDenial{}
		switch result {
		case v1alpha1.AuthorizationConnected, v1alpha1.AuthorizationNeedsApproval:
			account.Status.AuthorizationURL = ""
			into.Attempt++
		default:
			into.Failures.Count++
			if into.Failures.WindowStartTime == nil {
				into.Failures.WindowStartTime = ptr.To(metav1.NewTime(s.clock.Now()))
			}
		}
	})
}

func key(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// cookieName is the name of the cookie that belongs to a state.
func cookieName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return "__Host-oauth-" + base64.RawURLEncoding.EncodeToString(sum[:])
}
