package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oauth-operator/oauth-operator/test/leaks"
	"github.com/oauth-operator/oauth-operator/test/provider"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

// S33: at the highest verbosity, through a whole life with a failure in it, no secret is to be read anywhere but in
// Secrets. The same search finds what a build leaks whose log is not capped, so it is not blind.
func TestS33NoSecretIsWrittenAnywhere(t *testing.T) {
	t.Parallel()
	t.Run("as released", func(t *testing.T) {
		t.Parallel()
		for where, found := range searchRun(t, "") {
			t.Errorf("%s: %v", where, found)
		}
	})
	t.Run("a build that leaks is found out", func(t *testing.T) {
		t.Parallel()
		found := searchRun(t, leakingBuild(t))
		if len(found["log"]) == 0 {
			t.Error("the search finds nothing in the log of a build that writes the bodies of Secrets into it")
		}
		t.Logf("found in the log of the leaking build: %v", found["log"])
	})
}

// leakingBuild is the operator with the cap on the log's verbosity removed.
func leakingBuild(t *testing.T) string {
	t.Helper()
	root, err := stage.Root("")
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(root, "cmd", "oauth-operator", "logging.go")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	leaking := strings.Replace(string(text), "maxVerbosity = 5", "maxVerbosity = 10", 1)
	if leaking == string(text) {
		t.Fatal("the cap is not where this test removes it")
	}
	folder := t.TempDir()
	changed, overlay, binary := filepath.Join(folder, "logging.go"), filepath.Join(folder, "overlay.json"), filepath.Join(folder, "oauth-operator")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{changed: []byte(leaking), overlay: replace} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-overlay", overlay, "-o", binary, "./cmd/oauth-operator")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, output)
	}
	return binary
}

// searchRun plays a life and searches all that was written for the client secrets and the tokens, by place.
func searchRun(t *testing.T, binary string) map[string][]leaks.Finding {
	t.Helper()
	played, samples := play(t)
	imports, err := played.ApplyImports(t.Context(), stage.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	samples = append(samples, imports...)
	key := applyAPIKey(t, played)
	control(t, played, "/-/script", map[string]any{
		"steps": []map[string]any{{"action": "reply", "grant": provider.GrantClientCredentials, "reply": map[string]any{"status": 500, "body": "{}"}}},
	})
	operator := start(t, played, stage.OperatorOptions{Binary: binary, ExtraArgs: []string{"--v=10"}})
	published(t, played, append(names(samples), "smartbills-direct")...)
	awaitReadyStatus(t, played, append(names(samples), "smartbills-direct"))
	deleteSecret(t, played, samples[0].Name)
	published(t, played, samples[0].Name)

	places := written(t, played, operator)
	found := map[string][]leaks.Finding{}
	for _, secret := range append(planted(t, played, samples), key) {
		for where, text := range places {
			found[where] = append(found[where], leaks.Search(text, secret)...)
		}
	}
	// The refresh tokens that came later are nowhere to be had in the clear.
	for where, text := range places {
		if bytes.Contains(text, []byte(provider.RefreshTokenPrefix)) {
			found[where] = append(found[where], leaks.Finding{Form: "the beginning of a refresh token"})
		}
	}
	for where := range found {
		if len(found[where]) == 0 {
			delete(found, where)
		}
	}
	return found
}

// applyAPIKey applies the sample of an API key, as the developer, and returns the key.
func applyAPIKey(t *testing.T, played *stage.Stage) string {
	t.Helper()
	kubeconfig, err := played.Kubeconfig(t.Context(), stage.Namespace, stage.Developer)
	if err != nil {
		t.Fatal(err)
	}
	const key = "planted-api-key-that-nobody-else-has"
	for _, arguments := range [][]string{
		{"create", "secret", "generic", "smartbills-key", "--from-literal=api_key=" + key},
		{"label", "secret", "smartbills-key", "oauth-operator.dev/credential=true"},
		{"apply", "--kustomize", filepath.Join(played.Root, "config", "samples", "apikey")},
	} {
		if _, err := played.Kubectl(t.Context(), kubeconfig, append(arguments, "--namespace="+stage.Namespace)...); err != nil {
			t.Fatal(err)
		}
	}
	return key
}

// planted are the client secrets, the imported refresh tokens and the access tokens.
func planted(t *testing.T, played *stage.Stage, samples []stage.Sample) []string {
	t.Helper()
	var all []string
	take := func(name, key string) {
		secret, err := played.Secret(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if len(secret.Data[key]) < 12 {
			t.Fatalf("the key %s of %s is too short to be searched for", key, name)
		}
		all = append(all, string(secret.Data[key]))
	}
	for _, sample := range samples {
		take(sample.Name, "access_token")
		take(sample.Client+"-client", "client_secret")
		if sample.ImportedFrom != "" {
			take(sample.ImportedFrom, "refresh_token")
		}
	}
	return all
}

// written is all that the operator wrote, or had the API server write, except Secrets.
func written(t *testing.T, played *stage.Stage, operator *stage.Operator) map[string][]byte {
	t.Helper()
	places := map[string][]byte{"metrics": metricsText(t, operator.MetricsURL)}
	admin := filepath.Join(played.Cluster.Dir, "admin.kubeconfig")
	for where, kinds := range map[string]string{"accounts and clients": "connectedaccounts,oauthclients", "events": "events.v1.events.k8s.io", "leases": "leases", "config maps": "configmaps"} {
		output, err := played.Kubectl(t.Context(), admin, "get", kinds, "--all-namespaces", "--output", "json", "--show-managed-fields")
		if err != nil {
			t.Fatal(err)
		}
		places[where] = []byte(output)
	}
	for where, path := range map[string]string{"log": operator.LogFile, "audit log": played.Cluster.AuditLog} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) == 0 {
			t.Fatalf("the %s is empty", where)
		}
		places[where] = text
	}
	return places
}

func metricsText(t *testing.T, address string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(text), "oauth_operator_account_ready") {
		t.Fatalf("read the metrics: %v", err)
	}
	return text
}
