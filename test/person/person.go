// Package person plays somebody who follows a link and consents, without a browser's window: it keeps cookies, follows
// redirects and refreshes, fills in forms and presses the first button. It says of itself what a browser would say. It must
// never know more than what the pages tell: no API of a provider or a cluster, no script.
package person

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/html"
)

const (
	// mostSteps bounds redirects, forms and refreshes of one way.
	mostSteps = 60
	maxPage   = 1 << 20
	timeout   = 30 * time.Second

	userAgent   = "Mozilla/5.0 (a test that behaves)"
	contentForm = "application/x-www-form-urlencoded"
)

// Options say who it is.
type Options struct {
	// CAFiles hold the certificates of the authorities that this person trusts, in PEM.
	CAFiles []string
	// Fields are what is filled into the forms, by the names of the fields: a name, a password.
	Fields map[string]string
	// Address is where it calls from, as a proxy in front of everything would say it. Empty: nothing is said.
	Address string
	// Press is the value of the button that is pressed where there are several. Empty: the first.
	Press string
}

// Person is somebody with a browser of their own. It does one thing at a time.
type Person struct {
	options Options
	client  *http.Client
}

// New makes a person without cookies.
func New(options Options) (*Person, error) {
	roots := x509.NewCertPool()
	for _, path := range options.CAFiles {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate", path)
		}
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &Person{options: options, client: &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		Jar:       jar, Timeout: timeout,
		// Each step is our own: what a browser says differs from one to the next.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close ends the person's connections.
func (p *Person) Close() { p.client.CloseIdleConnections() }

// Page is what a way has ended at.
type Page struct {
	URL    *url.URL
	Status int
	// Heading is its first heading, Text all that can be read.
	Heading, Text string
	// Hosts are those that were called on the way, in order.
	Hosts []string
}

// step is what a browser would do next.
type step struct {
	method, target string
	form           url.Values
	// origin is the page's that sends a form; site is how the request came about, as Fetch Metadata writes it.
	origin, site string
}

// Follow opens a link and goes on until there is a page with nothing to fill in, press or wait for.
func (p *Person) Follow(ctx context.Context, link string) (Page, error) {
	next := step{method: http.MethodGet, target: link, site: "none"}
	var hosts []string
	for range mostSteps {
		response, body, err := p.take(ctx, next) //nolint:bodyclose // take has read and closed it
		if err != nil {
			return Page{}, err
		}
		at := response.Request.URL
		if len(hosts) == 0 || hosts[len(hosts)-1] != at.Host {
			hosts = append(hosts, at.Host)
		}
		if location, err := response.Location(); err == nil {
			next = step{method: http.MethodGet, target: location.String(), site: siteOf(next, at, location)}
			continue
		}
		read, err := readPage(body, at)
		if err != nil {
			return Page{}, err
		}
		switch {
		case read.form != nil && response.StatusCode == http.StatusOK:
			next = read.form.send(p.options, at)
		case read.refresh != nil:
			if err := pause(ctx, read.after); err != nil {
				return Page{}, err
			}
			next = step{method: http.MethodGet, target: read.refresh.String(), site: "same-origin"}
		default:
			return Page{URL: at, Status: response.StatusCode, Heading: read.heading, Text: strings.Join(strings.Fields(read.text), " "), Hosts: hosts}, nil
		}
	}
	return Page{}, fmt.Errorf("there was no end after %d steps, at %s", mostSteps, strings.Join(hosts, ", "))
}

// take makes one request.
func (p *Person) take(ctx context.Context, next step) (*http.Response, []byte, error) {
	var body io.Reader = http.NoBody
	if next.method == http.MethodPost {
		body = strings.NewReader(next.form.Encode())
	}
	request, err := http.NewRequestWithContext(ctx, next.method, next.target, body)
	if err != nil {
		return nil, nil, err
	}
	header := request.Header
	header.Set("User-Agent", userAgent)
	header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	header.Set("Sec-Fetch-Dest", "document")
	header.Set("Sec-Fetch-Mode", "navigate")
	header.Set("Sec-Fetch-Site", next.site)
	header.Set("Sec-Fetch-User", "?1")
	if next.method == http.MethodPost {
		header.Set("Content-Type", contentForm)
		header.Set("Origin", next.origin)
	}
	if p.options.Address != "" {
		header.Set("X-Forwarded-For", p.options.Address)
	}
	response, err := p.client.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) { // the address may hold a code
			err = failed.Err
		}
		return nil, nil, fmt.Errorf("call %s: %w", request.URL.Host, err)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxPage))
	return response, text, errors.Join(err, response.Body.Close())
}

