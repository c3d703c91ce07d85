package lifecycle

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// maxMessage is the longest message of a condition, in bytes. The API server takes 32768 characters.
const maxMessage = 4096

// Status is the account's status after a lap. It starts from the status that was read, so that nothing in it, the
// sealed credential above all, is lost by not being mentioned here; and it is equal to it where nothing has changed.
func Status(f *Facts, done Done, now time.Time) v1alpha1.ConnectedAccountStatus {
	f = seen(f)
	status := *f.Account.Status.DeepCopy()
	generation := f.Account.Generation
	status.ObservedGeneration = &generation
	setFailures(f, &status, done, now)
	settleConsent(f, &status, now)
	setTimes(f, &status)
	rememberHeader(f, &status)
	f = withStatus(f, &status)
	setLink(f, &status, now)
	f.Account.Status.AuthorizationURL = status.AuthorizationURL

	conditions := conditionSetter{&status.Conditions, generation, now}
	all := findings(f, now)
	clientReady := conditions.clientReady(f, all)
	reason, message := authorizedMessage(f)
	authorized := conditions.judged(v1alpha1.ConditionAuthorized, all, reason, message)
	refreshed := conditions.refreshed(f, all, done, status.Failures)
	published := conditions.published(f, all, done)
	conditions.ready(f, []metav1.Condition{clientReady, authorized, refreshed, published})
	return status
}

// setFailures counts a failure, and forgets all of them once a token came: a credential that the status does not speak of
// yet. Its time says nothing, since clocks differ and go back.
func setFailures(f *Facts, status *v1alpha1.ConnectedAccountStatus, done Done, now time.Time) {
	failures := &status.Failures
	switch {
	case done.Failure != nil:
		at := metav1.NewTime(now.Truncate(time.Second))
		count := min(max(failures.Count, 0), 1<<20) + 1
		if failures.InputsHash != f.InputsHash {
			count = 1
		}
		valid := f.Credential.State == CredentialHeld && !f.Credential.expired(now)
		*failures = v1alpha1.Failures{Count: count, Class: string(done.Failure.Class), LastFailureTime: &at, InputsHash: f.InputsHash}
		if done.Failure.Class != RefreshTokenLost && (!refreshes(f) || done.Failure.Class != oauth.RefreshTokenRejected) {
			wait := max(Backoff(string(f.Account.UID), *done.Failure, count, at.Time, valid), MinAttemptGap)
			if claimed(f) {
				wait = doubtWait(string(f.Account.UID), *done.Failure, f.Account.Status.Claim.Attempt, count, at.Time, valid)
			}
			failures.NextAttemptTime = &metav1.Time{Time: now.Add(wait).Add(time.Second - 1).Truncate(time.Second)}
		}
	case f.Credential.State == CredentialHeld && f.Credential.Rotation != status.Rotations:
		*failures = v1alpha1.Failures{}
	}
}

// withStatus is the facts with the failures, and what came of a consent, as they are by now: what is said of the grant is said
// in the same lap.
func withStatus(f *Facts, status *v1alpha1.ConnectedAccountStatus) *Facts {
	known, account := *f, *f.Account
	account.Status.Failures, account.Status.Authorization = status.Failures, status.Authorization
	known.Account = &account
	return &known
}

// setTimes copies what people may want to know out of the credential.
func setTimes(f *Facts, status *v1alpha1.ConnectedAccountStatus) {
	if f.Credential.State != CredentialHeld && f.Credential.State != CredentialNone {
		// What cannot be opened now may be opened later: what was said of it stays, but no refresh is promised.
		status.NextRefreshTime = nil
		return
	}
	status.Rotations = f.Credential.Rotation
	status.LastRefreshTime = timePointer(f.Credential.IssuedTime)
	status.ExpirationTime = timePointer(f.Credential.ExpirationTime)
	status.Identity, status.ConsentDueTime = f.Credential.Identity, timePointer(consentDueTime(f))
	status.NextRefreshTime = timePointer(nextRefresh(f))
	if f.Account.Spec.Suspend {
		status.NextRefreshTime = nil
	}
	status.Scopes = nil
	for _, scope := range f.Credential.Scopes {
		// The schema bounds both; the credential keeps what is more.
		if len(status.Scopes) < 100 && scope != "" && len(scope) <= 256 && !slices.Contains(status.Scopes, v1alpha1.Scope(scope)) {
			status.Scopes = append(status.Scopes, v1alpha1.Scope(scope))
		}
	}
}

