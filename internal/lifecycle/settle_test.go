package lifecycle_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// Versions are a strict total order: of two that differ, one comes after the other; and what comes after something that
// comes after a third comes after that.
func TestVersionsAreInOrder(t *testing.T) {
	t.Parallel()
	var all []lifecycle.Version
	for n := range int64(27) {
		all = append(all, lifecycle.Version{Grant: n/9 - 1, Rotation: n/3%3 - 1, Claim: n%3 - 1})
	}
	for i, a := range all {
		for j, b := range all {
			// They were made in order: the grant counts for most, the claim for least.
			if a.After(b) != (i > j) {
				t.Fatalf("%v after %v: %t", a, b, a.After(b))
			}
			for _, c := range all {
				if a.After(b) && b.After(c) && !a.After(c) {
					t.Fatalf("%v, %v, %v", a, b, c)
				}
			}
		}
	}
	if got := (lifecycle.Credential{GrantSequence: 3, Rotation: 2, ClaimSequence: 1}).Version(); got != (lifecycle.Version{Grant: 3, Rotation: 2, Claim: 1}) {
		t.Errorf("a credential's version is %v", got)
	}
}

// The present in these tests: grant 2, rotation 4, kept under claim 9. Claim 10, of the second attempt, is open.
func storedCredential() lifecycle.Credential {
	return lifecycle.Credential{State: lifecycle.CredentialHeld, HasRefreshToken: true, Fingerprint: heldToken, GrantSequence: heldGrant, Rotation: 4, ClaimSequence: 9}
}

func openStatus() v1alpha1.ConnectedAccountStatus {
	return v1alpha1.ConnectedAccountStatus{
		SealedCredential: "sealed-4", Rotations: 4, ClaimSequence: 10, DoubtSequence: 10,
		Claim: v1alpha1.Claim{ID: "claim-10", Sequence: 10, Attempt: 2, Fingerprint: heldToken},
	}
}

func version(grant, rotation, claim int64) lifecycle.Version {
	return lifecycle.Version{Grant: grant, Rotation: rotation, Claim: claim}
}

// spending is a use of the held token; the claim in the status is 10.
func spending(id string, sequence int64, attempt int32) lifecycle.Spending {
	return lifecycle.Spending{ClaimID: id, ClaimSequence: sequence, Attempt: attempt, Spent: heldToken}
}

func TestMayKeep(t *testing.T) {
	t.Parallel()
	mine, earlier, claimless := spending("claim-10", 10, 2), spending("claim-9", 9, 1), lifecycle.Spending{Attempt: 1, Spent: heldToken}
	forgiven := func(s lifecycle.Spending) lifecycle.Spending { s.Forgiven = true; return s }
	of := func(s lifecycle.Spending, spent string) lifecycle.Spending { s.Spent = spent; return s }
	none := lifecycle.Credential{State: lifecycle.CredentialNone}
	later := storedCredential()
	later.Rotation, later.ClaimSequence, later.Fingerprint = 5, 10, "fingerprint-5"
	unclaimed := openStatus()
	unclaimed.Claim = v1alpha1.Claim{}
	tests := map[string]struct {
		status v1alpha1.ConnectedAccountStatus
		stored lifecycle.Credential
		result lifecycle.Version
		by     lifecycle.Spending
		want   bool
	}{
		"the successor of what is stored":                        {openStatus(), storedCredential(), version(2, 5, 10), mine, true},
		"one that came after its claim was taken over":           {openStatus(), storedCredential(), version(2, 5, 9), earlier, true},
		"one that came after its claim was cleared":              {unclaimed, storedCredential(), version(2, 5, 9), earlier, true},
		"not the one that is stored already":                     {openStatus(), later, version(2, 5, 10), mine, false},
		"the later try's wins over the earlier one's":            {openStatus(), later, version(2, 5, 11), spending("claim-11", 11, 3), true},
		"and the earlier one's does not win over it":             {openStatus(), later, version(2, 5, 9), earlier, false},
		"not one of an earlier rotation, whatever its claim":     {openStatus(), later, version(2, 4, 99), mine, false},
		"not one of an earlier grant, whatever its rotation":     {openStatus(), storedCredential(), version(1, 99, 99), mine, false},
		"one of a new grant, whatever its rotation":              {openStatus(), storedCredential(), version(3, 1, 1), mine, true},
		"anything over nothing":                                  {openStatus(), none, version(0, 0, 0), mine, true},
		"a reusable token's, without a claim":                    {unclaimed, storedCredential(), version(2, 5, 0), claimless, true},
		"not the second of two of a reusable token":              {unclaimed, later, version(2, 5, 0), claimless, false},
		"with a grace, the one of the open claim":                {openStatus(), storedCredential(), version(2, 5, 10), forgiven(mine), true},
		"with a grace, not beside a later claim of the same":     {openStatus(), storedCredential(), version(2, 5, 9), forgiven(earlier), false},
		"but beside a later claim of another token":              {openStatus(), storedCredential(), version(2, 5, 9), forgiven(of(earlier, "fingerprint-3")), true},
		"and beside an earlier claim":                            {openStatus(), storedCredential(), version(2, 5, 11), forgiven(spending("claim-11", 11, 3)), true},
		"and where the later claim is settled":                   {unclaimed, storedCredential(), version(2, 5, 9), forgiven(earlier), true},
		"with a grace, a new grant beside the old one's claim":   {openStatus(), storedCredential(), version(3, 5, 9), forgiven(of(earlier, "fingerprint-new")), true},
		"with a grace, over nothing, not beside a later claim":   {openStatus(), none, version(2, 5, 9), forgiven(earlier), false},
		"with a grace, one without a claim not beside a claim":   {openStatus(), storedCredential(), version(2, 5, 0), forgiven(claimless), false},
		"with a grace, one that is not later is no better":       {unclaimed, later, version(2, 5, 10), forgiven(mine), false},
		"without a grace, one without a claim beside somebody's": {openStatus(), storedCredential(), version(2, 5, 0), claimless, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := test.status.DeepCopy()
			if got := lifecycle.MayKeep(&test.status, test.stored, test.result, test.by); got != test.want {
				t.Errorf("may be kept: %t", got)
			}
			if diff := cmp.Diff(*before, test.status); diff != "" {
				t.Errorf("the status was changed: %s", diff)
			}
		})
	}
}

