// Package oauth speaks OAuth 2.0 over HTTP: it builds one token request, sends it once, reads the answer strictly and
// sorts every failure into a class that says what follows.
//
// It must never send a request twice, follow a redirect, guess an authentication method, take an endpoint from an
// answer, connect to an address that Egress refuses, or let a secret or the server's own words out in an error or a
// log. It knows nothing of Kubernetes, keeps nothing, and decides nothing about when to ask again.
package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"k8s.io/utils/clock"
)

const (
	maxHeaderBytes = 64 << 10
	// A whole request, with any refresh token and parameters that a provider is known to want, goes out in one write: a time
	// limit that is reached between two writes would leave a request of which some bytes were sent, and with it a doubt.
	writeBufferBytes = 64 << 10
	// Servers close idle connections after 5 s (Node.js) to 75 s. A request that meets such a close was written and has
	// no answer: for a single-use token that is a doubt which costs far more than a handshake.
	idleTimeout = 4 * time.Second
	// As many as exchanges of one client run at once by default.
	maxIdleConnections = 8
)

// Options is what a Client is made of.
type Options struct {
	// RootCAs are PEM certificates that replace the system's roots; nil means the system's roots.
	RootCAs []byte
	Egress  Egress
	// Clock is asked for the time of receipt and for the time limit. Required.
	Clock clock.PassiveClock
	// Resolver resolves the endpoints' names; nil means the system's.
	Resolver *net.Resolver
}

// Client makes exchanges. It owns its connections: there is one Client for each registration, CA and client
// certificate, so that no connection is shared between two who must not know of each other. Safe for concurrent use.
type Client struct {
	transport *http.Transport
	dialer    *dialer
	egress    Egress
	clock     clock.PassiveClock
	hold      time.Duration // see maxHold
}

// NewClient makes a Client. It fails if the clock is missing or RootCAs is not a list of PEM certificates.
func NewClient(options Options) (*Client, error) {
	if options.Clock == nil {
		return nil, errors.New("oauth client: a clock is required")
	}
	roots, err := parseRoots(options.RootCAs)
	if err != nil {
		return nil, err
	}
	d := &dialer{
		egress:   options.Egress,
		resolver: options.Resolver,
		limit:    maxHold,
		tls:      &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, NextProtos: []string{"http/1.1"}},
	}
	// HTTP/1.1 only. On an HTTP/2 connection several requests interleave, so nobody could say whether bytes of this one
	// were written, and net/http sends a request again when the server refuses a stream or goes away.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &Client{
		dialer: d,
		egress: options.Egress,
		clock:  options.Clock,
		hold:   maxHold,
		transport: &http.Transport{
			Proxy:                  nil, // the environment has no say in where secrets go
			DialContext:            d.dialPlain,
			DialTLSContext:         d.dialTLS,
			Protocols:              protocols,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeaderBytes,
			WriteBufferSize:        writeBufferBytes,
			MaxIdleConns:           maxIdleConnections,
			MaxIdleConnsPerHost:    maxIdleConnections,
			IdleConnTimeout:        idleTimeout,
		},
	}, nil
}

// Close closes the idle connections. Exchanges under way go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// parseRoots reads PEM certificates. Anything else in the file is an error: x509's own reader skips what it does not
// understand, and a bundle of which half is skipped fails much later, at a handshake.
func parseRoots(bundle []byte) (*x509.CertPool, error) {
	if bundle == nil {
		return nil, nil
	}
	pool := x509.NewCertPool()
	found := false
	for rest := bundle; ; found = true {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("oauth client: the CA bundle holds a PEM block that is not a certificate")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("oauth client: the CA bundle holds a certificate that cannot be parsed")
		}
		pool.AddCert(certificate)
	}
	if !found {
		return nil, errors.New("oauth client: the CA bundle holds no PEM certificate")
	}
	return pool, nil
}

// dialer opens connections to addresses that may be connected to.
type dialer struct {
	egress   Egress
	resolver *net.Resolver
	tls      *tls.Config
	limit    time.Duration // net/http goes on dialling for later requests when the one that wanted it has ended
}

// dialPlain serves http:// endpoints, which exist on loopback only.
func (d *dialer) dialPlain(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, d.limit)
	defer stop()
	inner, err := d.dial(ctx, network, addr, func(target netip.AddrPort) error {
		if ip := target.Addr().Unmap(); !ip.IsLoopback() {
			return &refusedAddressError{ip, reasonPlaintext}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return newConn(inner), nil
}

// dialTLS serves https:// endpoints. The handshake is done here, so that what net/http writes to the connection is the
// request and nothing else, and so that a failed handshake is named without the certificate's text.
func (d *dialer) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, d.limit)
	defer stop()
	inner, err := d.dial(ctx, network, addr, func(netip.AddrPort) error { return nil })
	if err != nil {
		return nil, err
	}
	config := d.tls.Clone()
	config.ServerName = host
	secured := tls.Client(inner, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = inner.Close() // the handshake's error is the one to tell
		return nil, handshakeFailure(err)
	}
	return newConn(secured), nil
}

// dial resolves and connects. The check runs on each address that is about to be connected to, after resolution and
// before the first packet.
func (d *dialer) dial(ctx context.Context, network, addr string, also func(netip.AddrPort) error) (net.Conn, error) {
	control := func(_ context.Context, _, address string, _ syscall.RawConn) error {
		target, err := netip.ParseAddrPort(address)
		if err != nil {
			return &refusedAddressError{netip.Addr{}, reasonNever}
		}
		if err := d.egress.Check(target); err != nil {
			return err
		}
		return also(target)
	}
	netDialer := &net.Dialer{Resolver: d.resolver, ControlContext: control}
	return netDialer.DialContext(ctx, network, addr)
}

// handshakeError is a failed handshake in our words. It keeps nothing of the cause, which quotes the certificate.
type handshakeError struct{ reason string }

func (e *handshakeError) Error() string { return e.reason }

func handshakeFailure(err error) error {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &unknown):
		return &handshakeError{reasonUnknownCA}
	case errors.As(err, &hostname):
		return &handshakeError{reasonWrongHost}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return &handshakeError{reasonExpired}
	case errors.As(err, &verify):
		return &handshakeError{reasonCertificate}
	default:
		return &handshakeError{reasonHandshake}
	}
}
