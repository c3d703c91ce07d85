package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

const (
	operatorNamespace = "oauth-operator-system"
	operatorUser      = "system:serviceaccount:" + operatorNamespace + ":oauth-operator"

	resourceAccounts = "connectedaccounts"
	resourceClients  = "oauthclients"
)

// evidence is what the two files say.
type evidence struct {
	entries []provider.Entry
	events  []cluster.AuditEvent
	// tokenInAudit: the audit log has something in it that begins like an access token or a refresh token.
	tokenInAudit bool
}

func readEvidence(ledger, audit string) (evidence, error) {
	entries, err := provider.ReadLedger(ledger)
	if err != nil {
		return evidence{}, err
	}
	events, err := cluster.ReadAudit(audit)
	if err != nil {
		return evidence{}, err
	}
	text, err := os.ReadFile(audit)
	leaked := bytes.Contains(text, []byte(provider.AccessTokenPrefix)) || bytes.Contains(text, []byte(provider.RefreshTokenPrefix))
	return evidence{entries: entries, events: events, tokenInAudit: leaked}, err
}

// account is a ConnectedAccount, as its user created it.
type account struct {
	name     string
	clientID string
	secret   string
	created  time.Time
	// source is the Secret with the refresh token that the account takes over, or nothing.
	source string
	// consented: a person consents in a browser.
	consented bool
	// refreshBefore is the lead that account or client ask for, or 0.
	refreshBefore time.Duration
	// claims are those that the operator wrote into its status, in order.
	claims []*claim
	// exchanges are the claims of codes, in order.
	exchanges []*claim
	// keeps are the credentials that the operator wrote into its status, in order.
	keeps []keep
	// calls are the token requests that brought them, in order.
	calls []call
}

// imported: the account takes over a refresh token.
func (a *account) imported() bool { return a.source != "" }

// rotates: the account has refresh tokens.
func (a *account) rotates() bool { return a.imported() || a.consented }

// claim is a record in the status that a refresh token is about to be spent: that of the result with the number rotation. It
// is there from opened until closed, and was written so many times.
type claim struct {
	id             string
	sequence       int64
	rotation       int64
	opened, closed time.Time
	written        int
	// keep is the result that was kept when it was closed, or 0.
	keep int64
}

// openAt reports whether the claim was in the status. The times of a write are those of its receipt: who made it comes to
// know of it later.
func (c *claim) openAt(at time.Time) bool {
	return !at.Before(c.opened) && (c.closed.IsZero() || at.Before(c.closed))
}

// keep is a write of the status that has a new credential in it.
type keep struct {
	rotation int64
	// taken: no token request brought it; it is the refresh token that was taken over.
	taken  bool
	sealed string
	// written is when the API server received it. last and next are its lastRefreshTime and nextRefreshTime.
	written, last, next time.Time
}

// call is a request that reached a token endpoint.
type call struct {
	number             uint64
	clientID           string
	received, answered time.Time
	granted            bool
	// token is the fingerprint of what was issued, which lives until expires.
	token   string
	scope   string
	expires time.Time
	// kept is the number of the result that it brought.
	kept int64
}

// lifetime is how long the token lives.
func (c call) lifetime() time.Duration { return c.expires.Sub(c.answered) }

// callsOf are the token requests in the ledger, with what they brought.
func callsOf(entries []provider.Entry) []call {
	var calls []call
	for _, entry := range entries {
		switch entry.Kind {
		case provider.KindTokenRequest:
			calls = append(calls, call{
				number: entry.Request, clientID: entry.ClientID, received: entry.ReceivedTime, answered: entry.Time,
				granted: entry.Outcome == provider.Granted,
			})
		case provider.KindIssued:
			if at := slices.IndexFunc(calls, func(c call) bool { return c.number == entry.Request }); at >= 0 {
				calls[at].token, calls[at].scope, calls[at].expires = entry.AccessFingerprint, entry.Scope, entry.ExpiresTime
				// The token's life begins here.
				calls[at].answered = entry.Time
			}
		default:
		}
	}
	return calls
}

