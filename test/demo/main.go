// Command demo shows the operator at work on this machine: a real control plane, a provider on loopback whose tokens live
// for seconds, and workloads that call its API all the time with nothing but the files of their Secrets.
//
// It ends by itself, with the words of the program verdict, which knows nothing but the provider's ledger and the API
// server's audit log. With KEEP=1 in the environment all of it goes on running until Ctrl-C. It must never print a token,
// and never help the operator along.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

const (
	// tokenLifetime leaves the workloads time: a token is renewed a third of it, 5 s, before it ends, and the stand-in for
	// the kubelet takes up to 2 s of that.
	tokenLifetime = 15 * time.Second
	// leastRun is how long the workloads call at least, and leastRenewals how often each token is renewed meanwhile. A
	// renewal comes every 10 s at the latest; mostRun is the time after which it is no use to wait on.
	leastRun      = 36 * time.Second
	leastRenewals = 3
	mostRun       = 70 * time.Second
	// leastRotations is how many refresh tokens of each customer's account are spent meanwhile. Their access tokens are
	// renewed importLead before they end, so after 6 or 7 s.
	leastRotations = 5
	importLead     = 8 * time.Second
	// bound is how long anything else is waited for. It takes a second or so, and more only on a busy machine.
	bound        = 30 * time.Second
	pollInterval = 50 * time.Millisecond

	keepVariable = "KEEP"
	// consentVariable says who plays the customers: browser, or the demo.
	consentVariable = "CONSENT"
	// installationVariable names manifests to install in place of config/demo, as a PATH does: those of the Helm chart, with the
	// consent pages as a Deployment of their own.
	installationVariable = "INSTALLATION"

	exitInterrupted = 130
)

// demo is a run.
type demo struct {
	screen   *screen
	stage    *stage.Stage
	programs string
	// developer is the kubeconfig of the user of the namespace; accounts reads as admin, for the table.
	developer string
	accounts  client.Client
	samples   []stage.Sample
	// browser: the customers are whoever has started the demo.
	browser bool
	// installation are manifests in place of config/demo.
	installation []string
	tally        *tally
	seed         uint64

	operator  *stage.Operator
	kubelet   *stage.Process
	workloads []*stage.Process
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	keep := os.Getenv(keepVariable)
	code := run(ctx, os.Stdout, keep != "" && keep != "0", os.Getenv(consentVariable) == "browser")
	stop()
	os.Exit(code)
}

// run returns the exit code.
func run(ctx context.Context, terminal *os.File, keep, browser bool) int {
	d := &demo{screen: newScreen(terminal), browser: browser, installation: filepath.SplitList(os.Getenv(installationVariable))}
	d.screen.print(fmt.Sprintf(explanation, d.customers()))
	err := d.prepare(ctx)
	if err == nil {
		err = errors.Join(d.play(ctx), d.searchOutput(ctx), d.stopActors())
	}
	d.screen.stop()
	switch {
	case d.tally == nil: // nothing has happened that could be judged
		return d.fail(err)
	case ctx.Err() != nil:
		return d.interrupted()
	case err == nil && keep:
		return d.keepRunning(ctx)
	}
	return d.finish(ctx, errors.Join(err, d.stage.Stop()))
}

// prepare sets everything up, until each workload calls the API.
func (d *demo) prepare(ctx context.Context) error {
	folder, err := os.MkdirTemp("", "oauth-operator-demo-")
	if err != nil {
		return err
	}
	if d.programs, err = findPrograms(ctx, folder); err != nil {
		return err
	}
	d.stage, err = stage.Start(ctx, stage.Options{Dir: folder, Programs: d.programs, TokenLifetime: tokenLifetime, Consent: true, Manifests: d.installation, Log: d.screen.lines()})
	if err != nil {
		return err
	}
	if d.accounts, err = d.reader(); err != nil {
		return err
	}
	d.tally = newTally(d.stage.Provider.Ledger)
	if d.operator, err = d.startOperator(ctx); err != nil {
		return err
	}
	if d.pagesApart() {
		if _, err := d.stage.StartConsent(ctx, 1); err != nil {
			return err
		}
	}
	if d.samples, err = d.stage.ApplySamples(ctx); err != nil {
		return err
	}
	imports, err := d.stage.ApplyImports(ctx, stage.ImportOptions{RefreshBefore: importLead})
	if err != nil {
		return err
	}
	d.samples = append(d.samples, imports...)
	d.screen.sayf("the user has put the refresh tokens of %d consents, given elsewhere, into Secrets for the operator to take over", len(imports))
	if d.developer, err = d.stage.Kubeconfig(ctx, stage.Namespace, stage.Developer); err != nil {
		return err
	}
	if err := d.connect(ctx); err != nil {
		return err
	}
	if err := d.startActors(ctx); err != nil {
		return err
	}
	d.screen.sayf("each workload has its token and calls the API, 10 times a second")
	return nil
}

