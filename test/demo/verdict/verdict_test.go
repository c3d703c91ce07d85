package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

const (
	recordedLedger = "testdata/ledger.jsonl"
	recordedAudit  = "testdata/audit.jsonl"

	// target is the account that the tests do something to.
	target = "smartbills"
)

// recordedLimits are those of the demo, except that most of the calls were left out of the recorded ledger.
func recordedLimits() limits {
	wanted := demoLimits()
	wanted.perSecond = 1
	return wanted
}

func recorded(t *testing.T) *evidence {
	t.Helper()
	read, err := readEvidence(recordedLedger, recordedAudit)
	if err != nil {
		t.Fatal(err)
	}
	return &read
}

func TestTheRecordedRunIsOK(t *testing.T) {
	t.Parallel()
	got := judge(*recorded(t), recordedLimits())
	want := verdict{accounts: 8, renewalsMin: 4, requests: 112, rejected: 5, providerCalls: 50, expectedCalls: 50, rotationsMin: 6, connected: 2}
	if diff := cmp.Diff(want, *got, cmp.AllowUnexported(verdict{})); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	const line = "demo: ok accounts=8 renewals_min=4 requests=112 rejected=5/5 unauthorized=0 provider_calls=50 expected_calls=50 rotations_min=6 reused=0 lost=0 connected=2\n"
	if text := got.String(); text != line {
		t.Errorf("it says %q, want %q", text, line)
	}
}

func TestWhatIsWrongIsFound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*evidence)
		limits func(*limits)
		want   string
	}{
		"fewer calls than were asked for":          {limits: func(l *limits) { l.perSecond = 20 }, want: "are less than 20 a second"},
		"fewer renewals than were asked for":       {limits: func(l *limits) { l.renewals = 5 }, want: "4 renewals of some account are less than 5"},
		"fewer accounts than were asked for":       {limits: func(l *limits) { l.accounts = 9 }, want: "8 accounts are less than 9"},
		"a call of a workload was refused":         {change: refuseOne, want: "calls of the workload smartbills were refused"},
		"a call of a workload met an outage":       {change: outage, want: "calls of the workload smartbills were refused"},
		"a workload did not call for a while":      {change: pause, want: "did not call for"},
		"a workload gave up":                       {change: giveUp, want: "stopped calling"},
		"a workload never got a token":             {change: neverUsed, want: "the token of the account smartbills was never used with success"},
		"two workloads used one token":             {change: shareToken, want: "used the same token"},
		"a stranger called the API":                {change: stranger, want: "comes from nobody known"},
		"a call that had to be refused is missing": {change: withoutExpected("revoked"), want: "no call was refused for the reason revoked"},
		"a call that had to be refused was not":    {change: grantExpected("wrong-scope"), want: "the call that had to be refused (wrong-scope) was answered with 200"},
		"it was refused for another reason":        {change: otherReason("expired"), want: "the call that had to be refused (expired) was answered with 401 unknown_token"},
		"it was made with a token of no use":       {change: uselessToken("wrong-scope"), want: "was made with a token that no workload had used"},
		"a token was requested and not kept":       {change: extraCall, want: "was never kept"},
		"a token was requested too early":          {change: earlyCall, want: "too early"},
		"a token was requested before its time":    {change: brokenPromise, want: "too early"},
		"a token was requested twice at once":      {change: doubleCall, want: "51 token requests were made and 50 were due"},
		"a token was requested after its end":      {change: lateCall, want: "after its token had ended"},
		"a token request failed":                   {change: failedCall, want: "was not granted"},
		"a token ended and no other was requested": {change: lateEnd, want: "and no other was requested"},
		"only one provider was called":             {change: oneContract, want: "not both providers were called with success by accounts of their own access"},
		"nobody acted for a connected account":     {change: noOnBehalfOf, want: "in the name of a connected account had success by accounts of their own access"},
		"all tokens had the same scopes":           {change: oneScope, want: "no two sets of scopes"},
		"a result came from nowhere":               {change: withoutCall, want: "was kept, and no token request brought it"},
		"a result was lost on the way":             {change: skipRotation, want: "follows on result"},
		"a result was noted and not kept":          {change: sameCredential, want: "nothing else was kept than before"},
		"the operator was refused":                 {change: operatorDid("get", "", "configmaps", "shop", "x", 403), want: "the operator was refused: get"},
		"the operator wrote another's Secret":      {change: operatorDid("update", "", "secrets", "shop", "other", 200), want: "wrote what is not its own"},
		"the operator wrote its keyring anew":      {change: operatorDid("update", "", "secrets", operatorNamespace, keyringName, 200), want: "wrote what is not its own"},
		"the operator wrote a spec":                {change: operatorDid("update", v1alpha1.Group, resourceAccounts, "shop", target, 200), want: "wrote what is not its own"},
		"the operator patched a status":            {change: statusDid("patch", operatorAgent), want: "wrote what is not its own"},
		"the pages wrote a whole status":           {change: statusDid("update", pagesAgent), want: "wrote what is not its own"},
		"the operator deleted an account":          {change: operatorDid("delete", v1alpha1.Group, resourceAccounts, "shop", target, 200), want: "wrote what is not its own"},
		"the operator acted as somebody else":      {change: disguise, want: "the operator acted as admin"},
		"the operator is not to be seen":           {change: withoutOperator, want: "the audit log has no request of the operator"},
		"a deleted Secret was not put back":        {change: withoutRepair("create"), want: "delete of the Secret"},
		"an edited Secret was not put right":       {change: withoutRepair("update"), want: "patch of the Secret"},
		"no Secret was deleted":                    {change: withoutUser("delete"), want: "0 token Secrets were deleted and 1 edited"},
		"a token is in the audit log":              {change: func(e *evidence) { e.tokenInAudit = true }, want: "begins like a token"},
		"the ledger is empty":                      {change: func(e *evidence) { e.entries = nil }, want: "the ledger is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			evidence, wanted := recorded(t), recordedLimits()
			if test.change != nil {
				test.change(evidence)
			}
			if test.limits != nil {
				test.limits(&wanted)
			}
			got := judge(*evidence, wanted)
			if got.ok() || !strings.Contains(strings.Join(got.reasons, "\n"), test.want) {
				t.Errorf("the verdict is\n%s\nwant it failed because of %q", got, test.want)
			}
		})
	}
}

