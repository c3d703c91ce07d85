package plugin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const (
	// operatorNamespace is where the installation puts the operator. Its policies name it, so that it is the same everywhere.
	operatorNamespace = "oauth-operator-system"
	operatorName      = "oauth-operator"
	consentName       = "oauth-operator-consent"
	keyringName       = "oauth-operator-keyring"
)

func newDoctor(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "doctor [NAME]",
		Short: "Say what is wrong, who has to act, and what to type",
		Long: `Looks at the installation and at the accounts of a namespace, or at one of them: conditions, the client, Secrets, events. What you
may not read is not looked at, and said so. Nothing is changed.`,
		Example: `  kubectl oauth doctor acme -n shop
  kubectl oauth doctor -n shop`,
		Args: func(command *cobra.Command, names []string) error {
			if len(names) == 0 {
				return nil
			}
			return exactly("NAME")(command, names)
		},
		RunE:              func(command *cobra.Command, names []string) error { return a.doctor(command.Context(), names) },
		ValidArgsFunction: a.completeAccount,
	}
	a.addOutput(command)
	return command
}

func (a *app) doctor(ctx context.Context, names []string) error {
	if err := a.checkFlags(); err != nil {
		return err
	}
	found, namespace, err := a.connect()
	if err != nil {
		return err
	}
	accounts, err := patients(ctx, found, namespace, names)
	if err != nil && !notInstalled(err) {
		return err
	}
	now := found.clock.Now()
	installed := installation(found.lookAround(ctx), now)
	if len(names) > 0 && installed.worst() != levelFault {
		installed.Findings = slices.DeleteFunc(installed.Findings, func(f finding) bool { return f.Level == levelOK || f.Level == levelNote })
		if installed.worst() == levelUnknown || len(installed.Findings) == 0 {
			installed = section{} // one account was asked about, and the installation is not to blame
		}
	}
	all := diagnosis{Healthy: true}
	if installed.About != "" {
		all.Sections = append(all.Sections, installed)
	}
	for _, account := range accounts {
		all.Sections = append(all.Sections, examine(found.lookAt(ctx, account), now))
	}
	for _, each := range all.Sections {
		all.Healthy = all.Healthy && each.worst() != levelFault
	}
	return a.report(all)
}

// patients are the accounts to look at.
func patients(ctx context.Context, from *cluster, namespace string, names []string) ([]*v1alpha1.ConnectedAccount, error) {
	if len(names) > 0 {
		account, err := from.account(ctx, keyOf(namespace, names[0]))
		if err != nil {
			return nil, err
		}
		return []*v1alpha1.ConnectedAccount{account}, nil
	}
	list := &v1alpha1.ConnectedAccountList{}
	if err := from.list(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	var accounts []*v1alpha1.ConnectedAccount
	for i := range list.Items {
		accounts = append(accounts, &list.Items[i])
	}
	return accounts, nil
}

func (a *app) report(all diagnosis) error {
	done, err := a.forPrograms(all)
	if !done {
		p := a.painter()
		_, err = fmt.Fprint(a.system.Out, renderDiagnosis(p, all)+"\n"+p.paint(bold, all.summary())+"\n")
	}
	if err != nil {
		return err
	}
	if !all.Healthy {
		return said(ExitWrong)
	}
	return nil
}

// accountFacts is what is known of an account.
type accountFacts struct {
	account *v1alpha1.ConnectedAccount
	// owner is the client; nil: it could not be read, and ownerErr says why.
	owner    *v1alpha1.OAuthClient
	ownerErr error
	// elsewhere are other namespaces that have a client of that name.
	elsewhere []string
	// sources are the Secrets that client and account name.
	sources []source
	// events are the last warnings, as text.
	events []string
}

// lookAt reads what there is to know of an account, as far as the user may.
func (c *cluster) lookAt(ctx context.Context, account *v1alpha1.ConnectedAccount) *accountFacts {
	f := &accountFacts{account: account}
	if ref := account.Spec.ClientRef; ref.Name != "" {
		owner := &v1alpha1.OAuthClient{}
		if f.ownerErr = c.get(ctx, keyOf(clientNamespace(account), ref.Name), owner); f.ownerErr == nil {
			f.owner = owner
		}
		if apierrors.IsNotFound(f.ownerErr) {
			f.elsewhere = c.elsewhere(ctx, &v1alpha1.OAuthClientList{}, "oauthclients", v1alpha1.Group, account.Namespace, ref.Name)
		}
	}
	for _, named := range references(account, f.owner) {
		f.sources = append(f.sources, c.lookInto(ctx, named))
	}
	f.events = c.warnings(ctx, account)
	return f
}

// warnings are what events of an account warn of, each once, the latest first.
func (c *cluster) warnings(ctx context.Context, account *v1alpha1.ConnectedAccount) []string {
	const most = 3
	list := &eventsv1.EventList{}
	err := c.list(ctx, list, client.InNamespace(account.Namespace), client.MatchingFields{"regarding.uid": string(account.UID), "type": "Warning"}, client.Limit(completeMost))
	if err != nil {
		return nil
	}
	slices.SortFunc(list.Items, func(x, y eventsv1.Event) int { return lastSeen(y).Compare(lastSeen(x)) })
	var texts []string
	for _, event := range list.Items {
		text := event.Reason + ": " + event.Note
		if !slices.Contains(texts, text) && len(texts) < most {
			texts = append(texts, text)
		}
	}
	return texts
}

func plural(count int, what string) string {
	if count == 1 {
		return "1 " + what
	}
	return strconv.Itoa(count) + " " + what + "s"
}

// optional is plural with something before it, or nothing where there is none.
func optional(count int, before, what string) string {
	if count == 0 {
		return ""
	}
	return before + plural(count, what)
}

// some is listed, where there may be more than anybody wants to read.
func some(names []string) string {
	const most = 10
	if len(names) > most {
		return listed(names[:most]) + " and " + strconv.Itoa(len(names)-most) + " more"
	}
	return listed(names)
}

// listed joins names as in a sentence.
func listed(names []string) string { return strings.Join(names, ", ") }
