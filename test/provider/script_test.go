package provider_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

const sb = provider.SmartBusiness

func (b *bench) script(t *testing.T, steps ...provider.Step) {
	t.Helper()
	if err := b.Script(businessID, steps...); err != nil {
		t.Fatal(err)
	}
}

func refreshing(root provider.Grant) params {
	return with(sb, params{"grant_type": "refresh_token", "refresh_token": root.RefreshToken})
}

type scriptRow struct {
	step      provider.Step
	committed bool
	transport bool // the client gets an error of the transport
	status    int
	body      string // contained in the body, if any
	replied   provider.Outcome
}

// TestScripts plays one step on a refresh, then looks at whether the token was spent.
func TestScripts(t *testing.T) {
	t.Parallel()
	rows := map[string]scriptRow{
		"delay before the commit": {provider.DelayBeforeCommit(time.Millisecond), true, false, 200, `"refresh_token"`, "written"},
		"delay after the commit":  {provider.DelayAfterCommit(time.Millisecond), true, false, 200, `"refresh_token"`, "written"},
		"drop":                    {provider.Drop(), false, true, 0, "", "dropped"},
		"rotate and drop":         {provider.CommitAndDrop(), true, true, 0, "", "dropped"},
		"cut":                     {provider.CutReply(20), true, true, 200, `{"token_type":"Beare`, "cut"},
		"cut before the body":     {provider.CutReply(0), true, true, 200, "", "cut"},
		"an error":                {provider.RefuseWith(400, "invalid_grant"), false, false, 400, `{"error":"invalid_grant"}`, "written"},
		"an error after the commit": {
			provider.CommitAndReplyWith(502, nil, "<html>"), true, false, 502, "<html>", "written",
		},
		"throttle":       {provider.Throttle(429, "120"), false, false, 429, "", "written"},
		"a hostile body": {provider.ReplyWith(200, nil, `{"access_token":"a"}{"access_token":"b"}`), false, false, 200, `"a"}{"`, "written"},
	}
	for name, row := range rows {
		for scheme, useTLS := range map[string]bool{"http": false, "https": true} {
			t.Run(name+" over "+scheme, func(t *testing.T) {
				t.Parallel()
				b := start(t, provider.Options{TLS: useTLS})
				trust(t, b)
				b.plays(t, row)
			})
		}
	}
}

func (b *bench) plays(t *testing.T, row scriptRow) {
	t.Helper()
	root := b.grant(t, businessID, "anna")
	b.script(t, row.step)
	got, err := b.try(t, sb, refreshing(root))
	if (err != nil) != row.transport {
		t.Errorf("transport error: %v", err)
	}
	if got.status != row.status || !strings.Contains(got.body, row.body) {
		t.Errorf("%d %q", got.status, got.body)
	}
	if row.status == 429 && got.header.Get("Retry-After") != "120" {
		t.Error("no Retry-After")
	}
	if spent := len(ofKind(b.Ledger(), provider.KindSpent)) == 1; spent != row.committed {
		t.Errorf("spent: %t", spent)
	}
	again := b.refresh(t, sb, root.RefreshToken) // the step has been used up, and this one is as usual
	if (again.RefreshToken == "") != row.committed {
		t.Errorf("again: %s", again.body)
	}
	entries := b.Ledger()
	if request := ofKind(entries, provider.KindTokenRequest)[0]; request.Script == "" {
		t.Errorf("the ledger does not name the step: %+v", request)
	}
	eventually(t, func() bool { return len(ofKind(b.Ledger(), provider.KindReplied)) == 2 })
	for _, replied := range ofKind(b.Ledger(), provider.KindReplied) {
		if replied.Request == 1 && replied.Outcome != row.replied {
			t.Errorf("replied: %+v", replied)
		}
	}
}

func TestTheReplyIsVerbatim(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	b.script(t, provider.ReplyWith(204, http.Header{"X-Odd": {"a", "b"}}, ""), provider.ReplyWith(200, nil, "plain"))
	first := b.token(t, sb, with(sb, nil))
	if diff := cmp.Diff([]string{"a", "b"}, first.header["X-Odd"]); diff != "" || first.status != 204 {
		t.Errorf("%d %s", first.status, diff)
	}
	if second := b.token(t, sb, with(sb, nil)); second.header["Content-Type"] != nil || second.body != "plain" {
		t.Errorf("%v %s", second.header, second.body)
	}
}

