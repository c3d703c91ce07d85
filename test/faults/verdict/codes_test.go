package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/faults/proxy"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// invite begins a story with an account that waits for a person.
func invite() *story {
	s := &story{status: map[string]*v1alpha1.ConnectedAccountStatus{"a": {}}}
	s.accounts = append(s.accounts, records.Account{Name: "a", UID: "uid-a", Provider: "strict", Time: at(0)})
	s.fault(0, records.Fault{Kind: records.PhaseBegins, Phase: "kills", Loss: records.LossByKill})
	for _, replica := range []string{"one", "pages"} {
		s.fault(0.1, records.Fault{Kind: records.ProcessStarts, Replica: replica, Process: replica})
	}
	s.write(0.5, func(status *v1alpha1.ConnectedAccountStatus) {
		status.AuthorizationURL = "a link"
		s.say(status, "False", v1alpha1.ReasonAuthorizationRequired)
	})
	return s
}

func (s *story) passage(kind, through string, from, answered, delivered float64) {
	s.passages = append(s.passages, proxy.Record{
		Proxy: through, Class: proxy.Class{Kind: kind, Account: "a", Claim: s.status["a"].Authorization.Exchange.ID}, Status: 200, End: proxy.EndDelivered,
		Received: at(from), Forwarded: at(from), Answered: at(answered), Delivered: at(delivered),
	})
}

// consent is a person's yes at the provider, of which the pages hear after a tenth of a second. They hand the code over, which
// takes until 0.2, and are told so at 0.3.
func (s *story) consent(seconds float64, code string) {
	s.lineage = "lineage of " + code
	s.entry(seconds, provider.Entry{Kind: provider.KindCodeIssued, CodeFingerprint: code, Lineage: s.lineage})
	s.patch(seconds+0.15, func(into *v1alpha1.Authorization) {
		into.HandOver = v1alpha1.HandOver{ID: "over " + code, StateHash: v1alpha1.StateHash("state of " + code)}
	})
	s.passage(kindHandOver, "pages", seconds+0.1, seconds+0.2, seconds+0.3)
}

// claimCode claims the code that waits.
func (s *story) claimCode(seconds float64) {
	s.write(seconds, func(status *v1alpha1.ConnectedAccountStatus) {
		status.ClaimSequence++
		over := status.Authorization.HandOver
		status.Authorization.Exchange = v1alpha1.CodeClaim{ID: "claim of " + over.ID, Sequence: status.ClaimSequence, HandOverID: over.ID, StateHash: over.StateHash}
	})
	s.passage(kindCodeClaim, "one", seconds, seconds+0.01, seconds+0.01)
}

// sendCode is decided after 100 ms and delivered after 200. Its token is empty if it is refused.
func (s *story) sendCode(seconds float64, code, token string) {
	s.requests++
	outcome := provider.Granted
	if token == "" {
		outcome = provider.Refused
	}
	s.entry(seconds+0.1, provider.Entry{
		Kind: provider.KindTokenRequest, Request: s.requests, ReceivedTime: at(seconds + 0.01), Grant: provider.GrantAuthorizationCode,
		CodeFingerprint: code, Outcome: outcome,
	})
	if token != "" {
		s.entry(seconds+0.1, provider.Entry{
			Kind: provider.KindIssued, Request: s.requests, RefreshFingerprint: token, CodeFingerprint: code, Lineage: "lineage of " + code,
		})
	}
	s.passages = append(s.passages, proxy.Record{
		Proxy: "provider", Class: proxy.Class{Kind: kindCodeToken, Account: "a", Fingerprint: code}, Status: 200, End: proxy.EndDelivered,
		Received: at(seconds), Forwarded: at(seconds + 0.005), Answered: at(seconds + 0.15), Delivered: at(seconds + 0.2),
	})
}

// endCode ends the exchange: with a credential, if there is a token.
func (s *story) endCode(seconds float64, result v1alpha1.AuthorizationResult, token string) {
	s.write(seconds, func(status *v1alpha1.ConnectedAccountStatus) {
		into := &status.Authorization
		state := into.HandOver.StateHash
		into.HandOver, into.Exchange = v1alpha1.HandOver{}, v1alpha1.CodeClaim{}
		into.LastOutcome = v1alpha1.AuthorizationOutcome{StateHash: state, Result: result}
		if token != "" {
			status.SealedCredential, status.AuthorizationURL = "sealed "+token, ""
			status.Rotations++
			s.say(status, "True", v1alpha1.ReasonAuthorized)
		}
	})
	if token != "" {
		s.passage(kindCodeKeep, "one", seconds, seconds+0.02, seconds+0.3)
	}
}

