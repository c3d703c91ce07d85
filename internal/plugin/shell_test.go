package plugin_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// words stands for what bash-completion gives to the scripts of cobra, the words of the line and which of them the cursor is at,
// and for what bash knows only while somebody presses the key.
const words = `_get_comp_words_by_ref() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${words[cword]}; prev=${words[cword-1]}; }
_init_completion() { _get_comp_words_by_ref; }
compopt() { :; }
`

// tab presses the key in a real bash that has a script, after what was typed, and returns what it offers.
func (p *place) tab(script, function string, typed ...string) []string {
	p.t.Helper()
	path := folder(p.t) + ":" + filepath.Dir(shared.cluster.Kubectl) + ":" + os.Getenv("PATH")
	lines := words + script + `
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_KEY=9
` + function + `
printf '%s\n' "${COMPREPLY[@]}"`
	shell := exec.CommandContext(p.t.Context(), "bash", append([]string{"--norc", "-c", lines, "bash"}, typed...)...)
	shell.Env = append(os.Environ(), "PATH="+path, "KUBECONFIG="+p.kubeconfig, "HOME="+p.t.TempDir())
	output, err := shell.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%v: %v\n%s", typed, err, output)
	}
	return strings.Fields(string(output))
}

// What is printed for bash is carried out by bash, for the plugin by itself and below kubectl.
func TestCompletionInBash(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.account("acme")
	p.account("acorn")
	p.account("bills")
	for _, way := range []struct {
		script, function string
		begin            []string
	}{
		{". <(kubectl-oauth completion bash)", "__start_kubectl-oauth", []string{"kubectl-oauth"}},
		{". <(kubectl completion bash)", "__start_kubectl", []string{"kubectl", "oauth"}},
	} {
		for _, c := range []struct{ typed, want []string }{
			{[]string{"stat"}, []string{"status"}},
			{[]string{"status", "-n", p.namespace, "ac"}, []string{"acme", "acorn"}},
			{[]string{"status", "-n", p.namespace, "acme", "ac"}, []string{"acorn"}},
			{[]string{"refresh", "-n", p.namespace, "b"}, []string{"bills"}},
			{[]string{"refresh", "-n", p.namespace, "acme", ""}, nil},
			{[]string{"status", "-n", p.namespace, "-o", ""}, []string{"json", "yaml"}},
			{[]string{"status", "-n", p.namespace[:len(p.namespace)-1]}, []string{p.namespace}},
			{[]string{"status", "--context", "oauth"}, []string{"oauth-operator-test"}},
			{[]string{"status", "-n", "nowhere", ""}, nil},
		} {
			typed := append(slices.Clone(way.begin), c.typed...)
			if got := p.tab(way.script, way.function, typed...); !slices.Equal(got, c.want) {
				t.Errorf("%q: %q, want %q", typed, got, c.want)
			}
		}
	}
}

// The scripts for the other shells are there.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for shell, begins := range map[string]string{"zsh": "#compdef kubectl-oauth", "fish": "# fish completion for kubectl-oauth", "powershell": "# powershell completion for kubectl-oauth"} {
		output, err := exec.CommandContext(t.Context(), filepath.Join(folder(t), "kubectl-oauth"), "completion", shell).Output()
		if err != nil || !strings.HasPrefix(string(output), begins) {
			t.Errorf("%s: %v %s", shell, err, fmt.Sprintf("%.60q", output))
		}
	}
}
