package provider_test

import (
	"cmp"
	"maps"
	"net/http"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

func TestEveryMistakeInATokenRequestIsRefused(t *testing.T) {
	t.Parallel()
	const bil = provider.Smartbills
	type row struct {
		contract provider.Contract
		method   string      // POST if empty
		query    string      // behind the URL
		header   http.Header // beside or in place of the content type
		params   params      // changes to a correct request
		body     string      // in place of params
		status   int
		err      string
		reason   string
	}
	badRequest := func(contract provider.Contract, err, reason string, changes params) row {
		return row{contract: contract, params: changes, status: 400, err: err, reason: reason}
	}
	rawBody := func(contract provider.Contract, reason, body string) row {
		return row{contract: contract, body: body, status: 400, err: "invalid_request", reason: reason}
	}
	contentType := func(contract provider.Contract, values ...string) row {
		return row{contract: contract, header: http.Header{"Content-Type": values}, status: 400, err: "invalid_request", reason: "content_type"}
	}
	unauthorized := func(contract provider.Contract, changes params) row {
		return row{contract: contract, params: changes, status: 401, err: "invalid_client", reason: "client_authentication"}
	}
	code := params{"grant_type": "authorization_code", "code": "opac_x", "redirect_uri": redirectURI}
	refresh := params{"grant_type": "refresh_token", "refresh_token": "oprt_x"}
	plus := func(base params, name, value string) params {
		changed := maps.Clone(base)
		changed[name] = value
		return changed
	}
	rows := map[string]row{
		"SmartBusiness: a form":                         contentType(sb, "application/x-www-form-urlencoded"),
		"SmartBusiness: no content type":                contentType(sb),
		"SmartBusiness: another charset":                contentType(sb, "application/json; charset=latin1"),
		"SmartBusiness: another content type parameter": contentType(sb, "application/json; profile=x"),
		"SmartBusiness: two content types":              contentType(sb, "application/json", "application/json"),
		"SmartBusiness: a JSON dialect":                 contentType(sb, "application/vnd.api+json"),
		"Smartbills: JSON":                              contentType(bil, "application/json"),
		"Smartbills: multipart":                         contentType(bil, "multipart/form-data; boundary=x"),

		"SmartBusiness: not JSON":              rawBody(sb, "malformed_body", "grant_type=client_credentials"),
		"SmartBusiness: an array":              rawBody(sb, "malformed_body", `["client_credentials"]`),
		"SmartBusiness: two objects":           rawBody(sb, "malformed_body", asJSON(with(sb, nil))+asJSON(with(sb, nil))),
		"SmartBusiness: not UTF-8":             rawBody(sb, "malformed_body", "{\"scope\":\"\xff\"}"),
		"SmartBusiness: a key twice":           rawBody(sb, "duplicate_or_empty_parameter", `{"scope":"contact",`+asJSON(with(sb, nil))[1:]),
		"SmartBusiness: scope as a list":       rawBody(sb, "parameter_is_not_a_string", `{"scope":["contact"],`+asJSON(with(sb, params{"scope": ""}))[1:]),
		"SmartBusiness: null":                  rawBody(sb, "parameter_is_not_a_string", `{"code":null,`+asJSON(with(sb, nil))[1:]),
		"SmartBusiness: an empty parameter":    rawBody(sb, "duplicate_or_empty_parameter", `{"code":"",`+asJSON(with(sb, nil))[1:]),
		"SmartBusiness: an empty body":         rawBody(sb, "malformed_body", " "),
		"SmartBusiness: a key in another case": badRequest(sb, "invalid_request", "unknown_parameter", params{"Scope": "contact"}),
		"SmartBusiness: too large":             badRequest(sb, "invalid_request", "body_too_large", params{"scope": strings.Repeat("x", 300_000)}),
		"Smartbills: a parameter twice":        rawBody(bil, "duplicate_or_empty_parameter", asForm(with(bil, nil))+"&grant_type=client_credentials"),
		"Smartbills: an empty parameter":       rawBody(bil, "duplicate_or_empty_parameter", asForm(with(bil, nil))+"&code="),
		"Smartbills: a bad escape":             rawBody(bil, "malformed_body", asForm(with(bil, nil))+"&code=%zz"),
		"Smartbills: semicolons":               rawBody(bil, "malformed_body", asForm(with(bil, nil))+";code=x"),

		"SmartBusiness: GET":                   {contract: sb, method: http.MethodGet, status: 405, err: "invalid_request", reason: "method"},
		"Smartbills: PUT":                      {contract: bil, method: http.MethodPut, status: 405, err: "invalid_request", reason: "method"},
		"SmartBusiness: a query":               {contract: sb, query: "?scope=invoices", status: 400, err: "invalid_request", reason: "parameters_in_the_url"},
		"Smartbills: the secret in the query":  {contract: bil, query: "?client_secret=x", status: 400, err: "invalid_request", reason: "parameters_in_the_url"},
		"SmartBusiness: no grant type":         badRequest(sb, "invalid_request", "missing_parameter", params{"grant_type": ""}),
		"SmartBusiness: password grant":        badRequest(sb, "unsupported_grant_type", "grant_type", params{"grant_type": "password"}),
		"Smartbills: grant type in capitals":   badRequest(bil, "unsupported_grant_type", "grant_type", params{"grant_type": "Client_Credentials"}),
		"SmartBusiness: no scope":              badRequest(sb, "invalid_request", "missing_parameter", params{"scope": ""}),
		"SmartBusiness: no scope in a refresh": badRequest(sb, "invalid_request", "missing_parameter", plus(refresh, "scope", "")),
		"SmartBusiness: no scope with a code":  badRequest(sb, "invalid_request", "missing_parameter", plus(code, "scope", "")),
		"SmartBusiness: a scope too many":      badRequest(sb, "invalid_scope", "scope_beyond_the_granted", params{"scope": "invoices admin"}),
		"SmartBusiness: a scope twice":         badRequest(sb, "invalid_scope", "malformed_scope", params{"scope": "contact" + " contact"}),
		"SmartBusiness: scopes with a comma":   badRequest(sb, "invalid_scope", "scope_beyond_the_granted", params{"scope": "contact,invoices"}),
		"SmartBusiness: two spaces":            badRequest(sb, "invalid_scope", "malformed_scope", params{"scope": "contact  invoices"}),
		"Smartbills: a scope":                  badRequest(bil, "invalid_request", "unknown_parameter", params{"scope": "invoices"}),
		"Smartbills: a scope in a refresh":     badRequest(bil, "invalid_request", "unknown_parameter", plus(refresh, "scope", "invoices")),
		"Smartbills: a scope with a code":      badRequest(bil, "invalid_request", "unknown_parameter", plus(code, "scope", "invoices")),
		"SmartBusiness: an unknown parameter":  badRequest(sb, "invalid_request", "unknown_parameter", params{"audience": "x"}),
		"Smartbills: an unknown parameter":     badRequest(bil, "invalid_request", "unknown_parameter", params{"resource": "x"}),
		"SmartBusiness: a refresh token beside client credentials": badRequest(sb, "invalid_request", "unknown_parameter",
			params{"refresh_token": "oprt_x"}),
		"Smartbills: a redirect URI in a refresh": badRequest(bil, "invalid_request", "unknown_parameter", plus(refresh, "redirect_uri", redirectURI)),
		"Smartbills: a code without redirect URI": badRequest(bil, "invalid_request", "missing_parameter", plus(code, "redirect_uri", "")),
		"SmartBusiness: a verifier without PKCE":  badRequest(sb, "invalid_request", "unknown_parameter", plus(code, "code_verifier", "x")),
		"SmartBusiness: an unknown code":          badRequest(sb, "invalid_grant", "unknown_code", code),
		"Smartbills: an unknown refresh token":    badRequest(bil, "invalid_grant", "unknown_refresh_token", refresh),

		"SmartBusiness: a wrong secret":      unauthorized(sb, params{"client_secret": "wrong"}),
		"SmartBusiness: no secret":           unauthorized(sb, params{"client_secret": ""}),
		"SmartBusiness: no client":           unauthorized(sb, params{"client_id": ""}),
		"Smartbills: an unknown client":      unauthorized(bil, params{"client_id": "nobody"}),
		"Smartbills: a SmartBusiness client": unauthorized(bil, params{"client_id": businessID}),
		"SmartBusiness: Basic": {
			contract: sb, params: params{"client_id": "", "client_secret": ""},
			header: http.Header{"Content-Type": {"application/json"}, "Authorization": {basic(businessID, testSecret)}},
			status: 401, err: "invalid_client", reason: "header_authentication",
		},
		"Smartbills: Basic and body": {
			contract: bil,
			header:   http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {basic(billsID, testSecret)}},
			status:   400, err: "invalid_request", reason: "two_authentications",
		},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, provider.Options{})
			header := row.header
			if header == nil {
				header = typeHeader(row.contract)
			}
			body := cmp.Or(row.body, written(row.contract, with(row.contract, row.params)))
			method := cmp.Or(row.method, http.MethodPost)
			got, err := b.do(t, method, b.TokenEndpoint(row.contract)+row.query, header, body)
			if err != nil {
				t.Fatal(err)
			}
			if got.status != row.status || got.Error != row.err || got.AccessToken != "" {
				t.Errorf("status %d, error %q, want %d, %q", got.status, got.Error, row.status, row.err)
			}
			entry := last(t, b.Ledger(), provider.KindTokenRequest)
			seen := []any{entry.Outcome, entry.Status, entry.Error, entry.Reason, entry.Contract}
			want := []any{provider.Refused, row.status, row.err, row.reason, row.contract}
			if diff := gocmp.Diff(want, seen); diff != "" {
				t.Errorf("ledger (-want +got):\n%s", diff)
			}
			if b.TokenRequests() != 1 {
				t.Errorf("%d requests counted", b.TokenRequests())
			}
		})
	}
}

