package lifecycle_test

import (
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// When a refresh token whose use is in doubt is tried again; from now on, on a clock that goes on from noon.
func TestWhenADoubtIsFoundOut(t *testing.T) {
	t.Parallel()
	doubtful := claimed(lifecycle.ClaimInDoubt, 1, 5*time.Second)
	lost := failing(oauth.OutcomeUnknown, time.Second, time.Second)
	token := func(issued, expiration time.Time) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) { f.Credential = heldRefreshable(issued, expiration) }
	}
	year := 365 * 24 * time.Hour
	start := func(at time.Time) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) { f.Account.Status.Claim.StartTime = when(at) }
	}
	asked := func(attempt int32, since time.Duration) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) { f.LastAttempt, f.Account.Status.Claim.Attempt = ago(since), attempt }
	}
	tests := map[string]struct {
		change func(*lifecycle.Facts)
		want   time.Duration
	}{
		"in the grace, at once":                                 {change(forgives(30*time.Second), doubtful), 0},
		"in the grace, after the wait that was written down":    {change(forgives(30*time.Second), doubtful, lost), time.Second},
		"in the grace to its last moment":                       {change(forgives(30*time.Second), doubtful, start(ago(30*time.Second))), 0},
		"after the grace, near the end of the access token":     {change(forgives(30*time.Second), doubtful, start(ago(31*time.Second))), 48 * time.Minute},
		"where the grace began in the future, the same":         {change(forgives(30*time.Second), doubtful, start(in(31*time.Second))), 48 * time.Minute},
		"where nobody knows when it began, the same":            {change(forgives(30*time.Second), doubtful, func(f *lifecycle.Facts) { f.Account.Status.Claim.StartTime = nil }), 48 * time.Minute},
		"after the grace of one that only rejects, at once":     {change(rejects, forgives(30*time.Second), doubtful, start(ago(time.Hour))), 0},
		"where reuse is only rejected, at once":                 {change(rejects, doubtful), 0},
		"but after the wait that was written down":              {change(rejects, doubtful, failing(oauth.OutcomeUnknown, time.Minute, 4*time.Minute)), 4 * time.Minute},
		"a wait that is over is over":                           {change(rejects, doubtful, failing(oauth.OutcomeUnknown, time.Minute, -time.Second)), 0},
		"a throttle is obeyed":                                  {change(rejects, doubtful, failing(oauth.Throttled, 0, time.Hour)), time.Hour},
		"changed inputs do not hurry":                           {change(rejects, doubtful, lost, func(f *lifecycle.Facts) { f.InputsHash = "changed" }), time.Second},
		"two minutes before the end of an hour":                 {doubtful, 48 * time.Minute},
		"a tenth before the end of ten minutes":                 {change(token(ago(time.Minute), in(9*time.Minute)), doubtful), 8 * time.Minute},
		"two minutes before the end of a day":                   {change(token(ago(time.Hour), in(23*time.Hour)), doubtful), 23*time.Hour - 2*time.Minute},
		"once that is past, at once":                            {change(token(ago(59*time.Minute), in(time.Minute)), doubtful), 0},
		"the longer of the two waits counts":                    {change(token(ago(59*time.Minute), in(time.Minute)), doubtful, lost), time.Second},
		"without an access token, at once":                      {change(doubtful, func(f *lifecycle.Facts) { f.Credential.HasAccessToken = false }), 0},
		"with one that was dead on arrival, at once":            {change(token(ago(time.Minute), ago(time.Minute)), doubtful), 0},
		"with one without expiry, a day after its issue":        {change(token(ago(time.Hour), time.Time{}), doubtful), 23 * time.Hour},
		"with an old one without expiry, at once":               {change(token(ago(25*time.Hour), time.Time{}), doubtful), 0},
		"with one from next year, as long as it can live":       {change(token(in(year), in(year+time.Hour)), doubtful), time.Hour - 5*time.Second},
		"with one from next year without expiry, a day":         {change(token(in(year), time.Time{}), doubtful), 24*time.Hour - 5*time.Second},
		"with one from a few minutes ahead, near its end":       {change(token(in(time.Minute), in(61*time.Minute)), doubtful), 59 * time.Minute},
		"an orphan's waits as well":                             {claimed(lifecycle.ClaimOrphaned, 1, time.Second), 48 * time.Minute},
		"so does another's":                                     {change(claimed(lifecycle.ClaimForeign, 1, time.Minute), contested), 48 * time.Minute},
		"and an unsent second try":                              {claimed(lifecycle.ClaimUnsent, 2, time.Second), 48 * time.Minute},
		"after a second try, the least gap is kept":             {change(rejects, doubtful, asked(2, time.Second)), 4 * time.Second},
		"after a first one, what the failure says is enough":    {change(rejects, doubtful, asked(1, time.Second)), 0},
		"a try in the future was none":                          {change(rejects, doubtful, asked(2, -time.Hour)), 0},
		"S35: a wait until 2099 ends after an hour and a tenth": {change(rejects, doubtful, failing(oauth.OutcomeUnknown, 0, 73*year)), 66 * time.Minute},
		"S35: a failure in 2099 hurries no second try":          {change(rejects, doubtful, asked(2, time.Second), failing(oauth.OutcomeUnknown, -73*year, 73*year)), 4 * time.Second},
		"S35: nor do failures that were taken out":              {change(rejects, doubtful, asked(2, time.Second), func(f *lifecycle.Facts) { f.Account.Status.Failures = v1alpha1.Failures{} }), 4 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := rotating()
			test.change(f)
			at := in(test.want)
			if wake := lifecycle.Wake(f, &f.Account.Status, noon()); test.want < 50*time.Minute && !wake.Equal(at) {
				t.Errorf("wakes after %v, want %v", wake.Sub(noon()), test.want)
			}
			if test.want > 0 {
				if plan := decideLater(f, at.Add(-time.Millisecond)); plan.Rule != "in doubt" || plan.Action != lifecycle.Rest {
					t.Errorf("before %v, the plan is %+v", test.want, plan)
				}
			}
			if plan := decideLater(f, at); plan.Rule != "outcome to find out" || plan.Action != lifecycle.Exchange {
				t.Errorf("after %v, the plan is %+v", test.want, plan)
			}
		})
	}
}

