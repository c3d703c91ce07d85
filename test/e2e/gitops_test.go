package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/stage"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// A pipeline that applies what is applied already changes nothing and sees no difference, however it applies, while the operator
// is at work; and what it owns, the operator never touches.
func TestPipelinesFindNothingToChange(t *testing.T) {
	t.Parallel()
	played, samples := play(t)
	start(t, played, stage.OperatorOptions{})
	published(t, played, names(samples)...)
	awaitReadyStatus(t, played, names(samples))
	kubeconfig := filepath.Join(played.Cluster.Dir, "admin.kubeconfig")
	overlay := filepath.Join(played.Dir, "overlays", "samples")
	kubectl := func(arguments ...string) string {
		t.Helper()
		output, err := played.Kubectl(t.Context(), kubeconfig, append(arguments, "--namespace="+stage.Namespace)...)
		if err != nil {
			t.Fatalf("kubectl %s: %v", strings.Join(arguments, " "), err)
		}
		return output
	}
	rendered, err := played.Kubectl(t.Context(), kubeconfig, "kustomize", overlay)
	if err != nil {
		t.Fatal(err)
	}
	applied := manifests(t, []byte(rendered))

	asBefore := func(how string, arguments ...string) {
		t.Helper()
		before := objects(t, kubectl)
		if len(before) != len(applied) {
			t.Fatalf("%d objects, of %d manifests", len(before), len(applied))
		}
		kubectl(arguments...)
		for name, now := range objects(t, kubectl) {
			if was := before[name]; was.GetResourceVersion() != now.GetResourceVersion() {
				t.Errorf("%s, %s: from version %s to %s\n%v\n%v", how, name, was.GetResourceVersion(), now.GetResourceVersion(), was.GetManagedFields(), now.GetManagedFields())
			}
		}
	}
	// As the developer did, and then as other tools do: the first one takes the fields over, and so changes who owns them.
	asBefore("applied by the client again", "apply", "--kustomize="+overlay)
	kubectl("diff", "--kustomize="+overlay)
	serverSide := []string{"apply", "--server-side", "--force-conflicts", "--field-manager=pipeline", "--kustomize=" + overlay}
	kubectl(serverSide...)
	asBefore("applied by the server again", serverSide...)
	kubectl("diff", "--server-side", "--force-conflicts", "--field-manager=pipeline", "--kustomize="+overlay)

	for name, object := range objects(t, kubectl) {
		specIsAsApplied(t, name, applied[name], object)
	}
	for _, event := range operatorEvents(t, played, 0) {
		if isWrite(event) && event.Group == v1alpha1.Group && event.Subresource != "status" && !changesFinalizers(event.RequestObject) {
			t.Errorf("the operator wrote more than a status: %s", describe(event))
		}
	}
}

func specIsAsApplied(t *testing.T, name string, applied, stored unstructured.Unstructured) {
	t.Helper()
	if stored.GetGeneration() != 1 {
		t.Errorf("%s: the spec was written %d times", name, stored.GetGeneration())
	}
	if err := writesStatusAlone(stored.GetManagedFields()); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if changed := addedToSpec(applied, stored); len(changed) > 0 {
		t.Errorf("%s: what was applied is not what is there: %v", name, changed)
	}
}

// manifests are objects by kind and name.
func manifests(t *testing.T, text []byte) map[string]unstructured.Unstructured {
	t.Helper()
	all := map[string]unstructured.Unstructured{}
	for manifest := range strings.SplitSeq(string(text), "\n---\n") {
		object := unstructured.Unstructured{}
		decode(t, manifest, &object.Object)
		all[object.GetKind()+"/"+object.GetName()] = object
	}
	return all
}

