// Package consent is the browser's side of a grant: it shows a person what they are about to allow, sends them to the
// provider, and hands the code that they bring back over to the controller.
//
// It faces the internet, so it can do little: it reads an account and its client, and writes what it hands over into the
// account's status, sealed so that only the controller opens it. It must never call a token endpoint, read a Secret, or
// open anything that was sealed for the controller. What it remembers of somebody between two requests is in their
// browser, sealed in a cookie. Nobody without a ticket, or without that cookie, causes a request to the API server.
//
// The pages need no script and load nothing: each is one answer.
package consent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"k8s.io/utils/clock"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// Errors of Accounts and Clients, for errors.Is. Any other means that the API server cannot be asked at present.
var (
	// ErrNotFound: there is no such object.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the object has changed since it was read, and nothing was written.
	ErrConflict = errors.New("changed since it was read")
)

// Accounts reads accounts, and writes what this package hands over.
type Accounts interface {
	// Account reads one, from the API server and not from a cache.
	Account(ctx context.Context, namespace, name string) (*v1alpha1.ConnectedAccount, error)
	// HandOver writes what was changed of handOver, usedStates and denial in the status.authorization of an account, and
	// nothing else, if the account is still as it was read.
	HandOver(ctx context.Context, read, changed *v1alpha1.ConnectedAccount) error
}

// Clients reads clients.
type Clients interface {
	Client(ctx context.Context, namespace, name string) (*v1alpha1.OAuthClient, error)
}

// Keys gives the keys of this moment; nil while there are none.
type Keys interface {
	Current() *seal.ConsentKeys
}

// Options are what a Handler needs. All are required.
type Options struct {
	// Base is the public URL in front of the paths, as providers and people know it. No header of a request changes it.
	Base     *url.URL
	Accounts Accounts
	Clients  Clients
	Keys     Keys
	Clock    clock.PassiveClock
	Limits   *Limits
	Metrics  *Metrics
	// Random is where states, verifiers and names come from: crypto/rand.Reader.
	Random io.Reader
	Log    *slog.Logger
}

// Handler answers browsers. It is safe for concurrent use.
type Handler struct {
	Options
	pages   *pages
	sameWeb *http.CrossOriginProtection
}

// New makes a handler.
func New(options Options) (*Handler, error) {
	made, err := newPages(options.Base)
	if err != nil {
		return nil, err
	}
	made.answered = options.Metrics.answered
	asked := measured{Accounts: options.Accounts, Clients: options.Clients, metrics: options.Metrics, clock: options.Clock}
	options.Accounts, options.Clients = asked, asked
	handler := &Handler{Options: options, pages: made, sameWeb: http.NewCrossOriginProtection()}
	// A proxy may send another Host than the browser did; the Origin that a browser names is this one all the same.
	return handler, handler.sameWeb.AddTrustedOrigin(options.Base.Scheme + "://" + options.Base.Host)
}

// ServeHTTP answers one request, unless there are too many.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	leave, verdict := h.Limits.enter(r, h.Clock.Now())
	switch verdict {
	case tooMany:
		h.pages.show(w, page{kind: pageTooMany, retryAfter: rateWindow})
		return
	case tooBusy:
		h.pages.show(w, page{kind: pageBusy, retryAfter: busyRetry})
		return
	case admitted:
	}
	defer leave()
	h.route(w, r)
}

// route is not a ServeMux, which would answer some paths with redirects of its own.
func (h *Handler) route(w http.ResponseWriter, r *http.Request) {
	path, below := strings.CutPrefix(r.URL.EscapedPath(), strings.TrimSuffix(h.Base.Path, "/"))
	switch {
	case !below:
		h.nothingHere(w)
	case path == connectPath && r.Method == http.MethodGet:
		h.start(w, r)
	case path == connectPath && r.Method == http.MethodPost:
		h.begin(w, r)
	case path == connectPath:
		h.wrongMethod(w, "GET, POST")
	case path == resultPath && r.Method == http.MethodGet:
		h.result(w, r)
	case path == resultPath:
		h.wrongMethod(w, "GET")
	case strings.HasPrefix(path, callbackPath):
		h.callback(w, r, strings.TrimPrefix(path, callbackPath))
	default:
		h.nothingHere(w)
	}
}

// The paths below Base.
const (
	connectPath  = "/connect"
	callbackPath = "/callback/"
	resultPath   = "/result"
)

// url is the public URL of a path.
func (h *Handler) url(path string) string { return strings.TrimSuffix(h.Base.String(), "/") + path }

// nothingHere is the one answer to whoever brings nothing of ours.
func (h *Handler) nothingHere(w http.ResponseWriter) { h.pages.show(w, page{kind: pageNothing}) }

func (h *Handler) wrongMethod(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	h.pages.show(w, page{kind: pageWrongMethod})
}

// unavailable is for when the API server, or the keys, cannot be had. The cause is for the log alone.
func (h *Handler) unavailable(w http.ResponseWriter, doing string, err error) {
	h.Log.Error("consent: "+doing, "error", err)
	h.pages.show(w, page{kind: pageUnavailable, retryAfter: busyRetry})
}
