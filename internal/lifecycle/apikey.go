package lifecycle

import (
	"cmp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// APIKey is what is known of the key that an account publishes. It is no credential: nothing brought it, and nothing
// replaces it but its owner.
type APIKey struct {
	// Held: it was read, and may be published.
	Held bool
	// Finding is why it cannot be read.
	Finding *Finding
}

// keyed reports whether the account publishes an API key. Nobody is asked for it, ever.
func keyed(f *Facts) bool { return IsKeyed(f.Account) }

// IsKeyed reports whether the account publishes an API key.
func IsKeyed(account *v1alpha1.ConnectedAccount) bool {
	return account.Spec.Grant.Type == v1alpha1.GrantAPIKey
}

// apiKey finds why the key cannot be published. What is in the token Secret stays there: it may be good for years.
func apiKey(f *Facts) *Finding {
	if f.APIKey.Finding == nil {
		return nil
	}
	return &Finding{
		v1alpha1.ConditionAuthorized, f.APIKey.Finding.Reason,
		"the API key cannot be read, and the Secret " + TokenSecretName(f.Account) + " is left as it is: " + f.APIKey.Finding.Message,
	}
}

// OnBehalfOfHeader is the name of the header that names the connected account. While the client is not there to say it, it
// is what the client last said: under another name the provider would take a request for one of somebody else's.
func OnBehalfOfHeader(f *Facts) v1alpha1.HeaderName {
	f = seen(f)
	said := f.Account.Status.OnBehalfOfHeader
	switch {
	case keyed(f):
		said = f.Account.Spec.OnBehalfOfHeader
	case f.Client != nil:
		said = f.Client.Spec.OnBehalfOf.Header
	}
	return cmp.Or(said, v1alpha1.DefaultOnBehalfOfHeader)
}

// rememberHeader takes over into the status what the client says of the header.
func rememberHeader(f *Facts, status *v1alpha1.ConnectedAccountStatus) {
	header := OnBehalfOfHeader(f)
	if keyed(f) || header == v1alpha1.DefaultOnBehalfOfHeader {
		header = ""
	}
	status.OnBehalfOfHeader = header
}
