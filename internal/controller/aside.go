package controller

import (
	"context"
	"sync/atomic"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
)

const (
	// lapPatience is how long a lap waits for its exchange. It bounds for how long a provider that does not answer keeps a
	// worker from the accounts of others; nearly all exchanges end within it.
	lapPatience = 250 * time.Millisecond
	// latePause is the pause after an error that came when no lap waited any more.
	latePause = 5 * time.Second
)

// aside carries out a plan with a token request, beside the reconciler: it is finished whatever happens to that, to the
// lease, or to the process's will to live, and what was obtained is kept. The lap waits only a moment. Where that is not
// enough, the rest of the lap is made without it, and the end of it starts the next one.
func (r *AccountReconciler) aside(ctx context.Context, request ctrl.Request, facts *lifecycle.Facts, plan lifecycle.Plan) (ctrl.Result, error) {
	turn, err := r.takeTurn(ctx, facts)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !turn {
		return r.carryOut(ctx, request, facts, lifecycle.Waiting(facts))
	}
	account := facts.Account.UID
	if err := r.InFlight.begin(account, r.Clock.Now()); err != nil {
		r.endTurn(facts.Account)
		return abandoned(err)
	}
	type end struct {
		result ctrl.Result
		err    error
	}
	ended := make(chan end, 1)
	var parted atomic.Bool // whoever is first to set it decides whether the lap has the end
	detachedCtx := detached(ctx)
	whose := facts.Account
	go func() {
		var came end
		var asked bool
		func() {
			defer func() {
				r.endTurn(whose)
				asked = r.InFlight.end(account)
			}()
			came.result, came.err = r.carryOut(detachedCtx, request, facts, plan)
		}()
		waited := parted.CompareAndSwap(false, true)
		if waited {
			ended <- came
		}
		switch {
		case !waited && came.err != nil:
			log.FromContext(detachedCtx).Error(came.err, "a token request ended with an error")
			r.waker.wake(latePause, wanted{request, lifecycle.UrgencyChanged})
		case !waited || asked:
			r.waker.wake(0, wanted{request, lifecycle.UrgencyChanged})
		}
	}()
	select {
	case came := <-ended:
		return came.result, came.err
	case <-time.After(r.patience()):
	}
	if parted.CompareAndSwap(false, true) {
		return ctrl.Result{RequeueAfter: quietTime}, nil
	}
	came := <-ended
	return came.result, came.err
}

func (r *AccountReconciler) patience() time.Duration {
	if r.Patience > 0 {
		return r.Patience
	}
	return lapPatience
}
