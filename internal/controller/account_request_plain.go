//go:build plain

package controller

import (
	"context"
	"fmt"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// request, in a build with the tag plain, is what a controller does that knows no better: exchange, then write. It has
// neither claim nor journal, and gives up where a write fails, as any lap does. The fault tests run it through the same plans,
// to show that these lose tokens where nothing guards them. It must never be released.
func (r *AccountReconciler) request(ctx context.Context, facts *lifecycle.Facts, plan lifecycle.Plan) (exchanged, error) {
	defer r.forgetGone(ctx, facts)
	if plan.Code {
		return r.refresh(ctx, facts, plan) // it is about refresh tokens that something is to be shown
	}
	if !plan.Refresh {
		return r.obtain(ctx, facts, plan)
	}
	ready, err := r.readyToSend(ctx, facts)
	if err != nil {
		return exchanged{}, err
	}
	keyring, _ := r.Keyring.current()
	subject := r.subject(facts.Account)
	_, held := openCredential(keyring, subject, facts.Account)
	started := r.Clock.Now()
	r.memory.update(facts.Account, func(m *accountMemory) { m.lastAttempt = started })
	answer, err := ready.transport.Exchange(ctx, ready.registration, oauth.GrantRequest{
		Grant: oauth.GrantRefreshToken, RefreshToken: held.RefreshToken, Scopes: plan.Scopes,
	})
	r.answered(ctx, facts, err, r.Clock.Since(started))
	if err != nil {
		return exchanged{failure: failureOf(ctx, err)}, nil
	}
	template := r.templateOf(facts, plan, ready.registration)
	template.Lineage, template.RefreshToken = held.Lineage, held.RefreshToken
	credential := completed(template, answer, lifecycle.DefaultLifetime(facts.Client))
	sealed, err := keyring.Seal(seal.PurposeCredential, subject, credential)
	if err != nil {
		return exchanged{}, fmt.Errorf("seal the credential: %w", err)
	}
	next := *facts
	next.Account, next.Credential = facts.Account.DeepCopy(), knownOf(keyring, subject, credential)
	next.Account.Status.SealedCredential = sealed
	next.Account.Status.BoundTo = v1alpha1.BoundTo{ClusterID: r.ClusterID, AccountUID: string(facts.Account.UID)}
	next.Account.Status = lifecycle.Status(&next, lifecycle.Done{}, r.Clock.Now())
	if err := r.updateKept(ctx, next.Account); err != nil {
		return exchanged{}, err
	}
	*facts = next
	return exchanged{kept: true}, nil
}
