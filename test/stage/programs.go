package stage

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	operatorVariable = "OAUTH_OPERATOR"

	operatorPackage = "./cmd/oauth-operator"
	providerPackage = "./test/provider/cmd/provider"
)

// Build builds programs of the checkout into a folder, each named after its package's folder. What Go has built before
// is only linked again. The flags are those of `make build`, so that its work is not done twice.
func Build(ctx context.Context, root, into string, packages ...string) error {
	if err := os.MkdirAll(into, 0o700); err != nil {
		return err
	}
	arguments := append([]string{"build", "-trimpath", "-o", into + string(filepath.Separator)}, packages...)
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = root
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build %v: %w\n%s", packages, err, output)
	}
	return nil
}

// buildPrograms builds what the caller has not brought.
func (s *Stage) buildPrograms(ctx context.Context) error {
	var packages []string
	if s.options.Programs == "" && !s.options.Lean {
		s.options.Programs = filepath.Join(s.Dir, "bin")
		packages = append(packages, providerPackage)
	}
	s.options.OperatorBinary = cmp.Or(s.options.OperatorBinary, os.Getenv(operatorVariable))
	if s.options.OperatorBinary == "" {
		s.options.OperatorBinary = filepath.Join(s.Dir, "bin", "oauth-operator")
		packages = append(packages, operatorPackage)
	}
	if len(packages) == 0 {
		return nil
	}
	s.logf("building %v", packages)
	return Build(ctx, s.Root, filepath.Join(s.Dir, "bin"), packages...)
}
