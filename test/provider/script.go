package provider

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Action is what a step does in place of an ordinary answer.
type Action string

const (
	// ActAnswer answers as the contract says; only the times of the step differ. It is the default.
	ActAnswer Action = "answer"
	// ActHang never answers.
	ActHang Action = "hang"
	// ActDrop closes the connection (HTTP/2: resets the stream) without a byte of the reply.
	ActDrop Action = "drop"
	// ActCut sends the header and the first Step.CutAt bytes of the body, then closes likewise.
	ActCut Action = "cut"
	// ActReply sends Step.Reply instead.
	ActReply Action = "reply"
)

// Reply is sent verbatim.
type Reply struct {
	Status int
	// Header is sent as it is, nothing added but what HTTP itself needs.
	Header http.Header
	Body   []byte
}

// Step says how token requests are treated. The zero Step treats one request as usual. The request is always
// processed, though its client may have gone, unless Unprocessed says otherwise.
type Step struct {
	Action Action
	// Times is the number of requests that the step is for; 0 means one, below zero means all from now on.
	Times int
	// Grant limits the step to requests of that grant type; others pass it by.
	Grant string
	// Unprocessed leaves all tokens as they are. For ActHang, ActDrop and ActReply.
	Unprocessed bool
	// The delays and holds come in this order: delay, hold, commit, delay, hold, reply.
	DelayBeforeCommit time.Duration
	HoldBeforeCommit  *Hold
	DelayAfterCommit  time.Duration
	HoldAfterCommit   *Hold
	// CutAt is for ActCut, in bytes of the body.
	CutAt int
	// Reply is for ActReply.
	Reply *Reply
}

// Hold stops requests at a point until it is released, once for all.
type Hold struct {
	reached, released         chan struct{}
	reachedOnce, releasedOnce sync.Once
}

// NewHold gives a hold that nothing has reached.
func NewHold() *Hold { return &Hold{reached: make(chan struct{}), released: make(chan struct{})} }

// Reached is closed when the first request arrives at the hold.
func (h *Hold) Reached() <-chan struct{} { return h.reached }

// Release lets all requests pass, those to come too.
func (h *Hold) Release() { h.releasedOnce.Do(func() { close(h.released) }) }

// DelayBeforeCommit processes the request late, even if its client has hung up by then.
func DelayBeforeCommit(delay time.Duration) Step { return Step{DelayBeforeCommit: delay} }

// DelayAfterCommit processes the request at once and replies late.
func DelayAfterCommit(delay time.Duration) Step { return Step{DelayAfterCommit: delay} }

// HoldBeforeCommit processes the request when the hold is released, even if its client has hung up by then.
func HoldBeforeCommit(hold *Hold) Step { return Step{HoldBeforeCommit: hold} }

// HoldAfterCommit processes the request at once and replies when the hold is released.
func HoldAfterCommit(hold *Hold) Step { return Step{HoldAfterCommit: hold} }

// Hang leaves the request unprocessed and never replies.
func Hang() Step { return Step{Action: ActHang, Unprocessed: true} }

// CommitAndHang processes the request and never replies.
func CommitAndHang() Step { return Step{Action: ActHang} }

// Drop leaves the request unprocessed and closes the connection.
func Drop() Step { return Step{Action: ActDrop, Unprocessed: true} }

// CommitAndDrop processes the request, so that a refresh token is rotated, and closes the connection.
func CommitAndDrop() Step { return Step{Action: ActDrop} }

// CutReply processes the request and sends the first n bytes of the body.
func CutReply(n int) Step { return Step{Action: ActCut, CutAt: n} }

// ReplyWith leaves the request unprocessed and sends the reply.
func ReplyWith(status int, header http.Header, body string) Step {
	return Step{Action: ActReply, Unprocessed: true, Reply: &Reply{Status: status, Header: header, Body: []byte(body)}}
}

// CommitAndReplyWith processes the request and sends the reply in place of the answer.
func CommitAndReplyWith(status int, header http.Header, body string) Step {
	step := ReplyWith(status, header, body)
	step.Unprocessed = false
	return step
}

