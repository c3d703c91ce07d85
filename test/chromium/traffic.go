package chromium

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/chromedp/cdproto/network"
)

// Hop is one request for a document, of those of which a chain of redirects is made, and its answer. The headers are those on
// the wire, cookies included.
type Hop struct {
	Method string
	URL    *url.URL
	Header http.Header
	// Status is 0 while there is no answer.
	Status       int
	AnswerHeader http.Header
}

// String is the hop without what may be secret.
func (h Hop) String() string {
	return fmt.Sprintf("%s %s%s %d", h.Method, h.URL.Host, h.URL.Path, h.Status)
}

// traffic puts together what the browser tells of a request in several messages, which come in any order. Those of one kind
// come in the order of the hops.
type traffic struct {
	ids     []network.RequestID
	sent    map[network.RequestID][]*network.Request
	headers map[network.RequestID][]network.Headers
	answers map[network.RequestID][]*network.EventResponseReceivedExtraInfo
}

func (t *traffic) take(event any) {
	if t.sent == nil {
		t.sent = map[network.RequestID][]*network.Request{}
		t.headers = map[network.RequestID][]network.Headers{}
		t.answers = map[network.RequestID][]*network.EventResponseReceivedExtraInfo{}
	}
	switch told := event.(type) {
	case *network.EventRequestWillBeSent:
		if told.Type != network.ResourceTypeDocument {
			return
		}
		if len(t.sent[told.RequestID]) == 0 {
			t.ids = append(t.ids, told.RequestID)
		}
		t.sent[told.RequestID] = append(t.sent[told.RequestID], told.Request)
	case *network.EventRequestWillBeSentExtraInfo:
		t.headers[told.RequestID] = append(t.headers[told.RequestID], told.Headers)
	case *network.EventResponseReceivedExtraInfo:
		t.answers[told.RequestID] = append(t.answers[told.RequestID], told)
	}
}

// Hops are the documents that the tab has asked for so far, in order, with all redirects between.
func (w *Window) Hops() []Hop {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var hops []Hop
	for _, id := range w.traffic.ids {
		for i, sent := range w.traffic.sent[id] {
			target, err := url.Parse(sent.URL)
			if err != nil {
				w.t.Fatal(err)
			}
			hop := Hop{Method: sent.Method, URL: target}
			if headers := w.traffic.headers[id]; i < len(headers) {
				hop.Header = headerOf(headers[i])
			}
			if answers := w.traffic.answers[id]; i < len(answers) {
				hop.Status, hop.AnswerHeader = int(answers[i].StatusCode), headerOf(answers[i].Headers)
			}
			hops = append(hops, hop)
		}
	}
	return hops
}

// headerOf takes apart what stands in several lines.
func headerOf(told network.Headers) http.Header {
	header := http.Header{}
	for name, value := range told {
		for line := range strings.Lines(fmt.Sprint(value)) {
			header.Add(name, strings.TrimSuffix(line, "\n"))
		}
	}
	return header
}
