package main

import (
	"slices"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/faults/proxy"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
)

// headingConnected is what the page says to somebody whose access is kept, headingDoubt where nobody knows what came of it.
const (
	headingConnected = "Connected"
	headingDoubt     = "Please try once more"
)

// code is a person's consent, as the provider saw it.
type code struct {
	fingerprint, lineage string
	issued               time.Time
}

// codeClaimsOf reads the claims of codes out of the statuses that were written, in order.
func codeClaimsOf(writes []write) []*claim {
	var claims []*claim
	var open *claim
	sealed := ""
	for _, w := range writes {
		if open != nil && w.exchange.ID != open.id {
			open.closed, open.closedBy, open.kept = w.received, w.written, w.sealed != sealed
			open = nil
		}
		if open == nil && w.exchange.ID != "" {
			open = &claim{
				id: w.exchange.ID, sequence: w.exchange.Sequence, state: w.exchange.StateHash, opened: w.received, surely: w.written,
			}
			claims = append(claims, open)
		}
		sealed = w.sealed
	}
	return claims
}

// judgeConsents looks at an account that lives on people's consents.
func judgeConsents(v *verdict, of *history, course course) {
	v.DoubleSpend += judgeSends(v, of)
	v.SentTwice += judgeCodeSends(v, of)
	judgeOrder(v, of, course.starts)
	judgeWords(v, of)
	judgeGivingWay(v, of)
	judgeCodes(v, of, course)
	judgeTold(v, of, course)
	judgeHeld(v, of, course)
}

// judgeCodeSends joins each code that was sent to the claim that was open when it left (C1). It returns how many were too many.
func judgeCodeSends(v *verdict, of *history) int {
	doubles := 0
	before := map[string]time.Time{}
	for _, s := range of.codeSends {
		at := slices.IndexFunc(of.codeClaims, func(c *claim) bool { return c.openAt(s.time) })
		for at >= 0 && at+1 < len(of.codeClaims) && of.codeClaims[at+1].openAt(s.time) && len(of.codeClaims[at].sends) > 0 {
			at++
		}
		first, again := before[s.fingerprint]
		before[s.fingerprint] = s.time
		switch {
		case again:
			v.violatedf(invariantCodeOnce, of.Name, s.time, "the code %s was sent, and had been sent at %s", s.fingerprint, clock(first))
		case at < 0:
			v.violatedf(invariantCodeOnce, of.Name, s.time, "the code %s was sent, and no claim was open", s.fingerprint)
		case len(of.codeClaims[at].sends) > 0:
			v.violatedf(invariantCodeOnce, of.Name, s.time, "the code %s was sent under the claim %s, which had a send already", s.fingerprint, of.codeClaims[at].id)
		default:
			of.codeClaims[at].sends = append(of.codeClaims[at].sends, s)
			continue
		}
		doubles++
	}
	return doubles
}

// keptAs is when the status first said, of the attempt with that state, that what it brought is kept, with a new credential in
// the same write; zero: never.
func (h *history) keptAs(state v1alpha1.StateHash) time.Time {
	var before write
	for _, w := range h.writes {
		says := w.outcome.Result == v1alpha1.AuthorizationConnected && w.outcome.StateHash == state
		said := before.outcome.Result == v1alpha1.AuthorizationConnected && before.outcome.StateHash == state
		if says && !said && w.sealed != before.sealed {
			return w.received
		}
		before = w
	}
	return time.Time{}
}

// grant is a code that led to a grant, with the claim under which it was sent.
type grant struct {
	code
	sent  send
	under *claim
	kept  time.Time
}

// grants are the codes that the provider has taken, in the order in which they were claimed.
func (h *history) grants() []grant {
	var all []grant
	for _, c := range h.codeClaims {
		for _, s := range c.sends {
			at := slices.IndexFunc(h.codes, func(each code) bool { return each.fingerprint == s.fingerprint })
			if s.granted && at >= 0 {
				all = append(all, grant{code: h.codes[at], sent: s, under: c, kept: h.keptAs(c.state)})
			}
		}
	}
	return all
}

// judgeCodes wants what a code brought to be kept, unless the reply could not be had, or a later code has taken its place (C2).
// That somebody consented again is no excuse: they had to.
func judgeCodes(v *verdict, of *history, course course) {
	grants := of.grants()
	for i, each := range grants {
		// Whoever sleeps with what it received can find a later consent when it wakes up.
		later := slices.ContainsFunc(grants[i+1:], func(g grant) bool { return !g.kept.IsZero() }) &&
			course.asleepWithin(each.under.replica, each.sent.time, each.sent.delivered.Add(awakening))
		if !each.kept.IsZero() || later {
			continue
		}
		v.Lost++
		phase := course.phaseAt(each.sent.time)
		if phase.Loss != records.LossBySIGTERM && phase.Loss != records.LossByOutage {
			if why := excuse(of, each.sent, each.under, course); why != "" {
				v.Excused[why]++
				continue
			}
		}
		v.CodesLost++
		v.violatedf(invariantCodeReceived, of.Name, each.sent.time, "in the phase %s, what the code %s brought is lost; the reply's last byte was delivered at %s",
			phase.Phase, each.fingerprint, clock(each.sent.delivered))
	}
}

// judgeGivingWay wants a credential to give way to a later one only: of its own refresh, or of a code (C4).
func judgeGivingWay(v *verdict, of *history) {
	for i := 1; i < len(of.writes); i++ {
		before, now := of.writes[i-1], of.writes[i]
		switch {
		case before.sealed == now.sealed:
		case now.sealed == "":
			v.EarlierLost++
			v.violatedf(invariantEarlier, of.Name, now.received, "the credential is taken out of the status, and nothing takes its place")
		case !of.Reusable && before.claim.ID == "" && !of.keptAs(now.outcome.StateHash).Equal(now.received):
			v.EarlierLost++
			v.violatedf(invariantEarlier, of.Name, now.received, "the credential gives way to one that neither a refresh nor a code has brought")
		}
	}
}

