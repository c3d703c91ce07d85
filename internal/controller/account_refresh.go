package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// claimDeadline bounds the write of a claim, and the read that finds out whether an unclear one was applied.
const claimDeadline = 10 * time.Second

// refresh spends the account's refresh token, or a code: ready, claim, send, journal, keep. The order is the whole point. What
// can be used once is spent by sending it, and what comes of it exists nowhere but in the reply.
func (r *AccountReconciler) refresh(ctx context.Context, facts *lifecycle.Facts, plan lifecycle.Plan) (exchanged, error) {
	ready, limit := r.readyToSpend, lifecycle.RequestLimit(facts.Client)
	if plan.Code {
		ready, limit = r.readyToRedeem, lifecycle.CodeLimit(facts.Client)
	}
	spend, unready, err := ready(ctx, facts, plan)
	if err != nil || spend == nil {
		return unready, err
	}
	defer spend.release()

	started := r.Clock.Now() // the limit counts from before the claim: a process that is paused meanwhile must not send
	if plan.Claim {
		if err := r.claim(ctx, facts, plan, spend); err != nil {
			return exchanged{}, err
		}
	}
	r.memory.update(facts.Account, func(m *accountMemory) { m.lastAttempt = started })
	reply, err := spend.request.Send(ctx, started, limit)
	if err == nil {
		r.journal(ctx, facts, spend, reply)
	}
	r.answered(ctx, facts, judged(reply, spend.grant(), err), r.Clock.Since(started))
	result := r.outcomeOf(ctx, facts.Account.Namespace, spend, reply, err)
	if result.failure == nil || result.failure.Class != oauth.NotSent {
		r.memory.update(facts.Account, func(m *accountMemory) { m.claimed(spend.claimID, lifecycle.ClaimInDoubt) })
	}
	err = r.settle(ctx, facts, result)
	if err == nil || errors.Is(err, errSuperseded) || !result.irreplaceable() {
		r.removeEntry(ctx, facts.Account, spend.claimID)
	}
	return exchanged{kept: err == nil && result.credential != nil}, err
}

// spend is all that spending a refresh token needs, in hand before it is claimed.
type spend struct {
	request *oauth.Request
	slot    *seal.Slot
	claimID string
	host    string
	// receipt is what the journal is to hold, but for the reply.
	receipt  seal.Receipt
	spending lifecycle.Spending
	// clientSecret must not come back in anything that is published. Empty where a journal is replayed.
	clientSecret secret.Value
}

// grant is what is sent.
func (s *spend) grant() oauth.GrantType {
	if s.spending.Code {
		return oauth.GrantAuthorizationCode
	}
	return oauth.GrantRefreshToken
}

// release gives back what was not used.
func (s *spend) release() {
	s.request.Close()
	s.slot.Release()
}

// readyToSpend gets everything in hand that could fail after the token is spent: keys, definition, journal, the client's
// secrets, the token Secret, a connection.
func (r *AccountReconciler) readyToSpend(ctx context.Context, facts *lifecycle.Facts, plan lifecycle.Plan) (*spend, exchanged, error) {
	ready, err := r.readyToSend(ctx, facts)
	if err != nil {
		return nil, exchanged{}, err
	}
	keyring, _ := r.Keyring.current()
	known, held := openCredential(keyring, r.subject(facts.Account), facts.Account)
	if known.State != lifecycle.CredentialHeld || known.Fingerprint != facts.Credential.Fingerprint {
		return nil, exchanged{}, fmt.Errorf("open the credential: %s", known.State)
	}
	if ready.registration.ClientID != held.ClientID {
		return nil, exchanged{failure: &lifecycle.Failure{Class: oauth.RequestRejected, Message: lifecycle.OtherClientFinding().Message}}, nil
	}
	connecting, cancel := context.WithTimeout(ctx, readyDeadline)
	defer cancel()
	if plan.Attempt <= 1 { // what is in doubt is not left in doubt because it could not be published
		if finding, err := r.secretWritable(connecting, facts, held); finding != nil || err != nil {
			return nil, exchanged{publish: finding}, err
		}
	}
	s := newSpend(ready)
	s.describe(facts, plan, r.templateOf(facts, plan, ready.registration), held)
	failure, err := r.connect(connecting, facts, s, ready, oauth.GrantRequest{
		Grant: oauth.GrantRefreshToken, RefreshToken: held.RefreshToken, Scopes: plan.Scopes,
	})
	if failure != nil || err != nil {
		return nil, exchanged{failure: failure}, err
	}
	return s, exchanged{}, nil
}

