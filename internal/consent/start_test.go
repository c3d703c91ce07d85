package consent_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// S16: what a browser does is in browser_test.go; this is what each request must look like.
func TestS16ThePressOfAButtonIsToldFromAnotherSitesForm(t *testing.T) {
	t.Parallel()
	without := func(names ...string) func(*http.Request) {
		return func(r *http.Request) {
			for _, name := range names {
				r.Header.Del(name)
			}
		}
	}
	cases := map[string]struct {
		change func(*http.Request)
		status int
	}{
		"from our page": {func(*http.Request) {}, http.StatusSeeOther},
		"from our page, by a browser of before 2020": {without("Sec-Fetch-Site"), http.StatusSeeOther},
		"from our page, behind a proxy that changes the host": {func(r *http.Request) {
			r.Host = "consent.internal"
			r.Header.Del("Sec-Fetch-Site")
		}, http.StatusSeeOther},
		"without Origin, from our page": {without("Origin"), http.StatusSeeOther},
		"from another site":             {header("Sec-Fetch-Site", "cross-site"), http.StatusSeeOther}, // our own Origin: no browser says both
		"from another site, and it says": {func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Origin", "https://evil.example")
		}, http.StatusForbidden},
		"from a sibling of our host": {func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "same-site")
			r.Header.Set("Origin", "https://evil.example.com")
		}, http.StatusForbidden},
		"of another origin, nothing else": {func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "https://evil.example") }, http.StatusForbidden},
		"from a page without an origin":   {func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "null") }, http.StatusForbidden},
		"with neither":                    {without("Origin", "Sec-Fetch-Site"), http.StatusForbidden},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, sceneOptions{})
			got := s.browser().press(s.ticket, c.change)
			if got.Code != c.status {
				t.Errorf("the answer is %d, want %d", got.Code, c.status)
			}
			if refused := c.status == http.StatusForbidden; refused && (len(got.Result().Cookies()) > 0 || got.Header().Get("Location") != "") {
				t.Error("a refused press has a cookie or goes somewhere")
			}
			if reads, writes := s.counts(); writes > 0 || c.status == http.StatusForbidden && reads > 0 {
				t.Errorf("the API server got %d reads and %d writes", reads, writes)
			}
			checkHeaders(t, got)
		})
	}
}

// S24: who has no ticket cannot tell what there is.
func TestS24WithoutATicketAllAnswersAreAlike(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	others := newTestKeys(t)
	foreign, err := others.consent.SealTicket(seal.Ticket{Namespace: "shop", Name: "acme", AccountUID: "uid-of-acme", Attempt: 1, NotAfter: epoch().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	cookie, err := s.keys.consent.SealCookie([]byte("h"), seal.Cookie{})
	if err != nil {
		t.Fatal(err)
	}
	want := s.browser().get(publicURL + "/connect")
	for name, ticket := range map[string]string{
		"empty": "", "random": strings.Repeat("A", 200), "another installation's": foreign, "a cookie's text": cookie,
		"not base64": "%%%", "long": strings.Repeat("A", 100_000), "cut": s.ticket[:len(s.ticket)-2], "one bit changed": flip(s.ticket),
	} {
		for way, got := range map[string]*httptest.ResponseRecorder{
			"opened":  s.browser().get(publicURL + "/connect?" + url.Values{"ticket": {ticket}}.Encode()),
			"pressed": s.browser().press(ticket),
		} {
			if diff := cmp.Diff(describe(want), describe(got)); diff != "" {
				t.Errorf("%s, %s: the answer is another (-without, +with):\n%s", name, way, diff)
			}
		}
		s.handler = newHandler(t, s, held{s.keys.consent}, nil) // with limits of its own
	}
	if reads, writes := s.counts(); reads+writes > 0 {
		t.Errorf("the API server got %d reads and %d writes", reads, writes)
	}
	// A ticket of ours, for an account that is not there any more, or is another one by now.
	s.change(func(a *v1alpha1.ConnectedAccount) { a.UID = "uid-of-its-successor" })
	if diff := cmp.Diff(describe(want), describe(s.browser().get(publicURL+"/connect?ticket="+s.ticket))); diff != "" {
		t.Errorf("another account's: the answer is another:\n%s", diff)
	}
	delete(s.accounts, key("shop", "acme"))
	if diff := cmp.Diff(describe(want), describe(s.browser().get(publicURL+"/connect?ticket="+s.ticket))); diff != "" {
		t.Errorf("nobody's: the answer is another:\n%s", diff)
	}
}

func flip(ticket string) string {
	return ticket[:50] + string(alphabet[(strings.IndexByte(alphabet, ticket[50])+1)%64]) + ticket[51:]
}

// describe is all that a stranger sees of an answer.
func describe(got *httptest.ResponseRecorder) map[string]any {
	return map[string]any{"status": got.Code, "header": got.Header(), "body": got.Body.String()}
}

// S28: the provider's URL alone is of no use in another browser.
func TestS28AMailedProviderURLIsRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	attacker, victim := s.browser(), s.browser()
	mailed := attacker.begin()
	// The victim follows the provider's URL, consents, and comes back with a code of their own and the attacker's state.
	got := victim.get(callbackURL(mailed.answers("code-of-the-victim")))
	if got.Code != http.StatusBadRequest || s.handedOver() != "" {
		t.Errorf("the answer is %d, and %q waits for the controller", got.Code, s.handedOver())
	}
	// The other way round: the victim's browser is given the attacker's code, for the victim's own flow or for none.
	own := victim.begin()
	if got := victim.get(callbackURL(url.Values{"code": {"code-of-the-attacker"}})); got.Code != http.StatusBadRequest {
		t.Errorf("a code without the state: %d", got.Code)
	}
	if got := victim.get(callbackURL(own.answers("a-code"))); got.Code != http.StatusSeeOther || s.handedOver() != "code a-code" {
		t.Errorf("the victim's own flow: %d, %q", got.Code, s.handedOver())
	}
}

func TestAStartPageSaysWhatIsToBeAllowedAndSetsNoCookie(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{account: func(a *v1alpha1.ConnectedAccount) {
		a.Spec.ExpectedIdentity = "acme <sales>"
		a.Spec.Consent.Approval = v1alpha1.ApprovalRequired
	}})
	got := s.browser().get(publicURL + "/connect?ticket=" + s.ticket)
	for _, text := range []string{
		"<strong>smartbusiness</strong>, of <strong>platform</strong>", "<strong>acme</strong>, of <strong>shop</strong>",
		"oauth.example.com", "Continue to login.provider.example", "<code>invoices</code>", "<code>contact</code>",
		"acme &lt;sales&gt;", "still has to confirm", "What will be kept", `action="https://oauth.example.com/consent/connect"`,
	} {
		if !strings.Contains(got.Body.String(), text) {
			t.Errorf("the page does not say %q", text)
		}
	}
	if got.Code != http.StatusOK || len(got.Result().Cookies()) > 0 {
		t.Errorf("the answer is %d, with cookies %v", got.Code, got.Result().Cookies())
	}
	checkHeaders(t, got)
}

