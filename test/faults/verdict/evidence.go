package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/faults/proxy"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

const (
	operatorUser = "system:serviceaccount:oauth-operator-system:oauth-operator"
	pagesUser    = "system:serviceaccount:oauth-operator-system:oauth-operator-consent"

	// The classes of the proxies' records that are looked at.
	kindToken = "token"
	kindClaim = "claim"
	kindKeep  = "keep"
	// kindElsewhere is a token request at a host that must not have it.
	kindElsewhere = "elsewhere"
	// Those of codes.
	kindHandOver  = "hand-over"
	kindCodeClaim = "code-claim"
	kindCodeToken = "code-token"
	kindCodeKeep  = "code-keep"
)

// evidence is what the files say.
type evidence struct {
	accounts []records.Account
	faults   []records.Fault
	passages []proxy.Record
	finals   []records.Final
	visits   []records.Visit
	entries  []provider.Entry
	events   []cluster.AuditEvent
}

func readEvidence(folder string) (e evidence, err error) {
	if e.accounts, err = records.Read[records.Account](folder, records.AccountsFile); err != nil {
		return e, err
	}
	if e.faults, err = records.Read[records.Fault](folder, records.FaultsFile); err != nil {
		return e, err
	}
	if e.passages, err = records.Read[proxy.Record](folder, records.ProxyFile); err != nil {
		return e, err
	}
	if e.finals, err = records.Read[records.Final](folder, records.FinalFile); err != nil {
		return e, err
	}
	if e.visits, err = records.Read[records.Visit](folder, records.PeopleFile); err != nil {
		return e, err
	}
	for _, needed := range []string{records.LedgerFile, records.AuditFile} {
		if _, err := os.Stat(filepath.Join(folder, needed)); err != nil {
			return e, err
		}
	}
	if e.entries, err = provider.ReadLedger(filepath.Join(folder, records.LedgerFile)); err != nil {
		return e, err
	}
	e.events, err = cluster.ReadAudit(filepath.Join(folder, records.AuditFile))
	return e, err
}

// write is a status that the operator or its pages wrote, and the API server took.
type write struct {
	received, written time.Time
	claim             v1alpha1.Claim
	sealed            string
	rotations         int64
	claimSequence     int64
	authorized        string
	reason            string
	// handOver and exchange are the code that waits, and its claim; outcome is what came of the last one.
	handOver v1alpha1.HandOver
	exchange v1alpha1.CodeClaim
	outcome  v1alpha1.AuthorizationOutcome
}

// send is a refresh token, or a code, that was sent, as the provider saw it or a proxy on the way there.
type send struct {
	// time is when it left the operator, decided when the provider decided, delivered when the answer's last byte was handed
	// to the operator. A time that is zero did not come.
	time, decided, delivered time.Time
	fingerprint              string
	granted, refused         bool
	// matched: ledger and proxy both have it.
	matched bool
}

// history is all that is known of one account.
type history struct {
	records.Account
	final  records.Final
	writes []write
	claims []*claim
	sends  []send
	// keeps are the proxies' records of writes that brought a new credential, claimed those of claims.
	keeps, claimed []proxy.Record
	// codeClaims and codeSends are of codes, codeKeeps and handOvers the proxies' records of those; codes are what the provider
	// gave, in order, and visits the people's ways.
	codeClaims           []*claim
	codeSends            []send
	codeKeeps, handOvers []proxy.Record
	codes                []code
	visits               []records.Visit
	// tokens are the fingerprints of its refresh tokens.
	tokens map[string]*token
}

// token is what the ledger says of a refresh token.
type token struct {
	issued, spent, ended time.Time
	lineage              string
}

// liveAt: it could have been spent for the first time.
func (t *token) liveAt(at time.Time) bool {
	return t != nil && !t.issued.After(at) && (t.spent.IsZero() || t.spent.After(at)) && (t.ended.IsZero() || t.ended.After(at))
}

// histories puts together what belongs to each account.
func (e evidence) histories() ([]*history, error) {
	known := map[string]*history{}
	var all []*history
	for _, account := range e.accounts {
		each := &history{Account: account, tokens: map[string]*token{}}
		known[account.Name] = each
		all = append(all, each)
	}
	for _, final := range e.finals {
		if of := known[final.Name]; of != nil {
			of.final = final
		}
	}
	for _, visit := range e.visits {
		if of := known[visit.Account]; of != nil {
			of.visits = append(of.visits, visit)
		}
	}
	if err := e.readWrites(known); err != nil {
		return nil, err
	}
	e.readLedger(known)
	for _, passage := range e.passages {
		if of := known[passage.Account]; of != nil {
			of.take(passage)
		}
	}
	for _, of := range all {
		slices.SortStableFunc(of.sends, func(a, b send) int { return a.time.Compare(b.time) })
		slices.SortStableFunc(of.codeSends, func(a, b send) int { return a.time.Compare(b.time) })
		of.claims, of.codeClaims = claimsOf(of.writes), codeClaimsOf(of.writes)
		for _, each := range slices.Concat(of.claims, of.codeClaims) {
			each.replica = of.replicaOf(each.id)
		}
	}
	return all, nil
}

func isStatusWrite(event cluster.AuditEvent) bool {
	return (event.User == operatorUser || event.User == pagesUser) && event.Group == v1alpha1.Group && event.Resource == "connectedaccounts" &&
		event.Subresource == "status" && event.Stage == cluster.StageResponseComplete && event.Code == http.StatusOK &&
		!event.DryRun && len(event.RequestObject) > 0
}

