package lifecycle

import (
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

const (
	// LinkLifetime is for how long a link is good. It is renewed when half of that is left, so that whoever copies it has a
	// week at least.
	LinkLifetime = 14 * 24 * time.Hour
	// longestAnnounce is how long before the end of a grant the person is asked again, at most; a quarter of its lifetime, at most.
	longestAnnounce = 14 * 24 * time.Hour
	// failureWindow is how long failed consents are counted together, and maxConsentFailures, how many there may be in it.
	failureWindow      = time.Hour
	maxConsentFailures = 5
)

// ConsentFacts is what is known of a person's part.
type ConsentFacts struct {
	// BaseURL is where the pages of the consent server are, for everybody; "": there is none.
	BaseURL string
	// KeysMissing: the keyring has no keys for links and codes.
	KeysMissing bool
	// Link is the one in the status; zero: there is none, or it is good for nothing. Fresh is one that could take its place.
	Link, Fresh Link
	// CodeClaim is the id of the claim of a code that the rest is about, CodeHolder says whose it is, and CodeUnchanged, for how
	// long this process has seen it.
	CodeClaim     string
	CodeHolder    ClaimHolder
	CodeUnchanged time.Duration
}

// Link is a link that a person follows to consent.
type Link struct {
	URL      string
	Attempt  int64
	NotAfter time.Time
}

// RedirectURI is where the provider sends the person back to; "": nowhere, since the pages have no address.
func RedirectURI(base string, client *v1alpha1.OAuthClient) string {
	if base == "" || client.Spec.Endpoints.Authorization == "" {
		return ""
	}
	return strings.TrimSuffix(base, "/") + "/callback/" + client.Namespace + "/" + client.Name
}

// ConsentAttempt is the number of the consent that a link is for.
func ConsentAttempt(account *v1alpha1.ConnectedAccount) int64 {
	return max(account.Status.Authorization.Attempt, 1)
}

// consents: the account's client can send a person somewhere, and the account wants that.
func consents(f *Facts) bool {
	return refreshes(f) && f.Client != nil && f.Client.Spec.Endpoints.Authorization != "" && f.Account.Spec.Consent.Link != v1alpha1.LinkNever
}

// linkPossible: a code that a person brings could be exchanged, as far as can be known.
func linkPossible(f *Facts) bool {
	return consents(f) && f.Consent.BaseURL != "" && !f.Consent.KeysMissing && !f.KeyringMissing && f.Account.DeletionTimestamp.IsZero() &&
		(f.Credential.State == CredentialNone || f.Credential.State == CredentialHeld) && identityFault(f) == "" &&
		clientAvailable(f) == nil && clientReady(f) == nil && scopesAllowed(f) == nil && suspended(f) == nil && tooManyAccounts(f) == nil
}

// personNeeded: only a person can mend what is wrong, or what is about to be.
func personNeeded(f *Facts, now time.Time) bool {
	if !refreshes(f) || importWanted(f) {
		return false
	}
	class := oauth.Class(f.Account.Status.Failures.Class)
	asked := f.Account.Status.Failures.Count > 0 && (class == oauth.AuthorizationRequired || class == oauth.AuthorizationDenied || class == SubjectChanged)
	return authorizationFinal(f) || asked || rolledBack(f) != nil || endpointChanged(f) != nil ||
		scopesMissing(f) != nil || scopeReduced(f) != nil || scopeExceeded(f) != nil || otherIdentity(f) != nil || consentDue(f, now) != nil ||
		GivesWay(f)
}

// linkWanted: the account is to have a link. None leads to a provider with scopes that the account may not ask for: a person
// would grant them, and whether they did, an answer need not say.
func linkWanted(f *Facts, now time.Time) bool {
	return consents(f) && f.Account.DeletionTimestamp.IsZero() && f.Consent.BaseURL != "" && scopesAllowed(f) == nil &&
		(f.Account.Spec.Consent.Link == v1alpha1.LinkAlways || personNeeded(f, now))
}

// setLink puts the link into the status, or takes it out. One that is good stays as it is; while a client is not ready, no
// other takes its place.
func setLink(f *Facts, status *v1alpha1.ConnectedAccountStatus, now time.Time) {
	if said := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionAuthorized); said != nil &&
		said.Reason == v1alpha1.ReasonApprovalRequired && f.Credential.State == CredentialHeld && approvalMissing(f) == nil {
		linkUsed(status) // somebody has approved: until then, whoever has the link may have been the right person
	}
	if !linkWanted(f, now) {
		status.AuthorizationURL = ""
		return
	}
	attempt := max(status.Authorization.Attempt, 1)
	has, fresh := f.Consent.Link, f.Consent.Fresh
	good := has.URL != "" && has.URL == status.AuthorizationURL && has.Attempt == attempt
	switch {
	case good && now.Before(renewTime(has)), good && !linkPossible(f):
	case fresh.URL != "" && fresh.Attempt == attempt && linkPossible(f):
		status.AuthorizationURL, status.Authorization.Attempt = fresh.URL, attempt
	case !good:
		status.AuthorizationURL = ""
	}
	if status.AuthorizationURL != "" {
		status.Authorization.Attempt = attempt // the pages take no other; somebody may have taken it out
	}
}

