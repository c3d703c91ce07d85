package consumers_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/projection"
	"github.com/oauth-operator/oauth-operator/internal/secret"
	"github.com/oauth-operator/oauth-operator/test/nginx"
)

const (
	mount = "/var/run/oauth"
	// envoyCheckVariable names the program that reads Envoy's files as its API defines them; make test builds it.
	envoyCheckVariable = "ENVOYCHECK"
)

// nginx takes up a new token by the reload that on-change.sh runs, without a call that is refused meanwhile.
func TestNginxFollowsTheMountedToken(t *testing.T) {
	t.Parallel()
	program := nginx.Program(t)
	a, folder := newAPI(t), t.TempDir()
	write(t, folder, 0)
	config, socket := nginxHere(t, folder, a.URL)
	server := start(t, nil, program, "-c", config, "-g", "daemon off;")
	start(t, []string{"INTERVAL=0.05"}, "sh", "shell/on-change.sh", folder, program, "-c", config, "-s", "reload")

	proxied := &http.Client{Transport: socketTransport(socket), Timeout: bound}
	for n := range 3 {
		want := "Bearer " + shortened(string(version(n)["access_token"]))
		deadline := time.Now().Add(bound)
		for got := ""; got != want; {
			if time.Now().After(deadline) {
				t.Fatalf("after a minute, nginx sends %q, want %q\n%s", got, want, server.output.String())
			}
			if got = throughNginx(t, a, server, proxied); !slices.Contains([]string{want, "Bearer " + shortened(string(version(max(n-1, 0))["access_token"]))}, got) {
				t.Fatalf("nginx sends %q, which is neither the token before nor the one now", got)
			}
		}
		write(t, folder, n+1)
	}
}

// nginxHere is the example's configuration, for the folders of this test and an API without TLS.
func nginxHere(t *testing.T, folder, api string) (config, socket string) {
	t.Helper()
	content, err := os.ReadFile("nginx/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	temporary, err := os.MkdirTemp("", "nginx") //nolint:usetesting // a shorter path: the name of a socket has 108 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(temporary) })
	socket = filepath.Join(temporary, "socket")
	text := string(content)
	for _, change := range [][2]string{
		{" /tmp/", " " + temporary + "/"},
		{mount + "/", folder + "/"},
		{"https://provider.example", api},
		{"listen 127.0.0.1:8080", "listen unix:" + socket},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("nginx.conf has no %q, which this test puts something else in the place of", change[0])
		}
		text = strings.ReplaceAll(text, change[0], change[1])
	}
	config = filepath.Join(temporary, "nginx.conf")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config, socket
}

// throughNginx makes a call by way of nginx, and returns what the API was sent. Until nginx listens it is called again.
func throughNginx(t *testing.T, a *api, server *program, client *http.Client) string {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		for {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://nginx/v1/invoices", http.NoBody)
			if err != nil {
				done <- err
				return
			}
			request.Header.Set("Authorization", "what the program sends itself")
			response, err := client.Do(request)
			if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
				continue
			}
			if err == nil {
				_, err = io.Copy(io.Discard, response.Body)
				err = errors.Join(err, response.Body.Close())
				if response.StatusCode != http.StatusOK {
					err = errors.New(response.Status)
				}
			}
			done <- err
			return
		}
	}()
	header := a.next(t, server)
	if err := <-done; err != nil {
		t.Fatalf("%v\n%s", err, server.output.String())
	}
	return header.Get("Authorization")
}

