package stage

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

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

	registrations map[string]registration
}

// registration is one client at the provider, by the name that its sample has.
type registration struct {
	contract provider.Contract
	id       string
	secret   string
}

// startProvider starts the provider with a registration for each sample.
func (s *Stage) startProvider(ctx context.Context) (*Provider, error) {
	p := &Provider{
		CAFile: filepath.Join(s.Dir, "provider", "ca.crt"),
		Ledger: filepath.Join(s.Dir, "ledger.jsonl"),
		registrations: map[string]registration{
			"smartbusiness": {provider.SmartBusiness, "demo-smartbusiness", rand.Text()},
			"smartbills":    {provider.Smartbills, "demo-smartbills", rand.Text()},
		},
	}
	config := filepath.Join(s.Dir, "provider.json")
	if err := p.writeConfig(config, s.options.TokenLifetime); err != nil {
		return nil, err
	}
	var err error
	p.Process, err = s.Run(ctx, Program{
		Name: "provider",
		Path: filepath.Join(s.options.Programs, "provider"),
		Args: []string{
			"--config=" + config, "--listen=127.0.0.1:0", "--control=127.0.0.1:0",
			"--tls-cert-dir=" + filepath.Dir(p.CAFile), "--ledger=" + p.Ledger,
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
func (p *Provider) writeConfig(path string, lifetime time.Duration) error {
	var registrations []map[string]any
	for _, name := range []string{"smartbusiness", "smartbills"} {
		each := p.registrations[name]
		config := map[string]any{
			"contract": each.contract, "client_id": each.id, "client_secret": each.secret,
			"grants": []string{provider.GrantClientCredentials},
		}
		if lifetime > 0 {
			config["access_token_lifetime"] = lifetime.String()
		}
		if each.contract == provider.SmartBusiness {
			config["scopes"] = []string{"contact", "invoices"}
		} else {
			config["accounts"] = []string{ConnectedAccountID}
		}
		registrations = append(registrations, config)
	}
	content, err := json.Marshal(map[string]any{"registrations": registrations})
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
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
