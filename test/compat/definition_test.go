package compat_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// A definition of an earlier version knows no parameters of token requests. Who applies a client that has some is told; where
// that is not asked for, they are dropped and nothing else is, and the client that is applied again has them.
func TestADefinitionWithoutParametersDropsThemAlone(t *testing.T) {
	t.Parallel()
	stagetest.Assets(t)
	bases := filepath.Join("..", "..", "config", "crd", "bases")
	current := filepath.Join(bases, "oauth-operator.dev_oauthclients.yaml")
	server, err := cluster.Start(t.Context(), cluster.Options{Manifests: []string{withoutParameters(t, current)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	admin := clientOf(t, server)
	if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}); err != nil {
		t.Fatal(err)
	}
	err = admin.Create(t.Context(), audienceClient(), client.FieldValidation(metav1.FieldValidationStrict))
	if err == nil || !strings.Contains(err.Error(), `unknown field "spec.tokenRequest.parameters"`) {
		t.Errorf("the API server says %v", err)
	}
	stored := audienceClient()
	if err := admin.Create(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	want := audienceClient().Spec
	want.TokenRequest.Parameters = nil
	if diff := cmp.Diff(want, stored.Spec); diff != "" {
		t.Errorf("under the earlier definition (-wanted +stored):\n%s", diff)
	}

	if err := server.Apply(t.Context(), current); err != nil {
		t.Fatal(err)
	}
	untilTaken(t, func() bool {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(stored), stored); err != nil {
			t.Fatal(err)
		}
		stored.Spec = audienceClient().Spec
		err := admin.Update(t.Context(), stored)
		return err == nil && cmp.Equal(audienceClient().Spec, stored.Spec)
	})
}

func audienceClient() *v1alpha1.OAuthClient {
	const server = "https://provider.example/oauth/token"
	return &v1alpha1.OAuthClient{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bills"},
		Spec: v1alpha1.OAuthClientSpec{
			Endpoints: v1alpha1.Endpoints{Token: server},
			ClientID:  "my-client",
			Authentication: v1alpha1.Authentication{
				Method: v1alpha1.ClientSecretPost, ClientSecretRef: v1alpha1.SecretKeyReference{Name: "bills-client", Key: "client_secret"},
			},
			Grants: []v1alpha1.GrantType{v1alpha1.GrantClientCredentials},
			TokenRequest: v1alpha1.TokenRequest{
				BodyFormat: v1alpha1.BodyFormatJSON, Parameters: []v1alpha1.TokenParameter{{Name: "audience", Value: "https://api.provider.example/"}},
			},
		},
	}
}

// withoutParameters writes the definition as it was before there were any.
func withoutParameters(t *testing.T, current string) string {
	t.Helper()
	text, err := os.ReadFile(current)
	if err != nil {
		t.Fatal(err)
	}
	definition := map[string]any{}
	if err := yaml.Unmarshal(text, &definition); err != nil {
		t.Fatal(err)
	}
	versions, _, err := unstructured.NestedSlice(definition, "spec", "versions")
	if err != nil {
		t.Fatal(err)
	}
	path := []string{"schema", "openAPIV3Schema", "properties", "spec", "properties", "tokenRequest"}
	for _, each := range versions {
		version, is := each.(map[string]any)
		if _, found, _ := unstructured.NestedMap(version, append(path, "properties", "parameters")...); !is || !found {
			t.Fatal("the definition has no parameters")
		}
		unstructured.RemoveNestedField(version, append(path, "properties", "parameters")...)
		unstructured.RemoveNestedField(version, append(path, "x-kubernetes-validations")...)
	}
	if err := unstructured.SetNestedSlice(definition, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	if text, err = yaml.Marshal(definition); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "definition.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// untilTaken waits for what comes when the API server has taken up a definition.
func untilTaken(t *testing.T, so func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { return so(), nil })
	if err != nil {
		t.Fatal(err)
	}
}