// left is what is left of claim and doubt in the status.
type left struct {
	Claim string
	Doubt int64
}

func leftOf(status *v1alpha1.ConnectedAccountStatus) left {
	return left{status.Claim.ID, status.DoubtSequence}
}

func TestKept(t *testing.T) {
	t.Parallel()
	withDoubt := func(doubt int64) v1alpha1.ConnectedAccountStatus {
		status := openStatus()
		status.DoubtSequence = doubt
		return status
	}
	tests := map[string]struct {
		status v1alpha1.ConnectedAccountStatus
		stored lifecycle.Credential
		result lifecycle.Version
		by     lifecycle.Spending
		want   left
	}{
		"a first try that works ends its claim and all doubt":           {withDoubt(9), storedCredential(), version(2, 5, 10), spending("claim-10", 10, 1), left{"", 0}},
		"a retry that works leaves the doubt":                           {openStatus(), storedCredential(), version(2, 5, 10), spending("claim-10", 10, 2), left{"", 10}},
		"a first try that works late ends no later doubt":               {openStatus(), storedCredential(), version(2, 5, 9), spending("claim-9", 9, 1), left{"claim-10", 10}},
		"nor one of its own number":                                     {withDoubt(9), storedCredential(), version(2, 5, 9), spending("claim-9", 9, 1), left{"claim-10", 9}},
		"but an earlier one; and another's claim stays":                 {withDoubt(8), storedCredential(), version(2, 5, 9), spending("claim-9", 9, 1), left{"claim-10", 0}},
		"a new grant ends every claim and all doubt":                    {openStatus(), storedCredential(), version(3, 5, 0), lifecycle.Spending{Attempt: 1}, left{"", 0}},
		"so does one that was imported":                                 {openStatus(), storedCredential(), version(3, 5, 10), lifecycle.Spending{Attempt: 2}, left{"", 0}},
		"one over nothing ends its own claim only":                      {openStatus(), lifecycle.Credential{State: lifecycle.CredentialNone}, version(3, 5, 0), lifecycle.Spending{Attempt: 2}, left{"claim-10", 10}},
		"a reusable token's leaves another's claim, and what it doubts": {openStatus(), storedCredential(), version(2, 5, 0), lifecycle.Spending{Attempt: 1, Spent: heldToken}, left{"claim-10", 10}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := test.status.DeepCopy()
			lifecycle.Kept(&test.status, test.stored, test.result, test.by)
			if diff := cmp.Diff(test.want, leftOf(&test.status)); diff != "" {
				t.Error(diff)
			}
			untouched(t, *before, test.status)
			if test.status.ClaimSequence != before.ClaimSequence {
				t.Errorf("the sequence is %d", test.status.ClaimSequence)
			}
		})
	}
}

