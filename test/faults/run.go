package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/oauth-operator/oauth-operator/test/faults/proxy"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
	"github.com/oauth-operator/oauth-operator/test/provider"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

// runOptions say what is played.
type runOptions struct {
	// name is for messages.
	name string
	// binary is the operator, programs the folder of provider and verdict.
	binary   string
	programs string
	// folder is where everything of the run goes.
	folder string
	seed   uint64
	// phases are played in order, each with its share of accounts of each kind.
	phases []phase
	fleet  map[string]int
	// kinds are the kinds of provider; nil: all.
	kinds []*kind
	log   io.Writer
	// patience is how long an account has to be usable again; 0: settleTime.
	patience time.Duration
	// rest is how long people may be on their way, and codes open; 0: visitTime and restLimit.
	rest time.Duration
}

// run is one play: a cluster, a provider, the operator behind its proxies, and what happens to it.
type run struct {
	runOptions
	stage    *stage.Stage
	director *director
	accounts *fleet
	first    *replica
	second   *replica
	// pages are the consent pages, where they are a process of their own. Nil where nobody consents.
	pages  *replica
	people *records.Writer
	// together: pages and operator are one process at present.
	together bool
	records  string
	faults   *records.Writer
	writers  []*records.Writer
	proxies  []*proxy.Proxy
	// provider and elsewhere are where token requests may go, and must not.
	provider  *proxy.Proxy
	elsewhere *proxy.Proxy
	// suspended: accounts with a short grace are.
	suspended bool
}

// play plays a whole run and leaves its records in the folder that comes back.
func play(ctx context.Context, options runOptions) (_ string, err error) {
	r := &run{runOptions: options, director: newDirector(options.seed)}
	if r.kinds == nil {
		r.kinds = kinds()
	}
	var registrations []provider.Registration
	for _, each := range r.kinds {
		registrations = append(registrations, each.registration())
	}
	r.stage, err = stage.Start(ctx, stage.Options{
		Dir: options.folder, Programs: options.programs, OperatorBinary: options.binary, Registrations: registrations,
		Consent: r.consents(),
	})
	if r.stage != nil {
		defer func() { err = errors.Join(err, r.end()) }()
	}
	if err != nil {
		return "", err
	}
	if err := r.prepare(ctx); err != nil {
		return "", err
	}
	for _, each := range options.phases {
		if err := r.phase(ctx, each); err != nil {
			return "", fmt.Errorf("phase %s: %w\n%s", each.name, err, r.first.lastLines())
		}
	}
	return r.records, r.finish(ctx)
}

// prepare sets up proxies and accounts.
func (r *run) prepare(ctx context.Context) error {
	r.records = filepath.Join(r.stage.Dir, "records")
	if err := os.MkdirAll(r.records, 0o700); err != nil {
		return err
	}
	for _, name := range []string{records.FaultsFile, records.AccountsFile, records.ProxyFile, records.PeopleFile} {
		writer, err := records.Create(r.records, name)
		if err != nil {
			return err
		}
		r.writers = append(r.writers, writer)
	}
	r.faults, r.people = r.writers[0], r.writers[3]
	if err := r.startProviderProxies(ctx); err != nil {
		return err
	}
	var err error
	if r.first, err = r.newReplica(ctx, "first", stage.OperatorName); err != nil {
		return err
	}
	if r.second, err = r.newReplica(ctx, "second", stage.OperatorName); err != nil {
		return err
	}
	if r.consents() {
		if err := r.preparePages(ctx); err != nil {
			return err
		}
	}
	if r.accounts, err = newFleet(r.stage, r.director, r.writers[1], r.provider.URL, r.elsewhere.URL); err != nil {
		return err
	}
	return r.accounts.prepare(ctx, r.kinds)
}

// consents: the accounts begin with a person's consent.
func (r *run) consents() bool { return len(r.kinds) > 0 && r.kinds[0].consents }

// preparePages installs the consent pages, with a proxy of their own before the API server.
func (r *run) preparePages(ctx context.Context) (err error) {
	if err := r.stage.InstallConsent(ctx); err != nil {
		return err
	}
	if r.pages, err = r.newReplica(ctx, "pages", stage.ConsentName); err != nil {
		return err
	}
	r.pages.launch = r.pages.pages
	r.director.consented = (&consents{ledger: r.stage.Provider.Ledger, accounts: map[string]string{}}).accountOf
	return nil
}

// replicas are all that there can be.
func (r *run) replicas() []*replica {
	return slices.DeleteFunc([]*replica{r.first, r.second, r.pages}, func(each *replica) bool { return each == nil })
}