// renewTime is when a link is replaced by a later one, which is good for the same.
func renewTime(link Link) time.Time { return link.NotAfter.Add(-LinkLifetime / 2) }

// RenewLink reports whether a fresh link is worth making.
func RenewLink(account *v1alpha1.ConnectedAccount, has Link, now time.Time) bool {
	return has.URL == "" || has.Attempt != ConsentAttempt(account) || !now.Before(renewTime(has))
}

// identityFault tells why nobody could say whose access a person brings, where the account wants that said.
func identityFault(f *Facts) string {
	if f.Account.Spec.ExpectedIdentity == "" || f.Client == nil || f.Client.Spec.TokenResponse.Identity.Pointer != "" {
		return ""
	}
	return "spec.expectedIdentity can be held against nothing: have the client's owner write spec.tokenResponse.identity, or remove it"
}

// consentWay says how a person consents, or what is missing for it.
func consentWay(f *Facts) string {
	const imports = "have the person authorize again and import the new refresh token (spec.importRefreshTokenRef)"
	switch {
	case !consents(f):
		return imports
	case f.Consent.BaseURL == "":
		return "the operator was started without --consent-url, so that there is no link to follow: set it, or " + imports
	case f.Consent.KeysMissing:
		return "the keyring has no usable keys for links (handover-keyset.json, consent-keyset.json): restore it from a backup, or " + imports
	case identityFault(f) != "":
		return identityFault(f)
	default:
		return "have the person follow the link in status.authorizationURL"
	}
}

// sentence lets a text begin as one.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// scopesMissing finds scopes that the person has not been asked for, or has not granted.
func scopesMissing(f *Facts) *Finding {
	held := f.Credential
	if !refreshes(f) || held.State != CredentialHeld || held.GrantedScopes == nil || f.Client == nil {
		return nil
	}
	missing := without(requestedScopes(f), held.GrantedScopes)
	if len(missing) == 0 {
		return nil
	}
	return &Finding{
		v1alpha1.ConditionAuthorized, v1alpha1.ReasonScopeReduced,
		"the person has not granted the scopes " + strings.Join(missing, ", ") + "; the token is used as it is: " + consentWay(f) + ", or remove them from spec.scopes",
	}
}

// refreshScopes are the scopes that a refresh names: none that the person has not granted (RFC 6749 section 6).
func refreshScopes(f *Facts) []string {
	asked, granted := requestedScopes(f), f.Credential.GrantedScopes
	if granted == nil {
		return asked
	}
	return without(asked, without(asked, granted))
}

// otherIdentity finds an access that is held of somebody else than is expected by now.
func otherIdentity(f *Facts) *Finding {
	expected, held := f.Account.Spec.ExpectedIdentity, f.Credential.Identity
	if expected == "" || held == "" || held == expected || f.Credential.State != CredentialHeld {
		return nil
	}
	return subjectFinding("the account holds the access of somebody else than spec.expectedIdentity says, and goes on using it: " + consentWay(f) + ", or correct spec.expectedIdentity")
}

func subjectFinding(message string) *Finding {
	return &Finding{v1alpha1.ConditionAuthorized, v1alpha1.ReasonSubjectChanged, message}
}

// SubjectChanged is the class of an answer that is about another person or account than the one whose access it was.
const SubjectChanged oauth.Class = "SubjectChanged"

// OtherSubject tells why an access that the provider names so may not take the place of what is held; nil: it may. Asked is
// whether the client says where an answer names whose access it is. Where it does not any more, a name of before is held against
// nothing, or nobody could ever consent again.
func OtherSubject(account *v1alpha1.ConnectedAccount, held Credential, identity string, asked bool) *Failure {
	expected := account.Spec.ExpectedIdentity
	if expected == "" && held.State == CredentialHeld && asked {
		expected = held.Identity
	}
	switch {
	case expected == "", identity == expected:
		return nil
	case identity == "":
		return &Failure{Class: SubjectChanged, Message: "the answer of the token endpoint does not say whose access it is, so that it was not kept: " +
			"the provider must mend it, or the client's owner correct spec.tokenResponse.identity"}
	default:
		return &Failure{Class: SubjectChanged, Message: "somebody else than expected has consented, and their access was not kept"}
	}
}

