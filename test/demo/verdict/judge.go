package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oauth-operator/oauth-operator/test/provider"
)

// verdict is what is said in the end.
type verdict struct {
	accounts, renewalsMin, requests, rejected, unauthorized, providerCalls, expectedCalls int
	rotationsMin, reused, lost, connected                                                 int
	// reasons are why it is not ok.
	reasons []string
}

func (v *verdict) wrongf(format string, arguments ...any) {
	v.reasons = append(v.reasons, fmt.Sprintf(format, arguments...))
}

func (v *verdict) ok() bool { return len(v.reasons) == 0 }

// mostReasons is how many are printed: one thing that goes wrong often shows in hundreds of calls.
const mostReasons = 20

// String is a line for each reason, and the verdict.
func (v *verdict) String() string {
	var text strings.Builder
	for _, reason := range v.reasons[:min(len(v.reasons), mostReasons)] {
		fmt.Fprintf(&text, "wrong: %s\n", reason)
	}
	if more := len(v.reasons) - mostReasons; more > 0 {
		fmt.Fprintf(&text, "wrong: and %d more\n", more)
	}
	word := "ok"
	if !v.ok() {
		word = "failed"
	}
	fmt.Fprintf(&text, "demo: %s accounts=%d renewals_min=%d requests=%d rejected=%d/%d unauthorized=%d provider_calls=%d expected_calls=%d rotations_min=%d reused=%d lost=%d connected=%d\n",
		word, v.accounts, v.renewalsMin, v.requests, v.rejected, len(rejections()), v.unauthorized, v.providerCalls, v.expectedCalls, v.rotationsMin, v.reused, v.lost, v.connected)
	return text.String()
}

// judge is the whole of it.
func judge(e evidence, wanted limits) *verdict {
	v := &verdict{}
	accounts, err := accountsOf(e.events)
	if err != nil {
		v.wrongf("the audit log cannot be understood: %v", err)
		return v
	}
	if len(e.entries) == 0 {
		v.wrongf("the ledger is empty")
		return v
	}
	judgeUse(v, e.entries, accounts, wanted)
	judgeRejections(v, e.entries)
	judgeCalls(v, e.entries, accounts)
	judgeRotations(v, e.entries, accounts, wanted)
	judgeOperator(v, e.events, accounts)
	judgeRepairs(v, e.events, accounts)
	if e.tokenInAudit {
		v.wrongf("there is something in the audit log that begins like a token")
	}
	return v
}

// use is what the ledger says of one workload.
type use struct {
	granted int
	tokens  []string
	// refusals are the reasons for which calls were refused.
	refusals   []string
	onBehalfOf bool
	contract   provider.Contract
	last       time.Time
}

// judgeUse looks at the workloads' calls of the API.
func judgeUse(v *verdict, entries []provider.Entry, accounts []*account, wanted limits) {
	uses := map[string]*use{}
	var first, last time.Time
	for _, entry := range entries {
		if entry.Kind != provider.KindAPI || entry.Expect != "" {
			continue
		}
		v.requests++
		if first.IsZero() {
			first = entry.Time
		}
		last = entry.Time
		if !slices.ContainsFunc(accounts, func(a *account) bool { return a.name == entry.Workload }) {
			v.wrongf("a call of the API at %s comes from nobody known", clock(entry.Time))
			continue
		}
		if uses[entry.Workload] == nil {
			uses[entry.Workload] = &use{last: entry.Time}
		}
		uses[entry.Workload].count(v, entry, wanted.pause)
	}
	seconds := last.Sub(first).Seconds()
	if float64(v.requests) < float64(wanted.perSecond)*seconds || v.requests == 0 {
		v.wrongf("%d calls in %.0f s are less than %d a second", v.requests, seconds, wanted.perSecond)
	}
	v.judgeAccounts(uses, accounts, wanted, last)
	v.judgeVariety(uses, entries, accounts)
}

// count takes up one call.
func (u *use) count(v *verdict, entry provider.Entry, pause time.Duration) {
	if gap := entry.Time.Sub(u.last); gap > pause {
		v.wrongf("the workload %s did not call for %.1f s before %s", entry.Workload, gap.Seconds(), clock(entry.Time))
	}
	u.last = entry.Time
	if entry.Outcome != provider.Granted {
		v.unauthorized++
		if !slices.Contains(u.refusals, entry.Reason) {
			u.refusals = append(u.refusals, entry.Reason)
			v.wrongf("calls of the workload %s were refused, the first at %s: %d %s", entry.Workload, clock(entry.Time), entry.Status, entry.Reason)
		}
		return
	}
	u.granted++
	u.contract = entry.Contract
	u.onBehalfOf = u.onBehalfOf || entry.OnBehalfOf != ""
	if !slices.Contains(u.tokens, entry.AccessFingerprint) {
		u.tokens = append(u.tokens, entry.AccessFingerprint)
	}
}

