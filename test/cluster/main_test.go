package cluster_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/oauth-operator/oauth-operator/test/cluster"
)

// bound is how long a test waits for something that takes seconds.
const bound = time.Minute

// lonelyVariable makes the test binary start a cluster, say where, and wait to be killed.
const lonelyVariable = "OAUTH_OPERATOR_TEST_LONELY_CLUSTER"

// shared is the cluster of all tests of this package. Each test works in a namespace of its own.
var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx := context.Background()
	if os.Getenv(lonelyVariable) != "" {
		return lonely(ctx)
	}
	var err error
	shared, err = cluster.Start(ctx, cluster.Options{
		ControllerManager: true,
		Manifests:         []string{"testdata/gadgets.yaml"},
		Log:               os.Stderr,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the cluster:", err)
		return 1
	}
	code := m.Run()
	if err := shared.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the cluster:", err)
		return 1
	}
	return code
}

// lonely is the child process of TestClusterEndsWithTheProcessThatStartedIt. It starts a cluster, and a process that is
// guarded, which has the same standard output.
func lonely(ctx context.Context) int {
	started, err := cluster.Start(ctx, cluster.Options{ControllerManager: true})
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	guarded := exec.CommandContext(ctx, "sleep", "600")
	guarded.Stdout = os.Stdout
	guarded.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := guarded.Start(); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	if _, err := started.Guard("guarded", guarded.Process.Pid); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println(started.Admin.Host, started.Dir)
	select {}
}

func client(t *testing.T) kubernetes.Interface {
	t.Helper()
	admin, err := kubernetes.NewForConfig(shared.Admin)
	if err != nil {
		t.Fatal(err)
	}
	return admin
}
