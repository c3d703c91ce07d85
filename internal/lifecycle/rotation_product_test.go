package lifecycle_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// outlook is what the choices that make up a set of facts of a rotating account say about the plan. It knows nothing of
// the rules.
type outlook struct {
	fault    bool // there is a reason to do nothing at all
	unusable bool // there is a reason not to use the refresh token, which a new grant would mend
	alive    bool // the grant that is held would be lost by importing another
	offered  bool // there is a refresh token to import
	replace  bool // the grant that is held may be given up for it

	single  bool // using the refresh token spends it
	revokes bool // using it twice may end the grant
	grace   time.Duration

	outlived                     bool // it has been seen for as long as the grace, if there is one
	claimed, young, silent, void bool // a claim is open; its holder has time; it is not announced; nothing depends on it
	attempt                      int32
	began                        time.Duration // the first try's age

	wait   bool // there is a reason to wait before a first try
	second bool // there is one to wait before another try
	want   bool // there is a reason for a first try
	ends   time.Duration

	publishable, current bool
	open                 bool // an exchange of this process is under way
	foreign              bool // the Secret is another's
	refused              bool // it could not be written, a moment ago
}

func (o outlook) doubtful() bool {
	return o.second || o.revokes && (o.grace == 0 || o.began > o.grace) && o.ends > 0
}

func (o outlook) action() lifecycle.Action {
	switch {
	case o.fault || (o.foreign || o.refused) && !o.claimed:
		return lifecycle.Rest
	case o.offered && (!o.alive || o.replace):
		return lifecycle.ImportToken
	case o.unusable:
		return lifecycle.Rest
	case o.claimed && o.void && !o.young:
		return lifecycle.Unclaim
	case o.claimed && !o.young && o.silent && o.outlived:
		return lifecycle.Contest
	case o.claimed && !o.young && !o.doubtful(), !o.claimed && o.want && !o.wait:
		return lifecycle.Exchange
	default:
		return lifecycle.Rest
	}
}

type prospect struct {
	name  string
	apply func(f *lifecycle.Facts, o *outlook)
}

func refreshDimensions() [][]prospect {
	return [][]prospect{
		providerProspects(), grantProspects(), claimProspects(), faultProspects(), failureProspects(), importProspects(), secretProspects(),
	}
}

func providerProspects() []prospect {
	strict := func(_ *lifecycle.Facts, o *outlook) { o.single, o.revokes = true, true }
	fault := func(change func(f *lifecycle.Facts)) func(*lifecycle.Facts, *outlook) {
		return func(f *lifecycle.Facts, o *outlook) { strict(f, o); change(f); o.fault = true }
	}
	return []prospect{
		{"nothing declared", strict},
		{"rejects", func(f *lifecycle.Facts, o *outlook) { rejects(f); o.single = true }},
		{"grace", func(f *lifecycle.Facts, o *outlook) { strict(f, o); o.grace = 30 * time.Second; forgives(o.grace)(f) }},
		{"reusable", func(f *lifecycle.Facts, o *outlook) { reusable(f); o.revokes = true }},
		{"elsewhere, shared", func(f *lifecycle.Facts, o *outlook) { strict(f, o); sharedClient(f) }},
		{"elsewhere, not shared", fault(func(f *lifecycle.Facts) { sharedClient(f); f.Client.Spec.AllowedNamespaces = nil })},
		{"no client", fault(func(f *lifecycle.Facts) { f.Client = nil })},
		{"client not ready", fault(func(f *lifecycle.Facts) { f.Client.Status.Conditions[0].Status = metav1.ConditionFalse })},
		{"other host", func(f *lifecycle.Facts, o *outlook) {
			strict(f, o)
			endpoint("https://other.example/token")(f)
			o.unusable = true
		}},
		{"other host, accepted", func(f *lifecycle.Facts, o *outlook) {
			strict(f, o)
			endpoint("https://other.example/token")(f)
			acceptOrigin("https://other.example")(f)
		}},
	}
}

// sharedClient moves the client into another namespace, and lets every namespace use it for refresh tokens.
func sharedClient(f *lifecycle.Facts) {
	grants := f.Client.Spec.Grants
	elsewhere(f)
	f.Client.Spec.Grants, f.Client.Spec.AllowedNamespaces[0].Grants = grants, nil
}