// startOperator starts it in the one pod that the demo has: whatever ends it, its journal is there again.
func (d *demo) startOperator(ctx context.Context, flags ...string) (*stage.Operator, error) {
	return d.stage.StartOperator(ctx, stage.OperatorOptions{JournalDir: filepath.Join(d.stage.Dir, "journal"), ExtraArgs: flags, Pages: !d.pagesApart()})
}

// pagesApart reports whether the consent pages are a Deployment of the installation; if not, the operator serves them as well.
func (d *demo) pagesApart() bool { return len(d.installation) > 0 }

// findPrograms returns the folder of the demo's programs: that of this one, or where they are not, a new one.
func findPrograms(ctx context.Context, folder string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(self), "verdict")); err == nil {
		return filepath.Dir(self), nil
	}
	root, err := stage.Root("")
	if err != nil {
		return "", err
	}
	into := filepath.Join(folder, "bin")
	return into, stage.Build(ctx, root, into, "./test/demo/...", "./test/provider/cmd/provider")
}

func (d *demo) reader() (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return client.New(d.stage.Cluster.Admin, client.Options{Scheme: scheme})
}

// await waits until something has come about, and no longer than all programs run.
func (d *demo) await(ctx context.Context, what string, limit time.Duration, done func(context.Context) (bool, error)) error {
	err := wait.PollUntilContextTimeout(ctx, pollInterval, limit, true, func(ctx context.Context) (bool, error) {
		if err := d.ended(); err != nil {
			return false, err
		}
		return done(ctx)
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", what, err)
	}
	return nil
}

// ended finds a program that should run and does not.
func (d *demo) ended() error {
	processes := append([]*stage.Process{d.kubelet, d.stage.Provider.Process}, d.workloads...)
	if d.operator != nil {
		processes = append(processes, d.operator.Process)
	}
	for _, process := range processes {
		if process != nil && process.Ended() {
			return fmt.Errorf("%s has ended: %s", process.Name, process.LastLines())
		}
	}
	return nil
}

// finish has the verdict spoken and returns the exit code. The verdict's last line is the last that is printed, unless
// only the demo knows what went wrong.
func (d *demo) finish(ctx context.Context, err error) int {
	reasons, last, code := d.verdict(ctx)
	if err == nil && code == 0 {
		err = d.stage.Remove()
	}
	if err == nil && code == 0 {
		d.screen.print(reasons + last + "\n")
		return 0
	}
	if err != nil {
		d.screen.print(fmt.Sprintf("wrong: %v\n", err))
	}
	d.screen.print(reasons + "\nEverything of this run is in " + d.stage.Dir + "\n" + last + "\n")
	if code == 0 {
		d.screen.print("demo: failed for the reasons above\n")
	}
	return max(code, 1)
}

// verdict runs the program verdict. It is told where two files are, and nothing else.
func (d *demo) verdict(ctx context.Context) (reasons, last string, code int) {
	command := exec.CommandContext(ctx, filepath.Join(d.programs, "verdict"), "--ledger="+d.stage.Provider.Ledger, "--audit="+d.stage.Cluster.AuditLog)
	command.Env = []string{}
	command.Stderr = os.Stderr
	output, err := command.Output()
	text := strings.TrimRight(string(output), "\n")
	at := strings.LastIndexByte(text, '\n') + 1
	if err != nil {
		code = 1
	}
	return text[:at], text[at:], code
}

func (d *demo) fail(err error) int {
	if d.stage != nil {
		err = errors.Join(err, d.stage.Stop())
		d.screen.print("\nEverything of this run is in " + d.stage.Dir + "\n")
	}
	d.screen.print(fmt.Sprintf("demo: failed: %v\n", err))
	return 1
}

func (d *demo) interrupted() int {
	if err := errors.Join(d.stage.Stop(), d.stage.Remove()); err != nil {
		return d.fail(err)
	}
	d.screen.print("\ndemo: interrupted; everything is stopped and removed\n")
	return exitInterrupted
}

// lineWriter gives whole lines to a function.
type lineWriter struct {
	rest string
	take func(line string)
}

var _ io.Writer = &lineWriter{}

// Write is part of io.Writer.
func (w *lineWriter) Write(text []byte) (int, error) {
	w.rest += string(text)
	for {
		line, rest, found := strings.Cut(w.rest, "\n")
		if !found {
			return len(text), nil
		}
		w.take(line)
		w.rest = rest
	}
}