func newSpend(ready ready) *spend {
	return &spend{claimID: string(uuid.NewUUID()), host: hostOf(ready.registration.TokenEndpoint), clientSecret: ready.registration.ClientSecret}
}

// connect makes room in the journal for the reply, and gets a connection. A failure is why there is none.
func (r *AccountReconciler) connect(ctx context.Context, facts *lifecycle.Facts, s *spend, ready ready, request oauth.GrantRequest) (*lifecycle.Failure, error) {
	keyring, _ := r.Keyring.current()
	probed := s.receipt
	probed.Reply = []byte(probe)
	if _, err := keyring.SealReceipt(r.subject(facts.Account), probed); err != nil {
		return nil, fmt.Errorf("try whether the reply could be written to the journal: %w", err)
	}
	var err error
	if s.slot, err = r.Journal.Reserve(r.subject(facts.Account), s.claimID); err != nil {
		return nil, fmt.Errorf("make room in the journal: %w", err)
	}
	if s.request, err = ready.transport.Ready(ctx, ready.registration, request); err != nil {
		s.slot.Release()
		r.answered(ctx, facts, err, 0)
		r.memory.update(facts.Account, func(m *accountMemory) { m.lastAttempt = r.Clock.Now() })
		return failureOf(ctx, err), nil
	}
	return nil, nil
}

// describe fills in the receipt, from what is true now: the result is sealed for the client and host that the token went
// to, not for what the spec says by then.
func (s *spend) describe(facts *lifecycle.Facts, plan lifecycle.Plan, template, held seal.Credential) {
	template.Lineage, template.Issuer, template.Identity = held.Lineage, held.Issuer, held.Identity
	template.AccessToken, template.TokenType, template.RefreshToken = held.AccessToken, held.TokenType, held.RefreshToken
	template.IssuedTime, template.ExpirationTime, template.Scopes = held.IssuedTime, held.ExpirationTime, held.Scopes
	template.GrantTime, template.GrantedScopes, template.Approved = held.GrantTime, held.GrantedScopes, held.Approved
	template.Captured = declaredCaptures(facts.Client, held.Captured)
	for _, origin := range lifecycle.RevocationOrigins(facts.Client) {
		if slices.Contains(held.Origins, origin) && !slices.Contains(template.Origins, origin) {
			template.Origins = append(template.Origins, origin) // as consented to, and no other
		}
	}
	s.spending = lifecycle.Spending{Attempt: plan.Attempt, Spent: facts.Credential.Fingerprint, Forgiven: lifecycle.Grace(facts.Client) > 0}
	if plan.Claim {
		s.spending.ClaimID = s.claimID
		s.spending.ClaimSequence = lifecycle.NextClaimSequence(facts)
		template.ClaimSequence = s.spending.ClaimSequence
	}
	s.receipt = seal.Receipt{
		ClaimID: s.claimID, Attempt: plan.Attempt, Spent: s.spending.Spent,
		Template: template, DefaultLifetime: lifecycle.DefaultLifetime(facts.Client),
	}
	s.extracts(facts.Client)
}

