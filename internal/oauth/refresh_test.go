package oauth_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/secret"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

func TestRefreshRequestToTheLetter(t *testing.T) {
	t.Parallel()
	const everyCharacter = "!\"#$%&'()*+,-./0:;<=>?@A[\\]^_`a{|}~"
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("the-client:pl4nted-client-s3cret"))
	for name, c := range map[string]struct {
		change        func(*oauth.Registration)
		request       oauth.GrantRequest
		authorization string
		body          string
	}{
		"SmartBusiness: JSON, with scope": {
			func(r *oauth.Registration) { r.BodyFormat, r.SendScope = oauth.BodyJSON, oauth.ScopeAlways },
			refreshWith("r", "contact", "invoices"), "",
			`{"grant_type":"refresh_token","client_id":"the-client","client_secret":"pl4nted-client-s3cret","refresh_token":"r","scope":"contact invoices"}`,
		},
		"Smartbills: form, no scope": {
			nil, refreshWith("r"), "",
			"grant_type=refresh_token&client_id=the-client&client_secret=pl4nted-client-s3cret&refresh_token=r",
		},
		"scope standard": {
			func(r *oauth.Registration) { r.SendScope = oauth.ScopeStandard },
			refreshWith("r", "a"), "",
			"grant_type=refresh_token&client_id=the-client&client_secret=pl4nted-client-s3cret&refresh_token=r",
		},
		"scope unset": {
			nil, refreshWith("r", "a"), "",
			"grant_type=refresh_token&client_id=the-client&client_secret=pl4nted-client-s3cret&refresh_token=r",
		},
		"scope never": {
			func(r *oauth.Registration) { r.SendScope = oauth.ScopeNever },
			refreshWith("r", "a"), "",
			"grant_type=refresh_token&client_id=the-client&client_secret=pl4nted-client-s3cret&refresh_token=r",
		},
		"scope always, none given": {
			func(r *oauth.Registration) { r.SendScope = oauth.ScopeAlways },
			refreshWith("r"), "",
			"grant_type=refresh_token&client_id=the-client&client_secret=pl4nted-client-s3cret&refresh_token=r",
		},
		"Basic, form": {
			func(r *oauth.Registration) { r.Method = oauth.ClientSecretBasic },
			refreshWith("r"), basic, "grant_type=refresh_token&refresh_token=r",
		},
		"every character in a form": {
			nil, refreshWith(everyCharacter), "",
			"grant_type=refresh_token&client_id=the-client&client_secret=pl4nted-client-s3cret&refresh_token=" + url.QueryEscape(everyCharacter),
		},
		"every character in JSON": {
			func(r *oauth.Registration) { r.Method, r.BodyFormat = oauth.ClientSecretBasic, oauth.BodyJSON },
			refreshWith(everyCharacter), basic,
			`{"grant_type":"refresh_token","refresh_token":"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(everyCharacter) + `"}`,
		},
		"with a parameter of the provider's own": {
			sending(oauth.Parameter{Name: "resource", Value: "https://a.example"}),
			refreshWith("r"), "",
			"grant_type=refresh_token&client_id=the-client&client_secret=pl4nted-client-s3cret&refresh_token=r&resource=https%3A%2F%2Fa.example",
		},
		"another grant sends no refresh token": {
			nil,
			oauth.GrantRequest{Grant: oauth.GrantClientCredentials, RefreshToken: secret.New("r")},
			"",
			"grant_type=client_credentials&client_id=the-client&client_secret=pl4nted-client-s3cret",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, ok(rotatedBody))
			reg := registration(s.url())
			if c.change != nil {
				c.change(&reg)
			}
			if _, err := newClient(t, nil).Exchange(t.Context(), reg, c.request); err != nil {
				t.Fatal(err)
			}
			requests := s.seen()
			if len(requests) != 1 {
				t.Fatalf("%d requests", len(requests))
			}
			got := requests[0]
			if diff := cmp.Diff([]string{"POST", "/token", c.authorization, c.body},
				[]string{got.method, got.target, got.header.Get("Authorization"), got.body}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefreshTokensThatAreNotSent(t *testing.T) {
	t.Parallel()
	s := serve(t, ok(rotatedBody))
	for name, token := range map[string]string{
		"none": "", "a space": "a b", "CRLF": testRefreshToken + "\r\nX-Evil: 1", "NUL": "a\x00", "DEL": "a\x7f", "not ASCII": "é",
		"longer than 64 KiB": strings.Repeat("r", 64<<10+1),
	} {
		request, err := newClient(t, nil).Ready(t.Context(), registration(s.url()), refreshWith(token))
		checkFailure(t, err, oauth.NotSent)
		if failure := failureOf(t, err); request != nil || !strings.Contains(failure.Reason, "refresh token") {
			t.Errorf("%s: reason %q", name, failure.Reason)
		}
	}
	if connections, _, _ := s.counts(); connections != 0 {
		t.Errorf("%d connections", connections)
	}
}

// Both contracts, against a server that refuses every departure from them, over TLS.
func TestRefreshByTheContracts(t *testing.T) {
	t.Parallel()
	server, err := provider.Start(provider.Options{TLS: true, Registrations: []provider.Registration{
		{Contract: provider.SmartBusiness, ClientID: "smartbusiness", ClientSecret: testClientSecret, Scopes: []string{"contact", "invoices"}},
		{Contract: provider.Smartbills, ClientID: "smartbills", ClientSecret: testClientSecret, Scopes: []string{"a"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	client := newClient(t, func(o *oauth.Options) { o.RootCAs = server.CAPEM() })
	for id, c := range map[string]struct {
		contract provider.Contract
		change   func(*oauth.Registration)
		scopes   []string
		wrong    oauth.SendScope // departs from the contract
	}{
		"smartbusiness": {
			provider.SmartBusiness, func(r *oauth.Registration) { r.BodyFormat, r.SendScope = oauth.BodyJSON, oauth.ScopeAlways },
			[]string{"contact", "invoices"},
			oauth.ScopeStandard,
		},
		"smartbills": {provider.Smartbills, func(*oauth.Registration) {}, []string{"a"}, oauth.ScopeAlways},
	} {
		reg := registration(server.TokenEndpoint(c.contract))
		reg.ClientID = id
		c.change(&reg)
		granted, err := server.Grant(id, "somebody")
		if err != nil {
			t.Fatal(err)
		}
		wrong := reg
		wrong.SendScope = c.wrong
		_, err = client.Exchange(t.Context(), wrong, refreshWith(granted.RefreshToken, c.scopes...))
		checkFailure(t, err, oauth.RequestRejected)

		spent := granted.RefreshToken
		for range 3 {
			answer, err := client.Exchange(t.Context(), reg, refreshWith(spent, c.scopes...))
			if err != nil {
				t.Fatalf("%s: %v", id, err)
			}
			if answer.RefreshToken.Empty() || answer.RefreshToken.Reveal() == spent || answer.AccessToken.Empty() || answer.Lifetime == nil {
				t.Fatalf("%s: answer %+v", id, answer)
			}
			spent = answer.RefreshToken.Reveal()
		}
		_, err = client.Exchange(t.Context(), reg, refreshWith(granted.RefreshToken, c.scopes...))
		checkFailure(t, err, oauth.RefreshTokenRejected)
		if n := server.ClientTokenRequests(id); n != 5 {
			t.Errorf("%s: %d requests, want 5", id, n)
		}
	}
}
