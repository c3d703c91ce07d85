package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// wantedKills and wantedBucket are for a full run.
	wantedKills  = 100
	wantedBucket = 10
	// wantedCodeKills and wantedCodeBucket are for the codes of a full run.
	wantedCodeKills  = 100
	wantedCodeBucket = 3
	// besideAtOnce is how many of the builds that are to fail are played at once, beside the operator.
	besideAtOnce = 2
	// mutantPatience is how long a mutant's accounts have to be usable again: those that it has broken never are.
	mutantPatience = time.Minute
	// mutantRest is how long a mutant's codes may be open: those that it does not end stay so.
	mutantRest = 20 * time.Second
	// mutantRounds is how many rounds of a phase of codes a mutant is played.
	mutantRounds = 4
)

// tests are the runs that were asked for.
type tests struct {
	settings
	folder   string
	programs string
	output   io.Writer
	log      io.Writer
	// verdict waits until the verdict is built, or says why not.
	verdict func() error
}

// summary is what the verdict says of one run.
type summary struct {
	Plans       int `json:"plans"`
	Kills       int `json:"kills"`
	GraceLost   int `json:"graceLost"`
	StrictLost  int `json:"strictLostOutsideReply"`
	Unsurfaced  int `json:"unsurfaced"`
	DoubleSpend int `json:"doubleSpends"`
	SIGTERMLost int `json:"sigtermLost"`
	OutageLost  int `json:"outageLost"`
	SentTwice   int `json:"codesSentTwice"`
	CodesLost   int `json:"codesLostOutsideReply"`
	EarlierLost int `json:"earlierLost"`
	Lost        int `json:"lost"`
	Violations  []struct {
		Invariant string `json:"invariant"`
	} `json:"violations"`

	ok bool
	// Played: there was such a run. Caught is how many of its mutants were.
	Played bool `json:"-"`
	Caught int  `json:"-"`
}

// others is what comes of the builds that are to fail.
type others struct {
	naiveLost, caught int
	ok                bool
}

