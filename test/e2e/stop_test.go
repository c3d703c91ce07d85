package e2e_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/test/provider"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

// SIGTERM while a token request is open: what the provider has granted is kept before the process ends, and nobody asks
// for it again.
func TestStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	played, samples := play(t)
	control(t, played, "/-/script", map[string]any{
		"steps": []map[string]any{{"action": "answer", "times": len(samples), "hold_after_commit": "reply"}},
	})
	operator := start(t, played, stage.OperatorOptions{})
	eventually(t, "all token requests are open", func(context.Context) error {
		if got := entries(t, played, provider.KindIssued); got != len(samples) {
			return errors.New("not yet")
		}
		return nil
	})
	if err := operator.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := operator.Wait(500 * time.Millisecond); err == nil {
		t.Fatal("the process ended with token requests open")
	}
	control(t, played, "/-/release", map[string]any{"hold": "reply"})
	code, err := operator.Wait(patience)
	if err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, operator.LastLines())
	}

	mark := auditMark(t, played)
	start(t, played, stage.OperatorOptions{})
	published(t, played, names(samples)...)
	if got := tokenRequests(t, played); got != len(samples) {
		t.Errorf("%d token requests for %d accounts", got, len(samples))
	}
	for _, event := range operatorEvents(t, played, mark) {
		if event.Code == 403 {
			t.Errorf("refused: %s", describe(event))
		}
	}
}

// A second replica takes over when the first is killed, and the lease is free at once when it is stopped.
func TestAnotherReplicaTakesOver(t *testing.T) {
	t.Parallel()
	played, samples := play(t)
	first := start(t, played, stage.OperatorOptions{})
	published(t, played, names(samples)...)
	second := start(t, played, stage.OperatorOptions{})
	calls := tokenRequests(t, played)

	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	deleteSecret(t, played, samples[0].Name)
	published(t, played, samples[0].Name)

	third := start(t, played, stage.OperatorOptions{})
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	deleteSecret(t, played, samples[1].Name)
	published(t, played, samples[1].Name)
	if third.Ended() {
		t.Error("the third replica has ended")
	}
	if got := tokenRequests(t, played); got != calls {
		t.Errorf("%d token requests more", got-calls)
	}
}

func control(t *testing.T, played *stage.Stage, path string, message any) {
	t.Helper()
	if _, err := played.Provider.Control(t.Context(), path, message); err != nil {
		t.Fatal(err)
	}
}