// judgeTold wants it to be said of each code that was handed over what came of it, and truly so; where the last came to nothing,
// a link for the person (C3).
func judgeTold(v *verdict, of *history, course course) {
	untold := func(at time.Time, format string, arguments ...any) {
		v.Unsurfaced++
		v.violatedf(invariantCodeTold, of.Name, at, format, arguments...)
	}
	handed, told := map[v1alpha1.StateHash]time.Time{}, map[v1alpha1.StateHash]bool{}
	for _, w := range of.writes {
		if state := w.handOver.StateHash; w.handOver.ID != "" && handed[state].IsZero() {
			handed[state] = w.received
		}
		if w.outcome.Result != "" {
			told[w.outcome.StateHash] = true
			if w.outcome.Result == v1alpha1.AuthorizationConnected && of.keptAs(w.outcome.StateHash).IsZero() {
				untold(w.received, "it says %s of a code, and kept nothing with it", w.outcome.Result)
			}
		}
	}
	for state, when := range handed {
		if !told[state] {
			untold(when, "nothing is said of what came of a code that was handed over")
		}
	}
	judgePages(of, untold)
	if course.calm(of.Name).IsZero() {
		return // it has not come to rest
	}
	final := of.final
	last := v1alpha1.AuthorizationOutcome{}
	if len(of.writes) > 0 {
		last = of.writes[len(of.writes)-1].outcome
	}
	switch {
	case final.CodeOpen:
		untold(of.Time, "a code is still open in the end")
	case !final.Linked && final.Authorized != "True":
		untold(of.Time, "a person is needed, and there is no link: Authorized=%s %s", final.Authorized, final.Reason)
	case !final.Linked && final.AlwaysLinked:
		untold(of.Time, "the last attempt ended as %q, and there is no link", last.Result)
	}
}

// judgePages wants the pages to tell people what the status tells.
func judgePages(of *history, untold func(time.Time, string, ...any)) {
	said := func(state string, result v1alpha1.AuthorizationResult) bool {
		return slices.ContainsFunc(of.writes, func(w write) bool {
			return string(w.outcome.StateHash) == state && w.outcome.Result == result
		})
	}
	for _, visit := range of.visits {
		switch {
		case visit.Heading == headingConnected && !said(visit.Flow, v1alpha1.AuthorizationConnected):
			untold(visit.Time, "a person was told that they are connected, and are not")
		case visit.Heading == headingDoubt && !said(visit.Flow, v1alpha1.AuthorizationInDoubt):
			untold(visit.Time, "a person was told that their code is in doubt, and it is not")
		case visit.Status == 0:
			untold(visit.Time, "a person saw no page at all")
		}
	}
}

// judgeHeld wants the newest grant that was kept to work in the calm, or to be lost for a reason that nothing helps against (C4).
func judgeHeld(v *verdict, of *history, course course) {
	calm := course.calm(of.Name)
	if calm.IsZero() {
		v.violatedf(invariantReached, of.Name, of.Time, "the run ended without a calm for it")
		return
	}
	var newest grant
	for _, each := range of.grants() {
		if !each.kept.IsZero() {
			newest = each
		}
	}
	if newest.kept.IsZero() || newest.kept.After(calm) || of.usedAfter(calm, newest.lineage) {
		return
	}
	if of.final.Reason == v1alpha1.ReasonRefreshTokenLost {
		last := of.lastGranted()
		if why := excuse(of, last, of.claimAt(last.time), course); why != "" && !of.Reusable && of.GraceSeconds == 0 {
			v.Excused[why]++
			return
		}
	}
	v.EarlierLost++
	v.violatedf(invariantEarlier, of.Name, calm, "the grant that was kept at %s does not work in the calm: Authorized=%s %s", clock(newest.kept), of.final.Authorized, of.final.Reason)
}

// usedAfter: a refresh token of the lineage was taken by the provider, and what came was kept.
func (h *history) usedAfter(calm time.Time, lineage string) bool {
	return slices.ContainsFunc(h.sends, func(s send) bool {
		of := h.tokens[s.fingerprint]
		return s.granted && s.time.After(calm) && of != nil && of.lineage == lineage &&
			slices.ContainsFunc(h.claims, func(c *claim) bool { return c.kept && c.openAt(s.time) })
	})
}

// codeStateAt is what a kill met of a code, or nothing.
func codeStateAt(of *history, kill records.Fault, since time.Time) string {
	at := kill.Time
	if of.toldAt(of.codeKeeps, kill, since) {
		return stateKept
	}
	if state := claimStateAt(of, of.codeClaims, kill, since); state != "" {
		return state
	}
	// Between the callback and the answer of its write.
	for _, passage := range of.handOvers {
		if passage.Proxy != kill.Replica || passage.Received.Before(since) || passage.Received.After(at) || !passage.Delivered.IsZero() && passage.Delivered.Before(at) {
			continue
		}
		if !passage.Answered.IsZero() && passage.Answered.Before(at) {
			return stateHandedOver
		}
		return stateCallback
	}
	var last write
	for _, w := range of.writes {
		if w.written.Before(at) {
			last = w
		}
	}
	claims := slices.ContainsFunc(of.claimed, func(passage proxy.Record) bool {
		return passage.Kind == kindCodeClaim && passage.Proxy == kill.Replica && passage.Received.After(since) && passage.Received.Before(at) &&
			(passage.Answered.IsZero() || passage.Answered.After(at))
	})
	if claims && last.handOver.ID != "" && last.exchange.ID == "" {
		return stateHandedOver
	}
	return ""
}
