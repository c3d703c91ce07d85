package lifecycle_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
)

// A request ends before its claim does, so that no other process can begin while it may still be under way. Where there is
// a grace, a lost answer is found out, and the claim taken over, while it lasts.
func TestARequestEndsBeforeItsClaim(t *testing.T) {
	t.Parallel()
	graces := []int32{0, 3600}
	for seconds := int32(3); seconds <= 120; seconds++ {
		graces = append(graces, seconds)
	}
	for _, seconds := range graces {
		for timeout := range int32(31) { // 0: none is declared, and 30 s are taken
			client := newClient(home)
			client.Spec.RefreshTokens.ReuseGraceSeconds, client.Spec.TokenRequest.TimeoutSeconds = seconds, timeout
			limit, stays, grace := lifecycle.RequestLimit(client), lifecycle.ClaimDuration(client), lifecycle.Grace(client)
			declared := 30 * time.Second
			if timeout > 0 {
				declared = time.Duration(timeout) * time.Second
			}
			switch {
			case grace != time.Duration(seconds)*time.Second:
				t.Errorf("a grace of %d s is taken for %v", seconds, grace)
			case limit <= 0 || limit > declared:
				t.Errorf("grace %v, timeout %v: a request may take %v", grace, declared, limit)
			case limit >= stays:
				t.Errorf("grace %v, timeout %v: a request may take %v, and its claim lasts %v", grace, declared, limit, stays)
			case stays%time.Second != 0 || stays > time.Minute:
				t.Errorf("grace %v, timeout %v: a claim lasts %v", grace, declared, stays)
			case grace == 0 && (limit != declared || stays != declared+15*time.Second):
				t.Errorf("timeout %v: a request may take %v, and its claim lasts %v", declared, limit, stays)
			case grace > 0 && (limit > grace/3 || stays > grace/2):
				t.Errorf("grace %v, timeout %v: a request may take %v, and its claim lasts %v", grace, declared, limit, stays)
			}
		}
	}
}

func TestWhatIsNotDeclaredIsSingleUse(t *testing.T) {
	t.Parallel()
	for use, want := range map[v1alpha1.RefreshTokenUse]bool{"": true, v1alpha1.RefreshTokenSingleUse: true, v1alpha1.RefreshTokenReusable: false, "Sometimes": true} {
		client := newClient(home)
		client.Spec.RefreshTokens.Use = use
		if got := lifecycle.SingleUse(client); got != want {
			t.Errorf("use %q: single use is %t", use, got)
		}
	}
	if !lifecycle.SingleUse(nil) {
		t.Error("without a client, a token is not taken for one of single use")
	}
}

// by is who makes claims in these tests.
func by() lifecycle.Claiming {
	return lifecycle.Claiming{ID: "claim-new", Holder: v1alpha1.ClaimHolder{Journal: "ours", Process: "this"}, Host: "bank.example:443"}
}

func TestWithClaim(t *testing.T) {
	t.Parallel()
	first := v1alpha1.Claim{
		ID: "claim-new", Sequence: 10, Attempt: 1, GrantSequence: new(int64(heldGrant)), Rotation: new(int64(4)), Fingerprint: heldToken,
		ClientUID: "client-uid", Host: "bank.example:443", DurationSeconds: 45,
		StartTime: when(noon()), Holder: v1alpha1.ClaimHolder{Journal: "ours", Process: "this"},
	}
	second, startless, graced := first, first, first
	second.Sequence, second.Attempt, second.StartTime = 11, 2, when(ago(time.Minute))
	startless.Sequence, startless.Attempt = 11, 2
	graced.DurationSeconds = 15
	again := change(claimed(lifecycle.ClaimForeign, 1, time.Minute), contested)
	tests := map[string]struct {
		change func(*lifecycle.Facts)
		want   v1alpha1.Claim
		doubt  int64
	}{
		"a first try leaves no doubt":                       {nothing, first, 0},
		"nor does it end one":                               {func(f *lifecycle.Facts) { f.Account.Status.DoubtSequence = 7 }, first, 7},
		"a second one does, and goes on from the first":     {again, second, 11},
		"a second one whose first has no time begins now":   {change(again, func(f *lifecycle.Facts) { f.Account.Status.Claim.StartTime = nil }), startless, 11},
		"the claim is as long as the grace lets it":         {forgives(30 * time.Second), graced, 0},
		"a sequence that was taken out is the credential's": {func(f *lifecycle.Facts) { f.Account.Status.ClaimSequence = 0 }, first, 0},
		"so is one that was put below nothing":              {func(f *lifecycle.Facts) { f.Account.Status.ClaimSequence = math.MinInt64 }, first, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := overdue()
			test.change(f)
			before := f.Account.Status.DeepCopy()
			plan := lifecycle.Plan{Attempt: test.want.Attempt, Claim: true}
			got := lifecycle.WithClaim(f, plan, by(), noon().Add(700*time.Millisecond))
			if diff := cmp.Diff(test.want, got.Claim); diff != "" {
				t.Error(diff)
			}
			if got.ClaimSequence != got.Claim.Sequence || got.DoubtSequence != test.doubt {
				t.Errorf("sequence %d, doubt %d, want a doubt of %d", got.ClaimSequence, got.DoubtSequence, test.doubt)
			}
			untouched(t, *before, got)
			if diff := cmp.Diff(*before, f.Account.Status); diff != "" {
				t.Errorf("the facts were changed: %s", diff)
			}
		})
	}
}

