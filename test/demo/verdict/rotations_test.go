package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// customer is the imported account that the tests do something to.
const customer = "smartbills-imported"

func TestWhatIsWrongWithARefreshTokenIsFound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*evidence)
		limits func(*limits)
		want   string
		// reused and lost are what the last line counts.
		reused, lost int
	}{
		"fewer rotations than were asked for":       {limits: func(l *limits) { l.rotations = 9 }, want: "6 rotations of some customer's account are less than 9"},
		"fewer imports than were asked for":         {limits: func(l *limits) { l.imports = 3 }, want: "2 imported accounts are less than 3"},
		"a refresh token was used twice":            {change: reuse, want: "used a refresh token that was spent before", reused: 1},
		"a second use ended the consent":            {change: func(e *evidence) { reuse(e); revoke(e) }, want: "has ended the consent of the account smartbills-imported", reused: 1, lost: 1},
		"the whole client was revoked":              {change: revokeClient, want: "has ended the consent of the account smartbills-imported", lost: 1},
		"the newest refresh token was not kept":     {change: withoutLastKeep, want: "is not what it has kept last", lost: 1},
		"something else was kept after that":        {change: keptAfter, want: "is not what it has kept last", lost: 1},
		"one consent rotated less than the others":  {change: slower, limits: func(l *limits) { l.rotations = 6 }, want: "5 rotations of some customer's account are less than 6", lost: 1},
		"an older refresh token was gone on with":   {change: fork, want: "does not descend from the newest one"},
		"a refresh token was not spent in its turn": {change: unspent, want: "does not descend from the newest one"},
		"a consent was never used":                  {change: unusedImport, want: "no token of the consent of the account smartbills-imported was ever used", lost: 1},
		"a second request under one claim":          {change: secondSend, want: "under claim 3 of the account smartbills-imported 2 token requests were sent"},
		"a request without a claim":                 {change: withoutClaim, want: "and no claim was open"},
		"a claim is missing in the log":             {change: withoutClaim, want: "claim 4 of the account smartbills-imported follows on claim 2"},
		"a claim without a request":                 {change: idleClaim, want: "under claim 9 of the account smartbills-imported 0 token requests were sent"},
		"a claim was written twice":                 {change: claimTwice, want: "claim 3 of the account smartbills-imported was written 2 times"},
		"a claim was made after the request":        {change: lateClaim, want: "and no claim was open"},
		"a claim was cleared before the keep":       {change: earlyClear, want: "claim 3 of the account smartbills-imported, on result 3, did not end with result 4 being kept"},
		"a claim was made on another result":        {change: wrongClaim, want: "claim 3 of the account smartbills-imported, on result 1, did not end with result 2 being kept"},
		"an import was not marked":                  {change: markImport(0), want: "the Secret smartbills-import, whose refresh token was taken over, was marked 0 times"},
		"an import was marked twice":                {change: markImport(2), want: "the Secret smartbills-import, whose refresh token was taken over, was marked 2 times"},
		"a provider that forgives":                  {change: forgiving, want: "does not end a consent of the client demo-smartbills-customers"},
		"one format of body":                        {change: oneFormat, want: "refresh tokens were not sent in both formats"},
		"imports at one provider":                   {change: importsAtOne, want: "not both providers were called with success by accounts that import a consent"},
		"no import acts for a connected account":    {change: importsForNobody, want: "in the name of a connected account had success by accounts that import a consent"},
		"earlier than the account asked for":        {change: withoutLead, want: "which was too early"},
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
			if got.reused != test.reused || got.lost != test.lost {
				t.Errorf("the verdict is\n%s\nwant reused=%d lost=%d", got, test.reused, test.lost)
			}
		})
	}
}

func TestAMarkThatWasRefusedIsMadeAgain(t *testing.T) {
	t.Parallel()
	evidence := recorded(t)
	at := slices.IndexFunc(evidence.events, func(event cluster.AuditEvent) bool {
		return event.User == operatorUser && event.Name == "smartbills-import" && event.Verb == "update"
	})
	conflict := evidence.events[at]
	conflict.Code = 409
	evidence.events = slices.Insert(evidence.events, at, conflict)
	if got := judge(*evidence, recordedLimits()); !got.ok() {
		t.Errorf("the verdict is\n%s\nwant it ok", got)
	}
}

