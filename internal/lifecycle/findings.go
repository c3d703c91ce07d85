package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// findings are all faults that are there, in the order in which they are told.
func findings(f *Facts, now time.Time) []Finding {
	due := func(f *Facts) *Finding { return consentDue(f, now) }
	finders := []func(*Facts) *Finding{
		clientAvailable, clientReady,
		schemaTooOld, keyringMissing, credentialFault, rolledBack, authorization, endpointChanged, scopesAllowed, subjectChanged, approvalMissing, scopeExceeded, due, scopesMissing, scopeReduced,
		resultUnread, suspended, tooManyAccounts, secretFault, secretOwned,
	}
	if keyed(f) {
		// It has no client, and nothing of it is sealed.
		finders = []func(*Facts) *Finding{schemaTooOld, apiKey, secretFault, secretOwned}
	}
	var all []Finding
	for _, find := range finders {
		if finding := find(f); finding != nil {
			all = append(all, *finding)
		}
	}
	return all
}

// actsDespite: none of the findings keeps the provider from being called, or a refresh token from being imported.
func actsDespite(f *Facts, all []Finding) bool {
	return !slices.ContainsFunc(all, func(finding Finding) bool {
		switch finding.Reason {
		case v1alpha1.ReasonResultUnread, v1alpha1.ReasonScopeReduced, v1alpha1.ReasonScopeExceeded, v1alpha1.ReasonAuthorizationRequired, v1alpha1.ReasonAuthorizationDenied,
			v1alpha1.ReasonAuthorizationPending, v1alpha1.ReasonApprovalRequired, v1alpha1.ReasonConsentDue, v1alpha1.ReasonSubjectChanged:
			return false
		case v1alpha1.ReasonSecretOwnedByOther, v1alpha1.ReasonInvalidSecretData, v1alpha1.ReasonSecretTooLarge:
			return !claimed(f)
		case v1alpha1.ReasonRefreshTokenRejected, v1alpha1.ReasonRefreshTokenLost, v1alpha1.ReasonCredentialRolledBack, v1alpha1.ReasonEndpointChanged:
			return !importWanted(f) && !handedOver(f) // these are what another grant mends
		default:
			return true
		}
	})
}

// clientReady finds a client that cannot be used. A client whose spec has changed since it was last looked at is not
// ready either, but nothing is said of it: the word comes in a moment, and a thousand accounts need not be written twice.
func clientReady(f *Facts) *Finding {
	if f.Client == nil || clientAvailable(f) != nil {
		return nil
	}
	ready := meta.FindStatusCondition(f.Client.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case clientPending(f.Client):
		return &Finding{v1alpha1.ConditionClientReady, v1alpha1.ReasonClientNotReady, "the OAuthClient has not been checked yet"}
	case ready.Status == metav1.ConditionTrue:
		return nil
	case fromOtherNamespace(f.Account):
		// What is wrong with it is its owner's to know: the message names Secrets.
		return &Finding{v1alpha1.ConditionClientReady, v1alpha1.ReasonClientNotReady, "the OAuthClient is not ready: its owner sees why in its conditions"}
	default:
		return &Finding{v1alpha1.ConditionClientReady, v1alpha1.ReasonClientNotReady, fmt.Sprintf("the OAuthClient is not ready: %s: %s", ready.Reason, ready.Message)}
	}
}

// clientPending: the client's status does not speak of its present spec.
func clientPending(client *v1alpha1.OAuthClient) bool {
	ready := meta.FindStatusCondition(client.Status.Conditions, v1alpha1.ConditionReady)
	return ready == nil || ready.ObservedGeneration != client.Generation
}

func schemaTooOld(f *Facts) *Finding {
	if !f.SchemaTooOld {
		return nil
	}
	return &Finding{
		v1alpha1.ConditionAuthorized, v1alpha1.ReasonSchemaTooOld,
		"the installed CustomResourceDefinition drops fields that this version of the operator must keep: install the definitions of this version (config/crd)",
	}
}

