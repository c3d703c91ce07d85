package plugin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const (
	// redrawInterval is how often a table in a terminal is drawn anew, since what is in it counts down.
	redrawInterval = time.Second
	// clearScreen goes to the upper left corner of the terminal, and clears from there.
	clearScreen = "\x1b[H\x1b[J"
	// reasonDeleted is said of an account that is there no more.
	reasonDeleted = "Deleted"
)

// keepUp shows the board and each change of it, until the user has had enough.
func (b *board) keepUp(ctx context.Context, asked []client.ListOption) error {
	patience := patience{cluster: b.cluster}
	for {
		version, err := b.read(ctx, asked)
		if err == nil && !b.begun {
			err = b.missing()
		}
		if err != nil && !b.begun {
			return err
		}
		if err == nil {
			err = b.begin()
		}
		if err == nil {
			err = b.changes(ctx, asked, version)
		}
		if err := patience.rest(ctx, err); err != nil {
			return err
		}
	}
}

// begin shows all accounts; and when it begins anew, what has changed meanwhile.
func (b *board) begin() error {
	b.begun = true
	if b.redraws() {
		return b.redraw()
	}
	var there []*v1alpha1.ConnectedAccount
	for _, view := range b.views() {
		there = append(there, b.shown[client.ObjectKey{Namespace: view.Namespace, Name: view.Name}])
	}
	if err := b.announce(there...); err != nil {
		return err
	}
	for key, account := range b.printed {
		if b.shown[key] == nil {
			if err := b.announceGone(account); err != nil {
				return err
			}
		}
	}
	return nil
}

// announce prints a row for each account that has changed since its last one.
func (b *board) announce(accounts ...*v1alpha1.ConnectedAccount) error {
	var views []accountView
	for _, account := range accounts {
		key := client.ObjectKeyFromObject(account)
		if before := b.printed[key]; before == nil || !sameRow(before, account) {
			b.printed[key] = account
			views = append(views, viewOf(account, b.cluster.clock.Now()))
		}
	}
	return b.printRows(views)
}

// announceGone prints a row for an account that was deleted.
func (b *board) announceGone(account *v1alpha1.ConnectedAccount) error {
	delete(b.printed, client.ObjectKeyFromObject(account))
	view := viewOf(account, b.cluster.clock.Now())
	view.known, view.Ready, view.Reason, view.Message = true, false, reasonDeleted, "the account was deleted"
	view.ExpirationTime, view.NextRefreshTime, view.Expired = nil, nil, false
	return b.printRows([]accountView{view})
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
		return b.announceGone(account)
	default:
		return b.announce(account)
	}
}

// sameRow: nothing has changed that a row shows.
func sameRow(before, after *v1alpha1.ConnectedAccount) bool {
	one, other := viewOf(before, time.Time{}), viewOf(after, time.Time{})
	return before.UID == after.UID && one.Ready == other.Ready && one.Reason == other.Reason && one.Rotations == other.Rotations &&
		one.ExpirationTime.Equal(other.ExpirationTime) && one.NextRefreshTime.Equal(other.NextRefreshTime)
}

// redraws: there is a terminal where a table can be drawn over the one before.
func (b *board) redraws() bool { return b.output == "" && b.understands() }

// redraw writes the table over whatever stands there. If there are more accounts than lines, those come first that something is
// wrong with.
func (b *board) redraw() error {
	views, more := b.views(), ""
	const around = 3 // the headings, the line that says how many more there are, and that of the cursor
	if _, height := b.size(); height > around && len(views) > height-around+1 {
		slices.SortStableFunc(views, func(x, y accountView) int { return cmp.Compare(x.trouble(), y.trouble()) })
		rest := views[height-around:]
		views = views[:height-around]
		unready := 0
		for _, view := range rest {
			if !view.Ready {
				unready++
			}
		}
		more = fmt.Sprintf("%s and %d more, %d of them not ready\n", ellipsis, len(rest), unready)
	}
	return b.write(clearScreen + statusTable(b.painter(), views, b.options.everywhere, b.cluster.clock.Now()) + more)
}

// trouble orders accounts: those first that have no token, then those that something else is wrong with.
func (v accountView) trouble() int {
	switch {
	case !v.Ready:
		return 0
	case v.Reason != v1alpha1.ReasonTokenValid:
		return 1
	default:
		return 2
	}
}

// printRows writes a line for each account, or an object on one line.
func (b *board) printRows(views []accountView) error {
	if len(views) == 0 {
		return nil
	}
	if b.output != "" {
		for _, view := range views {
			if err := b.printObject(view); err != nil {
				return err
			}
		}
		return nil
	}
	headings, rows := statusHeadings(b.options.everywhere), statusRows(views, b.options.everywhere, b.cluster.clock.Now())
	now := widthsOf(headings, rows)
	if b.widths == nil {
		b.widths, rows = make([]int, len(headings)), append([][]cell{head(headings)}, rows...)
	}
	for column := range now {
		b.widths[column] = max(b.widths[column], now[column])
	}
	return b.write(painter{}.rows(b.widths, rows))
}

func (b *board) printObject(view accountView) error {
	if b.output == outputJSON {
		text, err := json.Marshal(view) //nolint:gosec // what is named so is the name of a Secret
		if err != nil {
			return err
		}
		return b.write(string(text) + "\n")
	}
	if err := b.write("---\n"); err != nil {
		return err
	}
	_, err := b.forPrograms(view)
	return err
}

// write writes to standard output. What goes wrong there is not over by waiting.
func (b *board) write(text string) error {
	if _, err := fmt.Fprint(b.system.Out, text); err != nil {
		return failf(ExitFailed, "nothing can be printed: %w", err)
	}
	return nil
}