func TestATokenIsReplacedNoEarlierThanPromised(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ lifetime, refreshBefore, want time.Duration }{
		"nothing was asked for":                {15 * time.Second, 0, 9 * time.Second},
		"a lead was asked for":                 {15 * time.Second, 8 * time.Second, 6300 * time.Millisecond},
		"a lead of more than two thirds of it": {30 * time.Second, 29 * time.Second, 9 * time.Second},
	} {
		if got := (&account{refreshBefore: test.refreshBefore}).earliest(test.lifetime); got != test.want {
			t.Errorf("%s: after %s, want %s", name, got, test.want)
		}
	}
}

// consent is the name of the customer's lineage.
func consent(e *evidence) string {
	at := slices.IndexFunc(e.entries, func(entry provider.Entry) bool { return entry.Workload == customer && entry.Lineage != "" })
	return e.entries[at].Lineage
}

// rotation returns the places of the entries of the customer's rotation number n, from 1: asked, spent, issued.
func rotation(e *evidence, n int) (asked, spent, issued int) {
	lineage := consent(e)
	for i, entry := range e.entries {
		if entry.Kind == provider.KindSpent && entry.Lineage == lineage {
			n--
			if n == 0 {
				return i - 1, i, i + 1
			}
		}
	}
	panic("there is no such rotation")
}

// insert adds entries like the given ones, a little later and under a number of their own.
func insert(e *evidence, at int, entries ...provider.Entry) {
	for i := range entries {
		entries[i].Request = 1000
	}
	e.entries = slices.Insert(e.entries, at, entries...)
}

// reuse is the refresh token of rotation 3 that comes again, and is refused.
func reuse(e *evidence) {
	asked, spent, issued := rotation(e, 3)
	again, reused := e.entries[asked], e.entries[spent]
	again.Outcome, again.Status = provider.Refused, 400
	reused.Kind, reused.Outcome, reused.Reason = provider.KindReused, provider.Refused, "refresh_token"
	insert(e, issued+1, again, reused)
}

// revoke ends the customer's consent in the end.
func revoke(e *evidence) {
	e.entries = append(e.entries, provider.Entry{Kind: provider.KindRevoked, Lineage: consent(e), Time: e.entries[len(e.entries)-1].Time})
}

func revokeClient(e *evidence) {
	e.entries = append(e.entries, provider.Entry{
		Kind: provider.KindRevoked, ClientID: "demo-smartbills-customers", Time: e.entries[len(e.entries)-1].Time,
	})
}

// customerWrite is the place of the first write of the customer's status for which the function holds.
func customerWrite(e *evidence, is func(v1alpha1.ConnectedAccountStatus) bool) int {
	return slices.IndexFunc(e.events, func(event cluster.AuditEvent) bool { return isStatus(event, customer) && is(statusIn(event)) })
}

// withoutLastKeep is an operator that ended before it kept what came last.
func withoutLastKeep(e *evidence) {
	last := int64(0)
	for _, event := range e.events {
		if isStatus(event, customer) {
			last = max(last, statusIn(event).Rotations)
		}
	}
	at := customerWrite(e, func(status v1alpha1.ConnectedAccountStatus) bool { return status.Rotations == last })
	e.events = slices.DeleteFunc(e.events[:len(e.events):len(e.events)], func(event cluster.AuditEvent) bool {
		return isStatus(event, customer) && !event.Received.Before(e.events[at].Received)
	})
}

// keptAfter is an operator that writes something else over what came last.
func keptAfter(e *evidence) {
	last := e.events[customerWrite(e, func(status v1alpha1.ConnectedAccountStatus) bool { return status.Rotations == 9 })]
	last.Received = e.entries[len(e.entries)-1].Time
	editStatus(&last, func(status *v1alpha1.ConnectedAccountStatus) {
		status.Rotations, status.SealedCredential = 10, "something else"
	})
	e.events = append(e.events, last)
}

// slower is an account that a person has connected, with its last rotation cut off.
func slower(e *evidence) {
	last := provider.Entry{}
	for _, entry := range e.entries {
		if entry.Kind == provider.KindSpent && entry.ClientID == "demo-smartbusiness-consent" {
			last = entry
		}
	}
	deleteEntries(e, func(entry provider.Entry) bool {
		return entry.Request == last.Request && (entry.Kind == provider.KindSpent || entry.Kind == provider.KindIssued)
	})
}

// fork is a provider that gave a second successor for the refresh token of the rotation before.
func fork(e *evidence) {
	_, _, before := rotation(e, 2)
	_, _, issued := rotation(e, 3)
	e.entries[issued].ParentFingerprint = e.entries[before].ParentFingerprint
}

