package oauth

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"
)

const maxBodyBytes = 1 << 20

// reply is what came back, before anybody has judged it.
type reply struct {
	status   int
	header   http.Header
	body     []byte
	tooLarge bool      // there was more than maxBodyBytes; body is empty then
	received time.Time // when the headers had been read
}

// Exchange sends one token request, once, and judges the answer. Every error is an *Error: NotSent if not one byte of
// the request was written, and a class that says what the server did with it otherwise.
//
// The request is never repeated here, on no error and on no connection. What is left of ctx and the registration's
// timeout, whichever ends first, bounds the whole exchange.
func (c *Client) Exchange(ctx context.Context, reg Registration, req GrantRequest) (Answer, error) {
	out, failure := prepare(reg, req, c.egress)
	if failure != nil {
		return Answer{}, failure
	}
	received, failure := c.send(ctx, out)
	if failure != nil {
		return Answer{}, failure
	}
	answer, failure := judge(received, req.Grant)
	if failure != nil {
		return Answer{}, failure
	}
	return answer, nil
}

// send writes the request and reads the reply. The transport is called without http.Client, which would follow
// redirects. GetBody is nil, so that net/http has no second copy of the body that it could send: it gives up where it
// would otherwise repeat the request after a reused connection has died.
func (c *Client) send(ctx context.Context, out *outgoing) (*reply, *Error) {
	ctx, cancel := context.WithTimeout(ctx, out.timeout)
	defer cancel()
	s := newSending(c.clock, out.timeout)
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, s.trace()), http.MethodPost, out.endpoint, bytes.NewReader(out.body))
	if err != nil {
		return nil, notSent(reasonEndpoint)
	}
	request.Header = out.header
	request.GetBody = nil

	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return nil, transportFailure(ctx, err, s)
	}
	defer func() { _ = response.Body.Close() }() // the answer is read or given up: a failed close changes neither
	received := &reply{status: response.StatusCode, header: response.Header, received: c.clock.Now()}
	if received.status < 200 || received.isRedirect() {
		return received, nil // the status says it all, and the body of 101 has no end
	}
	if received.body, received.tooLarge, err = readBody(response.Body); err != nil {
		failure := transportFailure(ctx, err, s)
		failure.Status = received.status
		return nil, failure
	}
	return received, nil
}

func (r *reply) isRedirect() bool { return r.status >= 300 && r.status <= 399 }

func (r *reply) isSuccess() bool { return r.status >= 200 && r.status <= 299 }

// readBody reads the whole body, or says that it is too large; what was read of it is of no use then.
func readBody(from io.Reader) (body []byte, tooLarge bool, err error) {
	body, err = io.ReadAll(io.LimitReader(from, maxBodyBytes+1))
	if err != nil {
		return nil, false, err
	}
	if len(body) > maxBodyBytes {
		return nil, true, nil
	}
	return body, false, nil
}

// transportFailure classifies by what was written, never by the kind of the error: a reset is harmless before the
// first byte and a doubt after it.
func transportFailure(ctx context.Context, err error, s *sending) *Error {
	failure := &Error{Class: NotSent, err: filteredCause(err)}
	if s.finish() {
		failure.Class = OutcomeUnknown
	}
	failure.Reason = transportReason(ctx, err, s, failure.Class == OutcomeUnknown)
	return failure
}

func transportReason(ctx context.Context, err error, s *sending, written bool) string {
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
	case s.isLate():
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
