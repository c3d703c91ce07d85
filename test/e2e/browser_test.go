package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/chromium"
	"github.com/oauth-operator/oauth-operator/test/provider"
	"github.com/oauth-operator/oauth-operator/test/stage"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// The names by which the browser knows what is on this machine. Each is a site of its own; those of the providers are the
// samples' own.
const (
	pagesHost         = "oauth.example.com"
	loginHost         = "accounts.identity.example"
	smartBusinessHost = "api-smartbusiness.postfinance.ch"
	smartbillsHost    = "api.smartbills.io"

	smartBusinessConsent = "smartbusiness-connected"
	smartbillsConsent    = "smartbills-connected"

	startTitle  = "Connect your account?"
	consentUser = "system:serviceaccount:oauth-operator-system:oauth-operator-consent"
)

// browsing is a stage with both providers' samples, two replicas of the pages that take turns with each request, and a
// browser.
type browsing struct {
	*stage.Stage
	t        *testing.T
	replicas []*stage.Process
	first    *chromium.Window
}

func browse(t *testing.T) *browsing {
	t.Helper()
	chromium.Find(t)
	b := &browsing{t: t, Stage: stagetest.Play(t, stage.Options{Consent: true, ConsentHost: pagesHost, LoginHost: loginHost, NameUsers: true})}
	start(t, b.Stage, stage.OperatorOptions{})
	var err error
	if b.replicas, err = b.StartConsent(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ApplyConsents(t.Context(), stage.ImportOptions{ByName: true, Identity: true}); err != nil {
		t.Fatal(err)
	}
	providers := strings.TrimPrefix(b.Provider.URL, "https://")
	b.first = chromium.Start(t, map[string]string{
		pagesHost: b.Front.Address, loginHost: providers, smartBusinessHost: providers, smartbillsHost: providers,
	})
	return b
}

// S31 and S27: people at both providers go the whole way in Chromium, with the operator's own processes and a real API server.
// They log in at another site than the provider's, two replicas of the pages take turns, and the keys are rotated while a
// person is away at the provider.
func TestS31PeopleConnectInChromium(t *testing.T) {
	t.Parallel()
	b := browse(t)
	b.distributeKey()

	ada := b.first
	b.begins(ada, smartBusinessConsent, smartBusinessHost)
	b.answers(ada, "Ada Lovelace", "allow")
	ada.Await("Connected")
	b.isConnected(ada, smartBusinessConsent, "Ada Lovelace")
	b.checkHops(ada.Hops(), smartBusinessHost)
	ada.Open(b.link(smartbillsConsent))
	ada.Await(startTitle)

	// Somebody says no, and thinks better of it.
	grace := ada.Another()
	b.begins(grace, smartbillsConsent, smartbillsHost)
	b.answers(grace, "Grace Hopper", "deny")
	grace.Await("Not connected")
	b.begins(grace, smartbillsConsent, smartbillsHost)
	b.useNewKey()
	b.answers(grace, "Grace Hopper", "allow")
	grace.Await("Connected")
	b.isConnected(grace, smartbillsConsent, "Grace Hopper")

	for _, person := range []*chromium.Window{ada, grace} {
		if complaints := person.Complaints(); len(complaints) > 0 {
			t.Errorf("the browser complains: %q", complaints)
		}
	}
	b.checkRequests()
}

func (b *browsing) link(account string) string {
	b.t.Helper()
	link, err := b.Link(b.t.Context(), account)
	if err != nil {
		b.t.Fatal(err)
	}
	return link
}

// begins goes from the link to where the provider has people log in.
func (b *browsing) begins(who *chromium.Window, account, host string) {
	b.t.Helper()
	before := len(who.Cookies(pagesHost))
	who.Open(b.link(account))
	who.Await(startTitle)
	if text := who.Text(); !strings.Contains(text, account+", of "+stage.Namespace) {
		b.t.Errorf("the start page says: %s", text)
	}
	if set := len(who.Cookies(pagesHost)) - before; set != 0 {
		b.t.Errorf("the start page has set %d cookies", set)
	}
	if button := chromium.Evaluate[string](who, `document.querySelector("button").textContent`); button != "Continue to "+host {
		b.t.Errorf("the button says %q", button)
	}
	who.Click("button")
	who.Await(map[string]string{smartBusinessHost: "SmartBusiness", smartbillsHost: "Smartbills"}[host] + ": allow access?")
	if at := who.Location(); !strings.HasPrefix(at, "https://"+loginHost+"/login?") {
		b.t.Errorf("people log in at %s", at)
	}
}

// answers logs in, and answers the provider's question.
func (b *browsing) answers(who *chromium.Window, name, decision string) {
	b.t.Helper()
	who.Click("input[name=login]")
	who.Press(name)
	who.Click(`button[value="` + decision + `"]`)
}

// isConnected wants the page, the status, the Secret and the provider to say the same.
func (b *browsing) isConnected(who *chromium.Window, account, name string) {
	b.t.Helper()
	if text := who.Text(); !strings.Contains(text, "You are connected as "+name+".") || !strings.Contains(text, account) {
		b.t.Errorf("the page says: %s", text)
	}
	if at, err := url.Parse(who.Location()); err != nil || at.Host != pagesHost || at.Path != "/result" || at.Query().Has("code") || at.Query().Has("state") {
		b.t.Errorf("the way ends at %s", who.Location())
	}
	published(b.t, b.Stage, account)
	secret, err := b.Secret(b.t.Context(), account)
	if err != nil {
		b.t.Fatal(err)
	}
	eventually(b.t, "the status says so", func(context.Context) error {
		if got := statusOf(b.t, b.Stage, account, `{.status.identity}, {.status.conditions[?(@.type=="Ready")].status}`); got != name+", True" {
			return errors.New(got)
		}
		return nil
	})
	ledger, err := provider.ReadLedger(b.Provider.Ledger)
	if err != nil {
		b.t.Fatal(err)
	}
	token := provider.Fingerprint(string(secret.Data["access_token"]))
	if !slices.ContainsFunc(ledger, func(e provider.Entry) bool {
		return e.Kind == provider.KindIssued && e.AccessFingerprint == token && e.User == name && e.CodeFingerprint != ""
	}) {
		b.t.Errorf("the token in the Secret is not what %s's code brought", name)
	}
}

// checkHops looks at each step of a person's way, as the wire had it.
func (b *browsing) checkHops(hops []chromium.Hop, host string) {
	b.t.Helper()
	var way []string
	for _, hop := range hops {
		if step := hop.String(); len(way) == 0 || way[len(way)-1] != step { // the result page looks again by itself
			way = append(way, step)
		}
		if referrer := hop.Header.Get("Referer"); strings.Contains(referrer, pagesHost) && hop.URL.Host != pagesHost {
			b.t.Errorf("%s is told %s", hop.URL.Host, referrer)
		}
		if hop.URL.Host == pagesHost {
			b.checkAnswer(hop)
		}
	}
	authorize := map[string]string{smartBusinessHost: "/v2/auth/authorize", smartbillsHost: "/connect/authorize"}[host]
	callback := "/callback/" + stage.Namespace + "/smartbusiness-consent"
	want := []string{
		"GET " + pagesHost + "/connect 200", "POST " + pagesHost + "/connect 303", "GET " + host + authorize + " 302", "GET " + loginHost + "/login 200",
		"POST " + host + authorize + " 302", "GET " + pagesHost + callback + " 303", "GET " + pagesHost + "/result 200",
	}
	if !slices.Equal(way, want) {
		b.t.Fatalf("the way is\n%s\nwant\n%s", strings.Join(way, "\n"), strings.Join(want, "\n"))
	}
	b.checkCookies(hops, host)
}

// checkCookies looks at the cookies that came where another site had sent the browser.
func (b *browsing) checkCookies(hops []chromium.Hop, host string) {
	b.t.Helper()
	for _, hop := range hops {
		cookies := hop.Header.Get("Cookie")
		switch {
		case hop.Method == http.MethodPost && hop.URL.Host == host:
			if !strings.Contains(cookies, "__Host-crossing=") || strings.Contains(cookies, "__Host-staying=") {
				b.t.Error("the form of another site came with other cookies than it should")
			}
		case strings.HasPrefix(hop.URL.Path, "/callback/"):
			// The browser itself says that other sites have sent it here, and has sent our cookie all the same.
			if hop.Header.Get("Sec-Fetch-Site") != "cross-site" || hop.Header.Get("Sec-Fetch-Dest") != "document" || strings.Count(cookies, "__Host-oauth-") != 1 {
				b.t.Errorf("the callback came from %q for a %q, with %d cookies of ours", hop.Header.Get("Sec-Fetch-Site"), hop.Header.Get("Sec-Fetch-Dest"), strings.Count(cookies, "__Host-oauth-"))
			}
		}
	}
}

// checkAnswer wants every answer of the pages to have what keeps it from being stored, framed, or told of.
func (b *browsing) checkAnswer(hop chromium.Hop) {
	b.t.Helper()
	want := map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "X-Robots-Tag": "noindex, nofollow",
	}
	formAction := "form-action 'none'"
	if hop.URL.Path == "/connect" && hop.Method == http.MethodGet {
		want["Referrer-Policy"], formAction = "same-origin", "form-action 'self' https:"
	}
	for name, value := range want {
		if got := hop.AnswerHeader.Get(name); got != value {
			b.t.Errorf("%s: %s is %q, want %q", hop, name, got, value)
		}
	}
	policy := hop.AnswerHeader.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", formAction} {
		if !slices.Contains(strings.Split(policy, "; "), part) {
			b.t.Errorf("%s: the policy %q lacks %q", hop, policy, part)
		}
	}
	for _, cookie := range hop.AnswerHeader["Set-Cookie"] {
		for _, part := range []string{"__Host-oauth-", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"} {
			if !strings.Contains(cookie, part) {
				b.t.Errorf("%s: the cookie lacks %q", hop, part)
			}
		}
	}
}

