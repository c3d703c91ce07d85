package stage

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

const (
	frontHeaderTimeout = 10 * time.Second
	// forwardedFor is where a proxy says for whom it asks.
	forwardedFor = "X-Forwarded-For"
)

// Front stands for the Ingress of an installation: it has the certificate of the public URL, and hands requests on to the
// consent pages, wherever they run at the moment.
type Front struct {
	// URL is what people and providers know the pages by, and Address where they are.
	URL, Address string
	// CAFile holds the certificate of the CA that signed its certificate, in PEM.
	CAFile string

	server *http.Server

	mu       sync.Mutex
	backends []string
	next     int
}

// startFront begins to serve: with 502 until there is a backend.
func (s *Stage) startFront(ctx context.Context) (*Front, error) {
	certificate, authority, err := provider.NewCertificate()
	if err != nil {
		return nil, err
	}
	front := &Front{CAFile: filepath.Join(s.Dir, "front", "ca.crt")}
	if err := os.MkdirAll(filepath.Dir(front.CAFile), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(front.CAFile, authority, 0o600); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the consent pages: %w", err)
	}
	front.Address = listener.Addr().String()
	front.URL = "https://" + cmp.Or(s.options.ConsentHost, front.Address)
	silent := log.New(io.Discard, "", 0) // a browser that goes away is no news
	front.server = &http.Server{
		Handler:           &httputil.ReverseProxy{Rewrite: front.rewrite, ErrorLog: silent},
		ReadHeaderTimeout: frontHeaderTimeout, ErrorLog: silent,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
	}
	go func() { _ = front.server.ServeTLS(listener, "", "") }() // it ends with stop
	s.logf("the consent pages will be at %s", front.URL)
	return front, nil
}

// Serve hands requests on to these addresses from now on, in turn.
func (f *Front) Serve(backends ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backends = backends
}

// rewrite says who asks, after what the request says of that itself: there may be another proxy in front of this one, and
// whom to believe is for the pages to know.
func (f *Front) rewrite(request *httputil.ProxyRequest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	target := &url.URL{Scheme: "http", Host: "127.0.0.1:1"} // nobody is there
	if len(f.backends) > 0 {
		target.Host = f.backends[f.next%len(f.backends)]
		f.next++
	}
	request.SetURL(target)
	request.Out.Host = request.In.Host
	request.Out.Header[forwardedFor] = request.In.Header[forwardedFor]
	request.SetXForwarded()
}

func (f *Front) stop() error {
	if err := f.server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stop what stands before the consent pages: %w", err)
	}
	return nil
}
