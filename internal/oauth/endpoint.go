package oauth

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// errEndpoint is all that is said of an endpoint that cannot be used: the parser's own words would quote the URL,
// and a URL may hold a secret in its query.
var errEndpoint = errors.New(reasonEndpoint)

// Origin gives scheme://host:port of an absolute http or https URL, in lower case, with the port written out and IP
// literals in their shortest form, so that equal origins are equal texts. The error never quotes the URL.
func Origin(endpoint string) (string, error) {
	u, err := parseEndpoint(endpoint)
	if err != nil {
		return "", err
	}
	return u.Scheme + "://" + hostPort(u), nil
}

// HostsAllowed reports whether the endpoint's host is in hosts. An entry is host or host:port; without a port it means
// 443. Hosts are compared whole and without regard to case: there are no wildcards, and a parent domain does not
// include its children. An empty list allows nothing.
func HostsAllowed(endpoint string, hosts []string) bool {
	u, err := parseEndpoint(endpoint)
	if err != nil {
		return false
	}
	want := hostPort(u)
	for _, entry := range hosts {
		entry = strings.TrimSpace(entry)
		// An entry is read by the rules of an endpoint's own host part, so that both sides are normalised alike.
		allowed, err := parseEndpoint("https://" + entry)
		if err != nil || !strings.EqualFold(allowed.Host, entry) {
			continue
		}
		if hostPort(allowed) == want {
			return true
		}
	}
	return false
}

// parseEndpoint reads an absolute http or https URL with host, without user name and fragment. Scheme and host come
// back in lower case.
func parseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, errEndpoint
	}
	u.Host = strings.ToLower(u.Host)
	switch {
	case u.Scheme != "https" && u.Scheme != "http",
		u.Opaque != "", u.User != nil, strings.Contains(endpoint, "#"),
		u.Hostname() == "", !isASCIIHost(u.Hostname()):
		return nil, errEndpoint
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errEndpoint
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return nil, errEndpoint
	}
	return u, nil
}

// isASCIIHost refuses what could be taken for another host: names outside ASCII have several spellings (they are
// written in punycode instead), and zones belong to link-local addresses.
func isASCIIHost(host string) bool {
	for i := range len(host) {
		c := host[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == ':':
		default:
			return false
		}
	}
	return true
}

// hostPort gives host:port with the default port written out and leading zeros and long forms removed.
func hostPort(u *url.URL) string {
	host, port := u.Hostname(), u.Port()
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.String()
	}
	switch n, err := strconv.ParseUint(port, 10, 16); {
	case err == nil:
		port = strconv.FormatUint(n, 10)
	case u.Scheme == "http":
		port = "80"
	default:
		port = "443"
	}
	return net.JoinHostPort(host, port)
}

// isLoopbackHost reports whether a host is written as loopback. What a name resolves to is checked when it is dialled.
func isLoopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