// readWrites takes up what the API server took, in order: each write but the first carries the version that the one before it
// made, so it came in after that one. The operator writes the whole status; the pages patch the one before.
func (e evidence) readWrites(known map[string]*history) error {
	events := slices.SortedStableFunc(slices.Values(e.events), func(a, b cluster.AuditEvent) int { return a.Received.Compare(b.Received) })
	whole := map[string]json.RawMessage{}
	for _, event := range events {
		of := known[event.Name]
		if of == nil || !isStatusWrite(event) {
			continue
		}
		body := event.RequestObject
		if before := whole[event.Name]; event.Verb == "patch" && before != nil {
			var err error
			if body, err = jsonpatch.MergePatch(before, body); err != nil {
				return fmt.Errorf("audit event %s: %w", event.ID, err)
			}
		}
		whole[event.Name] = body
		taken, err := writeOf(event, body)
		if err != nil {
			return fmt.Errorf("audit event %s: %w", event.ID, err)
		}
		of.writes = append(of.writes, taken)
	}
	return nil
}

// writeOf is a write, and the account as it leaves it.
func writeOf(event cluster.AuditEvent, account []byte) (write, error) {
	var body v1alpha1.ConnectedAccount
	if err := json.Unmarshal(account, &body); err != nil {
		return write{}, err
	}
	status := body.Status
	taken := write{
		received: event.Received, written: event.Written, claim: status.Claim, sealed: status.SealedCredential,
		rotations: status.Rotations, claimSequence: status.ClaimSequence,
		handOver: status.Authorization.HandOver, exchange: status.Authorization.Exchange, outcome: status.Authorization.LastOutcome,
	}
	for _, condition := range status.Conditions {
		if condition.Type == v1alpha1.ConditionAuthorized {
			taken.authorized, taken.reason = string(condition.Status), condition.Reason
		}
	}
	return taken, nil
}

// readLedger takes up the refresh tokens and the requests that presented them. An account's name is its user's.
func (e evidence) readLedger(known map[string]*history) {
	for _, entry := range e.entries {
		of := known[entry.User]
		if of == nil {
			continue
		}
		switch entry.Kind {
		case provider.KindTokenRequest:
			sent := send{
				time: entry.ReceivedTime, decided: entry.Time, fingerprint: entry.RefreshFingerprint,
				granted: entry.Outcome == provider.Granted, refused: entry.Outcome == provider.Refused,
			}
			switch entry.Grant {
			case provider.GrantRefreshToken:
				of.sends = append(of.sends, sent)
			case provider.GrantAuthorizationCode:
				sent.fingerprint = entry.CodeFingerprint
				of.codeSends = append(of.codeSends, sent)
			default:
			}
		case provider.KindCodeIssued:
			of.codes = append(of.codes, code{fingerprint: entry.CodeFingerprint, lineage: entry.Lineage, issued: entry.Time})
		case provider.KindIssued:
			each := of.token(entry.RefreshFingerprint)
			each.lineage = entry.Lineage
			if each.issued.IsZero() {
				each.issued = entry.Time
			}
		case provider.KindSpent:
			of.token(entry.RefreshFingerprint).spent = entry.Time
		case provider.KindRevoked:
			of.revoke(entry)
		default:
		}
	}
}

// token is never nil. That of no fingerprint, where an answer has no refresh token, is nobody's.
func (h *history) token(fingerprint string) *token {
	if fingerprint == "" {
		return &token{}
	}
	if h.tokens[fingerprint] == nil {
		h.tokens[fingerprint] = &token{}
	}
	return h.tokens[fingerprint]
}

// revoke ends one refresh token, or all that there are.
func (h *history) revoke(entry provider.Entry) {
	for fingerprint, of := range h.tokens {
		whole := entry.RefreshFingerprint == "" && entry.AccessFingerprint == "" && (entry.Lineage == "" || of.lineage == entry.Lineage)
		if of.ended.IsZero() && (whole || fingerprint == entry.RefreshFingerprint) {
			of.ended = entry.Time
		}
	}
}

func (h *history) take(passage proxy.Record) {
	switch passage.Kind {
	case kindToken:
		h.sends = match(h.sends, passage)
	case kindCodeToken:
		h.codeSends = match(h.codeSends, passage)
	case kindCodeKeep:
		h.codeKeeps = append(h.codeKeeps, passage)
	case kindHandOver:
		h.handOvers = append(h.handOvers, passage)
	case kindKeep:
		h.keeps = append(h.keeps, passage)
	case kindClaim, kindCodeClaim:
		h.claimed = append(h.claimed, passage)
	default:
	}
}

// replicaOf is the proxy that a claim was written through.
func (h *history) replicaOf(claim string) string {
	for _, passage := range h.claimed {
		if passage.Claim == claim {
			return passage.Proxy
		}
	}
	return ""
}

// match joins a proxy's record of a token request to the ledger's. One that never came to the provider is a send as well.
func match(sends []send, passage proxy.Record) []send {
	for i := range sends {
		of := &sends[i]
		if of.matched || of.fingerprint != passage.Fingerprint || passage.Forwarded.IsZero() || of.time.Before(passage.Forwarded) ||
			!passage.Answered.IsZero() && of.decided.After(passage.Answered) {
			continue
		}
		of.matched, of.time, of.delivered = true, passage.Received, passage.Delivered
		return sends
	}
	return append(sends, send{matched: true, time: passage.Received, fingerprint: passage.Fingerprint})
}
