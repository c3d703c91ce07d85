package oauth

import (
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

// SetHold shortens the time for which a connection is dialled and a request is held ready. Before the first use only.
func (c *Client) SetHold(limit time.Duration) { c.hold, c.dialer.limit = limit, limit }
