package stage

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// AuthServerVariable names the program of test/authserver, which is a module of its own: `make authserver` builds it.
const AuthServerVariable = "AUTHSERVER"

// AuthServerOptions say whom the server knows: see test/authserver/config.go.
type AuthServerOptions struct {
	Clients []AuthServerClient `json:"clients"`
	// Users are names and passwords.
	Users map[string]string `json:"users"`
}

// AuthServerClient is a client of the server.
type AuthServerClient struct {
	ID           string   `json:"id"`
	Secret       string   `json:"secret,omitempty"`
	RedirectURIs []string `json:"redirect_uris"`
	Scopes       []string `json:"scopes"`
	// AutoConsent: whoever is logged in is not asked.
	AutoConsent bool `json:"auto_consent,omitempty"`
	// AccessTokenLifetime is written as in 15s. Default: an hour.
	AccessTokenLifetime string `json:"access_token_lifetime,omitempty"`
}

// AuthServer is the process of test/authserver.
type AuthServer struct {
	*Process
	URL string
	// CAFile holds the certificate of the CA that signed its certificate, in PEM.
	CAFile string

	ledger string
}

// AuthServerEntry is a line of its ledger.
type AuthServerEntry struct {
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"`
	ClientID string    `json:"client_id"`
	User     string    `json:"user"`
	// Family is the same for all tokens that descend from one consent.
	Family string `json:"family"`
	Grant  string `json:"grant"`
	Error  string `json:"error"`
	Hint   string `json:"hint"`
}

// StartAuthServer starts it.
func (s *Stage) StartAuthServer(ctx context.Context, program string, options AuthServerOptions) (*AuthServer, error) {
	folder := filepath.Join(s.Dir, s.unique("authserver-files"))
	server := &AuthServer{CAFile: filepath.Join(folder, "ca.crt"), ledger: filepath.Join(folder, "ledger.jsonl")}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	text, err := json.Marshal(options)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(folder, "config.json")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return nil, err
	}
	server.Process, err = s.Run(ctx, Program{
		Name: "authserver", Path: program, Args: []string{"--config=" + config, "--tls-cert-dir=" + folder, "--ledger=" + server.ledger},
	})
	if err != nil {
		return nil, err
	}
	listening := regexp.MustCompile(`(?m)^authserver: listening on (\S+)$`)
	err = server.await(ctx, func(context.Context) bool {
		content, err := os.ReadFile(server.LogFile)
		if match := listening.FindSubmatch(content); err == nil && match != nil {
			server.URL = string(match[1])
		}
		return server.URL != ""
	})
	return server, err
}

// Entries are the lines of its ledger so far.
func (a *AuthServer) Entries() ([]AuthServerEntry, error) {
	text, err := os.ReadFile(a.ledger)
	if err != nil {
		return nil, err
	}
	var entries []AuthServerEntry
	lines := bufio.NewScanner(bytes.NewReader(text[:bytes.LastIndexByte(text, '\n')+1]))
	for lines.Scan() {
		var entry AuthServerEntry
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			return nil, fmt.Errorf("read %s: %w", a.ledger, err)
		}
		entries = append(entries, entry)
	}
	return entries, lines.Err()
}
