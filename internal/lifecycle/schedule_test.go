package lifecycle_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

func TestRefreshTimeLiesBetweenItsBounds(t *testing.T) {
	t.Parallel()
	// first and last are seconds after the issue, worked out by hand from the formula: last is L - lead, first is a
	// tenth of that earlier; neither comes before 5 s.
	tests := map[string]struct {
		lifetime, refreshBefore time.Duration
		first, last             float64
	}{
		"a token that is dead on arrival waits for the least gap": {0, 0, 5, 5},
		"a second":                                 {time.Second, 0, 5, 5},
		"five seconds":                             {5 * time.Second, 0, 5, 5},
		"six seconds":                              {6 * time.Second, 0, 5, 5},
		"twelve seconds: two thirds are eight":     {12 * time.Second, 0, 7, 8},
		"twelve seconds, two before":               {12 * time.Second, 2 * time.Second, 9, 10},
		"twelve seconds, a day before: at a third": {12 * time.Second, 24 * time.Hour, 5, 5},
		"a minute":                                 {time.Minute, 0, 36, 40},
		"a minute, ten seconds before":             {time.Minute, 10 * time.Second, 45, 50},
		"a minute, an hour before: at a third":     {time.Minute, time.Hour, 18, 20},
		"an hour":                                  {time.Hour, 0, 2160, 2400},
		"an hour, a minute before":                 {time.Hour, time.Minute, 3186, 3540},
		"an hour, a negative time before: as if nothing was said":            {time.Hour, -time.Minute, 2160, 2400},
		"an hour, exactly two thirds before":                                 {time.Hour, 40 * time.Minute, 1080, 1200},
		"an hour, two hours before: at a third":                              {time.Hour, 2 * time.Hour, 1080, 1200},
		"twelve hours":                                                       {12 * time.Hour, 0, 25920, 28800},
		"twelve hours, four before":                                          {12 * time.Hour, 4 * time.Hour, 25920, 28800},
		"two centuries: nothing overflows":                                   {200 * 365 * 24 * time.Hour, 0, 3784320000, 4204800000},
		"two centuries, all of it before: at a third, and nothing overflows": {200 * 365 * 24 * time.Hour, 200 * 365 * 24 * time.Hour, 1892160000, 2102400000},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issued := noon()
			for n := range 200 {
				account := fmt.Sprintf("uid-%d", n)
				due := lifecycle.RefreshTime(account, issued, issued.Add(test.lifetime), test.refreshBefore)
				after := due.Sub(issued).Seconds()
				// Truncation takes up to a second.
				if after < math.Max(5, test.first-1) || after > test.last {
					t.Fatalf("%s is refreshed %v s after its issue, want %v to %v", account, after, test.first, test.last)
				}
				if due.Nanosecond() != 0 {
					t.Fatalf("%s is refreshed at %v, want whole seconds", account, due)
				}
				if again := lifecycle.RefreshTime(account, issued, issued.Add(test.lifetime), test.refreshBefore); !again.Equal(due) {
					t.Fatalf("%s is refreshed at %v, then at %v", account, due, again)
				}
			}
		})
	}
}

func TestATokenWithoutKnownExpiryIsNeverRefreshed(t *testing.T) {
	t.Parallel()
	if due := lifecycle.RefreshTime(uid, noon(), time.Time{}, time.Minute); !due.IsZero() {
		t.Errorf("refreshed at %v", due)
	}
}

// The spread of an hour's token is 240 s. A thousand accounts, in ten drawers of 24 s, would be a hundred in each; with
// nine degrees of freedom, a chi-square above 27.9 has a chance of one in a thousand. The input is fixed, so the test
// either holds for good or not at all.
func TestRefreshesAreSpreadEvenly(t *testing.T) {
	t.Parallel()
	spreads := map[string]func(n int) (account string, issued time.Time){
		"accounts created at once": func(n int) (string, time.Time) { return fmt.Sprintf("uid-%04d", n), noon() },
		"one account over its life": func(n int) (string, time.Time) {
			return uid, noon().Add(time.Duration(n) * time.Hour)
		},
	}
	for name, spread := range spreads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var drawers [10]float64
			for n := range 1000 {
				account, issued := spread(n)
				due := lifecycle.RefreshTime(account, issued, issued.Add(time.Hour), 0)
				early := issued.Add(40 * time.Minute).Sub(due).Seconds()
				drawers[min(int(early/24), 9)]++
			}
			var chiSquare float64
			for _, count := range drawers {
				chiSquare += (count - 100) * (count - 100) / 100
			}
			if chiSquare > 27.9 {
				t.Errorf("drawers %v: chi-square is %v, want at most 27.9", drawers, chiSquare)
			}
		})
	}
}

