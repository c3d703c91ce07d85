package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/test/faults/proxy"
)

// bound is for what takes milliseconds.
const bound = 20 * time.Second

// server is what stands behind the proxy, and what it saw.
type server struct {
	mu   sync.Mutex
	seen []string
	cut  int
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.cut++
		return
	}
	s.seen = append(s.seen, fmt.Sprintf("%s %s %s %s", r.Method, r.URL, r.Header.Get("Authorization"), body))
	w.Header().Set("Test-Header", "kept")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, "the whole answer")
}

func (s *server) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// play is a proxy before a server; each request that is not a read gets the treatment.
type play struct {
	*proxy.Proxy
	server  *server
	client  *http.Client
	records chan proxy.Record
}

func start(t *testing.T, treatment *proxy.Treatment) *play {
	t.Helper()
	p := &play{server: &server{}, records: make(chan proxy.Record, 10)}
	upstream := httptest.NewServer(p.server)
	t.Cleanup(upstream.Close)
	certificate, authority, err := proxy.NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	p.Proxy, err = proxy.Start(t.Context(), proxy.Options{
		Name: "test", Upstream: upstream.URL, Certificate: certificate,
		Direct: func(r *proxy.Request) *proxy.Treatment {
			r.Class = proxy.Class{Kind: "claim", Account: "a"}
			return treatment
		},
		Record: func(record proxy.Record) { p.records <- record },
	})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	p.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// put sends a request and says what came of it.
func (p *play) put(ctx context.Context) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, p.URL+"/path?query=1", strings.NewReader("the whole request"))
	if err != nil {
		return err.Error()
	}
	request.GetBody = nil
	request.Header.Set("Authorization", "Bearer token")
	response, err := p.client.Do(request)
	if err != nil {
		return "no answer"
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(response.Body)
	end := ""
	if err != nil {
		end = " and an error"
	}
	return fmt.Sprintf("%d %s %s%s", response.StatusCode, response.Header.Get("Test-Header"), body, end)
}

func (p *play) record(t *testing.T) proxy.Record {
	t.Helper()
	select {
	case record := <-p.records:
		return record
	case <-time.After(bound):
		t.Fatal("there is no record")
		return proxy.Record{}
	}
}

// times are the letters of the times that a record has: received, forwarded, answered, delivered.
func times(record proxy.Record) string {
	letters := ""
	last := time.Time{}
	for i, at := range []time.Time{record.Received, record.Forwarded, record.Answered, record.Delivered} {
		if at.IsZero() {
			continue
		}
		if at.Before(last) {
			return "not in order"
		}
		last = at
		letters += "rfad"[i : i+1]
	}
	return letters
}

func TestWhatIsDoneToARequest(t *testing.T) {
	t.Parallel()
	const whole = "201 kept the whole answer"
	seen := []string{"PUT /path?query=1 Bearer token the whole request"}
	held := func() *proxy.Hold { return proxy.NewHold(time.Millisecond) }
	discarded := func() *proxy.Hold {
		hold := proxy.NewHold(bound)
		hold.Discard()
		return hold
	}
	for name, test := range map[string]struct {
		treatment proxy.Treatment
		answer    string
		seen      []string
		end       string
		times     string
	}{
		"nothing: it passes":                       {proxy.Treatment{}, whole, seen, proxy.EndDelivered, "rfad"},
		"held everywhere, and let go at the limit": {proxy.Treatment{Before: held(), After: held(), Half: held()}, whole, seen, proxy.EndDelivered, "rfad"},
		"discarded before it is forwarded":         {proxy.Treatment{Before: discarded()}, "no answer", nil, proxy.EndDiscarded, "r"},
		"cut before it is forwarded":               {proxy.Treatment{Cut: proxy.CutBefore}, "no answer", nil, proxy.EndCut, "r"},
		"cut half-way to the server":               {proxy.Treatment{Cut: proxy.CutHalfRequest}, "no answer", nil, proxy.EndFailed, "rf"},
		"done, and the reply lost":                 {proxy.Treatment{Cut: proxy.CutReply}, "no answer", seen, proxy.EndCut, "rfa"},
		"done, and the held reply discarded":       {proxy.Treatment{After: discarded()}, "no answer", seen, proxy.EndDiscarded, "rfa"},
		"half of the reply delivered":              {proxy.Treatment{Cut: proxy.CutHalfReply}, "201 kept the whol and an error", seen, proxy.EndCut, "rfa"},
		"half delivered, the rest discarded":       {proxy.Treatment{Half: discarded()}, "201 kept the whol and an error", seen, proxy.EndDiscarded, "rfa"},
		"refused":                                  {proxy.Treatment{Refuse: &proxy.Refusal{Status: 409, Reason: "Conflict"}}, `409  {"apiVersion":"v1","code":409,"kind":"Status","message":"refused by the test","metadata":{},"reason":"Conflict","status":"Failure"}`, nil, proxy.EndRefused, "r"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.treatment.Plan = name
			p := start(t, &test.treatment)
			if answer := p.put(t.Context()); answer != test.answer {
				t.Errorf("the client got %q, want %q", answer, test.answer)
			}
			record := p.record(t)
			if diff := cmp.Diff(test.seen, p.server.requests()); diff != "" {
				t.Errorf("what the server saw (-want +got):\n%s", diff)
			}
			if record.End != test.end || times(record) != test.times || record.Plan != name || record.Kind != "claim" || record.Account != "a" {
				t.Errorf("the record is %+v, want the end %s and the times %s", record, test.end, test.times)
			}
		})
	}
}

