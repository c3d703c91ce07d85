package lifecycle

import (
	"net/url"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

const (
	// handOverLifetime is how long a code may wait to be exchanged. Most providers take it for a minute or ten.
	handOverLifetime = 10 * time.Minute
	// codeRest is for how long the old grant rests after a code was dropped whose outcome nobody knows: a new grant may come of
	// it yet, and where everything of a person ends with a second use of a token, a retry of the old one could take it along.
	codeRest = 2 * time.Minute
	// unsentPause is the longest pause before a code is tried again of which not a byte was sent.
	unsentPause = 15 * time.Second
)

// CodeLimit is how long the exchange of a code may take. There is no grace that it would have to fit into.
func CodeLimit(client *v1alpha1.OAuthClient) time.Duration {
	if seconds := client.Spec.TokenRequest.TimeoutSeconds; seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return defaultRequestLimit
}

// codeClaimDuration is for how long others leave the claim of a code to its holder.
func codeClaimDuration(client *v1alpha1.OAuthClient) time.Duration {
	return CodeLimit(client) + claimMargin
}

func handedOver(f *Facts) bool {
	return refreshes(f) && f.Account.Status.Authorization.HandOver.ID != ""
}

func codeClaimed(f *Facts) bool {
	return refreshes(f) && f.Account.Status.Authorization.Exchange.ID != ""
}

// codeLeft: the claim of a code has been left to its holder long enough. It is not taken over then, but given up: a code is
// sent once.
func codeLeft(f *Facts) bool {
	return f.Consent.CodeHolder != ClaimForeign || f.Consent.CodeUnchanged >= codePatience(f)
}

// codePatience is how long the claim of a code of somebody else's is left alone. The plain status may have been edited.
func codePatience(f *Facts) time.Duration {
	patience := time.Duration(f.Account.Status.Authorization.Exchange.DurationSeconds) * time.Second
	if f.Client != nil {
		patience = max(patience, codeClaimDuration(f.Client))
	}
	return min(max(patience, claimMargin), longestClaim)
}

// codeToDrop finds a code that must not be sent, or not again, and says what came of it.
func codeToDrop(f *Facts, now time.Time) (v1alpha1.AuthorizationOutcome, bool) {
	known := f.Account.Status.Authorization
	if codeClaimed(f) {
		if f.ExchangeOpen || f.Consent.CodeClaim != known.Exchange.ID || !codeLeft(f) || f.Consent.CodeHolder == ClaimUnsent {
			return v1alpha1.AuthorizationOutcome{}, false
		}
		return v1alpha1.AuthorizationOutcome{
			StateHash: known.Exchange.StateHash, Result: v1alpha1.AuthorizationInDoubt,
			Reason: "what came of the code is not known, and it is not sent a second time: authorize again",
		}, true
	}
	if reason := codeFault(f, now); handedOver(f) && reason != "" {
		return v1alpha1.AuthorizationOutcome{StateHash: known.HandOver.StateHash, Result: v1alpha1.AuthorizationExpired, Reason: reason}, true
	}
	return v1alpha1.AuthorizationOutcome{}, false
}

// codeFault says why a code that waits cannot be used any more: it is bound to what it was asked for with.
func codeFault(f *Facts, now time.Time) string {
	over, client := f.Account.Status.Authorization.HandOver, f.Client
	switch {
	case over.HandedOverTime == nil, !now.Before(over.HandedOverTime.Add(handOverLifetime)), over.HandedOverTime.After(now.Add(clockTolerance)):
		return "the code was not exchanged in time: authorize again"
	case over.Attempt != 0 && over.Attempt != ConsentAttempt(f.Account):
		return "the code came of a link that was used already"
	case tooManyFailures(f, now):
		return "too many attempts have come to nothing within an hour: authorize again when it is over"
	case client == nil || clientAvailable(f) != nil:
		return "" // it may come back in time
	case !invited(f, now):
		return "nobody is asked to authorize any more"
	case over.ClientUID != string(client.UID), client.Spec.ClientID != "" && over.ClientID != client.Spec.ClientID,
		over.RedirectURI != RedirectURI(f.Consent.BaseURL, client), over.Host != "" && over.Host != tokenHost(client):
		return "the OAuthClient has changed since the code was asked for: authorize again"
	case (client.Spec.AuthorizationRequest.PKCE != v1alpha1.PKCENone) != (over.SealedVerifier != ""):
		return "the OAuthClient has changed since the code was asked for: authorize again"
	}
	return identityFault(f)
}

// invited: somebody is asked to consent, or was a moment ago. The part that faces the internet can write a code into any
// account: whoever takes it over is not to replace a grant that works.
func invited(f *Facts, now time.Time) bool {
	return consents(f) && (linkWanted(f, now) || f.Account.Status.AuthorizationURL != "")
}

// tooManyFailures: more attempts have come to nothing than the pages let happen. They hold people off after the last one; whoever
// goes on is not a person, and does not keep the refresh token from being used.
func tooManyFailures(f *Facts, now time.Time) bool {
	failures := f.Account.Status.Authorization.Failures
	return failures.Count > maxConsentFailures && failures.WindowStartTime != nil && now.Sub(failures.WindowStartTime.Time).Abs() < failureWindow
}

// tokenHost is the host, with port, that receives the code.
func tokenHost(client *v1alpha1.OAuthClient) string {
	parsed, err := url.Parse(string(client.Spec.Endpoints.Token))
	if err != nil {
		return ""
	}
	return parsed.Host
}

// codeTime is the earliest time of a code's exchange, as far as earlier requests say; it may be past.
func codeTime(f *Facts, now time.Time) time.Time {
	var at time.Time
	if !f.LastAttempt.After(now) && !f.LastAttempt.IsZero() {
		at = f.LastAttempt.Add(MinAttemptGap)
	}
	failures := f.Account.Status.Failures
	if failed, wait := failures.LastFailureTime, failures.NextAttemptTime; failures.Count > 0 && oauth.Class(failures.Class) == oauth.NotSent &&
		failed != nil && wait != nil && !failed.After(now.Add(clockTolerance)) {
		at = later(at, earlier(wait.Time, failed.Add(unsentPause)))
	}
	return at
}

// restsFor is when the old grant may be used again after a code whose outcome nobody knows; it may be past.
func restsFor(f *Facts, now time.Time) time.Time {
	known := f.Account.Status.Authorization
	at := known.InDoubtTime
	if at == nil && known.LastOutcome.Result == v1alpha1.AuthorizationInDoubt {
		at = known.LastOutcome.OutcomeTime // an earlier version wrote it there only
	}
	if !refreshes(f) || at == nil || at.After(now.Add(clockTolerance)) {
		return time.Time{}
	}
	return earlier(at.Add(codeRest), now.Add(codeRest))
}

// droppedRules give up what must not be sent. They need neither client nor provider.
func droppedRules() []rule {
	return []rule{
		{"denied", func(f *Facts, _ time.Time) bool {
			return refreshes(f) && f.Account.Status.Authorization.Denial != (v1alpha1.AuthorizationDenial{})
		}, Rest},
		{"code to drop", func(f *Facts, now time.Time) bool { _, drop := codeToDrop(f, now); return drop }, Rest},
		{"code unsent", func(f *Facts, _ time.Time) bool { return codeClaimed(f) && f.Consent.CodeHolder == ClaimUnsent }, Unclaim},
		{"approval given", func(f *Facts, _ time.Time) bool { return approvable(f) }, Approve},
	}
}

// codeRules exchange a code before any refresh token is used, and let the old grant rest until it is known what came of it.
func codeRules() []rule {
	return []rule{
		{"code claimed", func(f *Facts, _ time.Time) bool { return codeClaimed(f) }, Rest},
		{"code waits for an open claim", func(f *Facts, _ time.Time) bool { return handedOver(f) && claimed(f) && !left(f) }, Rest},
		{"code too soon", func(f *Facts, now time.Time) bool { return handedOver(f) && now.Before(codeTime(f, now)) }, Rest},
		{"code handed over", func(f *Facts, _ time.Time) bool { return handedOver(f) }, Exchange},
		{"old grant rests", func(f *Facts, now time.Time) bool { return now.Before(restsFor(f, now)) }, Rest},
	}
}

// codeWake is when a code must be looked at again; none: not without an event.
func codeWake(f *Facts, now time.Time, free bool) []time.Time {
	switch {
	case codeClaimed(f) && f.ExchangeOpen:
		return []time.Time{now.Add(exchangeLook)}
	case codeClaimed(f) && codeLeft(f):
		return []time.Time{now}
	case codeClaimed(f):
		return []time.Time{now.Add(codePatience(f) - f.Consent.CodeUnchanged)}
	case !handedOver(f):
		return nil
	}
	times := []time.Time{now.Add(handOverLifetime)}
	if handed := f.Account.Status.Authorization.HandOver.HandedOverTime; handed != nil {
		times[0] = later(now, earlier(times[0], handed.Add(handOverLifetime)))
	}
	switch {
	case f.ExchangeOpen:
		times = append(times, now.Add(exchangeLook))
	case f.NoSlot:
		times = append(times, now.Add(slotLook))
	case claimed(f) && !left(f):
		times = append(times, now.Add(claimPatience(f)-f.ClaimUnchanged))
	case free:
		times = append(times, later(now, later(codeTime(f, now), writableTime(f))))
	}
	return times
}

// WithCodeClaim is the status with a claim of the code that waits: it is about to be sent.
func WithCodeClaim(f *Facts, by Claiming, now time.Time) v1alpha1.ConnectedAccountStatus {
	status := *f.Account.Status.DeepCopy()
	over := status.Authorization.HandOver
	status.ClaimSequence = NextClaimSequence(f)
	status.Authorization.Exchange = v1alpha1.CodeClaim{
		ID: by.ID, Sequence: status.ClaimSequence, HandOverID: over.ID, StateHash: over.StateHash,
		ClientUID: string(f.Client.UID), Host: by.Host,
		DurationSeconds: int32(min(codeClaimDuration(f.Client), longestClaim) / time.Second), //nolint:gosec // a minute at most
		StartTime:       &metav1.Time{Time: now.Truncate(time.Second)}, Holder: by.Holder,
	}
	return status
}

// mineCode: the claim of a code in the status is the one under which it was sent.
func (s Spending) mineCode(status *v1alpha1.ConnectedAccountStatus) bool {
	return s.Code && s.ClaimID != "" && status.Authorization.Exchange.ID == s.ClaimID
}

// codeDone takes the claim of a code, and the code with it, out of the status. A later code stays.
func (s Spending) codeDone(status *v1alpha1.ConnectedAccountStatus) {
	into := &status.Authorization
	if into.HandOver.ID == s.HandOverID {
		into.HandOver = v1alpha1.HandOver{}
	}
	if s.mineCode(status) {
		into.Exchange = v1alpha1.CodeClaim{}
	}
}

// CodeKept takes over into the status that the credential which a code brought is kept in it. The link that led to it is good
// for nothing any more, unless it may have been the wrong person's.
func CodeKept(f *Facts, status *v1alpha1.ConnectedAccountStatus, next Credential, s Spending, now time.Time) {
	kept := *f
	kept.Credential = next
	stateHash := s.StateHash
	s.codeDone(status)
	into := &status.Authorization
	into.Denial = v1alpha1.AuthorizationDenial{}
	into.Attempt = max(into.Attempt, s.ConsentAttempt, 1)
	if !GivesWay(&kept) {
		linkUsed(status)
	}
	status.Failures = v1alpha1.Failures{} // they were of the grant before
	into.InDoubtTime = nil
	result := v1alpha1.AuthorizationConnected
	if awaitsApproval(&kept) && !approvalGiven(&kept) {
		result = v1alpha1.AuthorizationNeedsApproval
	}
	ended(status, v1alpha1.AuthorizationOutcome{StateHash: stateHash, Result: result, Identity: next.Identity}, now)
	if result == v1alpha1.AuthorizationNeedsApproval && GivesWay(f) {
		counted(into, metav1.NewTime(now.Truncate(time.Second))) // two who replace each other come to nothing as well
	}
}

// linkUsed ends the link in the status, and all that were given out before.
func linkUsed(status *v1alpha1.ConnectedAccountStatus) {
	status.Authorization.Attempt = max(status.Authorization.Attempt, 1) + 1
	status.AuthorizationURL = ""
}

// CodeFailed takes over into the status that a code brought nothing. It is never sent again, unless not a byte of it was; and
// what became of the account meanwhile is not touched. It is no failure of the grant that is held, and not counted as one.
func CodeFailed(status *v1alpha1.ConnectedAccountStatus, failure Failure, identity string, s Spending, now time.Time) {
	if !s.mineCode(status) {
		return
	}
	if failure.Class == oauth.NotSent {
		status.Authorization.Exchange = v1alpha1.CodeClaim{}
		return
	}
	s.codeDone(status)
	outcome := v1alpha1.AuthorizationOutcome{StateHash: s.StateHash, Result: v1alpha1.AuthorizationRejected, Reason: failure.Message}
	switch {
	case failure.Class == SubjectChanged && identity == "":
		// Nobody else is known to have come. The reason says what there is to know.
	case failure.Class == SubjectChanged:
		outcome.Result, outcome.Identity = v1alpha1.AuthorizationSubjectChanged, identity
	case inDoubt(failure.Class):
		outcome.Result = v1alpha1.AuthorizationInDoubt
	}
	if len(outcome.Reason) > maxOutcomeReason {
		outcome.Reason = outcome.Reason[:maxOutcomeReason]
	}
	ended(status, outcome, now)
}

// WithoutCode is the status without a code that cannot be sent, for a cause that only whoever opens it can see.
func WithoutCode(f *Facts, reason string, now time.Time) v1alpha1.ConnectedAccountStatus {
	status := *f.Account.Status.DeepCopy()
	over := status.Authorization.HandOver
	status.Authorization.HandOver = v1alpha1.HandOver{}
	ended(&status, v1alpha1.AuthorizationOutcome{StateHash: over.StateHash, Result: v1alpha1.AuthorizationExpired, Reason: reason}, now)
	return status
}

// maxOutcomeReason is the longest reason that the schema takes. Reasons are ours, in ASCII.
const maxOutcomeReason = 512
