package consent_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"html"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/consent"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/chromium"
)

// The hosts of these tests. Each is a server of its own on this machine; the browser is told where.
const (
	ourHost      = "oauth.example.com"
	providerHost = "login.provider.example"
	personsHost  = "accounts.identity.example" // where the provider has people sign in: another site
	evilHost     = "evil.example"
)

// patience is for a browser on a machine that has much to do.
const patience = time.Minute

// web is the world around a browser: hosts, and what they were asked.
type web struct {
	t     *testing.T
	hosts map[string]http.Handler
	// addresses are where the hosts are found.
	addresses map[string]string

	mu   sync.Mutex
	seen []seenRequest
}

// seenRequest is a request that reached a host.
type seenRequest struct {
	host, method, path, query string
	header                    http.Header
}

func newWeb(t *testing.T, hosts map[string]http.Handler) *web {
	t.Helper()
	w := &web{t: t, hosts: hosts, addresses: map[string]string{}}
	certificate := selfSigned(t, hosts)
	for host := range hosts {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{
			ReadHeaderTimeout: patience, ErrorLog: log.New(io.Discard, "", 0),
			Handler: http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
				w.mu.Lock()
				w.seen = append(w.seen, seenRequest{host, r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone()})
				handler := w.hosts[host]
				w.mu.Unlock()
				handler.ServeHTTP(answer, r)
			}),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		}
		go func() { _ = server.ServeTLS(listener, "", "") }()
		t.Cleanup(func() { _ = server.Close() })
		w.addresses[host] = listener.Addr().String()
	}
	return w
}

func selfSigned(t *testing.T, hosts map[string]http.Handler) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	for host := range hosts {
		template.DNSNames = append(template.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serve puts another handler behind a host.
func (w *web) serve(host string, handler http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[host] = handler
}

// requests are those that reached a host, without what browsers ask for by themselves.
func (w *web) requests(host string) []seenRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []seenRequest
	for _, each := range w.seen {
		if each.host == host && each.path != "/favicon.ico" {
			found = append(found, each)
		}
	}
	return found
}

// startChromium starts a browser in this world.
func startChromium(t *testing.T, w *web) *chromium.Window {
	t.Helper()
	return chromium.Start(t, w.addresses)
}

// signInElsewhere is a provider whose authorization endpoint has people sign in at another host: redirect, form, redirect.
func signInElsewhere(back func(query url.Values) string) (provider, persons http.Handler) {
	page := func(w http.ResponseWriter, title, body string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, "<!doctype html><title>%s</title>%s", title, body)
	}
	provider = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/authorize":
			http.Redirect(w, r, "https://"+personsHost+"/sign-in?"+r.URL.RawQuery, http.StatusFound) //nolint:gosec // this is what an authorization endpoint does
		case "/signed-in":
			http.Redirect(w, r, back(r.URL.Query()), http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	})
	persons = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Redirect(w, r, "https://"+providerHost+"/signed-in?"+r.URL.RawQuery, http.StatusSeeOther) //nolint:gosec // the same
			return
		}
		page(w, "Sign in", `<form method="post" action="`+html.EscapeString("/sign-in?"+r.URL.RawQuery)+`"><button id="yes">Sign in and allow</button></form>`)
	})
	return provider, persons
}

// allow is the callback of somebody who said yes.
func allow(query url.Values) string {
	return query.Get("redirect_uri") + "?" + url.Values{"code": {"a-code"}, "state": {query.Get("state")}}.Encode()
}

// newBrowserScene is a scene with a web around it, whose account is connected as soon as a code was handed over.
func newBrowserScene(t *testing.T, back func(url.Values) string) (*scene, *web) {
	t.Helper()
	chromium.Find(t)
	s := newScene(t, sceneOptions{})
	provider, persons := signInElsewhere(back)
	w := newWeb(t, map[string]http.Handler{
		ourHost: s.handler, providerHost: provider, personsHost: persons, evilHost: http.NotFoundHandler(),
	})
	return s, w
}

// startURL is the link that a person was given.
func (s *scene) startURL() string { return publicURL + "/connect?ticket=" + s.ticket }

