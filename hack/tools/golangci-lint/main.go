// Command golangci-lint is golangci-lint with kube-api-linter compiled in, at the versions that this module pins.
//
// golangci-lint can be told to build such a binary of itself, but it clones its own repository to do so; this program
// is the same thing from modules alone. It must add nothing else: what is checked is said in .golangci.yml.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/golangci/golangci-lint/v2/pkg/commands"
	"github.com/golangci/golangci-lint/v2/pkg/exitcodes"

	// Both are linked for what they register: the plugin itself, and the analyzers that it offers.
	_ "sigs.k8s.io/kube-api-linter/pkg/plugin/base"
	_ "sigs.k8s.io/kube-api-linter/pkg/registration"
)

func main() {
	if err := commands.Execute(buildInfo()); err != nil {
		fmt.Fprintln(os.Stderr, "golangci-lint:", err)
		os.Exit(exitcodes.Failure)
	}
}

// buildInfo tells the version of the golangci-lint module that is linked in. It is part of the key of the lint cache, so
// a new version must not be mistaken for the one before it.
func buildInfo() commands.BuildInfo {
	info := commands.BuildInfo{Version: "unknown", Commit: "with kube-api-linter", Date: "unknown"}
	built, ok := debug.ReadBuildInfo()
	if !ok {
		return info
	}
	info.GoVersion = built.GoVersion
	for _, dep := range built.Deps {
		if dep.Path == "github.com/golangci/golangci-lint/v2" {
			info.Version = strings.TrimPrefix(dep.Version, "v")
		}
	}
	return info
}
