package oauth_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

func TestRequestToTheLetter(t *testing.T) {
	t.Parallel()
	form, asJSON := "application/x-www-form-urlencoded", "application/json"
	basic := func(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }
	for name, c := range map[string]struct {
		change        func(*oauth.Registration)
		scopes        []string
		contentType   string
		authorization string
		body          string
	}{
		"SmartBusiness: JSON object of strings": {
			func(r *oauth.Registration) { r.BodyFormat = oauth.BodyJSON },
			[]string{"contact", "invoices"},
			asJSON, "",
			`{"grant_type":"client_credentials","client_id":"the-client","client_secret":"pl4nted-client-s3cret","scope":"contact invoices"}`,
		},
		"Smartbills: form, no scope": {
			nil, nil, form, "", "grant_type=client_credentials&client_id=the-client&client_secret=pl4nted-client-s3cret",
		},
		"form with scopes": {
			func(r *oauth.Registration) { r.SendScope = oauth.ScopeAlways },
			[]string{"a", "b:c"},
			form, "", "grant_type=client_credentials&client_id=the-client&client_secret=pl4nted-client-s3cret&scope=a+b%3Ac",
		},
		"scope never": {
			func(r *oauth.Registration) { r.SendScope = oauth.ScopeNever },
			[]string{"a"},
			form, "", "grant_type=client_credentials&client_id=the-client&client_secret=pl4nted-client-s3cret",
		},
		"characters that forms escape": {
			func(r *oauth.Registration) { r.ClientID, r.ClientSecret = "a&b=c", secret.New("ä+ %\"\n") },
			nil, form, "", "grant_type=client_credentials&client_id=a%26b%3Dc&client_secret=%C3%A4%2B+%25%22%0A",
		},
		"characters that JSON escapes": {
			func(r *oauth.Registration) {
				r.BodyFormat, r.ClientID, r.ClientSecret = oauth.BodyJSON, `a"b`, secret.New("<&>ä\\\n")
			},
			nil, asJSON, "", `{"grant_type":"client_credentials","client_id":"a\"b","client_secret":"<&>ä\\\n"}`,
		},
		"Basic, RFC 6749": {
			func(r *oauth.Registration) {
				r.Method, r.ClientID, r.ClientSecret = oauth.ClientSecretBasic, "a:b", secret.New("c d%")
			},
			[]string{"s"},
			form, basic("a%3Ab:c+d%25"), "grant_type=client_credentials&scope=s",
		},
		"Basic, raw": {
			func(r *oauth.Registration) {
				r.Method, r.BasicEncoding, r.ClientSecret = oauth.ClientSecretBasic, oauth.BasicRaw, secret.New("c d%:")
			},
			nil, form, basic("the-client:c d%:"), "grant_type=client_credentials",
		},
		"Basic and JSON": {
			func(r *oauth.Registration) {
				r.Method, r.BasicEncoding, r.BodyFormat = oauth.ClientSecretBasic, oauth.BasicRFC6749, oauth.BodyJSON
			},
			nil, asJSON, basic("the-client:pl4nted-client-s3cret"), `{"grant_type":"client_credentials"}`,
		},
		"an audience, in a form": {
			sending(oauth.Parameter{Name: "audience", Value: "https://api.example/?a=b&c d+%"}),
			[]string{"s"},
			form, "", "grant_type=client_credentials&client_id=the-client&client_secret=pl4nted-client-s3cret&scope=s" +
				"&audience=https%3A%2F%2Fapi.example%2F%3Fa%3Db%26c+d%2B%25",
		},
		"two resources, in a form (RFC 8707 section 2)": {
			sending(oauth.Parameter{Name: "resource", Value: "https://a.example"}, oauth.Parameter{Name: "x[y]", Value: "1"}, oauth.Parameter{Name: "resource", Value: "https://b.example"}),
			nil, form, "", "grant_type=client_credentials&client_id=the-client&client_secret=pl4nted-client-s3cret" +
				"&resource=https%3A%2F%2Fa.example&x%5By%5D=1&resource=https%3A%2F%2Fb.example",
		},
		"an audience, in JSON and beside the header": {
			func(r *oauth.Registration) {
				r.BodyFormat, r.Method = oauth.BodyJSON, oauth.ClientSecretBasic
				sending(oauth.Parameter{Name: "audience", Value: `a"},\<&`}, oauth.Parameter{Name: "number", Value: "7"})(r)
			},
			nil, asJSON, basic("the-client:pl4nted-client-s3cret"), `{"grant_type":"client_credentials","audience":"a\"},\\<&","number":"7"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, ok(goodBody))
			reg := registration(s.url() + "?tenant=1")
			if c.change != nil {
				c.change(&reg)
			}
			got, err := newClient(t, nil).Exchange(t.Context(), reg, credentials(c.scopes...))
			if err != nil {
				t.Fatal(err)
			}
			if got.AccessToken.Reveal() != testToken || got.TokenType != "Bearer" || got.ReceivedTime.IsZero() || got.Scope != nil || got.Scopes() != nil {
				t.Errorf("answer %+v", got)
			}
			requests := s.seen()
			if len(requests) != 1 {
				t.Fatalf("%d requests", len(requests))
			}
			want := request{"POST", "/token?tenant=1", c.body, map[string][]string{
				"Accept": {"application/json"}, "Accept-Encoding": {"identity"}, "User-Agent": {"oauth-operator"},
				"Content-Type": {c.contentType}, "Content-Length": requests[0].header["Content-Length"],
			}}
			if c.authorization != "" {
				want.header.Set("Authorization", c.authorization)
			}
			if diff := cmp.Diff(want, requests[0], cmp.AllowUnexported(request{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// sending has the parameters in every token request.
func sending(parameters ...oauth.Parameter) func(*oauth.Registration) {
	return func(r *oauth.Registration) { r.Parameters = parameters }
}

func TestRegistrationsThatSendNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, ok(goodBody))
	for name, c := range map[string]struct {
		change func(*oauth.Registration, *oauth.GrantRequest)
		reason string
	}{
		"H80 colon in the id, raw Basic": {func(r *oauth.Registration, _ *oauth.GrantRequest) {
			r.Method, r.BasicEncoding, r.ClientID = oauth.ClientSecretBasic, oauth.BasicRaw, "a:b"
		}, "colon"},
		"no id":           {func(r *oauth.Registration, _ *oauth.GrantRequest) { r.ClientID = "" }, "client id"},
		"no secret":       {func(r *oauth.Registration, _ *oauth.GrantRequest) { r.ClientSecret = secret.Value{} }, "client secret"},
		"no method":       {func(r *oauth.Registration, _ *oauth.GrantRequest) { r.Method = "" }, "method"},
		"unknown method":  {func(r *oauth.Registration, _ *oauth.GrantRequest) { r.Method = "None" }, "method"},
		"unknown format":  {func(r *oauth.Registration, _ *oauth.GrantRequest) { r.BodyFormat = "XML" }, "body format"},
		"unknown setting": {func(r *oauth.Registration, _ *oauth.GrantRequest) { r.SendScope = "Maybe" }, "scope setting"},
		"unknown encoding": {func(r *oauth.Registration, _ *oauth.GrantRequest) {
			r.Method, r.BasicEncoding = oauth.ClientSecretBasic, "rfc6749"
		}, "Basic encoding"},
		"another grant":    {func(_ *oauth.Registration, g *oauth.GrantRequest) { g.Grant = "password" }, "grant"},
		"scope with space": {func(_ *oauth.Registration, g *oauth.GrantRequest) { g.Scopes = []string{"a b"} }, "scope"},
		"empty scope":      {func(_ *oauth.Registration, g *oauth.GrantRequest) { g.Scopes = []string{"a", ""} }, "scope"},
		"a secret that JSON cannot carry": {func(r *oauth.Registration, _ *oauth.GrantRequest) {
			r.BodyFormat, r.ClientSecret = oauth.BodyJSON, secret.New("\xff")
		}, "UTF-8"},
		"userinfo":      {func(r *oauth.Registration, _ *oauth.GrantRequest) { r.TokenEndpoint = "http://u@127.0.0.1:" + s.port() }, "endpoint"},
		"fragment":      {func(r *oauth.Registration, _ *oauth.GrantRequest) { r.TokenEndpoint += "#" }, "endpoint"},
		"relative":      {func(r *oauth.Registration, _ *oauth.GrantRequest) { r.TokenEndpoint = "/token" }, "endpoint"},
		"port 0":        {func(r *oauth.Registration, _ *oauth.GrantRequest) { r.TokenEndpoint = "https://127.0.0.1:0/" }, "endpoint"},
		"http to names": {func(r *oauth.Registration, _ *oauth.GrantRequest) { r.TokenEndpoint = "http://provider.test/" }, "https"},
	} {
		reg, req := registration(s.url()), credentials()
		c.change(&reg, &req)
		_, err := newClient(t, nil).Exchange(t.Context(), reg, req)
		checkFailure(t, err, oauth.NotSent)
		if failure := failureOf(t, err); !strings.Contains(failure.Reason, c.reason) {
			t.Errorf("%s: reason %q does not say %q", name, failure.Reason, c.reason)
		}
	}
	client := newClient(t, func(o *oauth.Options) { o.Egress.AllowLoopback = false })
	_, err := client.Exchange(t.Context(), registration(s.url()), credentials())
	checkFailure(t, err, oauth.NotSent)
	if connections, _, _ := s.counts(); connections != 0 {
		t.Errorf("%d connections", connections)
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]string{
		"https://API.example.com/a?b":  "https://api.example.com:443",
		"https://api.example.com:443/": "https://api.example.com:443",
		"https://api.example.com:0443": "https://api.example.com:443",
		"https://api.example.com:8443": "https://api.example.com:8443",
		"http://127.0.0.1/x":           "http://127.0.0.1:80",
		"HTTPS://[0:0:0::1]:8443/":     "https://[::1]:8443",
		"ftp://a/":                     "", "https://": "", "https:///a": "", "a.example": "", "": "", "https://u:p@a/": "", "https://a/#f": "",
		"https://a:99999/": "", "https://a:/": "", "https://ä.example/": "", "https://[fe80::1%25eth0]/": "", "https:a.example": "", "https://a\\@b/": "",
	} {
		got, err := oauth.Origin(endpoint)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, error %v; want %q", endpoint, got, err, want)
		}
	}
}

func TestHostsAllowed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		endpoint string
		hosts    []string
		want     bool
	}{
		"same host":                  {"https://api.example.com/token", []string{"other.example", " API.example.com "}, true},
		"default port, written out":  {"https://api.example.com:443/token", []string{"api.example.com"}, true},
		"port named":                 {"https://api.example.com:8443/", []string{"api.example.com:8443"}, true},
		"port not named":             {"https://api.example.com:8443/", []string{"api.example.com"}, false},
		"other port":                 {"https://api.example.com/", []string{"api.example.com:8443"}, false},
		"subdomain":                  {"https://evil.api.example.com/", []string{"api.example.com"}, false},
		"parent":                     {"https://example.com/", []string{"api.example.com"}, false},
		"prefix":                     {"https://api.example.com.evil/", []string{"api.example.com"}, false},
		"wildcard":                   {"https://api.example.com/", []string{"*", "*.example.com", ""}, false},
		"no hosts":                   {"https://api.example.com/", nil, false},
		"userinfo in the entry":      {"https://api.example.com/", []string{"x@api.example.com"}, false},
		"path in the entry":          {"https://api.example.com/", []string{"api.example.com/x", "api.example.com?"}, false},
		"endpoint that is not one":   {"api.example.com", []string{"api.example.com"}, false},
		"IPv6, written in two ways":  {"https://[::1]:8443/", []string{"[0:0::1]:8443"}, true},
		"http, with its port":        {"http://127.0.0.1:8080/", []string{"127.0.0.1:8080"}, true},
		"userinfo before the host":   {"https://api.example.com@evil.example/", []string{"api.example.com"}, false},
		"backslash before the host":  {`https://evil.example\@api.example.com/`, []string{"api.example.com"}, false},
		"trailing dot is no synonym": {"https://api.example.com./", []string{"api.example.com"}, false},
	} {
		if got := oauth.HostsAllowed(c.endpoint, c.hosts); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
