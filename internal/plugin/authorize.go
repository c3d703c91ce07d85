package plugin

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

func newAuthorize(a *app) *cobra.Command {
	stay := false
	command := &cobra.Command{
		Use:   "authorize NAME",
		Short: "Open the link where a person consents, and wait for what comes of it",
		Long: `Prints the link of an account that needs a person's consent, opens it in your browser, and waits.

Whoever follows the link consents with an access of their own: send it to the person whose access is wanted, if that is not
you, and use --no-browser.`,
		Example: "  kubectl oauth authorize acme -n shop",
		Args:    exactly("NAME"),
		RunE: func(command *cobra.Command, names []string) error {
			return a.authorize(command.Context(), names[0], !stay)
		},
		ValidArgsFunction: a.completeAccount,
	}
	command.Flags().BoolVar(&stay, "no-browser", false, "print the link only")
	a.addTimeout(command, longWait)
	a.addOutput(command)
	return command
}

func (a *app) authorize(ctx context.Context, name string, browser bool) error {
	found, account, err := a.target(ctx, name)
	if err != nil {
		return err
	}
	if !consented(account) {
		return failf(ExitWrong, "an account with the grant %s needs nobody's consent", account.Spec.Grant.Type)
	}
	if account, err = a.linked(ctx, found, account); err != nil {
		return err
	}
	link := account.Status.AuthorizationURL
	if err := checkLink(link); err != nil {
		return failf(ExitWrong, "the link in status.authorizationURL is not opened: %w", err)
	}
	a.tellf("%s", invitation(account))
	if browser {
		if err := a.system.Open(ctx, link); err != nil {
			a.tellf("no browser was opened (%v): open the link yourself", err)
		}
	}
	before := account
	return a.await(ctx, found, account, "somebody's consent", func(changed *v1alpha1.ConnectedAccount) *outcome {
		return consentOutcome(before, changed, found)
	})
}

// invitation is the link, as a person is told of it.
func invitation(account *v1alpha1.ConnectedAccount) string {
	return account.Namespace + "/" + account.Name + ": follow this link to consent\n\n  " + account.Status.AuthorizationURL + "\n"
}

// linked waits until the account has a link, where it will have one: after it was created, that takes a moment.
func (a *app) linked(ctx context.Context, from *cluster, account *v1alpha1.ConnectedAccount) (*v1alpha1.ConnectedAccount, error) {
	waiting, cancel := context.WithTimeout(ctx, min(cmp.Or(a.timeout, shortWait), shortWait))
	defer cancel()
	err := from.follow(waiting, account, func(changed *v1alpha1.ConnectedAccount) bool {
		account = changed
		return account.Status.AuthorizationURL != "" || looked(account)
	})
	switch {
	case waiting.Err() != nil && ctx.Err() == nil:
		return nil, failf(ExitTimeout, "the operator has not looked at the account: %s", own("doctor", account))
	case err != nil:
		return nil, err
	case account.Status.AuthorizationURL != "":
		return account, nil
	}
	view := viewOf(account, from.clock.Now())
	if view.Ready && view.Reason == v1alpha1.ReasonTokenValid {
		return nil, failf(ExitWrong, "nobody's consent is needed: %s. To have somebody authorize anew, let the account offer a link: %s", view.token(from.clock.Now()),
			line("kubectl", "-n", account.Namespace, "patch", "connectedaccount", account.Name, "--type=merge", `--patch={"spec":{"consent":{"link":"Always"}}}`))
	}
	return nil, failf(ExitWrong, "the account offers no link. It says %s: %s; see %s", view.Reason, view.Message, own("doctor", account))
}

// looked: the operator has looked at the account as it is.
func looked(account *v1alpha1.ConnectedAccount) bool {
	ready := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.ObservedGeneration == account.Generation
}

// consentOutcome is what came of a consent since the account was as before; nil: nothing yet.
func consentOutcome(before, account *v1alpha1.ConnectedAccount, from *cluster) *outcome {
	last, known := account.Status.Authorization.LastOutcome, before.Status.Authorization.LastOutcome
	if last.OutcomeTime == nil || last.StateHash == known.StateHash && last.OutcomeTime.Equal(known.OutcomeTime) && last.Result == known.Result {
		return nil
	}
	view := viewOf(account, from.clock.Now())
	result := outcome{Outcome: string(last.Result), code: ExitWrong, Message: cmp.Or(last.Reason, "the account says why"), Commands: []string{own("doctor", account)}}
	switch last.Result {
	case v1alpha1.AuthorizationConnected:
		if !view.Ready {
			return published(account, from) // the Secret follows in a moment, or there is a reason
		}
		result.code, result.Commands = ExitDone, nil
		result.Message = fmt.Sprintf("the access of %s is kept; %s", cmp.Or(last.Identity, "somebody whom the provider does not name"), view.token(from.clock.Now()))
	case v1alpha1.AuthorizationNeedsApproval:
		result.code = ExitDone
		result.Message = fmt.Sprintf("the access of %s is kept, and published once somebody approves of it", cmp.Or(last.Identity, "somebody whom the provider does not name"))
		result.Commands = []string{own("adopt", account)}
	default: // it came to nothing
	}
	return &result
}

// published waits for the Secret of a consent that was kept, unless something is in the way that somebody must mend.
func published(account *v1alpha1.ConnectedAccount, from *cluster) *outcome {
	if !meta.IsStatusConditionTrue(account.Status.Conditions, v1alpha1.ConditionStalled) {
		return nil
	}
	view := viewOf(account, from.clock.Now())
	return &outcome{Outcome: view.Reason, code: ExitWrong, Message: "the consent is kept, and " + view.Message, Commands: []string{own("doctor", account)}}
}

// failing is the first of the conditions that is False; nil: none.
func failing(account *v1alpha1.ConnectedAccount, kinds ...string) *metav1.Condition {
	for _, kind := range kinds {
		if condition := meta.FindStatusCondition(account.Status.Conditions, kind); condition != nil && condition.Status == metav1.ConditionFalse {
			return condition
		}
	}
	return nil
}
