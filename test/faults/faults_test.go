package main

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// TestTheSmokeTest plays the short run against the operator: a kill within an outage, and one with rotations open; and beside
// it one of the operator and one of its pages, with people on their way.
func TestTheSmokeTest(t *testing.T) {
	t.Parallel()
	stagetest.Assets(t)
	operator := stagetest.Operator(t)
	var output strings.Builder
	ok, err := test(t.Context(), []string{"--quick", "--operator", operator, "--seed", "1"}, &output, t.Output())
	if err != nil || !ok {
		t.Fatalf("%v\n%s", err, output.String())
	}
	t.Log(output.String())
	lines := strings.Split(strings.TrimSpace(output.String()), "\n")
	codes := regexp.MustCompile(`^codes: ok plans=[1-9]\d* kills=[1-9]\d* sent_twice=0 lost_outside_reply=0 earlier_lost=0 unsurfaced=0 mutants=0/0$`)
	if len(lines) < 2 || !codes.MatchString(lines[len(lines)-2]) {
		t.Errorf("nothing good is said of codes:\n%s", output.String())
	}
	last := regexp.MustCompile(`^faults: ok plans=[1-9]\d* kills=[1-9]\d* grace_lost=0 strict_lost_outside_reply=0 unsurfaced=0 double_spends=0 sigterm_lost=0 outage_lost=0 naive_lost=0 mutants=0/0 seed=1$`)
	if !last.MatchString(lines[len(lines)-1]) {
		t.Errorf("the last line is %q", lines[len(lines)-1])
	}
}

func TestTheArguments(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{
		"", "--quick", "--operator=x", "--quick --full --operator=x", "--quick --operator=x more",
		"--quick --operator=x --mutant=name", "--quick --operator=x --mutant=name=binary", "--quick --operator=x --mutant=name=binary:", "--quick --operator=x --phases=nowhere", "--quick --operator=x --code-mutant=name=binary:C1@kill",
	} {
		if _, err := test(canceled(t), strings.Fields(wrong), &strings.Builder{}, t.Output()); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
	got, err := parse(strings.Fields("--full --operator=x --mutant=name=/a/binary:I1,F1@kill,sleep --mutant=other=b:I2"), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	want := []mutant{
		{name: "name", binary: "/a/binary", invariants: []string{"I1", "F1"}, phases: []string{"kill", "sleep"}},
		{name: "other", binary: "b", invariants: []string{"I2"}},
	}
	if diff := cmp.Diff(want, got.mutants, cmp.AllowUnexported(mutant{})); diff != "" {
		t.Errorf("the mutants (-want +got):\n%s", diff)
	}
}

func TestWhichPhasesOfCodesArePlayed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings settings
		names    []string
		small    bool
		rounds   map[string]int
		calm     bool
	}{
		"a smoke test":          {settings{quick: true}, nil, false, map[string]int{"code-kill": 2}, true},
		"one by name":           {settings{full: true}, []string{"code-kill-pod"}, false, map[string]int{"code-kill-pod": 2}, true},
		"for a mutant":          {settings{full: true}, []string{"code-kill"}, true, map[string]int{"code-kill": 4}, false},
		"for a mutant, briefly": {settings{quick: true}, []string{"code-kill"}, true, map[string]int{"code-kill": 4}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chosen, err := (&tests{settings: test.settings}).chooseCodes(test.names, test.small)
			if err != nil {
				t.Fatal(err)
			}
			rounds := map[string]int{}
			for _, each := range chosen.phases {
				rounds[each.name] = each.rounds
			}
			if diff := cmp.Diff(test.rounds, rounds); diff != "" || chosen.phases[len(chosen.phases)-1].calm != test.calm {
				t.Errorf("the rounds (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := (&tests{settings: settings{full: true}}).chooseCodes([]string{"kill"}, false); err == nil {
		t.Error("a phase without codes is played")
	}
}

// canceled has nothing be started, should an argument be taken that is wrong.
func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