func grantProspects() []prospect {
	holds := func(issued, expiration time.Time, want bool, ends time.Duration) func(*lifecycle.Facts, *outlook) {
		return func(f *lifecycle.Facts, o *outlook) {
			f.Credential = heldRefreshable(issued, expiration)
			f.Account.Status.SealedCredential, f.Account.Status.BoundTo.AccountUID = "sealed", uid
			f.Account.Status.Rotations = f.Credential.Rotation
			o.alive, o.publishable, o.want, o.ends = true, true, want, ends
		}
	}
	then := func(first func(*lifecycle.Facts, *outlook), second func(f *lifecycle.Facts, o *outlook)) func(*lifecycle.Facts, *outlook) {
		return func(f *lifecycle.Facts, o *outlook) { first(f, o); second(f, o) }
	}
	valid := holds(ago(10*time.Minute), in(50*time.Minute), false, 48*time.Minute)
	due := holds(ago(50*time.Minute), in(10*time.Minute), true, 8*time.Minute)
	return []prospect{
		{"none", func(_ *lifecycle.Facts, o *outlook) { o.unusable = true }},
		{"valid", valid},
		{"valid, and a newer one asked for", then(valid, func(f *lifecycle.Facts, o *outlook) {
			annotate(v1alpha1.AnnotationRefreshRequestedAt, ago(time.Second).Format(time.RFC3339))(f)
			o.want = true
		})},
		{"valid, and a newer one asked for in a while", then(valid, func(f *lifecycle.Facts, _ *outlook) {
			annotate(v1alpha1.AnnotationRefreshRequestedAt, in(20*time.Minute).Format(time.RFC3339))(f)
		})},
		{"due", due},
		{"expired", holds(ago(2*time.Hour), ago(time.Hour), true, 0)},
		{"without expiry", holds(ago(time.Hour), time.Time{}, false, 23*time.Hour)},
		{"imported", then(due, func(f *lifecycle.Facts, o *outlook) {
			f.Credential.HasAccessToken, o.publishable, o.ends = false, false, 0
		})},
		{"without a refresh token", then(due, func(f *lifecycle.Facts, o *outlook) {
			f.Credential.HasRefreshToken, f.Credential.Fingerprint = false, ""
			o.unusable, o.alive = true, false
		})},
		{"rolled back", then(due, func(f *lifecycle.Facts, o *outlook) {
			if f.HighestRotation = 5; o.single {
				o.unusable, o.alive, o.publishable = true, false, false
			}
		})},
		{"unreadable", func(f *lifecycle.Facts, o *outlook) {
			f.Credential.State, f.Account.Status.SealedCredential = lifecycle.CredentialUnreadable, "sealed"
			o.fault = true
		}},
	}
}

func claimProspects() []prospect {
	open := func(holder lifecycle.ClaimHolder, attempt int32, unchanged time.Duration, more func(f *lifecycle.Facts, o *outlook)) func(*lifecycle.Facts, *outlook) {
		return func(f *lifecycle.Facts, o *outlook) {
			named := f.Client
			if f.Client == nil {
				f.Client = newClient(home) // there was one when the claim was made
			}
			claim(f, holder, attempt, unchanged)
			f.Client = named
			o.claimed, o.attempt, o.began = true, attempt, unchanged
			stays := claimStays
			if o.grace > 0 {
				stays = o.grace / 2
			}
			o.young = holder == lifecycle.ClaimForeign && unchanged < stays
			o.silent = holder == lifecycle.ClaimForeign
			o.outlived = unchanged >= o.grace
			more(f, o)
		}
	}
	same := func(*lifecycle.Facts, *outlook) {}
	void := func(f *lifecycle.Facts, o *outlook) { overtaken(f); o.void = true }
	told := func(f *lifecycle.Facts, o *outlook) { contested(f); o.silent = false }
	return []prospect{
		{"none", same},
		{"another's", open(lifecycle.ClaimForeign, 1, time.Second, same)},
		{"another's, left open", open(lifecycle.ClaimForeign, 1, time.Minute, same)},
		{"another's, left open within a grace", open(lifecycle.ClaimForeign, 1, 20*time.Second, same)},
		{"another's, announced", open(lifecycle.ClaimForeign, 2, 10*time.Second, told)},
		{"another's, announced and left open", open(lifecycle.ClaimForeign, 2, time.Minute, told)},
		{"another's, overtaken", open(lifecycle.ClaimForeign, 1, time.Second, void)},
		{"another's, overtaken and left open", open(lifecycle.ClaimForeign, 3, time.Minute, void)},
		{"orphaned", open(lifecycle.ClaimOrphaned, 1, time.Second, same)},
		{"in doubt", open(lifecycle.ClaimInDoubt, 1, 2*time.Second, same)},
		{"in doubt again", open(lifecycle.ClaimInDoubt, 2, 2*time.Minute, same)},
		{"unsent", open(lifecycle.ClaimUnsent, 1, 0, func(_ *lifecycle.Facts, o *outlook) { o.void = true })},
		{"unsent again", open(lifecycle.ClaimUnsent, 2, 0, same)},
	}
}