func keyringMissing(f *Facts) *Finding {
	if !f.KeyringMissing && f.Credential.State != CredentialKeyMissing {
		return nil
	}
	return &Finding{
		v1alpha1.ConditionAuthorized, v1alpha1.ReasonKeyringMissing,
		"the keyring Secret, or the key in it that sealed this account's credential, is missing: restore the Secret from a backup; it is never made anew while a credential depends on it",
	}
}

func credentialFault(f *Facts) *Finding {
	wayBack := "delete this account and create it again; with this grant nothing is lost"
	switch f.Credential.State {
	case CredentialElsewhere:
		if refreshes(f) {
			wayBack = fmt.Sprintf("if no other account uses it any more, such as after a restore: kubectl annotate --overwrite connectedaccount -n %s %s %s=%s",
				f.Account.Namespace, f.Account.Name, v1alpha1.AnnotationAdopt, f.Account.Status.BoundTo.AccountUID)
		}
		return &Finding{
			v1alpha1.ConditionAuthorized, v1alpha1.ReasonCredentialFromElsewhere,
			"the sealed credential was made for another account or cluster (status.boundTo) and is not used: " + wayBack,
		}
	case CredentialUnreadable:
		if refreshes(f) {
			wayBack = "write status.sealedCredential back from a backup; if there is none, delete this account, create it again, and have the person authorize again"
		}
		return &Finding{
			v1alpha1.ConditionAuthorized, v1alpha1.ReasonCredentialUnreadable,
			"the sealed credential was changed, or was made for another object, and does not open: " + wayBack,
		}
	case CredentialNewerFormat:
		return &Finding{
			v1alpha1.ConditionAuthorized, v1alpha1.ReasonCredentialUnreadable,
			"the credential was sealed by a later version of the operator: run that version or a later one",
		}
	case CredentialNone, CredentialHeld, CredentialKeyMissing:
		return nil
	}
	return nil
}

// scopeExceeded finds a token that can do more than an account of another namespace is allowed: it is not handed out.
// It counts where the token came from, not where the account points by now. Where the client cannot be asked any more,
// what was asked for is what was allowed.
func scopeExceeded(f *Facts) *Finding {
	origin := f.Credential.ClientNamespace
	if origin == "" {
		origin = ClientNamespace(f.Account)
	}
	if f.Credential.State != CredentialHeld || origin == f.Account.Namespace {
		return nil
	}
	allowed := f.Credential.RequestedScopes
	if f.Client != nil && origin == ClientNamespace(f.Account) {
		allowed = ceiling(f)
	}
	// What a person granted counts as well: an answer to a refresh that names no scopes means all of it (RFC 6749 section 6).
	if beyond := without(slices.Concat(f.Credential.Scopes, f.Credential.GrantedScopes), allowed); len(beyond) == 0 {
		return nil
	}
	return &Finding{
		v1alpha1.ConditionAuthorized, v1alpha1.ReasonScopeExceeded,
		"the server granted more scopes than the OAuthClient allows this namespace, so the token is not published: have the client's owner allow them, or register a client with fewer",
	}
}

func scopeReduced(f *Facts) *Finding {
	if f.Credential.State != CredentialHeld || f.Credential.Scopes == nil {
		return nil // what is not known is not said to be missing
	}
	missing := without(f.Credential.RequestedScopes, f.Credential.Scopes)
	if len(missing) == 0 {
		return nil
	}
	return &Finding{v1alpha1.ConditionAuthorized, v1alpha1.ReasonScopeReduced, fmt.Sprintf(
		"the server did not grant the scopes %s; the token is used as it is: have them added to the registration, or remove them from spec.scopes", strings.Join(missing, ", "))}
}

// secretFault finds a spec.secret that cannot be carried out. The Secret stays as it is.
func secretFault(f *Facts) *Finding { return f.SecretFault }

func secretOwned(f *Facts) *Finding {
	if f.Secret != SecretForeign {
		return nil
	}
	return SecretForeignFinding(TokenSecretName(f.Account))
}

// SecretForeignFinding is the fault of a Secret that is not the account's.
func SecretForeignFinding(name string) *Finding {
	return &Finding{v1alpha1.ConditionPublished, v1alpha1.ReasonSecretOwnedByOther, fmt.Sprintf(
		"a Secret %s exists that is not this account's, and is left alone: set spec.secret.name to another name, or remove that Secret", name)}
}

