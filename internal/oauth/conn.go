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

// Write writes for the current exchange, if that still may.
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

// sending is the writing side of one exchange.
type sending struct {
	clock   clock.PassiveClock
	start   time.Time
	timeout time.Duration

	mu       sync.Mutex
	conn     *conn
	writing  bool // a write is under way and may have put bytes on the wire
	written  bool // bytes were put on the wire
	finished bool // the verdict is given: no write may follow

	tried atomic.Bool // a write was tried: an answer may come
}

func newSending(c clock.PassiveClock, timeout time.Duration) *sending {
	return &sending{clock: c, start: c.Now(), timeout: timeout}
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

// write checks the time limit with nothing between the check and the write: a process that was paused until after its
// limit must not send. Wall clock and monotonic clock are both asked, for the monotonic one stands still in suspend.
func (s *sending) write(inner net.Conn, p []byte) (int, error) {
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

func (s *sending) isLate() bool {
	now := s.clock.Now()
	return now.Sub(s.start) >= s.timeout || now.Round(0).Sub(s.start.Round(0)) >= s.timeout
}

// finish gives the verdict, and makes it final by refusing every later write.
func (s *sending) finish() (written bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	return s.written || s.writing
}