// Envoy's own API says whether the example's configuration, and the file that the sample makes of a token, are what Envoy reads.
func TestEnvoyReadsItsFiles(t *testing.T) {
	t.Parallel()
	check := os.Getenv(envoyCheckVariable)
	if check == "" {
		t.Skip(envoyCheckVariable + " does not name the program that reads Envoy's files; make test builds one and does")
	}
	folder := t.TempDir()
	for key, content := range sampled(t, `hostile "$(x)\'#`) {
		if err := os.WriteFile(filepath.Join(folder, key), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wrong := filepath.Join(folder, "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("static_resources: {listener: []}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		kind, file string
		accepted   bool
	}{
		"the configuration":                {"bootstrap", "envoy/envoy.yaml", true},
		"the secret":                       {"discovery", filepath.Join(folder, "envoy-secret.yaml"), true},
		"a misspelt field, which it finds": {"bootstrap", wrong, false},
	} {
		output, err := exec.CommandContext(t.Context(), check, c.kind, c.file).CombinedOutput()
		if (err == nil) != c.accepted {
			t.Errorf("%s: %v\n%s", name, err, output)
		}
	}
}

// What the configuration names is what the sample brings: the file, its folder and the name of the secret in it. Envoy reads a
// file as YAML only where its name says so, and follows a mounted one only where the folder of the link is watched.
func TestEnvoyIsLedToTheToken(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("envoy/envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config any
	if err := yaml.UnmarshalStrict(content, &config); err != nil {
		t.Fatal(err)
	}
	credential, is := find(config, "sds_config").(map[string]any)
	source, isSource := find(credential, "path_config_source").(map[string]any)
	watched, isWatched := source["watched_directory"].(map[string]any)
	path, isPath := source["path"].(string)
	if !is || !isSource || !isWatched || !isPath {
		t.Fatalf("the credential is from %v", credential)
	}
	if watched["path"] != filepath.Dir(path) || filepath.Dir(path) != mount {
		t.Errorf("%s is read, and moves in %v are watched", path, watched["path"])
	}
	file, found := sampled(t, "token")[filepath.Base(path)]
	if !found || filepath.Ext(path) != ".yaml" {
		t.Fatalf("the sample does not bring %s, or it is not called .yaml", filepath.Base(path))
	}
	var resources any
	if err := yaml.UnmarshalStrict(file, &resources); err != nil {
		t.Fatal(err)
	}
	if got, want := find(find(resources, "resources"), "name"), credential["name"]; got == nil || got != want {
		t.Errorf("the secret is called %v, and asked for as %v", got, want)
	}
	if got := find(resources, "inline_string"); got != "Bearer token" {
		t.Errorf("the value is %q", got)
	}
}

// find looks for the map or list element that has a key, and returns its value; for sds_config, all that stands beside it.
func find(in any, key string) any {
	switch in := in.(type) {
	case map[string]any:
		if value, found := in[key]; found {
			if key == "sds_config" {
				return in
			}
			return value
		}
		for _, name := range slices.Sorted(maps.Keys(in)) {
			if found := find(in[name], key); found != nil {
				return found
			}
		}
	case []any:
		for _, each := range in {
			if found := find(each, key); found != nil {
				return found
			}
		}
	}
	return nil
}

// sampleAccount is the account of config/samples/consumers that makes files.
func sampleAccount(t *testing.T) v1alpha1.ConnectedAccount {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "config", "samples", "consumers", "files.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var account v1alpha1.ConnectedAccount
	if err := yaml.UnmarshalStrict(content, &account); err != nil {
		t.Fatal(err)
	}
	return account
}

// sampled is what its Secret holds.
func sampled(t *testing.T, token string) map[string][]byte {
	t.Helper()
	layout, fault := projection.New(sampleAccount(t).Spec.Secret)
	if fault != nil {
		t.Fatalf("%s: %s", fault.Reason, fault.Message)
	}
	return layout.Content(projection.Source{AccessToken: secret.New(token)})
}

// The manifests can be applied, mount the sample's Secret where the examples look for it, and so that it is kept up to date; the
// keys that they name are there.
func TestManifestsMountWhatFollows(t *testing.T) {
	t.Parallel()
	account, keys := sampleAccount(t), sampled(t, "token")
	for name, pod := range map[string]*corev1.PodSpec{
		"mounted.yaml":    &read[corev1.Pod](t, "mounted.yaml").Spec,
		"with-token.yaml": &read[corev1.Pod](t, "with-token.yaml").Spec,
		"nginx/pod.yaml":  &read[corev1.Pod](t, "nginx/pod.yaml").Spec,
	} {
		mounts := mountsOf(pod, account.Name)
		if len(mounts) != 1 {
			t.Errorf("%s: the Secret %s is mounted %d times, want once", name, account.Name, len(mounts))
		}
		for _, each := range mounts {
			if each.MountPath != mount || each.SubPath != "" || each.SubPathExpr != "" || !each.ReadOnly {
				t.Errorf("%s: the Secret is mounted as %+v", name, each)
			}
		}
	}
	rolled := read[appsv1.Deployment](t, "reloader.yaml")
	if got := rolled.Annotations["secret.reloader.stakater.com/reload"]; got != account.Name {
		t.Errorf("the Deployment is rolled out when the Secret %q changes", got)
	}
	from := rolled.Spec.Template.Spec.Containers[0].Env[0].ValueFrom.SecretKeyRef
	if from.Name != account.Name || keys[from.Key] == nil {
		t.Errorf("the variable is from %+v", from)
	}
}

// mountsOf are where the containers of a Pod have a Secret.
func mountsOf(pod *corev1.PodSpec, secretName string) []corev1.VolumeMount {
	at := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Secret != nil && v.Secret.SecretName == secretName })
	if at < 0 {
		return nil
	}
	var found []corev1.VolumeMount
	for i := range pod.Containers {
		for _, each := range pod.Containers[i].VolumeMounts {
			if each.Name == pod.Volumes[at].Name {
				found = append(found, each)
			}
		}
	}
	return found
}

func read[T any](t *testing.T, file string) *T {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var into T
	text, err := yaml.YAMLToJSONStrict(content)
	if err != nil {
		t.Fatal(err)
	}
	if unknown, err := strictjson.UnmarshalStrict(text, &into); err != nil || len(unknown) > 0 {
		t.Fatalf("%s: %v, %v", file, err, unknown)
	}
	return &into
}

// socketTransport calls a server by its socket.
func socketTransport(socket string) *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
}
