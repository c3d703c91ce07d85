package stage

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

// ConnectedAccountID is the account that the Smartbills registration may act for, as config/samples names it.
const ConnectedAccountID = "acct_8f2"

// Provider is the provider's process, and what is known of it.
type Provider struct {
	*Process
	// URL and ControlURL are scheme, host and port of its API, which has TLS, and of its control API.
	URL        string
	ControlURL string
	// CAFile holds the certificate of the CA that signed its certificate, in PEM.
	CAFile string
	// Ledger is the file that its ledger is appended to; see provider.ReadLedger.
	Ledger string

	// registrations are the clients of the samples, by the names that they have there.
	registrations map[string]provider.Registration
}

// registrations gives each client of the samples one at the provider, for the grants that the sample has.
func (s *Stage) registrations() map[string]provider.Registration {
	reuse := s.options.Reuse
	if reuse.Kind == "" {
		reuse.Kind = provider.RevokeFamily
	}
	own := []string{provider.GrantClientCredentials}
	customers := []string{provider.GrantAuthorizationCode, provider.GrantRefreshToken}
	scopes, accounts := []string{"contact", "invoices"}, []string{ConnectedAccountID}
	all := map[string]provider.Registration{
		"smartbusiness":           {Contract: provider.SmartBusiness, Scopes: scopes, Grants: own},
		"smartbills":              {Contract: provider.Smartbills, Accounts: accounts, Grants: own},
		"smartbusiness-customers": {Contract: provider.SmartBusiness, Scopes: scopes, Grants: customers, Reuse: reuse},
		"smartbills-customers":    {Contract: provider.Smartbills, Accounts: accounts, Grants: customers, Reuse: reuse},
	}
	if s.Front != nil {
		all["smartbusiness-consent"] = provider.Registration{Contract: provider.SmartBusiness, Scopes: scopes, Grants: customers, Reuse: reuse, RedirectURIs: s.redirectURIs("smartbusiness-consent")}
		all["smartbills-consent"] = provider.Registration{Contract: provider.Smartbills, Scopes: []string{"invoices"}, Accounts: accounts, Grants: customers, Reuse: reuse, RedirectURIs: s.redirectURIs("smartbills-consent")}
	}
	for name, each := range all {
		each.NameUser = s.options.NameUsers && len(each.RedirectURIs) > 0
		each.ClientID, each.ClientSecret, each.AccessTokenLifetime = "demo-"+name, rand.Text(), s.options.TokenLifetime
		all[name] = each
	}
	return all
}

// redirectURIs is what to register at a provider for a client of the shop.
func (s *Stage) redirectURIs(client string) []string {
	return []string{s.Front.URL + "/callback/" + Namespace + "/" + client}
}

// furtherRegistrations are those of the options, with whole redirect URIs.
func (s *Stage) furtherRegistrations() []provider.Registration {
	all := slices.Clone(s.options.Registrations)
	for i := range all {
		all[i].RedirectURIs = slices.Clone(all[i].RedirectURIs)
		for j, each := range all[i].RedirectURIs {
			if s.Front != nil && strings.HasPrefix(each, "/") {
				all[i].RedirectURIs[j] = s.Front.URL + each
			}
		}
	}
	return all
}

// startProvider starts the provider with a registration for each client of the samples.
func (s *Stage) startProvider(ctx context.Context) (*Provider, error) {
	p := &Provider{
		CAFile:        filepath.Join(s.Dir, "provider", "ca.crt"),
		Ledger:        filepath.Join(s.Dir, "ledger.jsonl"),
		registrations: s.registrations(),
	}
	config := filepath.Join(s.Dir, "provider.json")
	if err := p.writeConfig(config, s.furtherRegistrations()); err != nil {
		return nil, err
	}
	var err error
	p.Process, err = s.Run(ctx, Program{
		Name: "provider",
		Path: filepath.Join(s.options.Programs, "provider"),
		Args: []string{
			"--config=" + config, "--listen=127.0.0.1:0", "--control=127.0.0.1:0",
			"--tls-cert-dir=" + filepath.Dir(p.CAFile), "--ledger=" + p.Ledger, "--login-host=" + s.options.LoginHost,
		},
	})
	if err != nil {
		return nil, err
	}
	listening := regexp.MustCompile(`(?m)^provider: listening on (\S+), control on (\S+)$`)
	err = p.await(ctx, func(context.Context) bool {
		content, err := os.ReadFile(p.LogFile)
		if match := listening.FindSubmatch(content); err == nil && match != nil {
			p.URL, p.ControlURL = string(match[1]), string(match[2])
		}
		return p.URL != ""
	})
	if err != nil {
		return nil, err
	}
	s.logf("the provider serves at %s", p.URL)
	return p, nil
}

// writeConfig writes the registrations. They hold client secrets, so only the owner may read them.
func (p *Provider) writeConfig(path string, more []provider.Registration) error {
	var registrations []map[string]any
	for _, name := range slices.Sorted(maps.Keys(p.registrations)) {
		registrations = append(registrations, configOf(p.registrations[name]))
	}
	for _, each := range more {
		registrations = append(registrations, configOf(each))
	}
	content, err := json.Marshal(map[string]any{"registrations": registrations})
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

// configOf is a registration as the provider's configuration writes it.
func configOf(each provider.Registration) map[string]any {
	config := map[string]any{
		"contract": each.Contract, "client_id": each.ClientID, "client_secret": each.ClientSecret, "scopes": each.Scopes,
		"redirect_uris": each.RedirectURIs, "accounts": each.Accounts, "grants": each.Grants, "pkce": each.PKCE, "allow_basic": each.AllowBasic, "name_user": each.NameUser,
	}
	if each.AccessTokenLifetime > 0 {
		config["access_token_lifetime"] = each.AccessTokenLifetime.String()
	}
	if each.Reuse.Kind != "" {
		reuse := map[string]any{"kind": each.Reuse.Kind}
		if each.Reuse.Grace > 0 {
			reuse["grace"], reuse["after_grace"] = each.Reuse.Grace.String(), each.Reuse.AfterGrace
		}
		config["reuse"] = reuse
	}
	return config
}

// Control posts a message to the provider's control API and returns the answer's body. test/provider lists what can be
// asked for.
func (p *Provider) Control(ctx context.Context, path string, message any) ([]byte, error) {
	body, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	return p.control(ctx, http.MethodPost, path, bytes.NewReader(body))
}

// Grant has a user consent to a client, without a browser, and returns what the client would have got: an access that was
// obtained elsewhere.
func (p *Provider) Grant(ctx context.Context, clientID, user string) (provider.Grant, error) {
	answer, err := p.Control(ctx, "/-/grant", map[string]string{"client_id": clientID, "user": user})
	if err != nil {
		return provider.Grant{}, err
	}
	var granted provider.Grant
	if err := json.Unmarshal(answer, &granted); err != nil {
		return provider.Grant{}, fmt.Errorf("provider's control API: %w", err)
	}
	return granted, nil
}

// FlushLedger has the ledger's file hold all that the provider has done until now. It writes calls of its API with a
// short delay otherwise.
func (p *Provider) FlushLedger(ctx context.Context) error {
	_, err := p.control(ctx, http.MethodGet, "/-/ledger", http.NoBody)
	return err
}

func (p *Provider) control(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, p.ControlURL+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("provider's control API: %w", err)
	}
	answer, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, fmt.Errorf("provider's control API: %w", err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("provider's control API: %s: %s", response.Status, answer)
	}
	return answer, nil
}
