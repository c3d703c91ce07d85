//go:build !plain

package controller

import (
	"context"

	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
)

// request spends the code or the refresh token, or asks with the client's own credentials.
func (r *AccountReconciler) request(ctx context.Context, facts *lifecycle.Facts, plan lifecycle.Plan) (exchanged, error) {
	defer r.forgetGone(ctx, facts)
	if plan.Refresh || plan.Code {
		return r.refresh(ctx, facts, plan)
	}
	return r.obtain(ctx, facts, plan)
}
