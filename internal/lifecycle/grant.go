package lifecycle

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// ImportState says what is known of the refresh token that the account is to import.
type ImportState string

const (
	// ImportNone means that none is named.
	ImportNone ImportState = ""
	// ImportDone means that this account has imported it.
	ImportDone ImportState = "Done"
	// ImportNew means that it can be imported.
	ImportNew ImportState = "New"
	// ImportFault means that it cannot.
	ImportFault ImportState = "Fault"
)

// Import is the refresh token that the account is to import.
type Import struct {
	State ImportState
	// Finding is why it cannot be imported.
	Finding *Finding
}

// refreshes reports whether the account's grant is kept alive with refresh tokens.
func refreshes(f *Facts) bool { return f.Account.Spec.Grant.Type == v1alpha1.GrantAuthorizationCode }

func holdsRefreshToken(f *Facts) bool {
	return f.Credential.State == CredentialHeld && f.Credential.HasRefreshToken
}

// refused: the provider's word on the refresh token is final.
func refused(f *Facts) bool {
	return refreshes(f) && f.Account.Status.Failures.Count > 0 && final(f.Account.Status.Failures)
}

// final: the last failure was the end of a refresh token.
func final(failures v1alpha1.Failures) bool {
	class := oauth.Class(failures.Class)
	return class == oauth.RefreshTokenRejected || class == RefreshTokenLost
}

// rolledBack finds a credential that is older than one that was kept before, or that is not there any more. Its refresh
// token is spent; using it again could end the grant.
func rolledBack(f *Facts) *Finding {
	gone := refreshes(f) && f.Credential.State == CredentialNone
	if !holdsRefreshToken(f) && !gone || !SingleUse(f.Client) || f.Credential.Rotation >= f.HighestRotation {
		return nil
	}
	return &Finding{
		v1alpha1.ConditionAuthorized, v1alpha1.ReasonCredentialRolledBack,
		"the status holds an earlier credential than was kept before, or none, as after a restore, and no earlier refresh token is used: " +
			"write the later status.sealedCredential back, or " + consentWay(f),
	}
}

// authorization finds why there is no refresh token that could be used.
func authorization(f *Facts) *Finding {
	class := oauth.Class(f.Account.Status.Failures.Class)
	required := func(message string) *Finding {
		return &Finding{v1alpha1.ConditionAuthorized, v1alpha1.ReasonAuthorizationRequired, message}
	}
	switch {
	case !refreshes(f) || f.Credential.State != CredentialNone && f.Credential.State != CredentialHeld:
		return nil
	case authorizationFinal(f) && !enduring(f) && (handedOver(f) || codeClaimed(f)):
		return &Finding{
			v1alpha1.ConditionAuthorized, v1alpha1.ReasonAuthorizationPending,
			"a person has consented; their code is being exchanged for a token",
		}
	case refused(f) && class == RefreshTokenLost:
		return &Finding{
			v1alpha1.ConditionAuthorized, v1alpha1.ReasonRefreshTokenLost,
			"the provider refuses the refresh token after a request whose outcome is unknown: what it brought was lost on the way. " +
				"The access token is good until it expires; " + consentWay(f),
		}
	case refused(f):
		return &Finding{
			v1alpha1.ConditionAuthorized, v1alpha1.ReasonRefreshTokenRejected,
			"the provider does not accept the refresh token: the grant was ended there, or the token was used elsewhere. " + sentence(consentWay(f)),
		}
	case !holdsRefreshToken(f) && f.Import.State == ImportFault:
		return f.Import.Finding
	case !holdsRefreshToken(f) && f.Import.State == ImportNew:
		return required("the refresh token that spec.importRefreshTokenRef names is imported as soon as the client can be used")
	case enduring(f):
		return nil
	case !holdsRefreshToken(f) && f.Account.Status.Authorization.LastOutcome.Result == v1alpha1.AuthorizationWasDenied:
		return &Finding{
			v1alpha1.ConditionAuthorized, v1alpha1.ReasonAuthorizationDenied,
			"the person, or a rule at the provider, denied the access: " + consentWay(f),
		}
	case !holdsRefreshToken(f) && subjectChanged(f) != nil:
		return subjectChanged(f)
	case !holdsRefreshToken(f) && consents(f) && f.Account.Status.Authorization.LastOutcome.Result == v1alpha1.AuthorizationRejected:
		return required("the last consent came to nothing: " + rejection(f) + ". " + sentence(consentWay(f)))
	case !holdsRefreshToken(f) && consents(f):
		return required("nobody has consented yet, or the grant has ended: " + consentWay(f))
	case !holdsRefreshToken(f):
		return required("there is no refresh token: have the person authorize, and name the Secret that holds the refresh token in spec.importRefreshTokenRef")
	case f.Account.Status.Failures.Count > 0 && class == oauth.AuthorizationRequired:
		return required("the provider wants the person to authorize again; the refresh token is tried again from time to time" + linkHint(f))
	case f.Account.Status.Failures.Count > 0 && class == oauth.AuthorizationDenied:
		return &Finding{
			v1alpha1.ConditionAuthorized, v1alpha1.ReasonAuthorizationDenied,
			"the access was denied at the provider; the refresh token is tried again from time to time",
		}
	}
	return nil
}

// enduring: a person's consent brought an access token and no refresh token, as with providers whose tokens do not expire.
// Nothing is missing while it is good.
func enduring(f *Facts) bool {
	held := f.Credential
	return held.State == CredentialHeld && held.HasAccessToken && !held.HasRefreshToken && !held.GrantTime.IsZero()
}

