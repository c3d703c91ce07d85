package lifecycle

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// ClaimHolder says whose the open claim is, as the process that gathers the facts sees it. A claim is owned by what a
// process remembers of it, never by a name that could be another's.
type ClaimHolder string

const (
	// ClaimForeign means that another process made it, which may still be at work.
	ClaimForeign ClaimHolder = "Foreign"
	// ClaimOrphaned means that an earlier process of this pod made it: that process is dead, and what it received is
	// replayed from the journal.
	ClaimOrphaned ClaimHolder = "Orphaned"
	// ClaimInDoubt means that this process made it, and that the token request's outcome is unknown.
	ClaimInDoubt ClaimHolder = "InDoubt"
	// ClaimUnsent means that this process made it, and that not a byte of the token request was written.
	ClaimUnsent ClaimHolder = "Unsent"
)

const (
	// claimMargin is what a claim's holder has, beyond the token request itself, to keep what it brought.
	claimMargin = 15 * time.Second
	// longestClaim bounds what is believed of a claim's duration: the plain status may have been edited.
	longestClaim = time.Minute
	// nearEndMost is how long before its expiry an access token is near its end, at most; a tenth of its lifetime, at least.
	nearEndMost = 2 * time.Minute
	// endless stands for the lifetime of an access token without a known expiry, where its end is waited for.
	endless = 24 * time.Hour
	// maxAttempt bounds the count of attempts.
	maxAttempt = 1 << 20
	// maxClaimSequence bounds what is believed of the plain count of claims.
	maxClaimSequence = 1 << 52
)

// RequestLimit is how long one token request may take. Where the provider declares a grace, a lost answer is found out
// while the grace lasts: three tenths of it at most, which is less than a claim even of the shortest grace.
func RequestLimit(client *v1alpha1.OAuthClient) time.Duration {
	limit := defaultRequestLimit
	if seconds := client.Spec.TokenRequest.TimeoutSeconds; seconds > 0 {
		limit = time.Duration(seconds) * time.Second
	}
	if grace := Grace(client); grace > 0 {
		limit = min(limit, grace*3/10)
	}
	return limit
}

const defaultRequestLimit = 30 * time.Second

// ClaimDuration is for how long others leave a claim to its holder: well beyond the request's limit, and half the grace at
// most where there is one. Whole seconds.
func ClaimDuration(client *v1alpha1.OAuthClient) time.Duration {
	duration := RequestLimit(client) + claimMargin
	if grace := Grace(client); grace > 0 {
		duration = min(duration, grace/2)
	}
	return max(duration.Truncate(time.Second), time.Second)
}

// Grace is for how long the provider takes a spent refresh token once more; 0: not at all.
func Grace(client *v1alpha1.OAuthClient) time.Duration {
	return time.Duration(client.Spec.RefreshTokens.ReuseGraceSeconds) * time.Second
}

// SingleUse reports whether using a refresh token spends it. What is not declared is taken to be so.
func SingleUse(client *v1alpha1.OAuthClient) bool {
	return client == nil || client.Spec.RefreshTokens.Use != v1alpha1.RefreshTokenReusable
}

// reuseRevokes reports whether using a spent token may end the grant.
func reuseRevokes(client *v1alpha1.OAuthClient) bool {
	return client.Spec.RefreshTokens.OnReuse != v1alpha1.ReuseRejects
}

// Claiming is who makes a claim, for what.
type Claiming struct {
	// ID is random, and made before the claim is written.
	ID     string
	Holder v1alpha1.ClaimHolder
	// Host is the host and port that receive the refresh token.
	Host string
}

// WithClaim is the status with a claim in it: the refresh token of the credential is about to be spent, by an attempt of its
// own. An earlier claim is replaced by it, never cleared.
func WithClaim(f *Facts, plan Plan, by Claiming, now time.Time) v1alpha1.ConnectedAccountStatus {
	status := *f.Account.Status.DeepCopy()
	seconds := int32(min(ClaimDuration(f.Client), longestClaim) / time.Second) //nolint:gosec // a minute at most
	grant, rotation := f.Credential.GrantSequence, f.Credential.Rotation
	status.ClaimSequence = NextClaimSequence(f)
	start := &metav1.Time{Time: now.Truncate(time.Second)}
	if plan.Attempt > 1 {
		// From here on an answer that refuses the token may be our own doing.
		status.DoubtSequence = status.ClaimSequence
		if status.Claim.StartTime != nil {
			start = status.Claim.StartTime.DeepCopy()
		}
	}
	status.Claim = v1alpha1.Claim{
		ID: by.ID, Sequence: status.ClaimSequence, Attempt: plan.Attempt,
		GrantSequence: &grant, Rotation: &rotation, Fingerprint: f.Credential.Fingerprint,
		ClientUID: string(f.Client.UID), Host: by.Host, DurationSeconds: seconds,
		StartTime: start, Holder: by.Holder,
	}
	return status
}

// NextClaimSequence is the number of the next claim of the account. The plain counter may have been edited, and a number
// that cannot be counted on from would hold every later claim up.
func NextClaimSequence(f *Facts) int64 {
	return max(min(f.Account.Status.ClaimSequence, maxClaimSequence), f.Credential.ClaimSequence, 0) + 1
}

// WithContest announces that a claim whose holder does not finish is taken over.
func WithContest(f *Facts, now time.Time) v1alpha1.ConnectedAccountStatus {
	status := *f.Account.Status.DeepCopy()
	status.Claim.ContestedTime = &metav1.Time{Time: now.Truncate(time.Second)}
	return status
}

