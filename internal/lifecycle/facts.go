// Package lifecycle decides. Facts and a time go in; a plan and a status come out.
//
// It is pure: it must never do I/O, look at a clock, draw a random number or remember anything. What an account's life
// looks like can therefore be read here, and tested, without a cluster or a provider.
package lifecycle

import (
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// Facts is everything that a decision about one account is made from. Whatever could not be read is a fact as well.
type Facts struct {
	// Account is the account as it was read. It is not changed.
	Account *v1alpha1.ConnectedAccount
	// Client is the client that the account names; nil: there is none.
	Client *v1alpha1.OAuthClient
	// NamespaceLabels are the labels of the account's namespace; needed only where the client is in another one.
	NamespaceLabels map[string]string
	// Credential is what the account's status holds.
	Credential Credential
	// Secret is the token Secret, compared with the credential.
	Secret SecretState
	// SecretFault is why the token Secret cannot be made as spec.secret says, with whatever token; nil: it can.
	SecretFault *Finding
	// KeyringMissing: the keyring Secret is not there, or is another one than this process began with.
	KeyringMissing bool
	// SecretRefused is when this process last found that the token Secret cannot be written; zero: it can, or nobody has tried.
	SecretRefused time.Time
	// HighestRotation is the highest rotation that is known to have been kept: from the token Secret's own witness, or from
	// what this process has seen; 0: none is known.
	HighestRotation int64
	// Import is the refresh token that the account is to import.
	Import Import
	// APIKey is the key that the account publishes, where that is its grant.
	APIKey APIKey
	// Reseal: what is held was sealed under an earlier key, and this account is the next one to be sealed anew.
	Reseal bool
	// ExchangeOpen: this process has a token request of the account under way, or holds a result of one that is not kept yet.
	ExchangeOpen bool
	// ResultUnread: a result of the account lies in the journal, and cannot be read as things are.
	ResultUnread bool
	// ClaimHolder says whose the claim in the status is; "" where there is none.
	ClaimHolder ClaimHolder
	// ClaimUnchanged is for how long this process has seen the claim as it is now.
	ClaimUnchanged time.Duration
	// TakeoverWait is for how long a contested claim is left to its holder.
	TakeoverWait time.Duration
	// SchemaTooOld: the installed CustomResourceDefinition was seen to drop a field of the status.
	SchemaTooOld bool
	// InputsHash stands for all that an attempt is made with; see v1alpha1.Failures.
	InputsHash string
	// LastAttempt is when this process last sent a token request for the account; zero: never.
	LastAttempt time.Time
	// Held is why token requests of the client are held back for all accounts of the namespace; zero: they are not.
	Held Held
	// NoSlot: as many token requests are under way as may be. The account is called when it is its turn.
	NoSlot bool
	// Consent is what is known of a person's part.
	Consent ConsentFacts
	// BeyondLimit: the namespace has more accounts than are worked on, and this one is not among the oldest.
	BeyondLimit bool
}

// Held says that requests like one of this account have failed too often, or that the server asks for time.
type Held struct {
	// Class is of the failures, Since when they are held back, and Until when one is let through to find out.
	Class        oauth.Class
	Since, Until time.Time
}

// CredentialState says what became of opening the sealed credential.
type CredentialState string

const (
	// CredentialNone means that nothing is sealed.
	CredentialNone CredentialState = "None"
	// CredentialHeld means that it was opened.
	CredentialHeld CredentialState = "Held"
	// CredentialElsewhere means that it was sealed for another account or another cluster.
	CredentialElsewhere CredentialState = "Elsewhere"
	// CredentialUnreadable means that its key is there, but it does not open.
	CredentialUnreadable CredentialState = "Unreadable"
	// CredentialNewerFormat means that a later version of the operator sealed it.
	CredentialNewerFormat CredentialState = "NewerFormat"
	// CredentialKeyMissing means that the key that sealed it is not in the keyring.
	CredentialKeyMissing CredentialState = "KeyMissing"
)

// Credential is what may be known of a sealed credential without knowing its secrets.
type Credential struct {
	State CredentialState
	// HasAccessToken and HasRefreshToken say which tokens there are.
	HasAccessToken, HasRefreshToken bool
	// Fingerprint stands for the refresh token.
	Fingerprint string
	// GrantSequence counts consents and imports. Rotation grows by one with each credential that is kept. ClaimSequence is
	// of the claim under which it was obtained; 0: it needed none.
	GrantSequence, Rotation, ClaimSequence int64
	// Imports are fingerprints of the refresh tokens that were imported.
	Imports []string
	// IssuedTime is when the answer came.
	IssuedTime time.Time
	// ExpirationTime is zero where no expiry is known.
	ExpirationTime time.Time
	// Scopes were granted, RequestedScopes asked for.
	Scopes, RequestedScopes []string
	// Parameters are those of the provider's own that the token was asked for with, as RequestParameters has them.
	Parameters string
	// ClientID and Origins are what the token was obtained with; Origins are scheme://host:port.
	ClientID string
	Origins  []string
	// Identity is whose access it is, as the provider names it; "": not known.
	Identity string
	// GrantTime is when the person's code was exchanged; zero: it did not come of one, or that is not known.
	GrantTime time.Time
	// GrantedScopes are what the person granted; nil: not known.
	GrantedScopes []string
	// Approved: somebody has approved of whose access it is.
	Approved bool
	// ClientNamespace is where the client was that the token was obtained with. Empty: not known, and taken for the
	// namespace that the account names.
	ClientNamespace string
}

// expired reports whether the credential's access token cannot be relied on any more. One that was issued in the future
// is as old as nobody knows, and must not look good until that future has come.
func (c Credential) expired(now time.Time) bool {
	return !c.ExpirationTime.IsZero() && (!now.Before(c.ExpirationTime) || c.fromFuture(now))
}

// fromFuture: the clock went back since the credential was issued, by more than clocks differ.
func (c Credential) fromFuture(now time.Time) bool {
	return c.IssuedTime.After(now.Add(clockTolerance))
}

// SecretState says how the token Secret compares with the kept credential.
type SecretState string

const (
	// SecretAbsent means that there is no Secret of the name.
	SecretAbsent SecretState = "Absent"
	// SecretCurrent means that it is ours and holds exactly what it should.
	SecretCurrent SecretState = "Current"
	// SecretStale means that it is ours and holds something else.
	SecretStale SecretState = "Stale"
	// SecretForeign means that it is not this account's.
	SecretForeign SecretState = "Foreign"
)

// Done is what came of a plan.
type Done struct {
	// Failure is why a token request failed or was not sent; nil: it worked, or was not tried.
	Failure *Failure
	// Published: the Secret was seen to be, or was made, equal to the credential.
	Published bool
	// PublishFinding is why it was not.
	PublishFinding *Finding
}

// Failure is a token request that brought nothing.
type Failure struct {
	// Class decides when the next one is made.
	Class oauth.Class
	// Message is in our words, without secrets, times or counts.
	Message string
	// RetryAfter is how long the server asked to wait, for Throttled.
	RetryAfter time.Duration
}

// Finding is a fault that was found: the condition that it makes False, and what to do.
type Finding struct {
	Condition string
	Reason    string
	Message   string
}
