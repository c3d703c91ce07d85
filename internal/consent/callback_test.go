package consent_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// S23: strangers cost nothing but the answer. Not parallel: the heap is one for all.
func TestS23TenThousandStrangersCauseNoRequestToTheAPIServer(t *testing.T) { //nolint:paralleltest // see above
	s := newScene(t, sceneOptions{})
	before, series := heap(), len(s.measured())
	answers := map[int]int{}
	for i := range 10_000 {
		b := s.browser()
		b.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i / 200), byte(i % 200)}), 1234).String()
		random := fmt.Sprintf("%043d", i)
		switch i % 5 {
		case 0:
			answers[b.get(publicURL+"/connect?ticket="+strings.Repeat(random, 4)).Code]++
		case 1:
			answers[b.press(strings.Repeat(random, 4)).Code]++
		case 2:
			answers[b.get(callbackURL(url.Values{"state": {random}, "code": {"c"}})).Code]++
		case 3:
			b.cookies[cookieName(random)] = strings.Repeat(random, 10)
			answers[b.get(callbackURL(url.Values{"state": {random}, "code": {"c"}})).Code]++
		case 4:
			b.cookies[cookieName(random)] = strings.Repeat(random, 10)
			answers[b.get(publicURL+"/result?flow="+strings.TrimPrefix(cookieName(random), "__Host-oauth-")).Code]++
		}
		s.clock.SetTime(s.clock.Now().Add(6 * time.Millisecond))
	}
	if reads, writes := s.counts(); reads+writes != 0 {
		t.Errorf("the API server got %d reads and %d writes", reads, writes)
	}
	for status := range answers {
		if status != http.StatusNotFound && status != http.StatusBadRequest && status != http.StatusTooManyRequests {
			t.Errorf("%d times the answer is %d", answers[status], status)
		}
	}
	if answers[http.StatusNotFound] < 3000 || answers[http.StatusBadRequest] < 2000 {
		t.Errorf("hardly anybody got through to be refused: %v", answers)
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if s.log.Len() > 0 {
		t.Errorf("strangers write into the log: %.200s", s.log)
	}
	measured := s.measured()
	if len(measured) != series {
		t.Errorf("strangers have made %d series of %d", len(measured), series)
	}
	nothing, refused := measured[`oauth_operator_consent_requests_total{answer="nothing"}`], measured[`oauth_operator_consent_requests_total{answer="refused"}`]
	tooMany := measured[`oauth_operator_consent_requests_total{answer="tooMany"}`]
	if int(nothing) != answers[http.StatusNotFound] || int(refused) != answers[http.StatusBadRequest] || int(tooMany) != answers[http.StatusTooManyRequests] {
		t.Errorf("the metrics say %v, %v and %v, the answers were %v", nothing, refused, tooMany, answers)
	}
	// And a person gets through all the while.
	if got := s.browser().get(publicURL + "/connect?ticket=" + s.ticket); got.Code != http.StatusOK {
		t.Errorf("a person is told %d", got.Code)
	}
}

func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc) //nolint:gosec // no heap is that large
}

// S25: codes that are none, by somebody who has the link.
func TestS25GarbageWithAValidLinkMakesFewWritesAndThePersonSucceeds(t *testing.T) {
	t.Parallel()
	for name, query := range map[string]url.Values{"codes": {"code": {"garbage"}}, "denials": {"error": {"access_denied"}}} {
		for controller, settles := range map[string]bool{"that works": true, "that is away": false} {
			t.Run(name+", with a controller "+controller, func(t *testing.T) {
				t.Parallel()
				garbageThenThePerson(t, query, settles)
			})
		}
	}
}

