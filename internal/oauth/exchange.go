package oauth

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// maxHold is how long a connection may be dialled, or a request held ready, if nobody ends it: a caller that forgets
// a request, and a server that never ends a handshake, must not cost a connection for ever.
const maxHold = 2 * time.Minute

// Exchange sends one token request, once, and judges the answer: Ask and Judge in one. Every error is an
// *Error. An error comes with an empty Answer, or with one that holds nothing but a refresh token; see Reply.Judge.
func (c *Client) Exchange(ctx context.Context, reg Registration, req GrantRequest) (Answer, error) {
	reply, err := c.Ask(ctx, reg, req)
	if err != nil {
		return Answer{}, err
	}
	return reply.Judge(req.Grant)
}

// Ask sends one token request, once, and returns what came back, unread: Ready and Send in one. Every error is an *Error.
//
// The request is never repeated here, on no error and on no connection. What is left of ctx and the registration's
// timeout, whichever ends first, bounds the whole exchange.
func (c *Client) Ask(ctx context.Context, reg Registration, req GrantRequest) (Reply, error) {
	started := c.clock.Now()
	ready, err := c.Ready(ctx, reg, req)
	if err != nil {
		return Reply{}, err
	}
	return ready.Send(ctx, started, reg.timeout())
}

// Request is a token request that has a connection in hand and of which not a byte was written. It is sent once or
// given up; one for which neither is done is given up after two minutes. Safe for concurrent use.
type Request struct {
	sending *sending
	cancel  context.CancelFunc // ends the connection and everything that waits for it
	arrived chan arrival       // gets one value, whatever happens
	hold    *time.Timer

	taken    atomic.Bool // somebody sends it or gives it up
	finished chan struct{}
	// What came of it; set before finished is closed.
	reply   Reply
	failure *Error
}

// arrival is what came of the transport's work: a reply or an error.
type arrival struct {
	reply *reply
	err   error
}

// Ready builds the request and gets a connection: name, TCP, TLS. Not a byte of the request has been written when it
// returns, and none is before Send. The error is an *Error of class NotSent.
//
// ctx and the registration's timeout, whichever ends first, bound the connecting; once Ready has returned, ctx has no
// say any more.
func (c *Client) Ready(ctx context.Context, reg Registration, req GrantRequest) (*Request, error) {
	out, failure := prepare(reg, req, c.egress)
	if failure != nil {
		return nil, failure
	}
	ctx, stop := context.WithTimeout(ctx, reg.timeout())
	defer stop()
	s := newSending(c.clock)
	if ctx.Err() != nil {
		return nil, transportFailure(ctx, ctx.Err(), s, false)
	}
	// The request outlives ctx, so it has a context of its own, which ends with Send, with Close or with the hold.
	running, cancel := context.WithCancel(httptrace.WithClientTrace(context.WithoutCancel(ctx), s.trace()))
	request, err := http.NewRequestWithContext(running, http.MethodPost, out.endpoint, bytes.NewReader(out.body))
	if err != nil {
		cancel()
		return nil, notSent(reasonEndpoint)
	}
	request.Header = out.header
	request.GetBody = nil

	r := &Request{sending: s, cancel: cancel, arrived: make(chan arrival, 1), finished: make(chan struct{})}
	go func() { r.arrived <- c.roundTrip(request, s) }()
	select {
	case <-s.inHand:
		r.hold = time.AfterFunc(c.hold, r.giveUp)
		return r, nil
	case early := <-r.arrived:
		cancel()
		return nil, transportFailure(ctx, early.err, s, false)
	case <-ctx.Done():
		failure := transportFailure(ctx, ctx.Err(), s, false)
		cancel()
		return nil, failure
	}
}

// Send lets the request go, once, and returns what came back, unread. The error is an *Error: NotSent if not one byte
// of the request was written, OutcomeUnknown otherwise. A second call sends nothing and returns what the first did.
//
// limit runs from started, not from now: started is a time of the client's clock, taken before whatever the caller
// wrote down about this request. The clock is asked within the connection's write, so that a process which was paused
// until after the limit writes nothing. limit and ctx, whichever ends first, bound the waiting for the answer as well.
func (r *Request) Send(ctx context.Context, started time.Time, limit time.Duration) (Reply, error) {
	if r.taken.CompareAndSwap(false, true) {
		r.hold.Stop()
		r.reply, r.failure = r.send(ctx, started, limit)
		close(r.finished)
	}
	<-r.finished
	if r.failure != nil {
		return Reply{}, r.failure
	}
	return r.reply, nil
}

