package main

import (
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/oauth-operator/oauth-operator/test/faults/proxy"
)

// The classes of requests.
const (
	classClaim   = "claim"
	classContest = "contest"
	classToken   = "token"
	classKeep    = "keep"
	classFailure = "failure"
	classStatus  = "status"
	classSecret  = "secret"
	classImport  = "import"
	// The classes of what is about a code: it is handed over, claimed, sent, and what it brought is kept; or it is given up.
	classHandOver  = "hand-over"
	classCodeClaim = "code-claim"
	classCodeToken = "code-token"
	classCodeKeep  = "code-keep"
	classCodeEnd   = "code-end"
	// classElsewhere is a token request at a host that must not have it.
	classElsewhere = "elsewhere"
)

// where a request is held.
type where int

const (
	before where = iota
	after
	half
)

// point is a point of the rotation, as it can be told from outside, and what is done there.
type point struct {
	name  string
	class string
	// where the request is held until the fault falls, or its limit.
	where where
	// late is how late, at most, a request goes on that a fault met before it was forwarded; 0: it goes on at once. Half of
	// them are discarded instead.
	late time.Duration
	// cut and refuse are faults of their own, in place of a hold. A refusal is repeated times times.
	cut    proxy.Cut
	refuse *proxy.Refusal
	times  int
	// weight is how often it is drawn, beside the others; 0 means 1.
	weight int
}

// alone: it is a fault by itself.
func (p *point) alone() bool { return p.cut != "" || p.refuse != nil }

// held are the points at which a request is held until a process is hit.
func held() []*point {
	return []*point{
		{name: "claim-not-applied", class: classClaim, where: before, late: late},
		{name: "claimed", class: classClaim, where: after},
		{name: "sent", class: classToken, where: before, weight: 3},
		{name: "committed", class: classToken, where: after, weight: 3},
		{name: "half-replied", class: classToken, where: half},
		{name: "journalled", class: classKeep, where: before, late: late, weight: 4},
		{name: "kept", class: classKeep, where: after, weight: 2},
		{name: "publishing", class: classSecret, where: before, late: late},
		{name: "published", class: classSecret, where: after},
		{name: "final-status", class: classStatus, where: before, late: late},
		{name: "failure", class: classFailure, where: before, late: late},
		{name: "contested", class: classContest, where: after},
	}
}

// late is how late what a fault met may still be applied.
const late = 1500 * time.Millisecond

// handOvers are the points at which the pages are met, codes those of the operator.
func handOvers() []*point {
	return []*point{
		{name: "callback", class: classHandOver, where: before, late: late},
		{name: "handed-over", class: classHandOver, where: after},
	}
}

func codes() []*point {
	return []*point{
		{name: "code-claim-not-applied", class: classCodeClaim, where: before, late: late},
		{name: "code-claimed", class: classCodeClaim, where: after},
		{name: "code-sent", class: classCodeToken, where: before},
		{name: "code-committed", class: classCodeToken, where: after},
		{name: "code-half-replied", class: classCodeToken, where: half},
		{name: "code-journalled", class: classCodeKeep, where: before, late: late},
		{name: "code-kept", class: classCodeKeep, where: after},
		{name: "code-publishing", class: classSecret, where: before, late: late},
		{name: "code-published", class: classSecret, where: after},
	}
}

// lostCodes are faults that need no process to be hit.
func lostCodes() []*point {
	status := func(code int, reason string) *proxy.Refusal { return &proxy.Refusal{Status: code, Reason: reason} }
	return []*point{
		{name: "hand-over-cut", class: classHandOver, cut: proxy.CutBefore},
		{name: "hand-over-reply-lost", class: classHandOver, cut: proxy.CutReply},
		{name: "hand-over-409", class: classHandOver, refuse: status(http.StatusConflict, "Conflict"), times: 2},
		{name: "hand-over-503", class: classHandOver, refuse: status(http.StatusServiceUnavailable, "ServiceUnavailable"), times: 5},
		{name: "code-claim-cut", class: classCodeClaim, cut: proxy.CutBefore},
		{name: "code-claim-reply-lost", class: classCodeClaim, cut: proxy.CutReply},
		{name: "code-claim-409", class: classCodeClaim, refuse: status(http.StatusConflict, "Conflict"), times: 1},
		{name: "code-cut", class: classCodeToken, cut: proxy.CutBefore},
		{name: "code-half", class: classCodeToken, cut: proxy.CutHalfRequest},
		{name: "code-reply-lost", class: classCodeToken, cut: proxy.CutReply},
		{name: "code-half-reply", class: classCodeToken, cut: proxy.CutHalfReply},
		{name: "code-keep-cut", class: classCodeKeep, cut: proxy.CutBefore},
		{name: "code-keep-reply-lost", class: classCodeKeep, cut: proxy.CutReply},
		{name: "code-keep-409", class: classCodeKeep, refuse: status(http.StatusConflict, "Conflict"), times: 5},
		{name: "code-keep-422", class: classCodeKeep, refuse: status(http.StatusUnprocessableEntity, "Invalid"), times: 4},
		{name: "code-keep-500", class: classCodeKeep, refuse: status(http.StatusInternalServerError, "InternalError"), times: 4},
	}
}

