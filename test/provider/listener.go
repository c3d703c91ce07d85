package provider

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// listener is an HTTP server on an address that it can leave and come back to.
type listener struct {
	address string // where to listen
	bound   string // where the first opening ended up, and each later one goes
	handler http.Handler
	tls     *tls.Config
	server  *http.Server
}

func (l *listener) open() error {
	address := l.address
	if l.bound != "" {
		address = l.bound
	}
	socket, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if l.bound == "" {
		l.bound = socket.Addr().String() // written once, since url reads it without a lock
	}
	l.server = &http.Server{
		Handler:           l.handler,
		TLSConfig:         l.tls,
		ReadHeaderTimeout: 10 * time.Second,
		// Clients that break off are the business of this server, and no news.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	if l.tls != nil {
		go func(server *http.Server) { _ = server.ServeTLS(socket, "", "") }(l.server)
	} else {
		go func(server *http.Server) { _ = server.Serve(socket) }(l.server)
	}
	return nil
}

// close stops listening, and lets requests finish until the context ends.
func (l *listener) close(ctx context.Context) error {
	if l.server == nil || l.server.Shutdown(ctx) == nil {
		return nil
	}
	return l.server.Close()
}

// cut stops listening and closes all connections.
func (l *listener) cut() error { return l.server.Close() }

func (l *listener) url() string {
	if l.tls != nil {
		return "https://" + l.bound
	}
	return "http://" + l.bound
}

// loopbackOnly refuses an address that others could reach: whoever reaches the control API can make tokens.
func loopbackOnly(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("control address: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("control address %q is not on loopback", address)
	}
	return nil
}
