// Package proxy stands between the operator and the servers that it speaks to, the API server and a provider, so that a test
// can hold, refuse, cut and lose single requests and replies, and knows to the microsecond when it did.
//
// What it passes on it passes unchanged, the bearer token and the streams of watches included. It must never decide
// anything itself, and never write a body or a header into its records.
package proxy

import (
	"bytes"
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
	"sync/atomic"
	"time"
)

// bodyLimit is more than the API server takes in one object.
const bodyLimit = 8 << 20

// Class says what a request is about, in the words of whoever plays with it. The proxy only writes it down.
type Class struct {
	Kind    string `json:"kind,omitempty"`
	Account string `json:"account,omitempty"`
	// Claim is the id of the claim that a status has in it.
	Claim string `json:"claim,omitempty"`
	// Fingerprint is that of the refresh token that is presented.
	Fingerprint string `json:"fingerprint,omitempty"`
}

// Request is a request that changes something, with its whole body.
type Request struct {
	ID       uint64
	Proxy    string
	Method   string
	Path     string
	RawQuery string
	Body     []byte
	Received time.Time
	// Class is set by Direct.
	Class Class

	header http.Header
}

// Answer is what the server said.
type Answer struct {
	Status int
	Body   []byte

	header http.Header
}

// Options describe a proxy.
type Options struct {
	// Name goes into the records.
	Name string
	// Listen is a TCP address on loopback, "127.0.0.1:0" when empty.
	Listen string
	// Certificate has the proxy serve https. Without it, http.
	Certificate *tls.Certificate
	// Upstream is scheme, host and port of the server, UpstreamTLS how to trust it.
	Upstream    string
	UpstreamTLS *tls.Config
	// Direct is asked about each request that is not a read; it fills in the class. Nil: the request passes, unrecorded.
	Direct func(*Request) *Treatment
	// Answered is told the server's answer before anything of it is delivered. It must not block.
	Answered func(*Request, *Answer)
	// Record takes the record of each request that Direct returned a treatment for, when it is over.
	Record func(Record)
}

// Proxy is a running proxy. Its methods are safe for concurrent use.
type Proxy struct {
	// URL is scheme, host and port where it listens.
	URL string

	options  Options
	server   *http.Server
	upstream *url.URL
	through  *httputil.ReverseProxy
	client   *http.Transport
	requests atomic.Uint64
}

// Start starts a proxy. The caller must call Close.
func Start(ctx context.Context, options Options) (*Proxy, error) {
	upstream, err := url.Parse(options.Upstream)
	if err != nil {
		return nil, fmt.Errorf("the proxy's upstream: %w", err)
	}
	address := options.Listen
	if address == "" {
		address = "127.0.0.1:0"
	}
	socket, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("start the proxy: %w", err)
	}
	p := &Proxy{
		options: options, upstream: upstream, URL: "http://" + socket.Addr().String(),
		client: &http.Transport{TLSClientConfig: options.UpstreamTLS, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64, DisableCompression: true},
	}
	p.through = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport:     p.client,
		FlushInterval: -1, // what the server writes on a watch is wanted at once
		ErrorLog:      quiet(),
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute, ErrorLog: quiet()}
	if options.Certificate == nil {
		go func() { _ = p.server.Serve(socket) }()
		return p, nil
	}
	p.URL = "https://" + socket.Addr().String()
	// HTTP/2 would put all requests on one connection, and none could be cut without the others.
	p.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*options.Certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	p.server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	go func() { _ = p.server.ServeTLS(socket, "", "") }()
	return p, nil
}

// Close cuts all connections.
func (p *Proxy) Close() error {
	err := p.server.Close()
	p.client.CloseIdleConnections()
	return err
}

// ServeHTTP treats one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || p.options.Direct == nil {
		p.through.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit))
	received := time.Now()
	if err != nil {
		reset(w)
		return
	}
	request := &Request{
		ID: p.requests.Add(1), Proxy: p.options.Name, Method: r.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery,
		Body: body, Received: received, header: r.Header,
	}
	treatment := p.options.Direct(request)
	if treatment == nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		p.through.ServeHTTP(w, r)
		return
	}
	passage := &passage{proxy: p, request: request, treatment: treatment, writer: w, gone: r.Context().Done()}
	passage.run(context.WithoutCancel(r.Context()))
	if p.options.Record != nil {
		p.options.Record(passage.record())
	}
}

// forward sends the request to the server, or the first half of it, and returns the answer.
func (p *Proxy) forward(ctx context.Context, request *Request, half bool) (*Answer, error) {
	body := io.Reader(bytes.NewReader(request.Body))
	if half {
		body = io.MultiReader(bytes.NewReader(request.Body[:len(request.Body)/2]), broken{})
	}
	target := *p.upstream
	target.Path, target.RawQuery = request.Path, request.RawQuery
	out, err := http.NewRequestWithContext(ctx, request.Method, target.String(), body)
	if err != nil {
		return nil, err
	}
	out.Header = request.header.Clone()
	for _, hop := range []string{"Connection", "Keep-Alive", "Accept-Encoding"} {
		out.Header.Del(hop)
	}
	out.ContentLength = int64(len(request.Body))
	response, err := p.client.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	return &Answer{Status: response.StatusCode, Body: content, header: response.Header}, nil
}

// broken is the end of a request that was cut.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("cut") }

// reset ends the connection with a reset rather than in order.
func reset(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	raw := connection
	if secure, ok := connection.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
	if plain, ok := raw.(*net.TCPConn); ok {
		_ = plain.SetLinger(0)
	}
	_ = raw.Close()
}

// quiet discards: clients that die are this package's business.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
