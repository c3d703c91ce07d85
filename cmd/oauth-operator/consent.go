package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/oauth-operator/oauth-operator/internal/consent"
	"github.com/oauth-operator/oauth-operator/internal/controller"
)

const (
	// consentQPS and consentBurst bound what all people together ask of the API server.
	consentQPS   = 50
	consentBurst = 100
	// consentGrace is how long requests may go on once the process is asked to end: longer than one may take.
	consentGrace = 20 * time.Second
	// closingDelay is for how long new connections are still taken then: whoever routes them here has to hear of it first. Beside
	// the controllers there is none: their lease waits for the end of all, and tokens would have to.
	closingDelay = 5 * time.Second

	// What a browser may take. Nobody sends much here, so who is slow is not one.
	headerTimeout    = 5 * time.Second
	readTimeout      = 10 * time.Second
	writeTimeout     = 30 * time.Second
	idleTimeout      = 30 * time.Second
	maxHeaderBytes   = 48 << 10
	maxConnections   = 512
	probeReadTimeout = 5 * time.Second
	// maxScrapes is how many may read the metrics at once.
	maxScrapes = 4
)

// runConsent serves the pages, with as few rights as there can be: no manager, no cache, no lease.
func runConsent(ctx context.Context, options options) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	pages, err := newConsent(config, options, consent.KeysInFolder(options.consentKeys))
	if err != nil {
		return err
	}
	if err := metrics.Registry.Register(pages.metrics); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	beside := []*http.Server{besideServer(options.probeAddress, pages.probes())}
	if options.metricsAddress != "0" {
		beside = append(beside, besideServer(cmp.Or(options.metricsAddress, metricsserver.DefaultBindAddress), metricsHandler()))
	}
	return serveBeside(ctx, pages.Start, beside)
}

// serveBeside serves until the context ends. The servers beside answer until that has ended; what nobody can probe, or measure,
// is not served.
func serveBeside(ctx context.Context, serve func(context.Context) error, beside []*http.Server) error {
	answering, stopAnswering := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAnswering()
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	ended := make(chan error, len(beside))
	for _, server := range beside {
		go func() {
			ended <- listenAndServe(answering, server, 0)
			stopServing()
		}()
	}
	err := serve(serving)
	stopAnswering()
	for range beside {
		err = errors.Join(err, <-ended)
	}
	return err
}

// besideServer answers those who look after the pages, at an address of its own: no browser ever comes there.
func besideServer(address string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr: address, Handler: handler,
		ReadTimeout: probeReadTimeout, ReadHeaderTimeout: probeReadTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
	}
}

// metricsHandler has what the manager has at the same path: ours, the libraries', the process's.
func metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: maxScrapes,
	}))
	return mux
}

// addConsent serves the pages beside the controllers, in one process.
func addConsent(to manager.Manager, config *rest.Config, options options) error {
	source := consent.KeysInFolder(options.consentKeys)
	if options.consentKeys == "" {
		source = keysInSecret(to.GetAPIReader(), options.namespace)
	}
	pages, err := newConsent(config, options, source)
	if err != nil {
		return err
	}
	if err := metrics.Registry.Register(pages.metrics); err != nil {
		return fmt.Errorf("register the metrics of the pages: %w", err)
	}
	pages.delay = 0
	return to.Add(pages)
}

func keysInSecret(reader client.Reader, namespace string) consent.KeySource {
	return func(ctx context.Context) (map[string][]byte, error) {
		found := &corev1.Secret{}
		err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: controller.ConsentSecretName}, found)
		return found.Data, err
	}
}

// consentServer serves the pages, and follows their keys. It is a Runnable of a manager, for which it needs no lease.
type consentServer struct {
	server *http.Server
	keys   *consent.KeyStore
	// metrics are not registered yet.
	metrics *consent.Metrics
	// ending is closed when the process was asked to end: it is not ready any more, and still answers.
	ending chan struct{}
	// delay is for how long new connections are still taken then.
	delay time.Duration
}

func newConsent(config *rest.Config, options options, source consent.KeySource) (*consentServer, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = consentQPS, consentBurst
	config.UserAgent = "oauth-operator-consent"
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	keys := consent.NewKeyStore(source, clock.RealClock{}, slog.Default())
	cluster, measured := consent.NewCluster(api), consent.NewMetrics(keys, versionText())
	handler, err := consent.New(consent.Options{
		Base: options.consentURL, Accounts: cluster, Clients: cluster, Keys: keys, Clock: clock.RealClock{},
		Limits: consent.NewLimits(options.trustedProxies), Metrics: measured, Random: rand.Reader, Log: slog.Default(),
	})
	if err != nil {
		return nil, err
	}
	return &consentServer{
		keys: keys, metrics: measured, ending: make(chan struct{}), delay: closingDelay,
		server: &http.Server{
			Addr: options.consentAddress, Handler: handler, MaxHeaderBytes: maxHeaderBytes,
			ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
			// What a stranger's connection does wrong is of no interest.
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		},
	}, nil
}

// NeedLeaderElection is false: each replica answers.
func (*consentServer) NeedLeaderElection() bool { return false }

// Start serves until the context ends, and then until the requests that are under way are answered. It ends at once where it
// cannot serve.
func (s *consentServer) Start(ctx context.Context) error {
	context.AfterFunc(ctx, func() { close(s.ending) })
	following, stopFollowing := context.WithCancel(ctx)
	defer stopFollowing()
	followed := make(chan error, 1)
	go func() { followed <- s.keys.Run(following) }()
	err := listenAndServe(ctx, s.server, s.delay)
	stopFollowing()
	return errors.Join(err, <-followed)
}

// probes answer whether the process lives, and whether it has keys.
func (s *consentServer) probes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-s.ending:
			http.Error(w, "it is about to end", http.StatusServiceUnavailable)
			return
		default:
		}
		if s.keys.Current() == nil {
			http.Error(w, "there are no keys yet", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
	return mux
}

// listenAndServe serves until the context ends. It then goes on for a while, and lets what is under way finish.
func listenAndServe(ctx context.Context, server *http.Server, delay time.Duration) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", server.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	closed := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		<-timer.C
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), consentGrace)
		defer cancel()
		closed <- server.Shutdown(grace)
	})
	err = server.Serve(netutil.LimitListener(listener, maxConnections))
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-closed
}
