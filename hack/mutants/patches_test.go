// Package mutants_test tries the patches beside it.
package mutants_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPatchesApply: a change beside a patch is noticed at once, and not when the fault tests come to it.
func TestPatchesApply(t *testing.T) {
	t.Parallel()
	var patches []string
	for _, pattern := range []string{"*.patch", "*/*.patch"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		patches = append(patches, found...)
	}
	if len(patches) == 0 {
		t.Fatal("there are no patches")
	}
	for _, patch := range patches {
		command := exec.CommandContext(t.Context(), "git", "apply", "--check", filepath.Join("hack", "mutants", patch))
		command.Dir = filepath.Join("..", "..")
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", patch, err, output)
		}
	}
}
