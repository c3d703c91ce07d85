package consent

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

//go:embed pages
var pageFiles embed.FS

// pageKind names a page, and is the name of its template.
type pageKind string

const (
	pageStart pageKind = "start"

	pageWorking       pageKind = "working"
	pageSlow          pageKind = "slow"
	pageConnected     pageKind = "connected"
	pageApproval      pageKind = "approval"
	pageDenied        pageKind = "denied"
	pageProviderError pageKind = "providerError"
	pageRejected      pageKind = "rejected"
	pageDoubt         pageKind = "doubt"
	pageWrongAccount  pageKind = "wrongAccount"
	pageLate          pageKind = "late"
	pageUsed          pageKind = "used"

	pageNothing      pageKind = "nothing"
	pageExpiredLink  pageKind = "expiredLink"
	pageReplacedLink pageKind = "replacedLink"
	pageWaiting      pageKind = "waiting"
	pageNotReady     pageKind = "notReady"
	pageElsewhere    pageKind = "elsewhere"
	pageRefused      pageKind = "refused"
	pageCrossSite    pageKind = "crossSite"
	pageWrongMethod  pageKind = "wrongMethod"
	pageTooMany      pageKind = "tooMany"
	pageBusy         pageKind = "busy"
	pageUnavailable  pageKind = "unavailable"
)

// mood is how a page looks, never what it says.
const (
	moodPlain = "plain"
	moodGood  = "good"
	moodBad   = "bad"
	moodWait  = "wait"
)

// face is what a page of a kind always has.
type face struct {
	status int
	mood   string
	title  string
}

func faces() map[pageKind]face {
	return map[pageKind]face{
		pageStart: {http.StatusOK, moodPlain, "Connect your account?"},

		pageWorking:       {http.StatusOK, moodWait, "One moment"},
		pageSlow:          {http.StatusOK, moodWait, "Not finished yet"},
		pageConnected:     {http.StatusOK, moodGood, "Connected"},
		pageApproval:      {http.StatusOK, moodGood, "Your part is done"},
		pageDenied:        {http.StatusOK, moodBad, "Not connected"},
		pageProviderError: {http.StatusOK, moodBad, "The provider has a problem"},
		pageRejected:      {http.StatusOK, moodBad, "It did not work"},
		pageDoubt:         {http.StatusOK, moodBad, "Please try once more"},
		pageWrongAccount:  {http.StatusOK, moodBad, "That was another account"},
		pageLate:          {http.StatusOK, moodBad, "It took too long"},
		pageUsed:          {http.StatusOK, moodPlain, "Already used"},

		pageNothing:      {http.StatusNotFound, moodPlain, "There is nothing here"},
		pageExpiredLink:  {http.StatusGone, moodBad, "This link is too old"},
		pageReplacedLink: {http.StatusGone, moodPlain, "This link is not needed any more"},
		pageWaiting:      {http.StatusTooManyRequests, moodWait, "Please wait a while"},
		pageNotReady:     {http.StatusServiceUnavailable, moodBad, "Not ready yet"},
		pageElsewhere:    {http.StatusConflict, moodWait, "Somebody else is faster"},
		pageRefused:      {http.StatusBadRequest, moodBad, "We cannot go on from here"},
		pageCrossSite:    {http.StatusForbidden, moodBad, "Please begin on our page"},
		pageWrongMethod:  {http.StatusMethodNotAllowed, moodPlain, "That does not work here"},
		pageTooMany:      {http.StatusTooManyRequests, moodWait, "A little slower, please"},
		pageBusy:         {http.StatusServiceUnavailable, moodWait, "Very busy right now"},
		pageUnavailable:  {http.StatusServiceUnavailable, moodWait, "Please try again in a minute"},
	}
}

// page is one answer. What it says of others is text, which the template escapes.
type page struct {
	kind       pageKind
	retryAfter time.Duration

	Account, Namespace      string
	Client, ClientNamespace string
	// Provider is the host that the person is sent to.
	Provider string
	Scopes   []string
	Expected string
	Approval bool
	Ticket   string
	Action   string

	Identity string
	Code     string
	// Seen says that the sign-in was used before.
	Seen bool
	// Again is where the page looks again, and refreshAfter when it does so by itself.
	Again        string
	refreshAfter time.Duration
}

// view is what the templates see.
type view struct {
	page
	Title, Mood, Host, Refresh, Minutes string
	Style                               template.CSS
}

// pages renders them.
type pages struct {
	templates *template.Template
	style     template.CSS
	host      string
	// policy and startPolicy are the Content-Security-Policy, of all pages and of the start page.
	policy, startPolicy string
	// answered hears of each answer.
	answered func(answer string)
}

func newPages(base *url.URL) (*pages, error) {
	templates, err := template.ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("parse the pages: %w", err)
	}
	for kind := range faces() {
		if templates.Lookup(string(kind)) == nil {
			return nil, fmt.Errorf("there is no page %s", kind)
		}
	}
	style, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		return nil, fmt.Errorf("read the style: %w", err)
	}
	text := strings.TrimSpace(string(style))
	sum := sha256.Sum256([]byte(text))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; frame-ancestors 'none'; form-action "
	// Chromium holds each step of the redirects that follow a form against form-action, and where a provider sends a person
	// next is the provider's to know. Without https, which only tests and demos do, the provider has none either.
	where := "'self' https:"
	if base.Scheme != "https" {
		where += " http:"
	}
	return &pages{
		templates: templates, style: template.CSS(text), //nolint:gosec // our own style sheet
		host: base.Host, policy: policy + "'none'", startPolicy: policy + where, answered: func(string) {},
	}, nil
}

// show writes a page.
func (p *pages) show(w http.ResponseWriter, shown page) {
	p.answered(string(shown.kind))
	of := faces()[shown.kind]
	seen := view{page: shown, Title: of.title, Mood: of.mood, Host: p.host, Style: p.style, Minutes: minutes(shown.retryAfter)}
	if shown.refreshAfter > 0 {
		seen.Refresh = strconv.Itoa(int(shown.refreshAfter/time.Second)) + "; url=" + shown.Again
	}
	var text bytes.Buffer
	if err := p.templates.ExecuteTemplate(&text, string(shown.kind), seen); err != nil {
		// Tests render each page; a person is told at least something.
		text.Reset()
		text.WriteString("This page cannot be shown.")
		of.status = http.StatusInternalServerError
	}
	header := w.Header()
	p.guard(header)
	if shown.kind == pageStart {
		// The browser names the page's origin when the form is sent, which it does not do with no-referrer.
		header.Set("Content-Security-Policy", p.startPolicy)
		header.Set("Referrer-Policy", "same-origin")
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(text.Len()))
	if shown.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int((shown.retryAfter+time.Second-1)/time.Second)))
	}
	w.WriteHeader(of.status)
	_, _ = w.Write(text.Bytes())
}

// guard sets what every answer has, redirects too.
func (p *pages) guard(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", p.policy)
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("X-Robots-Tag", "noindex, nofollow")
}

// redirect sends the browser elsewhere by GET, whatever it did before. There is no body that could be shown or kept.
func (p *pages) redirect(w http.ResponseWriter, target, answer string) {
	p.answered(answer)
	p.guard(w.Header())
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}

// minutes says a duration as a person would.
func minutes(d time.Duration) string {
	switch n := int((d + time.Minute - 1) / time.Minute); {
	case n <= 1:
		return "a minute"
	default:
		return strconv.Itoa(n) + " minutes"
	}
}
