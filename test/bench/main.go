// Command bench measures what the operator costs and how fast it is: the real binary, as its Deployment starts it, against a
// real API server and a provider on loopback. What is counted is counted at the API server, in its audit log, and at the
// provider. Each figure that is a time comes with a baseline from the same run, and the two are divided.
//
// It must never give the operator a flag that its Deployment does not have, nor count what the operator says of itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// settings are the flags: how many of everything, and how long.
type settings struct {
	// rest is how many accounts are left at rest, and restFor for how long.
	rest    int
	restFor time.Duration
	// secrets is how many unrelated Secrets are made, each of secretSize bytes.
	secrets, secretSize int
	// rate is how many accounts are due at once, with reusable credentials; single, with single-use ones.
	rate, single int
	// due is how many accounts are due while new ones are made, at an interval, as many as newcomers.
	due, newcomers int
	interval       time.Duration
	// crowd is how many accounts each of ten providers has, and hungFor, for how long they are watched with and without one
	// that does not answer.
	crowd   int
	hungFor time.Duration
	// lead is how long before their end tokens are refreshed that are to be due at once.
	lead time.Duration
	// patience bounds each thing that is waited for.
	patience time.Duration

	operator, dir, root string
	extra               []string
	only                string
	judge               bool
}

// smoke is as small as it can be: it shows that everything is counted, not how fast it is.
func (s *settings) smoke() {
	s.rest, s.restFor, s.secrets = 20, 0, 10
	s.rate, s.single, s.due, s.newcomers, s.interval = 12, 12, 20, 4, 20*time.Millisecond
	s.crowd, s.hungFor, s.lead = 2, 25*time.Second, 6*time.Second
	s.patience = time.Minute
}

func main() {
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func parse(args []string, output io.Writer) (settings, error) {
	s := settings{patience: 10 * time.Minute}
	small := false
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.IntVar(&s.rest, "rest", 10000, "how many accounts are left at rest (M3), and weighed (M4)")
	flags.DurationVar(&s.restFor, "rest-for", 10*time.Minute, "for how long, at least")
	flags.IntVar(&s.secrets, "secrets", 10000, "how many unrelated Secrets are made (M5)")
	flags.IntVar(&s.secretSize, "secret-size", 32<<10, "how large each of them is, in bytes")
	flags.IntVar(&s.rate, "rate", 4000, "how many accounts with reusable credentials are due at once (M1, M2)")
	flags.IntVar(&s.single, "single", 3000, "how many accounts with single-use refresh tokens are due at once (M1s, M2)")
	flags.IntVar(&s.due, "due", 10000, "how many accounts are due while new ones are made (M9)")
	flags.IntVar(&s.newcomers, "newcomers", 150, "how many new ones (M9)")
	flags.DurationVar(&s.interval, "interval", 100*time.Millisecond, "the pause between two of them")
	flags.IntVar(&s.crowd, "crowd", 100, "how many accounts each of ten providers has (M8)")
	flags.DurationVar(&s.hungFor, "hung-for", 40*time.Second, "for how long they are watched, once without and once with one that hangs")
	flags.DurationVar(&s.lead, "lead", 40*time.Second, "how long before their end tokens are refreshed that are to be due at once (M1, M1s; M9: half as long again)")
	flags.StringVar(&s.operator, "operator", "", "the operator's binary; default: OAUTH_OPERATOR, or one that is built")
	flags.StringVar(&s.dir, "dir", "", "the folder of the run, which is kept; default: a temporary one")
	flags.StringVar(&s.root, "root", "", "the checkout; default: the one around the working directory")
	flags.StringVar(&s.only, "only", "", "these figures alone, separated by commas: M1,M1s,M3,M4,M5,M8,M9")
	flags.BoolVar(&s.judge, "judge", true, "end with an error where a figure that has to be met is not")
	flags.BoolVar(&small, "smoke", false, "a run of a minute that counts and does not judge speed")
	flags.Func("extra", "a further flag for the operator, to find out what it does; such a run is not a benchmark", func(text string) error {
		s.extra = append(s.extra, text)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if small {
		s.smoke()
	}
	if flags.NArg() > 0 {
		return s, errors.New("all settings are flags")
	}
	return s, nil
}

// wants reports whether a figure is asked for.
func (s *settings) wants(figures ...string) bool {
	if s.only == "" {
		return true
	}
	for asked := range strings.SplitSeq(s.only, ",") {
		for _, figure := range figures {
			if asked == figure {
				return true
			}
		}
	}
	return false
}

// run measures everything that is asked for. The last line that it writes has the figures.
func run(ctx context.Context, args []string, output, log io.Writer) error {
	s, err := parse(args, log)
	if err != nil {
		return err
	}
	b, err := setTheScene(ctx, s, output, log)
	if err != nil {
		return err
	}
	err = b.measure(ctx)
	if stopErr := b.close(err == nil); err == nil { //nolint:contextcheck // what is closed is closed, whatever has ended
		err = stopErr
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(output, b.figures.line()) //nolint:errcheck // there is nobody else to tell
	if s.judge {
		return b.figures.judge(s)
	}
	return nil
}

// measure is the order of a run. What needs time passes while something else is measured.
func (b *bench) measure(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
		when bool
	}{
		{"weigh the operator without accounts", b.weighEmpty, b.settings.wants("M4")},
		{"make the accounts that are left at rest", b.makeRest, true},
		{"weigh the operator with them", b.weighFull, b.settings.wants("M4")},
		{"make unrelated Secrets", b.weighSecrets, b.settings.wants("M5")},
		{"stop the operator", b.stopOperator, true},
		{"the bare loops", b.bareLoops, b.settings.wants("M1", "M1s")},
		{"start the operator again", b.startOperator, true},
		{"reusable credentials, due at once", b.rateReusable, b.settings.wants("M1")},
		{"single-use credentials, due at once", b.rateSingle, b.settings.wants("M1s")},
		{"new accounts behind many that are due", b.behindDue, b.settings.wants("M9")},
		{"one of ten providers does not answer", b.oneHangs, b.settings.wants("M8")},
		{"see what became of those at rest", b.judgeRest, b.settings.wants("M3")},
	} {
		if !step.when {
			continue
		}
		b.sayf("%s", step.name)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}