// garbageThenThePerson has garbage come once a minute for an hour, and then the person.
func garbageThenThePerson(t *testing.T, query url.Values, settles bool) {
	t.Helper()
	s := newScene(t, sceneOptions{trusted: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}})
	writes := 0
	for range 55 {
		writes += garbage(s, query)
		if settles && s.handedOver() != "" {
			s.settle(v1alpha1.AuthorizationRejected, "")
		}
		s.clock.SetTime(s.clock.Now().Add(time.Minute))
	}
	if writes == 0 || settles && writes > 5 || writes > 6 { // with the controller away, one each ten minutes
		t.Errorf("%d writes within an hour", writes)
	}
	s.clock.SetTime(epoch().Add(61 * time.Minute))
	b := s.browser()
	s.change(func(a *v1alpha1.ConnectedAccount) { // the controller is back, and drops what is dead
		a.Status.Authorization.HandOver, a.Status.Authorization.Denial = v1alpha1.HandOver{}, v1alpha1.AuthorizationDenial{}
	})
	if got := b.get(callbackURL(b.begin().answers("the-real-code"))); got.Code != http.StatusSeeOther || s.handedOver() != "code the-real-code" {
		t.Errorf("the person's flow: %d, %q", got.Code, s.handedOver())
	}
}

// garbage is a sign-in by somebody who has the link, and no access at the provider. It returns how many writes it cost.
func garbage(s *scene, answer url.Values) int {
	b := s.browser()
	pressed := b.press(s.ticket)
	target, err := url.Parse(pressed.Header().Get("Location"))
	if pressed.Code != http.StatusSeeOther || err != nil {
		return 0
	}
	answer = maps.Clone(answer)
	answer.Set("state", target.Query().Get("state"))
	s.resetCounts()
	b.get(callbackURL(answer))
	_, writes := s.counts()
	return writes
}

// S26: everything that opens a callback's URL without being the person's tab, and the tab twice.
func TestS26OneCallbackIsHandedOverOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	b := s.browser()
	begun := b.begin()
	target := callbackURL(begun.answers("a-code"))
	s.resetCounts()
	for name, got := range map[string]int{
		"HEAD":            b.send(http.MethodHead, target, nil).Code,
		"an image":        b.get(target, header("Sec-Fetch-Dest", "image")).Code,
		"a prefetch":      b.get(target, header("Sec-Purpose", "prefetch")).Code,
		"an old prefetch": b.get(target, header("X-Moz", "prefetch")).Code,
		"a script":        b.get(target, header("Sec-Fetch-Dest", "empty")).Code,
		"a link preview":  s.browser().get(target).Code, // without the cookie
	} {
		if got != http.StatusBadRequest {
			t.Errorf("%s is answered by %d", name, got)
		}
	}
	if reads, writes := s.counts(); reads+writes > 0 {
		t.Errorf("before the person came there were %d reads and %d writes", reads, writes)
	}
	// Two tabs at once, and a reload of each.
	var together sync.WaitGroup
	codes := make([]int, 8)
	for i := range codes {
		tab := s.browser()
		for name, value := range b.cookies {
			tab.cookies[name] = value
		}
		together.Go(func() { codes[i] = tab.get(target).Code })
	}
	together.Wait()
	for _, code := range codes {
		if code != http.StatusSeeOther {
			t.Errorf("a tab is answered by %d", code)
		}
	}
	if got := s.account().Status.Authorization.UsedStates; len(got) != 1 || s.handedOver() != "code a-code" {
		t.Errorf("used states: %v, handed over: %q", got, s.handedOver())
	}
}

