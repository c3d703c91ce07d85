package consent_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// row is one behaviour of a browser, a provider or somebody between them, and what must come of it. A row is made by one of
// the functions below, all of which take a verdict, so that a row without one does not compile.
type row struct {
	id, behaviour string
	verdict       verdict
	options       sceneOptions
	play          func(*scene) *httptest.ResponseRecorder
	says, not     string // is, and is not, part of the page
}

// verdict is what must come of a behaviour: the status of the answer, how often the API server was asked and written to for
// it, and what waits for the controller afterwards. Nothing here calls a token endpoint; the credential is looked at after
// each row.
type verdict struct {
	status, reads, writes int
	waits                 string
}

// refused is the page of callbacks that are none, from memory.
func refused() verdict { return verdict{http.StatusBadRequest, 0, 0, ""} }

// handsOver is one read and one write.
func handsOver(what string) verdict { return verdict{http.StatusSeeOther, 1, 1, what} }

func judged(id, behaviour string, want verdict, play func(*scene) *httptest.ResponseRecorder) row {
	return row{id: id, behaviour: behaviour, verdict: want, play: play}
}

// atCallback is a callback of a browser that has begun a sign-in, with changes to what the provider answers.
func atCallback(id, behaviour string, want verdict, change func(url.Values), changes ...func(*http.Request)) row {
	return judged(id, behaviour, want, func(s *scene) *httptest.ResponseRecorder {
		b := s.browser()
		query := b.begin().answers("a-code")
		change(query)
		s.resetCounts()
		return b.get(callbackURL(query), changes...)
	})
}

func asItIs(url.Values) {}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func (r row) with(options sceneOptions) row { r.options = options; return r }

func (r row) saying(text string) row { r.says = text; return r }

func (r row) neverSaying(text string) row { r.not = text; return r }

const issuer = "https://login.provider.example"

// withIssuer has the client name an issuer, which callbacks must name as well.
func withIssuer() sceneOptions {
	return sceneOptions{client: func(c *v1alpha1.OAuthClient) { c.Spec.Issuer = issuer }}
}

func capturing(names ...string) sceneOptions {
	return sceneOptions{client: func(c *v1alpha1.OAuthClient) {
		for _, name := range names {
			c.Spec.AuthorizationResponse.Capture = append(c.Spec.AuthorizationResponse.Capture, v1alpha1.CallbackCapture{Name: name, Key: v1alpha1.CapturedKey(name)})
		}
	}}
}

