package provider_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

const grace = 30 * time.Second

func withReuse(kind provider.ReuseKind) provider.Options {
	registration := business()
	registration.Reuse.Kind = kind
	switch kind {
	case provider.GraceSameSuccessor, provider.GraceSeveral, provider.GraceOnlyLast:
		registration.Reuse.Grace = grace
	default:
	}
	return provider.Options{Registrations: []provider.Registration{registration}}
}

// TestReuse spends one token, presents it again, and looks at what is left.
func TestReuse(t *testing.T) {
	t.Parallel()
	type left struct {
		Again         bool // the second use was answered
		First         bool // the successor from the first use can be spent
		FirstAccess   bool // and its access token works
		Other         bool // so can the refresh token of the same user's other lineage
		Stranger      bool // so can that of another user
		RevokedEvents int
	}
	rows := map[string]struct {
		kind  provider.ReuseKind
		after time.Duration
		want  left
	}{
		"strict":                         {kind: provider.Strict, want: left{First: true, FirstAccess: true, Other: true, Stranger: true}},
		"revoke the family":              {kind: provider.RevokeFamily, want: left{Other: true, Stranger: true, RevokedEvents: 1}},
		"revoke the user":                {kind: provider.RevokeUser, want: left{Stranger: true, RevokedEvents: 2}},
		"same successor within grace":    {provider.GraceSameSuccessor, grace - 1, left{true, true, true, true, true, 0}},
		"same successor after grace":     {provider.GraceSameSuccessor, grace, left{Other: true, Stranger: true, RevokedEvents: 1}},
		"several successors in grace":    {provider.GraceSeveral, grace - 1, left{true, true, true, true, true, 0}},
		"several successors after grace": {provider.GraceSeveral, grace, left{Other: true, Stranger: true, RevokedEvents: 1}},
		// Spending the superseded one is a reuse of its own, which revokes the family: the second revoked event.
		"only the last within grace": {provider.GraceOnlyLast, grace - 1, left{true, false, true, true, true, 2}},
		"only the last after grace":  {provider.GraceOnlyLast, grace, left{Other: true, Stranger: true, RevokedEvents: 1}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, withReuse(row.kind))
			root := b.grant(t, businessID, "anna")
			other := b.grant(t, businessID, "anna")
			stranger := b.grant(t, businessID, "berta")
			first := b.refresh(t, sb, root.RefreshToken)
			b.step(row.after)
			again := b.refresh(t, sb, root.RefreshToken)
			got := left{Again: again.RefreshToken != "", FirstAccess: b.works(t, sb, first.AccessToken)}
			if again.RefreshToken == "" && again.Error != "invalid_grant" {
				t.Errorf("refused with %q", again.Error)
			}
			if got.Again && (again.RefreshToken == first.RefreshToken) != (row.kind == provider.GraceSameSuccessor) {
				t.Error("the wrong successor")
			}
			got.First = b.refresh(t, sb, first.RefreshToken).RefreshToken != ""
			got.Other = b.refresh(t, sb, other.RefreshToken).RefreshToken != ""
			got.Stranger = b.refresh(t, sb, stranger.RefreshToken).RefreshToken != ""
			got.RevokedEvents = len(ofKind(b.Ledger(), provider.KindRevoked))
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
			reused := ofKind(b.Ledger(), provider.KindReused)[0]
			if reused.RefreshFingerprint != provider.Fingerprint(root.RefreshToken) || (reused.Outcome == provider.Granted) != row.want.Again {
				t.Errorf("reused: %+v", reused)
			}
		})
	}
}

func TestTheGraceEndsWhenASuccessorIsSpent(t *testing.T) {
	t.Parallel()
	for _, kind := range []provider.ReuseKind{provider.GraceSameSuccessor, provider.GraceSeveral, provider.GraceOnlyLast} {
		b := start(t, withReuse(kind))
		root := b.grant(t, businessID, "anna")
		first := b.refresh(t, sb, root.RefreshToken)
		second := b.refresh(t, sb, first.RefreshToken)
		if got := b.refresh(t, sb, root.RefreshToken); got.Error != "invalid_grant" {
			t.Errorf("%s: the grandparent was accepted", kind)
		}
		if b.works(t, sb, second.AccessToken) {
			t.Errorf("%s: the family was not revoked", kind)
		}
	}
}

func TestInGraceTheNewestSuccessorOfThoseThatLiveIsGood(t *testing.T) {
	t.Parallel()
	for _, kind := range []provider.ReuseKind{provider.GraceSeveral, provider.GraceOnlyLast} {
		b := start(t, withReuse(kind))
		root := b.grant(t, businessID, "anna")
		b.refresh(t, sb, root.RefreshToken)
		again := b.refresh(t, sb, root.RefreshToken)
		if got := b.refresh(t, sb, again.RefreshToken); got.RefreshToken == "" {
			t.Errorf("%s: %s", kind, got.body)
		}
	}
}

