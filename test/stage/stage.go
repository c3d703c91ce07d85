// Package stage sets up all that the operator needs to be seen at work: a control plane with the operator's own
// installation in it, a provider on loopback as a process of its own, and the operator's real binary, with the flags of
// its Deployment and the rights of its ServiceAccount. The demo and the end-to-end tests play on it.
//
// Everything of a run lies in one folder, and whatever is started ends with the process that started it. The package must
// never give the operator more than its installation gives it, nor take any part in what the operator does.
package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// Namespace is where the samples are applied, by a user who has a role there and nowhere else.
const Namespace = "shop"

const (
	// startTimeout bounds the start of one program. It takes a second or two; the bound is for a busy machine.
	startTimeout = 2 * time.Minute
	// pollInterval is how often something is looked at that is waited for.
	pollInterval = 50 * time.Millisecond
)

// auditRules let the audit log have what is written to the operator's two kinds, so that a reader of the log alone can
// follow an account's life. No token is in there: credentials are sealed.
const auditRules = `  - level: Request
    verbs: [create, update, patch]
    resources:
    - group: oauth-operator.dev
`

// Options says what to set up. The zero value serves a test that is run within the checkout.
type Options struct {
	// Root is the checkout, for config/ and for building programs. Empty: looked for from the working directory upwards.
	Root string
	// Dir is the folder of the run. Empty means a temporary one. It is kept until Remove.
	Dir string
	// Programs is a folder in which the program "provider" is looked for, built by the caller. Empty: it is built.
	Programs string
	// OperatorBinary is the operator. Empty means the environment variable OAUTH_OPERATOR; if that is unset too, the
	// operator is built.
	OperatorBinary string
	// TokenLifetime is how long the provider's access tokens live, in whole seconds. 0 means what the contracts
	// document, hours.
	TokenLifetime time.Duration
	// Reuse is what the provider does about a refresh token of the samples' customers that is used a second time. The zero
	// value: it ends the whole grant.
	Reuse provider.ReusePolicy
	// Registrations are further clients at the provider, beside those of the samples. A redirect URI of theirs that begins with
	// a slash is below the URL of the front.
	Registrations []provider.Registration
	// Lean leaves out what a measurement does not need and would pay for: the provider's process, kube-controller-manager, and
	// the bodies in the audit log. There are no samples without that provider.
	Lean bool
	// Consent has a front for the consent pages: their public URL is then known before anything is set up.
	Consent bool
	// ConsentHost is the host that people know the pages by, in place of the front's address: for browsers that are told where
	// it is.
	ConsentHost string
	// LoginHost is another name of this machine, where the provider has people log in. Empty: it asks at its own endpoint.
	LoginHost string
	// NameUsers has the provider say whose access it is, to the clients that people consent to.
	NameUsers bool
	// Log receives a line for each step. Nil discards them.
	Log io.Writer
}

// Stage is what has been set up. Its methods are safe for concurrent use, except Stop and Remove.
type Stage struct {
	Cluster  *cluster.Cluster
	Provider *Provider
	// Front is where people reach the consent pages, with Options.Consent.
	Front *Front
	// Dir is the folder of the run: logs of all programs (*.log), kubeconfigs, the ledger, and the cluster's own folder.
	Dir string
	// Root is the checkout.
	Root string

	options Options

	mu        sync.Mutex
	processes []*Process
	names     map[string]int
}

// Start sets up a control plane with config/demo applied to it, and a provider. The operator is started by StartOperator.
// The caller must call Stop, after a failure as well if a Stage comes back.
func Start(ctx context.Context, options Options) (_ *Stage, err error) {
	s := &Stage{options: options, names: map[string]int{}}
	if s.options.Log == nil {
		s.options.Log = io.Discard
	}
	if s.Root, err = Root(options.Root); err != nil {
		return nil, err
	}
	if s.Dir, err = folder(options.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("set the stage: %w", err), s.Stop())
		}
	}()
	if options.Consent {
		if s.Front, err = s.startFront(ctx); err != nil {
			return s, err
		}
	}
	// Both take seconds and neither needs the other.
	built := make(chan error, 1)
	go func() { built <- s.buildPrograms(ctx) }()
	control := cluster.Options{
		Dir:               filepath.Join(s.Dir, "cluster"),
		ControllerManager: !s.options.Lean,
		Manifests:         []string{filepath.Join(s.Root, "config", "demo")},
		Log:               s.options.Log,
	}
	if !s.options.Lean {
		control.AuditRules = auditRules
	}
	s.Cluster, err = cluster.Start(ctx, control)
	if err = errors.Join(err, <-built); err != nil || s.options.Lean {
		return s, err
	}
	s.Provider, err = s.startProvider(ctx)
	return s, err
}

// Stop ends all programs, the newest first, and then the control plane. The folder of the run stays.
func (s *Stage) Stop() error {
	s.mu.Lock()
	processes := s.processes
	s.processes = nil
	s.mu.Unlock()
	var errs []error
	for i := len(processes) - 1; i >= 0; i-- {
		if process := processes[i]; !process.Ended() {
			errs = append(errs, process.Stop())
		}
	}
	if s.Front != nil {
		errs = append(errs, s.Front.stop())
	}
	if s.Cluster != nil {
		errs = append(errs, s.Cluster.Stop())
	}
	return errors.Join(errs...)
}

// Remove removes the folder of the run.
func (s *Stage) Remove() error { return os.RemoveAll(s.Dir) }

// Root finds the checkout: the given folder, or the one around the working directory that holds the demo's installation.
func Root(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "config", "demo", "kustomization.yaml")); err == nil {
			return folder, nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("no checkout around the working directory: there is no config/demo in any folder above it")
		}
		folder = parent
	}
}

func folder(given string) (string, error) {
	if given == "" {
		return os.MkdirTemp("", "oauth-operator-stage-")
	}
	path, err := filepath.Abs(given)
	if err != nil {
		return "", err
	}
	return path, os.MkdirAll(path, 0o700)
}

func (s *Stage) logf(format string, arguments ...any) {
	fmt.Fprintf(s.options.Log, "stage: "+format+"\n", arguments...) //nolint:errcheck // a progress line that cannot be written is no reason to stop
}
