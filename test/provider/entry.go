package provider

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Kind says what a ledger entry tells of.
type Kind string

const (
	// KindRegistered opens the ledger, one for each registration, and comes again when a client secret changes.
	KindRegistered Kind = "registered"
	// KindTokenRequest is one request that reached a token endpoint, whatever became of it.
	KindTokenRequest Kind = "token_request"
	// KindReplied follows a token request when its reply was written, cut, dropped or could not be written.
	KindReplied Kind = "replied"
	// KindIssued is an access token, with its refresh token where there is one.
	KindIssued Kind = "issued"
	// KindSpent is the first use of a single-use refresh token.
	KindSpent Kind = "spent"
	// KindReused is a later use of a spent refresh token, or of a spent code.
	KindReused Kind = "reused"
	// KindRevoked is the end of a lineage, of all tokens of a client, or of one token, ahead of time.
	KindRevoked Kind = "revoked"
	// KindCodeIssued is an authorization code, and the beginning of a lineage.
	KindCodeIssued Kind = "code_issued"
	// KindCodeSpent is the first use of a code.
	KindCodeSpent Kind = "code_spent"
	// KindAPI is one call of the resource API.
	KindAPI Kind = "api"
	// KindOutage is the beginning or the end of an outage.
	KindOutage Kind = "outage"
)

// Outcome says how something ended.
type Outcome string

const (
	// Granted is a token request, a reuse within the grace, a code or an API call that succeeded.
	Granted Outcome = "granted"
	// Refused is the opposite; Entry.Error and Entry.Reason say why.
	Refused Outcome = "refused"
	// Scripted is a token request that changed nothing, because the script answered it or closed its connection.
	Scripted Outcome = "scripted"
	// Hung is a token request that changed nothing and never gets a reply.
	Hung Outcome = "hung"
	// Abandoned is a token request that was still held when the server was closed. It changed nothing.
	Abandoned Outcome = "abandoned"
	// Unavailable is a token request or an API call that met an outage.
	Unavailable Outcome = "unavailable"
	// Written is a reply that was handed to the network whole.
	Written Outcome = "written"
	// Cut is a reply of which a part was sent.
	Cut Outcome = "cut"
	// Dropped is a connection closed, on purpose, before any byte of the reply.
	Dropped Outcome = "dropped"
	// Failed is a reply that the network did not take; the client had gone.
	Failed Outcome = "failed"
)

// Entry is one line of the ledger. README.md tells which fields each kind has; the others are absent.
type Entry struct {
	// Seq starts at 1 and grows by 1, across restarts on the same file too.
	Seq uint64 `json:"seq"`
	// Time is UTC, RFC 3339 with nanoseconds, by the server's clock.
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`

	Contract Contract `json:"contract,omitempty"`
	// ClientID is given for registered clients only: what a stranger sends is not copied.
	ClientID string `json:"client_id,omitempty"`
	User     string `json:"user,omitempty"`
	// Lineage names all tokens that descend from one consent. Client credentials have none.
	Lineage string `json:"lineage,omitempty"`

	// Request numbers token requests in the order of their arrival. It ties the effects to the request.
	Request uint64 `json:"request,omitempty"`
	// ReceivedTime is when the token request had been read; Time is when it was decided.
	ReceivedTime time.Time `json:"received_time,omitzero"`
	Grant        string    `json:"grant,omitempty"`
	// Format is the body's: json, form or other.
	Format  string  `json:"format,omitempty"`
	Outcome Outcome `json:"outcome,omitempty"`
	// Status is the HTTP status. With Script it may differ from what is sent; the replied entry has the last word.
	Status int `json:"status,omitempty"`
	// Error is the OAuth error code.
	Error string `json:"error,omitempty"`
	// Reason is a fixed word that is finer than Error.
	Reason string `json:"reason,omitempty"`
	// Script is the action and timing of the step that was played on the request.
	Script string `json:"script,omitempty"`
	// Bytes is the number of bytes of the reply's body that were sent.
	Bytes int `json:"bytes,omitempty"`

	// Fingerprints are the first 16 hex digits of the SHA-256 of the token or code.
	AccessFingerprint  string `json:"access_fingerprint,omitempty"`
	RefreshFingerprint string `json:"refresh_fingerprint,omitempty"`
	// ParentFingerprint is that of the refresh token in exchange for which the tokens were issued.
	ParentFingerprint string    `json:"parent_fingerprint,omitempty"`
	CodeFingerprint   string    `json:"code_fingerprint,omitempty"`
	Scope             string    `json:"scope,omitempty"`
	ExpiresTime       time.Time `json:"expires_time,omitzero"`

	LifetimeSeconds int64     `json:"lifetime_seconds,omitempty"`
	Accounts        []string  `json:"accounts,omitempty"`
	Reuse           ReuseKind `json:"reuse,omitempty"`
	GraceSeconds    float64   `json:"grace_seconds,omitempty"`

	Path       string `json:"path,omitempty"`
	OnBehalfOf string `json:"on_behalf_of,omitempty"`
	// Workload is the request's Test-Workload header, Expect its Test-Expect header: the name of the caller, and
	// why it expects to be rejected.
	Workload string `json:"workload,omitempty"`
	Expect   string `json:"expect,omitempty"`
}

// Fingerprint is how the ledger names a token or a code: the first 16 hex digits of its SHA-256.
func Fingerprint(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:8])
}