// all plays the operator, and beside it the naive build and the mutants, and says the last word. A play spends most of its
// time waiting, so that a few disturb each other little.
func (t *tests) all(ctx context.Context) (bool, error) {
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var beside others
	var given, codes summary
	var all sync.WaitGroup
	errs := make([]error, 3)
	for i, play := range []func() error{
		func() (err error) { given, err = t.real(ctx); return err },
		func() (err error) { codes, err = t.codes(ctx); return err },
		func() (err error) { beside, err = t.beside(ctx); return err },
	} {
		all.Go(func() {
			if errs[i] = play(); errs[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return false, err
	}
	ok := given.ok && codes.ok && beside.ok
	fmt.Fprintf(t.log, "faults: all took %s\n", time.Since(began).Round(time.Second)) //nolint:errcheck // a progress line
	if codes.Played {
		_, err := fmt.Fprintf(t.output, "codes: %s plans=%d kills=%d sent_twice=%d lost_outside_reply=%d earlier_lost=%d unsurfaced=%d mutants=%d/%d\n",
			wordOf(codes.ok), codes.Plans, codes.Kills, codes.SentTwice, codes.CodesLost, codes.EarlierLost, codes.Unsurfaced,
			codes.Caught, len(t.codeMutants))
		if err != nil {
			return false, err
		}
	}
	_, err := fmt.Fprintf(t.output,
		"faults: %s plans=%d kills=%d grace_lost=%d strict_lost_outside_reply=%d unsurfaced=%d double_spends=%d sigterm_lost=%d outage_lost=%d naive_lost=%d mutants=%d/%d seed=%d\n",
		wordOf(ok), given.Plans, given.Kills, given.GraceLost, given.StrictLost, given.Unsurfaced, given.DoubleSpend, given.SIGTERMLost, given.OutageLost,
		beside.naiveLost, beside.caught, len(t.mutants), t.seed)
	return ok, err
}

func wordOf(ok bool) string {
	if !ok {
		return "failed"
	}
	return "ok"
}

// beside plays the builds that are to fail: the naive one, and the mutants.
func (t *tests) beside(ctx context.Context) (others, error) {
	var result others
	var plays []func(context.Context) error
	if t.naive != "" {
		plays = append(plays, func(ctx context.Context) (err error) {
			result.naiveLost, err = t.playNaive(ctx)
			return err
		})
	}
	mutants, count := t.mutantPlays(t.mutants, false)
	err := someAtOnce(ctx, append(plays, mutants...))
	result.caught = count()
	result.ok = result.caught == len(t.mutants)
	if t.naive != "" && t.expectLosses && result.naiveLost == 0 {
		fmt.Fprintln(t.output, "violation: run: the naive build lost nothing") //nolint:errcheck // it goes where the verdict goes
		result.ok = false
	}
	return result, err
}

// mutantPlays are the plays of mutants; what comes back beside them counts those that were caught.
func (t *tests) mutantPlays(mutants []mutant, codes bool) (plays []func(context.Context) error, count func() int) {
	caught := make([]bool, len(mutants))
	for i, each := range mutants {
		plays = append(plays, func(ctx context.Context) (err error) {
			caught[i], err = t.playMutant(ctx, each, codes)
			return err
		})
	}
	return plays, func() int {
		return len(slices.DeleteFunc(caught, func(was bool) bool { return !was }))
	}
}

// someAtOnce plays a few at a time, in order, until one fails.
func someAtOnce(ctx context.Context, plays []func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	turns := make(chan struct{}, besideAtOnce)
	errs := make([]error, len(plays))
	for i, play := range plays {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			if errs[i] = play(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// choose are the phases and accounts of a run. A small one has few accounts.
func (t *tests) choose(names []string, small bool) ([]phase, map[string]int, error) {
	phases, fleet := fullPhases(), fullFleet()
	if t.quick || small {
		phases, fleet = quickPhases(), quickFleet()
		if len(names) > 0 {
			phases = fullPhases()
		}
	}
	if len(names) == 0 {
		return phases, fleet, nil
	}
	var chosen []phase
	for _, name := range names {
		at := slices.IndexFunc(phases, func(p phase) bool { return p.name == name })
		if at < 0 {
			return nil, nil, fmt.Errorf("there is no phase %q", name)
		}
		chosen = append(chosen, phases[at])
	}
	return chosen, fleet, nil
}

// chooseCodes is choose, for the phases in which people consent. The last one ends in a calm, but of a small run, which is for a
// mutant: what that breaks shows before.
func (t *tests) chooseCodes(names []string, small bool) (runOptions, error) {
	phases, fleet, life := codePhases(), codeFleet(), codeLifetime
	if t.quick || small {
		fleet = quickCodeFleet()
	}
	if t.quick {
		life = lifetime
		if len(names) == 0 {
			phases = quickCodePhases()
		}
	}
	if len(names) > 0 {
		phases = slices.DeleteFunc(phases, func(p phase) bool { return !slices.Contains(names, p.name) })
		if len(phases) < len(names) {
			return runOptions{}, fmt.Errorf("there is no such phase: %v", names)
		}
	}
	for i := range phases {
		if small {
			phases[i].rounds = min(phases[i].rounds, mutantRounds)
		}
		phases[i].calm = i == len(phases)-1 && !small
	}
	return runOptions{phases: phases, fleet: fleet, kinds: consentKinds(life), seed: t.seed}, nil
}

// check reports phases that do not exist, before anything is started.
func (t *tests) check() error {
	rotations, codes := t.chosen()
	_, _, err := t.choose(rotations, false)
	_, failed := t.chooseCodes(codes, false)
	err = errors.Join(err, failed)
	for _, each := range t.mutants {
		_, _, failed := t.choose(each.phases, true)
		err = errors.Join(err, failed)
	}
	for _, each := range t.codeMutants {
		_, failed := t.chooseCodes(each.phases, true)
		err = errors.Join(err, failed)
	}
	return err
}

// chosen are the phases that were asked for by name: of rotations, and of codes.
func (t *tests) chosen() (rotations, codes []string) {
	if t.only == "" {
		return nil, nil
	}
	for _, name := range strings.Split(t.only, ",") {
		if slices.ContainsFunc(codePhases(), func(p phase) bool { return p.name == name }) {
			codes = append(codes, name)
		} else {
			rotations = append(rotations, name)
		}
	}
	return rotations, codes
}

// codes plays the operator and its pages, with people who consent, and then the mutants of that.
func (t *tests) codes(ctx context.Context) (summary, error) {
	_, names := t.chosen()
	if t.only != "" && len(names) == 0 {
		return summary{ok: true}, nil
	}
	options, err := t.chooseCodes(names, false)
	if err != nil {
		return summary{}, err
	}
	options.name, options.binary, options.folder = "codes: ", t.operator, filepath.Join(t.folder, "codes")
	var demands []string
	if t.full && t.only == "" {
		demands = []string{fmt.Sprint("--want-kills=", wantedCodeKills), fmt.Sprint("--want-bucket=", wantedCodeBucket)}
	}
	given, err := t.playAndJudge(ctx, options, append(demands, "--codes")...)
	if err != nil {
		return given, err
	}
	given.Played = true
	mutants, count := t.mutantPlays(t.codeMutants, true)
	err = someAtOnce(ctx, mutants)
	given.Caught = count()
	given.ok = given.ok && given.Caught == len(t.codeMutants)
	return given, err
}

// real plays the operator itself.
func (t *tests) real(ctx context.Context) (summary, error) {
	names, codes := t.chosen()
	if len(names) == 0 && len(codes) > 0 {
		return summary{ok: true}, nil
	}
	var demands []string
	phases, fleet, err := t.choose(names, false)
	if err != nil {
		return summary{}, err
	}
	if t.full && t.only == "" {
		demands = []string{fmt.Sprint("--want-kills=", wantedKills), fmt.Sprint("--want-bucket=", wantedBucket)}
	}
	if t.expectLosses {
		demands = append(demands, "--expect-losses")
	}
	return t.playAndJudge(ctx, runOptions{
		binary: t.operator, folder: filepath.Join(t.folder, "operator"), seed: t.seed, phases: phases, fleet: fleet,
	}, demands...)
}

// playNaive plays the kills against a build without the protocol, and returns how many accounts it lost.
func (t *tests) playNaive(ctx context.Context) (int, error) {
	var names []string
	if !t.quick {
		names = []string{"kill", "outage-kill", "sigterm", "outage"}
	}
	phases, fleet, err := t.choose(names, true)
	if err != nil {
		return 0, err
	}
	given, err := t.playAndJudge(ctx, runOptions{
		name: "naive: ", binary: t.naive, folder: filepath.Join(t.folder, "naive"), seed: t.seed, phases: phases, fleet: fleet,
	}, "--plain")
	return given.Lost, err
}

// mutantOptions are what is played against a mutant: rotations, or codes.
func (t *tests) mutantOptions(of mutant, codes bool) (runOptions, error) {
	if codes {
		return t.chooseCodes(of.phases, true)
	}
	phases, fleet, err := t.choose(of.phases, true)
	return runOptions{phases: phases, fleet: fleet, seed: t.seed}, err
}

// playMutant plays one phase after the other until an invariant says that something is wrong.
func (t *tests) playMutant(ctx context.Context, of mutant, codes bool) (bool, error) {
	options, err := t.mutantOptions(of, codes)
	if err != nil {
		return false, err
	}
	options.name, options.binary, options.folder, options.patience = of.name+": ", of.binary, filepath.Join(t.folder, "mutant-"+of.name), mutantPatience
	var demands []string
	if codes {
		options.rest, demands = mutantRest, []string{"--codes"}
	}
	// What it breaks is meant to break: it is told in one line, below.
	quiet := *t
	quiet.output = io.Discard
	given, err := quiet.playAndJudge(ctx, options, demands...)
	if err != nil {
		return false, err
	}
	var named []string
	for _, each := range given.Violations {
		if !slices.Contains(named, each.Invariant) {
			named = append(named, each.Invariant)
		}
	}
	was := slices.ContainsFunc(named, func(invariant string) bool { return slices.Contains(of.invariants, invariant) })
	word := "caught"
	if !was {
		word = "missed"
	}
	_, err = fmt.Fprintf(t.output, "mutant %s: %s, violated: %v, wanted one of %v\n", of.name, word, named, of.invariants)
	return was, err
}

// playAndJudge plays a run, and has the verdict judge its records.
func (t *tests) playAndJudge(ctx context.Context, options runOptions, demands ...string) (summary, error) {
	options.programs, options.log = t.programs, t.log
	folder, err := play(ctx, options)
	if err != nil {
		return summary{}, err
	}
	if err := t.verdict(); err != nil {
		return summary{}, err
	}
	path := filepath.Join(folder, "summary.json")
	arguments := append([]string{"--records=" + folder, "--summary=" + path}, demands...)
	command := exec.CommandContext(ctx, filepath.Join(t.programs, "verdict"), arguments...)
	command.Stdout, command.Stderr = t.output, t.log
	err = command.Run()
	given := summary{ok: err == nil}
	text, failed := os.ReadFile(path)
	if failed != nil {
		return given, errors.Join(err, failed)
	}
	err = json.Unmarshal(text, &given)
	return given, err
}
