package oauth_test

import (
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

const (
	private  = "--allow-cidrs"
	loopback = "--insecure-allow-loopback"
	never    = "never allowed"
)

// refusals is section 4 of the security rules, and the ways around it. "" is allowed.
func refusals() map[string]string {
	return map[string]string{
		"8.8.8.8": "", "1.1.1.1": "", "2606:4700::1111": "", "192.0.1.1": "", "172.32.0.1": "", "100.63.255.255": "", "100.128.0.1": "",
		"127.0.0.1": loopback, "127.255.255.254": loopback, "::1": loopback, "::ffff:127.0.0.1": loopback,
		"0.0.0.0": never, "0.1.2.3": never, "::": never, "::ffff:0.0.0.0": never,
		"169.254.169.254": never, "169.254.0.1": never, "fe80::1": never, "fe80::1%eth0": never, "febf::1": never, "::ffff:169.254.169.254": never,
		"224.0.0.1": never, "239.255.255.255": never, "ff02::1": never,
		"100.64.0.1": never, "100.100.100.200": never, "100.127.255.255": never,
		"192.0.0.1": never, "192.0.0.192": never, "198.18.0.1": never, "198.19.255.255": never, "240.0.0.1": never, "255.255.255.255": never,
		"168.63.129.16": never, "fd00:ec2::254": never, "fd00:ec2:ffff::1": never, "fd20:ce::254": never,
		"10.0.0.1": private, "172.16.0.1": private, "172.31.255.255": private, "192.168.1.1": private, "::ffff:10.0.0.1": private,
		"fc00::1": private, "fd00::1": private, "fd20:ce::253": private, "fec0::1": private,
		// NAT64
		"64:ff9b::8.8.8.8": "", "64:ff9b::127.0.0.1": never, "64:ff9b::169.254.169.254": never, "64:ff9b::10.0.0.1": private, "64:ff9b::": never,
		"64:ff9b:1::169.254.169.254": private, "64:ff9b:1::8.8.8.8": private,
		// 6to4, IPv4-compatible, IPv4-translated, Teredo (server, client), ISATAP
		"2002:808:808::1": "", "2002:7f00:1::1": never, "2002:a9fe:a9fe::": never, "2002:a00:1::1": private,
		"::8.8.8.8": "", "::127.0.0.1": never, "::169.254.169.254": never, "::10.0.0.1": private, "::2": never,
		"::ffff:0:127.0.0.1": never, "::ffff:0:8.8.8.8": "", "::ffff:0:10.0.0.1": private,
		"2001:0:7f00:1::f7f7:f7f7": never, "2001:0:808:808::5601:5601": never, "2001:0:808:808::f5ff:fffe": private, "2001:0:808:808::f7f7:f7f7": "",
		"2606:4700::5efe:127.0.0.1": never, "2606:4700::200:5efe:10.0.0.1": private, "2606:4700::200:5efe:8.8.8.8": "",
	}
}

func TestS21EgressTable(t *testing.T) {
	t.Parallel()
	for address, want := range refusals() {
		err := oauth.Egress{}.Check(netip.AddrPortFrom(netip.MustParseAddr(address), 443))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s refused: %v", address, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
	if (oauth.Egress{}).Check(netip.AddrPort{}) == nil {
		t.Error("no address at all is allowed")
	}
}

func TestEgressFlags(t *testing.T) {
	t.Parallel()
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	apiServer := []netip.AddrPort{netip.MustParseAddrPort("203.0.113.9:6443"), netip.MustParseAddrPort("203.0.113.10:0"), netip.MustParseAddrPort("127.0.0.1:6443")}
	for name, c := range map[string]struct {
		egress  oauth.Egress
		address string
		allowed bool
	}{
		"named network":                         {oauth.Egress{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}, "10.1.2.3:443", true},
		"named network, mapped":                 {oauth.Egress{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}, "[::ffff:10.1.2.3]:443", true},
		"another network":                       {oauth.Egress{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}, "10.2.2.3:443", false},
		"everything, private":                   {oauth.Egress{AllowCIDRs: everything}, "[fd00::1]:443", true},
		"everything, metadata":                  {oauth.Egress{AllowCIDRs: everything}, "169.254.169.254:80", false},
		"everything, metadata by local NAT64":   {oauth.Egress{AllowCIDRs: everything}, "[64:ff9b:1::169.254.169.254]:80", false},
		"everything, metadata by /48 NAT64":     {oauth.Egress{AllowCIDRs: everything}, "[64:ff9b:1:a9fe:a9:fe00::]:80", false},
		"everything, public by /48 NAT64":       {oauth.Egress{AllowCIDRs: everything}, "[64:ff9b:1:808:8:800::]:80", true},
		"everything, loopback":                  {oauth.Egress{AllowCIDRs: everything}, "127.0.0.1:80", false},
		"loopback by its flag":                  {oauth.Egress{AllowLoopback: true}, "127.0.0.1:80", true},
		"mapped loopback by its flag":           {oauth.Egress{AllowLoopback: true}, "[::ffff:127.0.0.1]:80", true},
		"loopback inside another, by its flag":  {oauth.Egress{AllowLoopback: true}, "[64:ff9b::127.0.0.1]:80", false},
		"private is not loopback":               {oauth.Egress{AllowLoopback: true}, "10.0.0.1:80", false},
		"API server":                            {oauth.Egress{DenyAddrPorts: apiServer}, "203.0.113.9:6443", false},
		"API server, mapped":                    {oauth.Egress{DenyAddrPorts: apiServer}, "[::ffff:203.0.113.9]:6443", false},
		"API server, by NAT64":                  {oauth.Egress{DenyAddrPorts: apiServer}, "[64:ff9b::203.0.113.9]:6443", false},
		"API server's host, another port":       {oauth.Egress{DenyAddrPorts: apiServer}, "203.0.113.9:443", true},
		"API server, all ports":                 {oauth.Egress{DenyAddrPorts: apiServer}, "203.0.113.10:443", false},
		"API server on loopback, with its flag": {oauth.Egress{AllowLoopback: true, DenyAddrPorts: apiServer}, "127.0.0.1:6443", false},
	} {
		if err := c.egress.Check(netip.MustParseAddrPort(c.address)); (err == nil) != c.allowed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// S21: every refused address, as a literal and by name, ends before a connection; the server on the very port stays alone.
func TestS21RefusedAddressesAreNotConnectedTo(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	s := serveTLS(t, ca.config(t, nil), ok(goodBody))
	for address, want := range refusals() {
		addr := netip.MustParseAddr(address)
		if want == "" || addr.Zone() != "" {
			continue
		}
		client := newClient(t, func(o *oauth.Options) {
			o.Egress, o.RootCAs = oauth.Egress{}, ca.pem()
			o.Resolver = resolver(t, func() []netip.Addr { return []netip.Addr{addr} })
		})
		host := address
		if addr.Is6() {
			host = "[" + address + "]"
		}
		for _, endpoint := range []string{"https://" + host + ":" + s.port(), "https://provider.test:" + s.port()} {
			_, err := client.Exchange(t.Context(), registration(endpoint), credentials())
			checkFailure(t, err, oauth.NotSent)
			if failure := failureOf(t, err); !strings.Contains(failure.Reason, want) {
				t.Errorf("%s for %s: reason %q, want %q", endpoint, address, failure.Reason, want)
			}
		}
	}
	if connections, _, _ := s.counts(); connections != 0 {
		t.Errorf("%d connections", connections)
	}
}

// S21, H11: a name that is answered otherwise the second time is judged by what is dialled.
func TestS21Rebinding(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	s := serveTLS(t, ca.config(t, nil), answer(200, "application/json", goodBody, "Connection: close"))
	var rebound atomic.Bool
	options := func(o *oauth.Options) {
		o.RootCAs = ca.pem()
		o.Resolver = resolver(t, func() []netip.Addr {
			if rebound.Load() {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			}
			return []netip.Addr{netip.MustParseAddr("203.0.113.1")} // not in use anywhere: no answer, or no route
		})
	}
	reg := registration("https://provider.test:" + s.port())
	reg.Timeout = short
	client := newClient(t, func(o *oauth.Options) { options(o); o.Egress = oauth.Egress{} })
	_, err := client.Exchange(t.Context(), reg, credentials())
	checkFailure(t, err, oauth.NotSent)
	if failure := failureOf(t, err); strings.Contains(failure.Reason, loopback) {
		t.Errorf("the public address was refused: %v", err)
	}
	rebound.Store(true)
	_, err = client.Exchange(t.Context(), reg, credentials())
	checkFailure(t, err, oauth.NotSent)
	if failure := failureOf(t, err); !strings.Contains(failure.Reason, loopback) {
		t.Errorf("reason %q", failure.Reason)
	}
	if connections, _, _ := s.counts(); connections != 0 {
		t.Errorf("%d connections", connections)
	}
	// The same name and server with the flag: what was refused above would have been reached.
	reg.Timeout = long
	if _, err := newClient(t, options).Exchange(t.Context(), reg, credentials()); err != nil {
		t.Error(err)
	}
}

// S22: the proxy's environment variables are ignored. Not parallel: the environment is one for all.
func TestS22ProxyEnvironmentIsIgnored(t *testing.T) {
	proxy := serve(t, raw("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"))
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, "http://127.0.0.1:"+proxy.port())
	}
	ca := newAuthority(t)
	s := serveTLS(t, ca.config(t, nil), ok(goodBody))
	client := newClient(t, func(o *oauth.Options) {
		o.RootCAs = ca.pem()
		o.Resolver = resolver(t, func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} })
	})
	// By name: net/http exempts loopback literals from proxies, which would hide a mistake.
	if _, err := client.Exchange(t.Context(), registration("https://provider.test:"+s.port()), credentials()); err != nil {
		t.Error(err)
	}
	if connections, _, _ := proxy.counts(); connections != 0 {
		t.Errorf("the proxy saw %d connections", connections)
	}
}
