// Package arrows checks that the rules in .golangci.yml about who may import whom are really watched: it breaks each of
// them once, in a copy of the source, and wants every break to be reported. It must never change the checkout.
package arrows_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/oauth-operator/oauth-operator"

// forbidden are imports that the house does not allow: into which package, and what. All are there at once, so they must not
// make a circle; a package below the one that is meant is no part of any.
func forbidden() map[string]struct{ into, imports string } {
	return map[string]struct{ into, imports string }{
		"the API types need no controller-runtime":         {"api/v1alpha1", "sigs.k8s.io/controller-runtime/pkg/scheme"},
		"the API types need no client":                     {"api/v1alpha1", "k8s.io/client-go/rest"},
		"a secret needs the standard library alone":        {"internal/secret", "k8s.io/utils/ptr"},
		"oauth knows no client of Kubernetes":              {"internal/oauth", "k8s.io/client-go/rest"},
		"oauth knows no types of Kubernetes":               {"internal/oauth", "k8s.io/apimachinery/pkg/types"},
		"oauth does not know our API":                      {"internal/oauth", module + "/api/v1alpha1"},
		"oauth does not import its namesake":               {"internal/oauth", "golang.org/x/oauth2"},
		"seal knows no Kubernetes":                         {"internal/seal", "k8s.io/apimachinery/pkg/types"},
		"seal does not know oauth":                         {"internal/seal", module + "/internal/oauth"},
		"projection knows no client of Kubernetes":         {"internal/projection", "k8s.io/client-go/rest"},
		"projection knows no types of Kubernetes":          {"internal/projection", "k8s.io/api/core/v1"},
		"projection reads no files":                        {"internal/projection", "os"},
		"projection speaks to nobody":                      {"internal/projection", "net/http"},
		"projection runs no templates":                     {"internal/projection", "text/template"},
		"projection does not open what is sealed":          {"internal/projection", module + "/internal/seal"},
		"lifecycle does not make Secrets":                  {"internal/lifecycle", module + "/internal/projection"},
		"lifecycle has no client":                          {"internal/lifecycle", "sigs.k8s.io/controller-runtime/pkg/client"},
		"lifecycle speaks to nobody":                       {"internal/lifecycle", "net/http"},
		"lifecycle reads no files":                         {"internal/lifecycle", "os"},
		"lifecycle has no clock":                           {"internal/lifecycle", "k8s.io/utils/clock"},
		"lifecycle does not seal":                          {"internal/lifecycle", module + "/internal/seal"},
		"pace knows no Kubernetes":                         {"internal/pace", "k8s.io/apimachinery/pkg/types"},
		"pace does not know our API":                       {"internal/pace", module + "/api/v1alpha1"},
		"consent does not reconcile":                       {"internal/consent/arrow", module + "/internal/controller"},
		"consent calls no token endpoint":                  {"internal/consent", module + "/internal/oauth"},
		"consent decides nothing":                          {"internal/consent", module + "/internal/lifecycle"},
		"consent has no cache":                             {"internal/consent", "sigs.k8s.io/controller-runtime/pkg/cache"},
		"consent knows no Secrets":                         {"internal/consent", "k8s.io/api/core/v1"},
		"consent has no other client":                      {"internal/consent", "k8s.io/client-go/kubernetes"},
		"the controller does not know the browser's side":  {"internal/controller", module + "/internal/consent"},
		"the controller does not know the plugin":          {"internal/controller", module + "/internal/plugin"},
		"the plugin does not know the controller":          {"internal/plugin/arrow", module + "/internal/controller"},
		"the plugin decides nothing":                       {"internal/plugin", module + "/internal/lifecycle"},
		"the plugin opens nothing":                         {"internal/plugin", module + "/internal/seal"},
		"the plugin speaks to no provider":                 {"internal/plugin", module + "/internal/oauth"},
		"the plugin has no other client":                   {"internal/plugin", "net/http"},
		"the plugin reads no files":                        {"internal/plugin", "os"},
		"the plugin's command has nothing of the operator": {"cmd/kubectl-oauth", module + "/internal/seal"},
		"nothing in the product rolls dice":                {"internal/controller", "math/rand/v2"},
		"nothing in the product comes from the tests":      {"internal/controller", module + "/test/provider"},
		"the command takes nothing from the tests":         {"cmd/oauth-operator", module + "/test/cluster"},
		"the operator never uses golang.org/x/oauth2":      {"cmd/oauth-operator", "golang.org/x/oauth2"},
	}
}

