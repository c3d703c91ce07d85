package seal_test

import (
	"os"
	"testing"
)

// The environment of a test binary that was started as another process of the journal.
const (
	childTask = "SEAL_TEST_CHILD_TASK"
	childDir  = "SEAL_TEST_CHILD_DIR"
)

func TestMain(m *testing.M) {
	if task := os.Getenv(childTask); task != "" {
		os.Exit(runChild(task, os.Getenv(childDir)))
	}
	os.Exit(m.Run())
}
