package oauth

import (
	"net/http"
	"strconv"
	"time"
)

const (
	minRetryAfter     = time.Second
	maxRetryAfter     = time.Hour
	defaultRetryAfter = time.Minute
)

// retryAfter reads a Retry-After header (RFC 9110 section 10.2.3: seconds, or an HTTP date) as a wait of 1 s to 1 h
// from now. A missing or unreadable value is a minute: the server did ask to wait.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseFloat(value, 64); err == nil || isOutOfRange(err) {
		// Compared as a float: a server may send more digits than an integer of nanoseconds can hold.
		switch {
		case seconds >= maxRetryAfter.Seconds():
			return maxRetryAfter
		case seconds >= minRetryAfter.Seconds():
			return time.Duration(seconds * float64(time.Second))
		case seconds < minRetryAfter.Seconds():
			return minRetryAfter
		default: // not a number
			return defaultRetryAfter
		}
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return defaultRetryAfter
	}
	return min(max(date.Sub(now), minRetryAfter), maxRetryAfter)
}