func TestATokenInTheAuditLogIsSeen(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(recordedAudit)
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{provider.AccessTokenPrefix, provider.RefreshTokenPrefix} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		leaked := bytes.Replace(text, []byte(`"sealedCredential":"`), []byte(`"sealedCredential":"`+prefix), 1)
		if err := os.WriteFile(path, leaked, 0o600); err != nil {
			t.Fatal(err)
		}
		read, err := readEvidence(recordedLedger, path)
		if err != nil {
			t.Fatal(err)
		}
		if !read.tokenInAudit {
			t.Errorf("a token that begins with %s was not seen", prefix)
		}
	}
}

func TestTheExitCodeFollowsTheVerdict(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	// The recorded ledger has too few calls for the demo's own limits.
	ok, err := run([]string{"--ledger=" + recordedLedger, "--audit=" + recordedAudit}, &output)
	if err != nil || ok || !strings.Contains(output.String(), "\ndemo: failed accounts=8 ") {
		t.Errorf("ok %v, error %v, output %q", ok, err, output.String())
	}
	if _, err := run([]string{"--ledger=" + recordedLedger}, &output); err == nil {
		t.Error("it went without an audit log")
	}
}

// apiCall is call number n of the target's workload, from 1.
func apiCall(e *evidence, n int) *provider.Entry {
	for i := range e.entries {
		if entry := &e.entries[i]; entry.Kind == provider.KindAPI && entry.Workload == target && entry.Expect == "" {
			n--
			if n == 0 {
				return entry
			}
		}
	}
	return nil
}

func deleteEntries(e *evidence, which func(provider.Entry) bool) {
	e.entries = slices.DeleteFunc(e.entries, which)
}

func ofTarget(entry provider.Entry) bool {
	return entry.Kind == provider.KindAPI && entry.Workload == target && entry.Expect == ""
}

func refuseOne(e *evidence) {
	refused := apiCall(e, 5)
	refused.Outcome, refused.Status, refused.Reason = provider.Refused, 401, "expired_token"
}

func outage(e *evidence) {
	apiCall(e, 5).Outcome = provider.Unavailable
}

func pause(e *evidence) {
	begin := apiCall(e, 5).Time
	deleteEntries(e, func(entry provider.Entry) bool {
		return ofTarget(entry) && entry.Time.After(begin) && entry.Time.Sub(begin) < 6*time.Second
	})
}

func giveUp(e *evidence) {
	end := e.entries[len(e.entries)-1].Time.Add(-6 * time.Second)
	deleteEntries(e, func(entry provider.Entry) bool { return ofTarget(entry) && entry.Time.After(end) })
}

func neverUsed(e *evidence) { deleteEntries(e, ofTarget) }

func shareToken(e *evidence) {
	for _, entry := range e.entries {
		if entry.Kind == provider.KindAPI && entry.Workload == "smartbills-acme" {
			apiCall(e, 3).AccessFingerprint = entry.AccessFingerprint
			return
		}
	}
}