// RefuseWith leaves the request unprocessed and sends an OAuth error, RFC 6749 section 5.2.
func RefuseWith(status int, code string) Step {
	return ReplyWith(status, http.Header{"Content-Type": {"application/json"}}, `{"error":`+strconv.Quote(code)+`}`)
}

// Throttle leaves the request unprocessed and sends the status, 429 or 503, with a Retry-After header as
// given: seconds, a date, or nonsense. None is sent if it is empty.
func Throttle(status int, retryAfter string) Step {
	header := http.Header{"Content-Type": {"application/json"}}
	if retryAfter != "" {
		header.Set("Retry-After", retryAfter)
	}
	return ReplyWith(status, header, `{"error":"temporarily_unavailable"}`)
}

// For makes the step play n times; below zero, for ever.
func (s Step) For(n int) Step {
	s.Times = n
	return s
}

// On limits the step to one grant type.
func (s Step) On(grant string) Step {
	s.Grant = grant
	return s
}

func (s Step) prepare() (Step, error) {
	if s.Action == "" {
		s.Action = ActAnswer
	}
	if s.Times == 0 {
		s.Times = 1
	}
	if s.Grant != "" && !knownGrant(s.Grant) {
		return s, fmt.Errorf("unknown grant %q", s.Grant)
	}
	if !slices.Contains([]Action{ActAnswer, ActHang, ActDrop, ActCut, ActReply}, s.Action) {
		return s, fmt.Errorf("unknown action %q", s.Action)
	}
	if s.Unprocessed && (s.Action == ActAnswer || s.Action == ActCut) {
		return s, fmt.Errorf("action %q needs the request processed", s.Action)
	}
	if (s.Action == ActReply) != (s.Reply != nil) {
		return s, fmt.Errorf("action %q and a reply go together", ActReply)
	}
	if s.Reply != nil && (s.Reply.Status < http.StatusOK || s.Reply.Status > 999) {
		return s, errors.New("the reply's status must be from 200 to 999")
	}
	if s.CutAt < 0 || s.DelayBeforeCommit < 0 || s.DelayAfterCommit < 0 {
		return s, errors.New("delays and sizes cannot be negative")
	}
	return s, nil
}

// label is how the ledger names the step.
func (s Step) label() string {
	words := []string{string(s.Action)}
	if s.Action == ActCut {
		words[0] += " at " + strconv.Itoa(s.CutAt)
	}
	if s.Unprocessed {
		words[0] += " unprocessed"
	}
	if s.DelayBeforeCommit > 0 {
		words = append(words, "delay before commit "+s.DelayBeforeCommit.String())
	}
	if s.HoldBeforeCommit != nil {
		words = append(words, "hold before commit")
	}
	if s.DelayAfterCommit > 0 {
		words = append(words, "delay after commit "+s.DelayAfterCommit.String())
	}
	if s.HoldAfterCommit != nil {
		words = append(words, "hold after commit")
	}
	return strings.Join(words, ", ")
}

// script holds the steps still to be played, by client id.
type script struct {
	mu    sync.Mutex
	steps map[string][]Step
}

func (s *script) add(clientID string, steps []Step) error {
	prepared := make([]Step, 0, len(steps))
	for _, each := range steps {
		step, err := each.prepare()
		if err != nil {
			return fmt.Errorf("script for %q: %w", clientID, err)
		}
		prepared = append(prepared, step)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps[clientID] = append(s.steps[clientID], prepared...)
	return nil
}

func (s *script) clear(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.steps, clientID)
}

// take returns the first step for the request, the client's own before those for everybody, and counts it down.
func (s *script) take(clientID, grant string) *Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, owner := range []string{clientID, ""} {
		steps := s.steps[owner]
		for i := range steps {
			if steps[i].Grant != "" && steps[i].Grant != grant {
				continue
			}
			taken := steps[i]
			steps[i].Times--
			if steps[i].Times == 0 {
				s.steps[owner] = slices.Delete(steps, i, i+1)
			}
			return &taken
		}
	}
	return nil
}
