package pace_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/pace"
)

const worked oauth.Class = ""

// request is one of the account "namespace/name" with the client x.
func request(namespace, name string) pace.Request {
	return pace.Request{Account: namespace + "/" + name, Client: "x", Namespace: namespace, Inputs: "1"}
}

// makes has requests made one after the other, each of which has to be let through.
func makes(t *testing.T, circuits *pace.Circuits, when time.Time, class oauth.Class, requests ...pace.Request) {
	t.Helper()
	for _, r := range requests {
		if hold, allowed := circuits.Enter(r, when); !allowed {
			t.Fatalf("%s is held back: %+v", r.Account, hold)
		}
		circuits.Report(r.Account, pace.Outcome{Class: class}, when)
	}
}

// held is until when a request is held back, in seconds; 0: it is not.
func held(t *testing.T, circuits *pace.Circuits, when time.Time, r pace.Request, want float64, class oauth.Class) {
	t.Helper()
	got := circuits.Look(r, when)
	if want == 0 && got != (pace.Hold{}) || want > 0 && (!got.Until.Equal(at(want)) || got.Class != class) {
		t.Errorf("%s at %s is held back: %+v, want until %v s for %s", r.Account, when.Sub(start()), got, want, class)
	}
}

func many(namespace string, n int) []pace.Request {
	list := make([]pace.Request, n)
	for i := range list {
		list[i] = request(namespace, fmt.Sprint(i))
	}
	return list
}

func TestWhatOpensACircuit(t *testing.T) {
	t.Parallel()
	one := func(n int) []pace.Request {
		list := many("a", n)
		for i := range list {
			list[i] = list[0]
		}
		return list
	}
	for name, c := range map[string]struct {
		class    oauth.Class
		requests []pace.Request
		until    float64
	}{
		"nothing that worked":                                   {worked, many("a", 100), 0},
		"not two refusals of the client":                        {oauth.ClientRejected, many("a", 2), 0},
		"three refusals of the client":                          {oauth.ClientRejected, many("a", 3), 15},
		"not those of one account alone":                        {oauth.ClientRejected, one(50), 0},
		"three times no server":                                 {oauth.NotSent, many("a", 3), 2},
		"three times no answer":                                 {oauth.OutcomeUnknown, many("a", 3), 2},
		"one throttle":                                          {oauth.Throttled, many("a", 1), 2},
		"not nineteen refresh tokens that are refused":          {oauth.RefreshTokenRejected, many("a", 19), 0},
		"twenty refresh tokens that are refused in a row":       {oauth.RefreshTokenRejected, many("a", 20), 15},
		"not the refused refresh tokens of one account":         {oauth.RefreshTokenRejected, one(50), 0},
		"not a few requests that are refused":                   {oauth.RequestRejected, many("a", 19), 0},
		"many requests that are refused":                        {oauth.RequestRejected, many("a", 20), 15},
		"many answers without a token":                          {oauth.InvalidResponse, many("a", 20), 15},
		"many persons who have to authorize again":              {oauth.AuthorizationRequired, many("a", 20), 15},
		"a class that is new is taken for one of an account's":  {"Unheard", many("a", 19), 0},
		"and opens all the same where all accounts meet it":     {"Unheard", many("a", 20), 15},
		"not what happened in another namespace, though it may": {oauth.ClientRejected, many("b", 3), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			circuits := &pace.Circuits{}
			makes(t, circuits, at(0), c.class, c.requests...)
			held(t, circuits, at(0), request("a", "next"), c.until, c.class)
			doubt := request("a", "next")
			doubt.InDoubt = true
			held(t, circuits, at(0), doubt, 0, "")
			other := request("a", "next")
			other.Client = "y"
			held(t, circuits, at(0), other, 0, "")
		})
	}
}