// S31: the whole way, by keyboard, with a provider that has people sign in at another host.
func TestS31TheWholeWayInChromium(t *testing.T) {
	t.Parallel()
	s, w := newBrowserScene(t, allow)
	c := startChromium(t, w)
	c.Open(s.startURL())
	c.Await("Connect your account?")
	if found := c.Cookies(ourHost); len(found) > 0 {
		t.Errorf("the page has set %d cookies", len(found))
	}
	// The button is the first thing that the keyboard reaches.
	c.Press("\t")
	if focused := chromium.Evaluate[string](c, `document.activeElement.textContent`); focused != "Continue to login.provider.example" {
		t.Errorf("the keyboard reaches %q", focused)
	}
	c.Press("\r")
	c.Await("Sign in")

	found := c.Cookies(ourHost)
	if len(found) != 1 || !strings.HasPrefix(found[0].Name, "__Host-oauth-") || !found[0].Secure || !found[0].HTTPOnly ||
		found[0].SameSite != network.CookieSameSiteLax || found[0].Path != "/" {
		t.Errorf("the cookies are %+v", found)
	}
	w.checkWhatProvidersLearn()
	c.Click("#yes")
	c.Await("One moment")
	if at := c.Location(); strings.Contains(at, "code") || strings.Contains(at, "state") || !strings.HasPrefix(at, publicURL+"/result?flow=") {
		t.Errorf("the person ends up at %s", at)
	}
	if got := s.handedOver(); got != "code a-code" {
		t.Errorf("handed over was %q", got)
	}
	s.settle(v1alpha1.AuthorizationConnected, "Ada Lovelace")
	c.Await("Connected") // by itself, without a script
	if text := c.Text(); !strings.Contains(text, "You are connected as Ada Lovelace.") {
		t.Errorf("the page says %s", text)
	}
	if complaints := c.Complaints(); len(complaints) > 0 {
		t.Errorf("the browser complains: %q", complaints)
	}
	for _, request := range callbacks(w) {
		if request.header.Get("Sec-Fetch-Dest") != "document" || request.header.Get("Sec-Fetch-Site") != "cross-site" {
			t.Errorf("the callback came with %v", request.header)
		}
	}
}

// checkWhatProvidersLearn asserts that they are told what they are asked, and not where the person comes from.
func (w *web) checkWhatProvidersLearn() {
	w.t.Helper()
	for _, host := range []string{providerHost, personsHost} {
		for _, request := range w.requests(host) {
			if referrer := request.header.Get("Referer"); strings.Contains(referrer, ourHost) {
				w.t.Errorf("%s is told %s", host, referrer)
			}
			if request.method == http.MethodPost && request.path == "/authorize" {
				w.t.Error("the form itself went on to the provider")
			}
		}
	}
}

// S16: another site's page sends the form by itself.
func TestS16InChromiumAnotherSitesFormGoesNowhere(t *testing.T) {
	t.Parallel()
	s, w := newBrowserScene(t, allow)
	form := `<form id="f" method="post" action="` + publicURL + `/connect"><input name="ticket" value="` + s.ticket + `"></form>`
	send := `<script>document.getElementById("f").submit()</script>`
	w.serve(evilHost, http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		answer.Header().Set("Content-Type", "text/html")
		body := map[string]string{
			"/plain": form + send,
			"/quiet": `<meta name="referrer" content="no-referrer">` + form + send, // Origin: null
			"/popup": strings.Replace(form, "<form", `<form target="_top"`, 1) + send,
			"/frame": `<title>framed</title><iframe sandbox="allow-scripts allow-forms" srcdoc="` + html.EscapeString(form+send) + `"></iframe>`,
			"/fetch": `<title>waiting</title><script>fetch("` + publicURL + `/connect", {method: "POST", mode: "no-cors", credentials: "include",
				body: new URLSearchParams({ticket: "` + s.ticket + `"})}).finally(() => document.title = "fetched")</script>`,
		}[r.URL.Path]
		_, _ = io.WriteString(answer, body)
	}))
	c := startChromium(t, w)
	for _, path := range []string{"/plain", "/quiet", "/popup"} {
		c.Open("https://" + evilHost + path)
		c.Await("Please begin on our page")
	}
	c.Open("https://" + evilHost + "/fetch")
	c.Await("fetched")
	c.Open("https://" + evilHost + "/frame")
	waitFor(t, func() bool { return len(w.requests(ourHost)) >= 5 })
	if found := c.Cookies(ourHost); len(found) > 0 {
		t.Errorf("there are cookies: %+v", found)
	}
	if asked := w.requests(providerHost); len(asked) > 0 {
		t.Errorf("the provider was asked: %+v", asked)
	}
	if reads, writes := s.counts(); reads+writes > 0 {
		t.Errorf("the API server got %d reads and %d writes", reads, writes)
	}
	// The start page itself cannot be framed, so nobody can be made to press its button unseen.
	w.serve(evilHost, http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(answer, `<title>framing</title><iframe src="`+s.startURL()+`"></iframe>`)
	}))
	c.Open("https://" + evilHost + "/framing")
	waitFor(t, func() bool { return strings.Contains(strings.Join(c.Complaints(), "\n"), "frame-ancestors") })
}

// S26: what a page can do with a callback's URL, and the person's own tabs.
func TestS26InChromiumACallbackCountsOnce(t *testing.T) {
	t.Parallel()
	var landing string // where the provider would send the browser
	s, w := newBrowserScene(t, func(query url.Values) string {
		landing = allow(query)
		return "https://" + evilHost + "/"
	})
	w.serve(evilHost, http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(answer, `<title>evil</title><img src="`+html.EscapeString(landing)+`"><link rel="prefetch" href="`+html.EscapeString(landing)+`">
			<iframe src="`+html.EscapeString(landing)+`"></iframe><script>fetch("`+landing+`", {mode: "no-cors", credentials: "include"}).catch(() => {})</script>`)
	}))
	c := startChromium(t, w)
	c.Open(s.startURL())
	c.Click("button")
	c.Await("Sign in")
	s.resetCounts()
	c.Click("#yes")
	c.Await("evil")
	waitFor(t, func() bool { return len(callbacks(w)) >= 3 })
	if reads, writes := s.counts(); reads+writes > 0 {
		t.Errorf("images and frames caused %d reads and %d writes", reads, writes)
	}
	second := c.Tab()
	c.Open(landing)
	c.Await("One moment")
	second.Open(landing)
	second.Await("One moment")
	if text := second.Text(); !strings.Contains(text, "This sign-in was used already") && !strings.Contains(second.Location(), "seen=1") {
		t.Errorf("the second tab says %s", text)
	}
	if used := s.account().Status.Authorization.UsedStates; len(used) != 1 {
		t.Errorf("used are %v", used)
	}
	s.settle(v1alpha1.AuthorizationConnected, "Ada")
	c.Await("Connected")
	second.Await("Connected")
	if text := second.Text(); !strings.Contains(text, "counts only once") {
		t.Errorf("the second tab says %s", text)
	}
}