func stranger(e *evidence) { apiCall(e, 3).Workload = "somebody" }

func expecting(e *evidence, what string) *provider.Entry {
	at := slices.IndexFunc(e.entries, func(entry provider.Entry) bool { return entry.Expect == what })
	return &e.entries[at]
}

func withoutExpected(what string) func(*evidence) {
	return func(e *evidence) {
		deleteEntries(e, func(entry provider.Entry) bool { return entry.Expect == what })
	}
}

func grantExpected(what string) func(*evidence) {
	return func(e *evidence) {
		entry := expecting(e, what)
		entry.Outcome, entry.Status, entry.Reason = provider.Granted, 200, ""
	}
}

func otherReason(what string) func(*evidence) {
	return func(e *evidence) { expecting(e, what).Reason = "unknown_token" }
}

func uselessToken(what string) func(*evidence) {
	return func(e *evidence) { expecting(e, what).AccessFingerprint = "0000000000000000" }
}

// request returns the places of the two entries of a token request: that of the target's token number n, from 1.
func request(e *evidence, n int) (asked, issued int) {
	var tokens []string
	for _, entry := range e.entries {
		if ofTarget(entry) && !slices.Contains(tokens, entry.AccessFingerprint) {
			tokens = append(tokens, entry.AccessFingerprint)
		}
	}
	issued = slices.IndexFunc(e.entries, func(entry provider.Entry) bool {
		return entry.Kind == provider.KindIssued && entry.AccessFingerprint == tokens[n-1]
	})
	asked = slices.IndexFunc(e.entries, func(entry provider.Entry) bool {
		return entry.Kind == provider.KindTokenRequest && entry.Request == e.entries[issued].Request
	})
	return asked, issued
}

// insertCall adds a token request like the target's second one, later by some time, whose token nobody uses.
func insertCall(e *evidence, later time.Duration) {
	asked, issued := request(e, 2)
	more := []provider.Entry{e.entries[asked], e.entries[issued]}
	more[1].AccessFingerprint = "1111111111111111"
	more[1].ExpiresTime = more[1].ExpiresTime.Add(later)
	for i := range more {
		more[i].Request = 1000
		more[i].Time = more[i].Time.Add(later)
	}
	more[0].ReceivedTime = more[0].ReceivedTime.Add(later)
	at := slices.IndexFunc(e.entries, func(entry provider.Entry) bool { return entry.Time.After(more[1].Time) })
	e.entries = slices.Insert(e.entries, at, more...)
}

func extraCall(e *evidence) { insertCall(e, 2*time.Second) }

// doubleCall is an operator that asks twice and keeps one of the two.
func doubleCall(e *evidence) { insertCall(e, 10*time.Millisecond) }

// earlyCall is an operator that renews a token long before its time, and keeps the result.
func earlyCall(e *evidence) {
	const later = 2 * time.Second
	insertCall(e, later)
	at := keepOf(e, 2)
	more := e.events[at]
	more.Received, more.Written = more.Received.Add(later), more.Written.Add(later)
	e.events = slices.Insert(e.events, at+1, more)
	for i := at + 1; i < len(e.events); i++ {
		if isStatusOf(e.events[i]) {
			editStatus(&e.events[i], func(status *v1alpha1.ConnectedAccountStatus) {
				status.Rotations++
				if i == at+1 {
					status.LastRefreshTime.Time = status.LastRefreshTime.Add(later)
				}
			})
		}
	}
}

// brokenPromise is an operator that does not wait until its own nextRefreshTime.
func brokenPromise(e *evidence) {
	editStatus(&e.events[keepOf(e, 2)], func(status *v1alpha1.ConnectedAccountStatus) {
		status.NextRefreshTime.Time = status.NextRefreshTime.Add(4 * time.Second)
	})
}

// lateCall is a token that ended before the next one was requested.
func lateCall(e *evidence) {
	_, issued := request(e, 2)
	e.entries[issued].ExpiresTime = e.entries[issued].ExpiresTime.Add(-8 * time.Second)
}

func oneContract(e *evidence) {
	for i := range e.entries {
		e.entries[i].Contract = provider.Smartbills
	}
}

func noOnBehalfOf(e *evidence) {
	for i := range e.entries {
		e.entries[i].OnBehalfOf = ""
	}
}

func oneScope(e *evidence) {
	for i := range e.entries {
		e.entries[i].Scope = "invoices"
	}
}

func failedCall(e *evidence) {
	asked, issued := request(e, 3)
	e.entries[asked].Outcome = provider.Refused
	e.entries = slices.Delete(e.entries, issued, issued+1)
}

