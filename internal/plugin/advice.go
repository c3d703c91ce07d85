package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// The people who may have to act.
const (
	actorNobody   = "nobody: it goes on by itself"
	actorOwner    = "the account's owner"
	actorClient   = "the client's owner"
	actorSecret   = "the Secret's owner"
	actorPlatform = "the platform team"
	actorPerson   = "the person whose access it is"
)

// actor is who has to act, for each reason that a condition can be False with.
func actor(reason string) string {
	for who, reasons := range map[string][]string{
		actorNobody: {
			v1alpha1.ReasonPending, v1alpha1.ReasonAuthorizationPending, v1alpha1.ReasonServerUnreachable, v1alpha1.ReasonOutcomeUnknown, v1alpha1.ReasonThrottled,
		},
		actorOwner: {
			v1alpha1.ReasonSuspended, v1alpha1.ReasonTooManyAccounts, v1alpha1.ReasonClientNotAvailable, v1alpha1.ReasonScopeNotAllowed,
			v1alpha1.ReasonApprovalRequired, v1alpha1.ReasonSubjectChanged, v1alpha1.ReasonRefreshTokenRejected, v1alpha1.ReasonRefreshTokenLost,
			v1alpha1.ReasonAlreadyImported, v1alpha1.ReasonCredentialFromElsewhere, v1alpha1.ReasonSecretOwnedByOther, v1alpha1.ReasonInvalidSecretData,
			v1alpha1.ReasonSecretTooLarge, v1alpha1.ReasonSecretWriteFailed, v1alpha1.ReasonAuthorizationDenied, v1alpha1.ReasonAuthorizationRequired,
			v1alpha1.ReasonCredentialRolledBack,
		},
		actorClient: {
			v1alpha1.ReasonClientNotReady, v1alpha1.ReasonScopeReduced, v1alpha1.ReasonScopeExceeded, v1alpha1.ReasonEndpointChanged, v1alpha1.ReasonClientRejected,
			v1alpha1.ReasonRequestRejected, v1alpha1.ReasonInvalidResponse, v1alpha1.ReasonInvalidEndpoint, v1alpha1.ReasonInvalidSelector, v1alpha1.ReasonUnsupportedMethod,
		},
		actorSecret:   {v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonSecretKeyMissing, v1alpha1.ReasonSecretNotConsented},
		actorPlatform: {v1alpha1.ReasonTokenExpired, v1alpha1.ReasonResultUnread, v1alpha1.ReasonKeyringMissing, v1alpha1.ReasonSchemaTooOld, v1alpha1.ReasonCredentialUnreadable},
		actorPerson:   {v1alpha1.ReasonConsentDue},
	} {
		if slices.Contains(reasons, reason) {
			return who
		}
	}
	return ""
}

// actorOf is who has to act on a condition: where a reason has several causes, what its message tells to change says whose that is.
func actorOf(condition *metav1.Condition) string {
	for _, each := range []struct{ words, who string }{
		{"uses http, which", actorClient},
		{"--allow-cidrs", actorPlatform},
		{"--insecure-allow-loopback", actorPlatform},
		{"--consent-url", actorPlatform},
		{"the keyring has no usable keys", actorPlatform},
		{"never allowed", actorClient},
		{"cannot be resolved", actorClient},
		{"not trusted", actorClient},
		{"is for another host", actorClient},
		{"certificate of the token endpoint is not valid", actorClient},
		{"TLS handshake", actorClient},
		{"token endpoint must be", actorClient},
	} {
		if strings.Contains(condition.Message, each.words) {
			return each.who
		}
	}
	return actor(condition.Reason)
}