// lostReplies are faults that need no process to be hit.
func lostReplies() []*point {
	status := func(code int, reason string) *proxy.Refusal { return &proxy.Refusal{Status: code, Reason: reason} }
	return []*point{
		{name: "claim-cut", class: classClaim, cut: proxy.CutBefore},
		{name: "claim-half", class: classClaim, cut: proxy.CutHalfRequest},
		{name: "claim-reply-lost", class: classClaim, cut: proxy.CutReply},
		{name: "claim-409", class: classClaim, refuse: status(http.StatusConflict, "Conflict"), times: 1},
		{name: "token-cut", class: classToken, cut: proxy.CutBefore},
		{name: "token-half", class: classToken, cut: proxy.CutHalfRequest},
		{name: "token-reply-lost", class: classToken, cut: proxy.CutReply},
		{name: "token-half-reply", class: classToken, cut: proxy.CutHalfReply},
		{name: "keep-cut", class: classKeep, cut: proxy.CutBefore},
		{name: "keep-half", class: classKeep, cut: proxy.CutHalfRequest},
		{name: "keep-reply-lost", class: classKeep, cut: proxy.CutReply},
		{name: "keep-half-reply", class: classKeep, cut: proxy.CutHalfReply},
		{name: "keep-409", class: classKeep, refuse: status(http.StatusConflict, "Conflict"), times: 5},
		{name: "keep-422", class: classKeep, refuse: status(http.StatusUnprocessableEntity, "Invalid"), times: 4},
		{name: "keep-403", class: classKeep, refuse: status(http.StatusForbidden, "Forbidden"), times: 4},
		{name: "keep-404", class: classKeep, refuse: status(http.StatusNotFound, "NotFound"), times: 2},
		{name: "keep-429", class: classKeep, refuse: &proxy.Refusal{Status: http.StatusTooManyRequests, Reason: "TooManyRequests", RetryAfterSeconds: 1}, times: 2},
		{name: "keep-500", class: classKeep, refuse: status(http.StatusInternalServerError, "InternalError"), times: 4},
		{name: "keep-503", class: classKeep, refuse: status(http.StatusServiceUnavailable, "ServiceUnavailable"), times: 4},
		{name: "secret-cut", class: classSecret, cut: proxy.CutBefore},
		{name: "secret-reply-lost", class: classSecret, cut: proxy.CutReply},
		{name: "secret-500", class: classSecret, refuse: status(http.StatusInternalServerError, "InternalError"), times: 2},
		{name: "status-reply-lost", class: classStatus, cut: proxy.CutReply},
	}
}

// only are the points of some classes.
func only(points []*point, classes ...string) []*point {
	var some []*point
	for _, each := range points {
		for _, class := range classes {
			if each.class == class {
				some = append(some, each)
			}
		}
	}
	return some
}

// treatment is what is done at the point. The hold is nil where there is none.
func (p *point) treatment(limit time.Duration) (*proxy.Treatment, *proxy.Hold) {
	if p.alone() {
		return &proxy.Treatment{Refuse: p.refuse, Cut: p.cut}, nil
	}
	hold := proxy.NewHold(limit)
	switch p.where {
	case before:
		return &proxy.Treatment{Before: hold}, hold
	case after:
		return &proxy.Treatment{After: hold}, hold
	default:
		return &proxy.Treatment{Half: hold}, hold
	}
}

// resolve lets a request go whose process was hit.
func (p *point) resolve(hold *proxy.Hold, rng *rand.Rand) {
	if p.where != before || rng.IntN(2) == 0 {
		hold.Discard()
		return
	}
	late := time.Duration(0)
	if p.late > 0 {
		late = time.Duration(rng.Int64N(int64(p.late)))
	}
	hold.Release(late)
}