func TestWhatAPersonWithALinkIsTold(t *testing.T) {
	t.Parallel()
	failed := func(count int32, ago time.Duration) func(*scene) {
		return func(s *scene) {
			s.change(func(a *v1alpha1.ConnectedAccount) {
				a.Status.Authorization.Failures = v1alpha1.ConsentFailures{Count: count, WindowStartTime: ptr.To(metav1.NewTime(epoch().Add(-ago)))}
			})
		}
	}
	cases := map[string]struct {
		change func(*scene)
		status int
		title  string
	}{
		"as invited":               {func(*scene) {}, http.StatusOK, "Connect your account?"},
		"a link that is too old":   {func(s *scene) { s.clock.SetTime(epoch().Add(25 * time.Hour)) }, http.StatusGone, "This link is too old"},
		"a link that was replaced": {func(s *scene) { s.change(func(a *v1alpha1.ConnectedAccount) { a.Status.Authorization.Attempt = 2 }) }, http.StatusGone, "This link is not needed any more"},
		"an invitation withdrawn":  {func(s *scene) { s.change(func(a *v1alpha1.ConnectedAccount) { a.Status.AuthorizationURL = "" }) }, http.StatusGone, "This link is not needed any more"},
		// Its owner names another's client, or scopes beyond what they may ask for, and opens the link before the controller looks.
		"a spec that nobody has looked at": {func(s *scene) {
			s.change(func(a *v1alpha1.ConnectedAccount) { a.Generation, a.Status.ObservedGeneration = 2, ptr.To[int64](1) })
		}, http.StatusServiceUnavailable, "Not ready yet"},
		"a spec that was looked at": {func(s *scene) {
			s.change(func(a *v1alpha1.ConnectedAccount) { a.Generation, a.Status.ObservedGeneration = 2, ptr.To[int64](2) })
		}, http.StatusOK, "Connect your account?"},
		"an account that is going": {func(s *scene) {
			s.change(func(a *v1alpha1.ConnectedAccount) { a.DeletionTimestamp = ptr.To(metav1.NewTime(epoch())) })
		}, http.StatusGone, "This link is not needed any more"},
		"an account of another grant": {func(s *scene) {
			s.change(func(a *v1alpha1.ConnectedAccount) { a.Spec.Grant.Type = v1alpha1.GrantClientCredentials })
		}, http.StatusNotFound, "There is nothing here"},
		"four failures":                          {failed(4, time.Minute), http.StatusOK, "Connect your account?"},
		"five failures":                          {failed(5, time.Minute), http.StatusTooManyRequests, "Please wait a while"},
		"five failures, an hour ago":             {failed(5, time.Hour), http.StatusOK, "Connect your account?"},
		"five failures of a clock that is ahead": {failed(5, -59*time.Minute), http.StatusTooManyRequests, "Please wait a while"},
		"five failures of another day, to come":  {failed(5, -24*time.Hour), http.StatusOK, "Connect your account?"},
		"no client":                              {func(s *scene) { delete(s.clients, key("platform", "smartbusiness")) }, http.StatusServiceUnavailable, "Not ready yet"},
		"a client without a page":                {func(s *scene) { s.clients[key("platform", "smartbusiness")].Spec.Endpoints.Authorization = "" }, http.StatusServiceUnavailable, "Not ready yet"},
		"a client without an id":                 {func(s *scene) { s.clients[key("platform", "smartbusiness")].Spec.ClientID = "" }, http.StatusServiceUnavailable, "Not ready yet"},
		"no API server":                          {func(s *scene) { s.readError = errors.New("connection refused") }, http.StatusServiceUnavailable, "Please try again in a minute"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, sceneOptions{})
			c.change(s)
			opened := s.browser().get(publicURL + "/connect?ticket=" + s.ticket)
			if opened.Code != c.status || title(opened) != c.title {
				t.Errorf("opened: %d %q, want %d %q", opened.Code, title(opened), c.status, c.title)
			}
			pressed := s.browser().press(s.ticket)
			if want := map[bool]int{true: http.StatusSeeOther, false: c.status}[c.status == http.StatusOK]; pressed.Code != want {
				t.Errorf("pressed: %d, want %d", pressed.Code, want)
			}
			if c.status == http.StatusTooManyRequests && opened.Header().Get("Retry-After") == "" {
				t.Error("it does not say when to come again")
			}
			checkHeaders(t, opened)
			checkHeaders(t, pressed)
		})
	}
}

