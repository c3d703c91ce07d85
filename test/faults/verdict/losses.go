package main

import (
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
)

// Why a loss cannot be helped.
const (
	// excuseReply: the reply never reached us, or the process died within replyWindow of its last byte.
	excuseReply = "reply"
	// excusePod: pod and journal went between receipt and keep.
	excusePod = "pod"
	// excuseAsleep: the reply came while the process slept; or where a second use ends the grant, it slept past the takeover
	// with what it had received.
	excuseAsleep = "asleep"
)

// awakening is how long after its receipt a result is surely kept, if nobody sleeps.
const awakening = 5 * time.Second

// replyWindow is how long after the last byte a death still counts as within the reply's way.
const replyWindow = 50 * time.Millisecond

// judgeWords looks at what the account said of itself, at any time. Nobody but the tests' faults ends a grant here, so that
// the provider rejected it is never true (I4), and "lost" is true only of a spent token (FL).
func judgeWords(v *verdict, of *history) {
	said := ""
	for _, w := range of.writes {
		if w.reason == said {
			continue
		}
		said = w.reason
		switch said {
		case v1alpha1.ReasonRefreshTokenRejected:
			v.Unsurfaced++
			v.violatedf(invariantOurs, of.Name, w.received, "it says %s, and our own fault ended the token", said)
		case v1alpha1.ReasonRefreshTokenLost:
			if last := of.presented(w.received); of.tokens[last].liveAt(w.received) {
				v.Unsurfaced++
				v.violatedf(invariantFalseLoss, of.Name, w.received, "it says %s of the refresh token %s, which was good", said, last)
			} else if of.GraceSeconds > 0 || of.Reusable {
				v.violatedf(invariantGrace, of.Name, w.received, "it says %s at the provider %s", said, of.Provider)
			}
		default:
		}
	}
}

// presented is the refresh token that was last sent before a time; the imported one, if none was.
func (h *history) presented(before time.Time) string {
	last := h.Imported
	for _, s := range h.sends {
		if s.time.Before(before) {
			last = s.fingerprint
		}
	}
	return last
}

// judgeLoss decides whether the newest refresh token of the account was held in the end: whether it rotated once more in the
// calm. If not, in which column it counts, and whether it was said.
func judgeLoss(v *verdict, of *history, course course) {
	calm := course.calm(of.Name)
	if calm.IsZero() {
		v.violatedf(invariantReached, of.Name, of.Time, "the run ended without a calm for it")
		return
	}
	said := of.final.Authorized == "False" && of.final.Reason == v1alpha1.ReasonRefreshTokenLost
	if of.rotatedAfter(calm) {
		if said {
			v.Unsurfaced++
			v.violatedf(invariantFalseLoss, of.Name, calm, "it says that it is lost, and rotated in the calm")
		}
		return
	}
	v.Lost++
	if v.plain {
		return
	}
	// That it was rejected has been counted when it was said.
	if !said && of.final.Reason != v1alpha1.ReasonRefreshTokenRejected {
		v.Unsurfaced++
		invariant := invariantOurs
		if _, refused := of.refusedAfterLast(); !refused {
			invariant = invariantSettles
		}
		v.violatedf(invariant, of.Name, calm, "it did not rotate in the calm, and does not say that it is lost: Authorized=%s %s", of.final.Authorized, of.final.Reason)
	}
	v.countLoss(of, course)
}

// rotatedAfter: a refresh token of the account was taken by the provider, and the result was kept.
func (h *history) rotatedAfter(calm time.Time) bool {
	for _, s := range h.sends {
		if !s.granted || !s.time.After(calm) {
			continue
		}
		for _, c := range h.claims {
			if c.kept && c.openAt(s.time) {
				return true
			}
		}
		// A build without claims keeps without closing one.
		for i := 1; i < len(h.writes); i++ {
			if w := h.writes[i]; w.received.After(s.decided) && w.sealed != h.writes[i-1].sealed {
				return true
			}
		}
	}
	return false
}

// countLoss puts a loss into its column.
func (v *verdict) countLoss(of *history, course course) {
	last := of.lastGranted()
	refused, _ := of.refusedAfterLast()
	phase := course.phaseAt(refused)
	if of.GraceSeconds > 0 || of.Reusable {
		v.GraceLost++
		v.violatedf(invariantGrace, of.Name, refused, "it was lost in the phase %s at the provider %s", phase.Phase, of.Provider)
		return
	}
	switch phase.Loss {
	case records.LossBySIGTERM:
		v.SIGTERMLost++
		v.violatedf(invariantPlanned, of.Name, refused, "it was lost in the phase %s", phase.Phase)
		return
	case records.LossByOutage:
		v.OutageLost++
		v.violatedf(invariantPlanned, of.Name, refused, "it was lost in the phase %s", phase.Phase)
		return
	default:
	}
	if why := excuse(of, last, of.claimAt(last.time), course); why != "" {
		v.Excused[why]++
		return
	}
	v.StrictLost++
	v.violatedf(invariantReceived, of.Name, refused, "the reply whose last byte was delivered at %s is lost", clock(last.delivered))
}

// excuse says why the loss of what a send under a claim brought cannot be helped, or nothing.
func excuse(of *history, last send, under *claim, course course) string {
	if last.delivered.IsZero() {
		return excuseReply
	}
	replica := ""
	if under != nil {
		replica = under.replica
	}
	end, died := course.deathAfter(replica, last.time)
	switch {
	case died && end.Time.Before(last.delivered):
		// The network took it for a process that had died.
		return excuseReply
	case course.asleepWithin(replica, last.delivered, last.delivered):
		// Delivered, and never received: its deadline was over when the process woke up.
		return excuseAsleep
	case of.Revokes && course.asleepWithin(replica, last.time, last.delivered.Add(awakening)):
		return excuseAsleep
	case died && end.Time.Sub(last.delivered) <= replyWindow:
		return excuseReply
	case died && end.JournalGone && !of.keptBetween(last.delivered, end.Time):
		return excusePod
	}
	return ""
}

// claimAt is the newest claim that was open at a moment.
func (h *history) claimAt(at time.Time) *claim {
	var newest *claim
	for _, c := range h.claims {
		if c.openAt(at) {
			newest = c
		}
	}
	return newest
}

// keptBetween: a new credential was written in that time.
func (h *history) keptBetween(from, to time.Time) bool {
	for i := 1; i < len(h.writes); i++ {
		w := h.writes[i]
		if w.received.After(from) && w.written.Before(to) && w.sealed != h.writes[i-1].sealed {
			return true
		}
	}
	return false
}

// lastGranted is the send that brought the newest refresh token. Without any it is the import, which was never sent.
func (h *history) lastGranted() send {
	var last send
	for _, s := range h.sends {
		if s.granted {
			last = s
		}
	}
	return last
}

// refusedAfterLast is when the provider first refused what the account had left. If it never did, it is when the newest
// refresh token came.
func (h *history) refusedAfterLast() (time.Time, bool) {
	last := h.lastGranted().time
	for _, s := range h.sends {
		if s.refused && s.time.After(last) {
			return s.time, true
		}
	}
	return last, false
}
