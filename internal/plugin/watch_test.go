package plugin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/plugin"
)

// denied has an account say that it has no token.
func denied(account *v1alpha1.ConnectedAccount) {
	account.Status.ExpirationTime = nil
	condition(account, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAuthorizationDenied, "denied")
}

// In a pipe, each change is a line, and the columns stand where they stood.
func TestWatchInAPipe(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	acme, bills := p.account("acme"), p.account("bills")
	r := p.starts(nil, "status", "--watch")
	heading, first, second := r.out.line(), r.out.line(), r.out.line()
	column := strings.Index(heading, "WHY")
	if !strings.HasPrefix(first, "acme ") || !strings.HasPrefix(second, "bills ") || strings.Index(first, "TokenValid") != column || strings.Index(second, "TokenValid") != column {
		t.Errorf("not all accounts, or not in columns:\n%s\n%s\n%s", heading, first, second)
	}

	bills.Labels = map[string]string{"no": "row-shows-it"}
	if err := p.admin.Update(t.Context(), bills); err != nil {
		t.Fatal(err)
	}
	p.status(acme, denied)
	if changed := r.out.line(); !strings.HasPrefix(changed, "acme ") || strings.Index(changed, "AuthorizationDenied") != column {
		t.Errorf("not the change, or not in its column:\n%s\n%s", heading, changed)
	}

	p.account("somebody-with-a-long-name") // which has no status yet when it is seen first
	if wide := r.out.line(); !strings.HasPrefix(wide, "somebody-with-a-long-name   ") {
		t.Errorf("not the account that came: %s", wide)
	}
	wide := r.out.until("TokenValid")
	if err := p.admin.Delete(t.Context(), bills); err != nil {
		t.Fatal(err)
	}
	r.out.line()
	if gone := r.out.line(); !strings.HasPrefix(gone, "bills ") || strings.Index(gone, "Deleted") != strings.Index(wide, "TokenValid") {
		t.Errorf("the deletion is not told, or not in the columns:\n%s\n%s", wide, gone)
	}
	r.stop()
	r.ends(plugin.ExitInterrupted)
	if strings.Contains(r.out.all(), "\x1b") || r.errs.all() != "" {
		t.Errorf("a pipe gets %q and %q", r.out.all(), r.errs.all())
	}
}

