package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// asksAt asks for a new token at the given time.
func asksAt(at time.Time) func(*lifecycle.Facts) {
	return annotate(v1alpha1.AnnotationRefreshRequestedAt, at.Format(time.RFC3339Nano))
}

func TestDecideARequestedRefresh(t *testing.T) {
	t.Parallel()
	requested := lifecycle.Plan{Rule: "refresh requested", Action: lifecycle.Exchange, Scopes: []string{"read"}}
	rotates := spends("refresh requested", 1)
	without := rotates
	without.Claim = false
	issued := func(age time.Duration) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) { f.Credential.IssuedTime = ago(age) }
	}
	now := asksAt(noon())
	decideAll(t, map[string]planCase{
		"a token is asked for anew":                                 {healthy(), now, requested},
		"so it is, in whatever zone the time is written":            {healthy(), annotate(v1alpha1.AnnotationRefreshRequestedAt, "2026-03-14T13:00:00+01:00"), requested},
		"a grant is rotated, under a claim":                         {rotating(), now, rotates},
		"one with a reusable refresh token needs none":              {rotating(), change(now, reusable), without},
		"a token without a known expiry is replaced":                {healthy(), change(now, func(f *lifecycle.Facts) { f.Credential.ExpirationTime = time.Time{} }), requested},
		"what was asked for before the last refresh is done with":   {healthy(), asksAt(ago(11 * time.Minute)), rests("nothing to do")},
		"so is what was asked for in the same second":               {healthy(), asksAt(ago(10*time.Minute - 900*time.Millisecond)), rests("nothing to do")},
		"so is what a rotation has brought":                         {rotating(), asksAt(ago(11 * time.Minute)), rests("nothing to do")},
		"a time that has not come is waited for":                    {healthy(), asksAt(in(time.Second)), rests("nothing to do")},
		"a time in 2099 changes nothing":                            {healthy(), asksAt(in(73 * 365 * 24 * time.Hour)), rests("nothing to do")},
		"a time in 2099 does not hold up what is due":               {overdue(), asksAt(in(73 * 365 * 24 * time.Hour)), spends("refresh due", 1)},
		"what is not a time asks for nothing":                       {healthy(), annotate(v1alpha1.AnnotationRefreshRequestedAt, "now"), rests("nothing to do")},
		"nor does nothing":                                          {healthy(), annotate(v1alpha1.AnnotationRefreshRequestedAt, ""), rests("nothing to do")},
		"half a minute after the last request there may be another": {healthy(), change(now, issued(30*time.Second)), requested},
		"not sooner":                    {healthy(), change(now, issued(29*time.Second)), rests("nothing to do")},
		"not sooner for a grant either": {rotating(), change(now, issued(29*time.Second)), rests("nothing to do")},
		"nor sooner than the wait after a failure of its own":              {healthy(), change(now, failing(oauth.Throttled, time.Minute, time.Second)), rests("too soon")},
		"a suspended account is not refreshed":                             {rotating(), change(now, suspended), rests("suspended")},
		"one that is deleted is not":                                       {rotating(), change(now, deleted), rests("deleted")},
		"one whose refresh token was refused is not":                       {rotating(), change(now, refusing(oauth.RefreshTokenRejected)), rests("not authorized")},
		"one whose refresh token was lost is not":                          {rotating(), change(now, refusing(lifecycle.RefreshTokenLost)), rests("not authorized")},
		"one whose status was put back is not":                             {rotating(), change(now, func(f *lifecycle.Facts) { f.HighestRotation++ }), rests("credential rolled back")},
		"one whose token would go elsewhere is not":                        {rotating(), change(now, endpoint("https://other.example/token")), rests("endpoint changed")},
		"one that another replica works on is not":                         {rotating(), change(now, claimed(lifecycle.ClaimForeign, 1, time.Second)), rests("claimed by another")},
		"a refresh token in doubt is not tried sooner":                     {rotating(), change(now, claimed(lifecycle.ClaimInDoubt, 1, time.Second)), rests("in doubt")},
		"a credential of another cluster is not refreshed":                 {rotating(), change(now, func(f *lifecycle.Facts) { f.Credential.State = lifecycle.CredentialElsewhere }), rests("credential not ours or not readable")},
		"a request for an account without a token asks for the first":      {fresh(), now, lifecycle.Plan{Rule: "no credential", Action: lifecycle.Exchange, Scopes: []string{"read"}}},
		"an account that could not publish the token does not ask for one": {healthy(), change(now, func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretForeign }), rests("secret owned by other")},
	})
}

