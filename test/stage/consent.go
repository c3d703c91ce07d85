package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

const (
	// ConsentName is what the Deployment of the consent pages, their ServiceAccount and their Secret are called.
	ConsentName = "oauth-operator-consent"
	// thisMachine is where the front, and who stands before it, is.
	thisMachine = "127.0.0.0/8"
)

// StartConsent installs config/consent and starts so many replicas of it as processes, each with the arguments and the
// environment of the Deployment, a token of its ServiceAccount, and its Secret in a folder. The operator must run: it writes
// that Secret. The front hands requests to them in turn.
func (s *Stage) StartConsent(ctx context.Context, replicas int) ([]*Process, error) {
	if err := s.InstallConsent(ctx); err != nil {
		return nil, err
	}
	var processes []*Process
	var backends []string
	for range replicas {
		started, pages, err := s.startPages(ctx, PagesOptions{})
		if err != nil {
			return nil, err
		}
		processes, backends = append(processes, started.Process), append(backends, pages)
	}
	s.Front.Serve(backends...)
	return processes, nil
}

// RemountConsentKeys does what the kubelet does some time after the Secret has changed. The replicas read the files again within
// ten seconds.
func (s *Stage) RemountConsentKeys(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(s.Cluster.Admin)
	if err != nil {
		return err
	}
	_, err = s.mountConsentKeys(ctx, client)
	return err
}

// InstallConsent installs config/consent, unless Options.Manifests have the pages.
func (s *Stage) InstallConsent(ctx context.Context) error {
	if s.Front == nil {
		return errors.New("the stage has no front for the consent pages: set Options.Consent")
	}
	if len(s.options.Manifests) > 0 {
		return nil
	}
	return s.Cluster.Apply(ctx, filepath.Join(s.Root, "config", "consent"))
}

// PagesOptions say how a run of the consent pages differs from what their Deployment says. The zero value: in nothing but
// the addresses that it listens on.
type PagesOptions struct {
	// Binary is another build of the operator.
	Binary string
	// Kubeconfig is another than that of its ServiceAccount: one that leads through a proxy.
	Kubeconfig string
	// AtOnce has StartPages return as soon as the process runs.
	AtOnce bool
}

// StartPages starts one replica of what InstallConsent has installed, and has the front hand all requests to it.
func (s *Stage) StartPages(ctx context.Context, options PagesOptions) (*Operator, error) {
	started, pages, err := s.startPages(ctx, options)
	if err == nil {
		s.Front.Serve(pages)
	}
	return started, err
}

// startPages starts one replica, and returns the address of its pages as well.
func (s *Stage) startPages(ctx context.Context, options PagesOptions) (*Operator, string, error) {
	client, err := kubernetes.NewForConfig(s.Cluster.Admin)
	if err != nil {
		return nil, "", err
	}
	deployment, err := client.AppsV1().Deployments(OperatorNamespace).Get(ctx, ConsentName, metav1.GetOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("read the Deployment of the consent pages: %w", err)
	}
	pod := deployment.Spec.Template.Spec
	kubeconfig := options.Kubeconfig
	if kubeconfig == "" {
		if kubeconfig, err = s.Kubeconfig(ctx, OperatorNamespace, pod.ServiceAccountName); err != nil {
			return nil, "", err
		}
	}
	environment, err := s.environmentOf(deployment)
	if err != nil {
		return nil, "", err
	}
	keys, err := s.mountConsentKeys(ctx, client)
	if err != nil {
		return nil, "", err
	}
	pages, err := freeAddress(ctx)
	if err != nil {
		return nil, "", err
	}
	probes, err := freeAddress(ctx)
	if err != nil {
		return nil, "", err
	}
	metrics, err := freeAddress(ctx)
	if err != nil {
		return nil, "", err
	}
	started := &Operator{
		Args:     append(slices.Clone(pod.Containers[0].Args), "--trusted-proxies="+thisMachine),
		ProbeURL: "http://" + probes, MetricsURL: "http://" + metrics + "/metrics",
	}
	replaceFlag(started.Args, "--metrics-bind-address", metrics)
	replaceFlag(started.Args, "--consent-bind-address", pages)
	replaceFlag(started.Args, "--health-probe-bind-address", probes)
	replaceFlag(started.Args, "--consent-keys", keys)
	started.Process, err = s.Run(ctx, Program{
		Name: "consent", Path: cmp.Or(options.Binary, s.options.OperatorBinary), Args: started.Args,
		Env: append(slices.Clone(environment), "KUBECONFIG="+kubeconfig),
	})
	if err != nil || options.AtOnce {
		return started, pages, err
	}
	err = started.await(ctx, func(ctx context.Context) bool { return answersOK(ctx, started.ProbeURL+"/readyz") })
	return started, pages, err
}

// mountConsentKeys writes the Secret with the keys of the pages into a folder, as the kubelet would.
func (s *Stage) mountConsentKeys(ctx context.Context, client kubernetes.Interface) (string, error) {
	var secret *corev1.Secret
	err := wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		var err error
		secret, err = client.CoreV1().Secrets(OperatorNamespace).Get(ctx, ConsentName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return "", fmt.Errorf("wait for the Secret %s: %w", ConsentName, err)
	}
	folder := filepath.Join(s.Dir, "consent-keys")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	for name, text := range secret.Data {
		// In place whole, as the kubelet does it: the replicas may be reading.
		file := filepath.Join(folder, name)
		if err := errors.Join(os.WriteFile(file+".new", text, 0o600), os.Rename(file+".new", file)); err != nil {
			return "", err
		}
	}
	return folder, nil
}