func timePointer(at time.Time) *metav1.Time {
	if at.IsZero() {
		return nil
	}
	return &metav1.Time{Time: at.Truncate(time.Second)}
}

type conditionSetter struct {
	conditions *[]metav1.Condition
	generation int64
	now        time.Time
}

// set sets one condition. A message that quotes others is cut, since the API server would refuse the whole status.
func (c conditionSetter) set(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	condition := metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message,
		ObservedGeneration: c.generation, LastTransitionTime: metav1.NewTime(c.now.Truncate(time.Second)),
	}
	meta.SetStatusCondition(c.conditions, condition)
	return condition
}

func (c conditionSetter) finding(finding Finding) metav1.Condition {
	return c.set(finding.Condition, metav1.ConditionFalse, finding.Reason, finding.Message)
}

// before is the condition as it was, brought to the present generation; nil: there is none.
func (c conditionSetter) before(kind string) *metav1.Condition {
	return meta.FindStatusCondition(*c.conditions, kind)
}

// judged is False with the first finding that speaks of it, else True.
func (c conditionSetter) judged(kind string, all []Finding, reason, message string) metav1.Condition {
	if at := slices.IndexFunc(all, func(finding Finding) bool { return finding.Condition == kind }); at >= 0 {
		return c.finding(all[at])
	}
	return c.set(kind, metav1.ConditionTrue, reason, message)
}

func (c conditionSetter) clientReady(f *Facts, all []Finding) metav1.Condition {
	before := c.before(v1alpha1.ConditionClientReady)
	usable := f.Credential.State == CredentialHeld && !f.Credential.expired(c.now)
	if usable && f.Client != nil && clientAvailable(f) == nil && clientPending(f.Client) && before != nil {
		return c.set(before.Type, before.Status, before.Reason, before.Message)
	}
	if keyed(f) {
		return c.judged(v1alpha1.ConditionClientReady, all, v1alpha1.ReasonNotRequired, "an API key needs no OAuthClient")
	}
	return c.judged(v1alpha1.ConditionClientReady, all, v1alpha1.ReasonClientReady, "the OAuthClient is ready and may be used")
}

// refreshed tells of the last token request. Between requests it says what it said.
func (c conditionSetter) refreshed(f *Facts, all []Finding, done Done, failures v1alpha1.Failures) metav1.Condition {
	const kind = v1alpha1.ConditionRefreshed
	before := c.before(kind)
	switch {
	case keyed(f):
		return c.set(kind, metav1.ConditionTrue, v1alpha1.ReasonNotRequired, "an API key is not refreshed: when its Secret changes, what is in it is published")
	case done.Failure != nil:
		return c.set(kind, metav1.ConditionFalse, failureReason(done.Failure.Class), done.Failure.Message)
	case slices.ContainsFunc(all, func(finding Finding) bool { return finding.Condition == kind }):
		return c.judged(kind, all, "", "")
	case heldFinding(f, c.now) != nil:
		return c.finding(*heldFinding(f, c.now))
	case failures.Count > 0 && before != nil && before.Reason == failureReason(oauth.Class(failures.Class)):
		return c.set(kind, metav1.ConditionFalse, before.Reason, before.Message)
	case failures.Count > 0:
		return c.set(kind, metav1.ConditionFalse, failureReason(oauth.Class(failures.Class)), "the last token request failed; it is made again")
	case f.Credential.State == CredentialNone, f.Credential.State == CredentialHeld && !f.Credential.HasAccessToken:
		return c.set(kind, metav1.ConditionFalse, v1alpha1.ReasonPending, "no token has been requested yet")
	default:
		return c.set(kind, metav1.ConditionTrue, v1alpha1.ReasonRefreshed, refreshedMessage(f)+requestFault(f.Account))
	}
}

func refreshedMessage(f *Facts) string {
	held := f.Credential
	if held.State == CredentialHeld && held.ExpirationTime.IsZero() {
		return "the last token request brought a token without a known expiry"
	}
	if held.State == CredentialHeld && leadTime(held.ExpirationTime.Sub(held.IssuedTime), refreshBefore(f)) < kubeletDelay {
		return "the last token request brought a token; it is refreshed less than two minutes before it expires, and a mounted Secret can take that long to follow: raise refreshBeforeSeconds, or have the provider issue longer tokens"
	}
	return "the last token request brought a token"
}