func TestASuccessInBetweenKeepsACircuitClosed(t *testing.T) {
	t.Parallel()
	circuits := &pace.Circuits{}
	for range 10 {
		makes(t, circuits, at(0), oauth.OutcomeUnknown, many("a", 2)...)
		makes(t, circuits, at(0), worked, request("a", "good"))
	}
	for range 10 {
		makes(t, circuits, at(0), oauth.ClientRejected, many("a", 2)...)
		makes(t, circuits, at(0), oauth.RefreshTokenRejected, request("a", "ended")) // it accepted the client
	}
	held(t, circuits, at(0), request("a", "next"), 0, "")
}

func TestAnOpenCircuitLetsOneThroughNowAndThen(t *testing.T) {
	t.Parallel()
	circuits := &pace.Circuits{}
	makes(t, circuits, at(0), oauth.ClientRejected, many("a", 3)...)
	sent, now := 0, 0.0
	for ; now < 3600; now++ {
		for i := range 10 {
			r := request("a", fmt.Sprint(i))
			if _, allowed := circuits.Enter(r, at(now)); allowed {
				sent++
				circuits.Report(r.Account, pace.Outcome{Class: oauth.ClientRejected}, at(now))
			}
		}
	}
	if sent < 55 || sent > 62 {
		t.Errorf("%d requests in an hour, want about one in a minute", sent)
	}
}

func TestOnlyOneAtATimeFindsOut(t *testing.T) {
	t.Parallel()
	circuits := &pace.Circuits{}
	makes(t, circuits, at(0), oauth.NotSent, many("a", 3)...)
	if _, allowed := circuits.Enter(request("a", "finds out"), at(2)); !allowed {
		t.Fatal("nobody finds out")
	}
	held(t, circuits, at(2), request("a", "1"), 7, oauth.NotSent)
	held(t, circuits, at(30), request("a", "1"), 35, oauth.NotSent)
	circuits.Leave("a/finds out")
	held(t, circuits, at(31), request("a", "1"), 0, "")

	if _, allowed := circuits.Enter(request("a", "1"), at(31)); !allowed {
		t.Fatal("nobody finds out")
	}
	held(t, circuits, at(31+600), request("a", "2"), 0, "") // it tells of its end no more
	if closed := circuits.Report("a/1", pace.Outcome{}, at(31+600)); closed != (pace.Closed{Namespace: true}) {
		t.Errorf("closed: %+v", closed)
	}
	held(t, circuits, at(31+600), request("a", "2"), 0, "")
}

func TestWhatWasSentBeforeSaysNothingOfAnOpenCircuit(t *testing.T) {
	t.Parallel()
	circuits := &pace.Circuits{}
	for _, name := range []string{"slow", "slower"} {
		if _, allowed := circuits.Enter(request("a", name), at(0)); !allowed {
			t.Fatal("it is held back")
		}
	}
	makes(t, circuits, at(1), oauth.ClientRejected, many("a", 3)...)
	if closed := circuits.Report("a/slow", pace.Outcome{}, at(2)); closed.Namespace {
		t.Error("a success from before closes it")
	}
	circuits.Report("a/slower", pace.Outcome{Class: oauth.ClientRejected}, at(10))
	held(t, circuits, at(10), request("a", "next"), 16, oauth.ClientRejected)
}

func TestAThrottleIsObeyedWithinBounds(t *testing.T) {
	t.Parallel()
	for asked, want := range map[time.Duration]float64{
		0: 2, time.Millisecond: 1, 120 * time.Second: 120, time.Hour: 3600, 1e9 * time.Second: 3600, -time.Second: 2,
	} {
		circuits := &pace.Circuits{}
		r := request("a", "1")
		circuits.Enter(r, at(0))
		circuits.Report(r.Account, pace.Outcome{Class: oauth.Throttled, RetryAfter: asked}, at(0))
		held(t, circuits, at(0), request("a", "2"), want, oauth.Throttled)
		held(t, circuits, at(want), request("a", "2"), 0, "")
	}
}

