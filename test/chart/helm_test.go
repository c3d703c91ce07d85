package chart_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