func TestWhatTheProviderIsAsked(t *testing.T) {
	t.Parallel()
	const redirect = "redirect_uri=https%3A%2F%2Foauth.example.com%2Fconsent%2Fcallback%2Fplatform%2Fsmartbusiness"
	cases := map[string]struct {
		client  func(*v1alpha1.OAuthClient)
		account func(*v1alpha1.ConnectedAccount)
		want    string // STATE and CHALLENGE stand for what is random
	}{
		"the standard": {want: provider + "/authorize?response_type=code&client_id=client-of-ours&" + redirect +
			"&scope=invoices%20contact&state=STATE&code_challenge=CHALLENGE&code_challenge_method=S256"},
		"without PKCE": {
			client: func(c *v1alpha1.OAuthClient) { c.Spec.AuthorizationRequest.PKCE = v1alpha1.PKCENone },
			want:   provider + "/authorize?response_type=code&client_id=client-of-ours&" + redirect + "&scope=invoices%20contact&state=STATE",
		},
		"scopes of the client": {
			account: func(a *v1alpha1.ConnectedAccount) { a.Spec.Scopes = nil },
			want: provider + "/authorize?response_type=code&client_id=client-of-ours&" + redirect +
				"&scope=contact%20invoices&state=STATE&code_challenge=CHALLENGE&code_challenge_method=S256",
		},
		"no scopes": {
			client: func(c *v1alpha1.OAuthClient) {
				c.Spec.Scopes, c.Spec.AuthorizationRequest.PKCE = nil, v1alpha1.PKCENone
			},
			account: func(a *v1alpha1.ConnectedAccount) { a.Spec.Scopes = nil },
			want:    provider + "/authorize?response_type=code&client_id=client-of-ours&" + redirect + "&state=STATE",
		},
		"scopes with commas, parameters, a query of the endpoint's": {client: func(c *v1alpha1.OAuthClient) {
			c.Spec.Endpoints.Authorization = provider + "/authorize?tenant=a%20b"
			c.Spec.AuthorizationRequest = v1alpha1.AuthorizationRequest{PKCE: v1alpha1.PKCENone, ScopeSeparator: ",", Parameters: []v1alpha1.AuthorizationParameter{
				{Name: "access_type", Value: "offline"}, {Name: "resource", Value: "https://a.example/x y"}, {Name: "resource", Value: "b&c=d"},
			}}
			c.Spec.ClientID = "id with & and +"
		}, want: provider + "/authorize?tenant=a%20b&response_type=code&client_id=id%20with%20%26%20and%20%2B&" + redirect +
			"&scope=invoices%2Ccontact&state=STATE&access_type=offline&resource=https%3A%2F%2Fa.example%2Fx%20y&resource=b%26c%3Dd"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, sceneOptions{client: c.client, account: c.account})
			got := s.browser().press(s.ticket).Header().Get("Location")
			parsed, err := url.Parse(got)
			if err != nil {
				t.Fatal(err)
			}
			for name, field := range map[string]string{"STATE": "state", "CHALLENGE": "code_challenge"} {
				if value := parsed.Query().Get(field); value != "" {
					if raw, err := base64.RawURLEncoding.DecodeString(value); err != nil || len(raw) != 32 {
						t.Errorf("%s is %q", field, value)
					}
					got = strings.Replace(got, value, name, 1)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheCookieOfASignIn(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	b := s.browser()
	pressed := b.press(s.ticket)
	cookies := pressed.Result().Cookies()
	target, err := url.Parse(pressed.Header().Get("Location"))
	if err != nil || len(cookies) != 1 {
		t.Fatalf("there are %d cookies: %v", len(cookies), err)
	}
	state, cookie := target.Query().Get("state"), cookies[0]
	if cookie.Name != cookieName(state) || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode ||
		cookie.Path != "/" || cookie.Domain != "" || cookie.MaxAge != 600 {
		t.Errorf("the cookie is %s", pressed.Header().Get("Set-Cookie"))
	}
	if line := pressed.Header().Get("Set-Cookie"); strings.Contains(line, state) || len(line) > 4096 {
		t.Errorf("the cookie has %d bytes: %s", len(line), line)
	}

	// The verifier is the controller's to open, and is the one that was announced.
	b.get(callbackURL(url.Values{"state": {state}, "code": {"a-code"}}))
	over := s.account().Status.Authorization.HandOver
	verifier, err := s.keys.openVerifier(seal.HandOverBinding{
		AccountUID: "uid-of-acme", ClientUID: over.ClientUID, ClientID: over.ClientID, RedirectURI: over.RedirectURI, Attempt: 1, StateHash: string(over.StateHash),
	}, over.SealedVerifier)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(verifier))
	if target.Query().Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Error("the verifier is not that of the challenge")
	}
	want := v1alpha1.HandOver{
		ID: over.ID, Sealed: over.Sealed, SealedVerifier: over.SealedVerifier, StateHash: v1alpha1.StateHash(strings.TrimPrefix(cookieName(state), "__Host-oauth-")),
		ClientUID: "uid-of-smartbusiness", ClientID: "client-of-ours", RedirectURI: publicURL + "/callback/platform/smartbusiness", Host: "api.provider.example", Attempt: 1,
		HandedOverTime: ptr.To(metav1.NewTime(epoch())),
	}
	if diff := cmp.Diff(want, over); diff != "" || over.ID == "" {
		t.Errorf("the hand-over (-want +got):\n%s", diff)
	}
}

func TestABrowserKeepsFewCookies(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	b := s.browser()
	b.cookies["theirs"] = "x"
	var begun []attempt
	for range 8 {
		begun = append(begun, b.begin())
		s.clock.SetTime(s.clock.Now().Add(time.Second))
	}
	if len(b.cookies) != 5 || b.cookies["theirs"] != "x" {
		t.Errorf("there are %d cookies", len(b.cookies))
	}
	for i, each := range begun {
		if _, kept := b.cookies[cookieName(each.state)]; kept != (i >= 4) {
			t.Errorf("the cookie of attempt %d: kept is %v", i, kept)
		}
	}
}

func TestAClientThatDoesNotFitIntoACookieIsTold(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{client: func(c *v1alpha1.OAuthClient) {
		c.Spec.Issuer = "https://login.provider.example/" + strings.Repeat("i", 2000)
		c.Spec.ClientID = strings.Repeat("c", 512)
		for range 8 {
			c.Spec.AuthorizationResponse.Capture = append(c.Spec.AuthorizationResponse.Capture, v1alpha1.CallbackCapture{Name: strings.Repeat("n", 64)})
		}
	}})
	if got := s.browser().press(s.ticket); got.Code != http.StatusServiceUnavailable || !strings.Contains(s.log.String(), "platform/smartbusiness") {
		t.Errorf("the answer is %d, the log says %s", got.Code, s.log)
	}
}

func TestAClientIdentifierOutOfASecretComesFromTheStatus(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{client: func(c *v1alpha1.OAuthClient) {
		c.Spec.ClientID, c.Spec.ClientIDRef = "", v1alpha1.SecretKeyReference{Name: "registration", Key: "client_id"}
		c.Status.ClientID = "out-of-the-secret"
	}})
	if got := s.browser().begin().asked.Get("client_id"); got != "out-of-the-secret" {
		t.Errorf("the provider is asked for %q", got)
	}
}

// The controller registers, and exchanges codes with, the redirect URI that people are sent with.
func TestTheRedirectURIIsTheControllers(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	want := lifecycle.RedirectURI(publicURL, exampleClient())
	if got := s.browser().begin().asked.Get("redirect_uri"); got != want {
		t.Errorf("people are sent with %q, the controller has %q", got, want)
	}
}