// lateEnd has the workloads go on for long after the last renewals.
func lateEnd(e *evidence) {
	last := e.entries[len(e.entries)-1]
	last.Time = last.Time.Add(time.Minute)
	e.entries = append(e.entries, last)
}

func withoutCall(e *evidence) {
	asked, _ := request(e, 3)
	number := e.entries[asked].Request
	deleteEntries(e, func(entry provider.Entry) bool {
		return entry.Request == number && (entry.Kind == provider.KindTokenRequest || entry.Kind == provider.KindIssued)
	})
}

func skipRotation(e *evidence) {
	for i := keepOf(e, 3); i < len(e.events); i++ {
		if isStatusOf(e.events[i]) {
			editStatus(&e.events[i], func(status *v1alpha1.ConnectedAccountStatus) { status.Rotations++ })
		}
	}
}

// sameCredential is an operator that counts a result and forgets to write it.
func sameCredential(e *evidence) {
	sealed := statusIn(e.events[keepOf(e, 2)]).SealedCredential
	editStatus(&e.events[keepOf(e, 3)], func(status *v1alpha1.ConnectedAccountStatus) { status.SealedCredential = sealed })
}

func isStatusOf(event cluster.AuditEvent) bool { return isStatus(event, target) }

func isStatus(event cluster.AuditEvent, name string) bool {
	return event.Resource == resourceAccounts && event.Subresource == "status" && event.Name == name && succeeded(event) && len(event.RequestObject) > 0
}

// keepOf is the place of the write that kept the target's result with the given number.
func keepOf(e *evidence, rotation int64) int {
	return slices.IndexFunc(e.events, func(event cluster.AuditEvent) bool {
		return isStatusOf(event) && statusIn(event).Rotations == rotation
	})
}

// statusIn is the status that was written.
func statusIn(event cluster.AuditEvent) v1alpha1.ConnectedAccountStatus {
	var body v1alpha1.ConnectedAccount
	if err := json.Unmarshal(event.RequestObject, &body); err != nil {
		panic(err)
	}
	return body.Status
}

func editStatus(event *cluster.AuditEvent, edit func(*v1alpha1.ConnectedAccountStatus)) {
	var body v1alpha1.ConnectedAccount
	if err := json.Unmarshal(event.RequestObject, &body); err != nil {
		panic(err)
	}
	edit(&body.Status)
	text, err := json.Marshal(&body)
	if err != nil {
		panic(err)
	}
	event.RequestObject = text
}

func operatorDid(verb, group, resource, namespace, name string, code int) func(*evidence) {
	return func(e *evidence) {
		e.events = append(e.events, cluster.AuditEvent{
			User: operatorUser, UserAgent: operatorAgent, Verb: verb, Group: group, Resource: resource, Namespace: namespace,
			Name: name, Code: code, Stage: cluster.StageResponseComplete,
		})
	}
}

// statusDid is a write of a status, without a body.
func statusDid(verb, agent string) func(*evidence) {
	return func(e *evidence) {
		operatorDid(verb, v1alpha1.Group, resourceAccounts, "shop", target, 200)(e)
		last := &e.events[len(e.events)-1]
		last.Subresource, last.UserAgent = "status", agent
	}
}

func disguise(e *evidence) {
	at := slices.IndexFunc(e.events, func(event cluster.AuditEvent) bool { return event.User == operatorUser })
	e.events[at].User = "admin"
}

func withoutOperator(e *evidence) {
	e.events = slices.DeleteFunc(e.events, func(event cluster.AuditEvent) bool { return event.User == operatorUser })
}

// withoutRepair leaves out what the operator wrote to token Secrets after the user had touched them.
func withoutRepair(verb string) func(*evidence) {
	return func(e *evidence) {
		at := slices.IndexFunc(e.events, func(event cluster.AuditEvent) bool {
			return event.User != operatorUser && event.Resource == "secrets" && (event.Verb == "delete") == (verb == "create") && writes(event) &&
				isTokenSecret(event.Name, []*account{{secret: "smartbills"}, {secret: "smartbusiness-invoices"}})
		})
		kept := slices.Clone(e.events[:at+1])
		for _, event := range e.events[at+1:] {
			if event.User != operatorUser || event.Resource != "secrets" || event.Verb != verb {
				kept = append(kept, event)
			}
		}
		e.events = kept
	}
}

func withoutUser(verb string) func(*evidence) {
	return func(e *evidence) {
		e.events = slices.DeleteFunc(e.events, func(event cluster.AuditEvent) bool {
			return event.User != operatorUser && event.Resource == "secrets" && event.Verb == verb
		})
	}
}
