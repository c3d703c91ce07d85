package provider_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

func basic(id, value string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(value)))
}

func clientOf(contract provider.Contract) string {
	if contract == provider.Smartbills {
		return billsID
	}
	return businessID
}

// authorize sends the browser's request, changed: an empty value takes a parameter away.
func (b *bench) authorize(t *testing.T, contract provider.Contract, changes params) answer {
	t.Helper()
	query := url.Values{
		"response_type": {"code"}, "client_id": {clientOf(contract)}, "redirect_uri": {redirectURI},
		"scope": {"invoices"}, "state": {"st&te"}, "login": {"anna"},
	}
	for name, value := range changes {
		query.Set(name, value)
		if value == "" {
			query.Del(name)
		}
	}
	got, err := b.do(t, http.MethodGet, b.AuthorizeEndpoint(contract)+"?"+query.Encode(), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// returned are the fields with which the browser comes back.
func returned(t *testing.T, got answer) url.Values {
	t.Helper()
	location := got.header.Get("Location")
	target, err := url.Parse(location)
	if got.status != http.StatusFound || err != nil || !strings.HasPrefix(location, redirectURI+"?") {
		t.Fatalf("%d to %q: %s", got.status, location, got.body)
	}
	return target.Query()
}

func (b *bench) code(t *testing.T, contract provider.Contract, changes params) string {
	t.Helper()
	fields := returned(t, b.authorize(t, contract, changes))
	if fields.Get("code") == "" || fields.Get("state") != "st&te" {
		t.Fatalf("came back with %v", fields)
	}
	return fields.Get("code")
}

func (b *bench) redeem(t *testing.T, contract provider.Contract, code string, changes params) answer {
	t.Helper()
	p := params{"grant_type": "authorization_code", "code": code, "redirect_uri": redirectURI}
	for name, value := range changes {
		p[name] = value
	}
	return b.token(t, contract, with(contract, p))
}

func TestConsentExchangeAndRefresh(t *testing.T) {
	t.Parallel()
	for _, contract := range []provider.Contract{provider.SmartBusiness, provider.Smartbills} {
		t.Run(string(contract), func(t *testing.T) {
			t.Parallel()
			b := start(t, provider.Options{})
			first := b.redeem(t, contract, b.code(t, contract, nil), nil)
			second := b.refresh(t, contract, first.RefreshToken)
			third := b.refresh(t, contract, second.RefreshToken)
			if third.RefreshToken == "" || third.RefreshToken == second.RefreshToken || !b.works(t, contract, third.AccessToken) {
				t.Errorf("the third answer is of no use: %d %s", third.status, third.Error)
			}
			if !strings.HasPrefix(third.RefreshToken, provider.RefreshTokenPrefix) {
				t.Error("refresh token of another form")
			}
			entries := b.Ledger()
			want := []provider.Kind{
				"code_issued", "token_request", "code_spent", "issued", "replied",
				"token_request", "spent", "issued", "replied", "token_request", "spent", "issued", "replied", "api",
			}
			if diff := cmp.Diff(want, kinds(entries)); diff != "" {
				t.Errorf("ledger (-want +got):\n%s", diff)
			}
			if named := lineages(entries); len(named) != 1 {
				t.Errorf("not one lineage of one user: %v", named)
			}
			issued := last(t, entries, provider.KindIssued)
			if issued.ParentFingerprint != provider.Fingerprint(second.RefreshToken) ||
				issued.RefreshFingerprint != provider.Fingerprint(third.RefreshToken) ||
				issued.AccessFingerprint != provider.Fingerprint(third.AccessToken) {
				t.Errorf("issued with other fingerprints: %+v", issued)
			}
		})
	}
}

// lineages are those that the ledger names, each with its user.
func lineages(entries []provider.Entry) map[string]bool {
	named := map[string]bool{}
	for _, each := range entries {
		if each.Kind != provider.KindRegistered && each.Kind != provider.KindReplied {
			named[each.Lineage+" "+each.User] = true
		}
	}
	return named
}

func TestTheAuthorizationEndpointRefusesMistakes(t *testing.T) {
	t.Parallel()
	const bil = provider.Smartbills
	rows := map[string]struct {
		contract provider.Contract
		changes  params
		err      string // "" where nobody is sent back
	}{
		"a redirect URI that begins like it":     {sb, params{"redirect_uri": redirectURI + "/x"}, ""},
		"no redirect URI":                        {bil, params{"redirect_uri": ""}, ""},
		"an unknown client":                      {sb, params{"client_id": "nobody"}, ""},
		"a client of the other contract":         {sb, params{"client_id": billsID}, ""},
		"SmartBusiness without state":            {sb, params{"state": ""}, "invalid_request"},
		"another response type":                  {bil, params{"response_type": "token"}, "unsupported_response_type"},
		"no scope":                               {bil, params{"scope": ""}, "invalid_request"},
		"a scope too many":                       {sb, params{"scope": "invoices admin"}, "invalid_scope"},
		"a challenge where PKCE is not enabled":  {sb, params{"code_challenge": strings.Repeat("x", 43)}, "invalid_request"},
		"an unknown parameter":                   {bil, params{"prompt": "consent"}, "invalid_request"},
		"a person who says no":                   {bil, params{"decision": "deny"}, "access_denied"},
		"a person who says no before logging in": {sb, params{"decision": "deny", "login": ""}, "access_denied"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, provider.Options{})
			got := b.authorize(t, row.contract, row.changes)
			if row.err == "" {
				if got.status != http.StatusBadRequest || got.header.Get("Location") != "" {
					t.Errorf("%d, location %q", got.status, got.header.Get("Location"))
				}
				return
			}
			if fields := returned(t, got); fields.Get("error") != row.err || fields.Has("code") {
				t.Errorf("came back with %v", fields)
			}
		})
	}
}

