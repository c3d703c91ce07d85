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
)
