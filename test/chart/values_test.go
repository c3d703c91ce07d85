package chart_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong is answered with the value's name and what to write instead.
func TestMistakesInTheValues(t *testing.T) {
	t.Parallel()
	helm := program(t, "helm")
	for name, c := range map[string]struct {
		set  string
		want []string
	}{
		"a value that there is not":               {"replica=1", []string{"'replica' not allowed"}},
		"a setting that there is not":             {"settings.maxRequests=1", []string{"/settings", "'maxRequests' not allowed"}},
		"a text for a number":                     {"replicas=two", []string{"/replicas", "want integer"}},
		"no replica":                              {"replicas=0", []string{"/replicas", "want 1"}},
		"too little time to end":                  {"terminationGracePeriodSeconds=30", []string{"/terminationGracePeriodSeconds", "want 120"}},
		"verbosity that prints Secrets":           {"settings.verbosity=6", []string{"/settings/verbosity", "want 5"}},
		"a pull policy that there is not":         {"image.pullPolicy=Sometimes", []string{"/image/pullPolicy", "'IfNotPresent'"}},
		"a namespace twice":                       {"watchNamespaces={shop,shop}", []string{"/watchNamespaces", "equal"}},
		"a pattern of namespaces":                 {"watchNamespaces={shop-*}", []string{"watchNamespaces", "[shop, billing]"}},
		"the operator's own namespace":            {"watchNamespaces={shop,oauth-operator-system}", []string{"watchNamespaces", "leave oauth-operator-system out"}},
		"pages without TLS":                       {"consent.url=http://oauth.example.com", []string{"consent.url", "https://oauth.example.com"}},
		"pages with a slash at the end":           {"consent.url=https://oauth.example.com/", []string{"consent.url", "without a slash at its end"}},
		"pages with the usual port":               {"consent.url=https://oauth.example.com:443", []string{"consent.url", "leave it out"}},
		"something that is no URL":                {"consent.url=oauth", []string{"consent.url", "https://oauth.example.com"}},
		"an Ingress to no pages":                  {"consent.ingress.enabled=true", []string{"consent.ingress.enabled", "consent.url", "https://oauth.example.com"}},
		"an HTTPRoute to no pages":                {"consent.httpRoute.enabled=true", []string{"consent.httpRoute.enabled", "consent.url"}},
		"an HTTPRoute without a Gateway":          {"consent.url=https://o.example.com,consent.httpRoute.enabled=true", []string{"consent.httpRoute.parentRefs", "{name: public, namespace: gateways}"}},
		"an Ingress to an address":                {"consent.url=https://[fd00::1],consent.ingress.enabled=true", []string{"consent.ingress.enabled", "host name"}},
		"an address for a network":                {"settings.allowCIDRs={10.0.0.1}", []string{"settings.allowCIDRs", "10.20.0.0/16"}},
		"a proxy by its name":                     {"consent.trustedProxies={ingress}", []string{"consent.trustedProxies", "10.20.0.0/16"}},
		"a digest that is none":                   {"image.digest=latest", []string{"image.digest", "image.tag"}},
		"no image":                                {"image.repository=", []string{"image.repository", "registry.example"}},
		"metrics that nobody may read":            {"serviceMonitor.enabled=true", []string{"networkPolicy.metricsFrom", "kubernetes.io/metadata.name: monitoring"}},
		"a wait without a unit":                   {"settings.takeoverWait=6", []string{"/settings/takeoverWait"}},
		"no port of the API server for the pages": {"networkPolicy.apiServer.ports=[]", []string{"/networkPolicy/apiServer/ports"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flag := "--set=" + c.set
			if strings.HasSuffix(c.set, "[]") {
				flag = "--set-json=" + c.set
			}
			_, err := run(t, nil, helm, "template", "tokens", chartFolder, "--namespace="+home, flag)
			if err == nil {
				t.Fatal("it was taken")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it says nothing of %q: %v", want, err)
				}
			}
		})
	}
}

func TestLintFindsNothing(t *testing.T) {
	t.Parallel()
	helm := program(t, "helm")
	for _, values := range []string{"", "testdata/everything.yaml", "testdata/least.yaml"} {
		arguments := []string{"lint", "--strict", "--namespace=" + home, chartFolder}
		if values != "" {
			arguments = append(arguments, "--values="+values)
		}
		mustRun(t, helm, arguments...)
	}
}

// The example in the chart's own README can be installed.
func TestTheExampleInTheReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(chartFolder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(text), "```yaml\n")
	example, _, closed := strings.Cut(example, "```\n")
	if !found || !closed {
		t.Fatal("there is no example")
	}
	values := filepath.Join(t.TempDir(), "values.yaml")
	write(t, values, example)
	all := parse(t, render(t, home, "--values="+values))
	if all["Ingress "+home+"/"+consentName] == nil || all["Role shop/"+operatorName] == nil {
		t.Error("it installs neither pages nor roles of namespaces")
	}
}