func failureProspects() []prospect {
	failed := func(age, wait time.Duration, inputs string, first, second bool) func(*lifecycle.Facts, *outlook) {
		return func(f *lifecycle.Facts, o *outlook) {
			failing(oauth.OutcomeUnknown, age, wait)(f)
			f.Account.Status.Failures.InputsHash = inputs
			o.wait, o.second = first, second
		}
	}
	refused := func(class oauth.Class) func(*lifecycle.Facts, *outlook) {
		return func(f *lifecycle.Facts, o *outlook) { refusing(class)(f); o.unusable, o.alive = true, false }
	}
	far := 73 * 365 * 24 * time.Hour
	return []prospect{
		{"no failure", func(*lifecycle.Facts, *outlook) {}},
		{"lost", refused(lifecycle.RefreshTokenLost)},
		{"waiting", failed(time.Minute, time.Minute, hash, true, true)},
		{"waiting with other inputs", failed(time.Minute, time.Minute, "old", false, true)},
		{"forged wait", failed(2*time.Hour, far, hash, false, false)},
		{"forged failure", failed(-far, far, hash, false, false)},
		{"just sent", func(f *lifecycle.Facts, o *outlook) {
			f.LastAttempt, o.wait, o.second = ago(time.Second), true, o.attempt > 1
		}},
	}
}

func importProspects() []prospect {
	offered := func(f *lifecycle.Facts, o *outlook) { f.Import.State, o.offered = lifecycle.ImportNew, true }
	return []prospect{
		{"done", func(f *lifecycle.Facts, _ *outlook) { f.Import.State = lifecycle.ImportDone }},
		{"offered", offered},
		{"offered to replace", func(f *lifecycle.Facts, o *outlook) {
			offered(f, o)
			annotate(v1alpha1.AnnotationReplaceGrant, "2")(f)
			o.replace = true
		}},
		{"faulty", func(f *lifecycle.Facts, _ *outlook) {
			f.Import = lifecycle.Import{State: lifecycle.ImportFault, Finding: alreadyImported()}
		}},
	}
}

func alreadyImported() *lifecycle.Finding {
	return &lifecycle.Finding{
		Condition: v1alpha1.ConditionAuthorized, Reason: v1alpha1.ReasonAlreadyImported, Message: "another account has it: put a new one there",
	}
}

func faultProspects() []prospect {
	fault := func(change func(f *lifecycle.Facts)) func(*lifecycle.Facts, *outlook) {
		return func(f *lifecycle.Facts, o *outlook) { o.fault = true; change(f) }
	}
	return []prospect{
		{"no fault", func(*lifecycle.Facts, *outlook) {}},
		{"schema too old", fault(func(f *lifecycle.Facts) { f.SchemaTooOld = true })},
		{"keyring missing", fault(func(f *lifecycle.Facts) { f.KeyringMissing = true })},
		{"suspended", fault(suspended)},
		{"scope above the ceiling", fault(func(f *lifecycle.Facts) { f.Account.Spec.Scopes = []v1alpha1.Scope{"admin"} })},
		{"exchange open", func(f *lifecycle.Facts, o *outlook) { f.ExchangeOpen, o.open, o.fault = true, true, true }},
		{"deleted", func(f *lifecycle.Facts, o *outlook) { deleted(f); o.fault, o.publishable = true, false }},
	}
}

func secretProspects() []prospect {
	return []prospect{
		{"current", func(f *lifecycle.Facts, o *outlook) { f.Secret, o.current = lifecycle.SecretCurrent, true }},
		{"foreign", func(f *lifecycle.Facts, o *outlook) { f.Secret, o.foreign = lifecycle.SecretForeign, true }},
		{"not possible", func(f *lifecycle.Facts, o *outlook) {
			f.Secret, f.SecretFault, o.foreign = lifecycle.SecretStale, secretFault(), true
		}},
		{"stale", func(f *lifecycle.Facts, _ *outlook) { f.Secret = lifecycle.SecretStale }},
		{"absent, and refused", func(f *lifecycle.Facts, o *outlook) {
			f.Secret, f.SecretRefused, o.refused = lifecycle.SecretAbsent, ago(10*time.Second), true
		}},
	}
}

// refreshProduct calls visit with every combination of prospects that begins with the given one; with only some of the
// failures, imports and Secrets where a fault stands before them anyway.
func refreshProduct(first prospect, visit func(name string, build func() (*lifecycle.Facts, outlook))) {
	rest := refreshDimensions()[1:]
	few := []int{11, 12, 7, 2, 2, 1}
	picked := make([]prospect, len(rest)+1)
	picked[0] = first
	build := func() (*lifecycle.Facts, outlook) {
		facts, o := importing(), outlook{}
		for _, one := range picked {
			one.apply(facts, &o)
		}
		return facts, o
	}
	var pick func(at int)
	pick = func(at int) {
		if at == len(rest) {
			visit(nameOfProspects(picked), build)
			return
		}
		choices := rest[at]
		if _, o := build(); at >= 3 && o.fault {
			choices = choices[:few[at]]
		}
		for _, next := range choices {
			picked[at+1] = next
			pick(at + 1)
		}
		picked[at+1] = prospect{"", func(*lifecycle.Facts, *outlook) {}}
	}
	for at := range rest {
		picked[at+1] = prospect{"", func(*lifecycle.Facts, *outlook) {}}
	}
	pick(0)
}

