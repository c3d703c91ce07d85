package consent_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// asks is how often a source is let in before it is told to wait.
func asks(b *browser, most int, changes ...func(*http.Request)) int {
	for i := range most {
		if b.get(publicURL+"/connect", changes...).Code == http.StatusTooManyRequests {
			return i
		}
	}
	return most
}

func TestOneSourceMakesThirtyRequestsAMinute(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	b := s.browser()
	if got := asks(b, 100); got != 30 {
		t.Errorf("it is let in %d times", got)
	}
	refused := b.get(publicURL + "/connect?ticket=" + s.ticket)
	if refused.Header().Get("Retry-After") == "" || title(refused) != "A little slower, please" {
		t.Errorf("it is told %q", title(refused))
	}
	checkHeaders(t, refused)
	if other := s.browser(); asks(&browser{s: s, from: "198.51.100.8:1", cookies: other.cookies}, 1) != 1 {
		t.Error("another source is held back")
	}
	// The window slides: half a minute later half of it is free again.
	s.clock.SetTime(epoch().Add(90 * time.Second))
	if got := asks(b, 100); got != 15 {
		t.Errorf("after a minute and a half it is let in %d times", got)
	}
	s.clock.SetTime(epoch().Add(10 * time.Minute))
	if got := asks(b, 100); got != 30 {
		t.Errorf("after ten minutes it is let in %d times", got)
	}
}

func TestWhoAsks(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	forwarded := func(lines ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header["X-Forwarded-For"] = lines }
	}
	cases := map[string]struct {
		first, second         string
		firstSays, secondSays func(*http.Request)
		same                  bool
	}{
		"two ports of one address":                      {"198.51.100.1:1", "198.51.100.1:2", forwarded(), forwarded(), true},
		"two addresses":                                 {"198.51.100.1:1", "198.51.100.2:1", forwarded(), forwarded(), false},
		"two of one /64":                                {"[2001:db8::1]:1", "[2001:db8::ffff:1]:1", forwarded(), forwarded(), true},
		"two /64s":                                      {"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", forwarded(), forwarded(), false},
		"IPv4 in IPv6":                                  {"198.51.100.1:1", "[::ffff:198.51.100.1]:1", forwarded(), forwarded(), true},
		"whoever is no proxy is not believed":           {"198.51.100.1:1", "198.51.100.1:1", forwarded("203.0.113.1"), forwarded("203.0.113.2"), true},
		"a proxy is":                                    {"10.0.0.1:1", "10.0.0.1:1", forwarded("203.0.113.1"), forwarded("203.0.113.2"), false},
		"two proxies, one person":                       {"10.0.0.1:1", "[fd00::1]:1", forwarded("203.0.113.1"), forwarded("203.0.113.1:4711"), true},
		"what stands before is the person's own":        {"10.0.0.1:1", "10.0.0.1:1", forwarded("192.0.2.1, 203.0.113.1"), forwarded("192.0.2.2, 203.0.113.1"), true},
		"a chain of proxies":                            {"10.0.0.1:1", "10.0.0.1:1", forwarded("203.0.113.1, 10.0.0.2", "10.0.0.3"), forwarded("203.0.113.2, 10.0.0.2", "10.0.0.3"), false},
		"a chain that comes from the person":            {"10.0.0.1:1", "10.0.0.1:1", forwarded("192.0.2.1", "203.0.113.1, 10.0.0.2"), forwarded("192.0.2.2", "203.0.113.1, 10.0.0.2"), true},
		"a proxy that says nothing":                     {"10.0.0.1:1", "10.0.0.1:1", forwarded(), forwarded(), true},
		"a proxy that says what is no address":          {"10.0.0.1:1", "10.0.0.1:1", forwarded("unknown"), forwarded("_hidden"), true},
		"a proxy whose person claims to be a proxy too": {"10.0.0.1:1", "10.0.0.1:1", forwarded("203.0.113.9, 10.9.9.9"), forwarded("203.0.113.8, 10.9.9.9"), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, sceneOptions{trusted: proxies})
			first, second := s.browser(), s.browser()
			first.from, second.from = c.first, c.second
			asks(first, 100, c.firstSays)
			if got := asks(second, 1, c.secondSays); (got == 0) != c.same {
				t.Errorf("they share a limit: %v, want %v", got == 0, c.same)
			}
		})
	}
}

func TestSixtyFourRequestsAreAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	inside, leave := make(chan struct{}, 64), make(chan struct{})
	s.handler = newHandlerOver(t, s, slowStore{s.store, inside, leave})
	var all sync.WaitGroup
	for i := range 64 {
		b := s.browser()
		b.from = fmt.Sprintf("198.51.100.%d:1", i)
		all.Go(func() { b.get(publicURL + "/connect?ticket=" + s.ticket) })
	}
	for range 64 {
		<-inside
	}
	b := s.browser()
	b.from = "198.51.100.200:1"
	got := b.get(publicURL + "/connect")
	if got.Code != http.StatusServiceUnavailable || title(got) != "Very busy right now" || got.Header().Get("Retry-After") == "" {
		t.Errorf("the 65th: %d %q", got.Code, title(got))
	}
	checkHeaders(t, got)
	close(leave)
	all.Wait()
	if got := b.get(publicURL + "/connect"); got.Code != http.StatusNotFound {
		t.Errorf("afterwards: %d", got.Code)
	}
}

// TestAPanicLeavesNoSlotBehind: net/http goes on after a panic of a handler, and so must the limit.
func TestAPanicLeavesNoSlotBehind(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	s.handler = newHandlerOver(t, s, slowStore{}) // which has no store within
	for i := range 100 {
		b := s.browser()
		b.from = fmt.Sprintf("198.51.100.%d:1", i)
		func() {
			defer func() { _ = recover() }()
			b.get(publicURL + "/connect?ticket=" + s.ticket)
		}()
	}
	if got := s.browser().get(publicURL + "/connect"); got.Code != http.StatusNotFound {
		t.Errorf("after 100 panics: %d", got.Code)
	}
}

// slowStore answers when it is told to.
type slowStore struct {
	*store
	inside, leave chan struct{}
}

func (s slowStore) Account(ctx context.Context, namespace, name string) (*v1alpha1.ConnectedAccount, error) {
	if s.inside != nil {
		s.inside <- struct{}{}
		<-s.leave
	}
	return s.store.Account(ctx, namespace, name)
}

func TestWhatIsAskedOtherwiseThanByGETAndPOST(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodHead, "BREW"} {
		s := newScene(t, sceneOptions{})
		for path, want := range map[string]int{
			"/connect?ticket=" + s.ticket: http.StatusMethodNotAllowed, "/result": http.StatusMethodNotAllowed,
			"/callback/platform/smartbusiness?state=x": http.StatusBadRequest, "/": http.StatusNotFound,
		} {
			got := s.browser().send(method, publicURL+path, strings.NewReader(""), header("Origin", "https://oauth.example.com"))
			if got.Code != want {
				t.Errorf("%s %s: %d, want %d", method, path, got.Code, want)
			}
		}
		if reads, writes := s.counts(); reads+writes > 0 {
			t.Errorf("%s: %d reads, %d writes", method, reads, writes)
		}
	}
}

func TestPathsThatAreNotThere(t *testing.T) {
	t.Parallel()
	s := newScene(t, sceneOptions{})
	want := describe(s.browser().get(publicURL + "/connect"))
	for i, target := range []string{
		"https://oauth.example.com/", "https://oauth.example.com/connect", "https://oauth.example.com/consentconnect", publicURL, publicURL + "/",
		publicURL + "//connect", publicURL + "/connect/", publicURL + "/./connect", publicURL + "/%63onnect", publicURL + "/callback", publicURL + "/robots.txt",
		publicURL + "/result?flow=" + strings.Repeat("A", 43), publicURL + "/result?flow=..%2f..", publicURL + "/result?flow=%0d%0aX:y",
	} {
		b := s.browser()
		b.from = fmt.Sprintf("198.51.100.%d:1", i)
		if diff := cmp.Diff(want, describe(b.get(target))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", target, diff)
		}
	}
	if reads, writes := s.counts(); reads+writes > 0 {
		t.Errorf("%d reads, %d writes", reads, writes)
	}
}
