package v1alpha1

const (
	// LabelCredential marks, with the value "true", a Secret whose owner lets the operator read it. The operator
	// reads no other Secret, whatever a client or an account names.
	LabelCredential = Group + "/credential"

	// LabelAccount marks a token Secret that the operator wrote; its value is the account's UID, since an account's
	// name may be longer than a label.
	LabelAccount = Group + "/account"

	// AnnotationHosts on a Secret with LabelCredential lists the hosts that may receive what is in it, separated by
	// commas. A port is named only where it is not the scheme's own. Absent: whichever host the client names.
	AnnotationHosts = Group + "/hosts"

	// AnnotationRotation on a token Secret tells which result of the account it holds: a number and a MAC of it
	// under the operator's keyring. It bears witness against a status that was put back to an earlier state.
	AnnotationRotation = Group + "/rotation"

	// AnnotationImported on a Secret with LabelCredential says which account took its refresh token over: the account's
	// UID, the time, and a MAC of the token. No other account imports that token any more.
	AnnotationImported = Group + "/imported"

	// AnnotationReplaceGrant on an account, with the number of its present grant, lets the refresh token that
	// spec.importRefreshTokenRef names replace one that still works. The condition Authorized tells the number.
	AnnotationReplaceGrant = Group + "/replace-grant"

	// AnnotationAdopt on an account, with the value of status.boundTo.accountUID, lets the account take over a sealed
	// credential that was made for that earlier account of its name.
	AnnotationAdopt = Group + "/adopt"

	// AnnotationAcceptOrigin on a client, with an origin such as https://provider.example:8443 or a list of them separated
	// by commas, lets refresh tokens go there that were obtained from another.
	AnnotationAcceptOrigin = Group + "/accept-origin"

	// AnnotationRefreshRequestedAt on an account, with a time (RFC 3339), asks for one new token as soon as that time has
	// come. A time that is not later than the account's last refresh asks for nothing.
	AnnotationRefreshRequestedAt = Group + "/refresh-requested-at"

	// AnnotationRotateKey on the keyring Secret, with the id of the key that seals at present, has the operator replace it by
	// a new one.
	AnnotationRotateKey = Group + "/rotate-key"

	// AnnotationRetireKey on the keyring Secret, with the id of a key that only opens any more, has the operator remove that
	// key, once nothing is sealed under it.
	AnnotationRetireKey = Group + "/retire-key"

	// AnnotationApprove on an account approves of the access that a person consented to, where spec.consent.approval wants it.
	// Its value is status.identity; where the provider names nobody, what the message of the condition Authorized prints.
	AnnotationApprove = Group + "/approve"

	// FinalizerRevoke holds a deleted account until its grant was revoked, or for two minutes at most.
	FinalizerRevoke = Group + "/revoke"

	// AnnotationAllowDelete on an account, with the account's name, lets it be deleted although a person's consent goes with it.
	AnnotationAllowDelete = Group + "/allow-delete"
)
