package lifecycle

import (
	"slices"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

const (
	// RevokePatience is for how long a deleted account is held so that its grant can be revoked.
	RevokePatience = 2 * time.Minute
	// revokePause is the pause between two tries.
	revokePause = 5 * time.Second
)

// RevocationOrigins are where a refresh token may go to be revoked, besides the client's other origins.
func RevocationOrigins(client *v1alpha1.OAuthClient) []string {
	origin, err := oauth.Origin(string(client.Spec.Endpoints.Revocation))
	if err != nil {
		return nil
	}
	return []string{origin}
}

// Holds reports whether the account is held when it is deleted.
func Holds(account *v1alpha1.ConnectedAccount) bool {
	return slices.Contains(account.Finalizers, v1alpha1.FinalizerRevoke)
}

// ShouldHold reports whether there is something to revoke when the account is deleted. Once it goes, nothing is added.
func ShouldHold(f *Facts) bool {
	return f.Account.DeletionTimestamp.IsZero() && revokes(f.Account) && f.Client != nil && f.Client.Spec.Endpoints.Revocation != "" && holdsRefreshToken(f)
}

func revokes(account *v1alpha1.ConnectedAccount) bool {
	return account.Spec.DeletionPolicy == v1alpha1.DeletionRevoke && account.Spec.Grant.Type == v1alpha1.GrantAuthorizationCode
}

// MayRelease reports whether an account that is held need not be any more. What cannot be seen at the moment may be there.
func MayRelease(f *Facts) bool {
	return f.Account.DeletionTimestamp.IsZero() && Holds(f.Account) && !revokes(f.Account)
}

// RevocationFault tells why nothing is sent to revoke the grant of a deleted account, and whether that may pass; "": it may be
// sent. The token goes where it could have gone before, and nowhere else.
func RevocationFault(f *Facts) (reason string, passes bool) {
	switch f = seen(f); {
	case !revokes(f.Account):
		return "spec.deletionPolicy does not ask for it", false
	case f.KeyringMissing, f.Credential.State == CredentialKeyMissing:
		return "the keyring is missing", true
	case !holdsRefreshToken(f):
		return "there is no refresh token that can be read", false
	case f.Client == nil || clientAvailable(f) != nil:
		return "the OAuthClient is not there, or may not be used", true
	case f.Client.Spec.Endpoints.Revocation == "":
		return "the OAuthClient has no revocation endpoint", false
	case clientReady(f) != nil:
		return "the OAuthClient is not ready", true
	case f.Client.Spec.ClientID != "" && f.Client.Spec.ClientID != f.Credential.ClientID:
		return "the OAuthClient has another client identifier than the refresh token was issued to", false
	case len(without(without(RevocationOrigins(f.Client), f.Credential.Origins), acceptedOrigins(f.Client))) > 0:
		return "the revocation endpoint is at another host than the person's consent was for (oauth-operator.dev/accept-origin)", false
	}
	return "", false
}

// toRevoke: the account is deleted, and held so that its grant is revoked. What is under way is waited for, since it may bring
// the token that is to be revoked.
func toRevoke(f *Facts) bool {
	return !f.Account.DeletionTimestamp.IsZero() && Holds(f.Account) && !f.ExchangeOpen
}
