package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/test/provider"
	"github.com/oauth-operator/oauth-operator/test/stage"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

const (
	smartBusinessImport = "smartbusiness-imported"
	smartbillsImport    = "smartbills-imported"
)

// rotating sets a stage up on which two accounts import a consent, and have their tokens refreshed every few seconds. It also
// returns the folder that stands for the pod's own disk.
func rotating(t *testing.T, reuse provider.ReusePolicy) (played *stage.Stage, journal string) {
	t.Helper()
	played = stagetest.Play(t, stage.Options{TokenLifetime: 15 * time.Second, Reuse: reuse})
	imports, err := played.ApplyImports(t.Context(), stage.ImportOptions{RefreshBefore: 8 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(imports), " "); got != smartbillsImport+" "+smartBusinessImport {
		t.Fatalf("the imports are %s", got)
	}
	return played, filepath.Join(played.Dir, "journal")
}

// SIGTERM while refresh tokens are being spent: the process waits for the replies, keeps what they bring, and ends well.
func TestStopKeepsWhatARefreshTokenBrought(t *testing.T) {
	t.Parallel()
	played, journal := rotating(t, provider.ReusePolicy{})
	control(t, played, "/-/script", map[string]any{
		"steps": []map[string]any{{"action": "answer", "times": 2, "grant": provider.GrantRefreshToken, "hold_after_commit": "reply"}},
	})
	operator := start(t, played, stage.OperatorOptions{JournalDir: journal})
	eventually(t, "both refresh tokens are spent", spentAtLeast(played, 1))
	if err := operator.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := operator.Wait(500 * time.Millisecond); err == nil {
		t.Fatal("the process ended while refresh tokens were being spent")
	}
	control(t, played, "/-/release", map[string]any{"hold": "reply"})
	code, err := operator.Wait(patience)
	if err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, operator.LastLines())
	}
	for _, name := range []string{smartBusinessImport, smartbillsImport} {
		// The import was the first result.
		if got := statusOf(t, played, name, "{.status.rotations} {.status.claim.id}"); got != "2 " {
			t.Errorf("when the process had ended, the account %s had the rotation and the claim %q, want 2 and none", name, got)
		}
	}

	start(t, played, stage.OperatorOptions{JournalDir: journal})
	eventually(t, "both accounts go on", spentAtLeast(played, 2))
	published(t, played, smartBusinessImport, smartbillsImport)
	nothingLost(t, played, 0)
}

// kill -9 where the provider forgives nothing. One reply is in the journal, and the API server would not take it; the other
// request hangs, and the provider has not looked at it. The next process in the same pod keeps the one and repeats the other.
func TestKillLosesNeitherAReplyNorARequest(t *testing.T) {
	t.Parallel()
	played, journal := rotating(t, provider.ReusePolicy{})
	control(t, played, "/-/script", map[string]any{
		"client_id": "demo-smartbusiness-customers", "steps": []map[string]any{{"action": "hang", "unprocessed": true}},
	})
	control(t, played, "/-/script", map[string]any{
		"client_id": "demo-smartbills-customers", "steps": []map[string]any{{"action": "answer", "hold_after_commit": "reply"}},
	})
	operator := start(t, played, stage.OperatorOptions{JournalDir: journal})
	eventually(t, "both requests are open", func(context.Context) error {
		if tokenRequests(t, played) != 2 {
			return errors.New("not yet")
		}
		return nil
	})
	allow := refuseKeeps(t, played)
	control(t, played, "/-/release", map[string]any{"hold": "reply"})
	eventually(t, "the operator has the reply, and the API server refuses it", func(context.Context) error {
		text, err := os.ReadFile(operator.LogFile)
		if err == nil && !strings.Contains(string(text), "the outcome of a token request is not written yet") {
			return errors.New("not yet")
		}
		return err
	})
	if err := operator.Kill(); err != nil {
		t.Fatal(err)
	}
	allow()

	start(t, played, stage.OperatorOptions{JournalDir: journal})
	published(t, played, smartBusinessImport, smartbillsImport)
	// One request hung and changed nothing; each account has made two others.
	eventually(t, "both accounts go on", spentAtLeast(played, 2))
	nothingLost(t, played, 0)
}

