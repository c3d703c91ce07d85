package plugin

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

func newAdopt(a *app) *cobra.Command {
	yes := false
	command := &cobra.Command{
		Use:   "adopt NAME",
		Short: "Accept what an account holds back until somebody says yes",
		Long: `An account that was restored, copied, or moved to another endpoint uses nothing until somebody who knows says that it may. So does
one that waits for approval, or has a second refresh token to import. This shows what the account asks, and what may come of
it; and once you say yes, it sets the annotation that the account asks for, and waits.`,
		Example:           "  kubectl oauth adopt acme -n shop",
		Args:              exactly("NAME"),
		RunE:              func(command *cobra.Command, names []string) error { return a.adopt(command.Context(), names[0], yes) },
		ValidArgsFunction: a.completeAccount,
	}
	command.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	a.addTimeout(command, shortWait)
	a.addOutput(command)
	return command
}

// acceptance is what somebody may say yes to.
type acceptance struct {
	// what happens with a yes, and what must be true for that.
	what, only string
	object     client.Object
	key, value string
}

func (a *app) adopt(ctx context.Context, name string, yes bool) error {
	found, account, err := a.target(ctx, name)
	if err != nil {
		return err
	}
	accepted, err := found.asks(ctx, account)
	if err != nil {
		return err
	}
	a.tellf("%s/%s: %s.\n%s.", account.Namespace, account.Name, accepted.what, accepted.only)
	if err := a.confirm(ctx, yes); err != nil {
		return err
	}
	if err := found.accept(ctx, account, accepted); err != nil {
		return err
	}
	return a.await(ctx, found, account, "the account's answer", func(changed *v1alpha1.ConnectedAccount) *outcome {
		return adoptOutcome(account, changed, accepted.key, found)
	})
}

// asks is what an account asks at present.
func (c *cluster) asks(ctx context.Context, account *v1alpha1.ConnectedAccount) (acceptance, error) {
	asked, err := acceptanceOf(account)
	if owner, is := asked.object.(*v1alpha1.OAuthClient); is && err == nil {
		if err := c.get(ctx, client.ObjectKeyFromObject(owner), owner); err != nil {
			return acceptance{}, err
		}
		if asked.value != originOf(owner.Spec.Endpoints.Token) {
			return acceptance{}, failf(ExitWrong, "the account speaks of %s, and its client's token endpoint is at %s by now: look again in a moment", asked.value, originOf(owner.Spec.Endpoints.Token))
		}
	}
	return asked, err
}

// accept writes what somebody has said yes to. That may be long after they were asked: if the account asks something else by
// then, nothing is written, and no more than that is written over what others have changed meanwhile.
func (c *cluster) accept(ctx context.Context, account *v1alpha1.ConnectedAccount, agreed acceptance) error {
	const tries = 10 // the operator writes the status now and then, and each time the version is another one
	for try := 1; ; try++ {
		now, err := c.account(ctx, client.ObjectKeyFromObject(account))
		if err != nil {
			return err
		}
		asked, err := c.asks(ctx, now)
		if err != nil || now.UID != account.UID || !asked.same(agreed) {
			return failf(ExitFailed, "the account asks something else than it did a moment ago, and nothing was done. Look again: %s", own("adopt", account))
		}
		if _, own := asked.object.(*v1alpha1.ConnectedAccount); own {
			asked.object = now
		}
		err = c.patch(ctx, asked.object, annotation(asked.object, asked.key, asked.all()))
		if !apierrors.IsConflict(err) || try == tries {
			return err
		}
	}
}

// same: whoever has said yes to the one has said yes to the other.
func (a acceptance) same(other acceptance) bool {
	return a.what == other.what && a.key == other.key && a.value == other.value
}

// all is the value that is written: of origins, those that were accepted before stay.
func (a acceptance) all() string {
	if a.key == v1alpha1.AnnotationAcceptOrigin {
		return withOrigins(a.object.GetAnnotations()[a.key], a.value)
	}
	return a.value
}