func TestARequestThatIsHeldCommitsThoughItsClientHasGone(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	root := b.grant(t, businessID, "anna")
	hold := provider.NewHold()
	b.script(t, provider.HoldBeforeCommit(hold))
	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := b.doCtx(ctx, t, http.MethodPost, b.TokenEndpoint(sb), typeHeader(sb), asJSON(refreshing(root)))
		gone <- err
	}()
	<-hold.Reached()
	hangUp()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if b.ClientTokenRequests(businessID) != 1 || len(ofKind(b.Ledger(), provider.KindTokenRequest)) != 0 {
		t.Error("a held request is counted, and not yet decided")
	}
	hold.Release()
	eventually(t, func() bool { return len(ofKind(b.Ledger(), provider.KindSpent)) == 1 })
	if got := b.refresh(t, sb, root.RefreshToken); got.Error != "invalid_grant" {
		t.Errorf("the token was not spent: %s", got.body)
	}
}

func TestARequestThatIsHeldAfterItsCommitHasBeenWritten(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	root := b.grant(t, businessID, "anna")
	hold := provider.NewHold()
	b.script(t, provider.HoldAfterCommit(hold))
	answers := make(chan answer)
	go func() {
		got, _ := b.try(t, sb, refreshing(root))
		answers <- got
	}()
	<-hold.Reached()
	if len(ofKind(b.Ledger(), provider.KindSpent)) != 1 {
		t.Error("nothing was spent before the reply")
	}
	hold.Release()
	if got := <-answers; got.RefreshToken == "" {
		t.Errorf("released: %s", got.body)
	}
}

func TestAHangingRequestEndsWithItsClientAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	root := b.grant(t, businessID, "anna")
	b.script(t, provider.Hang())
	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := b.doCtx(ctx, t, http.MethodPost, b.TokenEndpoint(sb), typeHeader(sb), asJSON(refreshing(root)))
		gone <- err
	}()
	eventually(t, func() bool { return len(ofKind(b.Ledger(), provider.KindTokenRequest)) == 1 })
	if got := last(t, b.Ledger(), provider.KindTokenRequest); got.Outcome != provider.Hung || got.Lineage != root.Lineage {
		t.Errorf("ledger: %+v", got)
	}
	hangUp()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	eventually(t, func() bool { return len(ofKind(b.Ledger(), provider.KindReplied)) == 1 })
	if got := b.refresh(t, sb, root.RefreshToken); got.RefreshToken == "" {
		t.Errorf("the token was spent: %s", got.body)
	}
}

func TestClosingAbandonsWhatIsHeld(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	root := b.grant(t, businessID, "anna")
	hold := provider.NewHold()
	b.script(t, provider.HoldBeforeCommit(hold))
	gone := make(chan error)
	go func() {
		_, err := b.try(t, sb, refreshing(root))
		gone <- err
	}()
	<-hold.Reached()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-gone; err == nil {
		t.Error("answered")
	}
	entries := b.Ledger()
	if got := last(t, entries, provider.KindTokenRequest); got.Outcome != provider.Abandoned {
		t.Errorf("ledger: %+v", got)
	}
	if len(ofKind(entries, provider.KindSpent)) != 0 {
		t.Error("spent")
	}
}

