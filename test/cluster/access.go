package cluster

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// tokenLifetime is how long the token of ServiceAccountConfig is valid: longer than any run.
const tokenLifetime = 24 * time.Hour

// ServiceAccountConfig returns a client configuration that acts as an existing ServiceAccount, with a token from the
// API server's TokenRequest that is valid for 24 hours.
func (c *Cluster) ServiceAccountConfig(ctx context.Context, namespace, name string) (*rest.Config, error) {
	client, err := kubernetes.NewForConfig(c.Admin)
	if err != nil {
		return nil, fmt.Errorf("client for a token request: %w", err)
	}
	seconds := int64(tokenLifetime / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	answer, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("token for the ServiceAccount %s/%s: %w", namespace, name, err)
	}
	config := rest.AnonymousClientConfig(c.Admin)
	config.BearerToken = answer.Status.Token
	return config, nil
}

// WriteKubeconfig writes a kubeconfig file, readable by its owner only, that holds the given client configuration.
func (c *Cluster) WriteKubeconfig(path string, config *rest.Config) error {
	host, err := url.Parse(config.Host)
	if err != nil {
		return fmt.Errorf("address of the API server: %w", err)
	}
	if host.Scheme == "" {
		host = &url.URL{Scheme: "https", Host: config.Host}
	}
	const name = "oauth-operator-test"
	file := clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server:                   host.String(),
			CertificateAuthorityData: config.CAData,
		}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{name: {
			ClientCertificateData: config.CertData,
			ClientKeyData:         config.KeyData,
			Token:                 config.BearerToken,
		}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}
	if err := clientcmd.WriteToFile(file, path); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// Apply applies manifests as admin with kubectl, by server-side apply, one after the other, and waits until all
// CustomResourceDefinitions are served. Each is a file, or a folder of files, or a folder with a kustomization.
func (c *Cluster) Apply(ctx context.Context, manifests ...string) error {
	for _, manifest := range manifests {
		flag := "--filename"
		if _, err := os.Stat(filepath.Join(manifest, "kustomization.yaml")); err == nil {
			flag = "--kustomize"
		}
		c.logf("kubectl apply %s %s", flag, manifest)
		command := exec.CommandContext(ctx, c.Kubectl,
			"--kubeconfig", c.adminKubeconfig, "--cache-dir", filepath.Join(c.Dir, "kubectl-cache"),
			"apply", "--server-side", "--force-conflicts", flag, manifest)
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl apply %s %s: %w\n%s", flag, manifest, err, output)
		}
	}
	return c.awaitCustomKinds(ctx)
}

// awaitCustomKinds waits until every CustomResourceDefinition is established. Objects of its kind are refused before.
func (c *Cluster) awaitCustomKinds(ctx context.Context) error {
	client, err := apiextensions.NewForConfig(c.Admin)
	if err != nil {
		return fmt.Errorf("client for CustomResourceDefinitions: %w", err)
	}
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		list, err := client.ApiextensionsV1().CustomResourceDefinitions().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		return !slices.ContainsFunc(list.Items, pending), nil
	})
	if err != nil {
		return fmt.Errorf("wait for CustomResourceDefinitions to be established: %w", err)
	}
	return nil
}

func pending(definition apiextensionsv1.CustomResourceDefinition) bool {
	return !slices.ContainsFunc(definition.Status.Conditions, func(condition apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue
	})
}