// decideLater decides at a later time, to which the claim has been seen as it is.
func decideLater(f *lifecycle.Facts, at time.Time) lifecycle.Plan {
	known := *f
	known.ClaimUnchanged += at.Sub(noon())
	return lifecycle.Decide(&known, at)
}

// S14, S35. Who edits the plain status never makes a token be sent earlier, and never for ever later. Who writes that the
// claim is contested is believed; but that begins another wait, in which a request that was under way has ended and what it
// brought is kept.
func TestAnEditedClaimIsNotFoundOutEarlier(t *testing.T) {
	t.Parallel()
	far := when(in(73 * 365 * 24 * time.Hour))
	lost := failing(oauth.OutcomeUnknown, time.Second, time.Second)
	accounts := map[string]func(*lifecycle.Facts){
		"another's claim":                        claimed(lifecycle.ClaimForeign, 1, 10*time.Second),
		"another's claim that was just made":     claimed(lifecycle.ClaimForeign, 1, 0),
		"another's claim that was announced":     change(claimed(lifecycle.ClaimForeign, 1, 10*time.Second), contested),
		"another's claim, overtaken":             change(claimed(lifecycle.ClaimForeign, 1, 10*time.Second), overtaken),
		"a doubt of this process's own":          change(claimed(lifecycle.ClaimInDoubt, 1, 10*time.Second), lost),
		"a second doubt of this process's own":   change(claimed(lifecycle.ClaimInDoubt, 2, 10*time.Second), lost),
		"an orphan":                              claimed(lifecycle.ClaimOrphaned, 1, 10*time.Second),
		"another's claim, after which all is up": change(claimed(lifecycle.ClaimForeign, 1, 10*time.Second), func(f *lifecycle.Facts) { f.Credential.ExpirationTime = ago(time.Second) }),
	}
	providers := map[string]func(*lifecycle.Facts){
		"of the strictest provider": nothing, "of one that rejects": rejects, "of one that forgives": forgives(30 * time.Second),
	}
	edits := map[string]func(*v1alpha1.ConnectedAccountStatus){
		"lasts an hour":           func(status *v1alpha1.ConnectedAccountStatus) { status.Claim.DurationSeconds = 3600 },
		"lasts a second":          func(status *v1alpha1.ConnectedAccountStatus) { status.Claim.DurationSeconds = 1 },
		"lasts less than none":    func(status *v1alpha1.ConnectedAccountStatus) { status.Claim.DurationSeconds = -1 << 31 },
		"begins in 2099":          func(status *v1alpha1.ConnectedAccountStatus) { status.Claim.StartTime = far },
		"never began":             func(status *v1alpha1.ConnectedAccountStatus) { status.Claim.StartTime = nil },
		"is contested in 2099":    func(status *v1alpha1.ConnectedAccountStatus) { status.Claim.ContestedTime = far },
		"is contested since 1970": func(status *v1alpha1.ConnectedAccountStatus) { status.Claim.ContestedTime = when(time.Unix(0, 0)) },
		"is tried again in 2099":  func(status *v1alpha1.ConnectedAccountStatus) { status.Failures.NextAttemptTime = far },
		"has other times beside it": func(status *v1alpha1.ConnectedAccountStatus) {
			status.ExpirationTime, status.NextRefreshTime, status.LastRefreshTime, status.Rotations = far, far, far, 99
		},
	}
	for accountName, account := range accounts {
		for providerName, provider := range providers {
			honest := rotating()
			change(provider, account)(honest)
			want := sentAfter(t, honest)
			for editName, edit := range edits {
				t.Run(accountName+" "+providerName+" "+editName, func(t *testing.T) {
					t.Parallel()
					f := rotating()
					change(provider, account)(f)
					least := want
					was := f.Account.Status.Claim.ContestedTime == nil
					edit(&f.Account.Status)
					if was != (f.Account.Status.Claim.ContestedTime == nil) {
						f.ClaimUnchanged = 0 // whoever watches the claim sees another one now
						least = min(want, lifecycle.ClaimDuration(f.Client))
					}
					if got := sentAfter(t, f); got < least || got > want+70*time.Minute {
						t.Errorf("sent after %v, want %v to %v", got, least, want+70*time.Minute)
					}
				})
			}
		}
	}
}

// sentAfter is how long it takes until the refresh token is sent, if nobody else does anything.
func sentAfter(t *testing.T, f *lifecycle.Facts) time.Duration {
	t.Helper()
	now := noon()
	for range 50 {
		plan := lifecycle.Decide(f, now)
		switch plan.Action {
		case lifecycle.Exchange:
			return now.Sub(noon())
		case lifecycle.Contest:
			f.Account.Status, f.ClaimUnchanged = lifecycle.WithContest(f, now), 0
		case lifecycle.Unclaim:
			f.Account.Status, f.ClaimHolder, f.ClaimUnchanged = lifecycle.WithoutClaim(f), "", 0
		case lifecycle.Rest:
		case lifecycle.ImportToken, lifecycle.Adopt, lifecycle.Reseal, lifecycle.Approve, lifecycle.Revoke:
			t.Fatalf("the plan is %+v", plan)
		}
		wake := lifecycle.Wake(f, &f.Account.Status, now)
		if wake.IsZero() {
			t.Fatal("sleeps for ever")
		}
		f.ClaimUnchanged += wake.Sub(now)
		now = wake
	}
	t.Fatalf("%v: not sent in the end, %+v", now, f.Account.Status.Claim)
	return 0
}