// WithoutClaim clears a claim that nothing depends on any more: overtaken, or unsent.
func WithoutClaim(f *Facts) v1alpha1.ConnectedAccountStatus {
	status := *f.Account.Status.DeepCopy()
	if codeClaimed(f) && f.Consent.CodeHolder == ClaimUnsent {
		status.Authorization.Exchange = v1alpha1.CodeClaim{}
	} else {
		status.Claim = v1alpha1.Claim{}
	}
	return status
}

func claimed(f *Facts) bool { return f.Account.Status.Claim.ID != "" }

// spendsHeld: the claim is for the refresh token that is held now. Otherwise it was overtaken by a newer credential.
func spendsHeld(f *Facts) bool {
	claim, held := f.Account.Status.Claim, f.Credential
	return claim.GrantSequence != nil && *claim.GrantSequence == held.GrantSequence &&
		claim.Rotation != nil && *claim.Rotation == held.Rotation && claim.Fingerprint == held.Fingerprint
}

// left: the claim has been left to its holder long enough. That is judged by how long this process has seen it unchanged,
// never by a time that somebody wrote.
func left(f *Facts) bool {
	return f.ClaimHolder != ClaimForeign || f.ClaimUnchanged >= claimPatience(f)
}

// claimPatience is how long a foreign claim is left alone in its present state: before it is contested, and after. The
// plain status may have been edited, so that neither is ever shorter than a claim of this client has to be.
func claimPatience(f *Facts) time.Duration {
	claim := f.Account.Status.Claim
	patience := min(max(time.Duration(claim.DurationSeconds)*time.Second, ClaimDuration(f.Client)), longestClaim)
	if claim.ContestedTime != nil {
		patience = max(patience, f.TakeoverWait)
	}
	return patience
}

// mustAnnounce: where the provider forgives no second use, a holder that is only slow is given notice before its claim is
// taken over. While there is a grace, there is no time for that, and no need. A holder that has been seen for longer than the
// grace is given notice again: it may have its result, and an API server that takes nothing.
func mustAnnounce(f *Facts) bool {
	return f.ClaimHolder == ClaimForeign && f.Account.Status.Claim.ContestedTime == nil &&
		(Grace(f.Client) == 0 || f.ClaimUnchanged >= Grace(f.Client))
}

// clearable: nothing depends on the claim. It was overtaken, or it is this process's own, unsent, and no earlier attempt
// left a doubt.
func clearable(f *Facts) bool {
	switch {
	case !claimed(f) || f.Credential.State != CredentialHeld:
		return false
	case !spendsHeld(f):
		return left(f)
	default:
		return f.ClaimHolder == ClaimUnsent && f.Account.Status.Claim.Attempt <= 1
	}
}

// retryTime is when a refresh token whose use is in doubt is tried again; it may be past.
func retryTime(f *Facts, now time.Time) time.Time {
	var at time.Time
	failures := f.Account.Status.Failures
	if failed, wait := failures.LastFailureTime, failures.NextAttemptTime; failures.Count > 0 && failed != nil && wait != nil && !failed.After(now.Add(clockTolerance)) {
		at = earlier(wait.Time, failed.Add(backoffLongest))
	}
	if f.Account.Status.Claim.Attempt > 1 && !f.LastAttempt.After(now) {
		// The first retry is quick; the others keep the least gap, whatever became of the failures in the status.
		at = later(at, f.LastAttempt.Add(MinAttemptGap))
	}
	if reuseRevokes(f.Client) && !inGrace(f, now) {
		// The next try may end the grant, and the access token with it: that one is used up first.
		at = later(at, nearEnd(f, now))
	}
	return at
}

// inGrace: the first try was so short a time ago that the provider forgives another one. It decides only how soon that is
// made, so that a clock that is wrong costs time and nothing else.
func inGrace(f *Facts, now time.Time) bool {
	start, grace := f.Account.Status.Claim.StartTime, Grace(f.Client)
	return grace > 0 && start != nil && now.Sub(start.Time).Abs() <= grace
}

// nearEnd is when the access token has so little time left that nothing is lost if it ends. It is older than the claim: once
// that has been seen for as long as the token lives, its end has come, whatever the clock says.
func nearEnd(f *Facts, now time.Time) time.Time {
	held := f.Credential
	if !held.HasAccessToken {
		return time.Time{}
	}
	lifetime, lead := endless, time.Duration(0)
	if !held.ExpirationTime.IsZero() {
		lifetime = max(held.ExpirationTime.Sub(held.IssuedTime), 0)
		lead = min(nearEndMost, lifetime/10)
	}
	return earlier(held.IssuedTime.Add(lifetime-lead), now.Add(lifetime-f.ClaimUnchanged))
}

// nextAttemptNumber counts the tries of one refresh token.
func nextAttemptNumber(f *Facts) int32 {
	if !claimed(f) {
		return 1
	}
	return min(max(f.Account.Status.Claim.Attempt, 1), maxAttempt) + 1
}

// claimWake is when an open claim must be looked at again.
func claimWake(f *Facts, now time.Time) time.Time {
	switch {
	case !left(f):
		return now.Add(claimPatience(f) - f.ClaimUnchanged)
	case clearable(f), mustAnnounce(f):
		return now
	case f.ClaimHolder == ClaimForeign && f.Account.Status.Claim.ContestedTime == nil && Grace(f.Client) > 0:
		// Should the grace pass before the retry, its holder is given notice.
		return earlier(later(now, retryTime(f, now)), now.Add(Grace(f.Client)-f.ClaimUnchanged))
	default:
		return later(now, retryTime(f, now))
	}
}
