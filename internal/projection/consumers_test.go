package projection_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/projection"
	"github.com/oauth-operator/oauth-operator/internal/secret"
	"github.com/oauth-operator/oauth-operator/test/nginx"
)

// tokens are a hostile one, ones that begin and end with what could be trimmed, and one as providers issue them.
func tokens() map[string]string {
	return map[string]string{
		"hostile": hostile(), "quotes": `''""`, "a comment": "#x", "padding": "abc=", "a colon": "a:b", "a backslash at its end": `a\`,
		"usual": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl-_",
	}
}

// sampled writes the files of a sample of config/samples/consumers, as a kubelet would for a mount, and returns their folder.
func sampled(t *testing.T, sample, token string) string {
	t.Helper()
	layout, fault := projection.New(sampleOf(t, sample).Spec.Secret)
	if fault != nil {
		t.Fatalf("%s: %s", fault.Reason, fault.Message)
	}
	folder := t.TempDir()
	for key, value := range layout.Content(projection.Source{AccessToken: secret.New(token)}) {
		if err := os.WriteFile(filepath.Join(folder, key), value, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func sampleOf(t *testing.T, name string) v1alpha1.ConnectedAccount {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "samples", "consumers", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var account v1alpha1.ConnectedAccount
	if err := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096).Decode(&account); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return account
}

// tool runs a program in a folder and returns what it prints. A machine without it skips the test, and says so.
func tool(t *testing.T, folder, input, name string, arguments ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("there is no %s on this machine", name)
	}
	run := exec.CommandContext(t.Context(), path, arguments...)
	run.Dir, run.Stdin = folder, strings.NewReader(input)
	run.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + folder, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C"}
	var printed, complaints bytes.Buffer
	run.Stdout, run.Stderr = &printed, &complaints
	if err := run.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, complaints.String())
	}
	return printed.String()
}

// received has a program send a request to a server here, and returns its header Authorization.
func received(t *testing.T, send func(url string)) string {
	t.Helper()
	got := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		select {
		case got <- request.Header.Get("Authorization"):
		default:
		}
	}))
	defer server.Close()
	send(server.URL)
	select {
	case header := <-got:
		return header
	default:
		t.Fatal("no request came")
		return ""
	}
}

// TestS48 gives each consumer the file that its sample makes of a token, and wants that token back.
func TestS48(t *testing.T) {
	t.Parallel()
	// Each returns the token that it has read, and fails where it has read something else beside it.
	consumers := map[string]struct {
		sample string
		read   func(t *testing.T, folder string) string
	}{
		"a kubelet reads the pull secret":               {"registry", kubeletReads},
		"user and password are files":                   {"login", func(t *testing.T, folder string) string { t.Helper(); return content(t, folder, "password") }},
		"curl reads the netrc":                          {"files", curlReadsNetrc},
		"Python reads the netrc":                        {"files", pythonReadsNetrc},
		"git reads its credentials":                     {"files", gitReads},
		"bash sources the environment and runs nothing": {"files", func(t *testing.T, folder string) string { t.Helper(); return shellSources(t, folder, "bash") }},
		"dash sources the environment and runs nothing": {"files", func(t *testing.T, folder string) string { t.Helper(); return shellSources(t, folder, "dash") }},
		"curl reads the headers":                        {"files", curlReadsHeaders},
		"Envoy's secret is YAML":                        {"files", envoyReads},
		"nginx sends the header":                        {"files", nginxSends},
	}
	for consumer, does := range consumers {
		for kind, token := range tokens() {
			t.Run(consumer+"/"+kind, func(t *testing.T) {
				t.Parallel()
				folder := sampled(t, does.sample, token)
				if got := does.read(t, folder); got != token {
					t.Errorf("%q is read as %q", token, got)
				}
			})
		}
	}
}

func content(t *testing.T, folder, key string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, key))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// kubeletReads reads auth as kubelets do: base64 of user and password, with the first colon between them.
func kubeletReads(t *testing.T, folder string) string {
	t.Helper()
	var config struct {
		Auths map[string]struct {
			Auth string `json:"auth"`
		} `json:"auths"`
	}
	if err := json.Unmarshal([]byte(content(t, folder, ".dockerconfigjson")), &config); err != nil {
		t.Fatal(err)
	}
	login, err := base64.StdEncoding.DecodeString(config.Auths["registry.example"].Auth)
	user, password, found := strings.Cut(string(login), ":")
	if err != nil || !found || user != "oauth2" {
		t.Fatalf("the login is %q, %v", login, err)
	}
	return password
}

func curlReadsNetrc(t *testing.T, folder string) string {
	t.Helper()
	header := received(t, func(url string) {
		// The machine of the sample is localhost, and curl takes no port for it.
		tool(t, folder, "", "curl", "--silent", "--fail", "--noproxy", "*", "--ipv4", "--netrc-file", "netrc", strings.Replace(url, "127.0.0.1", "localhost", 1))
	})
	return passwordOf(t, header, "oauth2")
}

func passwordOf(t *testing.T, header, wantUser string) string {
	t.Helper()
	request := http.Request{Header: http.Header{"Authorization": {header}}}
	user, password, is := request.BasicAuth()
	if !is || user != wantUser {
		t.Fatalf("the header is %q", header)
	}
	return password
}

func pythonReadsNetrc(t *testing.T, folder string) string {
	t.Helper()
	const program = `import netrc, sys
user, _, password = netrc.netrc("netrc").authenticators("localhost")
assert user == "oauth2", user
sys.stdout.write(password)`
	return tool(t, folder, "", "python3", "-c", program)
}

func gitReads(t *testing.T, folder string) string {
	t.Helper()
	answer := tool(t, folder, "protocol=https\nhost=git.example\n\n", "git", "-c", "credential.helper=", "-c", "credential.helper=store --file=git-credentials", "credential", "fill")
	for line := range strings.Lines(answer) {
		if password, is := strings.CutPrefix(line, "password="); is {
			return strings.TrimSuffix(password, "\n")
		}
	}
	return answer
}

func shellSources(t *testing.T, folder, shell string) string {
	t.Helper()
	before := names(t, folder)
	printed := tool(t, folder, "", shell, "-c", `. ./env; printf '%s' "$OAUTH_TOKEN"`)
	if after := names(t, folder); after != before {
		t.Errorf("something was run: %s, before %s", after, before)
	}
	return printed
}

func names(t *testing.T, folder string) string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return strings.Join(all, " ")
}

func curlReadsHeaders(t *testing.T, folder string) string {
	t.Helper()
	header := received(t, func(url string) {
		tool(t, folder, "", "curl", "--silent", "--fail", "--noproxy", "*", "-H", "@headers", url)
	})
	return strings.TrimPrefix(header, "Bearer ")
}

func envoyReads(t *testing.T, folder string) string {
	t.Helper()
	var file struct {
		Resources []struct {
			Secret struct {
				Secret struct {
					Inline string `json:"inline_string"`
				} `json:"secret"`
			} `json:"generic_secret"`
		} `json:"resources"`
	}
	if err := yaml.Unmarshal([]byte(content(t, folder, "envoy-secret.yaml")), &file); err != nil || len(file.Resources) != 1 {
		t.Fatalf("%v, %+v", err, file)
	}
	return strings.TrimPrefix(file.Resources[0].Secret.Secret.Inline, "Bearer ")
}

// nginxSends has nginx print what it would send: it returns the header's value as a body.
func nginxSends(t *testing.T, folder string) string {
	t.Helper()
	program := nginx.Program(t)
	socket := filepath.Join(folder, "s")
	config := `daemon off; master_process off; pid ` + folder + `/pid; error_log stderr;
events {}
http {
  access_log off; default_type text/plain;
  client_body_temp_path ` + folder + `/t1; proxy_temp_path ` + folder + `/t2; fastcgi_temp_path ` + folder + `/t3; uwsgi_temp_path ` + folder + `/t4; scgi_temp_path ` + folder + `/t5;
  include ` + folder + `/nginx.conf;
  server { listen unix:` + socket + `; location / { return 200 $oauth_authorization; } }
}`
	main := filepath.Join(folder, "main.conf")
	if err := os.WriteFile(main, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	server := exec.CommandContext(ctx, program, "-p", folder, "-c", main)
	var complaints bytes.Buffer
	server.Stderr = &complaints
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = server.Wait() })
	// curl itself waits until nginx listens.
	body := tool(t, folder, "", "curl", "--silent", "--fail", "--retry", "40", "--retry-delay", "1", "--retry-all-errors", "--unix-socket", socket, "http://nginx/")
	return strings.TrimPrefix(body, "Bearer ")
}
