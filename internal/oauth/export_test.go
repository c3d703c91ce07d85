package oauth

import (
	"context"
	"net"
	"net/http"
	"time"
)

// NewReply lets the tests make a reply without a server.
func NewReply(status int, header http.Header, body []byte, received time.Time) Reply {
	content := newReply(status, header, received)
	content.body = body
	return wrap(content)
}

// Judge lets the tests show a reply to the parser without a server.
func Judge(status int, header http.Header, body []byte, grant GrantType, received time.Time) (Answer, error) {
	return NewReply(status, header, body, received).Judge(grant)
}

// RetryAfter lets the tests show a header to its reader.
func RetryAfter(value string, now time.Time) time.Duration { return retryAfter(value, now) }

// ReadScope reads scope.
func ReadScope(raw []byte) (*string, Warning) { return readScope(raw) }

// ReadLifetime reads expires_in.
func ReadLifetime(raw []byte) (*time.Duration, Warning) { return readLifetime(raw) }

// IsRegistered reports whether an error code may be repeated.
func IsRegistered(code string) bool {
	_, registered := classOf(code)
	return registered
}

// Status gives the tests the status of a reply.
func (r Reply) Status() int { return r.inner().status }

// ConnectBy gives the client connections that the tests have made, without dialling. Before the first use only.
func (c *Client) ConnectBy(connect func() net.Conn) {
	c.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return newConn(connect()), nil }
}

// SetHold shortens the time for which a connection is dialled and a request is held ready. Before the first use only.
func (c *Client) SetHold(limit time.Duration) { c.hold, c.dialer.limit = limit, limit }

// Body gives the tests the body of a request, without a server.
func Body(reg Registration, req GrantRequest) ([]byte, error) {
	out, failure := prepare(reg, req, Egress{})
	if failure != nil {
		return nil, failure
	}
	return out.body, nil
}
