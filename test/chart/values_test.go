package chart_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
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
		"a setting without its section":           {"consent=null", []string{"missing property 'consent'"}},
		"no time to end":                          {"terminationGracePeriodSeconds=null", []string{"missing property 'terminationGracePeriodSeconds'"}},
		"more requests of one namespace than all": {"settings.maxConcurrentRequests=16", []string{"settings.maxConcurrentRequestsPerNamespace is 32", "16"}},
		"a wait that is too short":                {"settings.takeoverWait=10s", []string{"settings.takeoverWait", "15s to 1h"}},
		"a wait that is too long":                 {"settings.takeoverWait=59m61s", []string{"settings.takeoverWait", "15s to 1h"}},
		"a network beyond all networks":           {"settings.allowCIDRs={10.0.0.0/33}", []string{"settings.allowCIDRs", "10.20.0.0/16"}},
		"a network of large numbers":              {"networkPolicy.apiServer.cidrs={10.0.256.0/24}", []string{"networkPolicy.apiServer.cidrs", "10.20.0.0/16"}},
		"an image with its tag":                   {"image.repository=registry.example/oauth-operator:1.2.3", []string{"image.repository", "image.tag"}},
		"an image that is a link":                 {"image.repository=https://registry.example/oauth-operator", []string{"image.repository", "without https://"}},
		"a digest for a tag":                      {"image.tag=sha256:0", []string{"image.tag", "image.digest"}},
		"a resource that there is not":            {"resources.limit.memory=1Gi", []string{"/resources", "'limit' not allowed"}},
		"an amount that is none":                  {"consent.resources.limits.memory=lots", []string{"/consent/resources/limits/memory"}},
		"a toleration that is misspelt":           {"tolerations[0].efect=NoSchedule", []string{"/tolerations/0", "'efect' not allowed"}},
		"a peer that is misspelt":                 {"networkPolicy.metricsFrom[0].namespaceselector.matchLabels.a=b", []string{"/networkPolicy/metricsFrom/0", "'namespaceselector' not allowed"}},
		"a peer that is everybody":                {"networkPolicy.consentFrom=[{}]", []string{"/networkPolicy/consentFrom/0"}},
		"a variable of the chart's":               {"extraEnv[0].name=CONSENT_URL", []string{"extraEnv", "consent.url"}},
		"a variable twice":                        {"extraEnv[0].name=A,extraEnv[1].name=A", []string{"extraEnv: A is there twice"}},
		"a proxy":                                 {"extraEnv[0].name=https_proxy", []string{"extraEnv", "no proxy"}},
		"a label that pods are found by":          {"podLabels.app\\.kubernetes\\.io/name=x", []string{"podLabels", "app.kubernetes.io/name"}},
		"one pod less of those that all end":      {"strategy.type=Recreate,strategy.rollingUpdate.maxSurge=1", []string{"strategy.rollingUpdate", "leave it out"}},
		"too little time to start":                {"probes.startup.failureThreshold=10", []string{"probes.startup", "90"}},
		"switched off":                            {"enabled=false", []string{"enabled", "leave it out"}},
		"a family of addresses that there is not": {"service.ipFamilies={IPv5}", []string{"/service/ipFamilies/0", "'IPv6'"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flag := "--set=" + c.set
			if strings.HasSuffix(c.set, "]") {
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
	for _, values := range []string{"", "testdata/everything.yaml", "testdata/least.yaml", "testdata/numbers.yaml"} {
		arguments := []string{"lint", "--strict", "--namespace=" + home, chartFolder}
		if values != "" {
			arguments = append(arguments, "--values="+values)
		}
		mustRun(t, helm, arguments...)
	}
}

// The examples in the chart's own README can be installed.
func TestTheExamplesInTheReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(chartFolder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var rendered []objects
	for _, example := range strings.Split(string(text), "```yaml\n")[1:] {
		example, _, closed := strings.Cut(example, "```\n")
		if !closed {
			t.Fatal("an example has no end")
		}
		values := filepath.Join(t.TempDir(), "values.yaml")
		write(t, values, example)
		rendered = append(rendered, parse(t, render(t, home, "--values="+values)))
	}
	if len(rendered) != 2 {
		t.Fatalf("there are %d examples", len(rendered))
	}
	if rendered[0]["Ingress "+home+"/"+consentName] == nil || rendered[0]["Role shop/"+operatorName] == nil {
		t.Error("it installs neither pages nor roles of namespaces")
	}
	if pod := into[appsv1.Deployment](t, rendered[1], "Deployment "+home+"/"+operatorName).Spec.Template; pod.Labels["example.com/cost-centre"] != "17" || pod.Spec.Containers[0].Resources.Limits.Cpu().String() != "1" {
		t.Errorf("it installs %v", pod)
	}
}

// A chart that has this one among its dependencies says under which condition, by a value that the schema must not refuse.
func TestAsADependency(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	if err := os.CopyFS(filepath.Join(parent, "charts", "oauth-operator"), os.DirFS(chartFolder)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(parent, "Chart.yaml"), "apiVersion: v2\nname: platform\nversion: 1.0.0\n"+
		"dependencies: [{name: oauth-operator, version: '*-0', condition: oauth-operator.enabled}]\n")
	for enabled, want := range map[string]bool{"true": true, "false": false} {
		all := parse(t, mustRun(t, program(t, "helm"), "template", "platform", parent, "--namespace="+home, "--set=oauth-operator.enabled="+enabled))
		if is := all["Deployment "+home+"/"+operatorName] != nil; is != want {
			t.Errorf("with enabled=%s there is an operator: %v", enabled, is)
		}
	}
}
