package chart_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
)

// What is rendered without a cluster, as Argo CD does, is what each version of Helm installs: nothing is looked up, nothing is
// drawn by chance, and no Secret is among it.
func TestAllHelmsRenderTheSame(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string][]string{
		"no values":       nil,
		"pages":           {"--set=consent.url=https://oauth.example.com"},
		"everything":      {"--values=testdata/everything.yaml"},
		"least":           {"--values=testdata/least.yaml"},
		"numbers":         {"--values=testdata/numbers.yaml"},
		"monitoring":      {"--values=testdata/everything.yaml", "--set=prometheusRule.enabled=true,dashboard.enabled=true"},
		"another release": {"--values=testdata/everything.yaml", "--namespace=tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := render(t, home, arguments...)
			for version, helm := range helms(t) {
				got := mustRun(t, helm, append([]string{"template", "tokens", chartFolder, "--namespace=" + home}, arguments...)...)
				if diff := cmp.Diff(parse(t, want), parse(t, got)); diff != "" {
					t.Errorf("%s renders something else:\n%s", version, diff)
				}
			}
			for key := range parse(t, want) {
				if strings.HasPrefix(key, "Secret ") {
					t.Errorf("there is a %s: whoever renders anew would replace it", key)
				}
			}
		})
	}
}

// The one file for kubectl is the chart without values, behind its namespace, with the image that was asked for; a version may be of
// digits alone.
func TestTheInstaller(t *testing.T) {
	t.Parallel()
	program(t, "helm")
	command := exec.CommandContext(t.Context(), "make", "--directory=../..", "installer", "IMAGE=registry.example/oauth-operator", "VERSION=20261129", "DIST="+t.TempDir())
	// The make that runs the tests must not tell this one what to do.
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "MAKE") || strings.HasPrefix(variable, "MFLAGS")
	})
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	folder, _ := strings.CutPrefix(command.Args[len(command.Args)-1], "DIST=")
	text, err := os.ReadFile(filepath.Join(folder, "install.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, first, _ := strings.Cut(string(text), "kind: "); !strings.HasPrefix(first, "Namespace\n") {
		t.Error("what lives in the namespace comes before it")
	}
	all := parse(t, string(text))
	if image := into[appsv1.Deployment](t, all, "Deployment "+home+"/"+operatorName).Spec.Template.Spec.Containers[0].Image; image != "registry.example/oauth-operator:20261129" {
		t.Errorf("it installs %s", image)
	}
	delete(all, "Namespace "+home)
	want := parse(t, mustRun(t, program(t, "helm"), "template", "oauth-operator", chartFolder, "--namespace="+home,
		"--set-string=image.repository=registry.example/oauth-operator,image.tag=20261129"))
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("the chart (-), and the file (+):\n%s", diff)
	}
}
