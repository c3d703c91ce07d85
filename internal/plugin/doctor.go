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
	"k8s.io/apimachinery/pkg/types"
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
	facts := found.lookAround(ctx)
	installed := installation(facts, now)
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
	round := found.round(ctx, accounts, facts)
	for _, account := range accounts {
		all.Sections = append(all.Sections, examine(round.lookAt(ctx, account), now))
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
	// installed is what is known of the installation; nil: nothing.
	installed *installationFacts
}

// round is one round of doctor: what several accounts have in common is read once.
type round struct {
	*cluster
	installed *installationFacts
	owners    map[types.NamespacedName]accountFacts // what is known of their client
	sources   map[reference]source
	events    map[types.UID][]string // nil: those of each account are asked for
}

func (c *cluster) round(ctx context.Context, accounts []*v1alpha1.ConnectedAccount, installed *installationFacts) *round {
	r := &round{cluster: c, installed: installed, owners: map[types.NamespacedName]accountFacts{}, sources: map[reference]source{}}
	if len(accounts) > 1 {
		r.events = c.warnings(ctx, accounts[0].Namespace, client.MatchingFields{"type": "Warning"})
	}
	return r
}

// lookAt reads what there is to know of an account, as far as the user may.
func (r *round) lookAt(ctx context.Context, account *v1alpha1.ConnectedAccount) *accountFacts {
	f := r.owner(ctx, account)
	f.account, f.installed = account, r.installed
	for _, named := range references(account, f.owner) {
		seen, known := r.sources[named]
		if !known {
			seen = r.lookInto(ctx, named)
			r.sources[named] = seen
		}
		f.sources = append(f.sources, seen)
	}
	events := r.events
	if events == nil {
		events = r.warnings(ctx, account.Namespace, client.MatchingFields{"regarding.uid": string(account.UID), "type": "Warning"})
	}
	f.events = events[account.UID]
	return &f
}

// owner reads the client of an account.
func (r *round) owner(ctx context.Context, account *v1alpha1.ConnectedAccount) accountFacts {
	key := keyOf(clientNamespace(account), account.Spec.ClientRef.Name)
	if key.Name == "" {
		return accountFacts{}
	}
	if known, is := r.owners[key]; is {
		return known
	}
	f, owner := accountFacts{}, &v1alpha1.OAuthClient{}
	if f.ownerErr = r.get(ctx, key, owner); f.ownerErr == nil {
		f.owner = owner
	}
	if apierrors.IsNotFound(f.ownerErr) {
		f.elsewhere = r.elsewhere(ctx, &v1alpha1.OAuthClientList{}, "oauthclients", v1alpha1.Group, account.Namespace, key.Name)
	}
	r.owners[key] = f
	return f
}

// warnings are what events in a namespace warn of, each once, the latest first, by what they are about.
func (c *cluster) warnings(ctx context.Context, namespace string, which client.MatchingFields) map[types.UID][]string {
	const most, read = 3, 2000
	list := &eventsv1.EventList{}
	if err := c.list(ctx, list, client.InNamespace(namespace), which, client.Limit(read)); err != nil {
		return map[types.UID][]string{}
	}
	slices.SortFunc(list.Items, func(x, y eventsv1.Event) int { return lastSeen(y).Compare(lastSeen(x)) })
	texts := map[types.UID][]string{}
	for _, event := range list.Items {
		text, about := event.Reason+": "+event.Note, event.Regarding.UID
		if !slices.Contains(texts[about], text) && len(texts[about]) < most {
			texts[about] = append(texts[about], text)
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
