package stage

import (
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

// StartConsent installs config/consent, unless Options.Manifests have the pages, and starts so many replicas of it as processes, each with the arguments and the
// environment of the Deployment, a token of its ServiceAccount, and its Secret in a folder. The operator must run: it writes
// that Secret. The front hands requests to them in turn.
func (s *Stage) StartConsent(ctx context.Context, replicas int) ([]*Process, error) {
	if s.Front == nil {
		return nil, errors.New("the stage has no front for the consent pages: set Options.Consent")
	}
	if len(s.options.Manifests) == 0 {
		if err := s.Cluster.Apply(ctx, filepath.Join(s.Root, "config", "consent")); err != nil {
			return nil, err
		}
	}
	client, err := kubernetes.NewForConfig(s.Cluster.Admin)
	if err != nil {
		return nil, err
	}
	deployment, err := client.AppsV1().Deployments(OperatorNamespace).Get(ctx, ConsentName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the Deployment of the consent pages: %w", err)
	}
	pod := deployment.Spec.Template.Spec
	kubeconfig, err := s.Kubeconfig(ctx, OperatorNamespace, pod.ServiceAccountName)
	if err != nil {
		return nil, err
	}
	environment, err := s.environmentOf(deployment)
	if err != nil {
		return nil, err
	}
	keys, err := s.mountConsentKeys(ctx, client)
	if err != nil {
		return nil, err
	}
	var processes []*Process
	var backends []string
	for range replicas {
		pages, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		probes, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		arguments := append(slices.Clone(pod.Containers[0].Args), "--trusted-proxies="+thisMachine)
		replaceFlag(arguments, "--consent-bind-address", pages)
		replaceFlag(arguments, "--health-probe-bind-address", probes)
		replaceFlag(arguments, "--consent-keys", keys)
		process, err := s.Run(ctx, Program{
			Name: "consent", Path: s.options.OperatorBinary, Args: arguments, Env: append(slices.Clone(environment), "KUBECONFIG="+kubeconfig),
		})
		if err != nil {
			return nil, err
		}
		if err := process.await(ctx, func(ctx context.Context) bool { return answersOK(ctx, "http://"+probes+"/readyz") }); err != nil {
			return nil, err
		}
		processes, backends = append(processes, process), append(backends, pages)
	}
	s.Front.Serve(backends...)
	return processes, nil
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
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			return "", err
		}
	}
	return folder, nil
}
