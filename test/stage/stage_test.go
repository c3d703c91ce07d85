package stage_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/provider"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

// bound is how long something is waited for that takes seconds.
const bound = time.Minute

// TestTheStage plays what the demo does not: the provider's own lifetimes, and an operator that is killed.
func TestTheStage(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := stage.Start(ctx, stage.Options{Dir: t.TempDir(), Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	operator, err := s.StartOperator(ctx, stage.OperatorOptions{ExtraArgs: []string{"--v=1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, wanted := range []string{"--leader-elect", "--insecure-allow-loopback", "--v=1"} {
		if !strings.Contains(strings.Join(operator.Args, " "), wanted) {
			t.Errorf("the operator was started with %v, want %s among it", operator.Args, wanted)
		}
	}
	samples, err := s.ApplySamples(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range samples {
		awaitSecret(t, s, sample.Name)
	}
	calls := tokenRequests(t, s)
	if calls != len(samples) {
		t.Errorf("%d token requests for %d accounts", calls, len(samples))
	}

	if err := operator.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code, err := operator.Wait(bound); err != nil || code != -1 {
		t.Errorf("killed: exit code %d, %v", code, err)
	}
	if err := operator.Stop(); err == nil {
		t.Error("the end of a process that was not asked to end is no error")
	}
	if _, err := s.StartOperator(ctx, stage.OperatorOptions{}); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := s.Kubeconfig(ctx, stage.Namespace, stage.Developer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kubectl(ctx, kubeconfig, "delete", "secret", samples[0].Name, "--namespace="+stage.Namespace); err != nil {
		t.Fatal(err)
	}
	awaitSecret(t, s, samples[0].Name)
	if after := tokenRequests(t, s); after != calls {
		t.Errorf("%d token requests after a kill and a deleted Secret, want %d as before", after, calls)
	}
	checkIdentity(t, s)
}

// checkIdentity looks for the operator in the audit log: it is its ServiceAccount, and was refused nothing.
func checkIdentity(t *testing.T, s *stage.Stage) {
	t.Helper()
	events, err := cluster.ReadAudit(s.Cluster.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	user := "system:serviceaccount:" + stage.OperatorNamespace + ":" + stage.OperatorName
	sealed := 0
	for _, event := range events {
		if event.UserAgent == "oauth-operator" && (event.User != user || event.Code == 403) {
			t.Errorf("%s %s as %s: %d", event.Verb, event.RequestURI, event.User, event.Code)
		}
		if event.Subresource == "status" && strings.Contains(string(event.RequestObject), `"sealedCredential":"`) {
			sealed++
		}
	}
	if sealed == 0 {
		t.Error("the audit log has no body with a sealed credential")
	}
}

func awaitSecret(t *testing.T, s *stage.Stage, name string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, bound, true, func(ctx context.Context) (bool, error) {
		secret, err := s.Secret(ctx, name)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil && len(secret.Data["headers"]) > 0, err
	})
	if err != nil {
		t.Fatalf("wait for the Secret %s: %v", name, err)
	}
}

func tokenRequests(t *testing.T, s *stage.Stage) int {
	t.Helper()
	entries, err := provider.ReadLedger(s.Provider.Ledger)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, entry := range entries {
		if entry.Kind == provider.KindTokenRequest {
			count++
		}
	}
	return count
}
