package controller

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// quietTime is for how long an account is left to its exchange, without laps. After that whatever needs no provider goes on:
// an API server that takes no credential may still take a Secret.
const quietTime = 45 * time.Second

// InFlight knows the exchanges that are open, of which one account has one at most. They outlive the manager: whoever
// stops the process drains them first. The zero value is ready for use.
type InFlight struct {
	mu      sync.Mutex
	open    map[types.UID]*openExchange
	closing bool
	idle    chan struct{}
}

// openExchange is one that is open.
type openExchange struct {
	since time.Time
	// asked: a lap was turned away meanwhile.
	asked bool
}

// begin opens one for an account. It fails where one is open, and while the process is shutting down.
func (f *InFlight) begin(account types.UID, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return errShuttingDown
	}
	if _, is := f.open[account]; is {
		return errExchangeOpen
	}
	if f.open == nil {
		f.open = map[types.UID]*openExchange{}
	}
	f.open[account] = &openExchange{since: now}
	return nil
}

// end reports whether a lap was turned away meanwhile: it is to be made now.
func (f *InFlight) end(account types.UID) (asked bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if exchange, is := f.open[account]; is {
		asked = exchange.asked
	}
	delete(f.open, account)
	if f.closing && len(f.open) == 0 {
		close(f.idle)
	}
	return asked
}

// turnsAway reports whether the account is best left alone, since an exchange is open that is not old. What a lap would
// do is the exchange's to do, and what it would write could get in its way.
func (f *InFlight) turnsAway(account types.UID, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	exchange, is := f.open[account]
	if !is || now.Sub(exchange.since).Abs() >= quietTime {
		return false
	}
	exchange.asked = true
	return true
}

// holds reports whether one is open for the account.
func (f *InFlight) holds(account types.UID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, is := f.open[account]
	return is
}

// Close lets no further exchange begin. It may be called more than once.
func (f *InFlight) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return
	}
	f.closing = true
	f.idle = make(chan struct{})
	if len(f.open) == 0 {
		close(f.idle)
	}
}

// Drain closes, and waits until those that are open have ended, or the context has. It returns how many are left.
func (f *InFlight) Drain(ctx context.Context) int {
	f.Close()
	select {
	case <-f.idle:
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}

// lastRequests keeps the manager, and with it the lease, until the exchanges that are open have ended, or its own patience
// has: as long as this process may still write, no other one begins anything.
type lastRequests struct{ inFlight *InFlight }

// Start waits for the end of the manager, and then for that of the exchanges.
func (l lastRequests) Start(ctx context.Context) error {
	<-ctx.Done()
	l.inFlight.Drain(detached(ctx))
	return nil
}
