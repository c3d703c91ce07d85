package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/go-logr/logr"
)

func TestVerbosityIsCapped(t *testing.T) {
	t.Parallel()
	for asked, want := range map[int]int{-3: 0, 0: 0, 1: 1, 5: 5, 6: 5, 10: 5, 1 << 40: 5} {
		var output bytes.Buffer
		logger := logr.FromSlogHandler(logHandler(&output, asked))
		highest := -1
		for verbosity := range 12 {
			output.Reset()
			logger.V(verbosity).Info("said")
			if output.Len() == 0 {
				continue
			}
			highest = verbosity
			if !json.Valid(output.Bytes()) {
				t.Errorf("not a line of JSON: %s", &output)
			}
		}
		if highest != want {
			t.Errorf("-v=%d logs up to %d, want %d", asked, highest, want)
		}
	}
}
