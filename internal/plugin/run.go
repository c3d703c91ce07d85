package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
)

// Exit codes. A script may rely on them.
const (
	// ExitDone: what was asked for is done, or shown.
	ExitDone = 0
	// ExitFailed: it could not be done.
	ExitFailed = 1
	// ExitUsage: the command line makes no sense.
	ExitUsage = 2
	// ExitWrong: the command worked, and what it found is not well: an account that is not ready, a consent that was denied.
	ExitWrong = 3
	// ExitForbidden: the user lacks a right, which the message names.
	ExitForbidden = 4
	// ExitTimeout: what was waited for has not come in time. It may still come.
	ExitTimeout = 5
	// ExitInterrupted: the user has had enough.
	ExitInterrupted = 130
)

// System is what surrounds a run: the user's terminal, and their machine.
type System struct {
	In       io.Reader
	Out, Err io.Writer
	// InTerminal and OutTerminal say whether they are one.
	InTerminal, OutTerminal bool
	// Width is how many characters a line of the terminal has; 0: not known.
	Width int
	// Getenv reads the environment.
	Getenv func(string) string
	// ReadHidden reads a line from the terminal that does not show there.
	ReadHidden func() ([]byte, error)
	// Open shows a link in the user's browser.
	Open func(ctx context.Context, link string) error
	// Clock is the machine's.
	Clock clock.WithTicker
	// Version is the program's own.
	Version string
}

// failure is an error with an exit code of its own.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// failf is an error with an exit code.
func failf(code int, format string, arguments ...any) error {
	return &failure{code, fmt.Errorf(format, arguments...)}
}

// errSaid: all that there is to say was said; the exit code follows.
var errSaid = errors.New("said")

// said ends a command with a code and without a word.
func said(code int) error {
	if code == ExitDone {
		return nil
	}
	return &failure{code, errSaid}
}

// Run carries out one command line and returns the exit code. The context ends with the user's interruption.
func Run(ctx context.Context, arguments []string, system System) int {
	root := newRoot(&app{system: system}) //nolint:contextcheck // each command gets the context when it runs
	root.SetArgs(arguments)
	root.SetIn(system.In)
	root.SetOut(system.Out)
	root.SetErr(system.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitDone
	}
	code := codeOf(ctx, err)
	if !errors.Is(err, errSaid) && code != ExitInterrupted {
		fmt.Fprintf(system.Err, "error: %s\n", clean(wording(err))) //nolint:errcheck // there is nobody left to tell
	}
	return code
}

func codeOf(ctx context.Context, err error) int {
	var known *failure
	switch {
	case ctx.Err() != nil:
		return ExitInterrupted
	case errors.As(err, &known):
		return known.code
	case errors.Is(err, context.DeadlineExceeded):
		return ExitTimeout
	default:
		return ExitFailed
	}
}

// wording says in our words what the libraries say in theirs, where a user meets it.
func wording(err error) string {
	var known *failure
	switch {
	case errors.As(err, &known):
		return known.Error()
	case clientcmd.IsEmptyConfig(err):
		return "there is no kubeconfig: set KUBECONFIG, or --kubeconfig, to the file that says where the cluster is"
	case apierrors.IsUnauthorized(err):
		return "the API server does not know you: the credentials of the kubeconfig are wrong, or have expired"
	case errors.Is(err, context.DeadlineExceeded):
		return "it has taken too long: " + err.Error()
	default:
		return err.Error()
	}
}