// One annotation, left where it is as a pipeline leaves it, is one refresh.
func TestARequestIsMadeOnce(t *testing.T) {
	t.Parallel()
	l := begin(t, func() (*lifecycle.Failure, *time.Duration) { return nil, nil }) // a token without an expiry: nothing else is due
	l.sleep(time.Hour)
	asksAt(l.now)(l.facts)
	l.look()
	if len(l.calls) != 2 {
		t.Fatalf("%d calls, want the first and the one that was asked for", len(l.calls))
	}
	l.wants("True TokenValid")
	l.sleep(90 * 24 * time.Hour)
	l.edit()
	l.look()
	if len(l.calls) != 2 {
		t.Errorf("%d calls, though nobody has asked again", len(l.calls))
	}
}

// Whose clock is ahead gets one token as well, as soon as that time has come here too.
func TestARequestFromAClockThatIsAheadIsMadeOnce(t *testing.T) {
	t.Parallel()
	l := begin(t, brings(12*time.Hour))
	l.sleep(time.Hour)
	ahead := l.now.Add(3 * time.Minute)
	asksAt(ahead)(l.facts)
	l.look()
	if next := l.facts.Account.Status.NextRefreshTime; next == nil || !next.Equal(when(ahead)) {
		t.Errorf("the next refresh is said to be at %v, want %v", next, ahead)
	}
	l.sleep(4 * time.Minute)
	if len(l.calls) != 2 || l.calls[1].Before(ahead) {
		t.Errorf("calls at %v, want the second at %v", l.calls, ahead)
	}
	l.sleep(time.Hour)
	if len(l.calls) != 2 {
		t.Errorf("%d calls for one request", len(l.calls))
	}
}

// Whoever asks each second gets two tokens a minute.
func TestSomebodyAsksForEver(t *testing.T) {
	t.Parallel()
	l := begin(t, brings(time.Hour))
	l.sleep(time.Minute)
	l.calls = nil
	for range 1000 {
		asksAt(l.now)(l.facts)
		l.look()
		l.sleep(time.Second)
	}
	if least := 1000 / 60; len(l.calls) < least || len(l.calls) > 1000/30+1 {
		t.Errorf("%d calls in 1,000 s, want at most 2 in a minute, and at least %d", len(l.calls), least)
	}
	l.gaps(30 * time.Second)
}

// A request that fails is made again like any other, until there is a token.
func TestARequestThatFailsStands(t *testing.T) {
	t.Parallel()
	l := begin(t, brings(12*time.Hour))
	l.sleep(time.Hour)
	l.provider = fails(lifecycle.Failure{Class: oauth.NotSent, Message: "no token"})
	asksAt(l.now)(l.facts)
	l.look()
	l.wants("True ServerUnreachable")
	l.sleep(time.Hour)
	if calls := len(l.calls); calls < 4 || calls > 42 {
		t.Errorf("%d calls in an hour", calls)
	}
	l.provider = brings(12 * time.Hour)
	l.sleep(6 * time.Minute)
	l.wants("True TokenValid")
	calls := len(l.calls)
	l.sleep(time.Hour)
	if len(l.calls) != calls {
		t.Errorf("%d calls after the one that worked", len(l.calls)-calls)
	}
}

func TestWhatIsNoTimeIsTold(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "now", "true", "2026-03-14", "2026-03-14 12:00:00", "2026-02-30T12:00:00Z", "1773489600", strings.Repeat("9", 9999)} {
		t.Run(text[:min(len(text), 20)], func(t *testing.T) {
			t.Parallel()
			f := healthy()
			annotate(v1alpha1.AnnotationRefreshRequestedAt, text)(f)
			settle(f, lifecycle.Done{}, noon())
			refreshed := condition(f.Account.Status, v1alpha1.ConditionRefreshed)
			if said(f.Account.Status, v1alpha1.ConditionReady) != "True TokenValid" || refreshed.Reason != v1alpha1.ReasonRefreshed {
				t.Errorf("Ready is %q, Refreshed %q", said(f.Account.Status, v1alpha1.ConditionReady), refreshed.Reason)
			}
			const line = "kubectl annotate --overwrite connectedaccount -n shop acme oauth-operator.dev/refresh-requested-at=$(date -u +%FT%TZ)"
			if !strings.HasSuffix(refreshed.Message, line) {
				t.Errorf("the message is %q, and does not end in the line that helps", refreshed.Message)
			}
			if err := wellFormed(f, f.Account.Status); err != nil {
				t.Error(err)
			}
		})
	}
	f := healthy()
	asksAt(noon())(f)
	settle(f, lifecycle.Done{}, noon())
	if message := condition(f.Account.Status, v1alpha1.ConditionRefreshed).Message; strings.Contains(message, "annotation") {
		t.Errorf("a proper request is told of: %q", message)
	}
}
