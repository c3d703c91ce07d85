package plugin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// redrawInterval is how often a table in a terminal is drawn anew, since what is in it counts down.
const redrawInterval = time.Second

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
	a.addOutput(flags)
	return command
}

func (a *app) status(ctx context.Context, options statusOptions) error {
	if err := a.checkOutput(); err != nil {
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
	return board.print()
}

// board is a list of accounts, as it is known at the moment.
type board struct {
	*app
	cluster   *cluster
	options   statusOptions
	namespace string
	shown     map[client.ObjectKey]*v1alpha1.ConnectedAccount
	printed   map[client.ObjectKey]*v1alpha1.ConnectedAccount // as they are in the last row of each
	headed    bool
}

func (b *board) wanted(account *v1alpha1.ConnectedAccount) bool {
	return len(b.options.names) == 0 || slices.Contains(b.options.names, account.Name)
}

// read fills the board, and returns the version that it is of.
func (b *board) read(ctx context.Context, asked []client.ListOption) (string, error) {
	clear(b.shown)
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
	for i := range list.Items {
		if account := &list.Items[i]; b.wanted(account) {
			b.shown[client.ObjectKeyFromObject(account)] = account
		}
	}
	for _, name := range b.options.names {
		if b.shown[client.ObjectKey{Namespace: b.namespace, Name: name}] == nil {
			return "", failf(ExitFailed, "there is no ConnectedAccount %s in the namespace %s", name, b.namespace)
		}
	}
	return list.ResourceVersion, nil
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
	headings := []string{"NAME", "READY", "WHY", "EXPIRES IN", "NEXT REFRESH", "ROTATIONS"}
	if everywhere {
		headings = append([]string{"NAMESPACE"}, headings...)
	}
	var rows [][]cell
	for _, view := range views {
		rows = append(rows, statusRow(view, everywhere, now))
	}
	return p.table(headings, rows)
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

// keepUp shows the board and each change of it, until the user has had enough.
func (b *board) keepUp(ctx context.Context, asked []client.ListOption) error {
	for {
		version, err := b.read(ctx, asked)
		if err != nil {
			return err
		}
		if err := b.begin(); err != nil {
			return err
		}
		if err := b.changes(ctx, asked, version); err != nil {
			return err
		}
		if err := b.cluster.pause(ctx); err != nil {
			return err
		}
	}
}

// begin shows all accounts.
func (b *board) begin() error {
	if b.redraws() {
		return b.redraw()
	}
	for _, view := range b.views() {
		if err := b.announce(b.shown[client.ObjectKey{Namespace: view.Namespace, Name: view.Name}]); err != nil {
			return err
		}
	}
	return nil
}

// announce prints a row for an account that has changed since its last one.
func (b *board) announce(account *v1alpha1.ConnectedAccount) error {
	key := client.ObjectKeyFromObject(account)
	if before := b.printed[key]; before != nil && sameRow(before, account) {
		return nil
	}
	b.printed[key] = account
	return b.printRow(viewOf(account, b.cluster.clock.Now()))
}

// changes takes up what changes, until the watch ends.
func (b *board) changes(ctx context.Context, asked []client.ListOption, version string) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	type change struct {
		kind    watch.EventType
		account *v1alpha1.ConnectedAccount
	}
	changes, ended := make(chan change), make(chan error, 1)
	go func() {
		options := append(slices.Clone(asked), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
		ended <- b.cluster.watch(watching, options, func(kind watch.EventType, account *v1alpha1.ConnectedAccount) error {
			select {
			case changes <- change{kind, account}:
				return nil
			case <-watching.Done():
				return watching.Err()
			}
		})
	}()
	ticker := b.cluster.clock.NewTicker(redrawInterval)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case now := <-changes:
			if err := b.take(now.kind, now.account); err != nil {
				return err
			}
		case <-ticker.C():
			if b.redraws() {
				if err := b.redraw(); err != nil {
					return err
				}
			}
		}
	}
}

func (b *board) take(kind watch.EventType, account *v1alpha1.ConnectedAccount) error {
	if kind == watch.Bookmark || !b.wanted(account) {
		return nil
	}
	key := client.ObjectKeyFromObject(account)
	b.shown[key] = account
	if kind == watch.Deleted {
		delete(b.shown, key)
	}
	switch {
	case b.redraws():
		return b.redraw()
	case kind == watch.Deleted:
		delete(b.printed, key)
		return nil
	default:
		return b.announce(account)
	}
}

// sameRow: nothing has changed that a row shows.
func sameRow(before, after *v1alpha1.ConnectedAccount) bool {
	one, other := viewOf(before, time.Time{}), viewOf(after, time.Time{})
	return one.Ready == other.Ready && one.Reason == other.Reason && one.Rotations == other.Rotations &&
		one.ExpirationTime.Equal(other.ExpirationTime) && one.NextRefreshTime.Equal(other.NextRefreshTime)
}

func (b *board) redraws() bool { return b.output == "" && b.system.OutTerminal }

// clearScreen goes to the upper left corner of the terminal, and clears from there.
const clearScreen = "\x1b[H\x1b[J"

// redraw writes the table over whatever stands there.
func (b *board) redraw() error {
	_, err := fmt.Fprint(b.system.Out, clearScreen+statusTable(b.painter(), b.views(), b.options.everywhere, b.cluster.clock.Now()))
	return err
}

// printRow writes one account: a line, or an object on one line.
func (b *board) printRow(view accountView) error {
	switch b.output {
	case outputJSON:
		return json.NewEncoder(b.system.Out).Encode(view) //nolint:gosec // what is named so is the name of a Secret
	case outputYAML:
		if _, err := fmt.Fprintln(b.system.Out, "---"); err != nil {
			return err
		}
		_, err := b.forPrograms(view)
		return err
	}
	text := statusTable(painter{}, []accountView{view}, b.options.everywhere, b.cluster.clock.Now())
	if _, row, found := strings.Cut(text, "\n"); found && b.headed {
		text = row
	}
	b.headed = true
	_, err := fmt.Fprint(b.system.Out, text)
	return err
}
