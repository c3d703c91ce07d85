// Package e2e_test plays with real processes: the operator's binary, as its installation runs it, against a real API server
// and a provider. What it finds is counted in the API server's audit log and the provider's ledger.
package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/provider"
	"github.com/oauth-operator/oauth-operator/test/stage"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

const (
	operatorUser = "system:serviceaccount:oauth-operator-system:oauth-operator"
	// patience is a generous bound for whatever a test waits for.
	patience = 90 * time.Second
)

// play sets a stage up, with the samples applied.
func play(t *testing.T) (*stage.Stage, []stage.Sample) {
	t.Helper()
	played := stagetest.Play(t, stage.Options{})
	samples, err := played.ApplySamples(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return played, samples
}

func start(t *testing.T, played *stage.Stage, options stage.OperatorOptions) *stage.Operator {
	t.Helper()
	operator, err := played.StartOperator(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return operator
}

// eventually tries until it works.
func eventually(t *testing.T, what string, try func(context.Context) error) {
	t.Helper()
	stagetest.Within(t, patience, what, try)
}

// published waits until each account has its Secret with a token.
func published(t *testing.T, played *stage.Stage, names ...string) {
	t.Helper()
	for _, name := range names {
		eventually(t, "the Secret "+name, func(ctx context.Context) error {
			secret, err := played.Secret(ctx, name)
			if err != nil {
				return err
			}
			if len(secret.Data["access_token"]) == 0 {
				return errors.New("holds no token")
			}
			return nil
		})
	}
}

func names(samples []stage.Sample) []string {
	all := make([]string, len(samples))
	for i, sample := range samples {
		all[i] = sample.Name
	}
	return all
}

// tokenRequests are those that reached the provider so far.
func tokenRequests(t *testing.T, played *stage.Stage) int {
	t.Helper()
	return entries(t, played, provider.KindTokenRequest)
}

// entries counts the entries of a kind in the provider's ledger.
func entries(t *testing.T, played *stage.Stage, kind provider.Kind) int {
	t.Helper()
	ledger, err := provider.ReadLedger(played.Provider.Ledger)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, entry := range ledger {
		if entry.Kind == kind {
			count++
		}
	}
	return count
}

// operatorEvents are the operator's requests in the audit log, those from the mark on.
func operatorEvents(t *testing.T, played *stage.Stage, mark int) []cluster.AuditEvent {
	t.Helper()
	return eventsOf(t, played, operatorUser, mark)
}

// eventsOf are the requests of a user in the audit log, those from the mark on.
func eventsOf(t *testing.T, played *stage.Stage, user string, mark int) []cluster.AuditEvent {
	t.Helper()
	events, err := cluster.ReadAudit(played.Cluster.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(events[mark:], func(event cluster.AuditEvent) bool { return event.User != user })
}

func auditMark(t *testing.T, played *stage.Stage) int {
	t.Helper()
	events, err := cluster.ReadAudit(played.Cluster.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	return len(events)
}

func isWrite(event cluster.AuditEvent) bool {
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, event.Verb)
}

func describe(event cluster.AuditEvent) string {
	return fmt.Sprintf("%s %s/%s %s %d", event.Verb, event.Resource, event.Subresource, strings.Trim(event.Namespace+"/"+event.Name, "/"), event.Code)
}

// deleteSecret removes a token Secret as an administrator.
func deleteSecret(t *testing.T, played *stage.Stage, name string) {
	t.Helper()
	_, err := played.Kubectl(t.Context(), filepath.Join(played.Cluster.Dir, "admin.kubeconfig"), "delete", "secret", name, "--namespace", stage.Namespace)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}