// connect is a whole consent within a second.
func (s *story) connect(seconds float64, code, token string) {
	s.consent(seconds, code)
	s.claimCode(seconds + 0.4)
	s.sendCode(seconds+0.5, code, token)
	s.endCode(seconds+0.8, v1alpha1.AuthorizationConnected, token)
}

// struck is a code that is claimed at 1.4 and delivered at 1.7, and whose process is killed some time after one second.
func struck(after float64, change func(*records.Fault)) *story {
	s := invite()
	s.consent(1, "c1")
	s.claimCode(1.4)
	s.sendCode(1.5, "c1", "r1")
	s.kill(1+after, change)
	return s
}

func (s *story) visit(seconds float64, code, heading string) {
	s.visits = append(s.visits, records.Visit{Time: at(seconds), Account: "a", Flow: "state of " + code, Status: 200, Heading: heading})
}

func journalOfCode(fault *records.Fault) { fault.Journal = []string{"uid-a.claim of over c1"} }

func TestWhatIsSaidOfCodes(t *testing.T) {
	t.Parallel()
	doubt := func(s *story, seconds float64) { s.endCode(seconds, v1alpha1.AuthorizationInDoubt, "") }
	for name, test := range map[string]struct {
		tell func() *story
		want []string
		line string
	}{
		"nothing goes wrong": {
			tell: func() *story {
				s := invite()
				s.connect(1, "c1", "r1")
				s.visit(2, "c1", headingConnected)
				s.rotate(6, 1, "r1", "r2")
				return s
			},
			line: "sent_twice=0 lost_outside_reply=0 earlier_lost=0 unsurfaced=0",
		},
		"a kill, and the journal is replayed": {
			tell: func() *story {
				s := struck(0.8, journalOfCode)
				s.endCode(2.5, v1alpha1.AuthorizationConnected, "r1")
				s.rotate(6, 1, "r1", "r2")
				return s
			},
			line: "kills=1 sent_twice=0 lost_outside_reply=0",
		},
		"a kill in the reply's way, told as a doubt": {
			tell: func() *story {
				s := struck(0.72, nil)
				doubt(s, 2.5)
				s.visit(3, "c1", headingDoubt)
				return s
			},
			line: "lost_outside_reply=0 earlier_lost=0 unsurfaced=0",
		},
		"a kill after the reply": {
			tell: func() *story { s := struck(0.8, nil); doubt(s, 2.5); return s },
			want: []string{"C2"}, line: "lost_outside_reply=1",
		},
		"a kill after the reply, after which the person consents again": {
			tell: func() *story {
				s := struck(0.8, nil)
				doubt(s, 2.5)
				s.connect(3, "c2", "r5")
				s.rotate(6, 1, "r5", "r6")
				return s
			},
			want: []string{"C2"}, line: "lost_outside_reply=1",
		},
		"the pod goes with the journal": {
			tell: func() *story {
				s := struck(0.8, func(fault *records.Fault) { journalOfCode(fault); replaced(fault) })
				doubt(s, 30)
				return s
			},
			line: "lost_outside_reply=0",
		},
		"a reply is lost by SIGTERM": {
			tell: func() *story {
				s := invite()
				s.fault(0.9, records.Fault{Kind: records.PhaseBegins, Phase: "sigterm", Loss: records.LossBySIGTERM})
				s.consent(1, "c1")
				s.claimCode(1.4)
				s.sendCode(1.5, "c1", "r1")
				doubt(s, 2.5)
				return s
			},
			want: []string{"C2"}, line: "lost_outside_reply=1",
		},
		"a code that is sent without a claim": {
			tell: func() *story {
				s := invite()
				s.consent(1, "c1")
				s.sendCode(1.5, "c1", "r1")
				s.endCode(1.8, v1alpha1.AuthorizationConnected, "r1")
				s.rotate(6, 1, "r1", "r2")
				return s
			},
			want: []string{"C1"}, line: "sent_twice=1",
		},
		"a code that is sent twice": {
			tell: func() *story {
				s := struck(0.8, nil)
				s.sendCode(2.5, "c1", "")
				s.endCode(3, v1alpha1.AuthorizationRejected, "")
				return s
			},
			want: []string{"C1", "C2"}, line: "sent_twice=1 lost_outside_reply=1",
		},
		"a code in doubt beside an earlier grant, which goes on": {
			tell: func() *story {
				s := invite()
				s.connect(0.6, "c0", "r0")
				s.consent(2, "c1")
				s.claimCode(2.4)
				doubt(s, 3)
				s.lineage = "lineage of c0"
				s.rotate(6, 1, "r0", "r2")
				return s
			},
			line: "earlier_lost=0 unsurfaced=0",
		},
		"an earlier grant that is dropped with the claim": {
			tell: func() *story {
				s := invite()
				s.connect(0.6, "c0", "r0")
				s.consent(2, "c1")
				s.status["a"].SealedCredential = ""
				s.claimCode(2.4)
				s.sendCode(2.5, "c1", "r1")
				s.endCode(2.8, v1alpha1.AuthorizationConnected, "r1")
				s.rotate(6, 1, "r1", "r2")
				return s
			},
			want: []string{"C4"}, line: "earlier_lost=1",
		},
		"an earlier grant that does not work any more": {
			tell: func() *story {
				s := invite()
				s.connect(0.6, "c0", "r0")
				s.consent(2, "c1")
				s.claimCode(2.4)
				doubt(s, 3)
				return s
			},
			want: []string{"C4"}, line: "earlier_lost=1",
		},
		"a grant that gives way to an old one": {
			tell: func() *story {
				s := invite()
				s.connect(1, "c1", "r1")
				s.write(3, func(status *v1alpha1.ConnectedAccountStatus) { status.SealedCredential = "sealed r0" })
				s.rotate(6, 1, "r1", "r2")
				return s
			},
			want: []string{"C4"}, line: "earlier_lost=1",
		},
		"nothing is said of a code": {
			tell: func() *story {
				s := invite()
				s.consent(1, "c1")
				s.write(3, func(status *v1alpha1.ConnectedAccountStatus) { status.Authorization = v1alpha1.Authorization{} })
				return s
			},
			want: []string{"C3"}, line: "unsurfaced=1",
		},
		"a code that stays open": {
			tell: func() *story { s := invite(); s.consent(1, "c1"); return s },
			want: []string{"C3", "C3"}, line: "unsurfaced=2",
		},
		"connected is said, and nothing is kept": {
			tell: func() *story {
				s := invite()
				s.consent(1, "c1")
				s.claimCode(1.4)
				s.endCode(1.8, v1alpha1.AuthorizationConnected, "")
				return s
			},
			want: []string{"C3"}, line: "unsurfaced=1",
		},
		"there is no link": {
			tell: func() *story {
				s := struck(0.72, nil)
				doubt(s, 2.5)
				s.status["a"].AuthorizationURL = ""
				return s
			},
			want: []string{"C3"}, line: "unsurfaced=1",
		},
		"there is no link beside a grant that works": {
			tell: func() *story {
				s := invite()
				s.link = true
				s.connect(1, "c1", "r1")
				s.rotate(6, 1, "r1", "r2")
				return s
			},
			want: []string{"C3"}, line: "unsurfaced=1",
		},
		"a page that is wrong": {
			tell: func() *story {
				s := struck(0.72, nil)
				doubt(s, 2.5)
				s.visit(3, "c1", headingConnected)
				return s
			},
			want: []string{"C3"}, line: "unsurfaced=1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := judge(test.tell().end(5), limits{codes: true})
			var named []string
			for _, each := range got.Violations {
				named = append(named, each.Invariant)
			}
			if diff := cmp.Diff(test.want, named); diff != "" || !strings.Contains(got.String(), test.line) {
				t.Errorf("the violations (-want +got):\n%s\n%s\nwant %s", diff, got, test.line)
			}
		})
	}
}

