package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// heldBack has the requests of the account's client held back, for a while already.
func heldBack(class oauth.Class) func(f *lifecycle.Facts) {
	return func(f *lifecycle.Facts) {
		f.Held = lifecycle.Held{Class: class, Since: ago(time.Minute), Until: in(20 * time.Second)}
	}
}

func TestWhatOthersMetHoldsAnAccountBack(t *testing.T) {
	t.Parallel()
	due := func(f *lifecycle.Facts) { f.Credential = held(ago(50*time.Minute), in(10*time.Minute)) }
	for name, c := range map[string]struct {
		facts  *lifecycle.Facts
		change []func(*lifecycle.Facts)
		rule   string
		wake   time.Time
		says   string
	}{
		"a new account waits":                                 {fresh(), []func(*lifecycle.Facts){heldBack(oauth.NotSent)}, "client held back", in(20 * time.Second), "False ServerUnreachable"},
		"a token that is due waits":                           {healthy(), []func(*lifecycle.Facts){due, heldBack(oauth.OutcomeUnknown)}, "client held back", in(20 * time.Second), "False ServerUnreachable"},
		"a token that is not due says nothing":                {healthy(), []func(*lifecycle.Facts){heldBack(oauth.ClientRejected)}, "client held back", time.Time{}, "True Refreshed"},
		"a throttle is called one":                            {fresh(), []func(*lifecycle.Facts){heldBack(oauth.Throttled)}, "client held back", in(20 * time.Second), "False Throttled"},
		"a refused client is called so":                       {fresh(), []func(*lifecycle.Facts){heldBack(oauth.ClientRejected)}, "client held back", in(20 * time.Second), "False ClientRejected"},
		"what was refused to many is a refused request":       {fresh(), []func(*lifecycle.Facts){heldBack(oauth.RefreshTokenRejected)}, "client held back", in(20 * time.Second), "False RequestRejected"},
		"a class that is new is a refused request":            {fresh(), []func(*lifecycle.Facts){heldBack("Unheard")}, "client held back", in(20 * time.Second), "False RequestRejected"},
		"what is over is over":                                {fresh(), []func(*lifecycle.Facts){heldBack(oauth.NotSent), func(f *lifecycle.Facts) { f.Held.Until = noon() }}, "no credential", noon(), "False Pending"},
		"a short trouble is not told, and looked at":          {fresh(), []func(*lifecycle.Facts){heldBack(oauth.NotSent), func(f *lifecycle.Facts) { f.Held.Since = ago(time.Second) }}, "client held back", in(9 * time.Second), "False Pending"},
		"a suspended account says that it is":                 {fresh(), []func(*lifecycle.Facts){heldBack(oauth.NotSent), func(f *lifecycle.Facts) { f.Account.Spec.Suspend = true }}, "suspended", time.Time{}, "False Suspended"},
		"a refresh token in doubt goes its own pace":          {rotating(), []func(*lifecycle.Facts){heldBack(oauth.OutcomeUnknown), claimed(lifecycle.ClaimInDoubt, 1, time.Minute), rejects}, "outcome to find out", noon(), "True Refreshed"},
		"a refresh token that is due waits":                   {overdue(), []func(*lifecycle.Facts){heldBack(oauth.RefreshTokenRejected)}, "client held back", in(20 * time.Second), "False RequestRejected"},
		"beyond the limit of its namespace, it rests":         {fresh(), []func(*lifecycle.Facts){func(f *lifecycle.Facts) { f.BeyondLimit = true }}, "too many accounts", time.Time{}, "False TooManyAccounts"},
		"though its token is due":                             {healthy(), []func(*lifecycle.Facts){due, func(f *lifecycle.Facts) { f.BeyondLimit = true }}, "too many accounts", in(10 * time.Minute), "False TooManyAccounts"},
		"a result that cannot be read is told, and looked at": {healthy(), []func(*lifecycle.Facts){due, unread}, "exchange open", in(5 * time.Second), "False ResultUnread"},
		"one that finds no slot is called, or looks":          {fresh(), []func(*lifecycle.Facts){func(f *lifecycle.Facts) { f.NoSlot = true }}, "no credential", in(time.Minute), "False Pending"},
		"a failure of its own goes before those of many":      {fresh(), []func(*lifecycle.Facts){heldBack(oauth.ClientRejected), failing(oauth.InvalidResponse, time.Hour, -time.Minute)}, "client held back", in(20 * time.Second), "False InvalidResponse"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, change := range c.change {
				change(c.facts)
			}
			if got := lifecycle.Decide(c.facts, noon()); got.Rule != c.rule {
				t.Errorf("the rule is %q, want %q", got.Rule, c.rule)
			}
			status := lifecycle.Status(c.facts, lifecycle.Done{}, noon())
			if got := said(status, v1alpha1.ConditionRefreshed); got != c.says {
				t.Errorf("it says %q, want %q", got, c.says)
			}
			if got := lifecycle.Wake(c.facts, &status, noon()); !c.wake.IsZero() && !got.Equal(c.wake) {
				t.Errorf("it wakes at %s, want %s", got, c.wake)
			}
			again := *c.facts
			account := *again.Account
			account.Status, again.Account = status, &account
			if diff := cmp.Diff(status, lifecycle.Status(&again, lifecycle.Done{}, in(time.Second))); diff != "" {
				t.Errorf("it is written again, for nothing (-first +second):\n%s", diff)
			}
		})
	}
}

