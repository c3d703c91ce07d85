// Command verdict says whether a run of the demo went well, from the provider's ledger and the API server's audit log
// alone: what the workloads' calls met, whether each token request was due, whether each refresh token was used once and its
// successor kept, and what the operator did to the cluster.
//
// Its last line is the verdict, the lines before it are why it is not ok; the exit code is 0 if it is. It must never
// believe what the operator, the demo or a workload says of itself: a status counts only as what was written when.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

// limits are what a run must reach.
type limits struct {
	accounts  int
	renewals  int
	imports   int
	connected int
	rotations int
	perSecond int
	// pause is the longest time between two calls of one workload.
	pause time.Duration
}

func demoLimits() limits {
	return limits{accounts: 8, renewals: 3, imports: 2, connected: 2, rotations: 5, perSecond: 20, pause: 5 * time.Second}
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
	flags := flag.NewFlagSet("verdict", flag.ContinueOnError)
	ledger := flags.String("ledger", "", "the provider's ledger")
	audit := flags.String("audit", "", "the API server's audit log")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if *ledger == "" || *audit == "" || flags.NArg() > 0 {
		return false, errors.New("usage: verdict --ledger FILE --audit FILE")
	}
	read, err := readEvidence(*ledger, *audit)
	if err != nil {
		return false, err
	}
	given := judge(read, demoLimits())
	_, err = io.WriteString(output, given.String())
	return given.ok(), err
}
