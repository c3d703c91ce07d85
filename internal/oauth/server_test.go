package oauth_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

const (
	testClientID     = "the-client"
	testClientSecret = "pl4nted-client-s3cret"
	testToken        = "pl4nted-access-t0ken"
	testRefreshToken = "pl4nted-r3fresh-token"
	heldRefreshToken = "pl4nted-held-r3fresh" //nolint:gosec // invented, to be searched for
	short            = 300 * time.Millisecond
	long             = 20 * time.Second
	goodBody         = `{"access_token":"` + testToken + `","token_type":"Bearer","expires_in":3600}`
)

// request is what the server saw of one request, whole.
type request struct {
	method, target, body string
	header               http.Header
}

// responder writes what it likes to the connection after a whole request was read, and says whether to read on.
type responder func(conn net.Conn, seen request) (readOn bool)

// server is a raw server: it counts connections and whole requests, and every byte above TLS.
type server struct {
	listener net.Listener
	respond  responder
	done     chan struct{} // closed when the test ends, for responders that hang
	arrived  chan struct{} // gets a value for each request

	mu          sync.Mutex
	connections int
	bytes       int
	requests    []request
}

func serve(t *testing.T, respond responder) *server {
	t.Helper()
	return serveOn(t, listen(t), respond)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // may be closed already
	return listener
}

func serveTLS(t *testing.T, config *tls.Config, respond responder) *server {
	t.Helper()
	return serveOn(t, tls.NewListener(listen(t), config), respond)
}

func serveOn(t *testing.T, listener net.Listener, respond responder) *server {
	t.Helper()
	s := &server{listener: listener, respond: respond, done: make(chan struct{}), arrived: make(chan struct{}, 1000)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.connections++
			s.mu.Unlock()
			running.Go(func() { s.handle(conn) })
		}
	})
	t.Cleanup(func() {
		close(s.done)
		_ = listener.Close()
		running.Wait()
	})
	return s
}

// countingReader is the reader below the request parser.
type countingReader struct {
	io.Reader
	server *server
}

func (r countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.server.mu.Lock()
	r.server.bytes += n
	r.server.mu.Unlock()
	return n, err
}

func (s *server) handle(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	ended := make(chan struct{})
	defer close(ended)
	go func() { // a connection that is still open when the test ends must not hold it up
		select {
		case <-s.done:
			_ = conn.Close()
		case <-ended:
		}
	}()
	in := bufio.NewReader(countingReader{conn, s})
	for {
		parsed, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(parsed.Body)
		if err != nil {
			return
		}
		if parsed.Method == http.MethodGet && parsed.RequestURI == "/healthz" {
			return // somebody waits for a server that had this port in mind: other tests start control planes
		}
		seen := request{parsed.Method, parsed.RequestURI, string(body), parsed.Header}
		s.mu.Lock()
		s.requests = append(s.requests, seen)
		s.mu.Unlock()
		select {
		case s.arrived <- struct{}{}:
		default: // a test that makes so many does not wait for them
		}
		if !s.respond(conn, seen) {
			return
		}
	}
}

func (s *server) counts() (connections, bytes, requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections, s.bytes, len(s.requests)
}

func (s *server) seen() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.requests...)
}

func (s *server) port() string {
	_, port, _ := net.SplitHostPort(s.listener.Addr().String())
	return port
}

func (s *server) url() string { return "http://127.0.0.1:" + s.port() + "/token" }

// raw answers with these bytes and closes.
func raw(answer string) responder {
	return func(conn net.Conn, _ request) bool {
		_, _ = io.WriteString(conn, answer)
		return false
	}
}

// answer is a whole HTTP answer; the connection stays open.
func answer(status int, contentType, body string, headers ...string) responder {
	return func(conn net.Conn, _ request) bool {
		_, err := io.WriteString(conn, httpAnswer(status, contentType, body, headers...))
		return err == nil
	}
}

