package provider_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

// post sends a message to the control API.
func (b *bench) post(t *testing.T, path, message string) answer {
	t.Helper()
	got, err := b.do(t, http.MethodPost, b.ControlURL()+path, http.Header{"Content-Type": {"application/json"}}, message)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTheControlAPI(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{ControlListen: "127.0.0.1:0"})

	granted := b.post(t, "/-/grant", `{"client_id":"business","user":"anna"}`)
	if granted.RefreshToken == "" || granted.ExpiresIn != 43200 {
		t.Fatalf("grant: %d %s", granted.status, granted.body)
	}
	script := `{"client_id":"business","steps":[
		{"action":"reply","unprocessed":true,"delay_before_commit":"1ms","reply":{"status":418,"header":{"X-A":["b"]},"body_base64":"AAE="}},
		{"action":"answer","grant":"refresh_token","hold_after_commit":"here"}]}`
	if got := b.post(t, "/-/script", script); got.status != http.StatusNoContent {
		t.Fatalf("script: %d %s", got.status, got.body)
	}
	if got := b.refresh(t, sb, granted.RefreshToken); got.status != 418 || got.body != "\x00\x01" || got.header.Get("X-A") != "b" {
		t.Errorf("scripted: %d %q", got.status, got.body)
	}
	answers := make(chan answer)
	go func() {
		got, _ := b.try(t, sb, with(sb, params{"grant_type": "refresh_token", "refresh_token": granted.RefreshToken}))
		answers <- got
	}()
	eventually(t, func() bool { return len(ofKind(b.Ledger(), provider.KindSpent)) == 1 })
	if got := b.post(t, "/-/release", `{"hold":"here"}`); got.status != http.StatusNoContent {
		t.Errorf("release: %d %s", got.status, got.body)
	}
	refreshed := <-answers
	if refreshed.RefreshToken == "" {
		t.Errorf("released: %s", refreshed.body)
	}
	if got := b.post(t, "/-/revoke", `{"client_id":"business"}`); got.body != `{"revoked":3}`+"\n" {
		t.Errorf("revoke: %d %s", got.status, got.body)
	}
	if got := b.post(t, "/-/outage", `{"outage":"answering-503"}`); got.status != http.StatusNoContent {
		t.Errorf("outage: %d %s", got.status, got.body)
	}
	if b.works(t, sb, refreshed.AccessToken) || last(t, b.Ledger(), provider.KindAPI).Outcome != provider.Unavailable {
		t.Error("there is no outage")
	}
	if got := b.post(t, "/-/client-secret", `{"client_id":"business","client_secret":"new"}`); got.status != http.StatusNoContent {
		t.Errorf("client secret: %d %s", got.status, got.body)
	}
}

func TestTheControlAPIReads(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{ControlListen: "127.0.0.1:0"})
	b.token(t, sb, with(sb, nil))
	b.works(t, sb, "x") // comes after the reply's entry on the same connection
	get := func(path string) answer {
		got, err := b.do(t, http.MethodGet, b.ControlURL()+path, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := get("/-/healthz"); got.status != http.StatusNoContent {
		t.Errorf("healthz: %d", got.status)
	}
	all := strings.Split(strings.TrimSpace(get("/-/ledger").body), "\n")
	if len(all) != 6 {
		t.Errorf("%d lines", len(all))
	}
	rest := strings.Split(strings.TrimSpace(get("/-/ledger?after=4").body), "\n")
	var entry provider.Entry
	if err := json.Unmarshal([]byte(rest[0]), &entry); err != nil || len(rest) != 2 || rest[0] != all[4] {
		t.Errorf("after 4: %v %v", rest, err)
	}
	if got := get("/-/ledger?after=99"); got.body != "" {
		t.Errorf("after 99: %s", got.body)
	}
	if got := get("/-/stats"); !strings.Contains(got.body, `"token_requests":1,"by_client":{"business":1}`) {
		t.Errorf("stats: %s", got.body)
	}
}

func TestTheControlAPIRefuses(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{ControlListen: "127.0.0.1:0"})
	for name, row := range map[string]struct {
		path, message string
		status        int
	}{
		"an unknown field":    {"/-/script", `{"client_id":"business","stpes":[]}`, 400},
		"an unknown action":   {"/-/script", `{"steps":[{"action":"explode"}]}`, 400},
		"a bad duration":      {"/-/script", `{"steps":[{"delay_before_commit":"soon"}]}`, 400},
		"an unknown client":   {"/-/grant", `{"client_id":"nobody","user":"anna"}`, 400},
		"an unknown hold":     {"/-/release", `{"hold":"nowhere"}`, 404},
		"nothing to revoke":   {"/-/revoke", `{}`, 400},
		"an unknown outage":   {"/-/outage", `{"outage":"earthquake"}`, 400},
		"two messages in one": {"/-/outage", `{"outage":"none"}{}`, 400},
	} {
		if got := b.post(t, row.path, row.message); got.status != row.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	form, err := b.do(t, http.MethodPost, b.ControlURL()+"/-/outage", http.Header{"Content-Type": {"text/plain"}}, `{"outage":"refusing"}`)
	if err != nil || form.status != http.StatusUnsupportedMediaType {
		t.Errorf("a web page's form: %d %v", form.status, err)
	}
	open, err := b.do(t, http.MethodGet, b.URL()+"/-/ledger", nil, "")
	if err != nil || open.status != http.StatusNotFound {
		t.Errorf("the control API is open to everybody: %d %v", open.status, err)
	}
	if server, err := provider.Start(provider.Options{ControlListen: "0.0.0.0:0"}); err == nil {
		t.Error("a control API beyond loopback", server.Close())
	}
}

func TestParseRegistrations(t *testing.T) {
	t.Parallel()
	const text = `
registrations:
- contract: SmartBusiness
  client_id: a
  client_secret: b
  scopes: [contact]
  redirect_uris: ["https://x.example/cb"]
  access_token_lifetime: 30s
  reuse: {kind: GraceSeveral, grace: 10s, after_grace: Strict}
  pkce: true
  parameters: {audience: [a, b]}
`
	got, err := provider.ParseRegistrations([]byte(text))
	if err != nil || len(got) != 1 || len(got[0].Parameters["audience"]) != 2 || got[0].AccessTokenLifetime.Seconds() != 30 || got[0].Reuse.Grace.Seconds() != 10 || !got[0].PKCE {
		t.Errorf("%+v, %v", got, err)
	}
	for name, broken := range map[string]string{
		"a misspelt field": strings.Replace(text, "pkce", "pcke", 1),
		"a field twice":    text + "  pkce: false\n",
		"a bad duration":   strings.Replace(text, "30s", "30", 1),
	} {
		if _, err := provider.ParseRegistrations([]byte(broken)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