// startProviderProxies starts the proxy before the provider, and one that stands for another host.
func (r *run) startProviderProxies(ctx context.Context) error {
	authority, err := os.ReadFile(r.stage.Provider.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return errors.New("the provider's CA is none")
	}
	trust := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	r.provider, err = r.startProxy(ctx, proxy.Options{
		Name: "provider", Upstream: r.stage.Provider.URL, UpstreamTLS: trust, Direct: r.director.directToken,
	})
	if err != nil {
		return err
	}
	r.elsewhere, err = r.startProxy(ctx, proxy.Options{
		Name: "elsewhere", Upstream: r.stage.Provider.URL, UpstreamTLS: trust, Direct: r.director.directElsewhere,
	})
	return err
}

func (r *run) startProxy(ctx context.Context, options proxy.Options) (*proxy.Proxy, error) {
	options.Answered = r.director.answered
	seen := r.writers[2] // the list grows while requests come in
	options.Record = func(record proxy.Record) { seen.Write(record) }
	started, err := proxy.Start(ctx, options)
	if err == nil {
		r.proxies = append(r.proxies, started)
	}
	return started, err
}

// newReplica starts the proxy of a replica, and writes the kubeconfig that leads there.
func (r *run) newReplica(ctx context.Context, name, account string) (*replica, error) {
	certificate, authority, err := proxy.NewCertificate()
	if err != nil {
		return nil, err
	}
	trust, err := rest.TLSConfigFor(rest.AnonymousClientConfig(r.stage.Cluster.Admin))
	if err != nil {
		return nil, err
	}
	before, err := r.startProxy(ctx, proxy.Options{
		Name: name, Certificate: certificate, Upstream: r.stage.Cluster.Admin.Host, UpstreamTLS: trust, Direct: r.director.direct,
	})
	if err != nil {
		return nil, err
	}
	config, err := r.stage.Cluster.ServiceAccountConfig(ctx, stage.OperatorNamespace, account)
	if err != nil {
		return nil, err
	}
	config.Host, config.CAData, config.CAFile = before.URL, authority, ""
	path := filepath.Join(r.stage.Dir, name+".kubeconfig")
	if err := r.stage.Cluster.WriteKubeconfig(path, config); err != nil {
		return nil, err
	}
	made := &replica{name: name, stage: r.stage, binary: r.binary, kubeconfig: path, faults: r.faults}
	made.launch = made.controllers(false)
	return made, nil
}

// finish stops the operator in order, and gathers the records.
func (r *run) finish(ctx context.Context) error {
	r.director.play(nil)
	for _, each := range r.replicas() {
		if err := each.terminate(); err != nil {
			return err
		}
	}
	final, err := records.Create(r.records, records.FinalFile)
	if err != nil {
		return err
	}
	r.writers = append(r.writers, final)
	if err := errors.Join(r.accounts.final(ctx, final), r.stage.Provider.FlushLedger(ctx)); err != nil {
		return err
	}
	var errs []error
	for _, writer := range r.writers {
		errs = append(errs, writer.Close())
	}
	return errors.Join(append(errs,
		copyFile(r.stage.Provider.Ledger, filepath.Join(r.records, records.LedgerFile)),
		copyFile(r.stage.Cluster.AuditLog, filepath.Join(r.records, records.AuditFile)))...)
}

// end ends all that runs. Proxies come last: what is stopped before may still speak through them.
func (r *run) end() error {
	r.director.play(nil)
	for _, each := range r.replicas() {
		each.abandon()
	}
	err := r.stage.Stop()
	for _, each := range r.proxies {
		err = errors.Join(err, each.Close())
	}
	return err
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o600)
}

func (r *run) logf(format string, arguments ...any) {
	fmt.Fprintf(r.log, "faults: "+r.name+format+"\n", arguments...) //nolint:errcheck // a progress line that cannot be written is no reason to stop
}

// flagsOf are those of the operator that it knows: builds differ.
func flagsOf(ctx context.Context, binary string, wanted ...string) []string {
	help, _ := exec.CommandContext(ctx, binary, "--help").CombinedOutput() // to some, being asked for help is an error
	var known []string
	for _, flag := range wanted {
		name, _, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		if strings.Contains(string(help), "-"+name) {
			known = append(known, flag)
		}
	}
	return known
}

// await waits until something is so, and reports whether it came to be in time.
func await(ctx context.Context, limit time.Duration, so func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			return so()
		case <-ticker.C:
		}
	}
	return true
}

// pause lets time pass.
func pause(ctx context.Context, long time.Duration) {
	await(ctx, long, func() bool { return false })
}