func httpAnswer(status int, contentType, body string, headers ...string) string {
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Length: %d\r\n", status, http.StatusText(status), len(body))
	if contentType != "" {
		head += "Content-Type: " + contentType + "\r\n"
	}
	for _, header := range headers {
		head += header + "\r\n"
	}
	return head + "\r\n" + body
}

// ok answers 200 with a JSON body.
func ok(body string) responder { return answer(200, "application/json", body) }

// reset closes the connection so that the client sees a reset.
func reset(conn net.Conn) {
	if secured, isTLS := conn.(*tls.Conn); isTLS {
		conn = secured.NetConn()
	}
	if tcp, isTCP := conn.(*net.TCPConn); isTCP {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func newClient(t *testing.T, change func(*oauth.Options)) *oauth.Client {
	t.Helper()
	options := oauth.Options{Clock: clock.RealClock{}, Egress: oauth.Egress{AllowLoopback: true}}
	if change != nil {
		change(&options)
	}
	client, err := oauth.NewClient(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func registration(endpoint string) oauth.Registration {
	return oauth.Registration{
		TokenEndpoint: endpoint,
		ClientID:      testClientID,
		ClientSecret:  secret.New(testClientSecret),
		Method:        oauth.ClientSecretPost,
		Timeout:       long,
	}
}

func credentials(scopes ...string) oauth.GrantRequest {
	return oauth.GrantRequest{Grant: oauth.GrantClientCredentials, Scopes: scopes}
}

func refreshWith(token string, scopes ...string) oauth.GrantRequest {
	return oauth.GrantRequest{Grant: oauth.GrantRefreshToken, RefreshToken: secret.New(token), Scopes: scopes}
}

const (
	testCode     = "pl4nted-c0de"
	testVerifier = "pl4nted-verifier-pl4nted-verifier-pl4nted-v"
	testRedirect = "https://oauth.example.com/callback/platform/smartbusiness"
)

func redeem(code string, scopes ...string) oauth.GrantRequest {
	return oauth.GrantRequest{
		Grant: oauth.GrantAuthorizationCode, Code: secret.New(code), RedirectURI: testRedirect, Verifier: secret.New(testVerifier), Scopes: scopes,
	}
}

// authority signs certificates for one test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	return authorityFor(t)
}

func authorityFor(tb testing.TB) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<37, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &authority{certificate, key}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// config serves a certificate for 127.0.0.1 and provider.test, changed by change.
func (a *authority) config(t *testing.T, change func(*x509.Certificate)) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: testClientSecret}, // hostile: see the leak test
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<37, 0),
		DNSNames: []string{"provider.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// resolver answers every question for an address with what lookup says then.
func resolver(t *testing.T, lookup func() []netip.Addr) *net.Resolver {
	t.Helper()
	socket, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		question := make([]byte, 512)
		for {
			n, from, err := socket.ReadFrom(question)
			if err != nil {
				return
			}
			_, _ = socket.WriteTo(dnsAnswer(question[:n], lookup()), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

// dnsAnswer is a DNS message (RFC 1035 section 4) that answers an A or AAAA question with those addresses that fit.
func dnsAnswer(question []byte, addrs []netip.Addr) []byte {
	end := 12
	for question[end] != 0 {
		end += int(question[end]) + 1
	}
	kind := question[end+2]
	end += 5
	out := append([]byte{question[0], question[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question[12:end]...)
	for _, addr := range addrs {
		if addr.Is4() != (kind == 1) {
			continue
		}
		out[7]++
		length := byte(16)
		if addr.Is4() {
			length = 4
		}
		out = append(out, 0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, length)
		out = append(out, addr.AsSlice()...)
	}
	return out
}

// leaks reports the encodings in which text holds the secret.
func leaks(text, planted string) (found []string) {
	for name, form := range encodings(planted) {
		if strings.Contains(text, form) {
			found = append(found, name)
		}
	}
	return found
}