// checkRequests counts what all of it has cost.
func (b *browsing) checkRequests() {
	b.t.Helper()
	ledger, err := provider.ReadLedger(b.Provider.Ledger)
	if err != nil {
		b.t.Fatal(err)
	}
	codes := map[string]int{}
	for _, entry := range ledger {
		if entry.Kind == provider.KindTokenRequest {
			codes[entry.ClientID+" "+entry.Grant+" "+string(entry.Outcome)]++
		}
	}
	want := map[string]int{"demo-smartbusiness-consent authorization_code granted": 1, "demo-smartbills-consent authorization_code granted": 1}
	if !maps.Equal(codes, want) {
		b.t.Errorf("the token requests are %v, want %v", codes, want)
	}
	writes := 0
	for _, event := range eventsOf(b.t, b.Stage, consentUser, 0) {
		switch {
		case event.Code == http.StatusConflict: // the operator was faster; it is done again
		case event.Code >= http.StatusBadRequest:
			b.t.Errorf("the pages were refused: %s", describe(event))
		case isWrite(event):
			writes++
		}
	}
	if writes != 3 { // two codes and a no
		b.t.Errorf("the pages have written %d times, want 3", writes)
	}
}

// distributeKey gives the keyring one more key, which opens and does not seal yet, and waits until both replicas have it.
func (b *browsing) distributeKey() {
	b.t.Helper()
	b.changeKeyring(func(keyring *seal.Keyring) (*seal.Keyring, error) { return keyring.WithNewKey() })
	for _, replica := range b.replicas {
		eventually(b.t, replica.Name+" reads the new key", keysRead(replica, 2))
	}
}

