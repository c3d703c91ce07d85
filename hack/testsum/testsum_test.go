package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The inputs are recorded from go test. With UPDATE_GOLDEN=1 the outputs beside them are written anew, to be read before
// they are committed.
func TestReportOfRecordedRuns(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		recording string
		good      bool
		closing   string
	}{
		"a failed subtest counts, its parent does not":           {"failing-subtest", false, "2 passed, 1 failed, 1 skipped"},
		"a package that does not build is a failure":             {"build-failure", false, "0 passed, 1 failed, 0 skipped"},
		"a package that vet refuses is a failure":                {"vet-failure", false, "0 passed, 1 failed, 0 skipped"},
		"a panic is a failure of the test that had it":           {"panic", false, "1 passed, 1 failed, 0 skipped"},
		"a bad exit after all tests have passed is a failure":    {"failing-test-main", false, "1 passed, 1 failed, 0 skipped"},
		"the specs of a suite count in place of its test":        {"failing-suite", false, "2 passed, 1 failed, 2 skipped"},
		"a suite that could not begin is one failure":            {"failing-before-suite", false, "0 passed, 1 failed, 0 skipped"},
		"a verbose suite says why it skips":                      {"verbose-suite", true, "3 passed, 0 failed, 1 skipped"},
		"a run without tests is not good":                        {"no-tests", false, "0 passed, 0 failed, 0 skipped"},
		"events that end too early are a failure":                {"cut-short", false, "1 passed, 1 failed, 0 skipped"},
		"packages add up, and plain lines between them are kept": {"several-packages", false, "6 passed, 3 failed, 2 skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output, good := replay(t, test.recording)
			if good != test.good {
				t.Errorf("the run is called good: %t, want %t", good, test.good)
			}
			if !strings.HasSuffix(output, "\n"+test.closing+"\n") {
				t.Errorf("the last line is not %q alone:\n%s", test.closing, output)
			}
			if diff := cmp.Diff(golden(t, test.recording, output), output); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCountSpecs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		output string
		want   counts
		found  bool
	}{
		"a suite that passed":          {"SUCCESS! -- 12 Passed | 0 Failed | 1 Pending | 2 Skipped\n", counts{12, 0, 3}, true},
		"in colour":                    {"\x1b[38;5;9m\x1b[1mFAIL!\x1b[0m -- \x1b[1m2 Passed\x1b[0m | \x1b[1m1 Failed\x1b[0m | 0 Pending | 0 Skipped", counts{2, 1, 0}, true},
		"flaky and repeated specs":     {"SUCCESS! -- 5 Passed | 0 Failed | 1 Flaked | 2 Repeated | 0 Pending | 0 Skipped\n", counts{5, 0, 0}, true},
		"a suite that was interrupted": {"FAIL! - Interrupted by User -- 1 Passed | 1 Failed | 0 Pending | 3 Skipped\n", counts{1, 1, 3}, true},
		"failed for two reasons":       {"FAIL! - Interrupted by User, Suite Timeout Elapsed\n1 Passed | 0 Failed | 0 Pending | 3 Skipped\n", counts{1, 0, 3}, true},
		"the words within a sentence":  {"it said: 1 Passed | 0 Failed | 0 Pending | 3 Skipped\n", counts{}, false},
		"an ordinary test":             {"--- PASS: TestFine (0.00s)\n", counts{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, found := countSpecs(test.output)
			if got != test.want || found != test.found {
				t.Errorf("counted %v (%t), want %v (%t)", got, found, test.want, test.found)
			}
		})
	}
}

func TestProgressNamesWhatRuns(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	running := newReport(&output)
	running.progress(10 * time.Second)
	running.take([]byte(`{"Action":"start","Package":"example.test/shop"}`))
	running.take([]byte(`{"Action":"pass","Package":"example.test/shop","Test":"TestFine"}`))
	running.progress(20 * time.Second)
	want := "...   10 s, running: the compiler\n...   20 s, running: example.test/shop (1 tests so far)\n"
	if diff := cmp.Diff(want, output.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

// replay returns what is printed for a recorded run that took three seconds, and whether it is called good.
func replay(t *testing.T, recording string) (string, bool) {
	t.Helper()
	recorded, err := os.Open(filepath.Join("testdata", recording+".json"))
	if err != nil {
		t.Fatal(err)
	}
	defer recorded.Close() //nolint:errcheck // only read
	var output bytes.Buffer
	replayed := newReport(&output)
	for line := range read(recorded) {
		replayed.take(line)
	}
	good := replayed.close(3 * time.Second)
	return output.String(), good
}

// golden returns the output that is wanted for a recorded run.
func golden(t *testing.T, recording, output string) string {
	t.Helper()
	path := filepath.Join("testdata", recording+".txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(output), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(want)
}
