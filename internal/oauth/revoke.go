package oauth

import (
	"context"

	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// grantRevocation stands for a revocation where a grant is named: it is built and sent like a token request.
const grantRevocation GrantType = "revocation"

// Revoke asks a revocation endpoint, once, to end a refresh token and all that descends from it (RFC 7009). It is a form,
// whatever the token endpoint wants. Every error is an *Error; of its classes NotSent, OutcomeUnknown and Throttled are worth
// another try, which does no harm.
func (c *Client) Revoke(ctx context.Context, reg Registration, endpoint string, token secret.Value) error {
	reg.TokenEndpoint, reg.BodyFormat = endpoint, BodyForm
	started := c.clock.Now()
	ready, err := c.Ready(ctx, reg, GrantRequest{Grant: grantRevocation, RefreshToken: token})
	if err != nil {
		return err
	}
	reply, err := ready.Send(ctx, started, reg.timeout())
	if err != nil {
		return err
	}
	if reply.inner().isSuccess() {
		return nil // what is in the body says nothing (RFC 7009 section 2.2)
	}
	_, err = reply.Judge(GrantRefreshToken)
	return err
}