func TestStepsAreTakenInTurn(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	root := b.grant(t, businessID, "anna")
	b.script(t,
		provider.RefuseWith(503, "onlyrefresh").On(provider.GrantRefreshToken),
		provider.RefuseWith(500, "twice").For(2),
	)
	if err := b.Script("", provider.RefuseWith(500, "everybody").For(-1)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 3 {
		got = append(got, b.token(t, sb, with(sb, nil)).Error)
	}
	got = append(got, b.token(t, provider.Smartbills, with(provider.Smartbills, nil)).Error, b.refresh(t, sb, root.RefreshToken).Error)
	b.ClearScript("")
	got = append(got, b.refresh(t, sb, root.RefreshToken).Error)
	if diff := cmp.Diff([]string{"twice", "twice", "everybody", "everybody", "onlyrefresh", ""}, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

func TestStepsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	for name, step := range map[string]provider.Step{
		"an unknown action":         {Action: "explode"},
		"an unknown grant":          {Grant: "password"},
		"an unprocessed answer":     {Unprocessed: true},
		"a reply that is not there": {Action: provider.ActReply},
		"a reply beside an answer":  {Reply: &provider.Reply{Status: 200}},
		"a status of 100":           provider.ReplyWith(100, nil, ""),
		"a negative cut":            provider.CutReply(-1),
	} {
		if b.Script("", step) == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestOutages(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	root := b.grant(t, businessID, "anna")
	set := func(outage provider.Outage) {
		if err := b.SetOutage(outage); err != nil {
			t.Fatal(err)
		}
	}
	set(provider.Answering503)
	if got := b.refresh(t, sb, root.RefreshToken); got.status != http.StatusServiceUnavailable {
		t.Errorf("token endpoint: %d", got.status)
	}
	if got := b.call(t, b.APIEndpoint(sb)+"/invoices", root.AccessToken, nil); got.status != http.StatusServiceUnavailable {
		t.Errorf("API: %d", got.status)
	}
	set(provider.Refusing)
	b.client.CloseIdleConnections() // one that the server has just closed would fail in another way
	if _, err := b.try(t, sb, refreshing(root)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("not refused: %v", err)
	}
	if b.TokenRequests() != 1 {
		t.Errorf("%d requests", b.TokenRequests())
	}
	if err := b.SetAvailable(true); err != nil {
		t.Fatal(err)
	}
	if got := b.refresh(t, sb, root.RefreshToken); got.RefreshToken == "" {
		t.Errorf("after the outage: %s", got.body)
	}
	var outages []string
	for _, each := range ofKind(b.Ledger(), provider.KindOutage) {
		outages = append(outages, each.Reason)
	}
	if diff := cmp.Diff([]string{"answering-503", "refusing", "none"}, outages); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
}

func TestAChangedClientSecretTakesThePlaceOfTheOld(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	if err := b.SetClientSecret(businessID, "new"); err != nil {
		t.Fatal(err)
	}
	if got := b.token(t, sb, with(sb, nil)); got.Error != "invalid_client" {
		t.Errorf("the old one: %s", got.body)
	}
	if got := b.token(t, sb, with(sb, params{"client_secret": "new"})); got.AccessToken == "" {
		t.Errorf("the new one: %s", got.body)
	}
}

func TestACutReplyHasTheLengthOfTheWhole(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	b.script(t, provider.CutReply(3))
	got, err := b.try(t, sb, with(sb, nil))
	if !errors.Is(err, io.ErrUnexpectedEOF) || got.body != `{"t` {
		t.Errorf("%q, %v", got.body, err)
	}
}

// eventually waits for something that another goroutine does, without saying how long that takes.
func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(requestTimeout)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	type left struct{ Anna, AnnaOther, Berta, Own bool }
	rows := map[string]struct {
		what func(anna provider.Grant) provider.Revocation
		want left
	}{
		"an access token": {func(g provider.Grant) provider.Revocation {
			return provider.Revocation{Fingerprint: provider.Fingerprint(g.AccessToken)}
		}, left{false, true, true, true}},
		"a refresh token": {func(g provider.Grant) provider.Revocation {
			return provider.Revocation{Fingerprint: provider.Fingerprint(g.RefreshToken)}
		}, left{false, true, true, true}},
		"a lineage": {func(g provider.Grant) provider.Revocation {
			return provider.Revocation{Lineage: g.Lineage}
		}, left{false, true, true, true}},
		"a user": {func(provider.Grant) provider.Revocation {
			return provider.Revocation{ClientID: businessID, User: "anna"}
		}, left{false, false, true, true}},
		"a client": {func(provider.Grant) provider.Revocation {
			return provider.Revocation{ClientID: businessID}
		}, left{}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, provider.Options{})
			anna, other, berta := b.grant(t, businessID, "anna"), b.grant(t, businessID, "anna"), b.grant(t, businessID, "berta")
			own := b.token(t, sb, with(sb, nil))
			n, err := b.Revoke(row.what(anna))
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			got := left{
				b.works(t, sb, anna.AccessToken), b.works(t, sb, other.AccessToken),
				b.works(t, sb, berta.AccessToken), b.works(t, sb, own.AccessToken),
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
			if refreshed := b.refresh(t, sb, anna.RefreshToken); (refreshed.RefreshToken != "") != (name == "an access token") {
				t.Errorf("refresh: %s", refreshed.body)
			}
			if n := slices.IndexFunc(b.Ledger(), func(e provider.Entry) bool { return e.Kind == provider.KindReused }); n >= 0 {
				t.Error("a revoked token that was never spent is no reuse")
			}
		})
	}
}
