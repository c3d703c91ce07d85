package main

import (
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/faults/proxy"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// story makes up evidence, moment by moment. Times are seconds since its beginning.
type story struct {
	evidence
	requests uint64
	// lineage is what the provider calls the newest consent; link: the account wants one at all times.
	lineage string
	link    bool
	status  map[string]*v1alpha1.ConnectedAccountStatus
}

func beginning() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func at(seconds float64) time.Time {
	return beginning().Add(time.Duration(seconds * float64(time.Second)))
}

// tell begins a story with one account of the kind, which has imported the refresh token r0, and a process of the operator.
func tell(kind string) *story {
	s := &story{status: map[string]*v1alpha1.ConnectedAccountStatus{}}
	account := records.Account{Name: "a", UID: "uid-a", Provider: kind, Imported: "r0", Time: at(0)}
	switch kind {
	case "grace":
		account.GraceSeconds = 10
	case "revokes":
		account.Revokes = true
	case "reusable":
		account.Reusable = true
	}
	s.accounts = append(s.accounts, account)
	s.status["a"] = &v1alpha1.ConnectedAccountStatus{}
	s.fault(0, records.Fault{Kind: records.PhaseBegins, Phase: "kills", Loss: records.LossByKill})
	s.fault(0.1, records.Fault{Kind: records.ProcessStarts, Replica: "one", Process: "operator"})
	s.entry(0, provider.Entry{Kind: provider.KindIssued, RefreshFingerprint: "r0"})
	s.write(0.5, func(status *v1alpha1.ConnectedAccountStatus) {
		status.SealedCredential = "sealed r0"
		s.say(status, "True", v1alpha1.ReasonAuthorized)
	})
	return s
}

func (s *story) fault(seconds float64, fault records.Fault) {
	fault.Time = at(seconds)
	s.faults = append(s.faults, fault)
}

func (s *story) kill(seconds float64, change func(*records.Fault)) {
	fault := records.Fault{Kind: records.ProcessKilled, Replica: "one", Process: "operator"}
	if change != nil {
		change(&fault)
	}
	s.fault(seconds, fault)
	s.fault(seconds+0.5, records.Fault{Kind: records.ProcessStarts, Replica: "one", Process: "operator"})
}

func (s *story) entry(seconds float64, entry provider.Entry) {
	entry.Seq, entry.Time, entry.User = uint64(len(s.entries)+1), at(seconds), "a"
	s.entries = append(s.entries, entry)
}

// write is a status that takes 10 ms.
func (s *story) write(seconds float64, change func(*v1alpha1.ConnectedAccountStatus)) {
	status := s.status["a"]
	change(status)
	s.request(seconds, operatorUser, "update", map[string]any{"metadata": map[string]any{"name": "a"}, "status": status})
}

// patch is write, of the pages: they send what they change and nothing else.
func (s *story) patch(seconds float64, change func(*v1alpha1.Authorization)) {
	authorization := v1alpha1.Authorization{}
	change(&authorization)
	change(&s.status["a"].Authorization)
	s.request(seconds, pagesUser, "patch", map[string]any{"status": map[string]any{"authorization": authorization}})
}

func (s *story) request(seconds float64, user, verb string, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	s.events = append(s.events, cluster.AuditEvent{
		ID: fmt.Sprint(len(s.events)), User: user, Verb: verb, Group: v1alpha1.Group, Resource: "connectedaccounts", Subresource: "status",
		Name: "a", Code: 200, Stage: cluster.StageResponseComplete, Received: at(seconds), Written: at(seconds + 0.01), RequestObject: text,
	})
}

func (s *story) say(status *v1alpha1.ConnectedAccountStatus, authorized metav1.ConditionStatus, reason string) {
	status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAuthorized, Status: authorized, Reason: reason}}
}