// subjectChanged tells of a refusal, until somebody else has consented.
func subjectChanged(f *Facts) *Finding {
	failures := f.Account.Status.Failures
	switch {
	case f.Credential.State != CredentialHeld && f.Credential.State != CredentialNone || !refreshes(f):
		return nil
	case failures.Count > 0 && oauth.Class(failures.Class) == SubjectChanged:
		return subjectFinding("the provider answers with the access of somebody else, which is not used: " + consentWay(f))
	case f.Account.Status.Authorization.LastOutcome.Result == v1alpha1.AuthorizationSubjectChanged:
		return subjectFinding("somebody else than expected has consented (status.authorization.lastOutcome), and their access was not kept: " +
			consentWay(f) + "; if that person is meant, write them into spec.expectedIdentity first")
	}
	return otherIdentity(f)
}

// consentDueTime is when the grant ends, whatever is done; zero: it is not known to.
func consentDueTime(f *Facts) time.Time {
	held := f.Credential
	if held.State != CredentialHeld || !refreshes(f) {
		return time.Time{}
	}
	if !held.HasRefreshToken {
		return held.ExpirationTime // nothing brings another one
	}
	if f.Client == nil || held.GrantTime.IsZero() || f.Client.Spec.RefreshTokens.AbsoluteLifetimeSeconds == 0 {
		return time.Time{}
	}
	return held.GrantTime.Add(absoluteLifetime(f.Client))
}

func absoluteLifetime(client *v1alpha1.OAuthClient) time.Duration {
	return time.Duration(client.Spec.RefreshTokens.AbsoluteLifetimeSeconds) * time.Second
}

// announceTime is from when on it is said that the grant ends.
func announceTime(f *Facts) time.Time {
	due := consentDueTime(f)
	if due.IsZero() {
		return time.Time{}
	}
	lifetime := due.Sub(f.Credential.IssuedTime)
	if f.Credential.HasRefreshToken {
		lifetime = absoluteLifetime(f.Client)
	}
	return due.Add(-min(lifetime/4, longestAnnounce))
}

// consentDue finds a grant that is about to end.
func consentDue(f *Facts, now time.Time) *Finding {
	announce := announceTime(f)
	if announce.IsZero() || now.Before(announce) {
		return nil
	}
	why := "the grant ends soon (status.consentDueTime), and refreshing does not prolong it: "
	if !f.Credential.HasRefreshToken {
		why = noRefreshToken + ". Then "
	}
	return &Finding{v1alpha1.ConditionAuthorized, v1alpha1.ReasonConsentDue, why + consentWay(f)}
}

// idleDue is when a refresh token must be used so that it does not end for being idle; zero: never.
func idleDue(f *Facts) time.Time {
	held := f.Credential
	if f.Client == nil || !refreshes(f) || !held.HasRefreshToken || held.IssuedTime.IsZero() {
		return time.Time{}
	}
	idle := time.Duration(f.Client.Spec.RefreshTokens.IdleLifetimeSeconds) * time.Second
	if idle == 0 {
		return time.Time{}
	}
	return RefreshTime(string(f.Account.UID), held.IssuedTime, held.IssuedTime.Add(idle), 0)
}

// What the annotation that approves of a consent says where there is no name begins with the first of these, and with the second
// where a name could be taken for one of both: a provider lets people call themselves what they like.
const (
	approvesNumber = "consent/"
	approvesName   = "name/"
)

// ApprovalValue is what the annotation that approves of a consent must say.
func ApprovalValue(held Credential) string {
	switch name := held.Identity; {
	case name == "":
		return approvesNumber + strconv.FormatInt(held.GrantSequence, 10)
	case strings.HasPrefix(name, approvesNumber), strings.HasPrefix(name, approvesName):
		return approvesName + name
	default:
		return name
	}
}

// GivesWay reports whether what is held is of no use to anybody until somebody approves of it, and never was. Whoever comes next takes its
// place, so that the wrong person, who came first, does not keep the right one out. What has once been published does not give
// way: approval may be asked for later than the consent.
func GivesWay(f *Facts) bool {
	return awaitsApproval(f) && !approvalGiven(f) && f.Secret == SecretAbsent
}

// approvalMissing finds an access that nobody has approved of, where somebody must. What was imported was brought by
// somebody who may write the account.
func approvalMissing(f *Facts) *Finding {
	if !awaitsApproval(f) || approvalGiven(f) {
		return nil
	}
	whose, otherwise := "of somebody whom the provider does not name", "write spec.consent.link: Always, and have the right person follow the link"
	if f.Credential.Identity != "" {
		whose, otherwise = "of status.identity", "write the right person into spec.expectedIdentity, and have them follow the link"
	}
	if GivesWay(f) {
		otherwise = consentWay(f) + ": who consents later takes their place"
	}
	value := "'" + strings.ReplaceAll(ApprovalValue(f.Credential), "'", `'\''`) + "'"
	return &Finding{
		v1alpha1.ConditionAuthorized, v1alpha1.ReasonApprovalRequired,
		"the access " + whose + " is held and not published until somebody approves of it: kubectl annotate --overwrite connectedaccount -n " +
			f.Account.Namespace + " " + f.Account.Name + " " + v1alpha1.AnnotationApprove + "=" + value + ". If it is the wrong person's, " + otherwise,
	}
}

