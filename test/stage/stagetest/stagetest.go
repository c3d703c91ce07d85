// Package stagetest has what tests that play on a stage need each time: a stage for as long as a test runs, and waiting with a
// bound.
package stagetest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/test/stage"
)

// Assets is the folder of the control plane's programs. Where nothing says where it is, the test is skipped.
func Assets(tb testing.TB) string {
	tb.Helper()
	folder := os.Getenv("KUBEBUILDER_ASSETS")
	if folder == "" {
		tb.Skip("there is no control plane: run `make test`, which builds one, or set KUBEBUILDER_ASSETS")
	}
	return folder
}

// Operator is the path of the operator's program: that of OAUTH_OPERATOR, or one that is built for the test.
func Operator(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv("OAUTH_OPERATOR"); path != "" {
		return path
	}
	root, err := stage.Root("")
	if err != nil {
		tb.Fatal(err)
	}
	folder := tb.TempDir()
	if err := stage.Build(tb.Context(), root, folder, "./cmd/oauth-operator"); err != nil {
		tb.Fatal(err)
	}
	return filepath.Join(folder, "oauth-operator")
}

// Play sets a stage up until the test ends. Where the test has failed, what was written remains, and it says where.
func Play(tb testing.TB, options stage.Options) *stage.Stage {
	tb.Helper()
	Assets(tb)
	played, err := stage.Start(tb.Context(), options)
	if played != nil {
		tb.Cleanup(func() { strike(tb, played) })
	}
	if err != nil {
		tb.Fatal(err)
	}
	return played
}

// strike stops all and removes what was written, unless somebody has to read it.
func strike(tb testing.TB, played *stage.Stage) {
	tb.Helper()
	if err := played.Stop(); err != nil {
		tb.Error(err)
	}
	if tb.Failed() {
		tb.Logf("what was written is in %s", played.Dir)
		return
	}
	if err := played.Remove(); err != nil {
		tb.Error(err)
	}
}

// Within tries ten times a second until it works. After the limit the test ends with the last error.
func Within(tb testing.TB, limit time.Duration, what string, try func(context.Context) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("%s: %v", what, err)
		case <-ticker.C:
		}
	}
}