// accountsOf are the accounts that were created, by the audit log, with what was kept for them.
func accountsOf(events []cluster.AuditEvent) ([]*account, error) {
	clients := map[string]v1alpha1.OAuthClientSpec{} // by name
	var accounts []*account
	// The log has requests in the order of their ends. Of two writes to one object the later one came in later, or it would
	// have been refused.
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b cluster.AuditEvent) int { return a.Received.Compare(b.Received) })
	for _, event := range events {
		if !succeeded(event) || !writes(event) || event.Group != v1alpha1.Group || len(event.RequestObject) == 0 {
			continue
		}
		switch {
		case event.Resource == resourceClients && event.Subresource == "" && event.Code == created:
			var client v1alpha1.OAuthClient
			if err := json.Unmarshal(event.RequestObject, &client); err != nil {
				return nil, fmt.Errorf("audit event %s: %w", event.ID, err)
			}
			clients[client.Name] = client.Spec
		case event.Resource == resourceAccounts:
			var body v1alpha1.ConnectedAccount
			if err := json.Unmarshal(event.RequestObject, &body); err != nil {
				return nil, fmt.Errorf("audit event %s: %w", event.ID, err)
			}
			accounts = take(accounts, event, body)
		default:
		}
	}
	for _, each := range accounts {
		client := clients[each.clientID]
		each.clientID = client.ClientID
		each.refreshBefore = cmp.Or(each.refreshBefore, time.Duration(client.RefreshBeforeSeconds)*time.Second)
	}
	return accounts, nil
}

// created is the HTTP status of a request that made an object.
const created = 201

// take adds an account, or what a status that was written says of one.
func take(accounts []*account, event cluster.AuditEvent, body v1alpha1.ConnectedAccount) []*account {
	if event.Subresource == "" && event.Code == created {
		consented := body.Spec.Grant.Type == v1alpha1.GrantAuthorizationCode && body.Spec.ImportRefreshTokenRef.Name == ""
		return append(accounts, &account{
			consented: consented,
			name:      body.Name, clientID: body.Spec.ClientRef.Name, secret: cmp.Or(body.Spec.Secret.Name, body.Name), created: event.Received,
			source: body.Spec.ImportRefreshTokenRef.Name, refreshBefore: time.Duration(body.Spec.RefreshBeforeSeconds) * time.Second,
		})
	}
	at := slices.IndexFunc(accounts, func(a *account) bool { return a.name == event.Name })
	// A patch is of the pages, and about nothing that is looked at here.
	if at < 0 || event.Subresource != "status" || event.Verb != "update" || event.User != operatorUser {
		return accounts
	}
	of, status := accounts[at], body.Status
	of.claim(status, event.Received)
	of.exchange(status, event.Received)
	if status.Rotations == of.rotation() {
		return accounts
	}
	kept := keep{rotation: status.Rotations, sealed: status.SealedCredential, written: event.Received}
	kept.taken = of.imported() && len(of.keeps) == 0 && status.LastRefreshTime == nil
	if status.LastRefreshTime != nil {
		kept.last = status.LastRefreshTime.Time
	}
	if status.NextRefreshTime != nil {
		kept.next = status.NextRefreshTime.Time
	}
	of.keeps = append(of.keeps, kept)
	return accounts
}

// claim takes up what a status that was written says of a claim.
func (a *account) claim(status v1alpha1.ConnectedAccountStatus, at time.Time) {
	var last *claim
	if len(a.claims) > 0 {
		last = a.claims[len(a.claims)-1]
	}
	if last != nil && last.closed.IsZero() && last.id != status.Claim.ID {
		last.closed = at
		if status.Rotations != a.rotation() {
			last.keep = status.Rotations
		}
	}
	switch {
	case status.Claim.ID == "":
	case last != nil && last.id == status.Claim.ID:
		last.written++
	default:
		opened := &claim{id: status.Claim.ID, sequence: status.Claim.Sequence, opened: at, written: 1}
		if status.Claim.Rotation != nil {
			opened.rotation = *status.Claim.Rotation
		}
		a.claims = append(a.claims, opened)
	}
}

// exchange takes up what a status that was written says of the claim of a code.
func (a *account) exchange(status v1alpha1.ConnectedAccountStatus, at time.Time) {
	written := status.Authorization.Exchange
	if count := len(a.exchanges); count > 0 {
		last := a.exchanges[count-1]
		if last.id == written.ID {
			return
		}
		if last.closed.IsZero() {
			last.closed, last.keep = at, status.Rotations
		}
	}
	if written.ID != "" {
		a.exchanges = append(a.exchanges, &claim{id: written.ID, sequence: written.Sequence, opened: at, written: 1})
	}
}

// rotation is that of the newest credential.
func (a *account) rotation() int64 {
	if len(a.keeps) == 0 {
		return 0
	}
	return a.keeps[len(a.keeps)-1].rotation
}

// succeeded: a request that was answered and carried out.
func succeeded(event cluster.AuditEvent) bool {
	return event.Stage == cluster.StageResponseComplete && event.Code >= 200 && event.Code < 300 && !event.DryRun
}

func writes(event cluster.AuditEvent) bool {
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, event.Verb)
}