func stateRows() []row {
	return []row{
		atCallback("H60", "state missing", refused(), func(q url.Values) { q.Del("state") }),
		atCallback("H60", "state empty", refused(), func(q url.Values) { q.Set("state", "") }),
		atCallback("H60", "state that nobody made", refused(), func(q url.Values) { q.Set("state", strings.Repeat("A", 43)) }),
		atCallback("H60", "state twice", refused(), func(q url.Values) { q.Add("state", q.Get("state")) }),
		atCallback("H60", "state with its last character in another spelling", refused(), func(q url.Values) {
			// The last of 43 characters has two bits that do not count: a lenient decoder reads the same bytes.
			last := strings.IndexByte(alphabet, q.Get("state")[42])
			q.Set("state", q.Get("state")[:42]+string(alphabet[last^1]))
		}),
		judged("H60", "state of another flow of this browser's, whose cookie is gone", refused(), func(s *scene) *httptest.ResponseRecorder {
			b := s.browser()
			first := b.begin()
			clear(b.cookies)
			b.begin()
			s.resetCounts()
			return b.get(callbackURL(first.answers("a-code")))
		}),
		judged("H60", "state of a flow that has expired", refused(), func(s *scene) *httptest.ResponseRecorder {
			b := s.browser()
			begun := b.begin()
			s.clock.SetTime(epoch().Add(10*time.Minute + time.Second))
			s.resetCounts()
			return b.get(callbackURL(begun.answers("a-code")))
		}),
		judged("H60", "state of another account's flow, with its own cookie", verdict{http.StatusNotFound, 1, 0, ""}, func(s *scene) *httptest.ResponseRecorder {
			b := s.browser()
			begun := b.begin()
			s.change(func(a *v1alpha1.ConnectedAccount) { a.UID = "uid-of-its-successor" })
			s.resetCounts()
			return b.get(callbackURL(begun.answers("a-code")))
		}),
		judged("H61", "state replayed after success", verdict{http.StatusSeeOther, 1, 0, ""}, func(s *scene) *httptest.ResponseRecorder {
			b := s.browser()
			begun := b.begin()
			b.get(callbackURL(begun.answers("a-code")))
			s.settle(v1alpha1.AuthorizationConnected, "Ada")
			s.resetCounts()
			return b.get(callbackURL(begun.answers("another-code")))
		}),
		judged("H61", "two tabs with one callback: the second is told so", verdict{http.StatusOK, 2, 0, "code a-code"}, func(s *scene) *httptest.ResponseRecorder {
			b := s.browser()
			begun := b.begin()
			b.get(callbackURL(begun.answers("a-code")))
			s.resetCounts()
			second := b.get(callbackURL(begun.answers("a-code")))
			return b.get(second.Header().Get("Location"))
		}).saying("One moment"),
		atCallback("H61", "prefetched", refused(), asItIs, header("Sec-Purpose", "prefetch")),
		atCallback("H61", "prerendered", refused(), asItIs, header("Sec-Purpose", "prefetch;prerender")),
		judged("H62", "another browser", refused(), func(s *scene) *httptest.ResponseRecorder {
			begun := s.browser().begin()
			s.resetCounts()
			return s.browser().get(callbackURL(begun.answers("a-code")))
		}),
		judged("H62", "another browser, with a cookie of its own flow under that name", refused(), func(s *scene) *httptest.ResponseRecorder {
			begun := s.browser().begin()
			victim := s.browser()
			victim.begin()
			for name, value := range victim.cookies {
				delete(victim.cookies, name)
				for theirs := range begunCookies(begun) {
					victim.cookies[theirs] = value
				}
			}
			s.resetCounts()
			return victim.get(callbackURL(begun.answers("a-code")))
		}),
	}
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func linkRows() []row {
	return []row{
		judged("H63", "mailed link: a page that says who asks, and no redirect", verdict{http.StatusOK, 2, 0, ""}, func(s *scene) *httptest.ResponseRecorder {
			return s.browser().get(publicURL + "/connect?ticket=" + s.ticket)
		}).saying("<strong>smartbusiness</strong>, of <strong>platform</strong>"),
		judged("H63", "mailed link that sends itself from another site", verdict{http.StatusForbidden, 0, 0, ""}, func(s *scene) *httptest.ResponseRecorder {
			return s.browser().press(s.ticket, header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.example"))
		}),
		atCallback("H64", "callback on another client's path", refused(), asItIs, func(r *http.Request) {
			r.URL.Path = "/consent/callback/platform/smartbills"
		}),
		judged("H65", "a client of somebody else's sends on to an honest server: its callback is on the other client's path", refused(), func(s *scene) *httptest.ResponseRecorder {
			s.change(func(a *v1alpha1.ConnectedAccount) {
				a.Spec.ClientRef = v1alpha1.ClientReference{Name: "evil", Namespace: "shop"}
			})
			evil := exampleClient()
			evil.Namespace, evil.Name, evil.UID = "shop", "evil", "uid-of-evil"
			s.clients[key("shop", "evil")] = evil
			b := s.browser()
			begun := b.begin()
			s.resetCounts()
			return b.get(callbackURL(begun.answers("a-code"))) // platform/smartbusiness, which is registered there
		}),
		atCallback("H72", "forwarded host and scheme", handsOver("code a-code"), asItIs, header("X-Forwarded-Host", "evil.example"), header("X-Forwarded-Proto", "http"), header("Forwarded", "host=evil.example")),
		judged("H72", "start with a forwarded host", verdict{http.StatusSeeOther, 2, 0, ""}, func(s *scene) *httptest.ResponseRecorder {
			got := s.browser().press(s.ticket, header("X-Forwarded-Host", "evil.example"), func(r *http.Request) { r.Host = "evil.example" })
			if strings.Contains(got.Header().Get("Location"), "evil") {
				s.t.Error("the redirect URI is the caller's")
			}
			return got
		}),
		judged("H73", "somewhere to return to", verdict{http.StatusSeeOther, 2, 0, ""}, func(s *scene) *httptest.ResponseRecorder {
			got := s.browser().press(s.ticket, func(r *http.Request) { r.URL.RawQuery = "return_to=//evil.example&next=https:evil.example" })
			if !strings.HasPrefix(got.Header().Get("Location"), provider+"/authorize?") {
				s.t.Errorf("went to %s", got.Header().Get("Location"))
			}
			return got
		}),
		judged("H73", "somewhere to return to, in a link: it is on no page", verdict{http.StatusOK, 2, 0, ""}, func(s *scene) *httptest.ResponseRecorder {
			return s.browser().get(publicURL + "/connect?ticket=" + s.ticket + "&return_to=https:evil.example&next=//evil.example")
		}).neverSaying("evil"),
		judged("H73", "somewhere to return to, in a callback: it ends here all the same", verdict{http.StatusSeeOther, 1, 1, "code a-code"}, func(s *scene) *httptest.ResponseRecorder {
			b := s.browser()
			query := b.begin().answers("a-code")
			query.Set("return_to", "//evil.example")
			s.resetCounts()
			got := b.get(callbackURL(query))
			if target := got.Header().Get("Location"); !strings.HasPrefix(target, publicURL+"/result?flow=") || strings.Contains(target, "evil") {
				s.t.Errorf("it goes on to %s", target)
			}
			return got
		}),
		atCallback("H73", "a path that is another host's", verdict{http.StatusNotFound, 0, 0, ""}, asItIs, func(r *http.Request) {
			r.URL.Path, r.URL.RawPath = "//evil.example/consent/callback/platform/smartbusiness", ""
		}),
	}
}

func answerRows() []row {
	return []row{
		atCallback("H66", "issuer as it should be", handsOver("code a-code"), func(q url.Values) { q.Set("iss", issuer) }).with(withIssuer()),
		atCallback("H66", "wrong issuer", refused(), func(q url.Values) { q.Set("iss", "https://evil.example") }).with(withIssuer()),
		atCallback("H66", "issuer with one slash more", refused(), func(q url.Values) { q.Set("iss", issuer+"/") }).with(withIssuer()),
		atCallback("H66", "issuer missing though the client names one", refused(), asItIs).with(withIssuer()),
		atCallback("H66", "issuer twice", refused(), func(q url.Values) { q["iss"] = []string{issuer, issuer} }).with(withIssuer()),
		atCallback("H66", "wrong issuer of a denial", refused(), func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") }).with(withIssuer()),
		atCallback("H67", "code missing", refused(), func(q url.Values) { q.Del("code") }),
		atCallback("H67", "code empty", refused(), func(q url.Values) { q.Set("code", "") }),
		atCallback("H67", "code twice", refused(), func(q url.Values) { q.Add("code", "another-code") }),
		atCallback("H67", "code of 100 kB", refused(), func(q url.Values) { q.Set("code", strings.Repeat("c", 100_000)) }),
		atCallback("H67", "code of 5 kB", refused(), func(q url.Values) { q.Set("code", strings.Repeat("c", 5_000)) }),
		atCallback("H67", "code with a line break", refused(), func(q url.Values) { q.Set("code", "a\r\nX-Evil: 1") }),
		atCallback("H67", "code with a zero byte", refused(), func(q url.Values) { q.Set("code", "a\x00") }),
		atCallback("H67", "broken escapes", refused(), asItIs, func(r *http.Request) { r.URL.RawQuery += "&x=%zz" }),
		atCallback("H67", "semicolons between fields", refused(), asItIs, func(r *http.Request) { r.URL.RawQuery += ";x=1" }),
		atCallback("H68", "denied, with markup in the description", handsOver("denial access_denied"), func(q url.Values) {
			q.Del("code")
			q.Set("error", "access_denied")
			q.Set("error_description", "<script>alert(1)</script>")
			q.Set("error_uri", "javascript:alert(1)")
		}),
		judged("H68", "markup and a script as a link are on no page", verdict{http.StatusOK, 2, 1, "denial access_denied"}, func(s *scene) *httptest.ResponseRecorder {
			b := s.browser()
			query := url.Values{"state": {b.begin().state}, "error": {"access_denied"}, "error_description": {"<script>alert(1)"}, "error_uri": {"javascript:alert(1)"}}
			s.resetCounts()
			return b.get(b.get(callbackURL(query)).Header().Get("Location"))
		}).saying("Not connected").neverSaying("alert"),
		atCallback("H68", "a code of the provider's own", handsOver("denial unrecognised"), func(q url.Values) { q.Del("code"); q.Set("error", "secret-of-somebody") }),
		atCallback("H68", "markup as the code", refused(), func(q url.Values) { q.Del("code"); q.Set("error", `"><script>`) }),
		atCallback("H68", "error empty", refused(), func(q url.Values) { q.Set("error", "") }),
		atCallback("H68", "error twice", refused(), func(q url.Values) { q["error"] = []string{"access_denied", "server_error"} }),
		judged("H68", "denied without a state of ours", refused(), func(s *scene) *httptest.ResponseRecorder {
			return s.browser().get(callbackURL(url.Values{"error": {"access_denied"}, "state": {strings.Repeat("A", 43)}}))
		}),
		atCallback("H69", "error and code", handsOver("denial server_error"), func(q url.Values) { q.Set("error", "server_error") }),
		atCallback("H70", "a server named in the callback", handsOver("code a-code"), func(q url.Values) {
			q.Set("accounts-server", "https://evil.example")
			q.Set("domain_prefix", "evil.example/")
		}),
		atCallback("H70", "fields that the client wants", handsOver("code a-code realmId=42"), func(q url.Values) { q.Set("realmId", "42") }).with(capturing("realmId", "absent")),
		atCallback("H70", "a wanted field twice", refused(), func(q url.Values) { q["realmId"] = []string{"42", "43"} }).with(capturing("realmId")),
		atCallback("H70", "a wanted field with a line break", refused(), func(q url.Values) { q.Set("realmId", "42\n") }).with(capturing("realmId")),
		atCallback("H70", "a wanted field of 2 kB", refused(), func(q url.Values) { q.Set("realmId", strings.Repeat("4", 2_000)) }).with(capturing("realmId")),
		atCallback("H71", "an access token", refused(), func(q url.Values) { q.Set("access_token", "t") }),
		atCallback("H71", "an ID token", refused(), func(q url.Values) { q.Set("id_token", "t") }),
		atCallback("H71", "a signed response", refused(), func(q url.Values) { q.Set("response", "t") }),
		atCallback("H71", "a token", refused(), func(q url.Values) { q.Set("token", "t") }),
		atCallback("H71", "all in the fragment, which no server sees", refused(), func(q url.Values) { clear(q) }),
		judged("H71", "posted as a form", refused(), func(s *scene) *httptest.ResponseRecorder {
			b := s.browser()
			begun := b.begin()
			s.resetCounts()
			return b.send(http.MethodPost, publicURL+"/callback/platform/smartbusiness", strings.NewReader(begun.answers("a-code").Encode()),
				header("Content-Type", "application/x-www-form-urlencoded"), header("Origin", provider))
		}),
	}
}

func browserRows() []row {
	return []row{
		judged("H74", "10 000 flows that were begun, and random states: the same page, nothing remembered", refused(), func(s *scene) *httptest.ResponseRecorder {
			return s.browser().get(callbackURL(url.Values{"state": {strings.Repeat("B", 43)}, "code": {"c"}}))
		}),
		atCallback("H75", "in a frame", refused(), asItIs, header("Sec-Fetch-Dest", "iframe")),
		atCallback("H75", "as an image", refused(), asItIs, header("Sec-Fetch-Dest", "image")),
		atCallback("H75", "ends at a URL without the code, and tells nobody where it was", handsOver("code a-code"), asItIs),
		judged("H76", "the code is refused: what was there before goes on", verdict{http.StatusOK, 1, 0, ""}, resultAfter(v1alpha1.AuthorizationRejected, "")).
			saying("what was connected before goes on as it was"),
		judged("H76", "nobody knows what came of the code", verdict{http.StatusOK, 1, 0, ""}, resultAfter(v1alpha1.AuthorizationInDoubt, "")).
			saying("nobody can tell what came of it"),
		judged("H77", "another person than expected", verdict{http.StatusOK, 1, 0, ""}, resultAfter(v1alpha1.AuthorizationSubjectChanged, "Mallory <m@evil.example>")).
			saying("You signed in as <strong>Mallory &lt;m@evil.example&gt;</strong>"),
	}
}

// resultAfter is the page that a person sees once the controller has settled.
func resultAfter(result v1alpha1.AuthorizationResult, identity string) func(*scene) *httptest.ResponseRecorder {
	return func(s *scene) *httptest.ResponseRecorder {
		b := s.browser()
		landed := b.get(callbackURL(b.begin().answers("a-code"))).Header().Get("Location")
		s.settle(result, identity)
		s.resetCounts()
		return b.get(landed)
	}
}

// TestHostile lists what browsers, providers and people between them do, by its id, with what comes of it. No row changes
// the credential that the account holds, and no row puts a code, a state or a verifier into a page or the log.
func TestHostile(t *testing.T) {
	t.Parallel()
	for _, r := range allRows() {
		t.Run(r.id+" "+r.behaviour, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, r.options)
			before := s.account().Status.SealedCredential
			got := r.play(s)
			reads, writes := s.counts()
			if now := (verdict{got.Code, reads, writes, s.handedOver()}); now != r.verdict {
				t.Errorf("it ends with %+v, want %+v; the page: %s", now, r.verdict, title(got))
			}
			if after := s.account().Status.SealedCredential; after != before {
				t.Errorf("the credential is %q", after)
			}
			if r.verdict == refused() {
				// Whoever tries must not learn from the answer what was wrong.
				stranger := s.browser().get(callbackURL(url.Values{"state": {strings.Repeat("A", 43)}, "code": {"c"}}))
				if diff := cmp.Diff(describe(stranger), describe(got)); diff != "" {
					t.Errorf("the answer is another than a stranger's (-stranger +got):\n%s", diff)
				}
			}
			r.checkPage(t, s, got)
			checkHeaders(t, got)
		})
	}
}

// checkPage asserts what a page says, and that nothing of a sign-in got out by it or by the log.
func (r row) checkPage(t *testing.T, s *scene, got *httptest.ResponseRecorder) {
	t.Helper()
	if !strings.Contains(got.Body.String(), r.says) {
		t.Errorf("the page does not say %q:\n%s", r.says, got.Body)
	}
	if r.not != "" && strings.Contains(got.Body.String(), r.not) {
		t.Errorf("the page says %q:\n%s", r.not, got.Body)
	}
	for _, planted := range []string{"a-code", "another-code"} {
		if strings.Contains(got.Body.String()+s.log.String()+got.Header().Get("Location"), planted) {
			t.Errorf("%s got out", planted)
		}
	}
}

func allRows() []row {
	var all []row
	for _, rows := range [][]row{stateRows(), linkRows(), answerRows(), browserRows()} {
		all = append(all, rows...)
	}
	return all
}

// TestHostileListIsComplete asserts that each id of the callback has a row.
func TestHostileListIsComplete(t *testing.T) {
	t.Parallel()
	rows := map[string]int{}
	for _, r := range allRows() {
		rows[r.id]++
	}
	for _, id := range strings.Fields("H60 H61 H62 H63 H64 H65 H66 H67 H68 H69 H70 H71 H72 H73 H74 H75 H76 H77") {
		if rows[id] == 0 {
			t.Errorf("%s has no row", id)
		}
	}
}

// checkHeaders asserts what every answer has.
func checkHeaders(t *testing.T, got *httptest.ResponseRecorder) {
	t.Helper()
	policy := got.Header().Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action "} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy lacks %s: %s", part, policy)
		}
	}
	start := got.Code == http.StatusOK && strings.Contains(got.Body.String(), "<form")
	want := map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
	if start {
		want["Referrer-Policy"] = "same-origin"
	}
	for name, value := range want {
		if got.Header().Get(name) != value {
			t.Errorf("%s is %q, want %q", name, got.Header().Get(name), value)
		}
	}
	if formAction := strings.Contains(policy, "form-action 'self' https:"); formAction != start {
		t.Errorf("the policy of this page is %s", policy)
	}
}

// begunCookies are the names of the cookies of an attempt.
func begunCookies(a attempt) map[string]bool { return map[string]bool{cookieName(a.state): true} }
