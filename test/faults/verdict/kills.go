package main

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oauth-operator/oauth-operator/test/faults/proxy"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
)

// What a kill met.
const (
	// stateClaimed: the claim was written, and the token request had not come out of the operator.
	stateClaimed = "claimed"
	// stateSent: it had, and the provider had not decided.
	stateSent = "sent"
	// stateCommitted: it had decided, and the answer's last byte was not delivered.
	stateCommitted = "committed"
	// stateReplied: it was, and the journal had no entry.
	stateReplied = "replied"
	// stateJournalled: it had one, and the result was not kept.
	stateJournalled = "journalled"
	// stateCallback: a person had a code, and it was not handed over. stateHandedOver: it was, and was not claimed, or whoever
	// handed it over had not been told so.
	stateCallback   = "callback"
	stateHandedOver = "handed-over"
	// stateKept: it was, and the operator had not been told so.
	stateKept = "kept"
)

func states() []string {
	return []string{stateClaimed, stateSent, stateCommitted, stateReplied, stateJournalled, stateKept}
}

// states are those that kills are counted by.
func (v *verdict) states() []string {
	if v.codes {
		return append([]string{stateCallback, stateHandedOver}, states()...)
	}
	return states()
}

// judgeKills counts the kills that met an open claim, once for each account.
func judgeKills(v *verdict, histories []*history, course course) {
	for _, fault := range course.faults {
		if fault.Kind != records.ProcessKilled {
			continue
		}
		meets := stateAt
		if v.codes {
			meets = codeStateAt
		}
		for _, of := range histories {
			if state := meets(of, fault, course.startedBefore(fault.Replica, fault.Time)); state != "" {
				v.Kills++
				v.States[state]++
			}
		}
	}
}

// stateAt is what a kill met at an account, or nothing: only what the audit log and the ledger show counts, of the process that
// was killed and ran since a time.
func stateAt(of *history, kill records.Fault, since time.Time) string {
	if of.toldAt(of.keeps, kill, since) {
		return stateKept
	}
	return claimStateAt(of, of.claims, kill, since)
}

// toldAt: a result was kept, and the process that was killed had not been told so.
func (h *history) toldAt(keeps []proxy.Record, kill records.Fault, since time.Time) bool {
	at := kill.Time
	return slices.ContainsFunc(keeps, func(keep proxy.Record) bool {
		return keep.Proxy == kill.Replica && keep.Status == http.StatusOK && keep.Received.After(since) && keep.Answered.Before(at) &&
			(keep.Delivered.IsZero() || keep.Delivered.After(at)) && h.keptAt(keep, at)
	})
}

// claimStateAt is what a kill met of a claim.
func claimStateAt(of *history, claims []*claim, kill records.Fault, since time.Time) string {
	at := kill.Time
	index := slices.IndexFunc(claims, func(c *claim) bool {
		return c.replica == kill.Replica && c.opened.After(since) && c.surely.Before(at) && (c.closed.IsZero() || c.closedBy.After(at))
	})
	if index < 0 {
		return ""
	}
	open := claims[index]
	if len(open.sends) == 0 || open.sends[0].time.After(at) {
		return stateClaimed
	}
	sent := open.sends[0]
	switch {
	case sent.decided.IsZero() || sent.decided.After(at):
		return stateSent
	case sent.delivered.IsZero() || sent.delivered.After(at):
		return stateCommitted
	case !inJournal(kill.Journal, of.UID, open.id):
		return stateReplied
	}
	return stateJournalled
}

// keptAt: the audit log has the write that the proxy speaks of.
func (h *history) keptAt(keep proxy.Record, at time.Time) bool {
	return slices.ContainsFunc(h.writes, func(w write) bool {
		return !w.received.Before(keep.Forwarded.Truncate(time.Microsecond)) && w.written.Before(at)
	})
}

// inJournal: one of the files is about the account and the claim.
func inJournal(files []string, account, claim string) bool {
	return slices.ContainsFunc(files, func(name string) bool {
		return strings.Contains(name, account) && strings.Contains(name, claim)
	})
}

// plansPlayed counts the plans whose fault met the request that it was meant for.
func plansPlayed(passages []proxy.Record, faults []records.Fault) int {
	played := map[string]bool{}
	for _, passage := range passages {
		if passage.Plan == "" || played[passage.Plan] {
			continue
		}
		switch passage.End {
		case proxy.EndRefused, proxy.EndCut, proxy.EndDiscarded, proxy.EndGone, proxy.EndFailed:
			played[passage.Plan] = true
		default:
			played[passage.Plan] = slices.ContainsFunc(faults, func(fault records.Fault) bool {
				return fault.Kind != records.Calm && fault.Kind != records.PhaseBegins &&
					fault.Time.After(passage.Received) && fault.Time.Before(passage.Delivered)
			})
		}
	}
	count := 0
	for _, was := range played {
		if was {
			count++
		}
	}
	return count
}
