// Command verdict says whether a run of the fault tests went well, from the provider's ledger, the API server's audit log,
// the records of the proxies and the objects at the end: what was lost, how, whether it was said, and whether a refresh token
// was sent twice. The log of faults tells it when and where a fault fell, and nothing else.
//
// Its last line is the verdict, the lines before it are why it is not ok; the exit code is 0 if it is. It must never believe
// what the operator or the runner says of itself: a status counts only as what was written when.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// limits are what a run must reach.
type limits struct {
	// kills is how many kills must have met an open claim, bucket how many of them each state.
	kills  int
	bucket int
	// losses: the run must have lost something in the reply's way, and said so; else it proves nothing.
	losses bool
	// plain: the build under test has no claims. Only what it lost is counted.
	plain bool
	// codes: people consent. Kills are counted where they met a code.
	codes bool
}

func main() {
	ok, err := run(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "verdict:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(args []string, output io.Writer) (bool, error) {
	var wanted limits
	flags := flag.NewFlagSet("verdict", flag.ContinueOnError)
	folder := flags.String("records", "", "the folder of the run's records")
	summary := flags.String("summary", "", "a file that the verdict is written to as JSON")
	flags.IntVar(&wanted.kills, "want-kills", 0, "how many kills must have met an open claim")
	flags.IntVar(&wanted.bucket, "want-bucket", 0, "how many kills each state must have met")
	flags.BoolVar(&wanted.losses, "expect-losses", false, "want a loss in the reply's way")
	flags.BoolVar(&wanted.plain, "plain", false, "the build has no claims: only count what it lost")
	flags.BoolVar(&wanted.codes, "codes", false, "people consent: count the kills that met a code")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if *folder == "" || flags.NArg() > 0 {
		return false, errors.New("usage: verdict --records FOLDER [--summary FILE] [--want-kills N] [--want-bucket N] [--expect-losses] [--plain] [--codes]")
	}
	read, err := readEvidence(*folder)
	if err != nil {
		return false, err
	}
	given := judge(read, wanted)
	if *summary != "" {
		text, err := json.Marshal(given)
		if err != nil {
			return false, err
		}
		if err := os.WriteFile(*summary, append(text, '\n'), 0o600); err != nil {
			return false, err
		}
	}
	_, err = io.WriteString(output, given.String())
	return given.ok(), err
}
