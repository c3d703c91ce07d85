package lifecycle_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var updateStates = flag.Bool("update", false, "write the tables of states into the document instead of comparing them") //nolint:gochecknoglobals // a test binary has no other place for a flag

const (
	statesDocument = "../../docs/gitops.md"
	statesBegin    = "<!-- The tables of states are written by `go test ./internal/lifecycle -run TestStatesAreDocumented -update`. -->\n"
	statesEnd      = "<!-- The end of the tables of states. -->\n"
)

// The tables that people read are those that the tests hold against the code, with states that look alike from outside in one
// row.
func TestStatesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(statesDocument)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(text), statesBegin)
	written, after, ends := strings.Cut(rest, statesEnd)
	if !begins || !ends {
		t.Fatalf("%s has no place for the tables of states", statesDocument)
	}
	want := statesText()
	if *updateStates {
		if err := os.WriteFile(statesDocument, []byte(before+statesBegin+want+statesEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if written != want {
		t.Errorf("%s tells of other states than there are: run go test ./internal/lifecycle -run TestStatesAreDocumented -update", statesDocument)
	}
}

// seenState is what can be seen of a state from outside, and who must act.
type seenState struct {
	ready string
	pipeline
	acts string
}

func statesText() string {
	accounts, clients := newStates(), newStates()
	for _, row := range healthTable() {
		accounts.add(seenState{row.ready, row.pipeline, row.acts}, row.state)
	}
	for _, row := range clientTable() {
		clients.add(seenState{row.ready, row.pipeline, row.acts}, row.state)
	}
	return "\nOf an account, with a token that is good:\n\n" + accounts.table("True") +
		"\nOf an account, without one:\n\n" + accounts.table("False") +
		"\nOf a client:\n\n" + clients.table("True", "False") + "\n"
}

// states are the states of one kind, those that look alike together, in the order of their first.
type states struct {
	order    []seenState
	examples map[seenState]string
}

func newStates() *states { return &states{examples: map[seenState]string{}} }

func (s *states) add(seen seenState, example string) {
	if !slices.Contains(s.order, seen) {
		s.order = append(s.order, seen)
		s.examples[seen] = example
	}
}

func (s *states) table(ready ...string) string {
	text := strings.Builder{}
	text.WriteString("| `Ready`, reason | for instance | kstatus | Argo CD | who acts |\n| --- | --- | --- | --- | --- |\n")
	for _, seen := range s.order {
		status, reason, _ := strings.Cut(seen.ready, " ")
		if slices.Contains(ready, status) {
			fmt.Fprintf(&text, "| `%s`, `%s` | %s | %s | %s | %s |\n", status, reason, s.examples[seen], seen.kstatus, seen.argo, seen.acts)
		}
	}
	return text.String()
}

// Whatever a person must do is told to a person, and is no failure: a pipeline that rolled it back would take the way to the
// consent away. Of a failure, nobody else than somebody can make the end.
func TestWhoActsAndWhatPipelinesSeeAgree(t *testing.T) {
	t.Parallel()
	for _, row := range healthTable() {
		ready := strings.HasPrefix(row.ready, "True")
		switch {
		case ready != (row.pipeline == current()):
			t.Errorf("%s: %s, and pipelines see %+v", row.state, row.ready, row.pipeline)
		case row.pipeline == degraded() && (row.acts == nobody || row.acts == person):
			t.Errorf("%s has failed, and %s acts", row.state, row.acts)
		case row.pipeline == awaitsPerson() && row.acts == nobody:
			t.Errorf("%s waits for nobody", row.state)
		case row.acts == person && !ready && row.pipeline != awaitsPerson():
			t.Errorf("%s: the person acts, and pipelines see %+v", row.state, row.pipeline)
		}
	}
}