func failureReason(class oauth.Class) string {
	switch class {
	case oauth.NotSent:
		return v1alpha1.ReasonServerUnreachable
	case oauth.OutcomeUnknown:
		return v1alpha1.ReasonOutcomeUnknown
	case oauth.Throttled:
		return v1alpha1.ReasonThrottled
	case oauth.ClientRejected:
		return v1alpha1.ReasonClientRejected
	case oauth.InvalidResponse, SubjectChanged:
		return v1alpha1.ReasonInvalidResponse
	case oauth.RequestRejected, oauth.RefreshTokenRejected, RefreshTokenLost, oauth.AuthorizationDenied, oauth.AuthorizationRequired:
		// The request is refused as it stands; what that means for the grant, the condition Authorized tells.
		return v1alpha1.ReasonRequestRejected
	}
	return v1alpha1.ReasonInvalidResponse
}

func (c conditionSetter) published(f *Facts, all []Finding, done Done) metav1.Condition {
	const kind = v1alpha1.ConditionPublished
	before := c.before(kind)
	switch {
	case done.PublishFinding != nil:
		return c.finding(*done.PublishFinding)
	case slices.ContainsFunc(all, func(finding Finding) bool { return finding.Condition == kind }):
		return c.judged(kind, all, "", "")
	case done.Published || f.Secret == SecretCurrent && publishable(f):
		return c.set(kind, metav1.ConditionTrue, v1alpha1.ReasonPublished, "the Secret "+TokenSecretName(f.Account)+" holds the token")
	case before != nil && before.Reason == v1alpha1.ReasonSecretWriteFailed && c.now.Before(writableTime(f)):
		return c.set(kind, before.Status, before.Reason, before.Message)
	case before != nil && before.Status == metav1.ConditionTrue && holdsEarlierToken(f, c.now):
		return c.set(kind, before.Status, before.Reason, before.Message)
	case keyed(f):
		return c.set(kind, metav1.ConditionFalse, v1alpha1.ReasonPending, "the Secret is written once the API key can be read")
	default:
		return c.set(kind, metav1.ConditionFalse, v1alpha1.ReasonPending, "the Secret is written once there is a token for it")
	}
}

// holdsEarlierToken: what was published stays published while a newer token is on its way into the Secret, in this lap or
// the next one, and while it cannot be known what the Secret should hold.
func holdsEarlierToken(f *Facts, now time.Time) bool {
	switch {
	case f.Secret == SecretAbsent, f.Credential.State == CredentialNone, scopeExceeded(f) != nil, approvalMissing(f) != nil:
		return false
	case f.Credential.State == CredentialHeld && !f.Credential.HasAccessToken:
		return false // nobody knows any more until when what is in the Secret is good
	case f.Credential.State == CredentialHeld:
		// The status still tells of the earlier one.
		expiration := f.Account.Status.ExpirationTime
		return expiration == nil || now.Before(expiration.Time)
	default:
		return true
	}
}

// ready sums up: is there a usable token in the Secret now? While there is, the first failing reason shows all the same.
func (c conditionSetter) ready(f *Facts, others []metav1.Condition) {
	published := others[len(others)-1].Status == metav1.ConditionTrue
	usable := published && !publishedToken(f).expired(c.now)
	reason, message := firstFailing(others)
	switch {
	case usable && reason == "" && keyed(f):
		reason, message = v1alpha1.ReasonTokenValid, "the Secret holds the API key"
	case usable && reason == "":
		reason, message = v1alpha1.ReasonTokenValid, "the Secret holds a token that has not expired"
	case !usable && (reason == "" || published && (reason == v1alpha1.ReasonScopeReduced || reason == v1alpha1.ReasonConsentDue && holdsRefreshToken(f))):
		reason, message = v1alpha1.ReasonTokenExpired, "the token in the Secret has expired"
	}
	status := metav1.ConditionFalse
	if usable {
		status = metav1.ConditionTrue
	}
	c.set(v1alpha1.ConditionReady, status, reason, message)
	c.kstatus(standingOf(f, usable, reason), reason, message)
}

// standing is where an account, or a client, stands on its way to being ready.
type standing int

const (
	arrived standing = iota
	progressing
	waiting
	stalled
)

