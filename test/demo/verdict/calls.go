package main

import (
	"slices"
	"time"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

const (
	// The time of the answer and the time of the renewal are both cut to seconds.
	cutOff = 2 * time.Second
	// firstCall is how long an account waits for its first token at most, on a busy machine.
	firstCall = 30 * time.Second
)

// earliest is what the operator's documentation promises of a token that lives for L: it is replaced as long before its end
// as was asked for, but two thirds of L at most, or else a third of L; and a tenth of the time until then, at most, earlier,
// so that accounts do not stay together.
func (a *account) earliest(lifetime time.Duration) time.Duration {
	lead := a.refreshBefore
	if lead == 0 {
		lead = lifetime / 3
	}
	return (lifetime - min(lead, lifetime-lifetime/3)) * 9 / 10
}

// judgeCalls works out which token requests were due, from the lives of the tokens alone, and compares: each request has
// to belong to one account, to have been due, and to have been kept, once.
func judgeCalls(v *verdict, entries []provider.Entry, accounts []*account) {
	calls := callsOf(entries)
	v.providerCalls = len(calls)
	assign(v, calls, entries, accounts)
	end := entries[len(entries)-1].Time
	for _, of := range accounts {
		v.expectedCalls += expected(v, of, end)
	}
	if v.providerCalls != v.expectedCalls {
		v.wrongf("%d token requests were made and %d were due", v.providerCalls, v.expectedCalls)
	}
}

// assign finds the account of each call and the write that kept it. Whose a token is shows in who used it; where nobody
// had the time to, in which write came after it.
func assign(v *verdict, calls []call, entries []provider.Entry, accounts []*account) {
	users := usersOf(v, entries)
	taken := map[*account]map[int64]bool{}
	for _, of := range accounts {
		taken[of] = map[int64]bool{}
		checkRotations(v, of)
	}
	for _, used := range []bool{true, false} {
		for _, each := range calls {
			if _, known := users[each.token]; known != used {
				continue
			}
			place(v, each, users[each.token], accounts, taken)
		}
	}
	for _, of := range accounts {
		slices.SortFunc(of.calls, func(a, b call) int { return a.received.Compare(b.received) })
		for _, kept := range of.keeps {
			if !taken[of][kept.rotation] && !kept.taken {
				v.wrongf("result %d of the account %s was kept, and no token request brought it", kept.rotation, of.name)
			}
		}
	}
}

// usersOf are the workloads that used the access tokens, by the tokens' fingerprints.
func usersOf(v *verdict, entries []provider.Entry) map[string]string {
	users := map[string]string{}
	for _, entry := range entries {
		if entry.Kind != provider.KindAPI || entry.Expect != "" || entry.Outcome != provider.Granted {
			continue
		}
		if before, known := users[entry.AccessFingerprint]; known && before != entry.Workload {
			v.wrongf("the workloads %s and %s used the same token", before, entry.Workload)
		}
		users[entry.AccessFingerprint] = entry.Workload
	}
	return users
}

// checkRotations: results are numbered without a gap, and each is another one.
func checkRotations(v *verdict, of *account) {
	before := keep{}
	for _, kept := range of.keeps {
		if kept.rotation != before.rotation+1 {
			v.wrongf("result %d of the account %s follows on result %d", kept.rotation, of.name, before.rotation)
		}
		if kept.sealed == before.sealed {
			v.wrongf("with result %d of the account %s nothing else was kept than before", kept.rotation, of.name)
		}
		before = kept
	}
}

// place gives the call to the account whose status was the first to be written after it with its result. user is the
// account whose workload used the token, if any did.
func place(v *verdict, each call, user string, accounts []*account, taken map[*account]map[int64]bool) {
	if !each.granted {
		v.wrongf("token request %d was not granted", each.number)
		return
	}
	var owner *account
	var found keep
	for _, of := range accounts {
		if of.clientID != each.clientID || user != "" && user != of.name {
			continue
		}
		for _, kept := range of.keeps {
			// The status says in whole seconds when the answer came.
			fits := !taken[of][kept.rotation] && !kept.written.Before(each.answered) && !kept.last.Before(each.answered.Truncate(time.Second))
			if fits && (owner == nil || kept.written.Before(found.written)) {
				owner, found = of, kept
			}
		}
	}
	if owner == nil {
		v.wrongf("the token that request %d brought at %s was never kept", each.number, clock(each.answered))
		return
	}
	taken[owner][found.rotation] = true
	each.kept = found.rotation
	owner.calls = append(owner.calls, each)
}

// expected is how many token requests of the account were due until the end: one when it was created, and one in the time
// that each token leaves for it.
func expected(v *verdict, of *account, end time.Time) int {
	if len(of.calls) == 0 {
		if end.Sub(of.created) < firstCall {
			return 0
		}
		v.wrongf("no token was requested for the account %s", of.name)
		return 1
	}
	due := 1
	if of.calls[0].received.Before(of.created) {
		v.wrongf("a token was requested for the account %s before it was created", of.name)
		due = 0
	}
	for i, each := range of.calls[1:] {
		before := of.calls[i]
		opens := before.answered.Add(of.earliest(before.lifetime())).Add(-cutOff)
		if promised := promise(of, before); promised.After(opens) {
			opens = promised
		}
		switch {
		case each.received.Before(opens):
			v.wrongf("token request %d for the account %s came %.1f s after the one before, which was too early", each.number, of.name, each.received.Sub(before.answered).Seconds())
		case each.received.After(before.expires):
			v.wrongf("token request %d for the account %s came %.1f s after its token had ended", each.number, of.name, each.received.Sub(before.expires).Seconds())
			due++
		default:
			due++
		}
	}
	if last := of.calls[len(of.calls)-1]; end.After(last.expires) {
		v.wrongf("the last token of the account %s ended at %s and no other was requested", of.name, clock(last.expires))
		due++
	}
	return due
}

// promise is when the status that kept the call's result said that the next one would be made.
func promise(of *account, made call) time.Time {
	for _, kept := range of.keeps {
		if !kept.written.Before(made.answered) {
			return kept.next
		}
	}
	return time.Time{}
}
