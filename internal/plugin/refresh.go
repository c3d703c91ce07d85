package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

func newRefresh(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "refresh NAME",
		Short: "Ask for a new token now, and wait for it",
		Long: `Asks the operator for a new token, and waits until it is there. It makes the request at least half a minute after its last one.

The earlier token is not revoked; most providers let it be good until it expires.`,
		Example:           "  kubectl oauth refresh acme -n shop",
		Args:              exactly("NAME"),
		RunE:              func(command *cobra.Command, names []string) error { return a.refresh(command.Context(), names[0]) },
		ValidArgsFunction: a.completeAccount,
	}
	a.addTimeout(command, shortWait)
	a.addOutput(command)
	return command
}

func (a *app) refresh(ctx context.Context, name string) error {
	found, account, err := a.target(ctx, name)
	if err != nil {
		return err
	}
	if account.Spec.Grant.Type == v1alpha1.GrantAPIKey {
		return failf(ExitWrong, "an API key is not refreshed: change it in the Secret %s, and it is published", account.Spec.Grant.APIKeyRef.Name)
	}
	at, err := found.requestRefresh(ctx, account)
	if err != nil {
		return err
	}
	a.tellf("%s/%s: asked for a new token", account.Namespace, account.Name)
	before := account.DeepCopy()
	return a.await(ctx, found, account, "a new token", func(changed *v1alpha1.ConnectedAccount) *outcome {
		return refreshOutcome(before, changed, at, found.clock.Now())
	})
}

// requestRefresh asks for a new token, and returns from when on. A time that has not come is waited for, so that where the clock of
// this machine is fast, the time is the one at which the API server has written it.
func (c *cluster) requestRefresh(ctx context.Context, account *v1alpha1.ConnectedAccount) (time.Time, error) {
	const tolerance = 5 * time.Second
	ask := func(at time.Time) error {
		return c.patch(ctx, account, annotationOf(account.UID, v1alpha1.AnnotationRefreshRequestedAt, at.Format(time.RFC3339)))
	}
	at := requestTime(account, c.clock.Now())
	if err := ask(at); err != nil {
		return at, err
	}
	for _, field := range account.ManagedFields {
		if field.Manager == userAgent && field.Time != nil && at.After(field.Time.Add(tolerance)) {
			at = requestTime(account, field.Time.Time)
			return at, ask(at)
		}
	}
	return at, nil
}

// requestTime is the present, or later than the token that the account has: a clock that is slow would ask for nothing.
func requestTime(account *v1alpha1.ConnectedAccount, now time.Time) time.Time {
	at := now.UTC().Truncate(time.Second)
	if last := account.Status.LastRefreshTime; last != nil && !at.After(last.Time) {
		at = last.UTC().Truncate(time.Second).Add(time.Second)
	}
	return at
}

// annotation is the merge patch that sets an annotation of an object, as long as nobody has changed that since it was read.
func annotation(object client.Object, key, value string) []byte {
	return annotate(map[string]any{"uid": object.GetUID(), "resourceVersion": object.GetResourceVersion()}, key, value)
}

// annotationOf is the merge patch that sets an annotation of the object with that UID, whatever else has changed.
func annotationOf(uid types.UID, key, value string) []byte {
	return annotate(map[string]any{"uid": uid}, key, value)
}

func annotate(metadata map[string]any, key, value string) []byte {
	metadata["annotations"] = map[string]string{key: value}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		panic(fmt.Sprintf("strings could not be marshalled: %v", err)) // they always can
	}
	return patch
}

// refreshOutcome is what came of the request for a new token; nil: nothing yet.
func refreshOutcome(before, account *v1alpha1.ConnectedAccount, at, now time.Time) *outcome {
	status, view := account.Status, viewOf(account, now)
	if last := status.LastRefreshTime; last != nil && !last.Time.Before(at) && status.Rotations > before.Status.Rotations {
		if failing(account, v1alpha1.ConditionPublished) == nil {
			return &outcome{Outcome: "Refreshed", Message: fmt.Sprintf("%s; it is the account's token number %d", view.token(now), view.Rotations)}
		}
	}
	failed := status.Failures.LastFailureTime
	if known := before.Status.Failures; failed != nil && (known.LastFailureTime == nil || failed.After(known.LastFailureTime.Time) || status.Failures.Count > known.Count) {
		return unwell(account, "the request has failed: ")
	}
	if looked(account) && holdsBack(account) {
		return unwell(account, "no request is made: ")
	}
	return nil
}

// unwell tells what an account says of its trouble.
func unwell(account *v1alpha1.ConnectedAccount, begin string) *outcome {
	condition := failing(account, v1alpha1.ConditionClientReady, v1alpha1.ConditionAuthorized, v1alpha1.ConditionRefreshed, v1alpha1.ConditionPublished)
	if condition == nil {
		return nil
	}
	return &outcome{Outcome: condition.Reason, code: ExitWrong, Message: begin + condition.Message, Commands: []string{own("doctor", account)}}
}

// holdsBack: the account is in a state in which nothing is asked of the provider, whoever wants it.
func holdsBack(account *v1alpha1.ConnectedAccount) bool {
	condition := failing(account, v1alpha1.ConditionClientReady, v1alpha1.ConditionAuthorized)
	if refreshed := failing(account, v1alpha1.ConditionRefreshed); condition == nil && refreshed != nil {
		condition = refreshed
	}
	if condition == nil {
		return false
	}
	if condition.Type == v1alpha1.ConditionAuthorized && account.Status.Rotations == 0 {
		return condition.Reason != v1alpha1.ReasonAuthorizationPending // there is nothing that could be refreshed
	}
	switch condition.Reason {
	case v1alpha1.ReasonScopeReduced, v1alpha1.ReasonScopeExceeded, v1alpha1.ReasonConsentDue, v1alpha1.ReasonApprovalRequired, v1alpha1.ReasonAuthorizationPending,
		v1alpha1.ReasonPending, v1alpha1.ReasonServerUnreachable, v1alpha1.ReasonOutcomeUnknown, v1alpha1.ReasonThrottled, v1alpha1.ReasonClientRejected,
		v1alpha1.ReasonRequestRejected, v1alpha1.ReasonInvalidResponse, v1alpha1.ReasonAuthorizationDenied:
		return false
	default:
		return true
	}
}
