package cluster_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/test/cluster"
)

const statusUpdate = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a1","stage":"ResponseComplete",` +
	`"requestURI":"/apis/oauth-operator.dev/v1alpha1/namespaces/shop/connectedaccounts/a/status?dryRun=All","verb":"update",` +
	`"user":{"username":"system:serviceaccount:oauth-operator:controller","groups":["system:authenticated"]},"userAgent":"oauth-operator/v0",` +
	`"objectRef":{"resource":"connectedaccounts","namespace":"shop","name":"a","apiGroup":"oauth-operator.dev","apiVersion":"v1alpha1","subresource":"status"},` +
	`"responseStatus":{"metadata":{},"code":409},"requestReceivedTimestamp":"2026-01-02T03:04:05.000001Z","stageTimestamp":"2026-01-02T03:04:05.000009Z"}`

const discovery = `{"auditID":"a2","stage":"ResponseComplete","requestURI":"/version","verb":"get","user":{"username":"u"},` +
	`"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-02T03:04:05Z","stageTimestamp":"2026-01-02T03:04:05Z"}`

func TestReadAudit(t *testing.T) {
	t.Parallel()
	received := time.Date(2026, 1, 2, 3, 4, 5, 1000, time.UTC)
	update := cluster.AuditEvent{
		ID: "a1", User: "system:serviceaccount:oauth-operator:controller", UserAgent: "oauth-operator/v0", Verb: "update",
		Group: "oauth-operator.dev", Resource: "connectedaccounts", Subresource: "status", Namespace: "shop", Name: "a",
		RequestURI: "/apis/oauth-operator.dev/v1alpha1/namespaces/shop/connectedaccounts/a/status?dryRun=All",
		DryRun:     true, Code: 409, Stage: cluster.StageResponseComplete,
		Received: received, Written: received.Add(8 * time.Microsecond),
	}
	whole := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	version := cluster.AuditEvent{
		ID: "a2", User: "u", Verb: "get", RequestURI: "/version", Code: 200, Stage: cluster.StageResponseComplete,
		Received: whole, Written: whole,
	}
	for name, test := range map[string]struct {
		log  string
		want []cluster.AuditEvent
		err  string
	}{
		"an empty log has no events":                         {},
		"a dry run of a status update":                       {log: statusUpdate + "\n", want: []cluster.AuditEvent{update}},
		"a request that is not about an object":              {log: discovery + "\n", want: []cluster.AuditEvent{version}},
		"a last line that is still being written is left":    {log: discovery + "\n" + statusUpdate[:50], want: []cluster.AuditEvent{version}},
		"events keep their order":                            {log: statusUpdate + "\n" + discovery + "\n", want: []cluster.AuditEvent{update, version}},
		"a line that is no event is an error with its place": {log: discovery + "\nnonsense\n", err: "audit event 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "audit.log")
			if err := os.WriteFile(path, []byte(test.log), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := cluster.ReadAudit(path)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}