// commands are what to type against a reason, where that can be said. A condition may print one itself.
func commands(f *accountFacts, reason string) []string {
	account := f.account
	switch reason {
	case v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonSecretKeyMissing, v1alpha1.ReasonSecretNotConsented:
		if s := culprit(f, reason); s != nil {
			return s.commands(f)
		}
	case v1alpha1.ReasonClientNotAvailable:
		return clientCommands(f)
	case v1alpha1.ReasonScopeNotAllowed:
		return scopeCommands(f)
	case v1alpha1.ReasonSecretOwnedByOther:
		return []string{patchLine("connectedaccount", account.Namespace, account.Name, "secret.name", secretName(account)+"-token")}
	case v1alpha1.ReasonSuspended:
		return []string{patchLine("connectedaccount", account.Namespace, account.Name, "suspend", false)}
	case v1alpha1.ReasonAuthorizationRequired, v1alpha1.ReasonRefreshTokenRejected, v1alpha1.ReasonRefreshTokenLost, v1alpha1.ReasonAuthorizationDenied,
		v1alpha1.ReasonCredentialRolledBack, v1alpha1.ReasonConsentDue, v1alpha1.ReasonSubjectChanged:
		return consentCommands(account)
	case v1alpha1.ReasonClientRejected, v1alpha1.ReasonRequestRejected, v1alpha1.ReasonInvalidEndpoint, v1alpha1.ReasonInvalidSelector, v1alpha1.ReasonUnsupportedMethod:
		if account.Spec.ClientRef.Name != "" {
			return []string{line("kubectl", "-n", clientNamespace(account), "edit", "oauthclients.oauth-operator.dev", account.Spec.ClientRef.Name)}
		}
	case v1alpha1.ReasonCredentialFromElsewhere:
		if !consented(account) {
			return []string{line("kubectl", "-n", account.Namespace, "delete", "connectedaccounts.oauth-operator.dev", account.Name)}
		}
	case v1alpha1.ReasonKeyringMissing:
		if f.keyringThere() {
			return nil // what is in it must be saved first, and that is more than a line
		}
		return []string{line("kubectl", "-n", operatorNamespace, "create", "secret", "generic", keyringName,
			"--from-file=sealing-keyset.json", "--from-file=fingerprint-keyset.json", "--from-file=handover-keyset.json", "--from-file=consent-keyset.json")}
	case v1alpha1.ReasonSchemaTooOld:
		return []string{line("kubectl", "apply", "-k", "config/crd")}
	case v1alpha1.ReasonResultUnread, v1alpha1.ReasonTokenExpired:
		return []string{line("kubectl", "-n", operatorNamespace, "logs", "deployment/"+operatorName, "--all-pods", "--tail=50")}
	}
	return nil
}

// consentCommands lead a person to their consent, or hand over what it brought elsewhere.
func consentCommands(account *v1alpha1.ConnectedAccount) []string {
	switch {
	case account.Status.AuthorizationURL != "":
		return []string{own("authorize", account)}
	case account.Spec.ImportRefreshTokenRef.Name != "":
		return []string{own("import", account) + " --replace"}
	default:
		return nil
	}
}

// patchLine is a command that sets one field of a spec, which is named with dots.
func patchLine(kind, namespace, name, path string, value any) string {
	fields := strings.Split(path, ".")
	tree := value
	for _, field := range slices.Backward(fields) {
		tree = map[string]any{field: tree}
	}
	text, err := json.Marshal(map[string]any{"spec": tree})
	if err != nil {
		panic(fmt.Sprintf("strings could not be marshalled: %v", err)) // they always can
	}
	return line("kubectl", "-n", namespace, "patch", kind+"s.oauth-operator.dev", name, "--type=merge", "--patch="+string(text))
}

// commands are what mends a Secret. A value is never among them: it comes from a variable of the reader's shell, and from there
// by a pipe.
func (s source) commands(f *accountFacts) []string {
	label := line("kubectl", "label", "--overwrite", "secret", "-n", s.namespace, s.Name, v1alpha1.LabelCredential+"=true")
	patch := " | " + line("kubectl", "-n", s.namespace, "patch", "secret", s.Name, "--type=merge", "--patch-file=/dev/stdin")
	switch {
	case s.path == importPath && (s.missing || s.empty || s.newline):
		command := own("import", f.account)
		if !s.missing {
			command += " --replace"
		}
		return []string{command}
	case s.missing:
		return []string{
			`printf %s "$` + s.use + `" | ` + line("kubectl", "-n", s.namespace, "create", "secret", "generic", s.Name, "--from-file="+s.Key+"=/dev/stdin"),
			label,
		}
	case s.unread != nil:
		return nil
	case !s.labelled:
		return []string{label}
	case s.empty && s.alike() != "":
		return []string{patchLine(s.kind, s.namespace, s.owner, s.path+".key", s.alike())}
	case s.empty:
		return []string{`printf %s "$` + s.use + `"` + s.encoded() + patch}
	case s.newline:
		return []string{
			line("kubectl", "-n", s.namespace, "get", "secret", s.Name, "--output=go-template={{index .data \""+s.Key+"\" | base64decode}}") +
				` | tr -d '\r\n'` + s.encoded() + patch,
		}
	case s.withholds(f.endpoint()):
		_, host, _ := strings.Cut(originOf(f.endpoint()), "://")
		hosts := append(slices.Clone(s.hosts), strings.TrimSuffix(host, ":443"))
		return []string{line("kubectl", "annotate", "--overwrite", "secret", "-n", s.namespace, s.Name, v1alpha1.AnnotationHosts+"="+strings.Join(hosts, ","))}
	default:
		return nil
	}
}

