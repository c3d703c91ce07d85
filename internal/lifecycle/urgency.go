package lifecycle

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// How urgent a lap is: priorities in a queue, of which the highest goes first. Those who are equally urgent go in the order
// in which they came.
const (
	// UrgencyCalled is for whoever was called: a slot is kept for it, which nobody else can use meanwhile.
	UrgencyCalled = 60
	// UrgencyInDoubt: the use of a refresh token has an outcome that nobody knows, and a provider's grace is short.
	UrgencyInDoubt = 50
	// UrgencyEnding: a token that is in use ends within a minute. It goes before those who have none yet: what works must
	// not stop because of what has not begun, however much of that there is.
	UrgencyEnding = 40
	// UrgencyTokenless: there is no usable token.
	UrgencyTokenless = 30
	// UrgencyNear: a token that is in use ends within ten minutes; or there is none, and asking for one has failed already.
	UrgencyNear = 20
	// UrgencyChanged is for a change of the account, or of its Secret: somebody may wait for what comes of it.
	UrgencyChanged = 0
	// UrgencyMany is for a change that many accounts are looked at for. For most of them it means nothing.
	UrgencyMany = -10
	// UrgencyRelaxed: a refresh is due, and has time.
	UrgencyRelaxed = -20
	// UrgencyIdle: there is nothing to do, as far as one can tell from here.
	UrgencyIdle = -100
)

const (
	endingSlack = time.Minute
	nearSlack   = 10 * time.Minute
)

// Urgency is how urgent a lap of the account is at the given time, by the slack until it is without a usable token. It goes
// by the plain status alone, which can be had before anything is read or opened. That may be wrong, as when somebody has
// edited it: nothing but the order depends on it.
func Urgency(account *v1alpha1.ConnectedAccount, at time.Time) int {
	status := &account.Status
	ready := meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady)
	switch {
	case !account.DeletionTimestamp.IsZero(), account.Spec.Suspend:
		return UrgencyIdle
	case status.Claim.ID != "":
		return UrgencyInDoubt
	case meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionStalled), personAwaited(status):
		return UrgencyIdle // until somebody acts
	case !ready || status.ExpirationTime != nil && !at.Before(status.ExpirationTime.Time):
		if status.Failures.Count > 0 {
			return UrgencyNear // it has waited on purpose, and may be one of very many
		}
		return UrgencyTokenless
	case status.NextRefreshTime == nil || status.ExpirationTime == nil || at.Before(status.NextRefreshTime.Time):
		return UrgencyIdle
	}
	switch slack := status.ExpirationTime.Sub(at); {
	case slack < endingSlack:
		return UrgencyEnding
	case slack < nearSlack:
		return UrgencyNear
	default:
		return UrgencyRelaxed
	}
}

// personAwaited: a person's part was missing when the account was last looked at, and what they bring has not come since.
func personAwaited(status *v1alpha1.ConnectedAccountStatus) bool {
	reconciling := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReconciling)
	return reconciling != nil && reconciling.Reason == v1alpha1.ReasonWaiting && status.Authorization.HandOver.ID == ""
}
