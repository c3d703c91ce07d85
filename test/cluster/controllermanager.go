package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// startControllerManager starts kube-controller-manager and waits until it calls itself healthy. It runs with the identity
// and the ServiceAccounts it has in other clusters, so admission policies that name them mean the same here.
func (c *Cluster) startControllerManager(ctx context.Context) error {
	user, err := c.environment.AddUser(envtest.User{Name: "system:kube-controller-manager"}, c.Admin)
	if err != nil {
		return fmt.Errorf("user for kube-controller-manager: %w", err)
	}
	kubeconfig := filepath.Join(c.Dir, "kube-controller-manager.kubeconfig")
	if err := c.WriteKubeconfig(kubeconfig, user.Config()); err != nil {
		return err
	}
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	certificates := filepath.Join(c.Dir, "kube-controller-manager")
	c.logf("starting kube-controller-manager")
	c.manager, err = c.watchdog.start(ctx, filepath.Join(c.assets, kubeControllerManager),
		"--kubeconfig="+kubeconfig,
		"--controllers=garbage-collector-controller,namespace-controller",
		"--use-service-account-credentials=true",
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
		"--secure-port="+strconv.Itoa(port),
		"--cert-dir="+certificates,
	)
	if err != nil {
		return err
	}
	health := "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) + "/healthz"
	if err := awaitHealthy(ctx, c.manager, health, filepath.Join(certificates, "kube-controller-manager.crt")); err != nil {
		return fmt.Errorf("wait for kube-controller-manager: %w\n%s", err, c.lastLines(kubeControllerManager))
	}
	c.logf("kube-controller-manager runs")
	return nil
}

// awaitHealthy polls the health endpoint of a process that makes its own certificate, until it answers 200.
func awaitHealthy(ctx context.Context, process *childProcess, url, certificate string) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		select {
		case <-process.done:
			return false, errors.New("it ended")
		default:
			return healthy(ctx, url, certificate), nil
		}
	})
	return err
}

// healthy asks once. The certificate is read each time, since it is there only some time after the process has started.
func healthy(ctx context.Context, url, certificate string) bool {
	pem, err := os.ReadFile(certificate)
	if err != nil {
		return false
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return false
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	response, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// freePort returns a port of the loopback interface that nobody listens on at this moment.
func freePort(ctx context.Context) (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port //nolint:errcheck,forcetypeassert // a TCP listener has no other address
	return port, listener.Close()
}
