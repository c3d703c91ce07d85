package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/secret"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

func TestCodeRequestToTheLetter(t *testing.T) {
	t.Parallel()
	without := func(request oauth.GrantRequest) oauth.GrantRequest {
		request.Verifier = secret.Value{}
		return request
	}
	redirect := url.QueryEscape(testRedirect)
	for name, c := range map[string]struct {
		change  func(*oauth.Registration)
		request oauth.GrantRequest
		body    string
	}{
		"SmartBusiness: JSON, with scope and without verifier": {
			func(r *oauth.Registration) { r.BodyFormat, r.SendScope = oauth.BodyJSON, oauth.ScopeAlways },
			without(redeem("c", "contact", "invoices")),
			`{"grant_type":"authorization_code","client_id":"the-client","client_secret":"pl4nted-client-s3cret","code":"c","redirect_uri":"` + testRedirect + `","scope":"contact invoices"}`,
		},
		"Smartbills: form, without scope and verifier": {
			nil, without(redeem("c", "a")),
			"grant_type=authorization_code&client_id=the-client&client_secret=pl4nted-client-s3cret&code=c&redirect_uri=" + redirect,
		},
		"with a verifier": {
			nil, redeem("c"),
			"grant_type=authorization_code&client_id=the-client&client_secret=pl4nted-client-s3cret&code=c&redirect_uri=" + redirect + "&code_verifier=" + testVerifier,
		},
		"with the header": {
			func(r *oauth.Registration) { r.Method = oauth.ClientSecretBasic },
			without(redeem("a b&c")), "grant_type=authorization_code&code=a+b%26c&redirect_uri=" + redirect,
		},
		"with a parameter of the provider's own": {
			sending(oauth.Parameter{Name: "resource", Value: "https://a.example"}), without(redeem("c")),
			"grant_type=authorization_code&client_id=the-client&client_secret=pl4nted-client-s3cret&code=c&redirect_uri=" + redirect + "&resource=https%3A%2F%2Fa.example",
		},
		"no refresh token goes along": {
			nil,
			oauth.GrantRequest{Grant: oauth.GrantAuthorizationCode, Code: secret.New("c"), RedirectURI: "https://a.example", RefreshToken: secret.New("r")},
			"grant_type=authorization_code&client_id=the-client&client_secret=pl4nted-client-s3cret&code=c&redirect_uri=https%3A%2F%2Fa.example",
		},
		"nor a code with a refresh token": {
			nil,
			oauth.GrantRequest{Grant: oauth.GrantRefreshToken, Code: secret.New("c"), RedirectURI: "https://a.example", Verifier: secret.New("v"), RefreshToken: secret.New("r")},
			"grant_type=refresh_token&client_id=the-client&client_secret=pl4nted-client-s3cret&refresh_token=r",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, ok(rotatedBody))
			reg := registration(s.url())
			if c.change != nil {
				c.change(&reg)
			}
			got, err := newClient(t, nil).Exchange(t.Context(), reg, c.request)
			if err != nil || got.RefreshToken.Reveal() != testRefreshToken {
				t.Fatalf("%v: %v", got, err)
			}
			requests := s.seen()
			if len(requests) != 1 {
				t.Fatalf("%d requests", len(requests))
			}
			if diff := cmp.Diff([]string{http.MethodPost, c.body}, []string{requests[0].method, requests[0].body}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCodesThatAreNotSent(t *testing.T) {
	t.Parallel()
	s := serve(t, ok(rotatedBody))
	for name, change := range map[string]func(*oauth.GrantRequest){
		"none":                           func(r *oauth.GrantRequest) { r.Code = secret.Value{} },
		"one with a line break":          func(r *oauth.GrantRequest) { r.Code = secret.New("a\r\nb") },
		"one with a NUL":                 func(r *oauth.GrantRequest) { r.Code = secret.New("a\x00") },
		"one that is no ASCII":           func(r *oauth.GrantRequest) { r.Code = secret.New("ä") },
		"a long one":                     func(r *oauth.GrantRequest) { r.Code = secret.New(strings.Repeat("a", 16<<10+1)) },
		"one without a redirect URI":     func(r *oauth.GrantRequest) { r.RedirectURI = "" },
		"one with a strange verifier":    func(r *oauth.GrantRequest) { r.Verifier = secret.New("a\nb") },
		"one with a scope that is three": func(r *oauth.GrantRequest) { r.Scopes = []string{"a b c"} },
	} {
		request := redeem(testCode)
		change(&request)
		_, err := newClient(t, nil).Exchange(t.Context(), registration(s.url()), request)
		if err == nil {
			t.Errorf("%s is sent", name)
			continue
		}
		checkFailure(t, err, oauth.NotSent)
	}
	if n := len(s.seen()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// Both contracts, as the provider of the tests holds every request against them: exact fields, and nothing else.
func TestCodesOfBothContracts(t *testing.T) {
	t.Parallel()
	registrations := []provider.Registration{
		{Contract: provider.SmartBusiness, ClientID: "business", ClientSecret: testClientSecret, Scopes: []string{"contact", "invoices"}, RedirectURIs: []string{testRedirect}},
		{Contract: provider.Smartbills, ClientID: "bills", ClientSecret: testClientSecret, Scopes: []string{"all"}, RedirectURIs: []string{testRedirect}},
	}
	server, err := provider.Start(provider.Options{Registrations: registrations})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	for _, of := range registrations {
		reg := registration(server.TokenEndpoint(of.Contract))
		reg.ClientID = of.ClientID
		var scopes []string
		if of.Contract == provider.SmartBusiness {
			reg.BodyFormat, reg.SendScope, scopes = oauth.BodyJSON, oauth.ScopeAlways, of.Scopes
		}
		code := consentFor(t, server, of)
		request := oauth.GrantRequest{Grant: oauth.GrantAuthorizationCode, Code: secret.New(code), RedirectURI: testRedirect, Scopes: scopes}
		client := newClient(t, nil)
		got, err := client.Exchange(t.Context(), reg, request)
		if err != nil || got.AccessToken.Empty() || got.RefreshToken.Empty() {
			t.Fatalf("%s: %v", of.Contract, err)
		}
		// H76: a code that was used is refused for good.
		_, err = client.Exchange(t.Context(), reg, request)
		checkFailure(t, err, oauth.RefreshTokenRejected)
	}
}

// consentFor plays the person.
func consentFor(t *testing.T, server *provider.Server, of provider.Registration) string {
	t.Helper()
	scope := "all"
	if len(of.Scopes) > 0 {
		scope = strings.Join(of.Scopes, " ")
	}
	query := url.Values{
		"response_type": {"code"}, "client_id": {of.ClientID}, "redirect_uri": {testRedirect}, "scope": {scope}, "state": {"s"}, "login": {"alice"},
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.AuthorizeEndpoint(of.Contract)+"?"+query.Encode(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	back, err := response.Location()
	if err != nil {
		t.Fatalf("status %d: %v", response.StatusCode, err)
	}
	if back.Query().Get("code") == "" {
		t.Fatalf("no code: %s", back.RawQuery)
	}
	return back.Query().Get("code")
}
