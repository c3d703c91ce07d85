package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

// A restart with healthy accounts must cost the provider nothing and write nothing; and the process must be alive, which a
// deleted Secret shows.
func TestRestartCallsNobodyAndWritesNothing(t *testing.T) {
	t.Parallel()
	played, samples := play(t)
	operator := start(t, played, stage.OperatorOptions{})
	published(t, played, names(samples)...)
	awaitReadyStatus(t, played, names(samples))
	if err := operator.Stop(); err != nil {
		t.Fatal(err)
	}
	calls, mark := tokenRequests(t, played), auditMark(t, played)

	start(t, played, stage.OperatorOptions{})
	eventually(t, "the new process looks at every token Secret", func(context.Context) error {
		return looked(operatorEvents(t, played, mark), names(samples))
	})
	deleteSecret(t, played, samples[0].Name)
	published(t, played, samples[0].Name)

	if now := tokenRequests(t, played); now != calls {
		t.Errorf("the provider was called %d times", now-calls)
	}
	secrets := 0
	for _, event := range operatorEvents(t, played, mark) {
		switch {
		case !isWrite(event), event.Resource == "leases", event.Resource == "events":
		case event.Resource == "secrets" && event.Verb == "create" && event.Namespace == stage.Namespace && event.Code == 201:
			secrets++
		default:
			t.Errorf("an unexpected write: %s", describe(event))
		}
	}
	if secrets != 1 {
		t.Errorf("%d Secrets were written, want the one that was deleted", secrets)
	}
}

// looked reports which token Secret the process has not read since it started.
func looked(events []cluster.AuditEvent, names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(events, func(event cluster.AuditEvent) bool {
			return event.Verb == "get" && event.Resource == "secrets" && event.Name == name
		}) {
			return fmt.Errorf("%s was not read yet", name)
		}
	}
	return nil
}

// awaitReadyStatus waits until the status of each account says that it is ready: the last write of its first lap.
func awaitReadyStatus(t *testing.T, played *stage.Stage, names []string) {
	t.Helper()
	kubeconfig, err := played.Kubeconfig(t.Context(), stage.Namespace, stage.Developer)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all accounts ready", func(ctx context.Context) error {
		output, err := played.Kubectl(ctx, kubeconfig, "get", "connectedaccounts", "--namespace", stage.Namespace,
			"--output", `jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}`)
		if err != nil {
			return err
		}
		for _, name := range names {
			if !strings.Contains(output, name+"=True") {
				return errors.New("not all ready: " + output)
			}
		}
		return nil
	})
}
