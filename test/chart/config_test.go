package chart_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// The chart's copies are those of `make generate`.
func TestTheCopiesAreThoseOfConfig(t *testing.T) {
	t.Parallel()
	files := filepath.Join(chartFolder, "files")
	var seen []string
	for copied, original := range map[string]string{
		"crds": "crd/bases", "policies": "policies", "rbac": "rbac",
	} {
		names, err := filepath.Glob(filepath.Join(configFolder, original, "*.yaml"))
		if err != nil || len(names) == 0 {
			t.Fatalf("there is nothing in config/%s: %v", original, err)
		}
		for _, name := range names {
			if base := filepath.Base(name); base != "kustomization.yaml" {
				sameFile(t, name, filepath.Join(files, copied, base))
				seen = append(seen, copied+"/"+base)
			}
		}
	}
	sameFile(t, configFolder+"/consent/rbac.yaml", filepath.Join(files, "rbac", "consent.yaml"))
	seen = append(seen, "rbac/consent.yaml")
	for _, folder := range []string{"crds", "policies", "rbac"} {
		entries, err := os.ReadDir(filepath.Join(files, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if !slices.Contains(seen, folder+"/"+entry.Name()) {
				t.Errorf("charts/oauth-operator/files/%s/%s is a copy of nothing: run make generate", folder, entry.Name())
			}
		}
	}
}

func sameFile(t *testing.T, original, copied string) {
	t.Helper()
	want, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(copied)
	if err != nil || !bytes.Equal(want, got) {
		t.Errorf("%s is not the same as %s (%v): run make generate", copied, original, err)
	}
}

// Whoever installs the chart has the same definitions, policies, roles and pods as who installs config/.
func TestTheChartIsWhatConfigIs(t *testing.T) {
	t.Parallel()
	kubectl := filepath.Join(stagetest.Assets(t), "kubectl")
	kustomized := parse(t, mustRun(t, kubectl, "kustomize", configFolder+"/default")+"\n---\n"+mustRun(t, kubectl, "kustomize", configFolder+"/consent"))
	chart := parse(t, render(t, home, "--set=consent.url=https://oauth.example.com"))

	// Only the one has a namespace, only the other what is for users.
	delete(kustomized, "Namespace "+home)
	for _, extra := range []string{
		"PodDisruptionBudget " + home + "/" + operatorName, "PodDisruptionBudget " + home + "/" + consentName,
		"NetworkPolicy " + home + "/" + operatorName, "NetworkPolicy " + home + "/" + consentName,
		"Service " + home + "/oauth-operator-metrics", "Service " + home + "/oauth-operator-consent-metrics",
	} {
		if chart[extra] == nil {
			t.Errorf("the chart has no %s", extra)
		}
		delete(chart, extra)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(kustomized)), slices.Sorted(maps.Keys(chart))); diff != "" {
		t.Fatalf("in config/ (-) and in the chart (+):\n%s", diff)
	}
	compared := map[string]int{}
	for key, object := range kustomized {
		compared[object.GetKind()]++
		if diff := cmp.Diff(alike(t, object), alike(t, chart[key])); diff != "" {
			t.Errorf("%s in config/ (-) and in the chart (+):\n%s", key, diff)
		}
	}
	for kind, least := range map[string]int{
		"CustomResourceDefinition": 2, "ValidatingAdmissionPolicy": 8, "ValidatingAdmissionPolicyBinding": 8,
		"ClusterRole": 5, "ClusterRoleBinding": 2, "Role": 1, "RoleBinding": 1, "Deployment": 2, "ServiceAccount": 2, "Service": 1,
	} {
		if compared[kind] < least {
			t.Errorf("only %d of %s were compared", compared[kind], kind)
		}
	}
}

// alike is an object without what is meant to differ: labels and annotations of the release, where pods go, and where the
// public URL is written.
func alike(t *testing.T, object *unstructured.Unstructured) map[string]any {
	t.Helper()
	object = object.DeepCopy()
	labels := object.GetLabels()
	maps.DeleteFunc(labels, func(name, _ string) bool {
		return slices.Contains([]string{"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/part-of"}, name)
	})
	object.SetLabels(nil)
	if len(labels) > 0 {
		object.SetLabels(labels)
	}
	annotations := object.GetAnnotations()
	delete(annotations, "helm.sh/resource-policy")
	object.SetAnnotations(nil)
	if len(annotations) > 0 {
		object.SetAnnotations(annotations)
	}
	if object.GetKind() == "Deployment" {
		alikePods(t, object)
	}
	spaces(object.Object)
	return object.Object
}

// alikePods leaves out of a Deployment what is meant to differ.
func alikePods(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	unstructured.RemoveNestedField(object.Object, "spec", "template", "spec", "topologySpreadConstraints")
	containers, _, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		t.Fatalf("%s: %v", keyOf(object), err)
	}
	container, is := containers[0].(map[string]any)
	if !is {
		t.Fatalf("%s has a container that is none", keyOf(object))
	}
	delete(container, "imagePullPolicy")
	container["env"] = withoutURL(container["env"])
	if err := unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers"); err != nil {
		t.Fatal(err)
	}
}

// spaces makes one space of each stretch of white space in CEL expressions: kustomize adds line breaks of its own there.
func spaces(value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, held := range value {
			if text, is := held.(string); is && key == "expression" {
				value[key] = strings.Join(strings.Fields(text), " ")
				continue
			}
			spaces(held)
		}
	case []any:
		for _, held := range value {
			spaces(held)
		}
	}
}

// withoutURL leaves the name of the variable, and not where it is from.
func withoutURL(environment any) any {
	variables, is := environment.([]any)
	if !is {
		return environment
	}
	for i := range variables {
		if variable, is := variables[i].(map[string]any); is && variable["name"] == "CONSENT_URL" {
			variables[i] = map[string]any{"name": variable["name"]}
		}
	}
	return variables
}

// The namespace of the release is the operator's, and policies, bindings and messages know no other.
func TestAnotherNamespaceIsMeantThroughout(t *testing.T) {
	t.Parallel()
	there := render(t, "tokens", "--values=testdata/everything.yaml")
	if strings.Contains(there, home) {
		t.Errorf("a release in another namespace speaks of %s", home)
	}
	everywhere := render(t, home, "--values=testdata/everything.yaml")
	if diff := cmp.Diff(parse(t, strings.ReplaceAll(everywhere, home, "tokens")), parse(t, there)); diff != "" {
		t.Errorf("two namespaces differ in more than their names:\n%s", diff)
	}
}
