package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
)

// TestTheFilesAreRead goes the whole way, from files to the exit code.
func TestTheFilesAreRead(t *testing.T) {
	t.Parallel()
	s := killed("strict", 0.4, nil)
	s.lost(3, "r0", v1alpha1.ReasonRefreshTokenLost)
	folder := t.TempDir()
	written := s.end(5)
	writeLines(t, folder, records.AccountsFile, written.accounts)
	writeLines(t, folder, records.FaultsFile, written.faults)
	writeLines(t, folder, records.ProxyFile, written.passages)
	writeLines(t, folder, records.FinalFile, written.finals)
	writeLines(t, folder, records.LedgerFile, written.entries)
	var lines []map[string]any
	for _, event := range written.events {
		lines = append(lines, auditLine(event))
	}
	writeLines(t, folder, records.AuditFile, lines)
	summary := filepath.Join(folder, "summary.json")
	var output strings.Builder
	ok, err := run([]string{"--records", folder, "--summary", summary}, &output)
	if err != nil || ok {
		t.Errorf("ok is %t, %v", ok, err)
	}
	if want := judge(written, limits{}).String(); output.String() != want {
		t.Errorf("from files it says\n%s\nwant\n%s", output.String(), want)
	}
	text, err := os.ReadFile(summary)
	if err != nil {
		t.Fatal(err)
	}
	var given verdict
	if err := json.Unmarshal(text, &given); err != nil || given.StrictLost != 1 || len(given.Violations) != 1 {
		t.Errorf("the summary is %s, %v", text, err)
	}
	if err := os.Remove(filepath.Join(folder, records.LedgerFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := run([]string{"--records", folder}, &output); err == nil {
		t.Error("a run without a ledger is judged")
	}
	if _, err := run(nil, &output); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Errorf("without a folder: %v", err)
	}
}

func writeLines[T any](t *testing.T, folder, name string, lines []T) {
	t.Helper()
	file, err := records.Create(folder, name)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		file.Write(line)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// auditLine is an event as the API server writes it.
func auditLine(event cluster.AuditEvent) map[string]any {
	const micro = "2006-01-02T15:04:05.000000Z07:00"
	return map[string]any{
		"auditID": event.ID, "stage": event.Stage, "verb": event.Verb, "user": map[string]any{"username": event.User},
		"requestURI":     fmt.Sprintf("/apis/%s/namespaces/n/%s/%s/status", event.Group, event.Resource, event.Name),
		"objectRef":      map[string]any{"resource": event.Resource, "apiGroup": event.Group, "subresource": event.Subresource, "name": event.Name, "namespace": "n"},
		"responseStatus": map[string]any{"code": event.Code}, "requestObject": event.RequestObject,
		"requestReceivedTimestamp": event.Received.Format(micro), "stageTimestamp": event.Written.Format(micro),
	}
}
