package chart_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

const (
	// release is not the namespace's usual name: what a release is called must not matter.
	release  = "tokens"
	accounts = "connectedaccounts." + v1alpha1.Group
	keyring  = "oauth-operator-keyring"
)

// installed is a cluster, and Helm with a kubeconfig for it.
type installed struct {
	*cluster.Cluster
	admin      client.Client
	program    string
	kubeconfig string
}

func newCluster(t *testing.T) *installed {
	t.Helper()
	stagetest.Assets(t)
	c := &installed{program: program(t, "helm"), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	var err error
	if c.Cluster, err = cluster.Start(t.Context(), cluster.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	scheme := runtime.NewScheme()
	if err := errors.Join(c.WriteKubeconfig(c.kubeconfig, c.Admin), clientgoscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	if c.admin, err = client.New(c.Admin, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	return c
}

// helm runs Helm for the release.
func (c *installed) helm(t *testing.T, arguments ...string) string {
	t.Helper()
	return mustRun(t, c.program, append(arguments, "--kubeconfig="+c.kubeconfig, "--namespace="+home)...)
}

// get reads an object; false: there is none.
func (c *installed) get(t *testing.T, object client.Object, namespace, name string) bool {
	t.Helper()
	err := c.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

func (c *installed) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		if err := c.admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
}

// eventually tries until it works.
func eventually(t *testing.T, what string, try func(context.Context) error) {
	t.Helper()
	stagetest.Within(t, 90*time.Second, what, try)
}

// The life of a release on a real API server: installed, upgraded, removed, installed again. What holds consents stays throughout.
func TestInstallUpgradeUninstall(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.create(t,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: home, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
	)
	if said := c.helm(t, "install", release, chartFolder, "--set=consent.url=https://oauth.example.com,consent.ingress.enabled=true"); !strings.Contains(said, "Back up the keyring") {
		t.Errorf("Helm says nothing of the keyring:\n%s", said)
	}
	c.admitsPods(t)
	c.awaitDefinitions(t)
	// What the operator makes, and what users do.
	c.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: keyring}})
	eventually(t, "an account", func(ctx context.Context) error {
		return c.admin.Create(ctx, newAccount("acme"))
	})

	c.upgrade(t)
	c.second(t)
	c.uninstall(t)
	c.again(t)
}

func newAccount(name string) *v1alpha1.ConnectedAccount {
	return &v1alpha1.ConnectedAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: v1alpha1.ConnectedAccountSpec{
			ClientRef: v1alpha1.ClientReference{Name: "provider"}, Grant: v1alpha1.Grant{Type: v1alpha1.GrantClientCredentials},
		},
	}
}

// admitsPods has the pods admitted in a namespace that demands the restricted profile.
func (c *installed) admitsPods(t *testing.T) {
	t.Helper()
	for _, name := range []string{operatorName, consentName} {
		deployment := &appsv1.Deployment{}
		if !c.get(t, deployment, home, name) {
			t.Fatalf("there is no Deployment %s", name)
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: name, Labels: deployment.Spec.Template.Labels}, Spec: deployment.Spec.Template.Spec}
		if err := c.admin.Create(t.Context(), pod.DeepCopy(), client.DryRunAll); err != nil {
			t.Errorf("the pod of %s: %v", name, err)
		}
		pod.Spec.Containers[0].SecurityContext = nil
		if err := c.admin.Create(t.Context(), pod, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "restricted") {
			t.Errorf("the namespace demands nothing of pods: %v", err)
		}
	}
}

func (c *installed) awaitDefinitions(t *testing.T) {
	t.Helper()
	eventually(t, "the definitions", func(ctx context.Context) error {
		return c.admin.List(ctx, &v1alpha1.ConnectedAccountList{})
	})
}

// upgrade breaks what is installed first, as an earlier version would differ, and wants all to be as in the chart afterwards.
func (c *installed) upgrade(t *testing.T) {
	t.Helper()
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if !c.get(t, definition, "", accounts) {
		t.Fatal("there is no definition")
	}
	delete(definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"].Properties, "sealedCredential")
	definition.Spec.Names.Categories = nil
	if err := c.admin.Update(t.Context(), definition); err != nil {
		t.Fatal(err)
	}
	// Somebody else has written these fields since: Helm is told that the chart is right.
	c.helm(t, "upgrade", release, chartFolder, "--force-conflicts", "--set=replicas=3")
	if !c.get(t, definition, "", accounts) {
		t.Fatal("there is no definition any more")
	}
	if _, has := definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"].Properties["sealedCredential"]; !has || len(definition.Spec.Names.Categories) == 0 {
		t.Error("the definition is not that of the chart")
	}
	deployment := &appsv1.Deployment{}
	if !c.get(t, deployment, home, operatorName) || *deployment.Spec.Replicas != 3 {
		t.Errorf("there are %d replicas", *deployment.Spec.Replicas)
	}
	if c.get(t, &appsv1.Deployment{}, home, consentName) {
		t.Error("the pages are there, though the values of this upgrade have none")
	}
	c.kept(t)
}

// second installs another release beside the first, which is refused.
func (c *installed) second(t *testing.T) {
	t.Helper()
	c.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "second"}})
	_, err := run(t, nil, c.program, "install", "second", chartFolder, "--kubeconfig="+c.kubeconfig, "--namespace=second")
	if err == nil || !strings.Contains(err.Error(), "invalid ownership metadata") {
		t.Errorf("a second release in the cluster: %v", err)
	}
}

// uninstall removes the release. What holds consents is not of it.
func (c *installed) uninstall(t *testing.T) {
	t.Helper()
	c.helm(t, "uninstall", release)
	for _, object := range []client.Object{&appsv1.Deployment{}, &corev1.ServiceAccount{}} {
		if c.get(t, object, home, operatorName) {
			t.Errorf("the %T is still there", object)
		}
	}
	c.kept(t)
}

// again installs under the same name, which takes up what was kept, and under another, which does so when it is told to.
func (c *installed) again(t *testing.T) {
	t.Helper()
	c.helm(t, "install", release, chartFolder)
	c.kept(t)
	if !c.get(t, &appsv1.Deployment{}, home, operatorName) {
		t.Error("there is no operator")
	}
	c.helm(t, "uninstall", release)
	c.helm(t, "install", "other", chartFolder, "--take-ownership")
	c.kept(t)
}

// kept looks for what holds consents.
func (c *installed) kept(t *testing.T) {
	t.Helper()
	for _, name := range []string{accounts, "oauthclients." + v1alpha1.Group} {
		// One that is being deleted is there until all accounts are gone.
		if definition := (&apiextensionsv1.CustomResourceDefinition{}); !c.get(t, definition, "", name) || definition.DeletionTimestamp != nil {
			t.Errorf("the definition %s goes", name)
		}
	}
	if !c.get(t, &corev1.Secret{}, home, keyring) {
		t.Error("the keyring is gone")
	}
	if !c.get(t, &v1alpha1.ConnectedAccount{}, "shop", "acme") {
		t.Error("the account is gone")
	}
}
