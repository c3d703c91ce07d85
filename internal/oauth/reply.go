package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	kjson "sigs.k8s.io/json"

	"github.com/oauth-operator/oauth-operator/internal/secret"
)

const (
	maxBodyBytes = 1 << 20
	replyVersion = 1
	maxStatus    = 999 // net/http lets three digits pass, whatever they are
)

var (
	errNotAReply    = errors.New("these bytes are not an encoded reply")
	errReplyVersion = errors.New("the encoded reply is of a version that is not known to this program")
)

// Reply is what a token endpoint sent, before anybody has judged it. It holds tokens and the server's own words, so it
// never prints itself; Encode is the way to store it, sealed. The zero Reply is judged as an invalid response.
type Reply struct {
	// Behind two pointers: printing a struct that contains a Reply goes by reflection, which ignores the methods of
	// unexported fields and, with a verb that does not fit, follows one pointer to a struct. Two show an address.
	content **reply
}

func wrap(content *reply) Reply { return Reply{&content} }

// reply is the content of a Reply.
type reply struct {
	status   int
	header   http.Header // what judging asks for, and no more
	body     []byte
	tooLarge bool      // there was more than maxBodyBytes; body is empty then
	received time.Time // when the headers had been read; UTC, without monotonic reading
}

func newReply(status int, header http.Header, received time.Time) *reply {
	kept := http.Header{}
	for _, name := range []string{"Content-Type", "Content-Encoding", "Retry-After"} {
		if values := header.Values(name); len(values) > 0 {
			kept[name] = values
		}
	}
	return &reply{status: status, header: kept, received: received.Round(0).UTC()}
}

func (r *reply) isRedirect() bool { return r.status >= 300 && r.status <= 399 }

func (r *reply) isSuccess() bool { return r.status >= 200 && r.status <= 299 }

// unpacked gives the reply without its content coding, where that can be undone.
func (r *reply) unpacked() *reply {
	plain := *r
	plain.header, plain.body, plain.tooLarge = unpack(r.header, r.body)
	plain.tooLarge = plain.tooLarge || r.tooLarge
	return &plain
}

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

// encodedReply is a stored reply. Header values are bytes, because they need not be UTF-8 and must come back as they were.
type encodedReply struct {
	Version             int      `json:"version"`
	Status              int      `json:"status"`
	ContentType         [][]byte `json:"contentType,omitempty"`
	ContentEncoding     [][]byte `json:"contentEncoding,omitempty"`
	RetryAfter          [][]byte `json:"retryAfter,omitempty"`
	Body                []byte   `json:"body,omitempty"`
	TooLarge            bool     `json:"tooLarge,omitempty"`
	ReceivedSeconds     int64    `json:"receivedSeconds"` // since 1970, UTC
	ReceivedNanoseconds int64    `json:"receivedNanoseconds"`
}

// Encode gives the reply as JSON, at most about 1.5 MiB, with a format version inside. It holds tokens: whoever stores
// it seals it.
func (r Reply) Encode() []byte {
	from := r.inner()
	encoded, err := json.Marshal(encodedReply{
		Version:             replyVersion,
		Status:              from.status,
		ContentType:         bytesOf(from.header.Values("Content-Type")),
		ContentEncoding:     bytesOf(from.header.Values("Content-Encoding")),
		RetryAfter:          bytesOf(from.header.Values("Retry-After")),
		Body:                from.body,
		TooLarge:            from.tooLarge,
		ReceivedSeconds:     from.received.Unix(),
		ReceivedNanoseconds: int64(from.received.Nanosecond()),
	})
	if err != nil {
		panic(err) // numbers and bytes only: it cannot be
	}
	return encoded
}

// DecodeReply reads what Encode wrote. The error never quotes it.
func DecodeReply(encoded []byte) (Reply, error) {
	var from encodedReply
	strict, err := kjson.UnmarshalStrict(encoded, &from)
	switch {
	case err != nil:
		return Reply{}, errNotAReply
	case from.Version != replyVersion:
		return Reply{}, errReplyVersion
	case len(strict) > 0,
		from.Status < 0, from.Status > maxStatus,
		len(from.Body) > maxBodyBytes, from.TooLarge && len(from.Body) > 0,
		from.ReceivedNanoseconds < 0, from.ReceivedNanoseconds >= int64(time.Second):
		return Reply{}, errNotAReply
	}
	header := http.Header{}
	for name, values := range map[string][][]byte{
		"Content-Type": from.ContentType, "Content-Encoding": from.ContentEncoding, "Retry-After": from.RetryAfter,
	} {
		for _, value := range values {
			header.Add(name, string(value))
		}
	}
	content := newReply(from.Status, header, time.Unix(from.ReceivedSeconds, from.ReceivedNanoseconds))
	content.body, content.tooLarge = from.Body, from.TooLarge
	return wrap(content), nil
}

func bytesOf(values []string) (all [][]byte) {
	for _, value := range values {
		all = append(all, []byte(value))
	}
	return all
}

// Judge says what the reply means for the grant that was asked for. It reads nothing but the reply, so that a reply
// that was stored is judged as it was when it came. The error is an *Error, of any class but NotSent.
//
// A 2xx answer to a refresh (or a code) is judged twice. If the access token cannot be used, but the answer names no
// error and holds exactly one well-formed refresh token, then the old refresh token is probably spent and this one is
// its only successor: it is returned, in an Answer that holds nothing else but ReceivedTime, together with an error of
// class InvalidResponse. Nor does it matter there that the answer is labelled wrongly, or that something follows it which
// is no other object. If nobody can say which refresh token counts, or the one that came cannot be one, the class is
// OutcomeUnknown, whatever the access token is. In all other cases an error comes with an empty Answer.
func (r Reply) Judge(grant GrantType) (Answer, error) {
	answer, failure := judge(r.inner(), grant)
	if failure != nil {
		return answer, failure
	}
	return answer, nil
}

func (r Reply) inner() *reply {
	if r.content == nil {
		return &reply{}
	}
	return *r.content
}

// String returns the mark that stands for a secret.
func (r Reply) String() string { return secret.Redacted }

// GoString returns the mark, for %#v.
func (r Reply) GoString() string { return secret.Redacted }

// Format prints the mark for every verb and flag.
func (r Reply) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, secret.Redacted) }

// MarshalJSON prints the mark. Whoever must store a reply calls Encode.
func (r Reply) MarshalJSON() ([]byte, error) { return []byte(`"` + secret.Redacted + `"`), nil }

// MarshalText prints the mark.
func (r Reply) MarshalText() ([]byte, error) { return []byte(secret.Redacted), nil }

// LogValue prints the mark, for log/slog.
func (r Reply) LogValue() slog.Value { return slog.StringValue(secret.Redacted) }
