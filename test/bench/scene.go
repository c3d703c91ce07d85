package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

const (
	// workers is how many things the bench does at once, in the bare loops as elsewhere: as many accounts as the operator
	// works on at once by default.
	workers = 32
	// slots is the clients' spec.maxConcurrentRequests: the most that there may be.
	slots = 64
	// look is how often the audit log is read while something is waited for.
	look      = 100 * time.Millisecond
	tokenPath = "/connect/token"
	secretKey = "client_secret"
	importKey = "refresh_token"
)

// bench is a run.
type bench struct {
	settings settings
	output   io.Writer
	log      io.Writer
	began    time.Time

	stage *stage.Stage
	// admin is the cluster's, asOperator has the operator's own rights, for the bare loops. Neither has a limit.
	admin      client.WithWatch
	asOperator client.Client
	provider   *provider.Server
	tally      *tally

	operator *stage.Operator
	journal  string

	fleets map[string]*fleet
	rest   resting
	empty  float64 // the operator's heap without accounts, in bytes
	// bare are the rates of the bare loops, in items a second, by writes for each.
	bare    map[int]float64
	figures figures
}

// resting is what is known of the accounts at rest.
type resting struct {
	since  time.Time
	before counts
	calls  int
	starts int
}

// setTheScene starts everything, and says what it is that is measured on.
func setTheScene(ctx context.Context, s settings, output, log io.Writer) (_ *bench, err error) {
	b := &bench{settings: s, output: output, log: log, began: time.Now(), fleets: map[string]*fleet{}, bare: map[int]float64{}}
	defer func() { //nolint:contextcheck // what is closed is closed, whatever has ended
		if err != nil {
			err = errors.Join(err, b.close(false))
		}
	}()
	b.stage, err = stage.Start(ctx, stage.Options{Root: s.root, Dir: s.dir, OperatorBinary: s.operator, Lean: true, Log: log})
	if err != nil {
		return nil, err
	}
	registered := fleetsOf(s)
	var registrations []provider.Registration
	for _, each := range registered {
		registrations = append(registrations, each.registration())
	}
	if b.provider, err = provider.Start(provider.Options{Registrations: registrations}); err != nil { //nolint:contextcheck // it lives until it is closed
		return nil, err
	}
	if !s.wants("M3", "M4", "M5") { // one of them is what the bare loops take for a model
		registered[0].size = 1
	}
	if err := b.connect(ctx); err != nil {
		return nil, err
	}
	b.tally = newTally(b.stage.Cluster.AuditLog)
	if b.journal, err = os.MkdirTemp(b.stage.Dir, "journal-"); err != nil {
		return nil, err
	}
	if err := b.startOperator(ctx); err != nil {
		return nil, err
	}
	b.describe(ctx)
	for _, each := range registered {
		each.server = b.provider
		b.fleets[each.name] = each
	}
	return b, nil
}

func (b *bench) connect(ctx context.Context) error {
	scheme := kruntime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), metav1.AddMetaToScheme(scheme)); err != nil {
		return err
	}
	of := func(config *rest.Config) (client.WithWatch, error) {
		free := rest.CopyConfig(config)
		free.QPS, free.UserAgent = -1, "bench"
		return client.NewWithWatch(free, client.Options{Scheme: scheme})
	}
	var err error
	if b.admin, err = of(b.stage.Cluster.Admin); err != nil {
		return err
	}
	config, err := b.stage.Cluster.ServiceAccountConfig(ctx, stage.OperatorNamespace, stage.OperatorName)
	if err != nil {
		return err
	}
	b.asOperator, err = of(config)
	return err
}

