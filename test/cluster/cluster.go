// Package cluster starts a real Kubernetes control plane on this machine, for tests and for the demo: etcd,
// kube-apiserver with RBAC, admission policies, usable ServiceAccount tokens and an audit log, and on request
// kube-controller-manager, so that owned objects are collected and namespaces go away as they do elsewhere.
//
// It listens on loopback only, and what it starts ends with the process that started it, however that ends. It must never
// touch a cluster that it did not start, nor read the kubeconfig of whoever runs it.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	// startTimeout bounds the start of one process. A start takes seconds; the bound is for a machine that is busy with
	// a build.
	startTimeout = 2 * time.Minute
	// stopTimeout bounds the polite end of one process.
	stopTimeout = 30 * time.Second
)

// Options says what to start. The zero value starts etcd and kube-apiserver from the folder that KUBEBUILDER_ASSETS names.
type Options struct {
	// Assets is the folder with etcd, kube-apiserver, kube-controller-manager and kubectl. Empty means KUBEBUILDER_ASSETS,
	// and if that is unset too, what `make controlplane` has built in the checkout that the process runs in.
	Assets string
	// Dir is where data, certificates and logs go. Empty means a temporary folder, which Stop removes; a folder that is
	// named here is kept.
	Dir string
	// ControllerManager says whether to run kube-controller-manager with its garbage collector and namespace controllers.
	ControllerManager bool
	// Manifests are applied, as by Apply, before kube-controller-manager starts. A custom kind that the garbage collector
	// finds when it starts is watched at once; one that comes later is noticed up to 30 seconds after.
	Manifests []string
	// AuditRules are rules of an audit policy (audit.k8s.io/v1), written as YAML, that apply before the usual ones: for a
	// test that wants the bodies of some requests. They are lines that begin with "  - level: ...".
	AuditRules string
	// Log receives a line for each step. Nil discards them.
	Log io.Writer
}

// Cluster is a running control plane. Its methods are safe for concurrent use, except Stop.
type Cluster struct {
	// Admin is a client configuration of a member of system:masters, with a high rate limit.
	Admin *rest.Config
	// AuditLog is the path of the API server's audit log, which ReadAudit reads.
	AuditLog string
	// Dir holds data, certificates and logs of the processes (`*.log`).
	Dir string
	// Kubectl is the path of a kubectl of the server's version.
	Kubectl string

	adminKubeconfig string
	auditRules      string
	temporary       bool
	log             io.Writer
	assets          string
	environment     *envtest.Environment
	manager         *childProcess
	watchdog        *watchdog
}

// Start starts a control plane and returns when it serves. Each process has two minutes to become ready; an end of the
// context is noticed between the processes. The caller must call Stop.
func Start(ctx context.Context, options Options) (_ *Cluster, err error) {
	c := &Cluster{log: options.Log, Dir: options.Dir, auditRules: options.AuditRules}
	if c.log == nil {
		c.log = io.Discard
	}
	if c.assets, err = assets(options); err != nil {
		return nil, err
	}
	if err = c.prepareDir(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if c.watchdog, err = startWatchdog(ctx, c.Dir, c.temporary); err != nil {
		return nil, err
	}
	if err = c.startWherePortsAreFree(ctx); err != nil {
		return nil, err
	}
	if len(options.Manifests) > 0 {
		if err = c.Apply(ctx, options.Manifests...); err != nil {
			return nil, err
		}
	}
	if options.ControllerManager {
		if err = c.startControllerManager(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Stop ends all processes and removes the temporary folder. A process that does not end by itself is killed. Calling it
// again does nothing.
func (c *Cluster) Stop() error {
	var errs []error
	if c.manager != nil {
		errs = append(errs, c.manager.stop())
		c.manager = nil
	}
	if c.environment != nil {
		errs = append(errs, c.environment.Stop())
		c.environment = nil
	}
	if c.watchdog != nil {
		errs = append(errs, c.watchdog.stop(errors.Join(errs...) == nil))
		c.watchdog = nil
	}
	if c.temporary {
		errs = append(errs, os.RemoveAll(c.Dir))
		c.temporary = false
	}
	return errors.Join(errs...)
}

// prepareDir makes the folder that everything goes to.
func (c *Cluster) prepareDir() (err error) {
	if c.Dir == "" {
		c.temporary = true
		c.Dir, err = os.MkdirTemp("", "oauth-operator-cluster-")
		return err
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return err
	}
	return os.MkdirAll(c.Dir, 0o700)
}

func (c *Cluster) logf(format string, arguments ...any) {
	fmt.Fprintf(c.log, "cluster: "+format+"\n", arguments...) //nolint:errcheck // a progress line that cannot be written is no reason to stop
}
