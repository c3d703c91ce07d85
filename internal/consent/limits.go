package consent

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	// maxAtOnce is how many requests are answered at once.
	maxAtOnce = 64
	// maxFromOne is how many requests one source may make within rateWindow.
	maxFromOne = 30
	rateWindow = time.Minute
	// busyRetry is when whoever found no room should come again.
	busyRetry = 2 * time.Second
	// counters is how many sources are told apart. Two that share a counter share a limit; which do, nobody outside can
	// find out, since the hash is seeded at random. So memory is bounded whoever calls, and nothing ever has to be evicted.
	counters = 1 << 16
	// maxForwarded bounds how many addresses of a header are looked at.
	maxForwarded = 16
	// sourcePrefix is the part of an IPv6 address that one household has: within it addresses cost nothing.
	sourcePrefix = 64
)

type verdict int

const (
	admitted verdict = iota
	tooMany
	tooBusy
)

// Limits bound what strangers can use up. Use NewLimits.
type Limits struct {
	trusted []netip.Prefix
	slots   chan struct{}
	seed    maphash.Seed

	mu     sync.Mutex
	counts []count
}

// count is how many requests there were in a window and in the one before.
type count struct {
	window        uint32
	now, previous uint16
}

// NewLimits makes limits. Only trusted proxies are believed when they say for whom they ask.
func NewLimits(trustedProxies []netip.Prefix) *Limits {
	return &Limits{
		trusted: trustedProxies,
		slots:   make(chan struct{}, maxAtOnce),
		seed:    maphash.MakeSeed(),
		counts:  make([]count, counters),
	}
}

// enter lets a request in, or says why not. Whoever is admitted calls leave.
func (l *Limits) enter(r *http.Request, now time.Time) (leave func(), verdict verdict) {
	if !l.allow(l.source(r), now) {
		return nil, tooMany
	}
	select {
	case l.slots <- struct{}{}:
		return func() { <-l.slots }, admitted
	default:
		return nil, tooBusy
	}
}

// allow counts a request of a source. The window slides: of the one before, the part counts that is less than a window ago.
func (l *Limits) allow(source netip.Addr, now time.Time) bool {
	seconds := now.Unix()
	window := uint32(seconds / int64(rateWindow/time.Second)) //nolint:gosec // minutes since 1970 fit until the year 10136
	left := int64(rateWindow/time.Second) - seconds%int64(rateWindow/time.Second)

	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.counts[l.slot(source)]
	switch window - c.window {
	case 0:
	case 1:
		*c = count{window: window, previous: c.now}
	default:
		*c = count{window: window}
	}
	carried := int64(c.previous) * left / int64(rateWindow/time.Second)
	if carried+int64(c.now) >= maxFromOne {
		return false
	}
	c.now++
	return true
}

func (l *Limits) slot(source netip.Addr) uint64 {
	bytes := source.As16()
	return maphash.Bytes(l.seed, bytes[:]) % counters
}

// source is who a request comes from: the peer, or, where that is a trusted proxy, the last address in X-Forwarded-For that
// is not one. What stands before it anybody may have written.
func (l *Limits) source(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.IPv6Unspecified()
	}
	source := peer.Addr().Unmap()
	forwarded := r.Header.Values("X-Forwarded-For")
	for seen := 0; l.isTrusted(source) && seen < maxForwarded; seen++ {
		var last string
		if last, forwarded = cutLast(forwarded); last == "" {
			break
		}
		next, ok := parseForwarded(last)
		if !ok {
			break
		}
		source = next
	}
	if source.Is6() {
		prefix, err := source.Prefix(sourcePrefix)
		if err == nil {
			source = prefix.Addr()
		}
	}
	return source
}

func (l *Limits) isTrusted(address netip.Addr) bool {
	for _, prefix := range l.trusted {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// parseForwarded reads an address, to which some proxies add the port.
func parseForwarded(text string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(text)
	if err != nil {
		withPort, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), true
}

// cutLast takes the last item off a header that is a list, which may stand in several lines.
func cutLast(lines []string) (last string, rest []string) {
	if len(lines) == 0 {
		return "", nil
	}
	line := lines[len(lines)-1]
	rest = lines[:len(lines)-1]
	if before, after, found := cutLastComma(line); found {
		return strings.TrimSpace(after), append(rest[:len(rest):len(rest)], before)
	}
	return strings.TrimSpace(line), rest
}

func cutLastComma(line string) (before, after string, found bool) {
	if i := strings.LastIndexByte(line, ','); i >= 0 {
		return line[:i], line[i+1:], true
	}
	return "", line, false
}