func callbacks(w *web) []seenRequest {
	var found []seenRequest
	for _, each := range w.requests(ourHost) {
		if strings.Contains(each.path, "/callback/") {
			found = append(found, each)
		}
	}
	return found
}

// S28: the provider's URL, mailed to somebody else.
func TestS28InChromiumAMailedProviderURLIsRefused(t *testing.T) {
	t.Parallel()
	s, w := newBrowserScene(t, allow)
	attacker := startChromium(t, w)
	attacker.Open(s.startURL())
	attacker.Click("button")
	attacker.Await("Sign in")
	asked := w.requests(providerHost)
	victim := attacker.Another()
	s.resetCounts()
	victim.Open("https://" + providerHost + "/authorize?" + asked[len(asked)-1].query)
	victim.Await("Sign in")
	victim.Click("#yes")
	victim.Await("We cannot go on from here")
	if reads, writes := s.counts(); reads+writes > 0 || s.handedOver() != "" {
		t.Errorf("%d reads, %d writes, handed over %q", reads, writes, s.handedOver())
	}
	// The result of the attacker's flow is not to be seen by others.
	victim.Open(publicURL + "/result?flow=" + strings.TrimPrefix(attacker.Cookies(ourHost)[0].Name, "__Host-oauth-"))
	victim.Await("There is nothing here")
}

// S27: two replicas take turns, and their keys are rotated between the start and the callback.
func TestS27InChromiumTwoReplicasAndARotation(t *testing.T) {
	t.Parallel()
	s, w := newBrowserScene(t, allow)
	one, two := &changing{held: held{s.keys.consent}}, &changing{held: held{s.keys.consent}}
	replicas := []http.Handler{newHandler(t, s, one, nil), newHandler(t, s, two, nil)}
	var turn int
	var mu sync.Mutex
	w.serve(ourHost, http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		mu.Lock()
		turn++
		replica := replicas[turn%2]
		mu.Unlock()
		replica.ServeHTTP(answer, r)
	}))
	c := startChromium(t, w)
	c.Open(s.startURL())
	c.Click("button")
	c.Await("Sign in")
	rotated := s.keys.rotated(t)
	one.set(rotated) // the other replica has the old keys for a while longer; but what was distributed, it can open
	two.set(rotated)
	c.Click("#yes")
	c.Await("One moment")
	s.settle(v1alpha1.AuthorizationConnected, "Ada")
	c.Await("Connected")
}

// changing are keys that can be replaced.
type changing struct {
	mu sync.Mutex
	held
}

func (c *changing) Current() *seal.ConsentKeys {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held.Current()
}

func (c *changing) set(to testKeys) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = held{to.consent}
}

// waitFor waits until something is so.
func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to that")
		}
	}
}

// TestInChromiumTheDemoWorksWithoutTLS: for localhost a browser takes cookies that want https, and everything else is as it
// is elsewhere.
func TestInChromiumTheDemoWorksWithoutTLS(t *testing.T) {
	t.Parallel()
	chromium.Find(t)
	s := newScene(t, sceneOptions{})
	var handler http.Handler
	ours := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(ours.Close)
	theirs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, allow(r.URL.Query()), http.StatusFound) //nolint:gosec // this is what an authorization endpoint does
	}))
	t.Cleanup(theirs.Close)
	base, err := url.Parse(strings.Replace(ours.URL, "127.0.0.1", "localhost", 1))
	if err != nil {
		t.Fatal(err)
	}
	s.clients[key("platform", "smartbusiness")].Spec.Endpoints.Authorization = v1alpha1.AuthorizationEndpoint(theirs.URL + "/authorize")
	if handler, err = consent.New(consent.Options{
		Base: base, Accounts: s.store, Clients: s.store, Keys: held{s.keys.consent}, Clock: s.clock, Limits: consent.NewLimits(nil),
		Metrics: s.metrics, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
	}); err != nil {
		t.Fatal(err)
	}
	c := startChromium(t, newWeb(t, map[string]http.Handler{evilHost: http.NotFoundHandler()}))
	c.Open(base.String() + "/connect?ticket=" + s.ticket)
	c.Click("button")
	c.Await("One moment")
	s.settle(v1alpha1.AuthorizationConnected, "")
	c.Await("Connected")
}
