package controller

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// InFlight knows the exchanges that are open, of which one account has one at most. They outlive the manager: whoever
// stops the process drains them first. The zero value is ready for use.
type InFlight struct {
	mu      sync.Mutex
	open    map[types.UID]struct{}
	closing bool
	idle    chan struct{}
}

// begin opens one for an account. It fails where one is open, and while the process is shutting down.
func (f *InFlight) begin(account types.UID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return errShuttingDown
	}
	if _, is := f.open[account]; is {
		return errExchangeOpen
	}
	if f.open == nil {
		f.open = map[types.UID]struct{}{}
	}
	f.open[account] = struct{}{}
	return nil
}

func (f *InFlight) end(account types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, account)
	if f.closing && len(f.open) == 0 {
		close(f.idle)
	}
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
