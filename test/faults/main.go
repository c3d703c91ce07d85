// Command faults plays the faults that a rotation of a single-use refresh token, and a person's consent, must survive: processes that are killed,
// stopped and replaced at every point of it, an API server that refuses, replies that are lost; against a real API server and a
// provider that plays every rule for a second use. It records what happened and has another program, verdict, judge it.
//
// It stands between the operator and the others, and outside the operator: it must never look into it or help it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/oauth-operator/oauth-operator/test/stage"
)

// settings are the flags.
type settings struct {
	seed         uint64
	quick, full  bool
	operator     string
	naive        string
	mutants      []mutant
	codeMutants  []mutant
	expectLosses bool
	keep         bool
	only         string
	root         string
}

// mutant is a build with one thing wrong in it, which must show as a violation of one of the named invariants.
type mutant struct {
	name, binary string
	invariants   []string
	// phases are those that are played; none means all.
	phases []string
}

func main() {
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := test(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func parse(args []string, output io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.Uint64Var(&s.seed, "seed", 1, "what the dice begin with")
	flags.BoolVar(&s.quick, "quick", false, "a smoke test of less than a minute")
	flags.BoolVar(&s.full, "full", false, "everything, in less than twenty minutes")
	flags.StringVar(&s.operator, "operator", "", "the operator's binary")
	flags.StringVar(&s.naive, "naive", "", "a build without the protocol, whose losses under the same kills are counted")
	flags.BoolVar(&s.expectLosses, "expect-losses", false, "want losses in the reply's way, and of the naive build: a run that cannot lose proves nothing")
	flags.BoolVar(&s.keep, "keep", false, "keep the records of a run that went well")
	flags.StringVar(&s.only, "phases", "", "play these phases only, separated by commas")
	flags.StringVar(&s.root, "root", "", "the checkout; default: the one around the working directory")
	for name, into := range map[string]*[]mutant{"mutant": &s.mutants, "code-mutant": &s.codeMutants} {
		flags.Func(name, "NAME=BINARY:INVARIANT[,INVARIANT][@PHASE,PHASE]: a build that must be caught by an invariant; may be repeated", func(text string) error {
			parsed, err := parseMutant(text)
			*into = append(*into, parsed)
			return err
		})
	}
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if s.quick == s.full || s.operator == "" || flags.NArg() > 0 {
		return s, errors.New("usage: faults --quick|--full --operator BINARY [--seed N] [--naive BINARY] [--mutant NAME=BINARY:INVARIANT]... [--code-mutant NAME=BINARY:INVARIANT]... [--expect-losses] [--phases NAMES] [--keep]")
	}
	return s, nil
}

func parseMutant(text string) (mutant, error) {
	name, rest, found := strings.Cut(text, "=")
	text, phases, _ := strings.Cut(rest, "@")
	at := strings.LastIndex(text, ":")
	if !found || at < 1 || at == len(text)-1 || name == "" {
		return mutant{}, errors.New("write NAME=BINARY:INVARIANT[,INVARIANT][@PHASE,PHASE]")
	}
	parsed := mutant{name: name, binary: text[:at], invariants: strings.Split(text[at+1:], ",")}
	if phases != "" {
		parsed.phases = strings.Split(phases, ",")
	}
	return parsed, nil
}

// lines is a writer for two at once, who write whole lines.
type lines struct {
	mu sync.Mutex
	to io.Writer
}

func (l *lines) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(text)
}

// test plays everything that was asked for. The last line that it writes is the verdict.
func test(ctx context.Context, args []string, output, log io.Writer) (bool, error) {
	s, err := parse(args, log)
	if err != nil {
		return false, err
	}
	t := &tests{settings: s, output: &lines{to: output}, log: &lines{to: log}}
	if err := t.check(); err != nil {
		return false, err
	}
	if s.root, err = stage.Root(s.root); err != nil {
		return false, err
	}
	folder, err := os.MkdirTemp("", "oauth-operator-faults-")
	if err != nil {
		return false, err
	}
	t.folder, t.programs = folder, filepath.Join(folder, "bin")
	fmt.Fprintln(log, "faults: building the provider and the verdict") //nolint:errcheck // a progress line
	if err := stage.Build(ctx, s.root, t.programs, "./test/provider/cmd/provider"); err != nil {
		return false, err
	}
	// This one is not needed before the end.
	t.verdict = sync.OnceValue(func() error { return stage.Build(ctx, s.root, t.programs, "./test/faults/verdict") })
	go func() { _ = t.verdict() }() // whoever needs it hears of an error
	ok, err := t.all(ctx)
	if err != nil || !ok || s.keep {
		fmt.Fprintln(log, "faults: the records are in", folder) //nolint:errcheck // a progress line
		return ok, err
	}
	return ok, os.RemoveAll(folder)
}
