package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

const (
	// OperatorNamespace is where the installation puts the operator.
	OperatorNamespace = "oauth-operator-system"
	// OperatorName is what its Deployment and its ServiceAccount are called.
	OperatorName = "oauth-operator"

	consentURLVariable = "CONSENT_URL"
)

// OperatorOptions say how this run of the operator differs from what its Deployment says. The zero value: in nothing but
// the addresses that it listens on.
type OperatorOptions struct {
	// Binary is another build of the operator.
	Binary string
	// ExtraArgs come after the Deployment's, so they win.
	ExtraArgs []string
	// Env comes after the Deployment's, as NAME=value.
	Env []string
	// JournalDir is the folder that stands for the pod's own disk: runs with the same one are restarts in the same pod.
	// Default: a new one.
	JournalDir string
	// Kubeconfig is another than that of its ServiceAccount: one that leads through a proxy.
	Kubeconfig string
	// Pages has it serve the consent pages as well, in one process. It is for stages with Options.Consent.
	Pages bool
	// AtOnce has StartOperator return as soon as the process runs.
	AtOnce bool
}

// Operator is a run of the operator.
type Operator struct {
	*Process
	// Args are the flags that it was started with.
	Args []string
	// MetricsURL is where its metrics are, ProbeURL the base of /healthz and /readyz.
	MetricsURL string
	ProbeURL   string
}

// StartOperator starts the operator's binary as a process, with the arguments and the environment of the Deployment in the
// cluster and a token of that Deployment's ServiceAccount, and returns once it calls itself ready. Being ready is not yet
// being the leader. Each listens on free ports of loopback in place of those of the Deployment.
func (s *Stage) StartOperator(ctx context.Context, options OperatorOptions) (*Operator, error) {
	client, err := kubernetes.NewForConfig(s.Cluster.Admin)
	if err != nil {
		return nil, err
	}
	deployment, err := client.AppsV1().Deployments(OperatorNamespace).Get(ctx, OperatorName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the operator's Deployment: %w", err)
	}
	pod := deployment.Spec.Template.Spec
	kubeconfig := options.Kubeconfig
	if kubeconfig == "" {
		if kubeconfig, err = s.Kubeconfig(ctx, OperatorNamespace, pod.ServiceAccountName); err != nil {
			return nil, err
		}
	}
	environment, err := s.environmentOf(deployment)
	if err != nil {
		return nil, err
	}
	operator := &Operator{Args: slices.Concat(pod.Containers[0].Args, options.ExtraArgs)}
	pages, err := operator.listen(ctx, options.Pages)
	if err != nil {
		return nil, err
	}
	journal := options.JournalDir
	if journal == "" {
		if journal, err = os.MkdirTemp(s.Dir, "journal-"); err != nil {
			return nil, err
		}
	}
	replaceFlag(operator.Args, "--journal-dir", journal)
	operator.Process, err = s.Run(ctx, Program{
		Name: "operator",
		Path: cmp.Or(options.Binary, s.options.OperatorBinary),
		Args: operator.Args,
		Env:  slices.Concat([]string{"KUBECONFIG=" + kubeconfig}, environment, options.Env),
	})
	if err != nil {
		return nil, err
	}
	s.logf("the operator starts: %s", strings.Join(operator.Args, " "))
	if options.Pages {
		s.Front.Serve(pages)
	}
	if options.AtOnce {
		return operator, nil
	}
	err = operator.await(ctx, func(ctx context.Context) bool { return answersOK(ctx, operator.ProbeURL+"/readyz") })
	return operator, err
}

// Ready reports whether the operator calls itself ready.
func (o *Operator) Ready(ctx context.Context) bool {
	return !o.Ended() && answersOK(ctx, o.ProbeURL+"/readyz")
}

// environmentOf is what the kubelet would make of the container's variables. The public URL of the consent pages is the
// front's, where the stage has one.
func (s *Stage) environmentOf(deployment *appsv1.Deployment) ([]string, error) {
	var environment []string
	container := deployment.Spec.Template.Spec.Containers[0]
	for _, variable := range container.Env {
		value := variable.Value
		// Where the front is, nobody has known when the Deployment was written.
		if variable.Name == consentURLVariable && s.Front != nil {
			environment = append(environment, variable.Name+"="+s.Front.URL)
			continue
		}
		if from := variable.ValueFrom; from != nil {
			if from.ConfigMapKeyRef != nil && ptr.Deref(from.ConfigMapKeyRef.Optional, false) {
				continue
			}
			if from.ResourceFieldRef != nil && from.ResourceFieldRef.Resource == "limits.memory" {
				environment = append(environment, fmt.Sprintf("%s=%d", variable.Name, container.Resources.Limits.Memory().Value()))
				continue
			}
			if from.FieldRef == nil || from.FieldRef.FieldPath != "metadata.namespace" {
				return nil, fmt.Errorf("the Deployment takes %s from something that is not known here", variable.Name)
			}
			value = deployment.Namespace
		}
		environment = append(environment, variable.Name+"="+value)
	}
	return environment, nil
}

// replaceFlag gives a flag that is among the arguments another value.
func replaceFlag(arguments []string, flag, value string) {
	for i, argument := range arguments {
		if name, _, _ := strings.Cut(argument, "="); name == flag {
			arguments[i] = flag + "=" + value
		}
	}
}

// Kubeconfig writes a kubeconfig with a token of a ServiceAccount, <namespace>-<name>.kubeconfig in the folder of the run,
// and returns its path. One that is there already is used again.
func (s *Stage) Kubeconfig(ctx context.Context, namespace, name string) (string, error) {
	path := filepath.Join(s.Dir, namespace+"-"+name+".kubeconfig")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	config, err := s.Cluster.ServiceAccountConfig(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	return path, s.Cluster.WriteKubeconfig(path, config)
}

// freeAddress is an address of the loopback interface that nobody listens on at this moment.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

func answersOK(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	response, err := (&http.Client{Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// Secret reads a Secret of the shop as admin, for a test that wants to see what became of it.
func (s *Stage) Secret(ctx context.Context, name string) (*corev1.Secret, error) {
	client, err := kubernetes.NewForConfig(s.Cluster.Admin)
	if err != nil {
		return nil, err
	}
	return client.CoreV1().Secrets(Namespace).Get(ctx, name, metav1.GetOptions{})
}

// listen chooses addresses that are free. It returns that of the consent pages, if they are wanted.
func (o *Operator) listen(ctx context.Context, withPages bool) (pages string, err error) {
	metrics, err := freeAddress(ctx)
	if err != nil {
		return "", err
	}
	probes, err := freeAddress(ctx)
	if err != nil {
		return "", err
	}
	o.MetricsURL, o.ProbeURL = "http://"+metrics+"/metrics", "http://"+probes
	replaceFlag(o.Args, "--metrics-bind-address", metrics)
	replaceFlag(o.Args, "--health-probe-bind-address", probes)
	if !withPages {
		return "", nil
	}
	if pages, err = freeAddress(ctx); err != nil {
		return "", err
	}
	o.Args = append(o.Args, "--serve=all", "--consent-bind-address="+pages, "--trusted-proxies="+thisMachine)
	return pages, nil
}
