package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// maxVerbosity is the highest that has any effect: above it the client library prints the bodies of requests, as hex
// dumps in which a search for a secret finds nothing.
const maxVerbosity = 5

// setLogger sends all logs, those of the libraries too, as JSON lines to standard error.
func setLogger(verbosity int) {
	handler := logHandler(os.Stderr, verbosity)
	slog.SetDefault(slog.New(handler))
	logger := logr.FromSlogHandler(handler)
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
}

func logHandler(output io.Writer, verbosity int) slog.Handler {
	return slog.NewJSONHandler(output, &slog.HandlerOptions{Level: slog.Level(-min(max(verbosity, 0), maxVerbosity))})
}
