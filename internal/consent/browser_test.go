package consent_test

import (
	"context"
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
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/consent"
	"github.com/oauth-operator/oauth-operator/internal/seal"
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

// findBrowser is the browser of these tests, or they are skipped and it is said how to get one.
func findBrowser(t *testing.T) string {
	t.Helper()
	if named := os.Getenv("BROWSER_UNDER_TEST"); named != "" {
		return named
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if found, err := exec.LookPath(name); err == nil {
			return found
		}
	}
	t.Skip("there is no Chromium here: make browser installs one, or BROWSER_UNDER_TEST names one")
	return ""
}

// web is the world around a browser: hosts, and what they were asked.
type web struct {
	t     *testing.T
	hosts map[string]http.Handler
	rules []string

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
	w := &web{t: t, hosts: hosts}
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
		w.rules = append(w.rules, fmt.Sprintf("MAP %s %s", host, listener.Addr()))
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

// chromium is a browser with a profile of its own.
type chromium struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp keeps the browser in it

	mu        sync.Mutex
	complaint []string
}

// startChromium starts a browser. It ends with the test.
func startChromium(t *testing.T, w *web) *chromium {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(findBrowser(t)), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("host-resolver-rules", strings.Join(append(w.rules, "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", "EXCLUDE localhost"), ",")),
	)
	allocated, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	return newProfile(t, allocated)
}

// newProfile is a window, with cookies of its own.
func newProfile(t *testing.T, within context.Context, options ...chromedp.ContextOption) *chromium { //nolint:revive // the context is the browser
	t.Helper()
	c := &chromium{t: t}
	ctx, stop := chromedp.NewContext(within, append(options, chromedp.WithListener(c.listen))...)
	t.Cleanup(stop)
	c.ctx = ctx
	// The first call starts the browser or the tab, which then lives as long as its context.
	if _, err := chromedp.Call(ctx, cdplog.Enable, cdp.Empty{}); err != nil {
		t.Fatalf("the browser does not start: %v", err)
	}
	return c
}

// listen remembers what the browser's console says.
func (c *chromium) listen(event any) {
	if entry, is := event.(*cdplog.EventEntryAdded); is {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.complaint = append(c.complaint, entry.Entry.Text+" "+entry.Entry.URL)
	}
}

// another is a window of the same browser with other cookies: another person's.
func (c *chromium) another() *chromium {
	c.t.Helper()
	return newProfile(c.t, c.ctx, chromedp.WithNewBrowserContext())
}

// tab is another tab of the same person.
func (c *chromium) tab() *chromium {
	c.t.Helper()
	return newProfile(c.t, c.ctx)
}

func (c *chromium) do(actions ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		c.t.Fatalf("the browser: %v", err)
	}
}

// read does what gives a value.
func read[T any](c *chromium, action chromedp.Action[T]) T {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		c.t.Fatalf("the browser: %v", err)
	}
	return value
}

func (c *chromium) where() string {
	c.t.Helper()
	return read(c, chromedp.Location())
}

func (c *chromium) click(selector string) {
	c.t.Helper()
	c.do(chromedp.Click(chromedp.CSS(selector)))
}

// open goes to a URL.
func (c *chromium) open(target string) { c.t.Helper(); c.do(chromedp.Navigate(target)) }

// await waits for a page with that title.
func (c *chromium) await(title string) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := read(c, chromedp.Title())
		if got == title {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the page is %q at %s, want %q", got, c.where(), title)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *chromium) text() string {
	c.t.Helper()
	return read(c, chromedp.Text(chromedp.CSS("body")))
}

// cookies are those that the browser has for our host.
func (c *chromium) cookies() []*network.Cookie {
	c.t.Helper()
	all, err := chromedp.CallBrowser(c.ctx, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: chromedp.FromContext(c.ctx).BrowserContextID})
	if err != nil {
		c.t.Fatal(err)
	}
	var found []*network.Cookie
	for _, cookie := range all.Cookies {
		if cookie.Domain == ourHost {
			found = append(found, cookie)
		}
	}
	return found
}