func (r *Request) send(ctx context.Context, started time.Time, limit time.Duration) (Reply, *Error) {
	defer r.cancel()
	s := r.sending
	s.started, s.limit = started, limit
	ctx, stop := context.WithTimeout(ctx, s.remaining())
	defer stop()
	if ctx.Err() == nil {
		s.release()
	}
	var got arrival
	select {
	case got = <-r.arrived:
	case <-ctx.Done():
		got = r.atTheLimit(ctx)
	}
	if got.err != nil {
		return Reply{}, transportFailure(ctx, got.err, s, s.isLate())
	}
	return wrap(got.reply), nil
}

const (
	// pauseSign is how far beyond its limit a request is found where the process was paused; a busy machine is less late.
	pauseSign = 500 * time.Millisecond
	// pausedRead is for how long an answer that came meanwhile is then read.
	pausedRead = 3 * time.Second
)

// atTheLimit takes what has arrived by now. It does not wait for the transport's own end, because closing a connection
// can take seconds where the server reads nothing. A process that was paused until long after the limit is another matter:
// the answer may lie in its socket, and whoever reads it needs a moment.
func (r *Request) atTheLimit(ctx context.Context) arrival {
	moment := time.Duration(0)
	if r.sending.remaining() < -pauseSign {
		moment = pausedRead
	}
	timer := time.NewTimer(moment)
	defer timer.Stop()
	select {
	case got := <-r.arrived:
		return got
	case <-timer.C:
	}
	select {
	case got := <-r.arrived:
		return got
	default:
		return arrival{err: ctx.Err()}
	}
}

// Close gives the request up: nothing is ever written after it. After Send it does nothing.
func (r *Request) Close() {
	r.hold.Stop()
	r.giveUp()
}

func (r *Request) giveUp() {
	if !r.taken.CompareAndSwap(false, true) {
		return
	}
	r.sending.finish()
	r.cancel()
	r.failure = notSent(reasonGivenUp)
	close(r.finished)
}

// roundTrip sends the request, when that is released, and reads the reply. The transport is called without http.Client,
// which would follow redirects. GetBody is nil, so that net/http has no second copy of the body that it could send: it
// gives up where it would otherwise repeat the request after a reused connection has died.
func (c *Client) roundTrip(request *http.Request, s *sending) arrival {
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return arrival{err: err}
	}
	defer func() { _ = response.Body.Close() }() // the answer is read or given up: a failed close changes neither
	received := newReply(response.StatusCode, response.Header, c.clock.Now())
	s.answered(received.status)
	if received.status < 200 || received.isRedirect() {
		return arrival{reply: received} // the status says it all, and the body of 101 has no end
	}
	if received.body, received.tooLarge, err = readBody(response.Body); err != nil {
		return arrival{err: err}
	}
	return arrival{reply: received}
}

// transportFailure classifies by what was written, never by the kind of the error: a reset is harmless before the
// first byte and a doubt after it.
func transportFailure(ctx context.Context, err error, s *sending, late bool) *Error {
	written, status := s.finish()
	failure := &Error{Class: NotSent, Status: status, Reason: transportReason(ctx, err, written, late), err: filteredCause(err)}
	if written {
		failure.Class = OutcomeUnknown
	}
	return failure
}

func transportReason(ctx context.Context, err error, written, late bool) string {
	var (
		refused   *refusedAddressError
		handshake *handshakeError
		name      *net.DNSError
		operation *net.OpError
	)
	switch {
	case errors.As(err, &refused):
		return refused.reason
	case errors.As(err, &handshake):
		return handshake.reason
	case errors.Is(ctx.Err(), context.Canceled):
		return reasonCanceled
	case written && ctx.Err() != nil:
		return reasonNoAnswer
	case written:
		return reasonBroken
	case late:
		return reasonLate
	case ctx.Err() != nil:
		return reasonConnect
	case errors.As(err, &name):
		return reasonName
	case errors.As(err, &operation) && operation.Op == "dial":
		return reasonConnect
	default:
		return reasonClosedUnsent
	}
}
