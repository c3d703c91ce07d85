// Package chart_test looks at what the Helm chart renders: that it is what config/ has, that its pods are as restricted as they
// claim to be, that a mistake in the values is answered with what to write, and, on a real API server, that Helm installs,
// upgrades and removes it, and that the operator works with the rights that it gives.
package chart_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/yaml"
)

const (
	chartFolder  = "../../charts/oauth-operator"
	configFolder = "../../config"
	// home is where the installation of config/ is.
	home         = "oauth-operator-system"
	operatorName = "oauth-operator"
	consentName  = "oauth-operator-consent"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	_ = os.Getenv("TEST_INPUTS") // Helm reads the chart, which Go does not see: this changes with every source file
	os.Exit(m.Run())
}

// program is one of those that `make helm` builds.
func program(t *testing.T, name string) string {
	t.Helper()
	folder := os.Getenv("HELM")
	if folder == "" {
		t.Skip("there is no Helm: run `make test`, which builds it, or set HELM to the folder bin/helm after `make helm`")
	}
	return filepath.Join(folder, name)
}

// run runs a program with an environment of its own. What it says on standard error is part of the error.
func run(t *testing.T, input []byte, path string, arguments ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), path, arguments...)
	command.Env = []string{"HOME=" + t.TempDir()}
	var output, problem bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &output, &problem
	if err := command.Run(); err != nil {
		return output.String(), errors.Join(err, errors.New(problem.String()))
	}
	return output.String(), nil
}

func mustRun(t *testing.T, path string, arguments ...string) string {
	t.Helper()
	output, err := run(t, nil, path, arguments...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(path), strings.Join(arguments, " "), err, output)
	}
	return output
}

// render is what Helm makes of the chart in a namespace, with arguments that say which values.
func render(t *testing.T, namespace string, arguments ...string) string {
	t.Helper()
	return mustRun(t, program(t, "helm"), append([]string{"template", "tokens", chartFolder, "--namespace=" + namespace}, arguments...)...)
}

// objects are manifests by kind, namespace and name, each of which is there once.
type objects map[string]*unstructured.Unstructured

func parse(t *testing.T, manifests string) objects {
	t.Helper()
	found := objects{}
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) == 0 {
			continue // a comment
		}
		key := keyOf(object)
		if found[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		found[key] = object
	}
}

// keyOf is such as "Role shop/oauth-operator".
func keyOf(object *unstructured.Unstructured) string {
	return object.GetKind() + " " + strings.TrimPrefix(object.GetNamespace()+"/"+object.GetName(), "/")
}

// into reads one of the objects as its type has it, strictly.
func into[T any](t *testing.T, all objects, key string) *T {
	t.Helper()
	object := all[key]
	if object == nil {
		t.Fatalf("there is no %s", key)
	}
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, typed, true); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return typed
}

func toYAML(t *testing.T, value any) string {
	t.Helper()
	text, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