func TestAChangeOfTheClientIsTriedOutSoon(t *testing.T) {
	t.Parallel()
	circuits := &pace.Circuits{}
	makes(t, circuits, at(0), oauth.ClientRejected, many("a", 3)...)
	makes(t, circuits, at(15), oauth.ClientRejected, request("a", "1"))
	changed := func(inputs string) pace.Request {
		r := request("a", "2")
		r.Inputs = inputs
		return r
	}
	held(t, circuits, at(16), request("a", "2"), 45, oauth.ClientRejected)
	held(t, circuits, at(16), changed("2"), 20, oauth.ClientRejected)
	makes(t, circuits, at(20), oauth.ClientRejected, changed("2"))

	sent := 0
	for i := range 600 { // changed all the time, for a minute
		r := changed(fmt.Sprint(i))
		if _, allowed := circuits.Enter(r, at(30+float64(i)/10)); allowed {
			sent++
			circuits.Report(r.Account, pace.Outcome{Class: oauth.ClientRejected}, at(30+float64(i)/10))
		}
	}
	if sent < 10 || sent > 13 {
		t.Errorf("%d requests in a minute of changes, want one in 5 s", sent)
	}
}

func TestAClientIsHeldBackAsAWholeOnEvidenceFromTwoNamespaces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		class oauth.Class
		n     int
		until float64
	}{
		"the client is refused":         {oauth.ClientRejected, 3, 15},
		"the server does not answer":    {oauth.OutcomeUnknown, 3, 2},
		"the server throttles":          {oauth.Throttled, 1, 2},
		"refresh tokens are each one's": {oauth.RefreshTokenRejected, 20, 0},
		"requests are each one's":       {oauth.RequestRejected, 20, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			circuits := &pace.Circuits{}
			makes(t, circuits, at(0), c.class, many("a", c.n)...)
			held(t, circuits, at(0), request("c", "1"), 0, "")
			makes(t, circuits, at(0), c.class, many("b", c.n)...)
			held(t, circuits, at(0), request("c", "1"), c.until, c.class)
			if c.until == 0 {
				return
			}
			want := 3
			if got := len(circuits.Opens()); got != want {
				t.Errorf("%d circuits are open, want %d", got, want)
			}
			if _, allowed := circuits.Enter(request("c", "1"), at(c.until)); !allowed {
				t.Fatal("nobody finds out")
			}
			held(t, circuits, at(c.until), request("d", "1"), c.until+5, c.class)
			if closed := circuits.Report("c/1", pace.Outcome{}, at(c.until)); !closed.All {
				t.Errorf("closed: %+v", closed)
			}
			held(t, circuits, at(c.until), request("d", "1"), 0, "")
			// Two that go on failing on their own do not hold back a third that works.
			makes(t, circuits, at(100), c.class, request("a", "1"), request("b", "1"))
			held(t, circuits, at(100), request("d", "1"), 0, "")
		})
	}
}

func TestOneNamespaceAloneNeverHoldsBackAnother(t *testing.T) {
	t.Parallel()
	circuits := &pace.Circuits{}
	for i := range 100 {
		for _, r := range many("a", 30) {
			if _, allowed := circuits.Enter(r, at(float64(i*60))); allowed {
				circuits.Report(r.Account, pace.Outcome{Class: oauth.Throttled, RetryAfter: time.Hour}, at(float64(i*60)))
			}
		}
		held(t, circuits, at(float64(i*60)), request("b", "1"), 0, "")
	}
}

func TestCircuitsForgetWhatIsGone(t *testing.T) {
	t.Parallel()
	circuits := &pace.Circuits{}
	makes(t, circuits, at(0), oauth.ClientRejected, many("a", 3)...)
	makes(t, circuits, at(0), oauth.ClientRejected, many("b", 3)...)
	circuits.Forget("x")
	if diff := cmp.Diff([]pace.Open(nil), circuits.Opens()); diff != "" {
		t.Errorf("open (-want +got):\n%s", diff)
	}
	makes(t, circuits, at(0), oauth.ClientRejected, many("a", 3)...)
	other := request("z", "1")
	other.Client = "y"
	makes(t, circuits, at(3*3600), oauth.ClientRejected, other)
	if got := circuits.Opens(); len(got) > 0 {
		t.Errorf("open after hours without a word: %v", got)
	}
}