func TestAWriteThatMeetsOthersIsDoneAgain(t *testing.T) {
	t.Parallel()
	lost := errors.New("connection reset by peer")
	cases := map[string]struct {
		arrange       func(*scene)
		status        int
		waits         string
		reads, writes int
	}{
		"a conflict": {func(s *scene) {
			s.beforeWrite = func() error {
				s.mu.Lock()
				s.beforeWrite = nil
				s.mu.Unlock()
				s.change(func(a *v1alpha1.ConnectedAccount) { a.Status.Rotations++ })
				return nil
			}
		}, http.StatusSeeOther, "code a-code", 2, 2},
		"a write whose answer is lost": {func(s *scene) { s.afterWrite = func() error { return lost } }, http.StatusSeeOther, "code a-code", 2, 1},
		"a write that is refused":      {func(s *scene) { s.beforeWrite = func() error { return lost } }, http.StatusServiceUnavailable, "", 4, 0},
		"an account that goes away": {func(s *scene) {
			s.beforeWrite = func() error { s.change(func(a *v1alpha1.ConnectedAccount) { a.UID = "another" }); return nil }
		}, http.StatusNotFound, "", 2, 1},
		"no API server": {func(s *scene) { s.readError = lost }, http.StatusServiceUnavailable, "", 1, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, sceneOptions{})
			b := s.browser()
			target := callbackURL(b.begin().answers("a-code"))
			s.resetCounts()
			c.arrange(s)
			got := b.get(target)
			reads, writes := s.counts()
			s.readError = nil
			if got.Code != c.status || s.handedOver() != c.waits || reads != c.reads || writes != c.writes {
				t.Errorf("%d, %q waits, %d reads, %d writes; want %+v", got.Code, s.handedOver(), reads, writes, c)
			}
			if strings.Contains(got.Header().Get("Location"), "seen") {
				t.Error("its own write is taken for another's")
			}
			// What could not be written was not used up: the person reloads.
			if c.status == http.StatusServiceUnavailable {
				s.beforeWrite = nil
				if again := b.get(target); again.Code != http.StatusSeeOther || s.handedOver() != "code a-code" {
					t.Errorf("a reload: %d, %q", again.Code, s.handedOver())
				}
			}
		})
	}
}

func TestACodeThatWaitsIsNotReplaced(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	first, second := s.browser(), s.browser()
	one, two := first.begin(), second.begin()
	first.get(callbackURL(one.answers("a-code")))
	got := second.get(callbackURL(two.answers("another-code")))
	if got.Code != http.StatusConflict || s.handedOver() != "code a-code" {
		t.Errorf("the second: %d %q, and %q waits", got.Code, title(got), s.handedOver())
	}
	// It is dead by now: the controller was away, and the provider has forgotten it.
	s.clock.SetTime(epoch().Add(10*time.Minute + time.Second))
	third := s.browser()
	if got := third.get(callbackURL(third.begin().answers("third-code"))); got.Code != http.StatusSeeOther || s.handedOver() != "code third-code" {
		t.Errorf("after ten minutes: %d, and %q waits", got.Code, s.handedOver())
	}
}

func TestAnAccountRemembersSixteenStates(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{account: func(a *v1alpha1.ConnectedAccount) {
		for i := range 16 {
			a.Status.Authorization.UsedStates = append(a.Status.Authorization.UsedStates, v1alpha1.StateHash(fmt.Sprint("old", i)))
		}
	}})
	b := s.browser()
	begun := b.begin()
	b.get(callbackURL(begun.answers("a-code")))
	used := s.account().Status.Authorization.UsedStates
	if len(used) != 16 || used[0] != "old1" || cookieName(begun.state) != "__Host-oauth-"+string(used[15]) {
		t.Errorf("used are %v", used)
	}
}

func TestTheResultFollowsTheStatus(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		result   v1alpha1.AuthorizationResult
		identity string
		title    string
		says     string
	}{
		"connected":              {v1alpha1.AuthorizationConnected, "Ada <ada@example.com>", "Connected", "as <strong>Ada &lt;ada@example.com&gt;</strong>"},
		"connected, as nobody":   {v1alpha1.AuthorizationConnected, "", "Connected", "The connection <strong>acme</strong> is made"},
		"to be approved":         {v1alpha1.AuthorizationNeedsApproval, "Ada", "Your part is done", "once somebody at <strong>shop</strong> has confirmed"},
		"denied":                 {v1alpha1.AuthorizationWasDenied, "", "Not connected", "Nothing was kept"},
		"rejected":               {v1alpha1.AuthorizationRejected, "", "It did not work", "Nothing was kept"},
		"in doubt":               {v1alpha1.AuthorizationInDoubt, "", "Please try once more", "goes on as it was"},
		"another account":        {v1alpha1.AuthorizationSubjectChanged, "Bob", "That was another account", "is for <strong>Ada</strong>"},
		"too late":               {v1alpha1.AuthorizationExpired, "", "It took too long", "Nothing was kept"},
		"one of a later version": {"Astonished", "", "It did not work", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, sceneOptions{account: func(a *v1alpha1.ConnectedAccount) { a.Spec.ExpectedIdentity = "Ada" }})
			b := s.browser()
			target := b.get(callbackURL(b.begin().answers("a-code"))).Header().Get("Location")
			waiting := b.get(target)
			if waiting.Code != http.StatusOK || title(waiting) != "One moment" || !strings.Contains(waiting.Body.String(), `http-equiv="refresh"`) {
				t.Errorf("before: %d %q", waiting.Code, title(waiting))
			}
			s.settle(c.result, c.identity)
			s.resetCounts()
			got := b.get(target)
			if got.Code != http.StatusOK || title(got) != c.title || !strings.Contains(got.Body.String(), c.says) {
				t.Errorf("%d %q, want %q and %q in it:\n%s", got.Code, title(got), c.title, c.says, got.Body)
			}
			if strings.Contains(got.Body.String(), "refresh") {
				t.Error("it goes on looking")
			}
			if reads, writes := s.counts(); reads != 1 || writes != 0 {
				t.Errorf("%d reads, %d writes", reads, writes)
			}
			checkHeaders(t, got)
		})
	}
}