func TestADuplicateAuthorizationParameterIsRefused(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	target := b.AuthorizeEndpoint(provider.Smartbills) + "?client_id=bills&client_id=bills&redirect_uri=" + url.QueryEscape(redirectURI)
	got, err := b.do(t, http.MethodGet, target, nil, "")
	if err != nil || got.status != http.StatusBadRequest {
		t.Errorf("%d, %v", got.status, err)
	}
}

func TestWithoutALoginThereIsAPageThatAsks(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	got := b.authorize(t, provider.SmartBusiness, params{"login": "", "state": `"><script>`})
	if got.status != http.StatusOK || !strings.Contains(got.body, `name="state"`) || !strings.Contains(got.body, "Allow") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if strings.Contains(got.body, "<script>") || !strings.Contains(got.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Error("the page can be scripted")
	}
	if len(ofKind(b.Ledger(), provider.KindCodeIssued)) != 0 {
		t.Error("a code was issued before anybody had agreed")
	}
}

func TestCodes(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		wait    time.Duration
		changes params
		reason  string
	}{
		"the last moment":            {wait: time.Minute - 1},
		"a minute":                   {wait: time.Minute, reason: "expired_code"},
		"another redirect URI":       {changes: params{"redirect_uri": redirectURI + "?"}, reason: "redirect_uri_mismatch"},
		"a scope beyond the consent": {changes: params{"scope": "invoices contact"}, reason: "scope_beyond_the_granted"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, provider.Options{})
			code := b.code(t, sb, nil)
			b.step(row.wait)
			got := b.redeem(t, sb, code, row.changes)
			if entry := last(t, b.Ledger(), provider.KindTokenRequest); entry.Reason != row.reason {
				t.Errorf("reason %q, want %q", entry.Reason, row.reason)
			}
			if (got.AccessToken != "") != (row.reason == "") {
				t.Errorf("got %s", got.body)
			}
		})
	}
}

