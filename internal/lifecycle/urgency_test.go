package lifecycle_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// after is the account as it stands once a lap at noon has written its status.
func after(f *lifecycle.Facts, changes ...func(*v1alpha1.ConnectedAccount)) *v1alpha1.ConnectedAccount {
	account := f.Account.DeepCopy()
	account.Status = lifecycle.Status(f, lifecycle.Done{}, noon())
	for _, change := range changes {
		change(account)
	}
	return account
}

func TestUrgencyFollowsTheSlack(t *testing.T) {
	t.Parallel()
	due := func(left time.Duration) *lifecycle.Facts {
		f := healthy()
		f.Credential = held(ago(time.Hour), in(left))
		return f
	}
	endless := healthy()
	endless.Credential.ExpirationTime = time.Time{}
	failed := fresh()
	failing(oauth.NotSent, time.Minute, time.Minute)(failed)
	expired := due(-time.Second)
	keyless := fresh()
	keyless.KeyringMissing = true
	inDoubt := rotating()
	claim(inDoubt, lifecycle.ClaimInDoubt, 1, time.Minute)
	invited := func(changes ...func(*v1alpha1.ConnectedAccount)) *v1alpha1.ConnectedAccount {
		return after(inviting(), changes...)
	}
	consented := func(a *v1alpha1.ConnectedAccount) { a.Status.Authorization.HandOver.ID = "1" }
	suspend := func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true }
	remove := func(a *v1alpha1.ConnectedAccount) { a.DeletionTimestamp = when(noon()) }
	for name, c := range map[string]struct {
		account *v1alpha1.ConnectedAccount
		want    int
	}{
		"an account that nobody has looked at yet":               {fresh().Account, lifecycle.UrgencyTokenless},
		"one that has waited for its first token":                {after(fresh()), lifecycle.UrgencyTokenless},
		"one whose token has expired":                            {after(expired), lifecycle.UrgencyTokenless},
		"one whose first request failed":                         {after(failed), lifecycle.UrgencyNear},
		"one that is in doubt":                                   {after(inDoubt), lifecycle.UrgencyInDoubt},
		"a refresh that is due, with half a minute":              {after(due(30 * time.Second)), lifecycle.UrgencyEnding},
		"a refresh that is due, with a minute":                   {after(due(time.Minute)), lifecycle.UrgencyNear},
		"a refresh that is due, with ten minutes":                {after(due(10 * time.Minute)), lifecycle.UrgencyRelaxed},
		"a token that is good for long":                          {after(healthy()), lifecycle.UrgencyIdle},
		"a token whose expiry nobody knows":                      {after(endless), lifecycle.UrgencyIdle},
		"one that is suspended, without a token":                 {after(fresh(), suspend), lifecycle.UrgencyIdle},
		"one that is suspended, and due":                         {after(due(time.Minute), suspend), lifecycle.UrgencyIdle},
		"one that is suspended, and in doubt":                    {after(inDoubt, suspend), lifecycle.UrgencyIdle},
		"one that is being deleted":                              {after(due(time.Minute), remove), lifecycle.UrgencyIdle},
		"one that waits for somebody to act":                     {after(keyless), lifecycle.UrgencyIdle},
		"one that waits for a person":                            {invited(), lifecycle.UrgencyIdle},
		"one whose person has just consented":                    {invited(consented), lifecycle.UrgencyTokenless},
		"one whose refresh time somebody took out of the status": {after(due(time.Minute), func(a *v1alpha1.ConnectedAccount) { a.Status.NextRefreshTime = nil }), lifecycle.UrgencyIdle},
		"one whose expiry somebody took out of the status":       {after(due(time.Minute), func(a *v1alpha1.ConnectedAccount) { a.Status.ExpirationTime = nil }), lifecycle.UrgencyIdle},
		"one whose conditions somebody took out of the status":   {after(healthy(), func(a *v1alpha1.ConnectedAccount) { a.Status.Conditions = nil }), lifecycle.UrgencyTokenless},
		"one that is ready, whatever else stalls":                {after(healthy(), ready), lifecycle.UrgencyIdle},
	} {
		if got := lifecycle.Urgency(c.account, noon()); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func ready(a *v1alpha1.ConnectedAccount) {
	meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue})
}

// A token nears its end, and its account only ever becomes more urgent, up to where it has none.
func TestUrgencyGrowsWithTime(t *testing.T) {
	t.Parallel()
	account, last := after(healthy()), lifecycle.UrgencyIdle
	seen := map[int]bool{}
	for at := noon(); at.Before(in(50 * time.Minute)); at = at.Add(time.Second) {
		got := lifecycle.Urgency(account, at)
		if got < last {
			t.Fatalf("at %s it falls from %d to %d", at, last, got)
		}
		last = got
		seen[got] = true
	}
	if len(seen) != 4 {
		t.Errorf("it went through %v, want idle, relaxed, near, ending", seen)
	}
	if got := lifecycle.Urgency(account, in(50*time.Minute)); got != lifecycle.UrgencyTokenless {
		t.Errorf("once it has expired: %d, want %d", got, lifecycle.UrgencyTokenless)
	}
}

// What the words promise: who goes before whom.
func TestTheOrderOfUrgency(t *testing.T) {
	t.Parallel()
	order := []int{
		lifecycle.UrgencyCalled, lifecycle.UrgencyInDoubt, lifecycle.UrgencyEnding, lifecycle.UrgencyTokenless, lifecycle.UrgencyNear,
		lifecycle.UrgencyChanged, lifecycle.UrgencyMany, lifecycle.UrgencyRelaxed, lifecycle.UrgencyIdle,
	}
	for i := range order[1:] {
		if order[i] <= order[i+1] {
			t.Errorf("%d is not more than %d", order[i], order[i+1])
		}
	}
}
