package controller

import (
	"context"
	"sync"
)

// InFlight counts the exchanges that are open. They outlive the manager: whoever stops the process drains them first.
// The zero value is ready for use.
type InFlight struct {
	mu      sync.Mutex
	open    int
	closing bool
	idle    chan struct{}
}

// begin opens one; false: the process is shutting down.
func (f *InFlight) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return false
	}
	f.open++
	return true
}

func (f *InFlight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
	if f.closing && f.open == 0 {
		close(f.idle)
	}
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
	if f.open == 0 {
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
	return f.open
}