// A result that comes from a journal wins over whatever was said of the token before, also where both are of one rotation,
// as after two tries of one refresh token.
func TestWhatIsKeptIsNotLost(t *testing.T) {
	t.Parallel()
	for _, class := range []oauth.Class{lifecycle.RefreshTokenLost, oauth.RefreshTokenRejected} {
		for _, rotation := range []int64{4, 5} {
			f := overdue()
			refusing(class)(f)
			next := f.Credential
			next.Rotation, next.ClaimSequence, next.Fingerprint = rotation, 10, "fingerprint-5"
			by := spending("claim-10", 10, 2)
			if !lifecycle.MayKeep(&f.Account.Status, f.Credential, next.Version(), by) {
				t.Fatalf("rotation %d may not be kept", rotation)
			}
			lifecycle.Kept(&f.Account.Status, f.Credential, next.Version(), by)
			f.Credential, f.Secret = next, lifecycle.SecretStale
			status := lifecycle.Status(f, lifecycle.Done{}, noon())
			if said(status, v1alpha1.ConditionAuthorized) != "True Authorized" || status.Failures != (v1alpha1.Failures{}) {
				t.Errorf("after %s, rotation %d is kept, and said is %q", class, rotation, said(status, v1alpha1.ConditionAuthorized))
			}
		}
	}
}

// Failures that are not the token's end are counted on: an answer may bring a refresh token, and nothing else that is of use.
func TestWhatIsKeptForgetsNoOtherFailure(t *testing.T) {
	t.Parallel()
	f := overdue()
	failing(oauth.InvalidResponse, time.Minute, time.Minute)(f)
	next := f.Credential
	next.Rotation, next.ClaimSequence, next.Fingerprint = 5, 10, "fingerprint-5"
	lifecycle.Kept(&f.Account.Status, f.Credential, next.Version(), spending("claim-10", 10, 1))
	f.Credential = next
	done := lifecycle.Done{Failure: &lifecycle.Failure{Class: oauth.InvalidResponse, Message: "no access token came"}}
	if failures := lifecycle.Status(f, done, noon()).Failures; failures.Count != 2 || failures.NextAttemptTime == nil {
		t.Errorf("the failures are %+v", failures)
	}
}