func TestTheWordsOfAnOpenCircuitSayWhatFollows(t *testing.T) {
	t.Parallel()
	for _, class := range []oauth.Class{oauth.NotSent, oauth.OutcomeUnknown, oauth.Throttled, oauth.ClientRejected, oauth.RequestRejected} {
		f := fresh()
		heldBack(class)(f)
		message := condition(lifecycle.Status(f, lifecycle.Done{}, noon()), v1alpha1.ConditionReady).Message
		if !strings.Contains(message, "nothing was sent for this account") || !strings.Contains(message, "the circuit of the OAuthClient is open") {
			t.Errorf("%s: %q", class, message)
		}
	}
}

func TestWhoNeedsASlotFirst(t *testing.T) {
	t.Parallel()
	endless, doubtful, bare := healthy(), rotating(), rotating()
	endless.Credential.ExpirationTime = time.Time{}
	claim(doubtful, lifecycle.ClaimInDoubt, 1, time.Minute)
	bare.Credential.HasAccessToken = false
	for name, c := range map[string]struct {
		facts *lifecycle.Facts
		want  time.Time
	}{
		"a new account needs one at once":                       {fresh(), time.Time{}},
		"so does one without an access token":                   {bare, time.Time{}},
		"so does one in doubt":                                  {doubtful, time.Time{}},
		"others, when their token expires":                      {healthy(), in(50 * time.Minute)},
		"one whose token does not expire, a day after the last": {endless, ago(10 * time.Minute).Add(24 * time.Hour)},
	} {
		if got := lifecycle.Deadline(c.facts); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestAClientTakesAsManyRequestsAsItSays(t *testing.T) {
	t.Parallel()
	client := newClient(home)
	if got := lifecycle.MaxRequests(client); got != 8 {
		t.Errorf("%d by default, want 8", got)
	}
	client.Spec.MaxConcurrentRequests = 3
	if got := lifecycle.MaxRequests(client); got != 3 {
		t.Errorf("%d, want 3", got)
	}
}

func TestWhoWaitsForItsTurnIsPublishedMeanwhile(t *testing.T) {
	t.Parallel()
	f := healthy()
	f.Secret = lifecycle.SecretAbsent
	want := lifecycle.Plan{Rule: "waits for its turn", Action: lifecycle.Rest, Publish: true}
	if diff := cmp.Diff(want, lifecycle.Waiting(f)); diff != "" {
		t.Error(diff)
	}
}

// unread: the journal holds a result that cannot be read.
func unread(f *lifecycle.Facts) { f.ExchangeOpen, f.ResultUnread = true, true }
