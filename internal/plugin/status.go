package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

type statusOptions struct {
	everywhere, watch bool
	selector          string
	names             []string
}

// statusList is what -o prints.
type statusList struct {
	Accounts []accountView `json:"accounts"`
}

func newStatus(a *app) *cobra.Command {
	options := statusOptions{}
	command := &cobra.Command{
		Use:   "status [NAME...]",
		Short: "Show accounts: are they ready, why not, until when",
		Example: `  kubectl oauth status -n shop
  kubectl oauth status acme -w
  kubectl oauth status -A -l team=billing -o json`,
		Args: func(_ *cobra.Command, names []string) error {
			for _, name := range names {
				if err := checkName(name); err != nil {
					return err
				}
			}
			return nil
		},
		RunE: func(command *cobra.Command, names []string) error {
			options.names = names
			return a.status(command.Context(), options)
		},
		ValidArgsFunction: a.completeAccounts,
	}
	flags := command.Flags()
	flags.BoolVarP(&options.everywhere, "all-namespaces", "A", false, "of all namespaces")
	flags.BoolVarP(&options.watch, "watch", "w", false, "go on, and show each change")
	flags.StringVarP(&options.selector, "selector", "l", "", "of accounts with these labels, as in team=billing,stage!=test")
	a.addOutput(command)
	return command
}

func (a *app) status(ctx context.Context, options statusOptions) error {
	if err := a.checkFlags(); err != nil {
		return err
	}
	selector, err := labels.Parse(options.selector)
	if err != nil {
		return failf(ExitUsage, "the selector makes no sense: %w", err)
	}
	if options.everywhere && len(options.names) > 0 {
		return failf(ExitUsage, "a name is one of a namespace: name it with -n, not -A")
	}
	found, namespace, err := a.connect()
	if err != nil {
		return err
	}
	if options.everywhere {
		namespace = metav1.NamespaceAll
	}
	board := &board{
		app: a, cluster: found, options: options, namespace: namespace,
		shown: map[client.ObjectKey]*v1alpha1.ConnectedAccount{}, printed: map[client.ObjectKey]*v1alpha1.ConnectedAccount{},
	}
	asked := []client.ListOption{client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selector}}
	if options.watch {
		return board.keepUp(ctx, asked)
	}
	if _, err := board.read(ctx, asked); err != nil {
		return err
	}
	return errors.Join(board.print(), board.missing())
}

// board is a list of accounts, as it is known at the moment.
type board struct {
	*app
	cluster   *cluster
	options   statusOptions
	namespace string
	shown     map[client.ObjectKey]*v1alpha1.ConnectedAccount
	printed   map[client.ObjectKey]*v1alpha1.ConnectedAccount // as they are in the last row of each
	begun     bool                                            // they were shown once
	widths    []int                                           // of the columns of the rows that were printed
}

func (b *board) wanted(account *v1alpha1.ConnectedAccount) bool {
	return len(b.options.names) == 0 || slices.Contains(b.options.names, account.Name)
}

// read fills the board, and returns the version that it is of.
func (b *board) read(ctx context.Context, asked []client.ListOption) (string, error) {
	if len(b.options.names) == 1 && !b.options.watch { // for whom the right to get one is enough
		account, err := b.cluster.account(ctx, client.ObjectKey{Namespace: b.namespace, Name: b.options.names[0]})
		if err == nil {
			b.shown[client.ObjectKeyFromObject(account)] = account
		}
		return "", err
	}
	list := &v1alpha1.ConnectedAccountList{}
	if err := b.cluster.list(ctx, list, asked...); err != nil {
		return "", err
	}
	clear(b.shown)
	for i := range list.Items {
		if account := &list.Items[i]; b.wanted(account) {
			b.shown[client.ObjectKeyFromObject(account)] = account
		}
	}
	return list.ResourceVersion, nil
}

// missing says which accounts there are not, of those that were asked for.
func (b *board) missing() error {
	var names []string
	for _, name := range b.options.names {
		if b.shown[client.ObjectKey{Namespace: b.namespace, Name: name}] == nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return failf(ExitFailed, "there is no ConnectedAccount %s in the namespace %s", listed(names), b.namespace)
}

// views are the accounts, by namespace and name.
func (b *board) views() []accountView {
	views := make([]accountView, 0, len(b.shown))
	for _, account := range b.shown {
		views = append(views, viewOf(account, b.cluster.clock.Now()))
	}
	slices.SortFunc(views, func(x, y accountView) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return views
}

func (b *board) print() error {
	views := b.views()
	if done, err := b.forPrograms(statusList{views}); done || err != nil {
		return err
	}
	if len(views) == 0 && len(b.options.names) > 0 {
		return nil // which of them are missing is said
	}
	if len(views) == 0 {
		where := "in the namespace " + b.namespace
		if b.namespace == metav1.NamespaceAll {
			where = "that you can see"
		}
		b.tellf("there are no accounts %s", where)
		return nil
	}
	_, err := fmt.Fprint(b.system.Out, renderStatus(b.painter(), views, b.options.everywhere, b.cluster.clock.Now()))
	return err
}

func statusTable(p painter, views []accountView, everywhere bool, now time.Time) string {
	headings, rows := statusHeadings(everywhere), statusRows(views, everywhere, now)
	least := slices.Index(headings, "WHY") + 1
	return p.table(headings[:p.fitting(widthsOf(headings, rows), least)], rows)
}

// statusHeadings are those of the columns; of the last ones, some are left out in a narrow terminal.
func statusHeadings(everywhere bool) []string {
	headings := []string{"NAME", "READY", "WHY", "EXPIRES IN", "NEXT REFRESH", "ROTATIONS"}
	if everywhere {
		headings = append([]string{"NAMESPACE"}, headings...)
	}
	return headings
}

func statusRows(views []accountView, everywhere bool, now time.Time) [][]cell {
	var rows [][]cell
	for _, view := range views {
		rows = append(rows, statusRow(view, everywhere, now))
	}
	return rows
}

// renderStatus is the table of accounts. In a terminal, it is followed by what is wrong.
func renderStatus(p painter, views []accountView, everywhere bool, now time.Time) string {
	text := statusTable(p, views, everywhere, now)
	if p.width == 0 {
		return text
	}
	for _, view := range views {
		if view.Reason == v1alpha1.ReasonTokenValid && !view.Expired {
			continue
		}
		text += "\n" + p.paint(bold, view.Namespace+"/"+view.Name) + " " + p.paint(view.readyCell().colour, view.Reason) + "\n" + p.wrap("  ", view.Message) +
			"  " + p.paint(cyan, line("kubectl", "oauth", "doctor", "-n", view.Namespace, view.Name)) + "\n"
	}
	return text
}

func statusRow(view accountView, everywhere bool, now time.Time) []cell {
	ready := view.readyCell()
	row := []cell{
		{view.Name, plain},
		ready,
		{view.Reason, ready.colour},
		view.expiresCell(now), view.refreshCell(now),
		{strconv.FormatInt(view.Rotations, 10), plain},
	}
	if everywhere {
		row = append([]cell{{view.Namespace, plain}}, row...)
	}
	return row
}
