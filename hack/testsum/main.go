// Command testsum turns the events of `go test -json` into what a person wants to see: a line for each package when it
// ends, the whole output of what failed, why anything was skipped, and at the end one line that counts.
//
//	go test -json ./... | go run ./hack/testsum
//
// A test with subtests counts as its subtests, a Ginkgo suite as its specs. It exits with 1 if anything failed or did not
// build, and also if nothing ran, since a run without tests proves nothing. It must never call a run good that it did not
// understand: a package that fails without naming a test is counted as a failure itself.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// patience is how long the screen stays still before a line says what is going on.
const patience = 10 * time.Second

func main() {
	if !run(os.Stdin, os.Stdout) {
		os.Exit(1)
	}
}

// run reads events until they end, and says whether the run was good.
func run(input io.Reader, output io.Writer) bool {
	began := time.Now()
	report := newReport(output)
	lines := read(input)
	still := time.NewTimer(patience)
	defer still.Stop()
	for {
		select {
		case line, more := <-lines:
			if !more {
				return report.close(time.Since(began))
			}
			if report.take(line) {
				still.Reset(patience)
			}
		case <-still.C:
			report.progress(time.Since(began))
			still.Reset(patience)
		}
	}
}

// read passes the lines of the input on, each without its end.
func read(input io.Reader) <-chan []byte {
	lines := make(chan []byte)
	go func() {
		defer close(lines)
		reader := bufio.NewReader(input)
		for {
			line, err := reader.ReadBytes('\n')
			if len(line) > 0 {
				lines <- line
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					fmt.Fprintln(os.Stderr, "testsum: read events:", err)
				}
				return
			}
		}
	}()
	return lines
}

// event is one line of `go test -json`, as `go doc test2json` and `go help buildjson` describe it.
type event struct {
	Action      string  `json:"Action"`
	Package     string  `json:"Package"`
	ImportPath  string  `json:"ImportPath"` // of a build, in place of Package
	Test        string  `json:"Test"`
	Output      string  `json:"Output"`
	Elapsed     float64 `json:"Elapsed"`     // seconds
	FailedBuild string  `json:"FailedBuild"` // the ImportPath of the build that a package failed for
}

// parse returns the event of a line, or nothing if the line is not an event. The go command writes some complaints plainly.
func parse(line []byte) (event, bool) {
	var parsed event
	if err := json.Unmarshal(line, &parsed); err != nil || parsed.Action == "" {
		return event{}, false
	}
	return parsed, true
}