// objects are all of ours in the namespace of the samples, by kind and name.
func objects(t *testing.T, kubectl func(...string) string) map[string]unstructured.Unstructured {
	t.Helper()
	var list unstructured.UnstructuredList
	if err := json.Unmarshal([]byte(kubectl("get", "oauthclients.oauth-operator.dev,connectedaccounts.oauth-operator.dev", "--output=json", "--show-managed-fields")), &list); err != nil {
		t.Fatal(err)
	}
	all := map[string]unstructured.Unstructured{}
	for _, object := range list.Items {
		all[object.GetKind()+"/"+object.GetName()] = object
	}
	return all
}

// writesStatusAlone: of what the operator owns, nothing is in the spec, and there is something that it owns.
func writesStatusAlone(fields []metav1.ManagedFieldsEntry) error {
	const operator = "oauth-operator"
	if !slices.ContainsFunc(fields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == operator && entry.Subresource == "status" && entry.Operation == metav1.ManagedFieldsOperationUpdate
	}) {
		return errors.New("the operator owns no status: this test does not know its name")
	}
	for _, entry := range fields {
		var owned map[string]any
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned); err != nil {
			return err
		}
		if _, spec := owned["f:spec"]; spec && entry.Manager == operator {
			return errors.New("the operator owns a part of the spec: " + entry.FieldsV1.GetRawString())
		}
	}
	return nil
}

// addedToSpec are the fields of the spec that are there and were not applied: defaults, which some tools show as a difference.
func addedToSpec(applied, stored unstructured.Unstructured) []string {
	var all []string
	var compare func(path string, applied, stored map[string]any)
	compare = func(path string, applied, stored map[string]any) {
		for name, value := range stored {
			given, is := applied[name]
			if !is {
				all = append(all, path+"."+name)
				continue
			}
			below, nested := value.(map[string]any)
			above, same := given.(map[string]any)
			if nested && same {
				compare(path+"."+name, above, below)
			}
		}
	}
	given, _, _ := unstructured.NestedMap(applied.Object, "spec")
	there, _, _ := unstructured.NestedMap(stored.Object, "spec")
	compare("spec", given, there)
	return all
}

// changesFinalizers: a patch of an account that has nothing else than finalizers, and what guards against a race.
func changesFinalizers(patch json.RawMessage) bool {
	var body map[string]map[string]any
	if json.Unmarshal(patch, &body) != nil || len(body) != 1 {
		return false
	}
	for name := range body["metadata"] {
		if !slices.Contains([]string{"finalizers", "resourceVersion", "uid"}, name) {
			return false
		}
	}
	return len(body["metadata"]) > 0
}

func decode(t *testing.T, manifest string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(manifest), into); err != nil {
		t.Fatal(err)
	}
}

// The health checks for Argo CD are a part of its ConfigMap: whoever puts them in keeps what else is there.
func TestTheConfigMapOfArgoCDKeepsItsOtherKeys(t *testing.T) {
	t.Parallel()
	played := stagetest.Play(t, stage.Options{Lean: true})
	kubeconfig := filepath.Join(played.Cluster.Dir, "admin.kubeconfig")
	kubectl := func(ctx context.Context, arguments ...string) string {
		t.Helper()
		output, err := played.Kubectl(ctx, kubeconfig, arguments...)
		if err != nil {
			t.Fatal(err)
		}
		return output
	}
	kubectl(t.Context(), "create", "namespace", "argocd")
	kubectl(t.Context(), "create", "configmap", "argocd-cm", "--namespace=argocd", "--from-literal=url=https://argocd.example.com")
	kubectl(t.Context(), "patch", "configmap", "argocd-cm", "--namespace=argocd", "--type=merge", "--patch-file="+filepath.Join(played.Root, "config", "argocd", "argocd-cm.yaml"))
	output := kubectl(t.Context(), "get", "configmap", "argocd-cm", "--namespace=argocd", "--output=json")
	for _, key := range []string{`"url": "https://argocd.example.com"`, "oauth-operator.dev_OAuthClient", "oauth-operator.dev_ConnectedAccount"} {
		if !strings.Contains(output, key) {
			t.Errorf("the ConfigMap has no %s: %s", key, output)
		}
	}
}