func TestAnswersAreToTheLetter(t *testing.T) {
	t.Parallel()
	b := start(t, provider.Options{})
	for contract, want := range map[provider.Contract]int64{provider.SmartBusiness: 43200, provider.Smartbills: 3600} {
		got := b.token(t, contract, with(contract, nil))
		wantBody := `{"token_type":"Bearer","expires_in":` + map[int64]string{43200: "43200", 3600: "3600"}[want] +
			`,"access_token":"` + got.AccessToken + `"}`
		if got.body != wantBody || got.status != http.StatusOK {
			t.Errorf("%s: %d %s", contract, got.status, got.body)
		}
		if !strings.HasPrefix(got.AccessToken, provider.AccessTokenPrefix) || len(got.AccessToken) != len(provider.AccessTokenPrefix)+43 {
			t.Errorf("%s: access token of another form", contract)
		}
		if got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: the answer may be cached", contract)
		}
	}
}

func TestBasicAuthenticationWhereItIsAllowed(t *testing.T) {
	t.Parallel()
	registration := bills()
	registration.AllowBasic = true
	b := start(t, provider.Options{Registrations: []provider.Registration{registration}})
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	send := func(authorization, body string) answer {
		header.Set("Authorization", authorization)
		got, err := b.do(t, http.MethodPost, b.TokenEndpoint(provider.Smartbills), header, body)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := send(basic(billsID, testSecret), "grant_type=client_credentials"); got.AccessToken == "" {
		t.Errorf("refused: %s", got.body)
	}
	if got := send(basic(billsID, "wrong"), "grant_type=client_credentials"); got.status != 401 || got.header.Get("WWW-Authenticate") == "" {
		t.Errorf("a wrong secret got %d, challenge %q", got.status, got.header.Get("WWW-Authenticate"))
	}
	if got := send(basic(billsID, testSecret), asForm(with(provider.Smartbills, nil))); got.Error != "invalid_request" {
		t.Errorf("two authentications got %s", got.body)
	}
}

func TestAGrantThatIsNotRegisteredIsRefused(t *testing.T) {
	t.Parallel()
	registration := business()
	registration.Grants = []string{provider.GrantClientCredentials}
	b := start(t, provider.Options{Registrations: []provider.Registration{registration}})
	if got := b.refresh(t, provider.SmartBusiness, "oprt_x"); got.Error != "unauthorized_client" {
		t.Errorf("got %s", got.body)
	}
	if got := b.token(t, provider.SmartBusiness, with(provider.SmartBusiness, nil)); got.AccessToken == "" {
		t.Errorf("got %s", got.body)
	}
}

func TestImpossibleRegistrationsAreRefusedAtStart(t *testing.T) {
	t.Parallel()
	rows := map[string]func(*provider.Registration){
		"unknown contract":            func(r *provider.Registration) { r.Contract = "Other" },
		"no secret":                   func(r *provider.Registration) { r.ClientSecret = "" },
		"no scopes":                   func(r *provider.Registration) { r.Scopes = nil },
		"a scope with a space":        func(r *provider.Registration) { r.Scopes = []string{"a a"} },
		"accounts with SmartBusiness": func(r *provider.Registration) { r.Accounts = []string{"x"} },
		"half a second":               func(r *provider.Registration) { r.AccessTokenLifetime = 1500e6 },
		"a grace without a length":    func(r *provider.Registration) { r.Reuse.Kind = provider.GraceSeveral },
		"a length without a grace":    func(r *provider.Registration) { r.Reuse.Grace = 1e9 },
		"an unknown reuse":            func(r *provider.Registration) { r.Reuse.Kind = "Sometimes" },
		"a grace after the grace": func(r *provider.Registration) {
			r.Reuse = provider.ReusePolicy{Kind: provider.GraceSeveral, Grace: 1e9, AfterGrace: provider.GraceSeveral}
		},
		"an unknown grant": func(r *provider.Registration) { r.Grants = []string{"password"} },
	}
	for name, change := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registration := business()
			change(&registration)
			server, err := provider.Start(provider.Options{Registrations: []provider.Registration{registration}})
			if err == nil {
				t.Error("accepted", server.Close())
			}
		})
	}
}

