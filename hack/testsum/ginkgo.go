package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// countSpecs returns the numbers in the closing line of a Ginkgo suite, and whether there is such a line in the output of
// a test. Pending specs count as skipped. In between, Ginkgo may tell of flaky specs, which are counted already. Where a suite
// failed for several reasons, these take a line of their own before the numbers.
func countSpecs(output string) (counts, bool) {
	closing := regexp.MustCompile(`(?m)^(?:(?:SUCCESS!|FAIL!).*-- )?(\d+) Passed \| (\d+) Failed \| (?:\d+ \w+ \| )*?(\d+) Pending \| (\d+) Skipped`)
	match := closing.FindStringSubmatch(plain(output))
	if match == nil {
		return counts{}, false
	}
	numbers := make([]int, 0, len(match))
	for _, digits := range match[1:] {
		number, err := strconv.Atoi(digits)
		if err != nil {
			return counts{}, false
		}
		numbers = append(numbers, number)
	}
	return counts{passed: numbers[0], failed: numbers[1], skipped: numbers[2] + numbers[3]}, true
}

// skippedSpecs returns a line for each spec that a Ginkgo suite says it has skipped or left pending, and one for those
// that it counts without saying so: it names them only where its reporter is verbose.
func skippedSpecs(output string) []string {
	counted, ok := countSpecs(output)
	if !ok {
		return nil
	}
	var specs []string
	lines := strings.Split(plain(output), "\n")
	for i, line := range lines {
		// A block begins with the verdict, then comes the name of the spec.
		switch {
		case i+1 < len(lines) && strings.HasPrefix(line, "S [SKIPPED]"):
			specs = append(specs, strings.TrimSpace(strings.Replace(lines[i+1], "[It] ", "", 1))+": "+specReason(lines[i+1:]))
		case i+1 < len(lines) && strings.HasPrefix(line, "P [PENDING]"):
			specs = append(specs, strings.TrimSpace(lines[i+1])+": pending")
		}
	}
	if silent := counted.skipped - len(specs); silent > 0 {
		specs = append(specs, fmt.Sprintf("%d specs, of which the suite says no more: it was not verbose, or did not select them", silent))
	}
	return specs
}

// specReason returns the words that a spec gave to Skip, from the lines of its block.
func specReason(block []string) string {
	for _, line := range block {
		if strings.HasPrefix(line, "-----") {
			break
		}
		if _, words, ok := strings.Cut(line, "[SKIPPED] "); ok {
			return strings.TrimSpace(words)
		}
	}
	return "no reason given"
}

// plain removes the escape sequences that colour a terminal.
func plain(text string) string {
	return regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(text, "")
}