// untouched: the two differ in nothing but the claim and its counters.
func untouched(t *testing.T, before, after v1alpha1.ConnectedAccountStatus) {
	t.Helper()
	before, after = *before.DeepCopy(), *after.DeepCopy()
	before.Claim, before.ClaimSequence, before.DoubtSequence = v1alpha1.Claim{}, 0, 0
	after.Claim, after.ClaimSequence, after.DoubtSequence = v1alpha1.Claim{}, 0, 0
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("more than the claim was changed: %s", diff)
	}
}

// Whatever the status and the credential say, the next number is above both, and the plan's attempt goes into the claim.
func TestClaimSequenceNeverGoesBack(t *testing.T) {
	t.Parallel()
	numbers := []int64{math.MinInt64, -1, 0, 1, 8, 9, 10, 1 << 40}
	for _, status := range numbers {
		for _, sealed := range numbers {
			f := overdue()
			f.Account.Status.ClaimSequence, f.Credential.ClaimSequence = status, sealed
			for attempt := int32(1); attempt <= 3; attempt++ {
				next := lifecycle.NextClaimSequence(f)
				f.Account.Status = lifecycle.WithClaim(f, lifecycle.Plan{Attempt: attempt}, by(), noon())
				if next <= status || next <= sealed || next < 1 || f.Account.Status.ClaimSequence != next || f.Account.Status.Claim.Sequence != next {
					t.Fatalf("after %d in the status and %d in the credential comes %d, and %+v", status, sealed, next, f.Account.Status.Claim)
				}
				status = next
			}
		}
	}
}

func TestWithContest(t *testing.T) {
	t.Parallel()
	f := overdue()
	claim(f, lifecycle.ClaimForeign, 3, time.Hour)
	before := f.Account.Status.DeepCopy()
	got := lifecycle.WithContest(f, noon().Add(700*time.Millisecond))
	want := before.Claim
	want.ContestedTime = when(noon())
	if diff := cmp.Diff(want, got.Claim); diff != "" {
		t.Error(diff)
	}
	if got.ClaimSequence != 10 || got.DoubtSequence != before.DoubtSequence {
		t.Errorf("an announcement counts: %d, %d", got.ClaimSequence, got.DoubtSequence)
	}
	untouched(t, *before, got)
}

func TestWithoutClaim(t *testing.T) {
	t.Parallel()
	f := overdue()
	claim(f, lifecycle.ClaimUnsent, 1, time.Second)
	f.Account.Status.DoubtSequence = 7
	before := f.Account.Status.DeepCopy()
	got := lifecycle.WithoutClaim(f)
	if got.Claim != (v1alpha1.Claim{}) || got.ClaimSequence != 10 || got.DoubtSequence != 7 {
		t.Errorf("claim %+v, sequence %d, doubt %d: want no claim, and the numbers as they were", got.Claim, got.ClaimSequence, got.DoubtSequence)
	}
	untouched(t, *before, got)
}
