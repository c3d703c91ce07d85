package main

import (
	"errors"
	"flag"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// The client library keeps --kubeconfig in a variable of its own, so what parses flags does not run in parallel.

func inPod(name string) string {
	if name == "POD_NAMESPACE" {
		return "operators"
	}
	return ""
}

func defaults(changes ...func(*options)) options {
	parsed := options{
		namespace: "operators", leaderElect: true, metricsAddress: ":8080", probeAddress: ":8081",
		workers: 32, maxRequests: 64, maxInNamespace: 32, burst: 400,
		journalDir: "/var/lib/oauth-operator/journal", takeoverWait: 6 * time.Minute,
		serve: "manager", consentAddress: ":8082",
	}
	for _, change := range changes {
		change(&parsed)
	}
	return parsed
}

func mustParse(text string) *url.URL {
	parsed, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return parsed
}

func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		args string
		want options
	}{
		"no flags: two replicas, of which one works, in the pod's namespace": {"", defaults()},
		"a namespace that is named goes before the pod's":                    {"--namespace=other", defaults(func(o *options) { o.namespace = "other" })},
		"some namespaces, each once":                                         {"--watch-namespaces=shop,billing,,shop", defaults(func(o *options) { o.watched = []string{"billing", "shop"} })},
		"no list of namespaces":                                              {"--watch-namespaces=", defaults()},
		"the version, with nothing else set":                                 {"--version --max-concurrent-reconciles=0", defaults(func(o *options) { o.showVersion, o.workers = true, 0 })},
		"one process without a lease":                                        {"--leader-elect=false", defaults(func(o *options) { o.leaderElect = false })},
		"one worker":                                                         {"--max-concurrent-reconciles=1", defaults(func(o *options) { o.workers = 1 })},
		"256 workers":                                                        {"--max-concurrent-reconciles=256", defaults(func(o *options) { o.workers = 256 })},
		"few requests at once":                                               {"--max-concurrent-requests=2 --max-concurrent-requests-per-namespace=1", defaults(func(o *options) { o.maxRequests, o.maxInNamespace = 2, 1 })},
		"a limit of accounts":                                                {"--max-accounts-per-namespace=500", defaults(func(o *options) { o.maxAccounts = 500 })},
		"a slow client":                                                      {"--kube-api-qps=0.5 --kube-api-burst=1", defaults(func(o *options) { o.qps, o.burst = 0.5, 1 })},
		"addresses":                                                          {"--metrics-bind-address=0 --health-probe-bind-address=:1", defaults(func(o *options) { o.metricsAddress, o.probeAddress = "0", ":1" })},
		"verbosity is not cut here":                                          {"-v=9", defaults(func(o *options) { o.verbosity = 9 })},
		"networks, with empty members": {"--allow-cidrs=10.20.30.40/16,,fd00::/8,", defaults(func(o *options) {
			o.allowCIDRs = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd00::/8")}
		})},
		"loopback":                            {"--insecure-allow-loopback", defaults(func(o *options) { o.allowLoopback = true })},
		"a kubeconfig is taken":               {"--kubeconfig=", defaults()},
		"a journal elsewhere":                 {"--journal-dir=/j", defaults(func(o *options) { o.journalDir = "/j" })},
		"a manager that knows the public URL": {"--consent-url=https://example.com/oauth", defaults(func(o *options) { o.consentURL = mustParse("https://example.com/oauth") })},
		"the pages alone, behind proxies": {"--serve=consent --consent-url=https://oauth.example.com --consent-keys=/keys --trusted-proxies=10.0.0.0/8,fd00::/8 --consent-bind-address=:1", defaults(func(o *options) {
			o.serve, o.consentURL, o.consentKeys, o.consentAddress = "consent", mustParse("https://oauth.example.com"), "/keys", ":1"
			o.trustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
		})},
		"both, on this machine": {"--serve=all --insecure-allow-loopback --consent-url=http://localhost:8082", defaults(func(o *options) {
			o.serve, o.consentURL, o.allowLoopback = "all", mustParse("http://localhost:8082"), true
		})},
		"the shortest wait": {"--takeover-wait=15s", defaults(func(o *options) { o.takeoverWait = 15 * time.Second })},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseOptions(strings.Fields(c.args), inPod, &strings.Builder{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(options{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ args, want string }{
		"another thing to serve":          {"--serve=pages", "manager, consent or all"},
		"pages without a URL":             {"--serve=consent --consent-keys=/keys", "--consent-url"},
		"pages without keys":              {"--serve=consent --consent-url=https://oauth.example.com", "--consent-keys"},
		"a URL without TLS":               {"--consent-url=http://oauth.example.com", "https://"},
		"a URL of this machine, unasked":  {"--consent-url=http://localhost", "--insecure-allow-loopback"},
		"a URL without TLS elsewhere":     {"--insecure-allow-loopback --consent-url=http://oauth.example.com", "https://"},
		"a URL with a slash at its end":   {"--consent-url=https://oauth.example.com/", "slash"},
		"a URL in capital letters":        {"--consent-url=https://OAuth.example.com", "lower case"},
		"a URL with dots for folders":     {"--consent-url=https://oauth.example.com/a/../b", "lower case"},
		"a URL with the usual port":       {"--consent-url=https://oauth.example.com:443", "443"},
		"a URL with a query":              {"--consent-url=https://oauth.example.com?a=b", "query"},
		"a URL with a user":               {"--consent-url=https://a@oauth.example.com", "user"},
		"a path for a URL":                {"--consent-url=/oauth", "https://oauth.example.com"},
		"proxies that are no networks":    {"--trusted-proxies=ingress", "--trusted-proxies"},
		"an argument that is no flag":     {"now", `"now"`},
		"a flag that does not exist":      {"--leader", "leader"},
		"no worker":                       {"--max-concurrent-reconciles=0", "from 1 to 256"},
		"too many workers":                {"--max-concurrent-reconciles=257", "from 1 to 256"},
		"no token requests":               {"--max-concurrent-requests=0", "from 1 to 128"},
		"too many token requests":         {"--max-concurrent-requests=129", "from 1 to 128"},
		"more for a namespace than all":   {"--max-concurrent-requests=8", "from 1 to 8"},
		"none for a namespace":            {"--max-concurrent-requests-per-namespace=0", "from 1 to 64"},
		"fewer accounts than none":        {"--max-accounts-per-namespace=-1", "not be below 0"},
		"fewer than none":                 {"--kube-api-qps=-1", "from 0 to"},
		"a number of requests that is no": {"--kube-api-qps=NaN", "from 0 to"},
		"requests without end":            {"--kube-api-qps=Inf", "from 0 to"},
		"no burst":                        {"--kube-api-burst=0", "at least 1"},
		"an address that is no network":   {"--allow-cidrs=10.0.0.1", "10.20.0.0/16"},
		"a pattern of namespaces":         {"--watch-namespaces=shop-*", "shop,billing"},
		"a list without a namespace":      {"--watch-namespaces=,", "leave the flag out"},
		"the operator's own namespace":    {"--watch-namespaces=shop,operators", "operators"},
		"an empty namespace":              {"--namespace=", "POD_NAMESPACE"},
		"no journal":                      {"--journal-dir=", "must name a folder"},
		"a wait that is too short":        {"--takeover-wait=14s", "from 15s to 1h"},
		"a wait that is too long":         {"--takeover-wait=61m", "from 15s to 1h"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseOptions(strings.Fields(c.args), inPod, &strings.Builder{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want something about %q", err, c.want)
			}
		})
	}
}

func TestHelpIsNoMistake(t *testing.T) {
	var output strings.Builder
	_, err := parseOptions([]string{"-h"}, inPod, &output)
	if !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"-kubeconfig", "-allow-cidrs", "-leader-elect", "-v"} {
		if !strings.Contains(output.String(), name) {
			t.Errorf("%s is not explained in %s", name, &output)
		}
	}
}

func TestTheDeploymentWaitsForTheOperator(t *testing.T) {
	text, err := os.ReadFile("../../config/manager/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var deployment struct {
		Spec struct {
			Template struct {
				Spec struct {
					TerminationGracePeriodSeconds float64
					Containers                    []struct{ Args []string }
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &deployment); err != nil {
		t.Fatal(err)
	}
	pod := deployment.Spec.Template.Spec
	if needed := (stopGrace + releaseGrace + drainGrace).Seconds(); pod.TerminationGracePeriodSeconds <= needed {
		t.Errorf("the pod is killed after %v s, while the operator may need %v s", pod.TerminationGracePeriodSeconds, needed)
	}
	if _, err := parseOptions(pod.Containers[0].Args, inPod, &strings.Builder{}); err != nil {
		t.Errorf("the Deployment's flags: %v", err)
	}
}

func TestAddressesThatMayNeverBeCalled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ server, want string }{
		"a URL":                     {"https://10.96.0.1:6443", "10.96.0.1:6443"},
		"a URL without a port":      {"https://10.96.0.1", "10.96.0.1:443"},
		"a host and a port":         {"10.96.0.1:8443", "10.96.0.1:8443"},
		"an address of version six": {"https://[fd00::1]:6443", "[fd00::1]:6443"},
		"a mapped address":          {"https://[::ffff:10.96.0.1]:6443", "10.96.0.1:6443"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			egress, err := options{}.egress(t.Context(), c.server)
			if err != nil {
				t.Fatal(err)
			}
			want := []netip.AddrPort{netip.MustParseAddrPort(c.want)}
			if diff := cmp.Diff(want, egress.DenyAddrPorts, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, server := range []string{"https://10.96.0.1:99999", "https://%zz"} {
		if _, err := (options{}).egress(t.Context(), server); err == nil {
			t.Errorf("%s was taken", server)
		}
	}
}

func TestTheLimitOfRequests(t *testing.T) {
	for args, want := range map[string]float32{"": -1, "--kube-api-qps=0": -1, "--kube-api-qps=0.5": 0.5} {
		parsed, err := parseOptions(strings.Fields(args), inPod, &strings.Builder{})
		if err != nil {
			t.Fatal(err)
		}
		if got, burst := parsed.limit(); got != want || burst != 400 {
			t.Errorf("%q gives %v, %d to the client library, want %v, 400", args, got, burst, want)
		}
	}
}
