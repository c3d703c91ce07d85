package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// api is an API that remembers what it was called with, and accepts one token.
type api struct {
	*httptest.Server
	ca string

	mu    sync.Mutex
	calls []http.Header
	good  string
}

func newAPI(t *testing.T, good string) *api {
	t.Helper()
	a := &api{good: good}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.calls = append(a.calls, r.Header)
		if r.Header.Get("Authorization") != "Bearer "+a.good {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(a.Close)
	a.ca = filepath.Join(t.TempDir(), "ca.crt")
	writeFile(t, a.ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})))
	return a
}

func (a *api) seen() []http.Header {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

// await returns the first call that is as wanted, and waits for it.
func (a *api) await(t *testing.T, wanted func(http.Header) bool) http.Header {
	t.Helper()
	var found http.Header
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		at := slices.IndexFunc(a.seen(), wanted)
		if at >= 0 {
			found = a.seen()[at]
		}
		return at >= 0, nil
	})
	if err != nil {
		t.Fatalf("wait for a call: %v", err)
	}
	return found
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEachCallSendsWhatTheFileSaysThen(t *testing.T) {
	t.Parallel()
	a, folder := newAPI(t, "two"), t.TempDir()
	headers := filepath.Join(folder, "headers")
	writeFile(t, headers, "Authorization: Bearer two\non-behalf-of: acct_1\n")
	ctx, cancel := context.WithCancel(t.Context())
	var log bytes.Buffer
	ended := make(chan error)
	go func() {
		ended <- run(ctx, []string{"--name=w", "--secret=" + folder, "--ca=" + a.ca, "--url=" + a.URL, "--rate=200"}, &log)
	}()
	first := a.await(t, func(http.Header) bool { return true })
	if first.Get("Authorization") != "Bearer two" || first.Get("on-behalf-of") != "acct_1" || first.Get("Test-Workload") != "w" {
		t.Error("the first call did not have the headers of the file")
	}
	writeFile(t, headers, "Authorization: Bearer three\n")
	later := a.await(t, func(call http.Header) bool { return call.Get("Authorization") == "Bearer three" })
	if later.Get("on-behalf-of") != "" {
		t.Error("a header was remembered that the file does not have any more")
	}
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "calls failed") {
		t.Errorf("error %v, want one since calls were refused", err)
	}
	if text := log.String(); !strings.Contains(text, "401 Unauthorized") || strings.Contains(text, "three") {
		t.Error("the log must tell of the refusal, and must not have the token in it")
	}
}

func TestAFileThatIsMissingIsAFailedCall(t *testing.T) {
	t.Parallel()
	a := newAPI(t, "one")
	w := &workload{settings: settings{folder: t.TempDir(), urls: []string{a.URL}}, client: a.Client()}
	if err := w.call(t.Context(), a.URL); err == nil {
		t.Error("a call was made without the file")
	}
	if len(a.seen()) > 0 {
		t.Error("the API was called without a token")
	}
}
