package provider_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

// trust makes the client believe the server's CA, and nobody else.
func trust(t *testing.T, b *bench) {
	t.Helper()
	if b.CAPEM() == nil {
		return
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b.CAPEM()) {
		t.Fatal("the CA cannot be read")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	b.client.Transport = transport
	t.Cleanup(transport.CloseIdleConnections)
}

func TestTheAPIChecksEveryCall(t *testing.T) {
	t.Parallel()
	const contacts, invoices, bill, account = "/v2/contacts", "/v2/invoices", "/v1/invoices", "/v1/accounts/acct_1/invoices"
	behalf := func(ids ...string) http.Header { return http.Header{"On-Behalf-Of": ids} }
	rows := map[string]struct {
		path    string
		token   string // own, contact, bill, refresh, or the Authorization header itself
		header  http.Header
		status  int
		reason  string
		inChall string
	}{
		"SmartBusiness":                      {path: invoices, token: "own", status: 200},
		"Smartbills":                         {path: bill, token: "bill", status: 200},
		"Smartbills for an account":          {path: bill, token: "bill", header: behalf("acct_2"), status: 200},
		"Smartbills on the account's path":   {path: account, token: "bill", header: behalf("acct_1"), status: 200},
		"no token":                           {path: invoices, status: 401, reason: "missing_token", inChall: `Bearer realm="provider"`},
		"no scheme":                          {path: invoices, token: "x", status: 400, reason: "malformed_token", inChall: `Bearer realm="provider", error="invalid_request"`},
		"Basic":                              {path: invoices, token: "Basic x", status: 400, reason: "malformed_token", inChall: `Bearer realm="provider", error="invalid_request"`},
		"a token with a line feed's remains": {path: invoices, token: "Bearer x y", status: 400, reason: "malformed_token", inChall: `Bearer realm="provider", error="invalid_request"`},
		"an unknown token":                   {path: invoices, token: "Bearer x", status: 401, reason: "unknown_token", inChall: `Bearer realm="provider", error="invalid_token"`},
		"a refresh token":                    {path: invoices, token: "refresh", status: 401, reason: "refresh_token_as_access_token", inChall: `Bearer realm="provider", error="invalid_token"`},
		"the other contract's token":         {path: bill, token: "own", status: 401, reason: "wrong_contract", inChall: `Bearer realm="provider", error="invalid_token"`},
		"too little scope":                   {path: invoices, token: "contact", status: 403, reason: "insufficient_scope", inChall: `Bearer realm="provider", error="insufficient_scope", scope="invoices"`},
		"enough scope":                       {path: contacts, token: "contact", status: 200},
		"no account":                         {path: account, token: "bill", status: 400, reason: "missing_on_behalf_of"},
		"two accounts":                       {path: bill, token: "bill", header: behalf("acct_1", "acct_2"), status: 400, reason: "duplicate_on_behalf_of"},
		"another account than the path's":    {path: account, token: "bill", header: behalf("acct_2"), status: 403, reason: "on_behalf_of_mismatch"},
		"an account of somebody else":        {path: bill, token: "bill", header: behalf("acct_9"), status: 403, reason: "account_not_connected"},
		"another's account on its path":      {path: "/v1/accounts/acct_9/invoices", token: "bill", header: behalf("acct_9"), status: 403, reason: "account_not_connected"},
		"SmartBusiness knows no accounts":    {path: invoices, token: "own", header: behalf("acct_9"), status: 200},
		"another path":                       {path: "/v2/users", token: "own", status: 404, reason: "path"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, provider.Options{})
			authorization := http.Header{}
			switch row.token {
			case "":
			case "own":
				authorization.Set("Authorization", "Bearer "+b.token(t, sb, with(sb, nil)).AccessToken)
			case "contact":
				authorization.Set("Authorization", "Bearer "+b.token(t, sb, with(sb, params{"scope": "contact"})).AccessToken)
			case "bill":
				authorization.Set("Authorization", "Bearer "+b.token(t, provider.Smartbills, with(provider.Smartbills, nil)).AccessToken)
			case "refresh":
				authorization.Set("Authorization", "Bearer "+b.grant(t, businessID, "anna").RefreshToken)
			default:
				authorization.Set("Authorization", row.token)
			}
			for key, values := range row.header {
				authorization[key] = values
			}
			got, err := b.do(t, http.MethodGet, b.URL()+row.path, authorization, "")
			if err != nil {
				t.Fatal(err)
			}
			if got.status != row.status || got.header.Get("WWW-Authenticate") != row.inChall {
				t.Errorf("%d, %q", got.status, got.header.Get("WWW-Authenticate"))
			}
			entry := last(t, b.Ledger(), provider.KindAPI)
			if entry.Status != row.status || entry.Reason != row.reason || (entry.Outcome == provider.Granted) != (row.status == 200) {
				t.Errorf("ledger: %+v", entry)
			}
		})
	}
}

func TestAnAccessTokenEndsOnTime(t *testing.T) {
	t.Parallel()
	registration := business()
	registration.AccessTokenLifetime = 5 * time.Second
	b := start(t, provider.Options{Registrations: []provider.Registration{registration}})
	got := b.token(t, sb, with(sb, nil))
	if got.ExpiresIn != 5 {
		t.Errorf("expires in %d", got.ExpiresIn)
	}
	b.step(5*time.Second - 1)
	if !b.works(t, sb, got.AccessToken) {
		t.Error("expired too early")
	}
	b.step(1)
	if b.works(t, sb, got.AccessToken) || last(t, b.Ledger(), provider.KindAPI).Reason != "expired_token" {
		t.Error("not expired")
	}
}

func TestTheLedgerKnowsTheCaller(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{TLS: true})
	trust(t, b)
	got := b.token(t, provider.Smartbills, with(provider.Smartbills, nil))
	b.call(t, b.APIEndpoint(provider.Smartbills)+"/accounts/acct_1/invoices", got.AccessToken, http.Header{
		"Test-Workload": {"shop"}, "Test-Expect": {"reject-" + got.AccessToken}, "On-Behalf-Of": {"acct_1"},
	})
	entry := last(t, b.Ledger(), provider.KindAPI)
	want := provider.Entry{
		Seq: entry.Seq, Time: epoch(), Kind: provider.KindAPI, Contract: provider.Smartbills, ClientID: billsID, Outcome: provider.Granted,
		Status: 200, AccessFingerprint: provider.Fingerprint(got.AccessToken), Path: "/v1/accounts/acct_1/invoices",
		OnBehalfOf: "acct_1", Workload: "shop", Expect: "(a token)",
	}
	if diff := cmp.Diff(want, entry); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
	live := slices.ContainsFunc(b.IssuedTokens(), func(each provider.IssuedToken) bool { return each.Value == got.AccessToken && each.Live })
	if !live {
		t.Error("the token is not among those that tests can search for")
	}
}
