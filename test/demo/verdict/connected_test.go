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

// visitor is the account, connected by a person, that the tests do something to.
const visitor = "smartbills-connected"

func TestWhatIsWrongWithAConsentIsFound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*evidence)
		limits func(*limits)
		want   string
		// connected and reused are what the last line counts.
		connected, reused int
	}{
		"fewer than were asked for":             {limits: func(l *limits) { l.connected = 3 }, want: "2 accounts that a person connected are less than 3", connected: 2},
		"a code was sent twice":                 {change: codeSentTwice, want: "a person has brought 1 codes, and 2 token requests were made with them under 1 claims", connected: 1},
		"a code was used again":                 {change: codeReused, want: "used a code that was spent before", connected: 2, reused: 1},
		"a code was sent without a claim":       {change: codeWithoutClaim, want: "1 token requests were made with them under 0 claims", connected: 1},
		"a claim was made after the code":       {change: codeClaimedLate, want: "and its claim was not open", connected: 1},
		"a claim was cleared before the keep":   {change: codeClearedEarly, want: "the claim of the code for the account smartbills-connected did not end with a result being kept", connected: 1},
		"a consent without a code":              {change: consentFromNowhere, want: "a person has brought 0 codes", connected: 1},
		"an import that came by a code":         {change: importByCode, want: "smartbills-imported, which imports a consent, has one that came by a code", connected: 2},
		"one provider":                          {change: connectedAtOne, want: "not both providers were called with success by accounts that a person has connected", connected: 2},
		"nobody acted for a connected account":  {change: connectedForNobody, want: "in the name of a connected account had success by accounts that a person has connected", connected: 2},
		"the keys of the pages were made again": {change: operatorDid("update", "", "secrets", operatorNamespace, consentName, 200), want: "wrote what is not its own", connected: 2},
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
			if got.connected != test.connected || got.reused != test.reused {
				t.Errorf("the verdict is\n%s\nwant connected=%d reused=%d", got, test.connected, test.reused)
			}
		})
	}
}

// codeRequest is the place of the token request with the visitor's code.
func codeRequest(e *evidence) int {
	used := slices.IndexFunc(e.entries, func(entry provider.Entry) bool { return entry.Workload == visitor && entry.Lineage != "" })
	return slices.IndexFunc(e.entries, func(entry provider.Entry) bool {
		return entry.Kind == provider.KindTokenRequest && entry.Grant == provider.GrantAuthorizationCode && entry.Lineage == e.entries[used].Lineage
	})
}

// codeClaim is the place of the write of the status that claims the visitor's code.
func codeClaim(e *evidence) int {
	return slices.IndexFunc(e.events, func(event cluster.AuditEvent) bool {
		return isStatus(event, visitor) && event.User == operatorUser && statusIn(event).Authorization.Exchange.ID != ""
	})
}

func codeSentTwice(e *evidence) {
	at := codeRequest(e)
	insert(e, at+1, e.entries[at])
}

func codeReused(e *evidence) {
	at := codeRequest(e)
	again := e.entries[at]
	again.Kind, again.Outcome, again.Reason = provider.KindReused, provider.Refused, "code"
	insert(e, at+1, again)
}

func codeWithoutClaim(e *evidence) {
	at := codeClaim(e)
	e.events = slices.Delete(e.events, at, at+1)
}

func codeClaimedLate(e *evidence) {
	e.events[codeClaim(e)].Received = e.entries[codeRequest(e)].ReceivedTime.Add(time.Microsecond)
}

// codeClearedEarly is an operator that lets go of its claim before it has kept what came.
func codeClearedEarly(e *evidence) {
	clearing := e.events[codeClaim(e)]
	clearing.Received = e.entries[codeRequest(e)].Time.Add(time.Microsecond)
	editStatus(&clearing, func(status *v1alpha1.ConnectedAccountStatus) { status.Authorization.Exchange = v1alpha1.CodeClaim{} })
	e.events = append(e.events, clearing)
}

func consentFromNowhere(e *evidence) {
	lineage := e.entries[codeRequest(e)].Lineage
	deleteEntries(e, func(entry provider.Entry) bool {
		return entry.Kind == provider.KindCodeIssued && entry.Lineage == lineage
	})
}

func importByCode(e *evidence) {
	at := slices.IndexFunc(e.entries, func(entry provider.Entry) bool { return entry.Kind == provider.KindCodeIssued })
	brought := e.entries[at]
	brought.Lineage = consent(e)
	e.entries = append(e.entries, brought)
}

func connectedAtOne(e *evidence) {
	for i := range e.entries {
		if strings.HasSuffix(e.entries[i].Workload, "-connected") {
			e.entries[i].Contract = provider.Smartbills
		}
	}
}

func connectedForNobody(e *evidence) {
	for i := range e.entries {
		if e.entries[i].Workload == visitor {
			e.entries[i].OnBehalfOf = ""
		}
	}
}