func TestAfterTheGraceARefusalMayBeAll(t *testing.T) {
	t.Parallel()
	options := withReuse(provider.GraceSeveral)
	options.Registrations[0].Reuse.AfterGrace = provider.Strict
	b := start(t, options)
	root := b.grant(t, businessID, "anna")
	first := b.refresh(t, sb, root.RefreshToken)
	b.step(grace)
	if got := b.refresh(t, sb, root.RefreshToken); got.Error != "invalid_grant" {
		t.Errorf("got %s", got.body)
	}
	if !b.works(t, sb, first.AccessToken) {
		t.Error("the family was revoked")
	}
}

func TestReusableRefreshTokens(t *testing.T) {
	t.Parallel()
	for kind, renewed := range map[provider.ReuseKind]bool{provider.Reusable: false, provider.ReusableRenewed: true} {
		b := start(t, withReuse(kind))
		root := b.grant(t, businessID, "anna")
		for range 3 {
			got := b.refresh(t, sb, root.RefreshToken)
			if got.AccessToken == "" || (got.RefreshToken != "") != renewed {
				t.Errorf("%s: %s", kind, got.body)
			}
		}
		if spent := ofKind(b.Ledger(), provider.KindSpent); len(spent) != 0 {
			t.Errorf("%s: %d spent", kind, len(spent))
		}
	}
}

func TestARefreshThatIsRefusedForItsScopeSpendsNothing(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	granted, err := b.Grant(businessID, "anna", "contact")
	if err != nil {
		t.Fatal(err)
	}
	if got := b.refresh(t, sb, granted.RefreshToken); got.Error != "invalid_scope" {
		t.Errorf("beyond the consent: %s", got.body)
	}
	p := with(sb, params{"grant_type": "refresh_token", "refresh_token": granted.RefreshToken, "scope": "contact"})
	if got := b.token(t, sb, p); got.RefreshToken == "" {
		t.Errorf("within the consent: %s", got.body)
	}
}

func TestAnotherClientCannotSpendTheToken(t *testing.T) {
	t.Parallel()
	second := business()
	second.ClientID = "second"
	b := start(t, provider.Options{Registrations: []provider.Registration{business(), second}})
	granted := b.grant(t, "second", "anna")
	if got := b.refresh(t, sb, granted.RefreshToken); got.Error != "invalid_grant" {
		t.Errorf("got %s", got.body)
	}
	if len(ofKind(b.Ledger(), provider.KindSpent)) != 0 {
		t.Error("spent by a stranger")
	}
}

// The requests are held before their commit and released together, or they would arrive one after the other.
func TestOfManyWhoSpendOneTokenAtOnceExactlyOneSucceeds(t *testing.T) {
	t.Parallel()
	const rounds, spenders = 10, 16
	b := start(t, withReuse(provider.Strict))
	for round := range rounds {
		hold := provider.NewHold()
		b.script(t, provider.HoldBeforeCommit(hold).For(spenders))
		request := refreshing(b.grant(t, businessID, "anna"))
		answers := make(chan answer, spenders)
		for range spenders {
			go func() {
				got, err := b.try(t, sb, request)
				if err != nil {
					t.Error(err)
				}
				answers <- got
			}()
		}
		eventually(t, func() bool { return b.TokenRequests() == (round+1)*spenders })
		hold.Release()
		granted := 0
		for range spenders {
			if got := <-answers; got.RefreshToken != "" {
				granted++
			}
		}
		if granted != 1 {
			t.Errorf("%d granted", granted)
		}
	}
	entries := b.Ledger()
	spent, reused := len(ofKind(entries, provider.KindSpent)), len(ofKind(entries, provider.KindReused))
	if spent != rounds || reused != rounds*(spenders-1) {
		t.Errorf("%d spent, %d reused", spent, reused)
	}
}

func TestOnlyTheLastIsSupersededEachTime(t *testing.T) {
	t.Parallel()
	b := start(t, withReuse(provider.GraceOnlyLast))
	root := b.grant(t, businessID, "anna")
	var newest answer
	for range 4 {
		newest = b.refresh(t, sb, root.RefreshToken)
	}
	if got := len(ofKind(b.Ledger(), provider.KindRevoked)); got != 3 {
		t.Errorf("%d superseded", got)
	}
	for _, each := range b.IssuedTokens() {
		if each.Refresh && each.Live != (each.Value == newest.RefreshToken) {
			t.Errorf("live: %t", each.Live)
		}
	}
}

func TestWhatEndedLongAgoIsForgotten(t *testing.T) {
	t.Parallel()
	options := withReuse(provider.RevokeFamily)
	options.Retention = time.Hour
	b := start(t, options)
	root := b.grant(t, businessID, "anna")
	first := b.refresh(t, sb, root.RefreshToken)
	for range 20 {
		b.step(time.Hour)
		b.token(t, sb, with(sb, nil))
	}
	// Left: the live refresh token, and the access tokens of 12 h and 1 h of retention.
	if got := len(b.IssuedTokens()); got < 13 || got > 16 {
		t.Errorf("%d tokens in memory", got)
	}
	if got := b.refresh(t, sb, root.RefreshToken); got.Error != "invalid_grant" {
		t.Errorf("the forgotten token got %s", got.body)
	}
	if got := b.refresh(t, sb, first.RefreshToken); got.RefreshToken == "" {
		t.Errorf("the live token was forgotten: %s", got.body)
	}
}
