package controller

import (
	"context"
	"errors"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/pace"
)

// Pace is what token requests of different accounts have to do with each other.
type Pace struct {
	Slots    *pace.Slots
	Circuits *pace.Circuits
	Census   *pace.Census
}

// NewPace makes one that nobody has used. maxAccounts is for each namespace; 0: without a limit.
func NewPace(limits pace.Limits, maxAccounts int) Pace {
	return Pace{Slots: pace.NewSlots(limits), Circuits: &pace.Circuits{}, Census: &pace.Census{Limit: maxAccounts}}
}

// requestOf is a token request of the account, as the circuits see it.
func requestOf(facts *lifecycle.Facts, inputs []string) pace.Request {
	return pace.Request{
		Account: key(facts.Account), Client: key(facts.Client), Namespace: facts.Account.Namespace,
		Inputs: strings.Join(inputs, "\x00"), InDoubt: lifecycle.InDoubt(facts),
	}
}

// key is the name by which an object is known to those who know no Kubernetes.
func key(object client.Object) string { return client.ObjectKeyFromObject(object).String() }

// gatherTurn finds out what the requests of other accounts mean for this one.
func (r *AccountReconciler) gatherTurn(facts *lifecycle.Facts, inputs []string) {
	facts.BeyondLimit = r.Pace.Census.Beyond(facts.Account.Namespace, facts.Account.Name)
	if facts.Client != nil {
		facts.Held = lifecycle.Held(r.Pace.Circuits.Look(requestOf(facts, inputs), r.Clock.Now()))
	}
}

// takeTurn gets the account its turn: a slot, and a circuit that lets it through. It never waits. Where the turn is not the
// account's, the facts say why.
func (r *AccountReconciler) takeTurn(ctx context.Context, facts *lifecycle.Facts) (bool, error) {
	inputs, err := r.clientInputs(ctx, facts.Client)
	if err != nil {
		return false, err
	}
	now, request := r.Clock.Now(), requestOf(facts, inputs)
	taken, called := r.Pace.Slots.Take(pace.Turn{
		Account: request.Account, Client: request.Client, Namespace: request.Namespace,
		ClientLimit: lifecycle.MaxRequests(facts.Client), Deadline: lifecycle.Deadline(facts),
	}, now)
	r.call(called)
	if !taken {
		facts.NoSlot = true
		return false, nil
	}
	hold, allowed := r.Pace.Circuits.Enter(request, now)
	if !allowed {
		facts.Held = lifecycle.Held(hold)
		r.call(r.Pace.Slots.Give(request.Account, now))
	}
	return allowed, nil
}

// endTurn gives back what is left of an account's turn.
func (r *AccountReconciler) endTurn(account *v1alpha1.ConnectedAccount) {
	r.Pace.Circuits.Leave(key(account))
	r.call(r.Pace.Slots.Give(key(account), r.Clock.Now()))
}

// passTurn is for an account that does not want a turn any more, or not now.
func (r *AccountReconciler) passTurn(account types.NamespacedName) {
	r.call(r.Pace.Slots.Leave(account.String(), r.Clock.Now()))
}

// answered takes note of what a token request came to: for the metrics, and for those who wait.
func (r *AccountReconciler) answered(ctx context.Context, facts *lifecycle.Facts, err error, took time.Duration) {
	r.Metrics.exchanged(facts.Client, err, took)
	now := r.Clock.Now()
	r.call(r.Pace.Slots.Answered(key(facts.Account), now))
	var outcome pace.Outcome
	var failed *oauth.Error
	switch {
	case errors.As(err, &failed):
		outcome = pace.Outcome{Class: failed.Class, RetryAfter: failed.RetryAfter}
	case err != nil:
		return // a fault of our own, which says nothing of the server
	}
	switch closed := r.Pace.Circuits.Report(key(facts.Account), outcome, now); {
	case closed.All:
		r.waker.wake(0, r.accountsOfClient(ctx, facts.Client)...)
	case closed.Namespace:
		r.waker.wake(0, r.accounts(ctx, client.InNamespace(facts.Account.Namespace), client.MatchingFields{indexClient: key(facts.Client)})...)
	}
}

// call has laps made of accounts for which a slot is kept.
func (r *AccountReconciler) call(accounts []string) {
	for _, account := range accounts {
		namespace, name, _ := strings.Cut(account, "/")
		r.waker.wake(0, wanted{ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}, lifecycle.UrgencyCalled})
	}
}