// kill -9 after the provider has spent the tokens and before anything of the replies was sent. Nobody has the next refresh
// token; a provider that forgives a second use hands it out again, if that comes soon enough.
func TestKillIsFoundOutWithinTheGrace(t *testing.T) {
	t.Parallel()
	played, journal := rotating(t, provider.ReusePolicy{Kind: provider.GraceSameSuccessor, Grace: time.Minute})
	control(t, played, "/-/script", map[string]any{
		"steps": []map[string]any{{"action": "answer", "times": 2, "grant": provider.GrantRefreshToken, "hold_after_commit": "reply"}},
	})
	operator := start(t, played, stage.OperatorOptions{JournalDir: journal})
	eventually(t, "both refresh tokens are spent", spentAtLeast(played, 1))
	if err := operator.Kill(); err != nil {
		t.Fatal(err)
	}
	control(t, played, "/-/release", map[string]any{"hold": "reply"})

	start(t, played, stage.OperatorOptions{JournalDir: journal})
	published(t, played, smartBusinessImport, smartbillsImport)
	eventually(t, "both accounts go on", spentAtLeast(played, 2))
	nothingLost(t, played, 2)
}

// spentAtLeast wants so many refresh tokens of each import to have been spent.
func spentAtLeast(played *stage.Stage, least int) func(context.Context) error {
	return func(context.Context) error {
		ledger, err := provider.ReadLedger(played.Provider.Ledger)
		if err != nil {
			return err
		}
		spent := map[string]int{}
		for _, entry := range ledger {
			if entry.Kind == provider.KindSpent {
				spent[entry.User]++
			}
		}
		for _, name := range []string{smartBusinessImport, smartbillsImport} {
			if spent[name] < least {
				return fmt.Errorf("%s: %d refresh tokens were spent, want %d", name, spent[name], least)
			}
		}
		return nil
	}
}

// nothingLost wants the provider to have refused nothing and ended no consent, and to have forgiven a second use so often.
func nothingLost(t *testing.T, played *stage.Stage, forgiven int) {
	t.Helper()
	ledger, err := provider.ReadLedger(played.Provider.Ledger)
	if err != nil {
		t.Fatal(err)
	}
	reused := 0
	for _, entry := range ledger {
		switch {
		case entry.Kind == provider.KindReused && entry.Outcome == provider.Granted:
			reused++
		case entry.Kind == provider.KindReused, entry.Kind == provider.KindRevoked,
			entry.Kind == provider.KindTokenRequest && entry.Outcome == provider.Refused:
			t.Errorf("%s of %s: %s %s", entry.Kind, entry.User, entry.Outcome, entry.Reason)
		}
	}
	if reused != forgiven {
		t.Errorf("%d refresh tokens were used twice, want %d", reused, forgiven)
	}
}

func statusOf(t *testing.T, played *stage.Stage, name, jsonpath string) string {
	t.Helper()
	output, err := played.Kubectl(t.Context(), admin(played), "get", "connectedaccount", name, "--namespace", stage.Namespace, "--output", "jsonpath="+jsonpath)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

func admin(played *stage.Stage) string { return filepath.Join(played.Cluster.Dir, "admin.kubeconfig") }

// keepsRefused has the API server take claims from the operator, but no result.
const keepsRefused = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: keeps-refused
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [oauth-operator.dev], apiVersions: ["*"], operations: [UPDATE], resources: [connectedaccounts/status]}
  matchConditions:
  - name: the-operator
    expression: request.userInfo.username == '` + operatorUser + `'
  validations:
  - expression: object.?status.?rotations.orValue(0) == oldObject.?status.?rotations.orValue(0)
    message: no results today
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: keeps-refused
spec:
  policyName: keeps-refused
  validationActions: [Deny]
`

// refuseKeeps has the API server refuse all results, waits until it does, and returns what ends that.
func refuseKeeps(t *testing.T, played *stage.Stage) (allow func()) {
	t.Helper()
	manifest := filepath.Join(played.Dir, "keeps-refused.yaml")
	if err := os.WriteFile(manifest, []byte(keepsRefused), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := played.Kubectl(t.Context(), admin(played), "apply", "--filename", manifest); err != nil {
		t.Fatal(err)
	}
	result := filepath.Join(played.Dir, "result.json")
	eventually(t, "the API server refuses results", func(ctx context.Context) error {
		account, err := played.Kubectl(ctx, admin(played), "get", "connectedaccount", smartbillsImport, "--namespace", stage.Namespace, "--output", "json")
		if err != nil {
			return err
		}
		if err := os.WriteFile(result, []byte(strings.Replace(account, `"rotations": 1`, `"rotations": 2`, 1)), 0o600); err != nil {
			return err
		}
		_, err = played.Kubectl(ctx, admin(played), "replace", "--filename", result, "--as", operatorUser, "--subresource", "status", "--dry-run=server")
		if err == nil {
			return errors.New("it takes them")
		}
		if !strings.Contains(err.Error(), "no results today") {
			return err
		}
		return nil
	})
	return func() {
		t.Helper()
		if _, err := played.Kubectl(t.Context(), admin(played), "delete", "--filename", manifest); err != nil {
			t.Fatal(err)
		}
	}
}