// judgeAccounts counts the accounts whose token was used, and how often the one that got the fewest got another.
func (v *verdict) judgeAccounts(uses map[string]*use, accounts []*account, wanted limits, end time.Time) {
	v.renewalsMin = -1
	for _, of := range accounts {
		used := uses[of.name]
		if used == nil || used.granted == 0 {
			v.wrongf("the token of the account %s was never used with success", of.name)
			v.renewalsMin = 0
			continue
		}
		v.accounts++
		if renewals := len(used.tokens) - 1; v.renewalsMin < 0 || renewals < v.renewalsMin {
			v.renewalsMin = renewals
		}
		if gap := end.Sub(used.last); gap > wanted.pause {
			v.wrongf("the workload %s stopped calling %.1f s before the others", of.name, gap.Seconds())
		}
	}
	v.renewalsMin = max(v.renewalsMin, 0)
	if v.accounts < wanted.accounts {
		v.wrongf("%d accounts are less than %d", v.accounts, wanted.accounts)
	}
	if v.renewalsMin < wanted.renewals {
		v.wrongf("%d renewals of some account are less than %d", v.renewalsMin, wanted.renewals)
	}
}

// judgeVariety wants, with the clients' own access, imported ones and those that people connected, both providers and an account that acts for
// another; and two sets of scopes.
func (v *verdict) judgeVariety(uses map[string]*use, entries []provider.Entry, accounts []*account) {
	scopes := map[string]bool{}
	for _, group := range []struct {
		what string
		is   func(*account) bool
	}{
		{"of their own access", func(of *account) bool { return !of.rotates() }},
		{"that import a consent", (*account).imported},
		{"that a person has connected", func(of *account) bool { return of.consented }},
	} {
		contracts, onBehalfOf := map[provider.Contract]bool{}, false
		for _, of := range accounts {
			if used := uses[of.name]; used != nil && group.is(of) {
				contracts[used.contract] = true
				onBehalfOf = onBehalfOf || used.onBehalfOf
			}
		}
		if !contracts[provider.SmartBusiness] || !contracts[provider.Smartbills] {
			v.wrongf("not both providers were called with success by accounts %s", group.what)
		}
		if !onBehalfOf {
			v.wrongf("no call in the name of a connected account had success by accounts %s", group.what)
		}
	}
	for _, entry := range entries {
		if entry.Kind == provider.KindIssued && entry.Contract == provider.SmartBusiness {
			scopes[entry.Scope] = true
		}
	}
	if len(scopes) < 2 {
		v.wrongf("there were no two sets of scopes")
	}
}

// rejection is a call that must be refused, and how.
type rejection struct {
	expect string
	status int
	reason []string
}

func rejections() []rejection {
	return []rejection{
		{"expired", 401, []string{"expired_token"}},
		{"revoked", 401, []string{"revoked_token"}},
		{"wrong-scope", 403, []string{"insufficient_scope"}},
		{"missing-on-behalf-of", 400, []string{"missing_on_behalf_of"}},
		{"wrong-on-behalf-of", 403, []string{"on_behalf_of_mismatch", "account_not_connected"}},
	}
}

// judgeRejections looks at the calls that had to be refused. Each has to have been made with a token that the operator
// had obtained and that a workload had used: a token that never was any good proves nothing.
func judgeRejections(v *verdict, entries []provider.Entry) {
	good := map[string]bool{}
	ends := map[string]time.Time{}
	for _, call := range callsOf(entries) {
		ends[call.token] = call.expires
	}
	seen := map[string]bool{}
	for _, entry := range entries {
		if entry.Kind != provider.KindAPI {
			continue
		}
		if entry.Expect == "" {
			good[entry.AccessFingerprint] = good[entry.AccessFingerprint] || entry.Outcome == provider.Granted
			continue
		}
		at := slices.IndexFunc(rejections(), func(r rejection) bool { return r.expect == entry.Expect })
		switch {
		case at < 0:
			v.wrongf("a call expects to be refused for something unknown")
		case entry.Outcome != provider.Refused || entry.Status != rejections()[at].status || !slices.Contains(rejections()[at].reason, entry.Reason):
			v.wrongf("the call that had to be refused (%s) was answered with %d %s", entry.Expect, entry.Status, entry.Reason)
		case !good[entry.AccessFingerprint]:
			v.wrongf("the call that had to be refused (%s) was made with a token that no workload had used", entry.Expect)
		case entry.Expect != "expired" && !entry.Time.Before(ends[entry.AccessFingerprint]):
			v.wrongf("the call that had to be refused (%s) was made with a token that had expired", entry.Expect)
		default:
			seen[entry.Expect] = true
		}
	}
	v.rejected = len(seen)
	for _, each := range rejections() {
		if !seen[each.expect] {
			v.wrongf("no call was refused for the reason %s", each.expect)
		}
	}
}

// clock is how a time is written for people.
func clock(at time.Time) string { return at.UTC().Format("15:04:05.000") }