// siteOf: once a chain of redirects has left an origin, all of it is cross-site. Ports tell origins apart and not sites, but
// hosts of tests differ in little else.
func siteOf(before step, from, to *url.URL) string {
	if before.site == "cross-site" || from.Host != to.Host {
		return "cross-site"
	}
	return before.site
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// form is the first form of a page.
type form struct {
	method  string
	action  *url.URL
	fields  url.Values
	buttons []field
}

type field struct{ name, value string }

// send fills the form in and presses a button.
func (f *form) send(who Options, at *url.URL) step {
	values := maps.Clone(f.fields)
	for name, value := range who.Fields {
		if values.Has(name) {
			values.Set(name, value)
		}
	}
	pressed := slices.IndexFunc(f.buttons, func(button field) bool { return who.Press != "" && button.value == who.Press })
	if len(f.buttons) > 0 {
		if button := f.buttons[max(pressed, 0)]; button.name != "" {
			values.Set(button.name, button.value)
		}
	}
	site := "same-origin"
	if f.action.Host != at.Host {
		site = "cross-site"
	}
	if f.method == http.MethodPost {
		return step{method: http.MethodPost, target: f.action.String(), form: values, origin: at.Scheme + "://" + at.Host, site: site}
	}
	target := *f.action
	target.RawQuery = values.Encode()
	return step{method: http.MethodGet, target: target.String(), site: site}
}

// readable is what can be seen of a page.
type readable struct {
	heading, text string
	form          *form
	// refresh is where the page goes by itself, after a while.
	refresh *url.URL
	after   time.Duration
}

func readPage(body []byte, at *url.URL) (readable, error) {
	document, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		return readable{}, fmt.Errorf("read the page of %s: %w", at.Host, err)
	}
	var read readable
	for node := range document.Descendants() {
		if err := read.take(node, at); err != nil {
			return readable{}, fmt.Errorf("read the page of %s: %w", at.Host, err)
		}
	}
	return read, nil
}

// take takes up one node, in the order of the page.
func (r *readable) take(node *html.Node, at *url.URL) error {
	if node.Type == html.TextNode && node.Parent != nil && node.Parent.Data != "style" && node.Parent.Data != "title" {
		r.text += node.Data + " "
	}
	if node.Type != html.ElementNode {
		return nil
	}
	switch node.Data {
	case "h1":
		if r.heading == "" {
			r.heading = strings.TrimSpace(textOf(node))
		}
	case "meta":
		if strings.EqualFold(attribute(node, "http-equiv"), "refresh") {
			return r.takeRefresh(attribute(node, "content"), at)
		}
	case "form":
		if r.form == nil {
			action, err := at.Parse(attribute(node, "action"))
			if err != nil {
				return err
			}
			r.form = &form{method: strings.ToUpper(attribute(node, "method")), action: action, fields: url.Values{}}
		}
	case "input":
		if r.form != nil {
			r.form.fields.Set(attribute(node, "name"), attribute(node, "value"))
		}
	case "button":
		if r.form != nil {
			r.form.buttons = append(r.form.buttons, field{attribute(node, "name"), attribute(node, "value")})
		}
	default:
	}
	return nil
}

// takeRefresh reads "5; url=https://...".
func (r *readable) takeRefresh(content string, at *url.URL) error {
	seconds, rest, _ := strings.Cut(content, ";")
	count, err := strconv.Atoi(strings.TrimSpace(seconds))
	if err != nil {
		return err
	}
	_, target, found := strings.Cut(rest, "=")
	if !found {
		return errors.New("a refresh without a URL")
	}
	r.after = time.Duration(count) * time.Second
	r.refresh, err = at.Parse(strings.TrimSpace(target))
	return err
}

func attribute(node *html.Node, name string) string {
	for _, each := range node.Attr {
		if each.Key == name {
			return each.Val
		}
	}
	return ""
}

func textOf(node *html.Node) string {
	var text strings.Builder
	for below := range node.Descendants() {
		if below.Type == html.TextNode {
			text.WriteString(below.Data)
		}
	}
	return text.String()
}