func TestAResultIsForTheBrowserThatBegan(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	b := s.browser()
	begun := b.begin()
	target := b.get(callbackURL(begun.answers("a-code"))).Header().Get("Location")
	s.settle(v1alpha1.AuthorizationConnected, "Ada")
	if other := s.browser().get(target); other.Code != http.StatusNotFound {
		t.Errorf("another browser: %d", other.Code)
	}
	// A replay ends at the same page, which says so.
	again := b.get(b.get(callbackURL(begun.answers("a-code"))).Header().Get("Location"))
	if !strings.Contains(again.Body.String(), "used already") || title(again) != "Connected" {
		t.Errorf("a replay says %q", title(again))
	}
}

func TestAProviderErrorIsToldFromANo(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"access_denied": "Not connected", "server_error": "The provider has a problem", "temporarily_unavailable": "The provider has a problem",
		"its_own": "The provider has a problem",
		// The request was wrong, and waiting does not help.
		"invalid_scope": "It did not work", "invalid_request": "It did not work", "unauthorized_client": "It did not work",
	} {
		s := newScene(t, sceneOptions{})
		b := s.browser()
		target := b.get(callbackURL(url.Values{"state": {b.begin().state}, "error": {code}})).Header().Get("Location")
		got := b.get(target)
		if title(got) != want || strings.Contains(got.Body.String(), "its_own") {
			t.Errorf("%s: %q, want %q", code, title(got), want)
		}
		if want == "It did not work" && !strings.Contains(got.Body.String(), "<code>"+code+"</code>") {
			t.Errorf("%s is not named:\n%s", code, got.Body)
		}
		result := v1alpha1.AuthorizationRejected
		if want == "Not connected" {
			result = v1alpha1.AuthorizationWasDenied
		}
		s.settle(result, "")
		if after := b.get(target); after.Body.String() != got.Body.String() {
			t.Errorf("%s: once the operator has taken it up, the page says\n%s\nand not\n%s", code, after.Body, got.Body)
		}
	}
}

func TestThePageLooksAgainAFewTimes(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	b := s.browser()
	target := b.get(callbackURL(b.begin().answers("a-code"))).Header().Get("Location")
	refresh := regexp.MustCompile(`http-equiv="refresh" content="(\d+); url=([^"]+)"`)
	var total time.Duration
	looked := 0
	for {
		got := b.get(target)
		found := refresh.FindStringSubmatch(got.Body.String())
		if found == nil {
			if title(got) != "Not finished yet" || !strings.Contains(got.Body.String(), "Look again") {
				t.Errorf("at the end: %d %q", got.Code, title(got))
			}
			break
		}
		seconds, _ := time.ParseDuration(found[1] + "s")
		total += seconds
		looked++
		s.clock.SetTime(s.clock.Now().Add(seconds))
		target = strings.ReplaceAll(found[2], "&amp;", "&")
	}
	if looked < 10 || looked > 20 || total < time.Minute || total > 3*time.Minute {
		t.Errorf("it looked %d times in %s", looked, total)
	}
	// An outcome of somebody else's attempt is none of this one.
	s.change(func(a *v1alpha1.ConnectedAccount) {
		a.Status.Authorization.HandOver = v1alpha1.HandOver{}
		a.Status.Authorization.LastOutcome = v1alpha1.AuthorizationOutcome{StateHash: "another", Result: v1alpha1.AuthorizationConnected, Identity: "Bob"}
	})
	if got := b.get(target); title(got) != "Already used" || strings.Contains(got.Body.String(), "Bob") {
		t.Errorf("with another's outcome: %q", title(got))
	}
	// While the code is exchanged, it waits.
	s.change(func(a *v1alpha1.ConnectedAccount) {
		a.Status.Authorization.Exchange.StateHash = a.Status.Authorization.UsedStates[0]
	})
	if got := b.get(target); title(got) != "One moment" && title(got) != "Not finished yet" {
		t.Errorf("in exchange: %q", title(got))
	}
}

