// Command kubectl-oauth is kubectl oauth, the plugin: it shows and mends the accounts of a cluster. It finds the terminal that
// it runs in; everything else lives in internal/plugin.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/go-logr/logr"
	"golang.org/x/term"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // the ways to log in that kubeconfigs name
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/internal/plugin"
)

func main() {
	// What the libraries log is for whoever works on them; what went wrong comes as an error, and is printed once.
	klog.SetLogger(logr.Discard())
	ctrllog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := plugin.Run(ctx, os.Args[1:], system())
	stop()
	os.Exit(code)
}

func system() plugin.System {
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		width = 0
	}
	return plugin.System{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		InTerminal: isTerminal(os.Stdin), OutTerminal: isTerminal(os.Stdout),
		Width: width, Getenv: os.Getenv,
		ReadHidden: func() ([]byte, error) { return term.ReadPassword(int(os.Stdin.Fd())) },
		Open:       plugin.OpenBrowser(runtime.GOOS, os.Getenv),
		Clock:      clock.RealClock{}, Version: version(),
	}
}

func isTerminal(stream *os.File) bool { return term.IsTerminal(int(stream.Fd())) }

// version is the commit that the program was built from.
func version() string {
	const short = 12
	if built, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range built.Settings {
			if setting.Key == "vcs.revision" && len(setting.Value) > short {
				return setting.Value[:short]
			}
		}
	}
	return "unknown"
}
