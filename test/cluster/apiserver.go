package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// maxStarts is how often a start is tried whose ports somebody else takes.
const maxStarts = 5

// startWherePortsAreFree starts etcd and kube-apiserver, and starts anew where a port that was free when it was chosen is taken by
// the time that they listen: tests beside this one open thousands.
func (c *Cluster) startWherePortsAreFree(ctx context.Context) error {
	for start := 1; ; start++ {
		err := c.startAPIServer(ctx)
		if err == nil || start == maxStarts || !strings.Contains(err.Error(), "address already in use") {
			return err
		}
		c.logf("somebody else has taken a port that was free: starting anew")
		if err := c.discard(); err != nil {
			return err
		}
	}
}

// discard removes what a start that failed has left.
func (c *Cluster) discard() error {
	errs := []error{c.environment.Stop()}
	c.environment = nil
	for _, name := range []string{"etcd", "certificates", etcd + ".log", apiServer + ".log"} {
		errs = append(errs, os.RemoveAll(filepath.Join(c.Dir, name)))
	}
	return errors.Join(errs...)
}

// startAPIServer starts etcd and kube-apiserver and waits until the API server calls itself ready.
func (c *Cluster) startAPIServer(ctx context.Context) error {
	environment, err := c.configure()
	if err != nil {
		return err
	}
	c.logf("starting etcd and kube-apiserver from %s", c.assets)
	// On failure it has started something or nothing, and its Stop does for both.
	c.environment = environment
	c.Admin, err = environment.Start()
	if err != nil {
		return fmt.Errorf("start etcd and kube-apiserver: %w\n%s", err, c.lastLines(etcd, apiServer))
	}
	// Certificates for webhooks, which nobody serves here, in a folder of their own that the watchdog does not know.
	if err := environment.WebhookInstallOptions.Cleanup(); err != nil {
		return err
	}
	if err := c.awaitReady(ctx); err != nil {
		return err
	}
	c.Kubectl = filepath.Join(c.assets, kubectl)
	c.adminKubeconfig = filepath.Join(c.Dir, "admin.kubeconfig")
	if err := c.WriteKubeconfig(c.adminKubeconfig, c.Admin); err != nil {
		return err
	}
	c.logf("kube-apiserver serves at %s", c.Admin.Host)
	return nil
}

// configure says how etcd and kube-apiserver are run.
func (c *Cluster) configure() (*envtest.Environment, error) {
	ours := false
	environment := &envtest.Environment{
		UseExistingCluster:       &ours,
		ControlPlaneStartTimeout: startTimeout,
		ControlPlaneStopTimeout:  stopTimeout,
	}
	store := &envtest.Etcd{DataDir: filepath.Join(c.Dir, "etcd")}
	server := &envtest.APIServer{CertDir: filepath.Join(c.Dir, "certificates")}
	for _, folder := range []string{store.DataDir, server.CertDir} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}

	var err error
	if store.Path, err = c.watchdog.wrap(filepath.Join(c.assets, etcd)); err != nil {
		return nil, err
	}
	if server.Path, err = c.watchdog.wrap(filepath.Join(c.assets, apiServer)); err != nil {
		return nil, err
	}
	environment.ControlPlane.Etcd = store
	environment.ControlPlane.APIServer = server
	environment.ControlPlane.KubectlPath = filepath.Join(c.assets, kubectl)

	policy := filepath.Join(c.Dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicyWith(c.auditRules)), 0o600); err != nil {
		return nil, err
	}
	c.AuditLog = filepath.Join(c.Dir, "audit.log")
	server.Configure().
		Set("audit-policy-file", policy).
		Set("audit-log-path", c.AuditLog).
		// Each event is in the file before its request is answered, so a test that has its answer finds the event.
		Set("audit-log-mode", "blocking").
		// In megabytes: one file for as long as the cluster lives, since a reader would miss what was rotated away.
		Set("audit-log-maxsize", "10240").
		// Otherwise the server looks for an address of this machine to announce, and does not start where there is no
		// network. Nobody here reads the announcement.
		Set("advertise-address", "127.0.0.1").
		Set("endpoint-reconciler-type", "none")
	return environment, nil
}

// awaitReady waits until every start hook of the API server is done, the one that installs the RBAC roles among them.
func (c *Cluster) awaitReady(ctx context.Context) error {
	client, err := discovery.NewDiscoveryClientForConfig(c.Admin)
	if err != nil {
		return fmt.Errorf("client for the API server: %w", err)
	}
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for kube-apiserver to be ready: %w\n%s", err, c.lastLines(apiServer))
	}
	return nil
}
