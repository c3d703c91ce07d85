package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/oauth-operator/oauth-operator/internal/consent"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// keysFolder is what the kubelet mounts.
func keysFolder(t *testing.T) string {
	t.Helper()
	keyring, err := seal.GenerateKeyring()
	if err != nil {
		t.Fatal(err)
	}
	if keyring, err = keyring.WithConsentKeys(); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, text := range keyring.ConsentData() {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func newPages(t *testing.T, folder string) *consentServer {
	t.Helper()
	pages, err := newConsent(&rest.Config{Host: "https://127.0.0.1:1"},
		options{consentURL: mustParse("https://oauth.example.com"), consentAddress: "127.0.0.1:0"}, consent.KeysInFolder(folder))
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

func probe(t *testing.T, pages *consentServer, path string) int {
	t.Helper()
	recorder := httptest.NewRecorder()
	pages.probes().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	return recorder.Code
}

func TestThePagesAreReadyWhenTheyHaveKeysAndUntilTheyEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	pages := newPages(t, keysFolder(t))
	if probe(t, pages, "/healthz") != http.StatusOK || probe(t, pages, "/readyz") != http.StatusServiceUnavailable {
		t.Error("before the start it is not ready, and alive")
	}
	ended := make(chan error, 1)
	go func() { ended <- pages.Start(ctx) }()
	eventually(t, func() bool { return probe(t, pages, "/readyz") == http.StatusOK })
	cancel()
	eventually(t, func() bool { return probe(t, pages, "/readyz") == http.StatusServiceUnavailable })
	if probe(t, pages, "/healthz") != http.StatusOK {
		t.Error("it is alive while it ends")
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
}

func TestPagesWithoutKeysSayThatTheyAreNotReady(t *testing.T) {
	t.Parallel()
	pages := newPages(t, t.TempDir())
	go func() { _ = pages.Start(t.Context()) }()
	recorder := httptest.NewRecorder()
	pages.server.Handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/connect?ticket=x", http.NoBody))
	if recorder.Code != http.StatusServiceUnavailable || probe(t, pages, "/readyz") != http.StatusServiceUnavailable {
		t.Errorf("the page says %d", recorder.Code)
	}
}

func TestARequestThatIsUnderWayIsAnsweredBeforeTheEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	entered, leave := make(chan struct{}), make(chan struct{})
	listening := make(chan string, 1)
	server := &http.Server{Addr: "127.0.0.1:0", ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = w.Write([]byte("the answer"))
	})}
	// The port is known once a connection can be made: have the server tell.
	server.BaseContext = func(l net.Listener) context.Context {
		listening <- l.Addr().String()
		return context.Background()
	}
	ended := make(chan error, 1)
	go func() { ended <- listenAndServe(ctx, server, 0) }()
	answered := make(chan string, 1)
	address := <-listening
	go func() {
		request, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+address, http.NoBody)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer func() { _ = response.Body.Close() }()
		body := make([]byte, 10)
		n, _ := response.Body.Read(body)
		answered <- string(body[:n])
	}()
	<-entered
	cancel()
	close(leave)
	if got := <-answered; got != "the answer" {
		t.Errorf("it was answered %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAnAddressThatIsTakenIsSaid(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	err = listenAndServe(t.Context(), &http.Server{Addr: listener.Addr().String(), ReadHeaderTimeout: time.Second}, 0)
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("the error is %v", err)
	}
}

// Pages that cannot be served end their process: else it would be called ready as soon as it has keys.
func TestPagesWhoseAddressIsTakenEnd(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	pages := newPages(t, keysFolder(t))
	pages.server.Addr = listener.Addr().String()
	ended := make(chan error, 1)
	go func() {
		ended <- serveBeside(t.Context(), pages.Start, []*http.Server{besideServer("127.0.0.1:0", pages.probes())})
	}()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("the error is %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the process goes on without pages")
	}
}

// freeAddress is one that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestTheMetricsAreAtAnAddressOfTheirOwn(t *testing.T) {
	pages := newPages(t, keysFolder(t))
	if err := metrics.Registry.Register(pages.metrics); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { metrics.Registry.Unregister(pages.metrics) })
	// Whoever comes to the pages finds nothing, whatever they call the path.
	for _, path := range []string{"/metrics", "/metrics/", "//metrics", "/debug/pprof/", "/healthz", "/readyz"} {
		recorder := httptest.NewRecorder()
		pages.server.Handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		if recorder.Code != http.StatusNotFound || strings.Contains(recorder.Body.String(), "oauth_operator_") {
			t.Errorf("the pages answer %s with %d", path, recorder.Code)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	address := freeAddress(t)
	ended := make(chan error, 1)
	go func() {
		ended <- serveBeside(ctx, func(ctx context.Context) error { <-ctx.Done(); return nil }, []*http.Server{besideServer(address, metricsHandler())})
	}()
	var text string
	eventually(t, func() (is bool) {
		_, text = get(t, "http://"+address+"/metrics")
		return strings.Contains(text, "oauth_operator_")
	})
	for _, wanted := range []string{
		`oauth_operator_consent_requests_total{answer="nothing"} 6`, "oauth_operator_consent_keys_usable 0", "oauth_operator_consent_build_info{",
		"process_resident_memory_bytes", "go_goroutines",
	} {
		if !strings.Contains(text, wanted) {
			t.Errorf("the metrics lack %s", wanted)
		}
	}
	if code, _ := get(t, "http://"+address+"/connect"); code != http.StatusNotFound {
		t.Errorf("beside the metrics there is /connect: %d", code)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWhatNobodyCanMeasureIsNotServed(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	err = serveBeside(t.Context(), func(ctx context.Context) error { <-ctx.Done(); return nil },
		[]*http.Server{besideServer("127.0.0.1:0", http.NotFoundHandler()), besideServer(listener.Addr().String(), metricsHandler())})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("the error is %v", err)
	}
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to that")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
