package provider_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

const (
	businessID     = "business"
	billsID        = "bills"
	testSecret     = "s3cret&=+ %"
	redirectURI    = "https://operator.example/callback"
	requestTimeout = 10 * time.Second
)

func epoch() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func business() provider.Registration {
	return provider.Registration{
		Contract: provider.SmartBusiness, ClientID: businessID, ClientSecret: testSecret,
		Scopes: []string{"contact", "invoices"}, RedirectURIs: []string{redirectURI},
	}
}

func bills() provider.Registration {
	return provider.Registration{
		Contract: provider.Smartbills, ClientID: billsID, ClientSecret: testSecret,
		Scopes: []string{"invoices"}, RedirectURIs: []string{redirectURI}, Accounts: []string{"acct_1", "acct_2"},
	}
}

// bench is a server with a clock that stands, and a client that follows no redirects.
type bench struct {
	*provider.Server
	clock  *clocktesting.FakePassiveClock
	client *http.Client
}

func start(t *testing.T, options provider.Options) *bench {
	t.Helper()
	b := &bench{clock: clocktesting.NewFakePassiveClock(epoch())}
	if options.Clock == nil {
		options.Clock = b.clock
	}
	if options.Registrations == nil {
		options.Registrations = []provider.Registration{business(), bills()}
	}
	server, err := provider.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	b.Server = server
	b.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) step(d time.Duration) { b.clock.SetTime(b.clock.Now().Add(d)) }

type answer struct {
	status int
	header http.Header
	body   string
	// The fields of a JSON body.
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	Error        string `json:"error"`
}

// do sends one request. The error is that of the transport or of reading the body.
func (b *bench) do(t *testing.T, method, target string, header http.Header, body string) (answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), requestTimeout)
	defer cancel()
	return b.doCtx(ctx, t, method, target, header, body)
}

func (b *bench) doCtx(ctx context.Context, t *testing.T, method, target string, header http.Header, body string) (answer, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.GetBody = nil
	maps.Copy(request.Header, header)
	response, err := b.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	got := answer{status: response.StatusCode, header: response.Header, body: string(text)}
	_ = json.NewDecoder(bytes.NewReader(text)).Decode(&got)
	return got, err
}

// params are the parameters of a token request; the helpers below write them as the contract wants.
type params map[string]string

func asJSON(p params) string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func asForm(p params) string {
	values := url.Values{}
	for name, value := range p {
		values.Set(name, value)
	}
	return values.Encode()
}

// written is a body of the contract's format.
func written(contract provider.Contract, p params) string {
	if contract == provider.Smartbills {
		return asForm(p)
	}
	return asJSON(p)
}

func typeHeader(contract provider.Contract) http.Header {
	if contract == provider.Smartbills {
		return http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	}
	return http.Header{"Content-Type": {"application/json"}}
}

// with is a correct request of the contract, changed: an empty value takes the parameter away.
func with(contract provider.Contract, changes params) params {
	p := params{"grant_type": "client_credentials", "client_id": billsID, "client_secret": testSecret}
	if contract == provider.SmartBusiness {
		p["client_id"], p["scope"] = businessID, "invoices"
	}
	for name, value := range changes {
		p[name] = value
		if value == "" {
			delete(p, name)
		}
	}
	return p
}

func (b *bench) try(t *testing.T, contract provider.Contract, p params) (answer, error) {
	t.Helper()
	return b.do(t, http.MethodPost, b.TokenEndpoint(contract), typeHeader(contract), written(contract, p))
}

// token sends a token request that must be answered.
func (b *bench) token(t *testing.T, contract provider.Contract, p params) answer {
	t.Helper()
	got, err := b.try(t, contract, p)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// refresh spends a refresh token.
func (b *bench) refresh(t *testing.T, contract provider.Contract, refreshToken string) answer {
	t.Helper()
	return b.token(t, contract, with(contract, params{"grant_type": "refresh_token", "refresh_token": refreshToken}))
}

// call uses the API.
func (b *bench) call(t *testing.T, target, accessToken string, header http.Header) answer {
	t.Helper()
	full := http.Header{"Authorization": {"Bearer " + accessToken}}
	maps.Copy(full, header)
	got, err := b.do(t, http.MethodGet, target, full, "")
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (b *bench) works(t *testing.T, contract provider.Contract, accessToken string) bool {
	t.Helper()
	return b.call(t, b.APIEndpoint(contract)+"/invoices", accessToken, nil).status == http.StatusOK
}

func (b *bench) grant(t *testing.T, clientID, user string) provider.Grant {
	t.Helper()
	granted, err := b.Grant(clientID, user)
	if err != nil {
		t.Fatal(err)
	}
	return granted
}

// kinds are the ledger's kinds in order, without registrations.
func kinds(entries []provider.Entry) []provider.Kind {
	var got []provider.Kind
	for _, each := range entries {
		if each.Kind != provider.KindRegistered {
			got = append(got, each.Kind)
		}
	}
	return got
}

func ofKind(entries []provider.Entry, kind provider.Kind) []provider.Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e provider.Entry) bool { return e.Kind != kind })
}

func last(t *testing.T, entries []provider.Entry, kind provider.Kind) provider.Entry {
	t.Helper()
	found := ofKind(entries, kind)
	if len(found) == 0 {
		t.Fatalf("the ledger has no %s", kind)
	}
	return found[len(found)-1]
}
