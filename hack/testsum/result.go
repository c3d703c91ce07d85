package main

import (
	"regexp"
	"slices"
	"strings"
)

// result is what is known about one package.
type result struct {
	name        string
	tests       map[string]*test
	order       []string // names of tests in the order in which they began
	output      strings.Builder
	ended       int
	verdict     string // pass, fail or skip, once it has ended
	elapsed     float64
	cached      bool
	failedBuild string
}

// test is what is known about one test function or subtest.
type test struct {
	verdict string // pass, fail or skip; empty if it never ended
	output  strings.Builder
	parent  bool // whether it has subtests, which then count in its place
}

func newResult(name string) *result {
	return &result{name: name, tests: map[string]*test{}}
}

// take takes an event of the package in and says whether it was the last one.
func (r *result) take(e event) bool {
	if e.Test != "" {
		r.takeTest(e)
		return false
	}
	switch e.Action {
	case "output":
		r.output.WriteString(e.Output)
		r.cached = r.cached || strings.HasSuffix(e.Output, "(cached)\n")
	case "pass", "fail", "skip":
		r.verdict, r.elapsed, r.failedBuild = e.Action, e.Elapsed, e.FailedBuild
		return true
	}
	return false
}

func (r *result) takeTest(e event) {
	current := r.test(e.Test)
	switch e.Action {
	case "output":
		current.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		current.verdict = e.Action
		r.ended++
	}
}

// test returns the test of a name, and notes that those above it have subtests.
func (r *result) test(name string) *test {
	if known := r.tests[name]; known != nil {
		return known
	}
	r.tests[name] = &test{}
	r.order = append(r.order, name)
	if above, _, ok := cutLast(name); ok {
		r.test(above).parent = true
	}
	return r.tests[name]
}

// cutLast splits the name of a subtest at its last slash. The part above may be the name of no test, where a name given to
// Run has a slash in it; it then never ends and counts for nothing.
func cutLast(name string) (above, last string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// count counts the tests of the package.
func (r *result) count() counts {
	var sum counts
	for name, current := range r.tests {
		sum.add(r.countTest(name, current))
	}
	if r.verdict == "fail" && sum.failed == 0 {
		sum.failed++ // it did not build, or ended badly outside of every test
	}
	return sum
}

func (r *result) countTest(name string, current *test) counts {
	if current.parent {
		if current.verdict == "fail" && !r.failedBelow(name) {
			return counts{failed: 1}
		}
		return counts{}
	}
	if specs, ok := countSpecs(current.output.String()); ok {
		if current.verdict != "pass" && specs.failed == 0 {
			specs.failed++ // the suite failed, though no spec did
		}
		return specs
	}
	switch current.verdict {
	case "pass":
		return counts{passed: 1}
	case "skip":
		return counts{skipped: 1}
	default:
		return counts{failed: 1}
	}
}

// failedBelow says whether a subtest of the named test failed or never ended.
func (r *result) failedBelow(name string) bool {
	for other, current := range r.tests {
		if strings.HasPrefix(other, name+"/") && !current.parent && current.verdict != "pass" && current.verdict != "skip" {
			return true
		}
	}
	return false
}

// failures returns the whole output of all that failed, in order. What a test printed that has a failed subtest is part of
// it: such lines say what led there.
func (r *result) failures() []string {
	var texts []string
	for _, name := range r.order {
		current := r.tests[name]
		if current.verdict == "pass" || current.verdict == "skip" || (current.parent && current.verdict == "") {
			continue
		}
		text := current.output.String()
		if current.verdict == "" {
			text += "--- FAIL: " + name + " never ended\n"
		}
		texts = append(texts, text)
	}
	if r.verdict == "fail" {
		texts = append(texts, r.output.String())
	}
	return texts
}

// skips returns a line for each skipped test and spec: its name and the reason.
func (r *result) skips() []string {
	var lines []string
	for _, name := range slices.Sorted(slices.Values(r.order)) {
		current := r.tests[name]
		if current.verdict == "skip" && !current.parent {
			lines = append(lines, name+": "+reason(current.output.String()))
		}
		for _, spec := range skippedSpecs(current.output.String()) {
			lines = append(lines, name+": "+spec)
		}
	}
	return lines
}

// reason returns what a skipped test said, in one line, without the file and line that Skip puts before it.
func reason(output string) string {
	place := regexp.MustCompile(`^\S+\.go:\d+: `)
	var words []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		words = append(words, place.ReplaceAllString(line, ""))
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}
