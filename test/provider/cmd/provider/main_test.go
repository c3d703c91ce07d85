package main_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

const config = `
registrations:
- contract: Smartbills
  client_id: bills
  client_secret: s3cret
  scopes: [invoices]
  access_token_lifetime: 60s
`

// build compiles the program: its signals and its exit are what is tested.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "provider")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return binary
}

func TestTheProgram(t *testing.T) {
	t.Parallel()
	binary, dir := build(t), t.TempDir()
	configFile, ledger := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "ledger.jsonl")
	if err := os.WriteFile(configFile, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, binary, // #nosec G204 -- the program under test
		"--config", configFile, "--ledger", ledger, "--tls-cert-dir", filepath.Join(dir, "tls"), "--control", "127.0.0.1:0")
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	found := regexp.MustCompile(`^provider: listening on (https://127\.0\.0\.1:\d+), control on (http://127\.0\.0\.1:\d+)\n$`).FindStringSubmatch(line)
	if err != nil || found == nil {
		t.Fatalf("%q, %v", line, err)
	}
	post(t, client(t, filepath.Join(dir, "tls", "ca.crt")), found[1]+"/connect/token", "application/x-www-form-urlencoded",
		"grant_type=client_credentials&client_id=bills&client_secret=s3cret", `"expires_in":60`)
	post(t, http.DefaultClient, found[2]+"/-/grant", "application/json", `{"client_id":"bills","user":"anna"}`, `"refresh_token":"oprt_`)

	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
	entries, err := provider.ReadLedger(ledger)
	if err != nil || len(entries) != 5 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

func TestTheProgramRefusesWrongUse(t *testing.T) {
	t.Parallel()
	binary, dir := build(t), t.TempDir()
	broken := filepath.Join(dir, "broken.yaml")
	if err := os.WriteFile(broken, []byte("registrations: [{contract: Other, client_id: a, client_secret: topsecret}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"no configuration":           nil,
		"a missing configuration":    {"--config", filepath.Join(dir, "none")},
		"an impossible registration": {"--config", broken},
		"an unknown flag":            {"--verbose"},
	} {
		output, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput() // #nosec G204 -- the program under test
		if err == nil || len(output) == 0 || strings.Contains(string(output), "topsecret") {
			t.Errorf("%s: %v, %s", name, err, output)
		}
	}
}

func client(t *testing.T, authority string) *http.Client {
	t.Helper()
	text, err := os.ReadFile(authority) // #nosec G304 -- a file of this test
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func post(t *testing.T, client *http.Client, target, contentType, body, want string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%d %s, %v", response.StatusCode, text, err)
	}
}
