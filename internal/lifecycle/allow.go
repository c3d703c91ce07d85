package lifecycle

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// ClientNamespace is the namespace in which the account's client is looked for.
func ClientNamespace(account *v1alpha1.ConnectedAccount) string {
	if account.Spec.ClientRef.Namespace != "" {
		return account.Spec.ClientRef.Namespace
	}
	return account.Namespace
}

func fromOtherNamespace(account *v1alpha1.ConnectedAccount) bool {
	return ClientNamespace(account) != account.Namespace
}

// seen is the facts as the account may know them. A client of another namespace that the account may not use is taken
// out of them, so that nothing in plan or status can differ from what is said where there is none.
func seen(f *Facts) *Facts {
	if f.Client == nil || !fromOtherNamespace(f.Account) || clientAvailable(f) == nil {
		return f
	}
	known := *f
	known.Client = nil
	return &known
}

// clientAvailable finds a client that does not exist, or that the account may not use for its grant. Across namespaces
// both read the same, so that an account cannot be used to look around in other namespaces.
func clientAvailable(f *Facts) *Finding {
	ref := f.Account.Spec.ClientRef
	if fromOtherNamespace(f.Account) {
		if f.Client != nil && slices.Contains(f.Client.Spec.Grants, f.Account.Spec.Grant.Type) && len(allowances(f)) > 0 {
			return nil
		}
		return &Finding{v1alpha1.ConditionClientReady, v1alpha1.ReasonClientNotAvailable, fmt.Sprintf(
			"no OAuthClient %s/%s that this namespace may use with the grant %s: its owner must create it and list this namespace, with the grant, in spec.allowedNamespaces",
			ref.Namespace, ref.Name, f.Account.Spec.Grant.Type)}
	}
	if f.Client == nil {
		return &Finding{v1alpha1.ConditionClientReady, v1alpha1.ReasonClientNotAvailable, fmt.Sprintf(
			"there is no OAuthClient %s in this namespace: create it, correct spec.clientRef.name, or name the namespace that it is in as spec.clientRef.namespace", ref.Name)}
	}
	if !slices.Contains(f.Client.Spec.Grants, f.Account.Spec.Grant.Type) {
		return &Finding{v1alpha1.ConditionClientReady, v1alpha1.ReasonClientNotAvailable, fmt.Sprintf(
			"the OAuthClient %s is not meant for this grant: add %s to its spec.grants", ref.Name, f.Account.Spec.Grant.Type)}
	}
	return nil
}

// allowances are the entries of the client's allowedNamespaces that speak of the account's namespace and grant.
func allowances(f *Facts) []v1alpha1.AllowedNamespaces {
	var matching []v1alpha1.AllowedNamespaces
	for _, entry := range f.Client.Spec.AllowedNamespaces {
		// Client credentials are the client owner's own access. They are shared only where that is written.
		granted := slices.Contains(entry.Grants, f.Account.Spec.Grant.Type) || len(entry.Grants) == 0 && refreshes(f)
		if granted && selects(entry, f.NamespaceLabels) {
			matching = append(matching, entry)
		}
	}
	return matching
}

func selects(entry v1alpha1.AllowedNamespaces, namespaceLabels map[string]string) bool {
	if entry.From == v1alpha1.NamespacesFromAll {
		return true
	}
	if entry.From != v1alpha1.NamespacesFromSelector || entry.Selector == nil {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(entry.Selector)
	if err != nil {
		return false // a selector that says nothing sensible selects nothing
	}
	return selector.Matches(labels.Set(namespaceLabels))
}

// ceiling is the set of scopes that the account may ask for.
func ceiling(f *Facts) []string {
	all := scopeStrings(f.Client.Spec.Scopes)
	if !fromOtherNamespace(f.Account) {
		return all
	}
	var allowed []string
	for _, entry := range allowances(f) {
		for _, scope := range scopeStrings(entry.Scopes) {
			if slices.Contains(all, scope) && !slices.Contains(allowed, scope) {
				allowed = append(allowed, scope)
			}
		}
	}
	return allowed
}

// scopesAllowed finds a scope above the ceiling.
func scopesAllowed(f *Facts) *Finding {
	if f.Client == nil {
		return nil
	}
	asked := scopeStrings(f.Account.Spec.Scopes)
	if len(asked) == 0 && fromOtherNamespace(f.Account) && len(f.Client.Spec.Scopes) > 0 {
		return &Finding{
			v1alpha1.ConditionAuthorized, v1alpha1.ReasonScopeNotAllowed,
			"an account that uses a client of another namespace must list its scopes: set spec.scopes",
		}
	}
	if beyond := without(asked, ceiling(f)); len(beyond) > 0 {
		return &Finding{v1alpha1.ConditionAuthorized, v1alpha1.ReasonScopeNotAllowed, fmt.Sprintf(
			"the OAuthClient %s does not allow this account the scopes %s: remove them from spec.scopes, or have the client's owner allow them",
			f.Account.Spec.ClientRef.Name, strings.Join(beyond, ", "))}
	}
	return nil
}

// requestedScopes are the scopes that a token request of the account names; in the order of the spec.
func requestedScopes(f *Facts) []string {
	if len(f.Account.Spec.Scopes) > 0 {
		return scopeStrings(f.Account.Spec.Scopes)
	}
	return scopeStrings(f.Client.Spec.Scopes)
}

func scopeStrings(scopes []v1alpha1.Scope) []string {
	texts := make([]string, len(scopes))
	for i, scope := range scopes {
		texts[i] = string(scope)
	}
	return texts
}

// without returns the members of a that are not in b.
func without(a, b []string) []string {
	var rest []string
	for _, member := range a {
		if !slices.Contains(b, member) {
			rest = append(rest, member)
		}
	}
	return rest
}

func sameSet(a, b []string) bool { return len(without(a, b)) == 0 && len(without(b, a)) == 0 }
