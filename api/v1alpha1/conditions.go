package v1alpha1

// Conditions of a ConnectedAccount. The first five are always present; the last two only while they are True.
const (
	// ConditionReady answers: is there a usable token in the Secret now? While there is, a failure elsewhere shows as
	// its reason and leaves it True. Both kinds have it.
	ConditionReady = "Ready"
	// ConditionClientReady answers: can the OAuthClient that the account names be used for it?
	ConditionClientReady = "ClientReady"
	// ConditionAuthorized answers: does the account hold what its grant needs, and may it ask for what it asks?
	ConditionAuthorized = "Authorized"
	// ConditionRefreshed answers: did the last token request work?
	ConditionRefreshed = "Refreshed"
	// ConditionPublished answers: is the token Secret equal to the credential that is kept?
	ConditionPublished = "Published"
	// ConditionReconciling is True while the operator gets there by itself, or waits for a person (kstatus).
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True while somebody must act, and only together with Ready=False (kstatus).
	ConditionStalled = "Stalled"
)

// Conditions of an OAuthClient, besides Ready.
const (
	// ConditionAccepted answers: does the spec make sense as a whole?
	ConditionAccepted = "Accepted"
	// ConditionResolvedRefs answers: can everything that the spec names be read?
	ConditionResolvedRefs = "ResolvedRefs"
)

// Reasons of conditions that are True.
const (
	// ReasonTokenValid surfaces when the Secret holds a token that has not expired and nothing is wrong.
	ReasonTokenValid = "TokenValid"
	// ReasonClientReady surfaces when the client is ready and may be used by the account.
	ReasonClientReady = "ClientReady"
	// ReasonNotRequired surfaces where the grant has no such step, as client credentials need nobody's consent.
	ReasonNotRequired = "NotRequired"
	// ReasonAuthorized surfaces when the account holds a refresh token.
	ReasonAuthorized = "Authorized"
	// ReasonRefreshed surfaces when the last token request brought a token.
	ReasonRefreshed = "Refreshed"
	// ReasonPublished surfaces when the token Secret equals the kept credential.
	ReasonPublished = "Published"
	// ReasonAccepted surfaces when the spec of a client can be used.
	ReasonAccepted = "Accepted"
	// ReasonResolved surfaces when each Secret that a client names was read.
	ReasonResolved = "Resolved"
	// ReasonReady surfaces when a client can be used.
	ReasonReady = "Ready"
	// ReasonProgressing surfaces while the operator gets there by itself.
	ReasonProgressing = "Progressing"
	// ReasonWaiting surfaces while the operator goes on as soon as a person has done their part: consented, approved, or ended
	// the suspension. Nothing has failed.
	ReasonWaiting = "Waiting"
)

