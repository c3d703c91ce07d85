package oauth

import (
	"fmt"
	"net/netip"
)

// Egress says which addresses may be connected to. The zero value allows what is public.
//
// Whoever may write an endpoint chooses where the operator connects from inside the cluster. So the decision is made
// on the address that is about to be dialled, after the name was resolved: an earlier look can be answered otherwise.
type Egress struct {
	// AllowCIDRs are the private networks that may be reached. They cannot allow an address of the list that is
	// never allowed.
	AllowCIDRs []netip.Prefix
	// AllowLoopback permits loopback addresses, and http:// to them. It is insecure and meant for tests and demos.
	AllowLoopback bool
	// DenyAddrPorts are refused whatever else is set: the API server. Port 0 stands for all ports.
	DenyAddrPorts []netip.AddrPort
}

// refusedAddressError says which address was refused, and which flag would allow it.
type refusedAddressError struct {
	addr   netip.Addr
	reason string
}

func (e *refusedAddressError) Error() string {
	return fmt.Sprintf("address %s refused: %s", e.addr, e.reason)
}

// Check returns nil if addr may be connected to, and an error that names the address and what would allow it
// otherwise. IPv6 addresses that carry an IPv4 address are judged by both.
func (e Egress) Check(addr netip.AddrPort) error {
	ip := addr.Addr().WithZone("").Unmap()
	if !ip.IsValid() {
		return &refusedAddressError{ip, reasonNever}
	}
	if e.isDenied(ip, addr.Port()) {
		return &refusedAddressError{ip, reasonNever}
	}
	if ip.IsLoopback() {
		if e.AllowLoopback {
			return nil
		}
		return &refusedAddressError{ip, reasonLoopback}
	}
	for _, candidate := range append([]netip.Addr{ip}, embedded(ip)...) {
		switch {
		case isNever(candidate), e.isDenied(candidate, addr.Port()):
			return &refusedAddressError{ip, reasonNever}
		case isPrivate(candidate) && !e.isAllowed(candidate):
			return &refusedAddressError{ip, reasonPrivate}
		}
	}
	return nil
}

func (e Egress) isDenied(ip netip.Addr, port uint16) bool {
	for _, denied := range e.DenyAddrPorts {
		if denied.Addr().WithZone("").Unmap() == ip && (denied.Port() == 0 || denied.Port() == port) {
			return true
		}
	}
	return false
}

func (e Egress) isAllowed(ip netip.Addr) bool {
	for _, prefix := range e.AllowCIDRs {
		if prefix.Contains(ip) {
			return true
		}
	}
	return false
}

// isNever reports the addresses that no flag allows. Loopback is among them for the addresses that carry it inside;
// plain loopback was judged before. net/netip's own IsPrivate and IsLinkLocalUnicast miss most of these.
func isNever(ip netip.Addr) bool {
	return contains(ip,
		"0.0.0.0/8",        // "this network"; Linux connects 0.0.0.0 to loopback
		"127.0.0.0/8",      // loopback
		"100.64.0.0/10",    // carrier-grade NAT; nodes and metadata services of some clouds
		"169.254.0.0/16",   // link-local; metadata services
		"168.63.129.16/32", // Azure's host agent
		"192.0.0.0/24",     // protocol assignments; Oracle's metadata service
		"198.18.0.0/15",    // benchmarking; meshes and proxies place their own addresses there
		"224.0.0.0/4",      // multicast
		"240.0.0.0/4",      // reserved, and broadcast
		"::/128",           // unspecified
		"::1/128",          // loopback
		"fe80::/10",        // link-local
		"ff00::/8",         // multicast
		"fd00:ec2::/32",    // AWS metadata and DNS
		"fd20:ce::254/128", // Google's metadata service
	)
}

// isPrivate reports the addresses that are reached only where --allow-cidrs names them.
func isPrivate(ip netip.Addr) bool {
	return contains(ip,
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
		"fc00::/7",       // unique local
		"fec0::/10",      // site-local, deprecated but routed in old networks
		"64:ff9b:1::/48", // NAT64 for local use, RFC 8215
	)
}

func contains(ip netip.Addr, prefixes ...string) bool {
	for _, prefix := range prefixes {
		if netip.MustParsePrefix(prefix).Contains(ip) {
			return true
		}
	}
	return false
}

// embedded gives the IPv4 addresses that an IPv6 address carries: a translator or tunnel on the way may turn it into
// a connection to one of them.
func embedded(ip netip.Addr) []netip.Addr {
	if !ip.Is6() {
		return nil
	}
	b := ip.As16()
	var found []netip.Addr
	add := func(b0, b1, b2, b3 byte) { found = append(found, netip.AddrFrom4([4]byte{b0, b1, b2, b3})) }
	switch {
	case contains(ip, "64:ff9b:1::/48") && [5]byte(b[11:]) == [5]byte{}: // RFC 6052 section 2.2, a /48 prefix
		add(b[6], b[7], b[9], b[10])
	case contains(ip,
		"64:ff9b::/96", "64:ff9b:1::/48", // NAT64, RFC 6052 and RFC 8215
		"::/96",            // IPv4-compatible, RFC 4291 section 2.5.5.1
		"::ffff:0:0:0/96"): // IPv4-translated, RFC 2765
		add(b[12], b[13], b[14], b[15])
	case contains(ip, "2002::/16"): // 6to4, RFC 3056
		add(b[2], b[3], b[4], b[5])
	case contains(ip, "2001::/32"): // Teredo, RFC 4380: the server, and the client with its bits inverted
		add(b[4], b[5], b[6], b[7])
		add(^b[12], ^b[13], ^b[14], ^b[15])
	}
	if b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe { // ISATAP, RFC 5214
		add(b[12], b[13], b[14], b[15])
	}
	return found
}