// useNewKey has that key seal, and waits until one replica at least does so.
func (b *browsing) useNewKey() {
	b.t.Helper()
	b.changeKeyring(func(keyring *seal.Keyring) (*seal.Keyring, error) {
		all := keyring.Keys()
		return keyring.WithPrimary(all[len(all)-1].ID)
	})
	eventually(b.t, "a replica seals under the new key", func(ctx context.Context) error {
		if keysRead(b.replicas[0], 3)(ctx) == nil {
			return nil
		}
		return keysRead(b.replicas[1], 3)(ctx)
	})
}

// keysRead wants a replica to have read keys so often.
func keysRead(replica *stage.Process, times int) func(context.Context) error {
	return func(context.Context) error {
		text, err := os.ReadFile(replica.LogFile)
		if got := strings.Count(string(text), "consent: the keys were read"); err == nil && got < times {
			err = fmt.Errorf("%d of %d times", got, times)
		}
		return err
	}
}

// changeKeyring changes the keyring as an administrator, and brings what the operator makes of it to the replicas.
func (b *browsing) changeKeyring(change func(*seal.Keyring) (*seal.Keyring, error)) {
	b.t.Helper()
	client, err := kubernetes.NewForConfig(b.Cluster.Admin)
	if err != nil {
		b.t.Fatal(err)
	}
	secrets := client.CoreV1().Secrets(stage.OperatorNamespace)
	stored, err := secrets.Get(b.t.Context(), "oauth-operator-keyring", metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	keyring, err := seal.ParseKeyring(stored.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	if keyring, err = change(keyring); err != nil {
		b.t.Fatal(err)
	}
	stored.Data = keyring.Data()
	if _, err := secrets.Update(b.t.Context(), stored, metav1.UpdateOptions{}); err != nil {
		b.t.Fatal(err)
	}
	eventually(b.t, "the operator hands the keys on", func(ctx context.Context) error {
		given, err := secrets.Get(ctx, stage.ConsentName, metav1.GetOptions{})
		if err == nil && !bytes.Equal(given.Data[seal.ConsentKeyset], keyring.ConsentData()[seal.ConsentKeyset]) {
			err = errors.New("not yet")
		}
		return err
	})
	if err := b.RemountConsentKeys(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}