// finding is an import that was reported: the file, relative to the root, and the import.
type finding struct{ file, imports string }

func TestEveryForbiddenImportIsReported(t *testing.T) {
	t.Parallel()
	linter := os.Getenv("GOLANGCI_LINT")
	if linter == "" {
		t.Skip("GOLANGCI_LINT does not name a golangci-lint; make test builds one and does")
	}
	// Otherwise Go would not run this test again for a file that is new.
	_ = os.Getenv("TEST_INPUTS")
	root := copySource(t)
	want := map[finding]string{}
	for rule, broken := range forbidden() {
		want[finding{breakRule(t, root, len(want), broken.into, broken.imports), broken.imports}] = rule
	}

	got := lint(t, linter, root)

	for found, rule := range want {
		if !slices.Contains(got, found) {
			t.Errorf("%s: %s may import %s unseen", rule, filepath.Dir(found.file), found.imports)
		}
	}
	for _, found := range got {
		if _, ours := want[found]; !ours {
			t.Errorf("the source itself breaks a rule: %s imports %s", found.file, found.imports)
		}
	}
}

// copySource copies what Git knows of the source, and what it would know after an add, to a folder of its own.
func copySource(t *testing.T) string {
	t.Helper()
	from := strings.TrimSpace(command(t, ".", "git", "rev-parse", "--show-toplevel"))
	to := t.TempDir()
	names := command(t, from, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--",
		"*.go", "go.mod", "go.sum", ".golangci.yml")
	for name := range strings.SplitSeq(strings.Trim(names, "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and Git has not been told yet
		}
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(to, name), string(content))
	}
	return to
}

// breakRule adds a file to a package that imports what it must not, and returns the file's name relative to the root.
func breakRule(t *testing.T, root string, number int, into, imports string) string {
	t.Helper()
	name := filepath.Join(into, fmt.Sprintf("zz_arrow_%d.go", number))
	write(t, filepath.Join(root, name), fmt.Sprintf("package %s\n\nimport _ %q\n", packageName(t, filepath.Join(root, into)), imports))
	return name
}

// packageName returns the name of the package in a folder. A folder that is not there yet makes a package of its own name.
func packageName(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			if name, ok := strings.CutPrefix(line, "package "); ok {
				return strings.TrimSpace(name)
			}
		}
	}
	return strings.ReplaceAll(filepath.Base(folder), "-", "")
}

// lint runs depguard alone over the copy and returns what it reports.
func lint(t *testing.T, linter, root string) []finding {
	t.Helper()
	output := filepath.Join(t.TempDir(), "findings.json")
	run := exec.CommandContext(t.Context(), linter, "run", "--enable-only=depguard", "--allow-parallel-runners",
		"--issues-exit-code=0", "--output.json.path="+output, "--show-stats=false")
	run.Dir = root
	if said, err := run.CombinedOutput(); err != nil {
		t.Fatalf("golangci-lint: %v\n%s", err, said)
	}
	content, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Issues []struct {
			Text string `json:"Text"`
			Pos  struct {
				Filename string `json:"Filename"`
			} `json:"Pos"`
		} `json:"Issues"`
	}
	if err := json.Unmarshal(content, &report); err != nil {
		t.Fatal(err)
	}
	var findings []finding
	for _, issue := range report.Issues {
		// import 'net/http' is not allowed from list 'lifecycle': ...
		_, rest, quoted := strings.Cut(issue.Text, "import '")
		imports, _, closed := strings.Cut(rest, "'")
		if !quoted || !closed {
			t.Errorf("a finding that is not about an import: %s: %s", issue.Pos.Filename, issue.Text)
		}
		findings = append(findings, finding{issue.Pos.Filename, imports})
	}
	return findings
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command runs a program and returns what it prints.
func command(t *testing.T, folder, name string, arguments ...string) string {
	t.Helper()
	run := exec.CommandContext(t.Context(), name, arguments...)
	run.Dir = folder
	said, err := run.Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(arguments, " "), err)
	}
	return string(said)
}