// claim records in the status that the refresh token is about to be spent, on the very copy that the plan was made from: a
// conflict means that somebody was faster, or that the copy was stale, and nothing is sent.
func (r *AccountReconciler) claim(ctx context.Context, facts *lifecycle.Facts, plan lifecycle.Plan, s *spend) error {
	ctx, cancel := context.WithTimeout(ctx, claimDeadline)
	defer cancel()
	by := lifecycle.Claiming{ID: s.claimID, Host: s.host, Holder: v1alpha1.ClaimHolder{Journal: r.Journal.Instance(), Process: r.Process}}
	claimed := facts.Account.DeepCopy()
	if plan.Code {
		claimed.Status = lifecycle.WithCodeClaim(facts, by, r.Clock.Now())
	} else {
		claimed.Status = lifecycle.WithClaim(facts, plan, by, r.Clock.Now())
	}
	wanted := claimed.Status.DeepCopy()
	// Owning a claim is remembering its id, from before it is written: the reply to the write may get lost.
	r.memory.update(facts.Account, func(m *accountMemory) { m.claimed(s.claimID, lifecycle.ClaimUnsent) })
	if err := r.updateStatus(ctx, claimed); err != nil {
		if _, refused := refusedAs(err); refused || apierrors.IsTooManyRequests(err) || errors.Is(err, errSchemaTooOld) {
			return err
		}
		log.FromContext(ctx).Info("it is not clear whether a claim was written", "error", err.Error())
		if err := r.Live.Get(ctx, client.ObjectKeyFromObject(facts.Account), claimed); err != nil {
			return fmt.Errorf("find out whether the claim was written: %w", err)
		}
		holds := claimed.Status.Claim.ID == s.claimID || claimed.Status.Authorization.Exchange.ID == s.claimID
		if claimed.UID != facts.Account.UID || !holds || claimed.Status.SealedCredential != wanted.SealedCredential {
			return errSuperseded
		}
		r.wrote(claimed)
	}
	facts.Account = claimed
	return nil
}

// journal puts the reply, sealed, on the pod's own disk before anybody looks at it. From there it comes back after a crash.
// If that fails, the exchange goes on: memory holds the result, and keeping it is a moment away.
func (r *AccountReconciler) journal(ctx context.Context, facts *lifecycle.Facts, s *spend, reply oauth.Reply) {
	keyring, _ := r.Keyring.current()
	s.receipt.Reply = reply.Encode()
	sealed, err := keyring.SealReceipt(r.subject(facts.Account), s.receipt)
	if err == nil {
		err = s.slot.Write(sealed)
	}
	if err != nil {
		log.FromContext(ctx).Error(err, "the reply of a token request could not be written to the journal; a crash before it is kept would lose it")
	}
}

func (r *AccountReconciler) removeEntry(ctx context.Context, account *v1alpha1.ConnectedAccount, claimID string) {
	if err := r.Journal.Remove(string(account.UID), claimID); err != nil {
		log.FromContext(ctx).Error(err, "an entry of the journal could not be removed")
	}
}

// outcomeOf judges what came back. An answer is judged twice: a refresh token in it is kept whatever is wrong with the rest.
func (r *AccountReconciler) outcomeOf(ctx context.Context, namespace string, s *spend, reply oauth.Reply, err error) *outcome {
	result := &outcome{spending: s.spending, asksWhose: s.receipt.Identity != ""}
	answer := oauth.Answer{}
	if err == nil {
		answer, err = judge(reply, s.grant())
	}
	if err != nil {
		result.failure = failureOf(ctx, err)
	}
	if err == nil {
		answer, result.failure = s.sameSubject(reply, answer)
	}
	if err == nil && result.failure == nil {
		answer, result.failure = s.withinBounds(namespace, answer)
	}
	// An answer that is not used is no doubt about the refresh token: where none came with it, the one that was sent is still good.
	if err == nil && !s.spending.Code || !answer.RefreshToken.Empty() || !answer.AccessToken.Empty() {
		credential := completed(s.receipt.Template, answer, s.lifetime(answer))
		s.complete(&credential, reply, answer)
		result.credential = &credential
	}
	return result
}

// judged is the error that counts in the metrics.
func judged(reply oauth.Reply, grant oauth.GrantType, err error) error {
	if err != nil {
		return err
	}
	_, err = judge(reply, grant)
	return err
}

// judge reads a reply. Should it panic, the other replies that this process waits for are not lost with it.
func judge(reply oauth.Reply, grant oauth.GrantType) (answer oauth.Answer, err error) {
	defer func() {
		if recover() != nil {
			answer, err = oauth.Answer{}, &oauth.Error{Class: oauth.OutcomeUnknown, Reason: "the answer of the token endpoint could not be judged; this is a fault of the operator"}
		}
	}()
	return reply.Judge(grant)
}
