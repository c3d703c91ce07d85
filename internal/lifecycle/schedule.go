package lifecycle

import (
	"hash/fnv"
	"strconv"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

const (
	// MinAttemptGap is the least time between two token requests of one account, whatever anybody says.
	MinAttemptGap = 5 * time.Second
	// changeGap is the least time between the last token request and one that is made because something changed, or
	// whose predecessor's outcome is not in the status: whoever edits without end must not become a flood.
	changeGap = 30 * time.Second
	// clockTolerance is how far in the future a credential's issue may lie before the clock is taken to have gone back.
	clockTolerance = 5 * time.Minute
	// kubeletDelay is how long a mounted Secret may take to follow; a lead below it is reported.
	kubeletDelay = 2 * time.Minute

	backoffFirst        = time.Second
	backoffWhileValid   = 5 * time.Minute
	backoffAfterExpiry  = time.Hour
	backoffSlowFirst    = time.Minute
	backoffLongest      = time.Hour + time.Hour/10
	backoffMaxDoublings = 20
)

// RefreshTime is when a token is refreshed. For a token issued at i with the lifetime L, for the account uid:
//
//	lead   = refreshBefore, or L/3 where it is 0; at most 2L/3
//	spread = (L - lead)/10 * h, where h in [0, 1) is a hash of uid and i
//	time   = i + L - lead - spread, truncated to seconds, and not before i + 5 s
//
// The spread is earlier only, so that accounts created together do not stay together, and a refresh is never later than
// was asked for. The zero time means never: no expiry is known.
func RefreshTime(uid string, issued, expiration time.Time, refreshBefore time.Duration) time.Time {
	if expiration.IsZero() {
		return time.Time{}
	}
	lifetime := max(expiration.Sub(issued), 0)
	lead := leadTime(lifetime, refreshBefore)
	spread := time.Duration(float64(lifetime-lead) / 10 * fraction(uid, issued, 0))
	due := issued.Add(lifetime - lead - spread).Truncate(time.Second)
	if earliest := issued.Add(MinAttemptGap); due.Before(earliest) {
		return earliest
	}
	return due
}

func leadTime(lifetime, refreshBefore time.Duration) time.Duration {
	lead := refreshBefore
	if lead <= 0 {
		lead = lifetime / 3
	}
	return min(lead, lifetime-lifetime/3)
}

// fraction is a number in [0, 1) that depends on its arguments only.
func fraction(uid string, at time.Time, n int32) float64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(uid + "/" + strconv.FormatInt(at.Unix(), 10) + "/" + strconv.Itoa(int(n))))
	return float64(hash.Sum64()>>11) / (1 << 53)
}

// refreshBefore is the lead that the spec asks for; 0: none.
func refreshBefore(f *Facts) time.Duration {
	seconds := f.Account.Spec.RefreshBeforeSeconds
	if seconds == 0 && f.Client != nil {
		seconds = f.Client.Spec.RefreshBeforeSeconds
	}
	return time.Duration(seconds) * time.Second
}

// dueTime is when the held credential is refreshed; zero: never, or there is none.
func dueTime(f *Facts) time.Time {
	if f.Credential.State != CredentialHeld {
		return time.Time{}
	}
	due, idle := RefreshTime(string(f.Account.UID), f.Credential.IssuedTime, f.Credential.ExpirationTime, refreshBefore(f)), idleDue(f)
	if due.IsZero() || !idle.IsZero() && idle.Before(due) {
		return idle
	}
	return due
}

// Backoff is how long to wait after the count-th failure in a row, which happened at the time failed. Transient classes
// wait with full jitter, from 1 s up to 5 min while the token is good and up to 1 h after; classes that somebody must
// mend are probed slowly, from half a minute up to an hour; a throttle is obeyed, up to a tenth later.
func Backoff(uid string, failure Failure, count int32, failed time.Time, tokenValid bool) time.Duration {
	h := fraction(uid, failed, count)
	switch failure.Class {
	case oauth.Throttled:
		wait := min(max(failure.RetryAfter, time.Second), time.Hour)
		return wait + time.Duration(float64(wait)/10*h)
	case oauth.NotSent, oauth.OutcomeUnknown:
		limit := backoffAfterExpiry
		if tokenValid {
			limit = backoffWhileValid
		}
		wait := backoffFirst + time.Duration(float64(doubled(2*backoffFirst, count, limit)-backoffFirst)*h)
		return max(wait, min(failure.RetryAfter, time.Hour))
	default:
		limit := doubled(backoffSlowFirst, count, time.Hour)
		return limit/2 + time.Duration(float64(limit/2)*h)
	}
}

// doubled is first, doubled for each failure after the first one, and at most limit.
func doubled(first time.Duration, count int32, limit time.Duration) time.Duration {
	doublings := min(max(count, 1)-1, backoffMaxDoublings)
	return min(first<<doublings, limit)
}

// nextAttempt is the earliest time of a token request, as far as failures and the least gap say; it may be past.
func nextAttempt(f *Facts, now time.Time) time.Time {
	last := lastAttempt(f, now)
	earliest := last.Add(MinAttemptGap)
	if unrecorded(f, now) {
		earliest = last.Add(changeGap)
	}
	failures := f.Account.Status.Failures
	failed, wait := failures.LastFailureTime, failures.NextAttemptTime
	// The plain status is for people, and may have been edited; or the clock went back.
	if failures.Count <= 0 || failed == nil || wait == nil || failed.After(now.Add(clockTolerance)) {
		return earliest
	}
	if failures.InputsHash != f.InputsHash {
		return last.Add(changeGap)
	}
	return later(earliest, earlier(wait.Time, failed.Add(backoffLongest)))
}

// lastAttempt is the latest token request that is known of. Times in the future are not believed.
func lastAttempt(f *Facts, now time.Time) time.Time {
	latest := recordedAttempt(f, now)
	if !f.LastAttempt.After(now) {
		latest = later(latest, f.LastAttempt)
	}
	return latest
}

// recordedAttempt is the latest token request that the status knows of.
func recordedAttempt(f *Facts, now time.Time) time.Time {
	var latest time.Time
	if failed := f.Account.Status.Failures.LastFailureTime; failed != nil && !failed.After(now) {
		latest = failed.Time
	}
	if issued := f.Credential.IssuedTime; f.Credential.State == CredentialHeld && !issued.After(now) {
		latest = later(latest, issued)
	}
	return latest
}

// unrecorded: this process sent a token request whose outcome is not in the status. Its write failed, or has not come
// back yet.
func unrecorded(f *Facts, now time.Time) bool {
	return !f.LastAttempt.After(now) && recordedAttempt(f, now).Before(f.LastAttempt.Truncate(time.Second))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// DefaultLifetime is the lifetime of tokens whose answer names none; 0: no expiry is assumed.
func DefaultLifetime(client *v1alpha1.OAuthClient) time.Duration {
	return time.Duration(client.Spec.AccessTokens.DefaultLifetimeSeconds) * time.Second
}

// ExpirationTime is when a token that was received at the given time expires; zero: no expiry is known.
// Seconds, rounded down, since every place that shows it has seconds.
func ExpirationTime(received time.Time, lifetime *time.Duration, defaultLifetime time.Duration) time.Time {
	switch {
	case lifetime != nil:
		return received.Add(*lifetime).Truncate(time.Second)
	case defaultLifetime > 0:
		return received.Add(defaultLifetime).Truncate(time.Second)
	default:
		return time.Time{}
	}
}