// complaints are what the browser's console says, such as of a policy that was violated.
func (c *chromium) complaints() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, each := range c.complaint {
		if !strings.Contains(each, "favicon.ico") {
			all = append(all, each)
		}
	}
	return all
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
			http.Redirect(w, r, "https://"+personsHost+"/sign-in?"+r.URL.RawQuery, http.StatusFound)
		case "/signed-in":
			http.Redirect(w, r, back(r.URL.Query()), http.StatusFound) //nolint:gosec // this is what an authorization endpoint does
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
	findBrowser(t)
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
	c.open(s.startURL())
	c.await("Connect your account?")
	if found := c.cookies(); len(found) > 0 {
		t.Errorf("the page has set %d cookies", len(found))
	}
	// The button is the first thing that the keyboard reaches.
	c.do(chromedp.KeyEvent("\t"))
	if focused := read(c, chromedp.Evaluate[string](`document.activeElement.textContent`)); focused != "Continue to login.provider.example" {
		t.Errorf("the keyboard reaches %q", focused)
	}
	c.do(chromedp.KeyEvent("\r"))
	c.await("Sign in")

	found := c.cookies()
	if len(found) != 1 || !strings.HasPrefix(found[0].Name, "__Host-oauth-") || !found[0].Secure || !found[0].HTTPOnly ||
		found[0].SameSite != network.CookieSameSiteLax || found[0].Path != "/" {
		t.Errorf("the cookies are %+v", found)
	}
	w.checkWhatProvidersLearn()
	c.click("#yes")
	c.await("One moment")
	if at := c.where(); strings.Contains(at, "code") || strings.Contains(at, "state") || !strings.HasPrefix(at, publicURL+"/result?flow=") {
		t.Errorf("the person ends up at %s", at)
	}
	if got := s.handedOver(); got != "code a-code" {
		t.Errorf("handed over was %q", got)
	}
	s.settle(v1alpha1.AuthorizationConnected, "Ada Lovelace")
	c.await("Connected") // by itself, without a script
	if text := c.text(); !strings.Contains(text, "You are connected as Ada Lovelace.") {
		t.Errorf("the page says %s", text)
	}
	if complaints := c.complaints(); len(complaints) > 0 {
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
		c.open("https://" + evilHost + path)
		c.await("Please begin on our page")
	}
	c.open("https://" + evilHost + "/fetch")
	c.await("fetched")
	c.open("https://" + evilHost + "/frame")
	waitFor(t, func() bool { return len(w.requests(ourHost)) >= 5 })
	if found := c.cookies(); len(found) > 0 {
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
	c.open("https://" + evilHost + "/framing")
	waitFor(t, func() bool { return strings.Contains(strings.Join(c.complaints(), "\n"), "frame-ancestors") })
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
	c.open(s.startURL())
	c.click("button")
	c.await("Sign in")
	s.resetCounts()
	c.click("#yes")
	c.await("evil")
	waitFor(t, func() bool { return len(callbacks(w)) >= 3 })
	if reads, writes := s.counts(); reads+writes > 0 {
		t.Errorf("images and frames caused %d reads and %d writes", reads, writes)
	}
	second := c.tab()
	c.open(landing)
	c.await("One moment")
	second.open(landing)
	second.await("One moment")
	if text := second.text(); !strings.Contains(text, "This sign-in was used already") && !strings.Contains(second.where(), "seen=1") {
		t.Errorf("the second tab says %s", text)
	}
	if used := s.account().Status.Authorization.UsedStates; len(used) != 1 {
		t.Errorf("used are %v", used)
	}
	s.settle(v1alpha1.AuthorizationConnected, "Ada")
	c.await("Connected")
	second.await("Connected")
	if text := second.text(); !strings.Contains(text, "counts only once") {
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
	attacker.open(s.startURL())
	attacker.click("button")
	attacker.await("Sign in")
	asked := w.requests(providerHost)
	victim := attacker.another()
	s.resetCounts()
	victim.open("https://" + providerHost + "/authorize?" + asked[len(asked)-1].query)
	victim.await("Sign in")
	victim.click("#yes")
	victim.await("We cannot go on from here")
	if reads, writes := s.counts(); reads+writes > 0 || s.handedOver() != "" {
		t.Errorf("%d reads, %d writes, handed over %q", reads, writes, s.handedOver())
	}
	// The result of the attacker's flow is not to be seen by others.
	victim.open(publicURL + "/result?flow=" + strings.TrimPrefix(attacker.cookies()[0].Name, "__Host-oauth-"))
	victim.await("There is nothing here")
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
	c.open(s.startURL())
	c.click("button")
	c.await("Sign in")
	rotated := s.keys.rotated(t)
	one.set(rotated) // the other replica has the old keys for a while longer; but what was distributed, it can open
	two.set(rotated)
	c.click("#yes")
	c.await("One moment")
	s.settle(v1alpha1.AuthorizationConnected, "Ada")
	c.await("Connected")
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
	findBrowser(t)
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
		Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
	}); err != nil {
		t.Fatal(err)
	}
	c := startChromium(t, newWeb(t, map[string]http.Handler{evilHost: http.NotFoundHandler()}))
	c.open(base.String() + "/connect?ticket=" + s.ticket)
	c.click("button")
	c.await("One moment")
	s.settle(v1alpha1.AuthorizationConnected, "")
	c.await("Connected")
}
