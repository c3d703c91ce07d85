package provider_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

func TestTheLedgerFileIsTheLedger(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	b := start(t, provider.Options{LedgerFile: path})
	root := b.grant(t, businessID, "anna")
	got := b.refresh(t, sb, root.RefreshToken)
	b.refresh(t, sb, root.RefreshToken)
	b.works(t, sb, got.AccessToken)
	// Read before anything makes the server flush: the effects of a token request are there when it is answered.
	early, err := provider.ReadLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(ofKind(early, provider.KindSpent)) != 1 || len(ofKind(early, provider.KindReused)) != 1 {
		t.Errorf("early: %v", kinds(early))
	}
	live := b.Ledger()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for name, closed := range map[string][]provider.Entry{"server": b.Ledger(), "file": must(provider.ReadLedger(path))} {
		if diff := cmp.Diff(live, closed); diff != "" {
			t.Errorf("%s after closing (-live +closed):\n%s", name, diff)
		}
	}
	text := string(must(os.ReadFile(path)))
	for _, each := range b.IssuedTokens() {
		if strings.Contains(text, each.Value) {
			t.Error("a token is in the ledger")
		}
	}
	if strings.Contains(text, testSecret) {
		t.Error("the client secret is in the ledger")
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(strings.SplitN(text, "\n", 2)[0]), &line); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"seq": 1.0, "time": "2026-11-21T12:00:00Z", "kind": "registered", "contract": "SmartBusiness", "client_id": businessID,
		"scope": "contact invoices", "lifetime_seconds": 43200.0, "reuse": "Strict",
	}
	if diff := cmp.Diff(want, line); diff != "" {
		t.Errorf("first line (-want +got):\n%s", diff)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestAPICallsReachTheFileWithoutBeingAskedFor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	b := start(t, provider.Options{LedgerFile: path})
	b.works(t, sb, "x")
	eventually(t, func() bool { return len(ofKind(must(provider.ReadLedger(path)), provider.KindAPI)) == 1 })
}

func TestTheOrderOfARefusedReuse(t *testing.T) {
	t.Parallel()
	b := start(t, withReuse(provider.RevokeFamily))
	root := b.grant(t, businessID, "anna")
	b.refresh(t, sb, root.RefreshToken)
	b.refresh(t, sb, root.RefreshToken)
	b.works(t, sb, root.AccessToken)
	entries := b.Ledger()
	want := []provider.Kind{"issued", "token_request", "spent", "issued", "replied", "token_request", "reused", "revoked", "replied", "api"}
	if diff := cmp.Diff(want, kinds(entries)); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
	for _, each := range entries {
		if each.Kind == provider.KindReused && (each.Request != 2 || each.Lineage != root.Lineage) {
			t.Errorf("reused: %+v", each)
		}
	}
}

func TestAServerOnAnOldFileGoesOnCounting(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	first := start(t, provider.Options{LedgerFile: path})
	first.token(t, sb, with(sb, nil))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	before := must(os.ReadFile(path))
	if err := os.WriteFile(path, append(before, `{"seq":6,"ti`...), 0o600); err != nil {
		t.Fatal(err)
	}
	second := start(t, provider.Options{LedgerFile: path})
	second.token(t, sb, with(sb, nil))
	entries := second.Ledger()
	if entries[len(entries)-1].Seq != uint64(len(entries)) || len(ofKind(entries, provider.KindIssued)) != 2 {
		t.Errorf("ledger: %v", kinds(entries))
	}
}

func TestReadLedger(t *testing.T) {
	t.Parallel()
	const one, two = `{"seq":1,"time":"2026-11-21T12:00:00Z","kind":"api"}` + "\n", `{"seq":2,"time":"2026-11-21T12:00:01.5Z","kind":"api"}` + "\n"
	rows := map[string]struct {
		text string
		want int // entries; below zero is an error
	}{
		"empty":                             {"", 0},
		"whole":                             {one + two, 2},
		"a cut last line":                   {one + two[:20], 1},
		"a last line without its line feed": {one + strings.TrimSuffix(two, "\n"), 1},
		"a field of tomorrow":               {strings.Replace(one, `"api"`, `"api","more":1`, 1), 1},
		"a broken line":                     {one + "{\n", -1},
		"a broken line in the middle":       {one[:20] + "\n" + two, -1},
		"a gap":                             {two, -1},
		"a line twice":                      {one + one, -1},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ledger.jsonl")
			if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := provider.ReadLedger(path)
			if (err != nil) != (row.want < 0) || err == nil && len(got) != row.want {
				t.Errorf("%d entries, %v", len(got), err)
			}
			if len(got) == 2 && !got[1].Time.Equal(epoch().Add(1500*time.Millisecond)) {
				t.Errorf("time %s", got[1].Time)
			}
		})
	}
}

func TestWithoutALedgerNothingIsGranted(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	root := b.grant(t, businessID, "anna")
	b.BreakLedger()
	if got := b.refresh(t, sb, root.RefreshToken); got.Error != "server_error" || got.RefreshToken != "" {
		t.Errorf("refresh: %s", got.body)
	}
	if _, err := b.Grant(businessID, "berta"); err == nil {
		t.Error("granted")
	}
	if fields := returned(t, b.authorize(t, sb, nil)); fields.Get("error") != "server_error" {
		t.Errorf("consent: %v", fields)
	}
	if b.works(t, sb, root.AccessToken) {
		t.Error("the API answers")
	}
}

func TestALedgerThatCannotBeReadBackIsRefused(t *testing.T) {
	t.Parallel()
	for _, path := range []string{os.DevNull, filepath.Join(t.TempDir(), "missing", "ledger.jsonl")} {
		if server, err := provider.Start(provider.Options{LedgerFile: path}); err == nil {
			t.Error(path, server.Close())
		}
	}
}
