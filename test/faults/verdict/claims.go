package main

import (
	"slices"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// claim is a claim as the audit log shows it: in the status from opened until closed. Between receipt and answer of a write
// nobody outside knows on which side of it a moment lies, so each end is two times.
type claim struct {
	id               string
	sequence         int64
	attempt          int32
	opened, surely   time.Time
	closed, closedBy time.Time // zero: it never was; closedBy is when the write that closed it was answered
	// kept: it ended with a new credential.
	kept bool
	// state is that of the attempt, where it is the claim of a code.
	state v1alpha1.StateHash
	// replica is the proxy that it was written through.
	replica string
	sends   []send
}

// openAt: the claim can have been in the status.
func (c *claim) openAt(at time.Time) bool {
	return !c.opened.After(at) && (c.closed.IsZero() || c.closedBy.After(at))
}

// claimsOf reads the claims out of the statuses that were written, in order.
func claimsOf(writes []write) []*claim {
	var claims []*claim
	var open *claim
	sealed := ""
	for _, w := range writes {
		if open != nil && w.claim.ID != open.id {
			open.closed, open.closedBy, open.kept = w.received, w.written, w.sealed != sealed
			open = nil
		}
		if open == nil && w.claim.ID != "" {
			open = &claim{
				id: w.claim.ID, sequence: w.claim.Sequence, attempt: w.claim.Attempt,
				opened: w.received, surely: w.written,
			}
			claims = append(claims, open)
		}
		sealed = w.sealed
	}
	return claims
}

// judgeSends joins each send to the claim that was open when it left, and wants no more than one for each (I1). It returns
// how many were too many.
func judgeSends(v *verdict, of *history) int {
	if of.Reusable {
		return 0
	}
	doubles := 0
	attempts := map[string]int32{}
	for _, s := range of.sends {
		at := slices.IndexFunc(of.claims, func(c *claim) bool { return c.openAt(s.time) })
		// Two can be open within the time of one write; the send belongs to the later one only if it came after it.
		for at >= 0 && at+1 < len(of.claims) && of.claims[at+1].openAt(s.time) && len(of.claims[at].sends) > 0 {
			at++
		}
		if at < 0 {
			doubles++
			v.violatedf(invariantOneSend, of.Name, s.time, "the refresh token %s was sent, and no claim was open", s.fingerprint)
			continue
		}
		under := of.claims[at]
		under.sends = append(under.sends, s)
		if len(under.sends) > 1 {
			doubles++
			v.violatedf(invariantOneSend, of.Name, s.time, "the refresh token %s was sent under the claim %s, which had a send already at %s",
				s.fingerprint, under.id, clock(under.sends[0].time))
			continue
		}
		if before, again := attempts[s.fingerprint]; again && under.attempt <= before {
			doubles++
			v.violatedf(invariantOneSend, of.Name, s.time, "the refresh token %s was sent as attempt %d, and had been sent as attempt %d",
				s.fingerprint, under.attempt, before)
		}
		attempts[s.fingerprint] = under.attempt
	}
	return doubles
}

// replayTime is how long after its start a process replays its journal. Later writes are of other laps.
const replayTime = 3 * time.Second

// judgeOrder wants a status never to go back (I3), nor a replay to overwrite something newer (I6).
func judgeOrder(v *verdict, of *history, starts []time.Time) {
	for i := 1; i < len(of.writes); i++ {
		before, now := of.writes[i-1], of.writes[i]
		invariant := invariantForward
		if slices.ContainsFunc(starts, func(start time.Time) bool {
			return now.received.After(start) && now.received.Sub(start) < replayTime
		}) {
			invariant = invariantReplay
		}
		if now.rotations < before.rotations {
			v.violatedf(invariant, of.Name, now.received, "the status went back from result %d to result %d", before.rotations, now.rotations)
		} else if now.sealed != before.sealed && slices.ContainsFunc(of.writes[:i-1], func(w write) bool { return w.sealed == now.sealed && w.sealed != "" }) {
			v.violatedf(invariant, of.Name, now.received, "the status went back to a credential that it had before")
		}
		if now.claimSequence < before.claimSequence {
			v.violatedf(invariantForward, of.Name, now.received, "the number of claims went back from %d to %d", before.claimSequence, now.claimSequence)
		}
	}
}