// acceptanceOf finds what the account asks. An error says why a yes would help nothing.
func acceptanceOf(account *v1alpha1.ConnectedAccount) (acceptance, error) {
	condition := authorization(account)
	asked, is := printedIn(account, condition)
	if !is {
		return acceptance{}, nothingAsked(account)
	}
	result := acceptance{object: account, key: asked.key, value: asked.value}
	switch asked.key {
	case v1alpha1.AnnotationAcceptOrigin:
		result.object = &v1alpha1.OAuthClient{ObjectMeta: metav1.ObjectMeta{Namespace: clientNamespace(account), Name: account.Spec.ClientRef.Name}}
		result.what = "refresh tokens of all accounts of the client " + account.Spec.ClientRef.Name + " will be sent to " + asked.value + ", another host than they were obtained from"
		result.only = "Say yes only if that host is the provider's"
	case v1alpha1.AnnotationAdopt:
		result.what = "its credential was made for an earlier account of this name, " + asked.value + ", and will be taken over"
		result.only = "Say yes only if that account is gone, or its operator stopped for good: two that hold one refresh token spend each other's"
	case v1alpha1.AnnotationReplaceGrant:
		result.what = "its present grant will be given up for the refresh token that waits in the Secret " + account.Spec.ImportRefreshTokenRef.Name
		result.only = "Say yes only if you are sure of the new one: the present refresh token is overwritten"
	case v1alpha1.AnnotationApprove:
		result.what = "the access of " + cmp.Or(account.Status.Identity, "somebody whom the provider does not name ("+asked.value+")") + " will be published in the Secret " + secretName(account)
		result.only = "Say yes only if that is whose access is meant"
	default:
		return acceptance{}, nothingAsked(account)
	}
	return result, nil
}

// nothingAsked says that there is nothing to say yes to, and where to go instead.
func nothingAsked(account *v1alpha1.ConnectedAccount) error {
	condition := failing(account, v1alpha1.ConditionAuthorized, v1alpha1.ConditionClientReady, v1alpha1.ConditionRefreshed, v1alpha1.ConditionPublished)
	if condition == nil {
		return failf(ExitWrong, "the account asks nothing")
	}
	return failf(ExitWrong, "there is nothing to say yes to. The account says %s: %s; see %s", condition.Reason, condition.Message, own("doctor", account))
}

// withOrigins adds origins to a list of them.
func withOrigins(list, more string) string {
	var all []string
	for origin := range strings.SplitSeq(list+","+more, ",") {
		if origin = strings.TrimSpace(origin); origin != "" && !slices.Contains(all, origin) {
			all = append(all, origin)
		}
	}
	return strings.Join(all, ",")
}

// confirm asks, where somebody can answer.
func (a *app) confirm(ctx context.Context, yes bool) error {
	if yes {
		return nil
	}
	if !a.system.InTerminal {
		return failf(ExitUsage, "nobody can be asked here: if you are sure, say --yes")
	}
	fmt.Fprint(a.system.Err, "Type yes to go on: ") //nolint:errcheck // there is nobody left to tell
	answer, err := within(ctx, func() (string, error) { return bufio.NewReader(a.system.In).ReadString('\n') })
	if strings.TrimSpace(answer) != "yes" || err != nil {
		return failf(ExitFailed, "nothing was done")
	}
	return nil
}

// adoptOutcome is what the account does after a yes; nil: nothing yet.
func adoptOutcome(before, account *v1alpha1.ConnectedAccount, key string, from *cluster) *outcome {
	if asked, is := printedIn(account, authorization(account)); is && asked.key == key {
		return nil
	}
	if condition := failing(account, v1alpha1.ConditionAuthorized); condition != nil {
		if said := failing(before, v1alpha1.ConditionAuthorized); said != nil && said.Message == condition.Message {
			return nil
		}
		return unwell(account, "")
	}
	view := viewOf(account, from.clock.Now())
	if !view.Ready {
		return published(account, from)
	}
	return &outcome{Outcome: "Accepted", Message: view.token(from.clock.Now())}
}

// keyOf names an object.
func keyOf(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}