func TestBackoffLiesBetweenItsBounds(t *testing.T) {
	t.Parallel()
	// shortest is included, longest is not, unless they are the same. They are for the first, second, third, tenth and
	// hundredth failure in a row; a count that was edited to nonsense is like the first.
	type bounds struct{ shortest, longest time.Duration }
	transient := func(limit time.Duration) map[int32]bounds {
		return map[int32]bounds{
			math.MinInt32: {time.Second, 2 * time.Second}, 0: {time.Second, 2 * time.Second}, 1: {time.Second, 2 * time.Second},
			2: {time.Second, 4 * time.Second}, 3: {time.Second, 8 * time.Second},
			12: {time.Second, limit}, 100: {time.Second, limit}, math.MaxInt32: {time.Second, limit},
		}
	}
	slow := map[int32]bounds{
		-1: {30 * time.Second, time.Minute}, 1: {30 * time.Second, time.Minute}, 2: {time.Minute, 2 * time.Minute},
		3: {2 * time.Minute, 4 * time.Minute}, 7: {30 * time.Minute, time.Hour}, math.MaxInt32: {30 * time.Minute, time.Hour},
	}
	always := func(b bounds) map[int32]bounds { return map[int32]bounds{1: b, 5: b, math.MaxInt32: b} }
	tests := map[string]struct {
		failure lifecycle.Failure
		valid   bool
		want    map[int32]bounds
	}{
		"not sent, while the token is good":        {lifecycle.Failure{Class: oauth.NotSent}, true, transient(5 * time.Minute)},
		"not sent, without a token":                {lifecycle.Failure{Class: oauth.NotSent}, false, transient(time.Hour)},
		"outcome unknown, while the token is good": {lifecycle.Failure{Class: oauth.OutcomeUnknown}, true, transient(5 * time.Minute)},
		"outcome unknown, without a token":         {lifecycle.Failure{Class: oauth.OutcomeUnknown}, false, transient(time.Hour)},
		"client rejected":                          {lifecycle.Failure{Class: oauth.ClientRejected}, true, slow},
		"request rejected":                         {lifecycle.Failure{Class: oauth.RequestRejected}, false, slow},
		"invalid response":                         {lifecycle.Failure{Class: oauth.InvalidResponse}, true, slow},
		"a class that this version does not know":  {lifecycle.Failure{Class: "Sulking"}, true, slow},
		"throttled for two minutes": {
			lifecycle.Failure{Class: oauth.Throttled, RetryAfter: 2 * time.Minute}, true, always(bounds{120 * time.Second, 132 * time.Second}),
		},
		"throttled without a word":    {lifecycle.Failure{Class: oauth.Throttled}, true, always(bounds{time.Second, 1100 * time.Millisecond})},
		"throttled until yesterday":   {lifecycle.Failure{Class: oauth.Throttled, RetryAfter: -time.Hour}, true, always(bounds{time.Second, 1100 * time.Millisecond})},
		"throttled for three decades": {lifecycle.Failure{Class: oauth.Throttled, RetryAfter: 1e18}, false, always(bounds{time.Hour, 66 * time.Minute})},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for count, want := range test.want {
				seen := map[time.Duration]bool{}
				for n := range 100 {
					account := fmt.Sprintf("uid-%d", n)
					wait := lifecycle.Backoff(account, test.failure, count, noon(), test.valid)
					if wait < want.shortest || wait >= want.longest {
						t.Fatalf("failure %d of %s waits %v, want %v to %v", count, account, wait, want.shortest, want.longest)
					}
					seen[wait] = true
				}
				if len(seen) < 90 {
					t.Errorf("failure %d: a hundred accounts wait %d different times, want them apart", count, len(seen))
				}
			}
		})
	}
}

func TestExpirationTime(t *testing.T) {
	t.Parallel()
	client, silent := newClient(home), newClient(home)
	client.Spec.AccessTokens.DefaultLifetimeSeconds = 600
	lifetime := func(d time.Duration) *time.Duration { return &d }
	received := noon().Add(900 * time.Millisecond)
	tests := map[string]struct{ got, want time.Time }{
		"the answer's word goes before the client's":             {lifecycle.ExpirationTime(received, lifetime(time.Hour), lifecycle.DefaultLifetime(client)), in(time.Hour)},
		"a token that is dead on arrival":                        {lifecycle.ExpirationTime(received, lifetime(0), lifecycle.DefaultLifetime(client)), noon()},
		"the client's word where the answer is silent":           {lifecycle.ExpirationTime(received, nil, lifecycle.DefaultLifetime(client)), in(10 * time.Minute)},
		"no expiry is known where nobody says":                   {lifecycle.ExpirationTime(received, nil, lifecycle.DefaultLifetime(silent)), time.Time{}},
		"seconds are rounded down, so that nobody is told later": {lifecycle.ExpirationTime(received, lifetime(200*time.Millisecond), lifecycle.DefaultLifetime(silent)), in(time.Second)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, test.got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
