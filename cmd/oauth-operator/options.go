package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// maxQPS is more than any API server answers.
const maxQPS = 100_000

// shortestTakeoverWait is the time in which a holder that is alive has kept what it received.
const shortestTakeoverWait = 15 * time.Second

// options are the flags.
type options struct {
	namespace      string
	watched        []string
	leaderElect    bool
	metricsAddress string
	probeAddress   string
	workers        int
	maxRequests    int
	maxInNamespace int
	maxAccounts    int
	qps            float32
	burst          int
	verbosity      int
	allowCIDRs     []netip.Prefix
	allowLoopback  bool
	journalDir     string
	takeoverWait   time.Duration

	serve          string
	consentURL     *url.URL
	consentAddress string
	consentKeys    string
	trustedProxies []netip.Prefix

	showVersion bool
}

// What a process serves.
const (
	serveManager = "manager"
	serveConsent = "consent"
	serveAll     = "all"
)

// maxConsentURL leaves room for a namespace and a name in a redirect URI.
const maxConsentURL = 1024

func parseOptions(args []string, getenv func(string) string, output io.Writer) (options, error) {
	var parsed options
	flags := flag.NewFlagSet("oauth-operator", flag.ContinueOnError)
	flags.SetOutput(output)
	config.RegisterFlags(flags) // --kubeconfig, which the client library reads by itself
	flags.StringVar(&parsed.namespace, "namespace", getenv("POD_NAMESPACE"), "the operator's own namespace, where keyring and lease live; default: the environment variable POD_NAMESPACE")
	watched := flags.String("watch-namespaces", "", "the namespaces whose clients and accounts are worked on, separated by commas; in all others nothing is read; default: all namespaces")
	flags.BoolVar(&parsed.leaderElect, "leader-elect", true, "let one of several replicas work at a time")
	flags.StringVar(&parsed.metricsAddress, "metrics-bind-address", ":8080", "the address of /metrics, of operator and consent pages alike; 0 turns it off")
	flags.StringVar(&parsed.probeAddress, "health-probe-bind-address", ":8081", "the address of /healthz and /readyz")
	flags.IntVar(&parsed.workers, "max-concurrent-reconciles", 32, "how many accounts are worked on at once (1 to 256)")
	flags.IntVar(&parsed.maxRequests, "max-concurrent-requests", 64, "how many token requests are under way at once (1 to 128); each client has a limit of its own, spec.maxConcurrentRequests")
	flags.IntVar(&parsed.maxInNamespace, "max-concurrent-requests-per-namespace", 32, "how many of them may be of accounts of one namespace")
	flags.IntVar(&parsed.maxAccounts, "max-accounts-per-namespace", 0, "how many accounts of one namespace are worked on, the oldest; 0: all")
	qps := flags.Float64("kube-api-qps", 0, "requests to the API server in a second, on average; 0: as many as it answers, which then sees to fairness by itself")
	flags.IntVar(&parsed.burst, "kube-api-burst", 400, "requests to the API server at once, where --kube-api-qps sets a limit")
	flags.StringVar(&parsed.journalDir, "journal-dir", "/var/lib/oauth-operator/journal", "a folder of this pod's own that outlives its containers, such as an emptyDir: it holds, encrypted, what token requests brought until the API server has it")
	flags.DurationVar(&parsed.takeoverWait, "takeover-wait", 6*time.Minute, "for how long the unfinished token request of another replica is left to it, once that is announced, where the provider forgives no second use of a refresh token (15s to 1h)")
	flags.IntVar(&parsed.verbosity, "v", 0, "verbosity of the log; more than 5 counts as 5, since the client library then prints the bodies of Secrets")
	flags.StringVar(&parsed.serve, "serve", serveManager, "manager: refresh tokens; consent: show people the pages where they consent, facing the internet; all: both in one process, for demos")
	consentURL := flags.String("consent-url", getenv("CONSENT_URL"), "the public URL of the consent pages, such as https://oauth.example.com or https://example.com/oauth, alike for manager and consent: redirect URIs and links begin with it; default: the environment variable CONSENT_URL")
	flags.StringVar(&parsed.consentAddress, "consent-bind-address", ":8082", "the address of the consent pages, for a proxy that has the certificate for --consent-url")
	flags.StringVar(&parsed.consentKeys, "consent-keys", "", "the folder where the Secret oauth-operator-consent is mounted; with --serve=all it may be absent: the Secret is then read from the API server")
	proxies := flags.String("trusted-proxies", "", "the proxies in front of the consent pages, as CIDRs separated by commas: they alone are believed when they say in X-Forwarded-For whom they ask for")
	cidrs := flags.String("allow-cidrs", "", "private networks that token endpoints may lie in, as CIDRs separated by commas")
	flags.BoolVar(&parsed.showVersion, "version", false, "print the version, and end")
	flags.BoolVar(&parsed.allowLoopback, "insecure-allow-loopback", false, "allow token endpoints on this machine, and http:// there; for tests and demos only")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	parsed.qps = float32(*qps)
	var err error
	if parsed.watched, err = parseNamespaces(*watched); err != nil {
		return options{}, err
	}
	if parsed.allowCIDRs, err = parseCIDRs("--allow-cidrs", *cidrs); err != nil {
		return options{}, err
	}
	if parsed.trustedProxies, err = parseCIDRs("--trusted-proxies", *proxies); err != nil {
		return options{}, err
	}
	if parsed.consentURL, err = parseConsentURL(*consentURL, parsed.allowLoopback); err != nil {
		return options{}, err
	}
	return parsed, parsed.check(flags.Args())
}

