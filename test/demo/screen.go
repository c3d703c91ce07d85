package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

const explanation = `oauth-operator: the demo, about a minute

Two OAuth providers, eight accounts, eight workloads. The operator gets an access token for each account and writes it
into a Secret, anew before it ends. Each workload calls its provider's API with what is in its Secret's files. Four of
the accounts are customers'. Two of these consent here, on the operator's pages; two consented elsewhere, and their
refresh tokens were handed over. Each refresh token is good for one use, which brings the next one, and using one twice
ends the customer's consent.

  real      etcd, kube-apiserver with RBAC, admission policies and audit log, and the garbage collector
            the operator's own program, installed from config/default, with the flags of its Deployment and a token of
            its ServiceAccount: no more rights than there
            config/samples, with its imports and consents, applied by kubectl as a user with the role admin in one
            namespace
  stand-in  the providers: one program that plays both to the letter; their tokens live 15 s in place of hours
            the customers: %s
            the Ingress: the demo has the certificate of the consent pages' URL; the operator serves them itself
            the kubelet: there are no nodes, so a program of the demo writes the Secrets' files, 0 to 2 s late
            Pods: operator and workloads are processes of this machine; the operator listens on free ports of
            loopback, and may call providers there (--insecure-allow-loopback)

`

const (
	tableInterval = 500 * time.Millisecond
	lineInterval  = 5 * time.Second

	// clearBelow is the terminal's sequence that clears from the cursor to the end of the screen.
	clearBelow = "\x1b[J"
)

// screen is what the user sees: lines of what happens, and below them, in a terminal, a table that is kept up to date.
type screen struct {
	began    time.Time
	terminal bool

	mu    sync.Mutex
	out   io.Writer
	said  bytes.Buffer // all that was written, to be searched for secrets
	table []string     // as it stands there now
	end   func()
}

func newScreen(file *os.File) *screen {
	info, err := file.Stat()
	name := os.Getenv("TERM")
	return &screen{
		began: time.Now(), out: file,
		terminal: err == nil && info.Mode()&os.ModeCharDevice != 0 && name != "" && name != "dumb",
	}
}

// print writes text as it is.
func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replace(text, s.table)
}

// sayf writes a line with the time since the start, above the table.
func (s *screen) sayf(format string, arguments ...any) {
	s.print(fmt.Sprintf("%5.1f s  ", time.Since(s.began).Seconds()) + fmt.Sprintf(format, arguments...) + "\n")
}

// lines is a writer for the progress of others.
func (s *screen) lines() io.Writer {
	return &lineWriter{take: func(line string) { s.sayf("%s", line) }}
}

// replace writes text where the table begins, and a table below it.
func (s *screen) replace(text string, table []string) {
	var all strings.Builder
	if len(s.table) > 0 {
		fmt.Fprintf(&all, "\x1b[%dA\r%s", len(s.table), clearBelow)
	}
	all.WriteString(text)
	for _, line := range table {
		all.WriteString(line + "\n")
	}
	s.table = table
	s.said.WriteString(all.String())
	_, _ = io.WriteString(s.out, all.String()) // whoever looks at it has gone
}

// noRotations is shown for an account without a refresh token.
const noRotations = "-"

// row is an account in the table.
type row struct {
	name, ready, expires     string
	renewals, calls, refused int
	// rotations is how many refresh tokens were spent, or "-" where there is none.
	rotations string
}

// show keeps the table up to date, or writes a line now and then where there is no terminal, until stop.
func (s *screen) show(ctx context.Context, rows func(context.Context) ([]row, error)) {
	ctx, cancel := context.WithCancel(ctx)
	interval := lineInterval
	if s.terminal {
		interval = tableInterval
	}
	ended := make(chan struct{})
	s.mu.Lock()
	s.end = func() { cancel(); <-ended }
	s.mu.Unlock()
	go func() {
		defer close(ended)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			if current, err := rows(ctx); err == nil {
				s.update(current)
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}()
}

func (s *screen) update(rows []row) {
	if !s.terminal {
		s.sayf("%s", plain(rows))
		return
	}
	const format = "  %-24s %-6s %-11s %-9s %-10s %-7s %s"
	table := []string{"", fmt.Sprintf(format, "ACCOUNT", "READY", "EXPIRES IN", "RENEWALS", "ROTATIONS", "CALLS", "REFUSED")}
	for _, each := range rows {
		table = append(table, fmt.Sprintf(format, each.name, each.ready, each.expires, fmt.Sprint(each.renewals), each.rotations, fmt.Sprint(each.calls), fmt.Sprint(each.refused)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replace("", table)
}

// plain is the table as one line.
func plain(rows []row) string {
	ready, calls, refused := 0, 0, 0
	parts := make([]string, len(rows))
	for i, each := range rows {
		if each.ready == string(metav1.ConditionTrue) {
			ready++
		}
		calls, refused = calls+each.calls, refused+each.refused
		parts[i] = fmt.Sprintf("%s %d (%s)", each.name, each.renewals, each.expires)
		if each.rotations != noRotations {
			parts[i] = fmt.Sprintf("%s %d (%s; rotation %s)", each.name, each.renewals, each.expires, each.rotations)
		}
	}
	return fmt.Sprintf("%d of %d ready, %d calls, %d refused; renewals (and expiry in): %s", ready, len(rows), calls, refused, strings.Join(parts, ", "))
}

// stop ends show and leaves the table where it is.
func (s *screen) stop() {
	s.mu.Lock()
	end := s.end
	s.end = nil
	s.mu.Unlock()
	if end == nil {
		return
	}
	end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.table) > 0 {
		s.table = nil
		_, _ = io.WriteString(s.out, "\n") // whoever looks at it has gone
	}
}

// rows are the accounts as the API server has them, with what the provider's ledger says of their workloads.
func (d *demo) rows(ctx context.Context) ([]row, error) {
	accounts := &v1alpha1.ConnectedAccountList{}
	if err := d.accounts.List(ctx, accounts, client.InNamespace(stage.Namespace)); err != nil {
		return nil, err
	}
	tallies, err := d.tally.read()
	if err != nil {
		return nil, err
	}
	var rows []row
	for i := range accounts.Items {
		account := &accounts.Items[i]
		of := tallies[account.Name]
		current := row{
			name: account.Name, ready: "-", expires: "-", rotations: noRotations,
			renewals: of.renewals(), calls: of.calls, refused: of.refused,
		}
		if of.rotates {
			current.rotations = fmt.Sprint(of.spent)
		}
		if ready := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			current.ready = string(ready.Status)
		}
		if expires := account.Status.ExpirationTime; expires != nil {
			current.expires = fmt.Sprintf("%.0fs", time.Until(expires.Time).Seconds())
		}
		rows = append(rows, current)
	}
	return rows, nil
}
