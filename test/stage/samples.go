package stage

import (
	"bytes"
	"context"
	_ "embed" // for the developer's manifest
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// Developer is the ServiceAccount of the user who applies the samples.
const Developer = "developer"

const (
	authoritySecret = "provider-ca"
	authorityKey    = "ca.crt"
)

//go:embed developer.yaml
var developerManifest []byte

// Sample is an account of config/samples.
type Sample struct {
	// Name is the account's, and that of its token Secret.
	Name string
	// Client is the name of its client.
	Client string
	// OnBehalfOf is the connected account that it names, or nothing.
	OnBehalfOf string
	// ImportedFrom is the Secret with the refresh token that the account takes over, or nothing.
	ImportedFrom string
	// Consented: a person consents in a browser.
	Consented bool
}

// sampleFile is a file of config/samples.
type sampleFile struct {
	path     string
	text     string
	client   v1alpha1.OAuthClient
	accounts []v1alpha1.ConnectedAccount
	// secret is the Secret with a place for a refresh token, if the file has one.
	secret corev1.Secret
}

// ApplySamples does what a newcomer does, with kubectl, as a user with the role admin in the namespace shop and no other:
// the Secrets, by the commands that the samples print, and then the samples. They are unchanged but for the host of the
// endpoints, the client id, and the provider's CA. It returns the accounts.
func (s *Stage) ApplySamples(ctx context.Context) ([]Sample, error) {
	return s.apply(ctx, filepath.Join("config", "samples"), nil)
}

// apply applies the samples of a folder, with further patches for each of its files.
func (s *Stage) apply(ctx context.Context, folder string, more func(sampleFile) ([]kustomizePatch, error)) ([]Sample, error) {
	kubeconfig, err := s.developer(ctx)
	if err != nil {
		return nil, err
	}
	files, err := s.readSamples(folder)
	if err != nil {
		return nil, err
	}
	var samples []Sample
	for _, file := range files {
		if err := s.runPrinted(ctx, kubeconfig, file); err != nil {
			return nil, err
		}
		for _, account := range file.accounts {
			samples = append(samples, Sample{
				Name: account.Name, Client: account.Spec.ClientRef.Name, OnBehalfOf: account.Spec.OnBehalfOf,
				ImportedFrom: account.Spec.ImportRefreshTokenRef.Name, Consented: file.client.Spec.Endpoints.Authorization != "",
			})
		}
	}
	overlay, err := s.writeOverlay(folder, files, more)
	if err != nil {
		return nil, err
	}
	if err := s.publishAuthority(ctx, kubeconfig); err != nil {
		return nil, err
	}
	if _, err := s.Kubectl(ctx, kubeconfig, "apply", "--kustomize", overlay, "--namespace="+Namespace); err != nil {
		return nil, err
	}
	s.logf("applied %s in the namespace %s", folder, Namespace)
	return samples, nil
}

// publishAuthority puts the provider's CA where the clients look for it, once.
func (s *Stage) publishAuthority(ctx context.Context, kubeconfig string) error {
	if _, err := s.Secret(ctx, authoritySecret); !apierrors.IsNotFound(err) {
		return err
	}
	for _, arguments := range [][]string{
		{"create", "secret", "generic", authoritySecret, "--from-file=" + authorityKey + "=" + s.Provider.CAFile},
		{"label", "secret", authoritySecret, v1alpha1.LabelCredential + "=true"},
	} {
		if _, err := s.Kubectl(ctx, kubeconfig, append(arguments, "--namespace="+Namespace)...); err != nil {
			return err
		}
	}
	return nil
}

// developer makes the namespace and the user, and returns the user's kubeconfig.
func (s *Stage) developer(ctx context.Context) (string, error) {
	manifest := filepath.Join(s.Dir, "developer.yaml")
	if err := os.WriteFile(manifest, developerManifest, 0o600); err != nil {
		return "", err
	}
	if err := s.Cluster.Apply(ctx, manifest); err != nil {
		return "", err
	}
	return s.Kubeconfig(ctx, Namespace, Developer)
}

// Kubectl runs kubectl with the given kubeconfig and returns its output.
func (s *Stage) Kubectl(ctx context.Context, kubeconfig string, arguments ...string) (string, error) {
	global := []string{"--kubeconfig=" + kubeconfig, "--cache-dir=" + filepath.Join(s.Dir, "kubectl-cache")}
	output, err := exec.CommandContext(ctx, s.Cluster.Kubectl, append(global, arguments...)...).CombinedOutput()
	if err != nil {
		// No more of the arguments than the verb: one of them may be a client secret.
		return "", fmt.Errorf("kubectl %s: %w\n%s", arguments[0], err, output)
	}
	return string(output), nil
}

func (s *Stage) readSamples(folder string) ([]sampleFile, error) {
	paths, err := filepath.Glob(filepath.Join(s.Root, folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var files []sampleFile
	for _, path := range paths {
		if filepath.Base(path) == "kustomization.yaml" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		file := sampleFile{path: path, text: string(text)}
		if err := file.decode(text); err != nil {
			return nil, fmt.Errorf("read the sample %s: %w", filepath.Base(path), err)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		return nil, errors.New("there are no samples in " + folder)
	}
	return files, nil
}

func (f *sampleFile) decode(text []byte) error {
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var document map[string]any
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		again, err := yaml.Marshal(document)
		if err != nil {
			return err
		}
		switch document["kind"] {
		case "OAuthClient":
			err = yaml.UnmarshalStrict(again, &f.client)
		case "ConnectedAccount":
			f.accounts = append(f.accounts, v1alpha1.ConnectedAccount{})
			err = yaml.UnmarshalStrict(again, &f.accounts[len(f.accounts)-1])
		case "Secret":
			err = yaml.UnmarshalStrict(again, &f.secret)
		default:
			err = fmt.Errorf("it has a %v in it", document["kind"])
		}
		if err != nil {
			return err
		}
	}
}

// runPrinted runs the commands that a sample's comment tells its reader to run, with the client secret in place of the
// dots, and the provider's host in place of the one that the endpoint has.
func (s *Stage) runPrinted(ctx context.Context, kubeconfig string, file sampleFile) error {
	known, exists := s.Provider.registrations[file.client.Name]
	if !exists {
		return fmt.Errorf("the provider has no registration for the sample %s", file.client.Name)
	}
	endpoint, err := url.Parse(string(file.client.Spec.Endpoints.Token))
	if err != nil {
		return err
	}
	here, err := url.Parse(s.Provider.URL)
	if err != nil {
		return err
	}
	commands := 0
	for line := range strings.Lines(file.text) {
		words := strings.Fields(strings.TrimPrefix(line, "#"))
		// Those that read are for the reader.
		if !strings.HasPrefix(line, "#") || len(words) < 2 || words[0] != "kubectl" || words[1] == "get" {
			continue
		}
		for i, word := range words {
			word = strings.ReplaceAll(word, endpoint.Host, here.Host)
			if before, isSecret := strings.CutSuffix(word, "=..."); isSecret {
				word = before + "=" + known.ClientSecret
			}
			words[i] = word
		}
		if _, err := s.Kubectl(ctx, kubeconfig, append(words[1:], "--namespace="+Namespace)...); err != nil {
			return fmt.Errorf("the command %q of the sample %s: %w", strings.Join(strings.Fields(line)[1:], " "), filepath.Base(file.path), err)
		}
		commands++
	}
	if commands == 0 {
		return fmt.Errorf("the sample %s prints no kubectl commands for its Secret", filepath.Base(file.path))
	}
	return nil
}

// kustomizePatch is an entry under patches in a kustomization.
type kustomizePatch struct {
	Target map[string]string `json:"target"`
	Patch  string            `json:"patch"`
}

// patchOf makes JSON patch operations (RFC 6902) on one object an entry.
func patchOf(kind, name string, operations ...map[string]any) (kustomizePatch, error) {
	text, err := yaml.Marshal(operations)
	return kustomizePatch{Target: map[string]string{"kind": kind, "name": name}, Patch: string(text)}, err
}

// writeOverlay writes a kustomization that changes in the samples what has to differ here.
func (s *Stage) writeOverlay(folder string, files []sampleFile, more func(sampleFile) ([]kustomizePatch, error)) (string, error) {
	overlay := filepath.Join(s.Dir, "overlays", filepath.Base(folder))
	if err := os.MkdirAll(overlay, 0o700); err != nil {
		return "", err
	}
	// Kustomize takes no folder by its absolute path, so the samples are copied to where it can name them.
	if err := os.CopyFS(filepath.Join(overlay, "samples"), os.DirFS(filepath.Join(s.Root, folder))); err != nil {
		return "", fmt.Errorf("copy the samples: %w", err)
	}
	var patches []kustomizePatch
	for _, file := range files {
		endpoint, err := url.Parse(string(file.client.Spec.Endpoints.Token))
		if err != nil {
			return "", err
		}
		changes := []map[string]any{
			{"op": "replace", "path": "/spec/endpoints/token", "value": s.Provider.URL + endpoint.Path},
			{"op": "replace", "path": "/spec/clientID", "value": s.Provider.registrations[file.client.Name].ClientID},
			{"op": "add", "path": "/spec/tls", "value": map[string]any{"caRef": map[string]any{"name": authoritySecret, "key": authorityKey}}},
		}
		if file.client.Spec.Endpoints.Authorization != "" {
			asked, err := url.Parse(string(file.client.Spec.Endpoints.Authorization))
			if err != nil {
				return "", err
			}
			changes = append(changes, map[string]any{"op": "replace", "path": "/spec/endpoints/authorization", "value": s.Provider.URL + asked.Path})
		}
		patch, err := patchOf("OAuthClient", file.client.Name, changes...)
		if err != nil {
			return "", err
		}
		patches = append(patches, patch)
		if more == nil {
			continue
		}
		added, err := more(file)
		if err != nil {
			return "", err
		}
		patches = append(patches, added...)
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
		"resources": []string{"samples"}, "patches": patches,
	})
	if err != nil {
		return "", err
	}
	return overlay, os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), text, 0o600)
}
