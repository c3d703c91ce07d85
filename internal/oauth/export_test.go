package oauth

import (
	"net/http"
	"time"
)

// Judge lets the tests show a reply to the parser without a server.
func Judge(status int, header http.Header, body []byte, grant GrantType, received time.Time) (Answer, error) {
	answer, failure := judge(&reply{status: status, header: header, body: body, received: received}, grant)
	if failure != nil {
		return answer, failure
	}
	return answer, nil
}

// RetryAfter lets the tests show a header to its reader.
func RetryAfter(value string, now time.Time) time.Duration { return retryAfter(value, now) }
