package oauth

import (
	"bufio"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
)

var (
	errNotArmed    = errors.New("write outside an exchange")
	errTooLate     = errors.New("the exchange is over or its time limit was reached")
	errUnsolicited = errors.New("the server sent something that was not asked for")
)

// conn is a connection that lies above TLS and belongs to one exchange at a time. It knows, to the byte, whether
// anything of the request was written, because that decides whether a single-use token may have been spent.
type conn struct {
	net.Conn
	in      *bufio.Reader
	current atomic.Pointer[sending]
}

func newConn(inner net.Conn) *conn {
	return &conn{Conn: inner, in: bufio.NewReader(inner)}
}

// Write writes for the current exchange, once that is let go, if it still may.
func (c *conn) Write(p []byte) (int, error) {
	s := c.current.Load()
	if s == nil {
		return 0, errNotArmed
	}
	return s.write(c.Conn, p)
}

// Read hands out one byte at a time, and none that no request has asked for. net/http prints what it finds on an idle
// connection to the process's log, up to its whole read buffer; a hostile server could place there, behind a proper
// answer, whatever it knows, our secrets included. Byte by byte, net/http's buffer is empty where an answer ends.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.Read(p[:min(len(p), 1)])
	if n == 0 {
		return n, err
	}
	if s := c.current.Load(); s == nil || !s.tried.Load() {
		return 0, errUnsolicited
	}
	return n, err
}

// sending is the writing side of one exchange. It holds the request back until it is released, so that everything
// that takes time or can fail (name, TCP, TLS) lies before the moment at which the caller lets the request go.
type sending struct {
	clock clock.PassiveClock

	reaching sync.Once
	inHand   chan struct{} // closed when net/http has a connection and would write to it
	released chan struct{} // closed when the request may go
	givenUp  chan struct{} // closed with finished

	// Set before released is closed, and not changed afterwards.
	started time.Time
	limit   time.Duration

	mu       sync.Mutex
	conn     *conn
	writing  bool // a write is under way and may have put bytes on the wire
	written  bool // bytes were put on the wire
	finished bool // the verdict is given: no write may follow
	status   int  // of the answer, once its headers have been read

	tried atomic.Bool // a write was tried: an answer may come
}

func newSending(c clock.PassiveClock) *sending {
	return &sending{clock: c, inHand: make(chan struct{}), released: make(chan struct{}), givenUp: make(chan struct{})}
}

// trace ties the exchange to the connection that it gets, and unties it when the connection becomes idle.
func (s *sending) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			c, ok := info.Conn.(*conn)
			if !ok {
				return
			}
			s.mu.Lock()
			s.conn = c
			s.mu.Unlock()
			c.current.Store(s)
		},
		PutIdleConn: func(err error) {
			s.mu.Lock()
			c := s.conn
			s.mu.Unlock()
			if err == nil && c != nil {
				// The connection may serve the next exchange already; its mark must stay.
				c.current.CompareAndSwap(s, nil)
			}
		},
	}
}

// release lets the request go. It is called once at most.
func (s *sending) release() { close(s.released) }

// write waits until the request is released, and then checks the time limit with nothing between the check and the
// write: a process that was paused until after its limit must not send. A connection that died while the request waited
// has been closed by net/http, and takes no byte.
func (s *sending) write(inner net.Conn, p []byte) (int, error) {
	s.reaching.Do(func() { close(s.inHand) })
	select {
	case <-s.released:
	case <-s.givenUp:
		return 0, errTooLate
	}
	s.mu.Lock()
	if s.finished || s.isLate() {
		s.mu.Unlock()
		return 0, errTooLate
	}
	s.writing = true
	s.mu.Unlock()
	s.tried.Store(true)

	n, err := inner.Write(p)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	// TLS counts whole records, and part of a record is of no use to the server: it cannot be authenticated.
	s.written = s.written || n > 0
	return n, err
}

// remaining is what is left of the limit. Wall clock and monotonic clock are both asked, and the one that says less
// counts: the monotonic one stands still in suspend, and the wall clock may be set back.
func (s *sending) remaining() time.Duration {
	now := s.clock.Now()
	passed := max(now.Sub(s.started), now.Round(0).Sub(s.started.Round(0)), 0)
	return s.limit - passed
}

func (s *sending) isLate() bool { return s.remaining() <= 0 }

// answered notes the status, for the case that the body does not come.
func (s *sending) answered(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// finish gives the verdict, and makes it final by refusing every later write.
func (s *sending) finish() (written bool, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.finished {
		s.finished = true
		close(s.givenUp)
	}
	return s.written || s.writing, s.status
}