// encoded makes a patch of a value that comes by a pipe, whatever characters are in it.
func (s source) encoded() string {
	return ` | base64 | tr -d '\n' | sed ` + quote(`s|.*|{"data":{"`+s.Key+`":"&"}}|`)
}

// endpoint is where the client sends what is in Secrets; "": the client is not known.
func (f *accountFacts) endpoint() v1alpha1.Endpoint {
	if f.owner == nil {
		return ""
	}
	return f.owner.Spec.Endpoints.Token
}

// clientCommands lead an account to a client that it may use.
func clientCommands(f *accountFacts) []string {
	account, ref := f.account, f.account.Spec.ClientRef
	switch {
	case f.owner == nil && len(f.elsewhere) > 0 && ref.Namespace == "":
		return []string{patchLine("connectedaccount", account.Namespace, account.Name, "clientRef.namespace", f.elsewhere[0])}
	case f.owner == nil && errors.As(f.ownerErr, new(*missingRightError)):
		return nil
	case f.owner == nil:
		return []string{line("kubectl", "-n", clientNamespace(account), "get", "oauthclients.oauth-operator.dev")}
	case !slices.Contains(f.owner.Spec.Grants, account.Spec.Grant.Type):
		return []string{jsonPatchLine(f.owner, "/spec/grants/-", account.Spec.Grant.Type)}
	case f.owner.Namespace == account.Namespace:
		return nil
	}
	entry := v1alpha1.AllowedNamespaces{
		From: v1alpha1.NamespacesFromSelector, Selector: selectorOf(account.Namespace), Grants: []v1alpha1.GrantType{account.Spec.Grant.Type}, Scopes: account.Spec.Scopes,
	}
	if len(f.owner.Spec.AllowedNamespaces) == 0 {
		return []string{jsonPatchLine(f.owner, "/spec/allowedNamespaces", []v1alpha1.AllowedNamespaces{entry})}
	}
	return []string{jsonPatchLine(f.owner, "/spec/allowedNamespaces/-", entry)}
}

// scopeCommands let an account ask for no more than its client has.
func scopeCommands(f *accountFacts) []string {
	if f.owner == nil || f.owner.Namespace != f.account.Namespace {
		return nil
	}
	var allowed []v1alpha1.Scope
	for _, scope := range f.account.Spec.Scopes {
		if slices.Contains(f.owner.Spec.Scopes, scope) {
			allowed = append(allowed, scope)
		}
	}
	var value any // none: all of the client's
	if len(allowed) > 0 {
		value = allowed
	}
	return []string{patchLine("connectedaccount", f.account.Namespace, f.account.Name, "scopes", value)}
}

// selectorOf selects one namespace, by the label that Kubernetes gives to each.
func selectorOf(namespace string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}
}

// jsonPatchLine is a command that adds something to a client.
func jsonPatchLine(owner *v1alpha1.OAuthClient, path string, value any) string {
	text, err := json.Marshal([]map[string]any{{"op": "add", "path": path, "value": value}})
	if err != nil {
		panic(fmt.Sprintf("what came from the API server could not be marshalled: %v", err)) // it always can
	}
	return line("kubectl", "-n", owner.Namespace, "patch", "oauthclients.oauth-operator.dev", owner.Name, "--type=json", "--patch="+string(text))
}