// unspent is a successor for a refresh token that was not used up.
func unspent(e *evidence) {
	_, spent, _ := rotation(e, 3)
	e.entries = slices.Delete(e.entries, spent, spent+1)
}

func unusedImport(e *evidence) {
	deleteEntries(e, func(entry provider.Entry) bool { return entry.Kind == provider.KindAPI && entry.Workload == customer })
}

// claimOf is the place of the write of the customer's claim with the given number.
func claimOf(e *evidence, sequence int64) int {
	return customerWrite(e, func(status v1alpha1.ConnectedAccountStatus) bool { return status.Claim.Sequence == sequence })
}

// secondSend is an operator whose transport repeats a request.
func secondSend(e *evidence) {
	asked, _, _ := rotation(e, 3)
	again := e.entries[asked]
	again.Outcome, again.Status = provider.Unavailable, 503
	insert(e, asked, again)
}

func withoutClaim(e *evidence) {
	at := claimOf(e, 3)
	e.events = slices.Delete(e.events, at, at+1)
}

// idleClaim is a claim that is left without anything being sent.
func idleClaim(e *evidence) {
	claim := e.events[claimOf(e, 8)]
	after := e.entries[len(e.entries)-1].Time
	claim.Received, claim.Written = after, after
	editStatus(&claim, func(status *v1alpha1.ConnectedAccountStatus) {
		status.Claim.Sequence, status.Claim.ID, status.Rotations = 9, "another", status.Rotations+1
	})
	e.events = append(e.events, claim)
}

func claimTwice(e *evidence) {
	at := claimOf(e, 3)
	again := e.events[at]
	again.Received = again.Received.Add(time.Microsecond)
	e.events = slices.Insert(e.events, at+1, again)
}

// lateClaim is an operator that sends first and writes down that it will afterwards.
func lateClaim(e *evidence) {
	asked, _, _ := rotation(e, 3)
	at := claimOf(e, 3)
	e.events[at].Received = e.entries[asked].ReceivedTime.Add(time.Microsecond)
}

// earlyClear is an operator that lets go of its claim before it has kept what came.
func earlyClear(e *evidence) {
	asked, _, _ := rotation(e, 3)
	clearing := e.events[claimOf(e, 3)]
	clearing.Received = e.entries[asked].Time.Add(time.Microsecond)
	editStatus(&clearing, func(status *v1alpha1.ConnectedAccountStatus) { status.Claim = v1alpha1.Claim{} })
	e.events = append(e.events, clearing)
}

// wrongClaim is a claim that was made from a copy of the account that was two results old.
func wrongClaim(e *evidence) {
	editStatus(&e.events[claimOf(e, 3)], func(status *v1alpha1.ConnectedAccountStatus) { *status.Claim.Rotation = 1 })
}

// markImport has the operator mark the customer's Secret so many times.
func markImport(times int) func(*evidence) {
	return func(e *evidence) {
		is := func(event cluster.AuditEvent) bool {
			return event.User == operatorUser && event.Resource == "secrets" && event.Name == "smartbills-import" && event.Verb == "update"
		}
		mark := e.events[slices.IndexFunc(e.events, is)]
		e.events = slices.DeleteFunc(e.events, is)
		for range times {
			e.events = append(e.events, mark)
		}
	}
}

func forgiving(e *evidence) {
	for i := range e.entries {
		if e.entries[i].Kind == provider.KindRegistered && e.entries[i].ClientID == "demo-smartbills-customers" {
			e.entries[i].Reuse = provider.GraceSeveral
		}
	}
}

func oneFormat(e *evidence) {
	for i := range e.entries {
		if e.entries[i].Kind == provider.KindTokenRequest {
			e.entries[i].Format = "form"
		}
	}
}

func importsAtOne(e *evidence) {
	for i := range e.entries {
		if strings.HasSuffix(e.entries[i].Workload, "-imported") {
			e.entries[i].Contract = provider.Smartbills
		}
	}
}

func importsForNobody(e *evidence) {
	for i := range e.entries {
		if e.entries[i].Workload == customer {
			e.entries[i].OnBehalfOf = ""
		}
	}
}

// withoutLead leaves out of the client what it asks for, so that the tokens would be good for longer.
func withoutLead(e *evidence) {
	for i := range e.events {
		if event := &e.events[i]; event.Resource == resourceClients && len(event.RequestObject) > 0 {
			event.RequestObject = []byte(strings.Replace(string(event.RequestObject), `"refreshBeforeSeconds":8`, `"refreshBeforeSeconds":1`, 1))
		}
	}
}