// noRefreshToken is what to do where a consent ends with its access token.
const noRefreshToken = "there is no refresh token, so the access ends with the access token (status.expirationTime). " +
	"Have the OAuthClient ask for one as the provider documents it, mostly by the scope offline_access or by one of spec.authorizationRequest.parameters"

// rejection is why the last consent came to nothing, and what to look at where the provider did not take our request.
func rejection(f *Facts) string {
	last := f.Account.Status.Authorization.LastOutcome
	switch last.Error {
	case "invalid_request", "invalid_scope", "unauthorized_client", "unsupported_response_type":
		return last.Reason + "; check scopes and authorizationRequest of the OAuthClient, and its registration at the provider"
	default:
		return cmp.Or(last.Reason, "the code brought no token")
	}
}

// linkHint says where a person can authorize, where there is such a place.
func linkHint(f *Facts) string {
	if !consents(f) {
		return ""
	}
	return ". To authorize again, " + consentWay(f)
}

// authorizationFinal: nothing is tried again without somebody's doing.
func authorizationFinal(f *Facts) bool {
	return refreshes(f) && (refused(f) || f.Credential.State == CredentialNone || f.Credential.State == CredentialHeld && !f.Credential.HasRefreshToken)
}

// importWanted: there is a refresh token to import, and nothing that is alive would be lost by it.
func importWanted(f *Facts) bool {
	if !refreshes(f) || f.Import.State != ImportNew {
		return false
	}
	switch f.Credential.State {
	case CredentialNone:
		return true
	case CredentialHeld:
		alive := f.Credential.HasRefreshToken && !refused(f) && rolledBack(f) == nil
		return !alive || f.Account.Annotations[v1alpha1.AnnotationReplaceGrant] == strconv.FormatInt(f.Credential.GrantSequence, 10)
	case CredentialElsewhere, CredentialUnreadable, CredentialNewerFormat, CredentialKeyMissing:
		return false
	}
	return false
}

// authorizedMessage is what the condition says while all is well.
func authorizedMessage(f *Facts) (reason, message string) {
	switch {
	case keyed(f):
		return v1alpha1.ReasonNotRequired, "an API key needs nobody's consent"
	case !refreshes(f):
		return v1alpha1.ReasonNotRequired, "client credentials need nobody's consent"
	case f.Import.State == ImportNew:
		return v1alpha1.ReasonAuthorized, fmt.Sprintf(
			"the account holds a refresh token. Another one waits in the Secret %s, and is imported when this grant ends; to give this grant up for it: kubectl annotate --overwrite connectedaccount -n %s %s %s=%d",
			f.Account.Spec.ImportRefreshTokenRef.Name, f.Account.Namespace, f.Account.Name, v1alpha1.AnnotationReplaceGrant, f.Credential.GrantSequence)
	case enduring(f) && f.Credential.ExpirationTime.IsZero():
		return v1alpha1.ReasonAuthorized, "the account holds an access token that a person has consented to; there is no refresh token"
	case enduring(f):
		return v1alpha1.ReasonAuthorized, "the account holds an access token that a person has consented to; " + noRefreshToken
	default:
		return v1alpha1.ReasonAuthorized, "the account holds a refresh token"
	}
}

// endpointChanged finds a refresh token that would go where, or be used by a client that, it was not issued for.
func endpointChanged(f *Facts) *Finding {
	if !refreshes(f) || !holdsRefreshToken(f) || f.Client == nil {
		return nil
	}
	held := f.Credential
	if f.Client.Spec.ClientID != "" && f.Client.Spec.ClientID != held.ClientID {
		return OtherClientFinding()
	}
	strange := without(without(ClientOrigins(f.Client), held.Origins), acceptedOrigins(f.Client))
	if len(strange) == 0 {
		return nil
	}
	return &Finding{v1alpha1.ConditionAuthorized, v1alpha1.ReasonEndpointChanged, fmt.Sprintf(
		"the OAuthClient %s names another host than the refresh token was obtained from, and nothing is sent there. If %s may have it: kubectl annotate --overwrite oauthclient -n %s %s %s=%s",
		f.Client.Name, strings.Join(strange, ", "), f.Client.Namespace, f.Client.Name, v1alpha1.AnnotationAcceptOrigin, strings.Join(strange, ","))}
}

// OtherClientFinding is the fault of a refresh token that was issued to another client identifier.
func OtherClientFinding() *Finding {
	return &Finding{
		v1alpha1.ConditionAuthorized, v1alpha1.ReasonEndpointChanged,
		"the OAuthClient has another client identifier than the refresh token was issued to, and the token is not used: put the identifier back, or have the person authorize again and import the new refresh token (spec.importRefreshTokenRef)",
	}
}

func acceptedOrigins(client *v1alpha1.OAuthClient) []string {
	var accepted []string
	for text := range strings.SplitSeq(client.Annotations[v1alpha1.AnnotationAcceptOrigin], ",") {
		if origin, err := oauth.Origin(strings.TrimSpace(text)); err == nil && !slices.Contains(accepted, origin) {
			accepted = append(accepted, origin)
		}
	}
	return accepted
}

// adoptWanted: somebody who may annotate the account says that it is to take over what was sealed for an earlier one.
func adoptWanted(f *Facts) bool {
	bound := f.Account.Status.BoundTo.AccountUID
	return f.Credential.State == CredentialElsewhere && bound != "" && f.Account.Annotations[v1alpha1.AnnotationAdopt] == bound
}