// For programs, each change is an object on a line.
func TestWatchForPrograms(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	acme := p.account("acme")
	r := p.starts(nil, "status", "acme", "-w", "-o", "json")
	reads := func(want string) {
		t.Helper()
		var view struct {
			Name   string `json:"name"`
			Reason string `json:"reason"`
		}
		if err := json.Unmarshal([]byte(r.out.line()), &view); err != nil || view.Name != "acme" || view.Reason != want {
			t.Errorf("%+v, want %s: %v", view, want, err)
		}
	}
	reads("TokenValid")
	p.account("bills") // which nobody asked about
	p.status(acme, denied)
	reads("AuthorizationDenied")
	if err := p.admin.Delete(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	reads("Deleted")
	r.stop()
	r.ends(plugin.ExitInterrupted)
}

// screen is the table as it stands in a terminal once it has been drawn anew.
func screen(r *run, marks string) string {
	r.out.t.Helper()
	r.out.until(marks)
	frames := strings.Split(r.out.all(), "\x1b[H\x1b[J")
	return frames[len(frames)-1]
}

// In a terminal, the table is drawn over the one before, counts down, fits, and shows first what needs somebody.
func TestWatchInATerminal(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	last := p.account("account-9")
	for i := range 9 {
		p.account(fmt.Sprintf("account-%d", i))
	}
	at := clocktesting.NewFakeClock(time.Now())
	var size atomic.Pointer[[2]int]
	size.Store(&[2]int{100, 40})
	r := p.starts(func(system *plugin.System) {
		system.OutTerminal, system.Clock = true, at
		system.Size = func() (int, int) { now := size.Load(); return now[0], now[1] }
	}, "status", "--watch")
	if all := screen(r, "account-9"); strings.Count(all, "TokenValid") != 10 && strings.Contains(all, "more") {
		t.Errorf("not all accounts:\n%s", all)
	}

	p.status(last, denied)
	r.out.until("AuthorizationDenied")
	size.Store(&[2]int{40, 6})
	tick(t, at)
	small := screen(r, "… and 7 more, 0 of them not ready\n")
	lines := strings.Split(strings.TrimSuffix(small, "\n"), "\n")
	if len(lines) != 5 || !strings.HasPrefix(lines[1], "account-9") || !strings.Contains(lines[1], "AuthorizationDe") {
		t.Errorf("it does not fit into six lines, or hides what is wrong:\n%s", small)
	}
	if slices.ContainsFunc(lines, func(line string) bool { return len([]rune(line)) > 40 }) {
		t.Errorf("it does not fit into 40 columns:\n%s", small)
	}
	r.stop()
	r.ends(plugin.ExitInterrupted)
}

// tick lets a second pass, once the program waits for it.
func tick(t *testing.T, at *clocktesting.FakeClock) {
	t.Helper()
	for end := time.Now().Add(patience); !at.HasWaiters(); {
		if time.Now().After(end) {
			t.Fatal("nobody waits for the clock")
		}
		time.Sleep(time.Millisecond) // for what another goroutine does, which nothing else tells
	}
	at.Step(time.Second)
}

// A terminal that knows no sequences gets lines, as a pipe does.
func TestWatchInADumbTerminal(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	acme := p.account("acme")
	r := p.starts(func(system *plugin.System) {
		system.OutTerminal = true
		system.Getenv = func(name string) string { return map[string]string{"TERM": "dumb"}[name] }
	}, "status", "--watch")
	r.out.until("TokenValid")
	p.status(acme, denied)
	r.out.until("AuthorizationDenied")
	r.stop()
	r.ends(plugin.ExitInterrupted)
	if strings.Contains(r.out.all(), "\x1b") {
		t.Errorf("%q", r.out.all())
	}
}

// An API server that ends its watches, or is gone for a while, loses nobody who waits: what has changed meanwhile is told.
func TestAWaitOutlivesTheAPIServer(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	way := p.newWire()
	acme, gone := p.account("acme"), p.account("gone")
	watching := p.starts(nil, "status", "--watch", "-o", "json")
	watching.out.until(`"gone"`)
	asking := p.starts(nil, "refresh", "acme")
	asking.errs.until("asked for a new token")

	way.hangUp()
	way.cut()
	watching.errs.until("the API server does not answer, and is asked again until it does")
	asking.errs.until("the API server does not answer, and is asked again until it does")
	if err := p.admin.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	p.refreshed(acme)
	way.mend()
	watching.out.until(`"rotations":2`)
	watching.out.until(`"reason":"Deleted"`)
	asking.ends(plugin.ExitDone)
	asking.out.until("acme Refreshed")
	watching.stop()
	watching.ends(plugin.ExitInterrupted)
	if got := strings.Count(watching.errs.all(), "does not answer"); got != 1 {
		t.Errorf("it is said %d times that the API server does not answer", got)
	}
}

// refreshed has an account get a new token.
func (p *place) refreshed(account *v1alpha1.ConnectedAccount) {
	p.t.Helper()
	p.reread(account)
	p.status(account, func(account *v1alpha1.ConnectedAccount) {
		now := metav1.NewTime(time.Now().Add(time.Second))
		account.Status.LastRefreshTime, account.Status.Rotations = &now, account.Status.Rotations+1
	})
}

// A machine whose clock is fast asks for a token now all the same, and not when its time has come.
func TestARefreshIsAskedForNow(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	acme := p.account("acme")
	r := p.starts(func(system *plugin.System) { system.Clock = clocktesting.NewFakeClock(time.Now().Add(time.Hour)) }, "refresh", "acme", "--timeout=0")
	r.ends(plugin.ExitDone)
	p.reread(acme)
	at, err := time.Parse(time.RFC3339, acme.Annotations[v1alpha1.AnnotationRefreshRequestedAt])
	if err != nil || time.Until(at) > time.Second {
		t.Errorf("a token is asked for at %s: %v", at, err)
	}
}

// Of several names, some may be missing: the others are shown all the same.
func TestStatusOfSomeThatAreThere(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.account("acme")
	r := p.starts(nil, "status", "acme", "nobody", "no-one")
	r.ends(plugin.ExitFailed)
	r.out.until("acme")
	r.errs.until("error: there is no ConnectedAccount nobody, no-one in the namespace " + p.namespace)
	r = p.starts(nil, "status", "acme", "nobody", "--watch")
	r.ends(plugin.ExitFailed)
	r.errs.until("there is no ConnectedAccount nobody")
}

// What makes no sense, or cannot be reached, ends at once with a code and a word.
func TestWhatEndsAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.account("acme")
	for _, c := range []struct {
		says      string
		code      int
		arguments []string
	}{
		{"usage: kubectl oauth refresh NAME", plugin.ExitUsage, []string{"refresh"}},
		{"-3s is no time to wait", plugin.ExitUsage, []string{"refresh", "acme", "--timeout=-3s"}},
		{"there is no command stat", plugin.ExitUsage, []string{"stat"}},
		{"unknown flag: --frobnicate", plugin.ExitUsage, []string{"status", "--frobnicate"}},
		{"there is no answer from the API server", plugin.ExitFailed, []string{"status", "--server", "https://127.0.0.1:1"}},
		{"there is no answer from the API server", plugin.ExitFailed, []string{"status", "-w", "--server", "https://127.0.0.1:1"}},
	} {
		r := p.starts(nil, c.arguments...)
		r.ends(c.code)
		if !strings.Contains(r.errs.all(), c.says) || r.out.all() != "" {
			t.Errorf("%q: %q is not said: %s%s", c.arguments, c.says, r.errs.all(), r.out.all())
		}
	}

	stranger := rest.AnonymousClientConfig(shared.cluster.Admin)
	stranger.BearerToken = "expired"
	p.kubeconfig = p.kubeconfigFor(stranger)
	r := p.starts(nil, "status")
	r.ends(plugin.ExitFailed)
	r.errs.until("the API server does not know you")
}

// A watch whose beginning the API server has forgotten (410) is begun anew from what there is now, and not at once again and again.
func TestAWatchThatHasExpired(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	var lists, watches atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if request.URL.Query().Get("watch") != "" {
			watches.Add(1)
			fmt.Fprint(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}`+"\n") //nolint:errcheck // the test sees that nothing comes
			return
		}
		fmt.Fprintf(w, `{"kind":"ConnectedAccountList","apiVersion":"oauth-operator.dev/v1alpha1","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"acme","namespace":"shop"},"status":{"rotations":%d}}]}`, lists.Add(1)) //nolint:errcheck // as above
	}))
	t.Cleanup(server.Close)
	r := p.starts(nil, "status", "-w", "-o", "json", "--server", server.URL)
	begin := time.Now()
	r.out.until(`"rotations":1`)
	r.out.until(`"rotations":3`)
	took := time.Since(begin)
	r.stop()
	r.ends(plugin.ExitInterrupted)
	if r.errs.all() != "" || watches.Load() > 3 || took < time.Second {
		t.Errorf("%d watches within %s, and it is said: %s", watches.Load(), took, r.errs.all())
	}
}