// standingOf tells what a pipeline that waits for the account is to make of it.
func standingOf(f *Facts, usable bool, reason string) standing {
	switch {
	case usable:
		return arrived
	case waitsForPerson(f, reason):
		return waiting
	case stalls(reason):
		return stalled
	default:
		return progressing
	}
}

// publishedToken is the credential, with the times of the token in the Secret. What cannot be opened now was published
// all the same, and the status tells of it.
func publishedToken(f *Facts) Credential {
	token, status := f.Credential, f.Account.Status
	if token.State == CredentialHeld || token.State == CredentialNone {
		return token
	}
	if status.LastRefreshTime != nil {
		token.IssuedTime = status.LastRefreshTime.Time
	}
	if status.ExpirationTime != nil {
		token.ExpirationTime = status.ExpirationTime.Time
	}
	return token
}

// kstatus sets Reconciling or Stalled, each only while True, and neither where all is well.
func (c conditionSetter) kstatus(stands standing, reason, message string) {
	if stands != stalled {
		meta.RemoveStatusCondition(c.conditions, v1alpha1.ConditionStalled)
	}
	if stands == arrived || stands == stalled {
		meta.RemoveStatusCondition(c.conditions, v1alpha1.ConditionReconciling)
	}
	switch stands {
	case arrived:
	case progressing:
		c.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing, message)
	case waiting:
		c.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonWaiting, message)
	case stalled:
		c.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, message)
	}
}

// firstFailing is the first reason that says why there is no token, or may soon be none; else the first one that says
// less: that a step has not begun, or that the token can do less than was asked for.
func firstFailing(conditions []metav1.Condition) (reason, message string) {
	for _, condition := range conditions {
		if condition.Status == metav1.ConditionTrue {
			continue
		}
		if condition.Reason != v1alpha1.ReasonPending && condition.Reason != v1alpha1.ReasonScopeReduced && condition.Reason != v1alpha1.ReasonConsentDue {
			return condition.Reason, condition.Message
		}
		if reason == "" {
			reason, message = condition.Reason, condition.Message
		}
	}
	return reason, message
}

// waitsForPerson: the operator goes on once a person has consented, approved, or ended the suspension. Such an account is on its
// way, and nothing that has to be rolled back. Where a grant has ended or was refused, that is so while there is a link to
// follow; without one, the operator does not know whether anybody ever can.
func waitsForPerson(f *Facts, reason string) bool {
	switch reason {
	case v1alpha1.ReasonAuthorizationRequired, v1alpha1.ReasonApprovalRequired, v1alpha1.ReasonSuspended:
		return tooManyAccounts(f) == nil
	case v1alpha1.ReasonAuthorizationDenied, v1alpha1.ReasonRefreshTokenRejected, v1alpha1.ReasonRefreshTokenLost,
		v1alpha1.ReasonCredentialRolledBack, v1alpha1.ReasonEndpointChanged, v1alpha1.ReasonSubjectChanged, v1alpha1.ReasonConsentDue:
		return f.Account.Status.AuthorizationURL != ""
	default:
		return false
	}
}

// stalls: nothing gets better until somebody acts. A client that is not there yet is not among them: with GitOps it may
// be on its way.
func stalls(reason string) bool {
	switch reason {
	case v1alpha1.ReasonScopeNotAllowed, v1alpha1.ReasonScopeExceeded, v1alpha1.ReasonCredentialFromElsewhere,
		v1alpha1.ReasonCredentialUnreadable, v1alpha1.ReasonKeyringMissing, v1alpha1.ReasonSchemaTooOld,
		v1alpha1.ReasonClientRejected, v1alpha1.ReasonRequestRejected, v1alpha1.ReasonSecretOwnedByOther,
		v1alpha1.ReasonInvalidSecretData, v1alpha1.ReasonSecretTooLarge,
		v1alpha1.ReasonCredentialRolledBack, v1alpha1.ReasonEndpointChanged, v1alpha1.ReasonAuthorizationRequired, v1alpha1.ReasonAuthorizationDenied,
		v1alpha1.ReasonRefreshTokenRejected, v1alpha1.ReasonRefreshTokenLost, v1alpha1.ReasonAlreadyImported, v1alpha1.ReasonSecretNotConsented,
		v1alpha1.ReasonTooManyAccounts, v1alpha1.ReasonResultUnread, v1alpha1.ReasonSubjectChanged, v1alpha1.ReasonConsentDue:
		return true
	default:
		return false
	}
}
