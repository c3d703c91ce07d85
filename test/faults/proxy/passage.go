package proxy

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// Ends of a request.
const (
	EndDelivered = "delivered"
	EndRefused   = "refused"
	EndDiscarded = "discarded"
	EndCut       = "cut"
	// EndGone: the client had gone before the answer could be delivered.
	EndGone = "gone"
	// EndFailed: the server could not be reached, or broke off.
	EndFailed = "failed"
)

// Record is the history of one request. A time that is zero did not come.
type Record struct {
	ID     uint64 `json:"id"`
	Proxy  string `json:"proxy"`
	Method string `json:"method"`
	Path   string `json:"path"`
	Class
	Plan string `json:"plan,omitempty"`
	// Status is that of the answer, by the server or in its place.
	Status int    `json:"status,omitempty"`
	End    string `json:"end"`
	// Received is when the last byte of the request was read, Forwarded when it began to be sent on, Answered when the whole
	// answer was here, Delivered when its last byte was handed to the network.
	Received  time.Time `json:"received"`
	Forwarded time.Time `json:"forwarded,omitzero"`
	Answered  time.Time `json:"answered,omitzero"`
	Delivered time.Time `json:"delivered,omitzero"`
}

// passage is one request on its way through.
type passage struct {
	proxy     *Proxy
	request   *Request
	treatment *Treatment
	writer    http.ResponseWriter
	gone      <-chan struct{}

	status                         int
	end                            string
	forwarded, answered, delivered time.Time
}

func (p *passage) run(ctx context.Context) {
	t := p.treatment
	if !t.Before.wait() {
		p.cut(EndDiscarded)
		return
	}
	if t.Refuse != nil {
		p.refuse(t.Refuse)
		return
	}
	if t.Cut == CutBefore {
		p.cut(EndCut)
		return
	}
	p.forwarded = time.Now()
	answer, err := p.proxy.forward(ctx, p.request, t.Cut == CutHalfRequest)
	if err != nil {
		p.cut(EndFailed)
		return
	}
	p.answered, p.status = time.Now(), answer.Status
	if p.proxy.options.Answered != nil {
		p.proxy.options.Answered(p.request, answer)
	}
	if t.Cut == CutReply {
		p.cut(EndCut)
		return
	}
	if !t.After.wait() {
		p.cut(EndDiscarded)
		return
	}
	p.deliver(answer)
}

func (p *passage) cut(end string) {
	p.end = end
	reset(p.writer)
}

// left reports whether the client is no longer there. Otherwise a write would seem to work: the kernel takes it.
func (p *passage) left() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

func (p *passage) deliver(answer *Answer) {
	if p.left() {
		p.cut(EndGone)
		return
	}
	header := p.writer.Header()
	maps.Copy(header, answer.header)
	header.Del("Transfer-Encoding")
	header.Set("Content-Length", strconv.Itoa(len(answer.Body)))
	p.writer.WriteHeader(answer.Status)
	rest := answer.Body
	if p.treatment.Half != nil || p.treatment.Cut == CutHalfReply {
		half := rest[:len(rest)/2]
		rest = rest[len(half):]
		if !p.write(half) {
			return
		}
		if !p.treatment.Half.wait() {
			p.cut(EndDiscarded)
			return
		}
		if p.treatment.Cut == CutHalfReply {
			p.cut(EndCut)
			return
		}
		if p.left() {
			p.cut(EndGone)
			return
		}
	}
	if !p.write(rest) {
		return
	}
	p.delivered, p.end = time.Now(), EndDelivered
	if p.treatment.Delivered != nil {
		p.treatment.Delivered(p.delivered)
	}
}

// write hands bytes to the network.
func (p *passage) write(content []byte) bool {
	_, err := p.writer.Write(content)
	if err == nil {
		err = http.NewResponseController(p.writer).Flush()
	}
	if err != nil {
		p.cut(EndGone)
		return false
	}
	return true
}

func (p *passage) refuse(with *Refusal) {
	p.status, p.end = with.Status, EndRefused
	body, err := json.Marshal(map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure",
		"message": "refused by the test", "reason": with.Reason, "code": with.Status,
	})
	if err != nil {
		return
	}
	p.writer.Header().Set("Content-Type", "application/json")
	if with.RetryAfterSeconds > 0 {
		p.writer.Header().Set("Retry-After", strconv.Itoa(with.RetryAfterSeconds))
	}
	p.writer.WriteHeader(with.Status)
	_, _ = p.writer.Write(body)
}

func (p *passage) record() Record {
	return Record{
		ID: p.request.ID, Proxy: p.request.Proxy, Method: p.request.Method, Path: p.request.Path, Class: p.request.Class,
		Plan: p.treatment.Plan, Status: p.status, End: p.end,
		Received: p.request.Received.UTC(), Forwarded: utc(p.forwarded), Answered: utc(p.answered), Delivered: utc(p.delivered),
	}
}

// utc leaves the zero time as it is.
func utc(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.UTC()
}
