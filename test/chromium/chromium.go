// Package chromium drives a real Chromium for tests: windows with cookies of their own, in a world of hosts that all lie on
// this machine. It does what a person does, by mouse and keyboard, and tells what the browser has asked and been told. It
// must never do anything that a person could not.
package chromium

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

const (
	// patience is for a browser on a machine that has much to do.
	patience = time.Minute
	// lookEvery is how often a page is looked at that is waited for.
	lookEvery = 20 * time.Millisecond
	// variable names a browser other than those that are looked for.
	variable = "BROWSER_UNDER_TEST"
)

// Find is the browser of this machine. Where there is none the test is skipped, and it is said how to get one.
func Find(t *testing.T) string {
	t.Helper()
	if named := os.Getenv(variable); named != "" {
		return named
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if found, err := exec.LookPath(name); err == nil {
			return found
		}
	}
	t.Skip("there is no Chromium here: make browser installs one, or " + variable + " names one")
	return ""
}

// Window is a window with cookies of its own, and the one tab in it.
type Window struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp keeps the browser in it

	mu         sync.Mutex
	complaints []string
	traffic    traffic
}

// Start starts a browser, which ends with the test. It finds the given hosts at these addresses, on whatever port they are
// asked for; others only if they are this machine's own. Certificates are not looked at.
func Start(t *testing.T, hosts map[string]string) *Window {
	t.Helper()
	var rules []string
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		rules = append(rules, fmt.Sprintf("MAP %s %s", host, hosts[host]))
	}
	rules = append(rules, "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", "EXCLUDE localhost")
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(Find(t)), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("host-resolver-rules", strings.Join(rules, ",")),
	)
	allocated, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	return newWindow(t, allocated)
}

func newWindow(t *testing.T, within context.Context, options ...chromedp.ContextOption) *Window { //nolint:revive // the context is the browser
	t.Helper()
	w := &Window{t: t}
	ctx, stop := chromedp.NewContext(within, append(options, chromedp.WithListener(w.listen))...)
	t.Cleanup(stop)
	w.ctx = ctx
	// The first call starts the browser or the tab, which then lives as long as its context.
	if _, err := chromedp.Call(ctx, cdplog.Enable, cdp.Empty{}); err != nil {
		t.Fatalf("the browser does not start: %v", err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatalf("the browser does not tell what it asks: %v", err)
	}
	return w
}

// listen remembers what the browser's console says, and what goes over its wires.
func (w *Window) listen(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if entry, is := event.(*cdplog.EventEntryAdded); is && !strings.Contains(entry.Entry.URL, "favicon.ico") {
		w.complaints = append(w.complaints, entry.Entry.Text+" "+entry.Entry.URL)
	}
	w.traffic.take(event)
}

// Another is a window of the same browser with other cookies: another person's.
func (w *Window) Another() *Window {
	w.t.Helper()
	return newWindow(w.t, w.ctx, chromedp.WithNewBrowserContext())
}

// Tab is another tab of the same person.
func (w *Window) Tab() *Window {
	w.t.Helper()
	return newWindow(w.t, w.ctx)
}

// Do does something in the window.
func (w *Window) Do(actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		w.t.Fatalf("the browser: %v", err)
	}
}

// Read does what gives a value.
func Read[T any](w *Window, action chromedp.Action[T]) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		w.t.Fatalf("the browser: %v", err)
	}
	return value
}

// Call sends a command of the browser's protocol to the tab.
func Call[P, R any](w *Window, command cdp.Command[P, R], parameters P) R {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	result, err := chromedp.Call(ctx, command, parameters)
	if err != nil {
		w.t.Fatalf("the browser: %v", err)
	}
	return result
}

// Open goes to a URL, as if it had been typed in.
func (w *Window) Open(target string) {
	w.t.Helper()
	w.Do(chromedp.Navigate(target))
}

// Click clicks on the first element that the CSS selector finds, once it is there to be seen.
func (w *Window) Click(selector string) {
	w.t.Helper()
	w.Do(chromedp.Click(chromedp.CSS(selector)))
}

// Press presses keys, wherever the focus is.
func (w *Window) Press(keys string) {
	w.t.Helper()
	w.Do(chromedp.KeyEvent(keys))
}

// Evaluate is the value of a script. It is for what a person sees or hears of a page and a test cannot otherwise know.
func Evaluate[T any](w *Window, script string) T {
	w.t.Helper()
	return Read(w, chromedp.Evaluate[T](script))
}

// Location is the address that the window shows.
func (w *Window) Location() string {
	w.t.Helper()
	return Read(w, chromedp.Location())
}

// Title is that of the page.
func (w *Window) Title() string {
	w.t.Helper()
	return Read(w, chromedp.Title())
}

// Await waits for a page with that title.
func (w *Window) Await(title string) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := w.Title()
		if got == title {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the page is %q at %s, want %q; it says: %s", got, w.Location(), title, w.Text())
		}
		time.Sleep(lookEvery)
	}
}

// Text is what can be read on the page.
func (w *Window) Text() string {
	w.t.Helper()
	return Read(w, chromedp.Text(chromedp.CSS("body")))
}

// Cookies are those that the browser has for a host.
func (w *Window) Cookies(host string) []*network.Cookie {
	w.t.Helper()
	all, err := chromedp.CallBrowser(w.ctx, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: chromedp.FromContext(w.ctx).BrowserContextID})
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.DeleteFunc(all.Cookies, func(cookie *network.Cookie) bool { return cookie.Domain != host })
}

// Complaints are what the browser's console says, such as of a policy that was violated.
func (w *Window) Complaints() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.complaints)
}