func (o options) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q: all settings are flags", rest[0])
	}
	if o.showVersion {
		return nil
	}
	if err := o.checkConsent(); err != nil || o.serve == serveConsent {
		return err
	}
	switch {
	case o.namespace == "":
		return errors.New("set --namespace, or the environment variable POD_NAMESPACE, to the operator's own namespace")
	case slices.Contains(o.watched, o.namespace):
		return fmt.Errorf("--watch-namespaces must not name %s, the operator's own namespace: no client and no account is allowed there", o.namespace)
	case o.workers < 1 || o.workers > 256:
		return errors.New("--max-concurrent-reconciles must be from 1 to 256")
	case o.maxRequests < 1 || o.maxRequests > 128:
		return errors.New("--max-concurrent-requests must be from 1 to 128")
	case o.maxInNamespace < 1 || o.maxInNamespace > o.maxRequests:
		return fmt.Errorf("--max-concurrent-requests-per-namespace must be from 1 to %d, the value of --max-concurrent-requests", o.maxRequests)
	case o.maxAccounts < 0:
		return errors.New("--max-accounts-per-namespace must not be below 0")
	case !(o.qps >= 0 && o.qps <= maxQPS) || o.burst < 1: // NaN is none of both
		return fmt.Errorf("--kube-api-qps must be from 0 to %d, --kube-api-burst at least 1", maxQPS)
	case o.journalDir == "":
		return errors.New("--journal-dir must name a folder")
	case o.takeoverWait < shortestTakeoverWait || o.takeoverWait > time.Hour:
		return fmt.Errorf("--takeover-wait must be from %s to 1h", shortestTakeoverWait)
	}
	return nil
}

// publicURL is the public URL of the consent pages; "": there are none.
func (o options) publicURL() string {
	if o.consentURL == nil {
		return ""
	}
	return o.consentURL.String()
}

// checkConsent looks at what the consent pages need. They need nothing else.
func (o options) checkConsent() error {
	switch {
	case o.serve != serveManager && o.serve != serveConsent && o.serve != serveAll:
		return errors.New("--serve must be manager, consent or all")
	case o.serve != serveManager && o.consentURL == nil:
		return errors.New("set --consent-url, or the environment variable CONSENT_URL, to the public URL of the consent pages")
	case o.serve == serveConsent && o.consentKeys == "":
		return errors.New("set --consent-keys to the folder where the Secret oauth-operator-consent is mounted")
	}
	return nil
}

// parseConsentURL reads what providers have registered as the beginning of redirect URIs: it has to be one text for ever.
func parseConsentURL(text string, allowLoopback bool) (*url.URL, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // absent, which is no error
	}
	parsed, err := url.Parse(text)
	switch {
	case err != nil || parsed.Host == "" || len(text) > maxConsentURL:
		return nil, errors.New("--consent-url must be a URL such as https://oauth.example.com")
	case parsed.Scheme != "https" && (parsed.Scheme != "http" || !allowLoopback || !isLoopback(parsed.Hostname())):
		return nil, errors.New("--consent-url must begin with https:// (http:// is for this machine, with --insecure-allow-loopback)")
	case parsed.User != nil || parsed.RawQuery != "" || parsed.ForceQuery || strings.Contains(text, "#"):
		return nil, errors.New("--consent-url must have no user, query or fragment")
	case parsed.Scheme == "https" && parsed.Port() == "443": // browsers leave it out, and what they say is compared
		return nil, errors.New("--consent-url must not have the port 443, which https:// has by itself")
	case !consentURLShape().MatchString(text):
		return nil, errors.New("--consent-url must be in lower case, and must not end with a slash: a host, perhaps a port, perhaps a path of letters, digits, '-', '_', '.' and '/'")
	}
	return parsed, nil
}

func consentURLShape() *regexp.Regexp {
	return regexp.MustCompile(`^https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// limit is that of requests to the API server, as the client library has it: there, 0 stands for a few in a second.
func (o options) limit() (qps float32, burst int) {
	if o.qps == 0 {
		return -1, o.burst
	}
	return o.qps, o.burst
}

// parseNamespaces reads a list of namespaces; an empty one means all.
func parseNamespaces(list string) ([]string, error) {
	var names []string
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if len(validation.IsDNS1123Label(text)) > 0 {
			return nil, fmt.Errorf("--watch-namespaces: %q cannot be the name of a namespace: write names such as shop,billing", text)
		}
		names = append(names, text)
	}
	if list != "" && len(names) == 0 {
		return nil, errors.New("--watch-namespaces names no namespace: write names such as shop,billing, or leave the flag out to watch all")
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func parseCIDRs(flagName, list string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a network such as 10.20.0.0/16", flagName, text)
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}

// egress says which addresses may be called. The API server never is one of them.
func (o options) egress(ctx context.Context, apiServer string) (oauth.Egress, error) {
	denied, err := addressesOf(ctx, apiServer)
	if err != nil {
		return oauth.Egress{}, err
	}
	return oauth.Egress{AllowCIDRs: o.allowCIDRs, AllowLoopback: o.allowLoopback, DenyAddrPorts: denied}, nil
}

func addressesOf(ctx context.Context, server string) ([]netip.AddrPort, error) {
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	parsed, err := url.Parse(server)
	if err != nil {
		return nil, errors.New("the API server's address is not a URL")
	}
	port := uint64(443)
	if parsed.Port() != "" {
		if port, err = strconv.ParseUint(parsed.Port(), 10, 16); err != nil {
			return nil, errors.New("the API server's address has no usable port")
		}
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", parsed.Hostname())
	if err != nil {
		return nil, fmt.Errorf("look up the API server's address: %w", err)
	}
	denied := make([]netip.AddrPort, len(addresses))
	for i, address := range addresses {
		denied[i] = netip.AddrPortFrom(address.Unmap(), uint16(port))
	}
	return denied, nil
}