// A provider that wants more than the contract: an audience, in the body of each request.
func TestAParameterOfItsOwnIsWanted(t *testing.T) {
	t.Parallel()
	for _, contract := range []provider.Contract{sb, provider.Smartbills} {
		wanting := business()
		if contract == provider.Smartbills {
			wanting = bills()
		}
		wanting.Parameters = map[string][]string{"audience": {"a", "b"}}
		b := start(t, provider.Options{Registrations: []provider.Registration{wanting}})
		for name, row := range map[string]struct {
			changes     params
			status      int
			err, reason string
		}{
			"it is there":              {params{"audience": "a"}, 200, "", ""},
			"with its other value":     {params{"audience": "b"}, 200, "", ""},
			"it is not there":          {nil, 400, "invalid_request", "missing_parameter"},
			"with another value":       {params{"audience": "c"}, 400, "invalid_target", "parameter_value"},
			"with another beside it":   {params{"audience": "a", "resource": "c"}, 400, "invalid_request", "unknown_parameter"},
			"in a refresh it is not":   {params{"grant_type": "refresh_token", "refresh_token": "oprt_x"}, 400, "invalid_request", "missing_parameter"},
			"in a refresh it is there": {params{"grant_type": "refresh_token", "refresh_token": "oprt_x", "audience": "a"}, 400, "invalid_grant", "unknown_refresh_token"},
		} {
			got, err := b.do(t, http.MethodPost, b.TokenEndpoint(contract), typeHeader(contract), written(contract, with(contract, row.changes)))
			if err != nil {
				t.Fatal(err)
			}
			last := provider.Entry{}
			for _, entry := range b.Ledger() {
				if entry.Kind == provider.KindTokenRequest {
					last = entry
				}
			}
			if got.status != row.status || last.Error != row.err || last.Reason != row.reason {
				t.Errorf("%s, %s: %d, %q, %q", contract, name, got.status, last.Error, last.Reason)
			}
		}
	}
}