func awaitsApproval(f *Facts) bool {
	held := f.Credential
	return refreshes(f) && f.Account.Spec.Consent.Approval == v1alpha1.ApprovalRequired && held.State == CredentialHeld &&
		!held.GrantTime.IsZero() && !held.Approved
}

func approvalGiven(f *Facts) bool {
	return f.Account.Annotations[v1alpha1.AnnotationApprove] == ApprovalValue(f.Credential)
}

// approvable: somebody has approved, and it is to be sealed that they have. Not while the refresh token is being spent, since
// whoever does so writes the result on the copy that it has claimed.
func approvable(f *Facts) bool { return awaitsApproval(f) && approvalGiven(f) && !claimed(f) }

// Approved reports whether a new credential needs nobody's approval any more: whose access it is, somebody has approved of
// before.
func Approved(held Credential, identity string) bool {
	return held.State == CredentialHeld && held.Approved && identity != "" && held.Identity == identity
}

// isDenial reports whether a code says no for a person, or for a rule about them; the others tell of a trouble at the provider.
func isDenial(code string) bool {
	switch code {
	case "access_denied", "account_selection_required", "consent_required", "interaction_required", "login_required":
		return true
	default:
		return false
	}
}

// unrecognised stands for an error code that cannot be one of the registered ones.
const unrecognised = "unrecognised"

// settleConsent takes up what needs no token request: a no that the callback brought, and a code that must not be sent.
func settleConsent(f *Facts, status *v1alpha1.ConnectedAccountStatus, now time.Time) {
	if !refreshes(f) {
		return
	}
	into := &status.Authorization
	if denied := into.Denial; denied != (v1alpha1.AuthorizationDenial{}) {
		if strings.Trim(denied.Code, "abcdefghijklmnopqrstuvwxyz_") != "" {
			denied.Code = unrecognised // it comes from the internet
		}
		result, reason := v1alpha1.AuthorizationRejected, "the provider answered with the error "+denied.Code
		if isDenial(denied.Code) {
			result, reason = v1alpha1.AuthorizationWasDenied, "the access was denied at the provider ("+denied.Code+")"
		}
		ended(status, v1alpha1.AuthorizationOutcome{StateHash: denied.StateHash, Result: result, Reason: reason, Error: denied.Code}, now)
		into.Denial = v1alpha1.AuthorizationDenial{}
	}
	if outcome, drop := codeToDrop(f, now); drop {
		if into.HandOver.ID == into.Exchange.HandOverID || into.Exchange.ID == "" {
			into.HandOver = v1alpha1.HandOver{}
		}
		into.Exchange = v1alpha1.CodeClaim{}
		ended(status, outcome, now)
	}
}

// ended writes down what came of an attempt. One that came to nothing is counted.
func ended(status *v1alpha1.ConnectedAccountStatus, outcome v1alpha1.AuthorizationOutcome, now time.Time) {
	at := metav1.NewTime(now.Truncate(time.Second))
	outcome.OutcomeTime = &at
	into := &status.Authorization
	into.LastOutcome = outcome
	if outcome.Result == v1alpha1.AuthorizationInDoubt {
		into.InDoubtTime = &at // what comes of the next attempt says nothing about this one
	}
	switch outcome.Result {
	case v1alpha1.AuthorizationConnected:
		into.Failures = v1alpha1.ConsentFailures{}
	case v1alpha1.AuthorizationNeedsApproval:
		// It may be the wrong person's, and ends no wait.
	case v1alpha1.AuthorizationWasDenied, v1alpha1.AuthorizationRejected, v1alpha1.AuthorizationInDoubt, v1alpha1.AuthorizationSubjectChanged, v1alpha1.AuthorizationExpired:
		counted(into, at)
	}
}

// counted counts an attempt among those that the pages let nobody make too often.
func counted(into *v1alpha1.Authorization, at metav1.Time) {
	began := into.Failures.WindowStartTime
	if began == nil || at.Sub(began.Time).Abs() >= failureWindow {
		into.Failures = v1alpha1.ConsentFailures{WindowStartTime: &at}
	}
	into.Failures.Count = min(max(into.Failures.Count, 0), maxConsentFailures) + 1
}