func TestACodeThatIsUsedTwiceRevokesItsTokens(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	code := b.code(t, provider.Smartbills, nil)
	first := b.redeem(t, provider.Smartbills, code, nil)
	if !b.works(t, provider.Smartbills, first.AccessToken) {
		t.Fatal("the first exchange gave nothing")
	}
	if again := b.redeem(t, provider.Smartbills, code, nil); again.Error != "invalid_grant" {
		t.Errorf("again: %s", again.body)
	}
	if b.works(t, provider.Smartbills, first.AccessToken) {
		t.Error("the access token outlived the second use")
	}
	if got := b.refresh(t, provider.Smartbills, first.RefreshToken); got.Error != "invalid_grant" {
		t.Errorf("the refresh token outlived the second use: %s", got.body)
	}
	entries := b.Ledger()
	if got := last(t, entries, provider.KindReused); got.CodeFingerprint != provider.Fingerprint(code) {
		t.Errorf("reused: %+v", got)
	}
	if got := last(t, entries, provider.KindRevoked); got.Reason != "code_reused" {
		t.Errorf("revoked: %+v", got)
	}
}

func TestPKCEWhereItIsEnabled(t *testing.T) {
	t.Parallel()
	registration := business()
	registration.PKCE = true
	b := start(t, provider.Options{Registrations: []provider.Registration{registration}})
	verifier := strings.Repeat("v", 43)
	sum := sha256.Sum256([]byte(verifier))
	challenge := params{"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256"}

	if fields := returned(t, b.authorize(t, provider.SmartBusiness, nil)); fields.Get("error") != "invalid_request" {
		t.Errorf("without a challenge: %v", fields)
	}
	plain := params{"code_challenge": challenge["code_challenge"], "code_challenge_method": "plain"}
	if fields := returned(t, b.authorize(t, provider.SmartBusiness, plain)); fields.Get("error") != "invalid_request" {
		t.Errorf("with plain: %v", fields)
	}
	if got := b.redeem(t, provider.SmartBusiness, b.code(t, provider.SmartBusiness, challenge), nil); got.Error != "invalid_request" {
		t.Errorf("without a verifier: %s", got.body)
	}
	wrong := params{"code_verifier": strings.Repeat("w", 43)}
	if got := b.redeem(t, provider.SmartBusiness, b.code(t, provider.SmartBusiness, challenge), wrong); got.Error != "invalid_grant" {
		t.Errorf("with a wrong verifier: %s", got.body)
	}
	right := params{"code_verifier": verifier}
	if got := b.redeem(t, provider.SmartBusiness, b.code(t, provider.SmartBusiness, challenge), right); got.AccessToken == "" {
		t.Errorf("with the verifier: %s", got.body)
	}
}

func TestAClientRevokesWhatItHolds(t *testing.T) {
	t.Parallel()
	server, err := provider.Start(provider.Options{Registrations: []provider.Registration{
		{Contract: provider.Smartbills, ClientID: "c", ClientSecret: "s", NameUser: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	grant, err := server.Grant("c", "alice")
	if err != nil {
		t.Fatal(err)
	}
	revoke := func(secret, token string) int {
		t.Helper()
		form := url.Values{"client_id": {"c"}, "client_secret": {secret}, "token": {token}}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.RevocationEndpoint(provider.Smartbills), strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	for _, each := range []struct {
		secret, token string
		status        int
		live          bool
	}{{"wrong", grant.RefreshToken, 401, true}, {"s", "unknown", 200, true}, {"s", grant.RefreshToken, 200, false}, {"s", grant.RefreshToken, 200, false}} {
		if got := revoke(each.secret, each.token); got != each.status {
			t.Errorf("status %d, want %d", got, each.status)
		}
		for _, issued := range server.IssuedTokens() {
			if issued.Live != each.live {
				t.Errorf("after %v: %v", each, issued)
			}
		}
	}
	if n := server.RevocationRequests(); n != 4 {
		t.Errorf("%d requests", n)
	}
}