func TestAHandOverThatDiedIsSaidToHaveTakenTooLong(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	b := s.browser()
	target := b.get(callbackURL(b.begin().answers("a-code"))).Header().Get("Location")
	s.clock.SetTime(epoch().Add(11 * time.Minute))
	if got := b.get(target); title(got) != "It took too long" {
		t.Errorf("%q", title(got))
	}
	s.clock.SetTime(epoch().Add(31 * time.Minute))
	if got := b.get(target); got.Code != http.StatusNotFound {
		t.Errorf("after half an hour: %d", got.Code)
	}
}

// S27: keys that are rotated in the middle of a sign-in, and a replica that has another set of them.
func TestKeysThatAreRotatedInTheMiddleOfASignIn(t *testing.T) {
	t.Parallel()
	old := newTestKeys(t)
	both := old.rotated(t)
	s := newScene(t, sceneOptions{keys: held{old.consent}})
	s.keys = old
	s.ticket = s.sealTicket(seal.Ticket{Namespace: "shop", Name: "acme", AccountUID: "uid-of-acme", Attempt: 1, NotAfter: epoch().Add(time.Hour)})
	b := s.browser()
	begun := b.begin()
	s.handler = newHandler(t, s, held{both.consent}, nil) // the same, after the rotation
	landed := b.get(callbackURL(begun.answers("a-code")))
	if landed.Code != http.StatusSeeOther {
		t.Fatalf("the callback: %d", landed.Code)
	}
	if got := b.get(landed.Header().Get("Location")); got.Code != http.StatusOK {
		t.Errorf("the result: %d", got.Code)
	}
	without := newHandler(t, s, held{nil}, nil)
	s.handler = without
	if got := b.get(publicURL + "/connect?ticket=" + s.ticket); got.Code != http.StatusServiceUnavailable {
		t.Errorf("without keys: %d", got.Code)
	}
}

// What the person was asked for, and who is to have the code, goes with it: by the time that it is exchanged, neither spec need
// say the same.
func TestAHandOverTellsWhatWasAskedForAndWhoIsToHaveIt(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	browser := s.browser()
	flow := browser.begin()
	s.change(func(a *v1alpha1.ConnectedAccount) { a.Spec.Scopes = []v1alpha1.Scope{"admin"} })
	s.clients[key("platform", "smartbusiness")].Spec.Endpoints.Token = "https://evil.example/token"
	if got := browser.get(callbackURL(flow.answers("a-code"))); got.Code != http.StatusSeeOther {
		t.Fatalf("the answer is %d", got.Code)
	}
	over := s.account().Status.Authorization.HandOver
	if over.Host != "api.provider.example" {
		t.Errorf("the code is for %q", over.Host)
	}
	opened, err := s.keys.keyring.OpenHandOver(seal.HandOverBinding{
		AccountUID: "uid-of-acme", ClientUID: over.ClientUID, ClientID: over.ClientID, RedirectURI: over.RedirectURI, Attempt: over.Attempt, StateHash: string(over.StateHash),
	}, over.Sealed)
	if err != nil || opened.ScopeHash != seal.ScopeHash([]string{"contact", "invoices"}) {
		t.Errorf("the scopes that were asked for are not told: %v", err)
	}
}
