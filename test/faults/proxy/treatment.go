package proxy

import (
	"sync"
	"time"
)

// Treatment says what is done with one request, in the order of the fields. The zero value passes it on and records it.
type Treatment struct {
	// Plan goes into the record: for what the treatment is.
	Plan string
	// Before holds the request before anything of it is forwarded.
	Before *Hold
	// Refuse answers the request in place of the server.
	Refuse *Refusal
	// Cut ends the connection at a point.
	Cut Cut
	// After holds the answer before anything of it is delivered.
	After *Hold
	// Half holds the answer when half of its body is delivered.
	Half *Hold
	// Delivered is called when the last byte has been handed to the network.
	Delivered func(time.Time)
}

// Cut is a point at which a connection is reset.
type Cut string

const (
	// CutBefore resets before anything is forwarded.
	CutBefore Cut = "before"
	// CutHalfRequest resets both connections when half of the request is forwarded.
	CutHalfRequest Cut = "half-request"
	// CutReply lets the server do it, and resets before anything of the answer is delivered.
	CutReply Cut = "reply"
	// CutHalfReply resets when half of the answer is delivered.
	CutHalfReply Cut = "half-reply"
)

// Refusal is an answer in place of the server's: a Status object of Kubernetes.
type Refusal struct {
	// Status is the HTTP status, Reason the word of metav1.StatusReason.
	Status int
	Reason string
	// RetryAfterSeconds is for 429 and 503.
	RetryAfterSeconds int
}

// Hold stops one request until it is released, or until its limit.
type Hold struct {
	limit   time.Duration
	reached chan struct{}

	mu       sync.Mutex
	arrived  time.Time
	decided  chan struct{}
	decision bool
	after    time.Duration
	over     bool
}

// NewHold makes a hold that lets the request go on by itself after the limit.
func NewHold(limit time.Duration) *Hold {
	return &Hold{limit: limit, reached: make(chan struct{}), decided: make(chan struct{})}
}

// Reached is closed when the request has come to the hold.
func (h *Hold) Reached() <-chan struct{} { return h.reached }

// Holding reports whether a request is held now.
func (h *Hold) Holding() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.arrived.IsZero() && !h.over
}

// Released reports whether the request may go on, or has gone on by itself.
func (h *Hold) Released() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.over && h.decision
}

// Release lets the request go on, some time later perhaps.
func (h *Hold) Release(after time.Duration) { h.decide(true, after) }

// Discard ends the request where it is: its connection is reset.
func (h *Hold) Discard() { h.decide(false, 0) }

func (h *Hold) decide(goOn bool, after time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return
	}
	h.decision, h.after, h.over = goOn, after, true
	close(h.decided)
}

// wait is called by the request. It reports whether to go on. A hold that is nil holds nothing.
func (h *Hold) wait() bool {
	if h == nil {
		return true
	}
	h.mu.Lock()
	h.arrived = time.Now()
	close(h.reached)
	h.mu.Unlock()
	timer := time.NewTimer(h.limit)
	defer timer.Stop()
	select {
	case <-h.decided:
	case <-timer.C:
		h.decide(true, 0)
	}
	h.mu.Lock()
	goOn, after := h.decision, h.after
	h.mu.Unlock()
	if after > 0 {
		late := time.NewTimer(after)
		<-late.C
	}
	return goOn
}