// TestWhatAKillMeetsOfACode kills at each moment.
func TestWhatAKillMeetsOfACode(t *testing.T) {
	t.Parallel()
	pages := func(fault *records.Fault) { fault.Replica = "pages" }
	for name, test := range map[string]struct {
		after  float64
		change func(*records.Fault)
		want   string
	}{
		"before the callback":                    {after: 0.05, change: pages},
		"after the callback":                     {after: 0.12, change: pages, want: stateCallback},
		"after the write, before its answer":     {after: 0.25, change: pages, want: stateHandedOver},
		"after its answer":                       {after: 0.35, change: pages},
		"the operator, while the claim is taken": {after: 0.405, want: stateHandedOver},
		"after the claim":                        {after: 0.45, want: stateClaimed},
		"after the send":                         {after: 0.55, want: stateSent},
		"after the commit":                       {after: 0.65, want: stateCommitted},
		"after the last byte":                    {after: 0.72, want: stateReplied},
		"after the journal":                      {after: 0.72, change: journalOfCode, want: stateJournalled},
		"after the keep, before its answer":      {after: 0.9, change: journalOfCode, want: stateKept},
		"after the keep's answer":                {after: 1.2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := invite()
			s.connect(1, "c1", "r1")
			s.rotate(6, 1, "r1", "r2")
			s.kill(1+test.after, test.change)
			want := map[string]int{}
			if test.want != "" {
				want[test.want] = 1
			}
			got := judge(s.end(5), limits{codes: true})
			if diff := cmp.Diff(want, got.States); diff != "" || !got.ok() {
				t.Errorf("the states (-want +got):\n%s\n%s", diff, got)
			}
		})
	}
}
