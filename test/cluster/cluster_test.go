package cluster_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/oauth-operator/oauth-operator/test/cluster"
)

func TestOwnedObjectGoesWithItsOwnerOfACustomKind(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	namespace := newNamespace(t, "collection")
	custom, err := dynamic.NewForConfig(shared.Admin)
	if err != nil {
		t.Fatal(err)
	}
	gadgets := custom.Resource(schema.GroupVersionResource{
		Group: "test.oauth-operator.dev", Version: "v1", Resource: "gadgets",
	}).Namespace(namespace)
	owner, err := gadgets.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "test.oauth-operator.dev/v1", "kind": "Gadget", "metadata": map[string]any{"name": "owner"},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secrets := client(t).CoreV1().Secrets(namespace)
	owned := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: "owned",
		OwnerReferences: []metav1.OwnerReference{
			{APIVersion: owner.GetAPIVersion(), Kind: owner.GetKind(), Name: owner.GetName(), UID: owner.GetUID()},
		},
	}}
	if _, err := secrets.Create(ctx, owned, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	if err := gadgets.Delete(ctx, "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	awaitNotFound(t, "the owned Secret", func(ctx context.Context) error {
		_, err := secrets.Get(ctx, "owned", metav1.GetOptions{})
		return err
	})
	events := audit(t, func(event cluster.AuditEvent) bool {
		return event.Verb == "delete" && event.Resource == "secrets" && event.Namespace == namespace
	})
	if len(events) != 1 || events[0].User != "system:serviceaccount:kube-system:generic-garbage-collector" {
		t.Errorf("deletions of the Secret in the audit log: %+v, want one by the garbage collector", events)
	}
}

func TestNamespaceGoesWithWhatIsInIt(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	namespaces := client(t).CoreV1().Namespaces()
	name := newNamespace(t, "short-lived")
	filled := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "inside"}}
	if _, err := client(t).CoreV1().Secrets(name).Create(ctx, filled, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	if err := namespaces.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	awaitNotFound(t, "the namespace", func(ctx context.Context) error {
		_, err := namespaces.Get(ctx, name, metav1.GetOptions{})
		return err
	})
}

func TestServiceAccountIsHeldToItsRights(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	namespace := newNamespace(t, "rights")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "visitor"}}
	if _, err := client(t).CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config, err := shared.ServiceAccountConfig(ctx, namespace, "visitor")
	if err != nil {
		t.Fatal(err)
	}
	visitor, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}

	_, err = visitor.CoreV1().Secrets(namespace).Get(ctx, "private", metav1.GetOptions{})
	if !apierrors.IsForbidden(err) {
		t.Fatalf("reading a Secret without the right to it: %v, want Forbidden", err)
	}
	_, err = visitor.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "mine"}},
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if !apierrors.IsForbidden(err) {
		t.Fatalf("creating a ConfigMap without the right to it: %v, want Forbidden", err)
	}

	got := audit(t, func(event cluster.AuditEvent) bool {
		return event.User == "system:serviceaccount:"+namespace+":visitor"
	})
	want := []struct {
		verb, resource, name string
		dryRun               bool
	}{
		{verb: "get", resource: "secrets", name: "private"},
		{verb: "create", resource: "configmaps", dryRun: true},
	}
	if len(got) != len(want) {
		t.Fatalf("%d requests in the audit log, want %d: %+v", len(got), len(want), got)
	}
	for i, event := range got {
		if event.Verb != want[i].verb || event.Resource != want[i].resource || event.DryRun != want[i].dryRun ||
			event.Namespace != namespace || event.Code != 403 || event.Stage != cluster.StageResponseComplete {
			t.Errorf("request %d is %+v, want %+v, refused with 403", i+1, event, want[i])
		}
	}
}

func TestKubeconfigIsEnoughForKubectl(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := shared.WriteKubeconfig(path, shared.Admin); err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), shared.Kubectl, "--kubeconfig", path, "auth", "whoami", "-o", "name").CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl: %v\n%s", err, output)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the kubeconfig has mode %o, want 600: it holds a key", mode)
	}
}

func TestApplySaysWhatKubectlRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "unknown.yaml")
	if err := os.WriteFile(path, []byte("apiVersion: nowhere.example/v1\nkind: Nothing\nmetadata: {name: x}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := shared.Apply(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), `no matches for kind "Nothing"`) {
		t.Errorf("Apply returned %v, want kubectl's reason", err)
	}
}

func TestClusterEndsWithTheProcessThatStartedIt(t *testing.T) {
	t.Parallel()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), lonelyVariable+"=1")
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(output)
	line, err := reader.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var host, folder string
	if _, err := fmt.Sscan(line, &host, &folder); err != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	server, err := url.Parse(host)
	if err != nil {
		t.Fatal(err)
	}
	if !answers(t.Context(), server.Host) {
		t.Fatalf("the API server of the child does not answer at %s", server.Host)
	}

	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The pipe ends when nobody holds its other end any more, the guarded process neither.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, reader)
	}()
	await(t, "the guarded process to be gone", func(context.Context) bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	_ = child.Wait()

	await(t, "the API server to be gone and its folder removed", func(ctx context.Context) bool {
		_, err := os.Stat(folder)
		return os.IsNotExist(err) && !answers(ctx, server.Host)
	})
}

// A port is chosen before its program starts, and another program may listen there by then. The library tries again, with the
// same port where it is the API server's.
func TestStartsAnewWhereSomebodyElseHasTakenAPort(t *testing.T) {
	t.Parallel()
	programs, assets := os.Getenv("KUBEBUILDER_ASSETS"), t.TempDir()
	for _, name := range []string{"etcd", "kube-apiserver"} {
		// Its first port stays taken.
		script := fmt.Sprintf(`#!/bin/sh
[ "$1" = --help ] && exec '%[1]s/%[3]s' "$@"
first='%[2]s/%[3]s.first'
[ -e "$first" ] || echo "$*" >"$first"
[ "$*" != "$(cat "$first")" ] && exec '%[1]s/%[3]s' "$@"
echo 'listen tcp 127.0.0.1:443: bind: address already in use'
exit 1
`, programs, assets, name)
		if err := os.WriteFile(filepath.Join(assets, name), []byte(script), 0o700); err != nil { //nolint:gosec // G306: it has to be executable
			t.Fatal(err)
		}
	}
	for _, name := range []string{"kube-controller-manager", "kubectl"} {
		if err := os.Symlink(filepath.Join(programs, name), filepath.Join(assets, name)); err != nil {
			t.Fatal(err)
		}
	}
	var said strings.Builder
	server, err := cluster.Start(t.Context(), cluster.Options{Assets: assets, Log: &said})
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	if got := strings.Count(said.String(), "starting anew"); got != 1 {
		t.Errorf("it was started anew %d times, want once:\n%s", got, said.String())
	}
}

func TestStartWithoutProgramsSaysWhatToRun(t *testing.T) {
	t.Parallel()
	_, err := cluster.Start(t.Context(), cluster.Options{Assets: t.TempDir(), ControllerManager: true})
	if err == nil || !strings.Contains(err.Error(), "run: make controlplane") ||
		!strings.Contains(err.Error(), "etcd, kube-apiserver, kubectl, kube-controller-manager") {
		t.Errorf("Start returned %v, want the names of the programs and what to run", err)
	}
}

func newNamespace(t *testing.T, name string) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := client(t).CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}

// audit returns the events of the shared cluster's audit log that match, in order.
func audit(t *testing.T, matches func(cluster.AuditEvent) bool) []cluster.AuditEvent {
	t.Helper()
	events, err := cluster.ReadAudit(shared.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	var found []cluster.AuditEvent
	for _, event := range events {
		if matches(event) {
			found = append(found, event)
		}
	}
	return found
}

func awaitNotFound(t *testing.T, what string, get func(context.Context) error) {
	t.Helper()
	await(t, what+" to be gone", func(ctx context.Context) bool { return apierrors.IsNotFound(get(ctx)) })
}

func await(t *testing.T, what string, done func(context.Context) bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, bound, true, func(ctx context.Context) (bool, error) {
		return done(ctx), nil
	})
	if err != nil {
		t.Fatalf("waited for %s: %v", what, err)
	}
}

func answers(ctx context.Context, address string) bool {
	connection, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	return connection.Close() == nil
}