// claim is the next claim.
func (s *story) claim(seconds float64, attempt int32) {
	s.write(seconds, func(status *v1alpha1.ConnectedAccountStatus) {
		status.ClaimSequence++
		status.Claim = v1alpha1.Claim{ID: fmt.Sprint("claim-", status.ClaimSequence), Sequence: status.ClaimSequence, Attempt: attempt}
	})
	s.passages = append(s.passages, proxy.Record{
		Proxy: "one", Class: proxy.Class{Kind: kindClaim, Account: "a", Claim: s.status["a"].Claim.ID},
		Received: at(seconds), Forwarded: at(seconds), Answered: at(seconds + 0.01), Delivered: at(seconds + 0.01), Status: 200, End: proxy.EndDelivered,
	})
}

// send is a token request that is decided after 100 ms and delivered after 200. Its successor is empty if it is refused.
func (s *story) send(seconds float64, token, successor string) *proxy.Record {
	s.requests++
	entry := provider.Entry{
		Kind: provider.KindTokenRequest, Request: s.requests, ReceivedTime: at(seconds + 0.01), Grant: provider.GrantRefreshToken,
		RefreshFingerprint: token, Outcome: provider.Granted,
	}
	if successor == "" {
		entry.Outcome = provider.Refused
	}
	s.entry(seconds+0.1, entry)
	if successor != "" {
		s.entry(seconds+0.1, provider.Entry{Kind: provider.KindSpent, Request: s.requests, RefreshFingerprint: token})
		s.entry(seconds+0.1, provider.Entry{
			Kind: provider.KindIssued, Request: s.requests, RefreshFingerprint: successor, AccessFingerprint: "access of " + successor, Lineage: s.lineage,
		})
	}
	s.passages = append(s.passages, proxy.Record{
		Proxy: "provider", Class: proxy.Class{Kind: kindToken, Account: "a", Fingerprint: token}, Status: 200, End: proxy.EndDelivered,
		Received: at(seconds), Forwarded: at(seconds + 0.005), Answered: at(seconds + 0.15), Delivered: at(seconds + 0.2),
	})
	return &s.passages[len(s.passages)-1]
}

func (s *story) keep(seconds float64, token string) {
	s.write(seconds, func(status *v1alpha1.ConnectedAccountStatus) {
		status.Claim, status.SealedCredential = v1alpha1.Claim{}, "sealed "+token
		status.Rotations++
		s.say(status, "True", v1alpha1.ReasonAuthorized)
	})
	s.passages = append(s.passages, proxy.Record{
		Proxy: "one", Class: proxy.Class{Kind: kindKeep, Account: "a"}, Status: 200, End: proxy.EndDelivered,
		Received: at(seconds), Forwarded: at(seconds), Answered: at(seconds + 0.02), Delivered: at(seconds + 0.3),
	})
}

// rotate is a whole rotation within a second.
func (s *story) rotate(seconds float64, attempt int32, token, successor string) {
	s.claim(seconds, attempt)
	s.send(seconds+0.1, token, successor)
	s.keep(seconds+0.5, successor)
}

// lost ends a story in the loss of the token that was sent last.
func (s *story) lost(seconds float64, token, reason string) {
	s.claim(seconds, 2)
	s.send(seconds+0.1, token, "")
	s.write(seconds+0.5, func(status *v1alpha1.ConnectedAccountStatus) {
		status.Claim = v1alpha1.Claim{}
		s.say(status, "False", reason)
	})
}

// end is the calm at a moment, and the objects at the end.
func (s *story) end(calm float64) evidence {
	s.fault(calm, records.Fault{Kind: records.Calm, Account: "a"})
	status := s.status["a"]
	final := records.Final{Name: "a", UID: "uid-a", Rotations: status.Rotations, Claim: status.Claim.ID}
	final.Linked, final.AlwaysLinked = status.AuthorizationURL != "", s.link
	final.CodeOpen = status.Authorization.HandOver.ID != "" || status.Authorization.Exchange.ID != ""
	if len(status.Conditions) > 0 {
		final.Authorized, final.Reason = string(status.Conditions[0].Status), status.Conditions[0].Reason
	}
	s.finals = []records.Final{final}
	return s.evidence
}