// Reasons of an account's conditions that are False.
const (
	// ReasonTokenExpired surfaces when the token in the Secret has expired and no other reason is known.
	ReasonTokenExpired = "TokenExpired"
	// ReasonPending surfaces before the first attempt of a step.
	ReasonPending = "Pending"
	// ReasonSuspended surfaces when spec.suspend holds back token requests.
	ReasonSuspended = "Suspended"
	// ReasonResultUnread surfaces when what a token request brought lies in the operator's journal and cannot be read there:
	// the refresh token in it may be the only one that is still good, so no further request is made.
	ReasonResultUnread = "ResultUnread"
	// ReasonTooManyAccounts surfaces when the account's namespace has more accounts than the operator works on, and this one
	// is too young to be among them.
	ReasonTooManyAccounts = "TooManyAccounts"

	// ReasonClientNotAvailable surfaces when the client does not exist or may not be used: across namespaces the two
	// look alike, so that nobody learns what exists elsewhere.
	ReasonClientNotAvailable = "ClientNotAvailable"
	// ReasonClientNotReady surfaces when the client exists and may be used, but is not ready itself.
	ReasonClientNotReady = "ClientNotReady"

	// ReasonScopeNotAllowed surfaces when the account asks for a scope that its client does not allow it.
	ReasonScopeNotAllowed = "ScopeNotAllowed"
	// ReasonScopeReduced surfaces when the server granted fewer scopes than were asked for; the token is used.
	ReasonScopeReduced = "ScopeReduced"
	// ReasonScopeExceeded surfaces when the server granted more than the client allows an account in another namespace; the token is not used.
	ReasonScopeExceeded = "ScopeExceeded"
	// ReasonCredentialFromElsewhere surfaces when the sealed credential was made for another account or cluster.
	ReasonCredentialFromElsewhere = "CredentialFromElsewhere"
	// ReasonCredentialUnreadable surfaces when the sealed credential cannot be opened although its key is there.
	ReasonCredentialUnreadable = "CredentialUnreadable"
	// ReasonCredentialRolledBack surfaces when the status holds an earlier credential than was kept already: its refresh
	// token is spent.
	ReasonCredentialRolledBack = "CredentialRolledBack"
	// ReasonEndpointChanged surfaces when the client names another host, or another client identifier, than the refresh token was obtained with.
	ReasonEndpointChanged = "EndpointChanged"
	// ReasonAuthorizationRequired surfaces when there is no refresh token, or the provider wants a person to authorize.
	ReasonAuthorizationRequired = "AuthorizationRequired"
	// ReasonAuthorizationPending surfaces while a person's consent is being exchanged for a token.
	ReasonAuthorizationPending = "AuthorizationPending"
	// ReasonApprovalRequired surfaces when a person has consented and spec.consent.approval wants somebody to approve of it
	// before the token is published.
	ReasonApprovalRequired = "ApprovalRequired"
	// ReasonConsentDue surfaces when the grant is about to end, and the person must consent again.
	ReasonConsentDue = "ConsentDue"
	// ReasonSubjectChanged surfaces when the provider names another person or account than the one whose access it was, or
	// than is expected.
	ReasonSubjectChanged = "SubjectChanged"
	// ReasonAuthorizationDenied surfaces when a person or a policy at the provider refused the access.
	ReasonAuthorizationDenied = "AuthorizationDenied"
	// ReasonRefreshTokenRejected surfaces when the provider refuses the refresh token, which was not used before: the
	// grant was ended elsewhere.
	ReasonRefreshTokenRejected = "RefreshTokenRejected"
	// ReasonRefreshTokenLost surfaces when the provider refuses the refresh token after a request whose outcome nobody
	// knows: what that request brought was lost on the way.
	ReasonRefreshTokenLost = "RefreshTokenLost"
	// ReasonAlreadyImported surfaces when the refresh token that an account is to import was imported by another account before.
	ReasonAlreadyImported = "AlreadyImported"
	// ReasonKeyringMissing surfaces when the keyring, or the key that sealed the credential, is not there.
	ReasonKeyringMissing = "KeyringMissing"
	// ReasonSchemaTooOld surfaces when the installed CustomResourceDefinition drops a field that the operator must keep.
	ReasonSchemaTooOld = "SchemaTooOld"

	// ReasonServerUnreachable surfaces when a token request could not be sent; nothing was spent.
	ReasonServerUnreachable = "ServerUnreachable"
	// ReasonOutcomeUnknown surfaces when a token request was sent and no usable answer came back.
	ReasonOutcomeUnknown = "OutcomeUnknown"
	// ReasonThrottled surfaces when the server asks to come back later.
	ReasonThrottled = "Throttled"
	// ReasonClientRejected surfaces when the server refuses the client's id or secret.
	ReasonClientRejected = "ClientRejected"
	// ReasonRequestRejected surfaces when the server refuses the request as it is configured.
	ReasonRequestRejected = "RequestRejected"
	// ReasonInvalidResponse surfaces when the server's answer is not one that can be used.
	ReasonInvalidResponse = "InvalidResponse"

	// ReasonSecretOwnedByOther surfaces when a Secret of that name exists and is not this account's; it is left alone.
	ReasonSecretOwnedByOther = "SecretOwnedByOther"
	// ReasonSecretWriteFailed surfaces when the API server did not take the token Secret.
	ReasonSecretWriteFailed = "SecretWriteFailed"
	// ReasonInvalidSecretData surfaces when spec.secret.data cannot be carried out, for a cause that the schema cannot see.
	ReasonInvalidSecretData = "InvalidSecretData"
	// ReasonSecretTooLarge surfaces when the Secret could become too large with the largest token that there can be: none is asked for.
	ReasonSecretTooLarge = "SecretTooLarge"
)

// Reasons of a client's conditions that are False.
const (
	// ReasonInvalidEndpoint surfaces when an endpoint cannot be used, for a cause that the schema cannot see.
	ReasonInvalidEndpoint = "InvalidEndpoint"
	// ReasonInvalidSelector surfaces when a selector in allowedNamespaces cannot be used.
	ReasonInvalidSelector = "InvalidSelector"
	// ReasonUnsupportedMethod surfaces when the client cannot authenticate as the spec says.
	ReasonUnsupportedMethod = "UnsupportedMethod"
	// ReasonSecretNotFound surfaces when a Secret that the client names does not exist.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretKeyMissing surfaces when the Secret has no such key, or nothing usable in it.
	ReasonSecretKeyMissing = "SecretKeyMissing"
	// ReasonSecretNotConsented surfaces when the Secret's owner did not say that the operator may read it, or not
	// that this host may receive it.
	ReasonSecretNotConsented = "SecretNotConsented"
)
