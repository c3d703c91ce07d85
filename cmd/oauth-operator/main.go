// Command oauth-operator runs the controllers, or the consent pages, or both. It parses flags, wires the manager and the
// servers, and sees to it that nothing that is in flight is lost when the process ends; everything else lives in internal/.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/pace"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

const (
	// stopGrace is how long the manager, and with it the lease, waits for laps and exchanges that are under way, and
	// drainGrace how long main then waits for exchanges that are still open; in between, giving up the lease may take
	// releaseGrace. Together they stay below the Deployment's terminationGracePeriodSeconds, and above the 105 seconds of
	// an exchange's own deadlines.
	stopGrace    = 50 * time.Second
	releaseGrace = 10 * time.Second
	drainGrace   = 55 * time.Second
	// leastEntries is how many results the journal has room for, where fewer requests may be under way.
	leastEntries = 64
	// startDeadline bounds what is read before the manager starts.
	startDeadline = 30 * time.Second
)

func main() {
	options, err := parseOptions(os.Args[1:], os.Getenv, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "oauth-operator:", err)
		os.Exit(2)
	}
	if options.showVersion {
		fmt.Println("oauth-operator", versionText())
		return
	}
	setLogger(options.verbosity)
	limitMemory(os.Getenv)
	serve := run
	if options.serve == serveConsent {
		serve = runConsent
	}
	if err := serve(ctrl.SetupSignalHandler(), options); err != nil {
		slog.Error("the operator ends", "error", err)
		os.Exit(1)
	}
}

// run works until the context ends or the lease is lost, and returns once nothing is in flight any more.
func run(ctx context.Context, options options) error {
	journal, err := seal.OpenJournal(seal.JournalOptions{Dir: options.journalDir, MaxEntries: max(options.maxRequests, leastEntries)})
	if err != nil {
		return fmt.Errorf("open the journal (--journal-dir): %w", err)
	}
	return errors.Join(runWith(ctx, options, journal), journal.Close())
}

// runWith is run, while the journal is open. It is closed last: until then what is in flight is written there.
func runWith(ctx context.Context, options options, journal *seal.Journal) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	config.QPS, config.Burst = options.limit()
	config.UserAgent = "oauth-operator"
	found, err := findRights(ctx, config, options)
	if err != nil {
		return err
	}
	manager, err := newManager(config, options, found.readable)
	if err != nil {
		return err
	}
	if options.serve == serveAll {
		if err := addConsent(manager, config, options); err != nil {
			return err
		}
	}
	inFlight := &controller.InFlight{}
	if err := setup(ctx, manager, config, options, found.readable, inFlight, journal); err != nil {
		return err
	}
	if err := manager.Add(found); err != nil {
		return fmt.Errorf("add what looks at rights: %w", err)
	}
	// Whatever ends the manager, exchanges that are open end by themselves: each keeps what it obtained.
	context.AfterFunc(ctx, inFlight.Close)
	stopped := manager.Start(ctx)
	return errors.Join(stopped, drain(inFlight)) //nolint:contextcheck // what is drained outlives the context that has just ended
}

func drain(inFlight *controller.InFlight) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainGrace)
	defer cancel()
	if left := inFlight.Drain(ctx); left > 0 {
		return fmt.Errorf("%d token requests were still open after %s", left, drainGrace)
	}
	return nil
}

// findRights asks the API server in which of the namespaces that are named the operator may work.
func findRights(ctx context.Context, config *rest.Config, options options) (*rights, error) {
	starting, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return lookAtRights(starting, api, options.watched)
}

func newManager(config *rest.Config, options options, watched []string) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme,
		Cache: cache.Options{
			DefaultTransform:  cache.TransformStripManagedFields(),
			DefaultNamespaces: controller.Watched(watched).Caches(),
		},
		Metrics:                metricsserver.Options{BindAddress: options.metricsAddress},
		HealthProbeBindAddress: options.probeAddress,

		LeaderElection:          options.leaderElect,
		LeaderElectionID:        "oauth-operator",
		LeaderElectionNamespace: options.namespace,
		// The lease is given up last: until then nothing new begins anywhere, and what is under way here is finished.
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       ptr.To(stopGrace),
		RenewDeadline:                 ptr.To(releaseGrace),
	})
	if err != nil {
		return nil, fmt.Errorf("make the manager: %w", err)
	}
	return manager, errors.Join(manager.AddHealthzCheck("ping", healthz.Ping), manager.AddReadyzCheck("ping", healthz.Ping))
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("register the types: %w", err)
	}
	return scheme, nil
}

func setup(ctx context.Context, manager ctrl.Manager, config *rest.Config, options options, watched []string, inFlight *controller.InFlight, journal *seal.Journal) error {
	starting, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	clusterID, err := clusterID(starting, manager)
	if err != nil {
		return err
	}
	egress, err := options.egress(starting, config.Host)
	if err != nil {
		return err
	}
	measured := controller.NewMetrics(clock.RealClock{})
	if err := metrics.Registry.Register(measured); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	return controller.Setup(ctx, manager, controller.Options{
		Namespace: options.namespace, Named: options.watched, Watched: watched, ClusterID: clusterID, Egress: egress, Workers: options.workers,
		Limits: pace.Limits{Namespace: options.maxInNamespace, Total: options.maxRequests}, MaxAccounts: options.maxAccounts,
		Clock: clock.RealClock{}, Metrics: measured, InFlight: inFlight, Journal: journal, TakeoverWait: options.takeoverWait,
		ConsentURL: options.publicURL(), Version: versionText(),
	})
}

// clusterID is what tells this cluster from others: credentials are sealed for it.
func clusterID(ctx context.Context, manager ctrl.Manager) (string, error) {
	namespace := &corev1.Namespace{}
	if err := manager.GetAPIReader().Get(ctx, types.NamespacedName{Name: "kube-system"}, namespace); err != nil {
		return "", fmt.Errorf("read the namespace kube-system, whose UID stands for the cluster: %w", err)
	}
	return string(namespace.UID), nil
}