func TestAHoldHoldsUntilItIsReleased(t *testing.T) {
	t.Parallel()
	delivered := make(chan time.Time, 1)
	hold := proxy.NewHold(bound)
	p := start(t, &proxy.Treatment{After: hold, Delivered: func(at time.Time) { delivered <- at }})
	answer := make(chan string, 1)
	go func() { answer <- p.put(t.Context()) }()
	<-hold.Reached()
	if len(p.server.requests()) != 1 || !hold.Holding() {
		t.Error("the server has not done it when the answer is held")
	}
	select {
	case got := <-answer:
		t.Fatalf("the client got %q from a hold", got)
	case <-time.After(50 * time.Millisecond):
	}
	before := time.Now()
	hold.Release(20 * time.Millisecond)
	if got := <-answer; got != "201 kept the whole answer" {
		t.Errorf("the client got %q", got)
	}
	record := p.record(t)
	if at := <-delivered; !at.Equal(record.Delivered) || at.Sub(before) < 20*time.Millisecond || hold.Holding() {
		t.Errorf("delivered at %s, in the record at %s, released at %s", at, record.Delivered, before)
	}
}

func TestAClientThatHasGoneGetsNothingAndTheServerDoesIt(t *testing.T) {
	t.Parallel()
	hold := proxy.NewHold(bound)
	p := start(t, &proxy.Treatment{Before: hold})
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan string, 1)
	go func() { answer <- p.put(ctx) }()
	<-hold.Reached()
	cancel()
	<-answer
	hold.Release(100 * time.Millisecond)
	if record := p.record(t); record.End != proxy.EndGone || times(record) != "rfa" {
		t.Errorf("the record is %+v", record)
	}
	if len(p.server.requests()) != 1 {
		t.Error("the server did not get it")
	}
}

func TestReadsStreamThrough(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer token" {
			_, _ = io.WriteString(w, "the beginning")
		}
		w.(http.Flusher).Flush() //nolint:errcheck,forcetypeassert // the server's own type
		<-more
	}))
	defer upstream.Close()
	defer close(more)
	p, err := proxy.Start(t.Context(), proxy.Options{Upstream: upstream.URL, Direct: func(*proxy.Request) *proxy.Treatment {
		t.Error("a read was asked about")
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close() //nolint:errcheck // nothing depends on it
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/watch", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer token")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // the stream goes on
	first := make([]byte, len("the beginning"))
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "the beginning" {
		t.Errorf("the beginning of the stream is %q, %v", first, err)
	}
}

func TestAServerThatIsNotThereEndsTheConnection(t *testing.T) {
	t.Parallel()
	socket, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + socket.Addr().String()
	if err := socket.Close(); err != nil {
		t.Fatal(err)
	}
	records := make(chan proxy.Record, 1)
	p, err := proxy.Start(t.Context(), proxy.Options{
		Upstream: nobody, Record: func(record proxy.Record) { records <- record },
		Direct: func(*proxy.Request) *proxy.Treatment { return &proxy.Treatment{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close() //nolint:errcheck // nothing depends on it
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	request.GetBody = nil
	if response, err := http.DefaultClient.Do(request); err == nil {
		err = errors.Join(errors.New("an answer"), response.Body.Close())
		t.Error(err)
	}
	if record := <-records; record.End != proxy.EndFailed {
		t.Errorf("the record is %+v", record)
	}
}
