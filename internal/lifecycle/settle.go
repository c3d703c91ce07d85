package lifecycle

import (
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// RefreshTokenLost is the class of a refusal that may be our own doing: an earlier request with the same refresh token
// has an outcome that nobody knows.
const RefreshTokenLost oauth.Class = "RefreshTokenLost"

// Version orders the credentials of one account. What is kept is always later than what was there.
type Version struct {
	// Grant counts consents and imports, Rotation the results, Claim the claims.
	Grant, Rotation, Claim int64
}

// After reports whether v is later than other.
func (v Version) After(other Version) bool {
	switch {
	case v.Grant != other.Grant:
		return v.Grant > other.Grant
	case v.Rotation != other.Rotation:
		return v.Rotation > other.Rotation
	default:
		return v.Claim > other.Claim
	}
}

// Version is the credential's.
func (c Credential) Version() Version { return Version{c.GrantSequence, c.Rotation, c.ClaimSequence} }

// Spending is one use of a refresh token, as its user knows it.
type Spending struct {
	// ClaimID and ClaimSequence are of the claim under which it was spent; "" and 0: without one.
	ClaimID       string
	ClaimSequence int64
	Attempt       int32
	// Spent is the fingerprint of the refresh token that was sent.
	Spent string
	// Forgiven: the provider declared a grace.
	Forgiven bool
	// Code: a code was sent, and no refresh token. HandOverID and StateHash are of the code, and ConsentAttempt is of the link.
	Code           bool
	HandOverID     string
	StateHash      v1alpha1.StateHash
	ConsentAttempt int64
}

// mine: the claim in the status is the one under which the token was spent.
func (s Spending) mine(status *v1alpha1.ConnectedAccountStatus) bool {
	return !s.Code && s.ClaimID != "" && status.Claim.ID == s.ClaimID
}

// MayKeep reports whether a result is to be written over what is stored: whether its version is later. Where the provider
// forgives a second use, a result that comes after somebody else has claimed the same token again is left out, since that
// claim brings a later one and some providers let only the last one live.
func MayKeep(status *v1alpha1.ConnectedAccountStatus, stored Credential, result Version, s Spending) bool {
	if stored.State == CredentialHeld && !result.After(stored.Version()) {
		return false
	}
	claim := status.Claim
	again := claim.ID != "" && claim.Sequence > s.ClaimSequence && claim.Fingerprint == s.Spent
	return !s.Forgiven || !again
}

// Kept takes over into the status that a result is kept in it. The sealed credential is the caller's to write.
func Kept(status *v1alpha1.ConnectedAccountStatus, stored Credential, result Version, s Spending) {
	switch {
	case stored.State == CredentialHeld && result.Grant > stored.GrantSequence:
		// A new grant: whatever is open was about the old one.
		status.Claim, status.DoubtSequence = v1alpha1.Claim{}, 0
	case s.Attempt <= 1 && s.ClaimSequence > status.DoubtSequence:
		status.DoubtSequence = 0
	}
	if final(status.Failures) {
		status.Failures = v1alpha1.Failures{} // it was said of the token that is replaced, which may be of the same rotation
	}
	Dropped(status, s)
}

// Dropped takes over that a result came too late to be kept: the claim under which it was asked for is done with.
func Dropped(status *v1alpha1.ConnectedAccountStatus, s Spending) {
	if s.mine(status) {
		status.Claim = v1alpha1.Claim{}
	}
	if s.Code {
		s.codeDone(status)
	}
}

// Refused takes over a failure into the status, and says under which class it counts and whether it counts at all: it is
// written only while the claim is the writer's own and the token is the one that it spent.
func Refused(status *v1alpha1.ConnectedAccountStatus, stored Credential, failure oauth.Class, s Spending) (oauth.Class, bool) {
	definite := failure == oauth.RefreshTokenRejected
	mine := s.mine(status) || s.ClaimID == "" && status.Claim.ID == ""
	same := stored.State == CredentialHeld && stored.Fingerprint == s.Spent
	if !mine || !same {
		if definite {
			// A token of this account was refused, and whoever holds the claim does not know. Where the provider has ended the
			// newer grant with it, that is our loss, too.
			status.DoubtSequence = max(status.ClaimSequence, status.DoubtSequence)
		}
		if mine {
			status.Claim = v1alpha1.Claim{}
		}
		return failure, false
	}
	switch {
	case definite && (s.Attempt > 1 || status.DoubtSequence > 0):
		status.Claim = v1alpha1.Claim{}
		return RefreshTokenLost, true
	case definite, s.Attempt <= 1 && !inDoubt(failure):
		status.Claim = v1alpha1.Claim{}
	}
	return failure, true
}

// inDoubt: after a failure of this class nobody knows whether the refresh token was spent.
func inDoubt(class oauth.Class) bool {
	switch class {
	case oauth.NotSent, oauth.Throttled, oauth.ClientRejected, oauth.RequestRejected, oauth.RefreshTokenRejected, oauth.AuthorizationDenied, oauth.AuthorizationRequired:
		return false
	case oauth.OutcomeUnknown, oauth.InvalidResponse:
		return true
	}
	return true
}

// doubtWait is how long to wait before a refresh token in doubt is tried again: a second, five seconds, and then the usual
// backoff.
func doubtWait(uid string, failure Failure, attempt, count int32, failed time.Time, tokenValid bool) time.Duration {
	h := fraction(uid, failed, count)
	switch {
	case !inDoubt(failure.Class), failure.RetryAfter > 0:
		// Whether or not there is a doubt from before, what was not sent, or was refused, is not sent again at once.
		return Backoff(uid, failure, count, failed, tokenValid)
	case attempt <= 1:
		return 300*time.Millisecond + time.Duration(float64(700*time.Millisecond)*h)
	case attempt == 2:
		return MinAttemptGap
	default:
		return max(Backoff(uid, failure, count, failed, tokenValid), MinAttemptGap)
	}
}
