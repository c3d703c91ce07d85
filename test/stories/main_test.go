// Package stories_test plays the rotation of a refresh token through, effect by effect: replicas of the operator in this
// process, laps that are made by hand, a real API server, and a provider whose ledger tells what is true. A replica can be
// stopped for good after any effect, as by a kill, and started again in the same pod or in another.
//
// It must never use a fake client, which does not do resourceVersion properly, nor sleep to let something happen.
package stories_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/cluster"
)

// needsControlPlane skips a test where there is none.
func needsControlPlane(t *testing.T) {
	t.Helper()
	if suite.cluster == nil {
		t.Skip("there is no control plane: run `make test`, which builds one, or set KUBEBUILDER_ASSETS")
	}
}

const operatorNamespace = "oauth-operator-system"

// What may be asked for on the command line, behind -args.
var (
	update = flag.Bool("update", false, "write the narratives into testdata instead of comparing them")
	long   = flag.Bool("long", false, "play every case, and not only a part of them")
	seed   = flag.Uint64("seed", 1, "the seed of the first random walk")
	walks  = flag.Int("walks", 0, "how many random walks to make; 0: as many as there is time for")
)

// suite is what all tests share. Each has a namespace and a provider of its own.
var suite struct {
	cluster *cluster.Cluster
	// admin may do everything; operator acts as the operator's ServiceAccount. Neither has a cache.
	admin, operator client.Client
	keyring         *seal.Keyring
}

func TestMain(m *testing.M) {
	flag.Parse()
	// They wait for the API server's disk more than for a processor.
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		if err := parallel.Value.Set(strconv.Itoa(2 * goruntime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return m.Run() // which skips
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := suite.cluster.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the cluster:", err)
		return 1
	}
	return code
}

func start(ctx context.Context) error {
	var err error
	suite.cluster, err = cluster.Start(ctx, cluster.Options{
		Manifests:  []string{filepath.Join("..", "..", "config", "demo")},
		AuditRules: "  - level: None\n", // nobody reads it, and it costs time
	})
	if err != nil {
		return fmt.Errorf("start the cluster: %w", err)
	}
	if err := connect(ctx); err != nil {
		return fmt.Errorf("%w, stop the cluster: %w", err, suite.cluster.Stop())
	}
	return nil
}

func connect(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	asOperator, err := suite.cluster.ServiceAccountConfig(ctx, operatorNamespace, "oauth-operator")
	if err != nil {
		return err
	}
	asOperator.QPS, asOperator.Burst = 1000, 1000
	if suite.operator, err = client.New(asOperator, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if suite.admin, err = client.New(suite.cluster.Admin, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	keyring := &controller.KeyringSource{Client: suite.operator, Live: suite.operator, Namespace: operatorNamespace}
	if err := keyring.Ensure(ctx); err != nil {
		return err
	}
	suite.keyring, err = readKeyring(ctx)
	return err
}
