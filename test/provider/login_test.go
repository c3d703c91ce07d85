package provider_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

// loginStart is a server whose people log in at another host, and a client that trusts it.
func loginStart(t *testing.T) *bench {
	t.Helper()
	b := start(t, provider.Options{TLS: true, LoginHost: "localhost"})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.CAPEM())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	b.client.Transport = transport
	return b
}

func TestLoginAtAnotherHost(t *testing.T) {
	t.Parallel()
	b := loginStart(t)
	sent := b.authorize(t, provider.SmartBusiness, params{"login": ""})
	there, err := url.Parse(sent.header.Get("Location"))
	if err != nil || sent.status != http.StatusFound || there.Hostname() != "localhost" || there.Path != "/login" {
		t.Fatalf("%d to %v, %v", sent.status, there, err)
	}
	cookies := map[string]*http.Cookie{}
	for _, cookie := range (&http.Response{Header: sent.header}).Cookies() {
		cookies[cookie.Name] = cookie
	}
	if cookies["__Host-crossing"].SameSite != http.SameSiteNoneMode || cookies["__Host-staying"].SameSite != http.SameSiteLaxMode {
		t.Fatalf("the cookies are %v", cookies)
	}
	page, err := b.do(t, http.MethodGet, there.String(), nil, "")
	if err != nil || page.status != http.StatusOK || !strings.Contains(page.body, `method="post" action="`+b.AuthorizeEndpoint(provider.SmartBusiness)+`"`) {
		t.Fatalf("the page: %d %s, %v", page.status, page.body, err)
	}

	form := there.Query()
	form.Del("from")
	form.Set("login", "anna")
	crossing := "__Host-crossing=" + cookies["__Host-crossing"].Value
	origin := "https://" + there.Host
	for name, c := range map[string]struct {
		origin, cookie string
		status         int
	}{
		"as a browser sends it":           {origin, crossing, http.StatusFound},
		"from another site":               {"https://evil.example", crossing, http.StatusForbidden},
		"without saying from where":       {"", crossing, http.StatusForbidden},
		"by a browser that was not there": {origin, "", http.StatusForbidden},
		"by another browser":              {origin, "__Host-crossing=another", http.StatusForbidden},
		"within one site":                 {origin, crossing + "; __Host-staying=x", http.StatusConflict},
	} {
		header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {c.origin}, "Cookie": {c.cookie}}
		got, err := b.do(t, http.MethodPost, b.AuthorizeEndpoint(provider.SmartBusiness), header, form.Encode())
		if err != nil || got.status != c.status {
			t.Errorf("%s: %d %s, %v", name, got.status, got.body, err)
		}
		if c.status == http.StatusFound {
			if fields := returned(t, got); fields.Get("code") == "" || fields.Get("state") != "st&te" {
				t.Errorf("%s: came back with %v", name, fields)
			}
		}
	}
}

func TestLoginAtAnotherHostIsOverTLS(t *testing.T) {
	t.Parallel()
	if server, err := provider.Start(provider.Options{LoginHost: "localhost"}); err == nil {
		_ = server.Close()
		t.Error("it starts without TLS")
	}
	b := start(t, provider.Options{})
	got, err := b.do(t, http.MethodPost, b.AuthorizeEndpoint(provider.SmartBusiness), nil, "")
	if err != nil || got.status != http.StatusMethodNotAllowed {
		t.Errorf("where there is no such host, a POST is answered with %d, %v", got.status, err)
	}
}