// describe says on what the figures were found, as far as it matters for them.
func (b *bench) describe(ctx context.Context) {
	etcd := filepath.Join(b.stage.Cluster.Dir, "etcd")
	kind := "a disk"
	var file syscall.Statfs_t
	const tmpfs = 0x01021994
	if err := syscall.Statfs(etcd, &file); err == nil && file.Type == tmpfs {
		kind = "memory (tmpfs)"
	}
	version, err := exec.CommandContext(ctx, b.stage.Cluster.Kubectl, "version", "--client", "--output=yaml").Output()
	api := "unknown"
	if err == nil {
		for line := range strings.Lines(string(version)) {
			if name, value, found := strings.Cut(strings.TrimSpace(line), ": "); found && name == "gitVersion" {
				api = value
			}
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	b.report("what this was measured on", table(
		[2]string{"machine", fmt.Sprintf("%d CPUs (%s/%s), load before: %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, strings.TrimSpace(string(load)))},
		[2]string{"control plane", "kube-apiserver " + api + " and etcd, on the same CPUs; no kube-controller-manager"},
		[2]string{"etcd's directory", kind},
		[2]string{"audit", "on, level Metadata, blocking: each request is in a file before it is answered"},
		[2]string{"clients' limits", "the operator's by default: none; the bench's: none"},
		[2]string{"operator", strings.Join(b.operator.Args, " ")},
		[2]string{"provider", "in the bench's process, plain HTTP over loopback, tokens of 49 bytes"},
		[2]string{"OAuthClients", fmt.Sprintf("spec.maxConcurrentRequests %d, but for the default of 8 where one of ten hangs", slots)},
	))
}

// close ends everything, and removes the folder of a run that went well and was not named.
func (b *bench) close(well bool) error {
	var errs []error
	if b.stage != nil {
		errs = append(errs, b.stage.Stop())
		if well && b.settings.dir == "" {
			errs = append(errs, b.stage.Remove())
		} else {
			b.sayf("the records are in %s", b.stage.Dir)
		}
	}
	if b.provider != nil {
		errs = append(errs, b.provider.Close())
	}
	for _, each := range b.fleets {
		if each.server != nil && each.server != b.provider {
			errs = append(errs, each.server.Close())
		}
	}
	return errors.Join(errs...)
}

// sayf is a progress line, report a part of what is found out.
func (b *bench) sayf(format string, args ...any) {
	fmt.Fprintf(b.log, "bench: %4.0f s  "+format+"\n", append([]any{time.Since(b.began).Seconds()}, args...)...) //nolint:errcheck // a progress line
}

func (b *bench) report(title, text string) {
	fmt.Fprintf(b.output, "%s\n%s", title, text) //nolint:errcheck // there is nobody else to tell
}

func (b *bench) startOperator(ctx context.Context) error {
	if b.operator != nil {
		return nil
	}
	var err error
	b.operator, err = b.stage.StartOperator(ctx, stage.OperatorOptions{JournalDir: b.journal, ExtraArgs: b.settings.extra})
	if err != nil {
		return err
	}
	b.rest.starts++
	return b.untilIdle(ctx)
}

func (b *bench) stopOperator(context.Context) error {
	err := b.operator.Stop()
	b.operator = nil
	return err
}

// metrics reads those of the operator's metrics that begin with one of the names, and sums each up over its labels. They tell
// how large its heap is; nothing that it says of its work is a figure.
func (b *bench) metrics(ctx context.Context, names ...string) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.operator.MetricsURL, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	sums := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		for _, name := range names {
			rest, is := strings.CutPrefix(lines.Text(), name)
			if !is || rest == "" || rest[0] != ' ' && rest[0] != '{' {
				continue
			}
			value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
			if err != nil {
				return nil, fmt.Errorf("the metric %q: %w", lines.Text(), err)
			}
			sums[name] += value
		}
	}
	return sums, lines.Err()
}

// quiet is for how long the operator must not have asked for anything to count as idle.
const quiet = 2 * time.Second

// untilIdle waits until the operator leads, and asks the API server for nothing any more. It is not asked whether it is idle:
// its metrics tell of each account, which costs more than what it does.
func (b *bench) untilIdle(ctx context.Context) error {
	began := time.Now()
	_, before, err := b.tally.activity()
	if err != nil {
		return err
	}
	return b.until(ctx, "the operator is idle", func() (bool, error) {
		last, leases, err := b.tally.activity()
		if last.Before(began) {
			last = began
		}
		return leases > before && time.Since(last) >= quiet, err
	})
}

func (b *bench) until(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, b.settings.patience)
	defer cancel()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		if is, err := done(); is || err != nil {
			return err
		}
		if b.operator != nil && b.operator.Ended() {
			return fmt.Errorf("until %s: the operator has ended: %s", what, b.operator.LastLines())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("until %s: %w", what, ctx.Err())
		case <-ticker.C:
		}
	}
}

// each calls a function for all numbers below n, several at once, until one fails.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	working.Wait()
	return context.Cause(ctx)
}

func hostOf(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return parsed.Host
}
