package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// counts are numbers of tests or specs.
type counts struct {
	passed, failed, skipped int
}

func (c *counts) add(other counts) {
	c.passed += other.passed
	c.failed += other.failed
	c.skipped += other.skipped
}

func (c *counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

// report gathers the events of a run and prints what is known as soon as it is known.
type report struct {
	out      io.Writer
	total    counts
	builds   map[string]*strings.Builder // what the compiler and vet said, by import path
	shown    map[string]bool             // builds whose output was printed
	packages map[string]*result          // those that are not finished
}

func newReport(out io.Writer) *report {
	return &report{
		out:      out,
		builds:   map[string]*strings.Builder{},
		shown:    map[string]bool{},
		packages: map[string]*result{},
	}
}

// take takes one line in, and says whether it printed something.
func (r *report) take(line []byte) bool {
	event, ok := parse(line)
	if !ok {
		r.print(string(line))
		return true
	}
	switch event.Action {
	case "build-output":
		if r.builds[event.ImportPath] == nil {
			r.builds[event.ImportPath] = &strings.Builder{}
		}
		r.builds[event.ImportPath].WriteString(event.Output)
		return false
	case "build-fail":
		return false
	}
	running := r.packages[event.Package]
	if running == nil {
		running = newResult(event.Package)
		r.packages[event.Package] = running
	}
	if !running.take(event) {
		return false
	}
	delete(r.packages, event.Package)
	r.finish(running)
	return true
}

// finish prints what is to say about a package that has ended, and counts it.
func (r *report) finish(done *result) {
	counted := done.count()
	r.total.add(counted)
	for _, failure := range done.failures() {
		r.print(failure)
	}
	if build := r.builds[done.failedBuild]; build != nil && !r.shown[done.failedBuild] {
		r.shown[done.failedBuild] = true
		r.print(build.String())
	}
	for _, skip := range done.skips() {
		r.printf("skip  %s: %s\n", done.name, skip)
	}
	if done.verdict == "skip" {
		return // a package without tests
	}
	verdict, duration := "ok  ", fmt.Sprintf("%.1f s", done.elapsed)
	if counted.failed > 0 {
		verdict = "FAIL"
	}
	if done.cached {
		duration = "cached"
	}
	r.printf("%s  %s: %s (%s)\n", verdict, done.name, &counted, duration)
}

// progress says what is running.
func (r *report) progress(elapsed time.Duration) {
	var running []string
	for _, name := range slices.Sorted(maps.Keys(r.packages)) {
		running = append(running, fmt.Sprintf("%s (%d tests so far)", name, r.packages[name].ended))
	}
	if len(running) == 0 {
		running = []string{"the compiler"}
	}
	r.printf("...   %.0f s, running: %s\n", elapsed.Seconds(), strings.Join(running, ", "))
}

// close prints the closing lines and says whether the run was good.
func (r *report) close(elapsed time.Duration) bool {
	for _, name := range slices.Sorted(maps.Keys(r.packages)) {
		cut := r.packages[name]
		cut.verdict = "fail"
		cut.output.WriteString("testsum: the events ended before this package did\n")
		r.finish(cut)
	}
	if r.total == (counts{}) {
		r.print("testsum: no test ran\n")
	}
	r.printf("in %.0f s\n%s\n", elapsed.Seconds(), &r.total)
	return r.total.failed == 0 && r.total.passed > 0
}

func (r *report) printf(format string, arguments ...any) {
	fmt.Fprintf(r.out, format, arguments...) //nolint:errcheck // nobody is left to tell
}

func (r *report) print(text string) {
	r.printf("%s\n", strings.TrimRight(text, "\n"))
}
