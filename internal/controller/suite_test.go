package controller_test

import (
	"context"
	"net/netip"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// The suite runs the controllers in this process, against a real API server, as the operator's ServiceAccount under the
// rendered RBAC and policies. Each spec has a namespace and a provider of its own.
var suite struct {
	cluster *cluster.Cluster
	// admin is what a cluster's administrator may do, from the API server and not from a cache.
	admin client.Client
	// wire sees every request that the operator makes to the API server.
	wire    *wire
	logs    *syncBuffer
	metrics *controller.Metrics
	clock   *movedClock
}

// patience is how long specs wait for what must come. A watch that the API server has closed begins anew after a minute at the
// latest; where a definition was replaced, it closes those of its objects up to two minutes later, in the middle of other specs.
const patience = 90 * time.Second

func TestController(t *testing.T) {
	stagetest.Assets(t)
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(patience)
	SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	RunSpecs(t, "controllers")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	// At once: a library that has had no logger for half a minute takes none any more, and a start may take that long.
	suite.logs = &syncBuffer{}
	ctrl.SetLogger(jsonLogger(suite.logs, 5))

	var err error
	suite.cluster, err = cluster.Start(ctx, cluster.Options{
		ControllerManager: true, Log: GinkgoWriter,
		Manifests: []string{filepath.Join("..", "..", "config", "demo")},
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(suite.cluster.Stop()).To(Succeed()) })

	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	suite.admin, err = client.New(suite.cluster.Admin, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())

	startOperator(ctx, scheme)
}, NodeTimeout(3*time.Minute))

func startOperator(ctx context.Context, scheme *runtime.Scheme) {
	GinkgoHelper()
	suite.wire, suite.clock = &wire{}, &movedClock{}
	suite.metrics = controller.NewMetrics(suite.clock)
	run(ctx, suite.wire, ctrl.Options{Scheme: scheme})
}

// apiServerAddress is where the API server listens, which nobody may have called.
func apiServerAddress() netip.AddrPort {
	GinkgoHelper()
	parsed, err := url.Parse(suite.cluster.Admin.Host)
	Expect(err).NotTo(HaveOccurred())
	address, err := netip.ParseAddrPort(parsed.Host)
	Expect(err).NotTo(HaveOccurred(), "the host of %s", suite.cluster.Admin.Host)
	return address
}