func nameOfProspects(picked []prospect) string {
	name := picked[0].name
	for _, one := range picked[1:] {
		name += "; " + one.name
	}
	return name
}

func TestEveryRefreshIsWhatItsFactsSay(t *testing.T) {
	t.Parallel()
	for _, first := range refreshDimensions()[0] {
		t.Run(first.name, func(t *testing.T) {
			t.Parallel()
			failures := 0
			refreshProduct(first, func(name string, build func() (*lifecycle.Facts, outlook)) {
				facts, o := build()
				err := planIsRight(facts, o)
				if err == nil {
					err = sleepIsRight(facts)
				}
				if err == nil {
					return
				}
				failures++
				if failures <= 5 {
					t.Errorf("%s: %v", name, err)
				}
			})
			if failures > 5 {
				t.Errorf("%d more", failures-5)
			}
		})
	}
}

// planIsRight: the plan is the one that the choices call for, and dangerous in none of the ways in which one can be.
func planIsRight(f *lifecycle.Facts, o outlook) error {
	plan := lifecycle.Decide(f, noon())
	exchange := plan.Action == lifecycle.Exchange
	attempt := int32(1)
	if o.claimed {
		attempt = o.attempt + 1
	}
	switch {
	case exchange && (o.fault || o.unusable):
		return fmt.Errorf("calls by the rule %q in spite of %+v", plan.Rule, o)
	case exchange && o.claimed && o.young:
		return fmt.Errorf("calls by the rule %q under a claim that is another's", plan.Rule)
	case exchange && (!plan.Refresh || plan.Attempt != attempt):
		return fmt.Errorf("%+v for %+v", plan, o)
	case exchange && !plan.Claim && (o.single || o.claimed):
		return fmt.Errorf("spends without a claim: %+v", plan)
	case !exchange && (plan.Refresh || plan.Claim || plan.Attempt != 0 || plan.Scopes != nil):
		return fmt.Errorf("calls nobody, and has something to say: %+v", plan)
	case plan.Action != o.action():
		return fmt.Errorf("%s by the rule %q, want %s of %+v", plan.Action, plan.Rule, o.action(), o)
	case plan.Publish != (o.publishable && !o.foreign && !o.current && !exchange):
		return fmt.Errorf("publishes: %t by the rule %q, but %+v", plan.Publish, plan.Rule, o)
	case !reflect.DeepEqual(plan, lifecycle.Decide(f, noon())):
		return fmt.Errorf("the same facts gave another plan than %+v", plan)
	}
	return nil
}

// sleepIsRight: whoever sleeps until Wake, and sees nothing happen, misses nothing; and he is not woken for nothing. The
// claim is seen for longer and longer meanwhile.
func sleepIsRight(f *lifecycle.Facts) error {
	status := lifecycle.Status(f, lifecycle.Done{}, noon())
	wake := lifecycle.Wake(f, &status, noon())
	f.Account.Status = status
	if err := wellFormed(f, status); err != nil {
		return err
	}
	plan := lifecycle.Decide(f, noon())
	year := in(365 * 24 * time.Hour)
	switch {
	case wake.IsZero():
		ended := *f
		ended.ExchangeOpen = false
		if later := decideLater(&ended, year); later.Action != lifecycle.Rest {
			return fmt.Errorf("sleeps for ever, and would act by the rule %q", later.Rule)
		}
		return sameWords(f, year)
	case wake.Before(noon()):
		return fmt.Errorf("wakes %v ago", noon().Sub(wake))
	case plan.Action != lifecycle.Rest:
		if wake.After(noon()) {
			return fmt.Errorf("acts by the rule %q, but sleeps %v", plan.Rule, wake.Sub(noon()))
		}
		return nil
	case wake.Equal(noon()):
		return fmt.Errorf("does not sleep, and has nothing to do but %+v", plan)
	}
	moment := wake.Add(-time.Millisecond)
	if before := decideLater(f, moment); before.Action != lifecycle.Rest {
		return fmt.Errorf("sleeps %v, too long: would act by the rule %q", wake.Sub(noon()), before.Rule)
	}
	if err := sameWords(f, moment); err != nil {
		return fmt.Errorf("sleeps %v, too long: %w", wake.Sub(noon()), err)
	}
	return nil
}
