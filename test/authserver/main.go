// Command authserver is an OAuth 2.0 authorization server for tests, made of github.com/ory/fosite: authorization codes with
// PKCE, refresh tokens that are good for one use and whose second use ends the whole grant, and revocation. What is OAuth
// about it is that library's; this program adds the people, the pages, and a ledger.
//
// It is the second opinion beside test/provider, which this project wrote itself and which therefore shares whatever this
// project has misunderstood. It must never be changed to suit the operator.
//
// When it serves it prints one line, "authserver: listening on URL". It ends on SIGTERM or SIGINT. Tokens are in memory only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	headerTimeout = 10 * time.Second
	closeTimeout  = time.Second
)

type settings struct {
	config    string
	listen    string
	certDir   string
	ledger    string
	lifetimes lifetimes
}

// lifetimes are those of clients that have none of their own, and of codes.
type lifetimes struct {
	access, refresh, code time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "authserver:", err)
		}
		os.Exit(1)
	}
}

func parse(arguments []string, stderr io.Writer) (settings, error) {
	var set settings
	flags := flag.NewFlagSet("authserver", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&set.config, "config", "", "JSON file with the clients and the users (required)")
	flags.StringVar(&set.listen, "listen", "127.0.0.1:0", "loopback address to serve https on")
	flags.StringVar(&set.certDir, "tls-cert-dir", "", "folder to write the CA's certificate to, as ca.crt (required)")
	flags.StringVar(&set.ledger, "ledger", "", "file to append what happens to; none if empty")
	flags.DurationVar(&set.lifetimes.access, "access-token-lifetime", time.Hour, "how long access tokens live, where the client says nothing")
	flags.DurationVar(&set.lifetimes.refresh, "refresh-token-lifetime", 30*24*time.Hour, "how long an unused refresh token lives, where the client says nothing")
	flags.DurationVar(&set.lifetimes.code, "code-lifetime", time.Minute, "how long authorization codes live")
	if err := flags.Parse(arguments); err != nil {
		return set, err
	}
	if set.config == "" || set.certDir == "" || flags.NArg() > 0 {
		return set, errors.New("usage: authserver --config FILE --tls-cert-dir DIR [flags]; --help lists them")
	}
	return set, nil
}

func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) error {
	set, err := parse(arguments, stderr)
	if err != nil {
		return err
	}
	known, err := readConfig(set.config)
	if err != nil {
		return err
	}
	entries, err := openLedger(set.ledger)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, set.listen)
	if err != nil {
		return err
	}
	server, err := newServer(ctx, known, set.lifetimes, "https://"+listener.Addr().String(), entries)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	return serve(ctx, listener, server.routes(), set.certDir, stdout)
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if at, is := listener.Addr().(*net.TCPAddr); !is || !at.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("%s is no loopback address", address), listener.Close())
	}
	return listener, nil
}

// serve serves until the context ends.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, certDir string, stdout io.Writer) error {
	certificate, authority, err := newCertificate()
	if err != nil {
		return err
	}
	if err := writeAuthority(certDir, authority); err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout, TLSConfig: tlsConfig(certificate)}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	if _, err := fmt.Fprintf(stdout, "authserver: listening on https://%s\n", listener.Addr()); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		return server.Close() // a connection that nobody uses is no reason to wait
	}
	return nil
}