// TokenSecretName is the name of the account's token Secret.
func TokenSecretName(account *v1alpha1.ConnectedAccount) string {
	if account.Spec.Secret.Name != "" {
		return account.Spec.Secret.Name
	}
	return account.Name
}

// resultUnread finds a result that nobody can read and nobody may throw away. The account is looked at all the same: the key
// that opens it, or the version of the operator that wrote it, may come back.
func resultUnread(f *Facts) *Finding {
	if !f.ExchangeOpen || !f.ResultUnread {
		return nil
	}
	return &Finding{
		v1alpha1.ConditionRefreshed, v1alpha1.ReasonResultUnread,
		"the answer to a token request of this account lies in the journal of the operator's pod and cannot be read there, so no further request is made: the operator's log says why; put the missing key back into the keyring, or run the version of the operator that wrote it",
	}
}

func suspended(f *Facts) *Finding {
	if !f.Account.Spec.Suspend {
		return nil
	}
	return &Finding{v1alpha1.ConditionRefreshed, v1alpha1.ReasonSuspended, "spec.suspend holds back token requests: set it to false to go on"}
}

// tooManyAccounts finds an account that is too young to be among those of its namespace that are worked on.
func tooManyAccounts(f *Facts) *Finding {
	if !f.BeyondLimit {
		return nil
	}
	return &Finding{
		v1alpha1.ConditionRefreshed, v1alpha1.ReasonTooManyAccounts,
		"the namespace has more accounts than the operator works on, and this one is not among the oldest: delete accounts that nobody needs, or have the platform team raise --max-accounts-per-namespace",
	}
}

// heldTold is for how long requests are held back before an account says so: most troubles are over by then, and a
// thousand accounts need not be written twice.
const heldTold = 10 * time.Second

// wants: the account would make a token request now, if it were alone.
func wants(f *Facts, now time.Time) bool {
	return f.Client != nil && f.Credential.State == CredentialNone && !refreshes(f) || f.Credential.State == CredentialHeld && (!f.Credential.HasAccessToken || refreshDue(f, now) || refreshRequested(f, now))
}

// heldFinding tells why an account that wants a token is not served, where nothing of its own tells it.
func heldFinding(f *Facts, now time.Time) *Finding {
	if !heldBack(f, now) || now.Before(f.Held.Since.Add(heldTold)) || !wants(f, now) || f.Account.Status.Failures.Count > 0 || authorizationFinal(f) {
		return nil
	}
	const goesOn = "; the circuit of the OAuthClient is open: one request at a time finds out whether it is over, and this account's follows then"
	told := func(reason, message string) *Finding {
		return &Finding{v1alpha1.ConditionRefreshed, reason, message + goesOn}
	}
	switch f.Held.Class {
	case oauth.NotSent, oauth.OutcomeUnknown:
		return told(v1alpha1.ReasonServerUnreachable, "several token requests in a row have brought no answer from the server, and nothing was sent for this account")
	case oauth.Throttled:
		return told(v1alpha1.ReasonThrottled, "the server asks to come back later, and nothing was sent for this account")
	case oauth.ClientRejected:
		return told(v1alpha1.ReasonClientRejected, "the server has refused client id or secret several times in a row, and nothing was sent for this account: the client's owner must correct them")
	case oauth.RequestRejected, oauth.InvalidResponse, oauth.RefreshTokenRejected, RefreshTokenLost, oauth.AuthorizationDenied, oauth.AuthorizationRequired:
	}
	return told(v1alpha1.ReasonRequestRejected, "the server has refused the requests of many accounts in a row, and nothing was sent for this account: the client's owner must find out why")
}

// ClientOrigins are the origins (scheme://host:port) of all endpoints of the client that may receive a secret, sorted.
func ClientOrigins(client *v1alpha1.OAuthClient) []string {
	origin, err := oauth.Origin(string(client.Spec.Endpoints.Token))
	if err != nil {
		return nil
	}
	return []string{origin}
}
