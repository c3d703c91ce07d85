package main

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// TestTheSmokeRun counts everything that a run counts, of so few accounts that no time means anything.
func TestTheSmokeRun(t *testing.T) {
	t.Parallel()
	stagetest.Assets(t)
	operator := stagetest.Operator(t)
	var output strings.Builder
	args := []string{"--smoke", "--judge=false", "--only=M1,M1s,M3,M9", "--operator", operator}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	if err := run(ctx, args, &output, t.Output()); err != nil {
		t.Fatalf("%v\n%s", err, output.String())
	}
	t.Log(output.String())
	lines := strings.Split(strings.TrimSpace(output.String()), "\n")
	last := regexp.MustCompile(`^bench: M1=\d+\.\d\d M1s=\d+\.\d\d M2=2/1/0,3/1/0 M3=0/0/0 M4=- M5=- M8=- M9=\d+\.\d\d$`)
	if !last.MatchString(lines[len(lines)-1]) {
		t.Errorf("the last line is %q", lines[len(lines)-1])
	}
}

func TestTheLastLine(t *testing.T) {
	t.Parallel()
	number := func(value float64) *float64 { return &value }
	for want, f := range map[string]figures{
		"bench: M1=- M1s=- M2=-,- M3=- M4=- M5=- M8=- M9=-": {},
		"bench: M1=0.80 M1s=0.76 M2=2/1/0,3.0005/1/0 M3=0/1/0 M4=1.50 M5=0.25 M8=1.00 M9=0.50": {
			m1: number(0.8), m1s: number(0.755001), m2: &perRefresh{2, 1, 0}, m2s: &perRefresh{3 + 1.0/2000, 1, 0},
			m3: &[3]int{0, 1, 0}, m4: number(1.5), m5: number(0.25), m8: number(1), m9: number(0.5),
		},
	} {
		if got := f.line(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestWhatHasToBeMet(t *testing.T) {
	t.Parallel()
	number := func(value float64) *float64 { return &value }
	well := func() *figures {
		return &figures{m1: number(0.5), m1s: number(0.5), m2: &perRefresh{2, 1, 0}, m2s: &perRefresh{3, 1, 0}, m3: &[3]int{}, m4: number(9), m5: number(0.99), m8: number(9), m9: number(9)}
	}
	for says, spoil := range map[string]func(*figures){
		"":                             func(*figures) {},
		"M1 is 0.49":                   func(f *figures) { f.m1 = number(0.49) },
		"M1s is 0.49":                  func(f *figures) { f.m1s = number(0.49) },
		"M2 is 2.0001/1/0":             func(f *figures) { f.m2.writes += 1.0 / 10000 },
		"M2 of single-use":             func(f *figures) { f.m2s.gets = 1 },
		"done for accounts at rest":    func(f *figures) { f.m3[1] = 1 },
		"M5 is 1.00 MB for 10 Secrets": func(f *figures) { f.m5 = number(1) },
	} {
		f := well()
		spoil(f)
		err := f.judge(settings{secrets: 10})
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want something about %q", err, says)
		}
	}
	if err := (&figures{}).judge(settings{}); err != nil {
		t.Errorf("what was not measured is not judged: %v", err)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	var times []time.Duration
	for i := range 200 {
		times = append(times, time.Duration(200-i)*time.Millisecond)
	}
	if got, want := spreadOf(times), (spread{200, 100 * time.Millisecond, 198 * time.Millisecond, 200 * time.Millisecond}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := spreadOf(nil); got != (spread{}) {
		t.Errorf("of nothing: %v", got)
	}
}

// What is counted, and as what.
func TestTally(t *testing.T) {
	t.Parallel()
	counted := newTally("")
	note := func(verb, resource, name string, change ...func(*cluster.AuditEvent)) {
		event := cluster.AuditEvent{
			User: operatorUser, Stage: cluster.StageResponseComplete, Namespace: "a", Verb: verb, Resource: resource, Name: name, Code: 200,
			Written: time.Unix(int64(len(counted.all["a"])), 0),
		}
		for _, each := range change {
			each(&event)
		}
		counted.note(&event)
	}
	note("update", "connectedaccounts", "x")
	note("create", "secrets", "x", func(e *cluster.AuditEvent) { e.Code = 201 })
	note("update", "secrets", "x")
	note("update", "secrets", "x-import")
	note("update", "secrets", "y", func(e *cluster.AuditEvent) { e.DryRun = true })
	note("patch", "connectedaccounts", "x", func(e *cluster.AuditEvent) { e.Code = 409 })
	note("create", "events", "x")
	note("update", "oauthclients", "x")
	note("delete", "secrets", "z")
	note("create", "configmaps", "z")
	note("get", "connectedaccounts", "x")
	note("get", "secrets", "x")
	note("list", "secrets", "")
	note("watch", "secrets", "", func(e *cluster.AuditEvent) { e.Stage = cluster.StageResponseStarted })
	note("update", "connectedaccounts", "x", func(e *cluster.AuditEvent) { e.User = "somebody" })
	note("update", "connectedaccounts", "x", func(e *cluster.AuditEvent) { e.Namespace = "b" })
	want := counts{accounts: 1, clients: 1, secrets: 4, others: 1, events: 1, dryRuns: 1, refused: 1, accountGets: 1, secretGets: 1}
	if got := *counted.of["a"]; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := want.writes(); got != 7 {
		t.Errorf("%d writes, want 7", got)
	}
	if written := counted.written["a"]; len(written) != 1 || !written["x"].Equal(time.Unix(1, 0)) || len(counted.all["a"]) != 2 {
		t.Errorf("Secrets: %v, %v", written, counted.all)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	if _, err := parse([]string{"more"}, t.Output()); err == nil {
		t.Error("an argument is taken")
	}
	s, err := parse([]string{"--smoke", "--only=M1,M9"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if s.rest != 20 || !s.wants("M1") || !s.wants("M3", "M9") || s.wants("M1s", "M3") {
		t.Errorf("%+v", s)
	}
}
