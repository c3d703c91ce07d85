// Command provider runs the scriptable authorization server of package provider as a process of its own.
//
// When it serves it prints one line, "provider: listening on URL", with ", control on URL" where there is a control
// API. It ends on SIGTERM or SIGINT, when the ledger is synced.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

type settings struct {
	options provider.Options
	config  string
	certDir string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "provider:", err)
		}
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	set, err := parse(args, stderr)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(set.config)
	if err != nil {
		return err
	}
	if set.options.Registrations, err = provider.ParseRegistrations(text); err != nil {
		return err
	}
	server, err := provider.Start(set.options) //nolint:contextcheck // it ends with Close, which syncs the ledger
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }() //nolint:contextcheck // the context has ended by then
	if set.certDir != "" {
		if err := writeCA(set.certDir, server.CAPEM()); err != nil {
			return err
		}
	}
	ready := "provider: listening on " + server.URL()
	if server.ControlURL() != "" {
		ready += ", control on " + server.ControlURL()
	}
	if _, err := fmt.Fprintln(stdout, ready); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var (
		set   settings
		hosts string
		flags = flag.NewFlagSet("provider", flag.ContinueOnError)
	)
	flags.SetOutput(stderr)
	flags.StringVar(&set.config, "config", "", "file with the registrations, YAML or JSON (required)")
	flags.StringVar(&set.options.Listen, "listen", "127.0.0.1:0", "address to serve on")
	flags.StringVar(&set.options.ControlListen, "control", "", "loopback address of the control API; none if empty")
	flags.StringVar(&set.certDir, "tls-cert-dir", "", "serve https, and write the CA's certificate to ca.crt in this directory")
	flags.StringVar(&hosts, "tls-hosts", "", "further names and addresses for the certificate, with commas between")
	flags.StringVar(&set.options.LoginHost, "login-host", "", "another name of this machine, where people log in; the authorization endpoint itself asks if empty")
	flags.StringVar(&set.options.LedgerFile, "ledger", "", "file to append the ledger to; a nameless one if empty")
	flags.DurationVar(&set.options.Retention, "retention", time.Hour, "how long tokens are remembered after their end")
	if err := flags.Parse(args); err != nil {
		return set, err
	}
	if set.config == "" || flags.NArg() > 0 {
		return set, errors.New("usage: provider --config FILE [flags]; --help lists them")
	}
	set.options.TLS = set.certDir != ""
	if hosts != "" {
		set.options.Hosts = strings.Split(hosts, ",")
	}
	return set, nil
}

// writeCA puts the file in place whole: somebody may be waiting for it to appear.
func writeCA(dir string, certificate []byte) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	path := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(path+".new", certificate, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