func TestDropped(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		by   lifecycle.Spending
		want left
	}{
		"its own claim is done with":             {spending("claim-10", 10, 2), left{"", 10}},
		"another's is not":                       {spending("claim-9", 9, 1), left{"claim-10", 10}},
		"one of the same number is another's":    {spending("claim-x", 10, 2), left{"claim-10", 10}},
		"what had no claim ends none":            {lifecycle.Spending{Attempt: 1, Spent: heldToken}, left{"claim-10", 10}},
		"and its attempt says nothing of doubts": {spending("claim-10", 10, 1), left{"", 10}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status := openStatus()
			before := status.DeepCopy()
			lifecycle.Dropped(&status, test.by)
			if diff := cmp.Diff(test.want, leftOf(&status)); diff != "" {
				t.Error(diff)
			}
			untouched(t, *before, status)
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	const no = oauth.RefreshTokenRejected
	first, second, earlier := spending("claim-10", 10, 1), spending("claim-10", 10, 2), spending("claim-9", 9, 1)
	claimless := lifecycle.Spending{Attempt: 1, Spent: heldToken}
	other := storedCredential()
	other.Rotation, other.Fingerprint = 5, "fingerprint-5"
	none := lifecycle.Credential{State: lifecycle.CredentialNone}
	type told struct {
		Class  oauth.Class
		Counts bool
		Left   left
	}
	tests := map[string]struct {
		doubt  int64
		open   bool // the claim 10 stands in the status
		stored lifecycle.Credential
		class  oauth.Class
		by     lifecycle.Spending
		want   told
	}{
		"no to a first try is the provider's word":               {0, true, storedCredential(), no, first, told{no, true, left{"", 0}}},
		"no to a second try is ours to regret":                   {10, true, storedCredential(), no, second, told{lifecycle.RefreshTokenLost, true, left{"", 10}}},
		"it is, even if the mark of the doubt was taken out":     {0, true, storedCredential(), no, second, told{lifecycle.RefreshTokenLost, true, left{"", 0}}},
		"no to a first try while a doubt stands is as well":      {3, true, storedCredential(), no, first, told{lifecycle.RefreshTokenLost, true, left{"", 3}}},
		"no to a token that is stored no more says nothing":      {0, true, other, no, first, told{no, false, left{"", 10}}},
		"nor where nothing is stored":                            {0, true, none, no, first, told{no, false, left{"", 10}}},
		"no under a claim that was taken over says nothing":      {0, true, storedCredential(), no, earlier, told{no, false, left{"claim-10", 10}}},
		"nor under one that was cleared":                         {0, false, storedCredential(), no, earlier, told{no, false, left{"", 10}}},
		"a doubt that is later stays":                            {11, true, storedCredential(), no, earlier, told{no, false, left{"claim-10", 11}}},
		"no to both a stranger's claim and a stranger's token":   {0, true, other, no, earlier, told{no, false, left{"claim-10", 10}}},
		"no to a reusable token is the provider's word":          {0, false, storedCredential(), no, claimless, told{no, true, left{"", 0}}},
		"but not beside somebody's claim":                        {0, true, storedCredential(), no, claimless, told{no, false, left{"claim-10", 10}}},
		"nor of a token that was replaced meanwhile":             {0, false, other, no, claimless, told{no, false, left{"", 10}}},
		"an unknown outcome leaves the claim":                    {0, true, storedCredential(), oauth.OutcomeUnknown, first, told{oauth.OutcomeUnknown, true, left{"claim-10", 0}}},
		"so does an answer that cannot be used":                  {0, true, storedCredential(), oauth.InvalidResponse, first, told{oauth.InvalidResponse, true, left{"claim-10", 0}}},
		"and every outcome of a second try that is no answer":    {10, true, storedCredential(), oauth.OutcomeUnknown, second, told{oauth.OutcomeUnknown, true, left{"claim-10", 10}}},
		"a second try that was not sent answers nothing":         {10, true, storedCredential(), oauth.NotSent, second, told{oauth.NotSent, true, left{"claim-10", 10}}},
		"nor one that was throttled":                             {10, true, storedCredential(), oauth.Throttled, second, told{oauth.Throttled, true, left{"claim-10", 10}}},
		"nor one whose client was refused":                       {10, true, storedCredential(), oauth.ClientRejected, second, told{oauth.ClientRejected, true, left{"claim-10", 10}}},
		"nor one whose request was":                              {10, true, storedCredential(), oauth.RequestRejected, second, told{oauth.RequestRejected, true, left{"claim-10", 10}}},
		"nor one that a person must look at":                     {10, true, storedCredential(), oauth.AuthorizationRequired, second, told{oauth.AuthorizationRequired, true, left{"claim-10", 10}}},
		"a first try that was not sent is done with":             {0, true, storedCredential(), oauth.NotSent, first, told{oauth.NotSent, true, left{"", 0}}},
		"and one that was throttled":                             {0, true, storedCredential(), oauth.Throttled, first, told{oauth.Throttled, true, left{"", 0}}},
		"and one whose client was refused":                       {0, true, storedCredential(), oauth.ClientRejected, first, told{oauth.ClientRejected, true, left{"", 0}}},
		"and one whose request was":                              {0, true, storedCredential(), oauth.RequestRejected, first, told{oauth.RequestRejected, true, left{"", 0}}},
		"and one that a person must look at":                     {0, true, storedCredential(), oauth.AuthorizationRequired, first, told{oauth.AuthorizationRequired, true, left{"", 0}}},
		"and one that a person denied":                           {0, true, storedCredential(), oauth.AuthorizationDenied, first, told{oauth.AuthorizationDenied, true, left{"", 0}}},
		"a first try after a doubt leaves it":                    {3, true, storedCredential(), oauth.NotSent, first, told{oauth.NotSent, true, left{"", 3}}},
		"a class that this version does not know is no answer":   {10, true, storedCredential(), "Sulking", second, told{"Sulking", true, left{"claim-10", 10}}},
		"an unknown outcome of a claim that was taken over":      {0, true, storedCredential(), oauth.OutcomeUnknown, earlier, told{oauth.OutcomeUnknown, false, left{"claim-10", 0}}},
		"an unknown outcome of a token that is stored no more":   {0, true, other, oauth.OutcomeUnknown, first, told{oauth.OutcomeUnknown, false, left{"", 0}}},
		"an unknown outcome of a reusable token":                 {0, false, storedCredential(), oauth.OutcomeUnknown, claimless, told{oauth.OutcomeUnknown, true, left{"", 0}}},
		"an unknown outcome without a claim, beside somebody's":  {0, true, storedCredential(), oauth.OutcomeUnknown, claimless, told{oauth.OutcomeUnknown, false, left{"claim-10", 0}}},
		"client credentials fail without token and without more": {0, false, none, oauth.NotSent, lifecycle.Spending{}, told{oauth.NotSent, false, left{"", 0}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status := openStatus()
			status.DoubtSequence = test.doubt
			if !test.open {
				status.Claim = v1alpha1.Claim{}
			}
			before := status.DeepCopy()
			class, counts := lifecycle.Refused(&status, test.stored, test.class, test.by)
			if diff := cmp.Diff(test.want, told{class, counts, leftOf(&status)}); diff != "" {
				t.Error(diff)
			}
			untouched(t, *before, status)
		})
	}
}
