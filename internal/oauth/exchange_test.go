package oauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for name, s := range map[string]*server{
		"http":  serve(t, ok(goodBody)),
		"https": serveTLS(t, ca.config(t, nil), ok(goodBody)),
	} {
		client := newClient(t, func(o *oauth.Options) { o.RootCAs = ca.pem() })
		for range 20 {
			if _, err := client.Exchange(t.Context(), registration(name+"://127.0.0.1:"+s.port()), credentials()); err != nil {
				t.Fatal(err)
			}
		}
		if connections, _, requests := s.counts(); connections != 1 || requests != 20 {
			t.Errorf("%s: %d connections and %d requests, want 1 and 20", name, connections, requests)
		}
	}
}

// A server that closes a kept connection around the second request is where net/http repeats requests.
func TestClosedKeptConnectionNeverRepeatsARequest(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	goodAnswer := httpAnswer(200, "application/json", goodBody)
	behaviours := map[string]func(conn net.Conn){
		"close after the answer": func(conn net.Conn) { _, _ = io.WriteString(conn, goodAnswer); _ = conn.Close() },
		"reset after the answer": func(conn net.Conn) { _, _ = io.WriteString(conn, goodAnswer); reset(conn) },
		"408 after the answer": func(conn net.Conn) {
			_, _ = io.WriteString(conn, goodAnswer+"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
			_ = conn.Close()
		},
	}
	for name, behave := range behaviours {
		for _, scheme := range []string{"http", "https"} {
			t.Run(name+", "+scheme, func(t *testing.T) {
				t.Parallel()
				respond := func(conn net.Conn, _ request) bool { behave(conn); return false }
				var s *server
				if scheme == "http" {
					s = serve(t, respond)
				} else {
					s = serveTLS(t, ca.config(t, nil), respond)
				}
				client := newClient(t, func(o *oauth.Options) { o.RootCAs = ca.pem() })
				classes := map[string]oauth.Class{}
				for i := range 100 {
					reg := registration(scheme + "://127.0.0.1:" + s.port())
					reg.ClientID = fmt.Sprintf("client-%d-", i)
					classes[reg.ClientID] = classOf(t, client, reg)
				}
				checkAtMostOnce(t, s, classes)
			})
		}
	}
}

func classOf(t *testing.T, client *oauth.Client, reg oauth.Registration) oauth.Class {
	t.Helper()
	_, err := client.Exchange(t.Context(), reg, credentials())
	var failure *oauth.Error
	if errors.As(err, &failure) {
		return failure.Class
	}
	return ""
}

// checkAtMostOnce compares what the client said of each exchange with what the server saw of it.
func checkAtMostOnce(t *testing.T, s *server, classes map[string]oauth.Class) {
	t.Helper()
	seen := map[string]int{}
	for _, r := range s.seen() {
		for id := range classes {
			if strings.Contains(r.body, id) {
				seen[id]++
			}
		}
	}
	outcomes := map[oauth.Class]int{}
	for id, class := range classes {
		outcomes[class]++
		switch n := seen[id]; {
		case class == "" && n != 1, class == oauth.NotSent && n != 0, n > 1:
			t.Errorf("%s: class %q, but the server saw %d requests", id, class, n)
		case class != "" && class != oauth.NotSent && class != oauth.OutcomeUnknown:
			t.Errorf("%s: class %q", id, class)
		}
	}
	t.Logf("outcomes: %v", outcomes)
}

func TestConnectionThatDiesUnderTheSecondRequest(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	s := serve(t, func(conn net.Conn, seen request) bool {
		if n.Add(1) == 1 {
			return ok(goodBody)(conn, seen)
		}
		return false
	})
	client := newClient(t, nil)
	if _, err := client.Exchange(t.Context(), registration(s.url()), credentials()); err != nil {
		t.Fatal(err)
	}
	_, err := client.Exchange(t.Context(), registration(s.url()), credentials())
	checkFailure(t, err, oauth.OutcomeUnknown)
	if connections, _, requests := s.counts(); connections != 1 || requests != 2 {
		t.Errorf("%d connections and %d requests, want 1 and 2", connections, requests)
	}
}

// jumpingClock gives the real time until it is told to jump, and from then on a later one.
type jumpingClock struct {
	clock.RealClock
	calls  atomic.Int32
	jumpAt int32
	jump   func(time.Time) time.Time
}

func (c *jumpingClock) Now() time.Time {
	now := c.RealClock.Now()
	if c.calls.Add(1) >= c.jumpAt {
		return c.jump(now)
	}
	return now
}

func TestAPauseUntilAfterTheLimitWritesNothing(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]func(time.Time) time.Time{
		"a clock with two readings": func(now time.Time) time.Time { return now.Add(time.Hour) },
		"a clock with one reading":  func(now time.Time) time.Time { return now.Round(0).Add(time.Hour) },
	} {
		s := serve(t, ok(goodBody))
		// Asked first at the start of the exchange, then for what is left of the limit, then before the first write.
		client := newClient(t, func(o *oauth.Options) { o.Clock = &jumpingClock{jumpAt: 3, jump: jump} })
		_, err := client.Exchange(t.Context(), registration(s.url()), credentials())
		checkFailure(t, err, oauth.NotSent)
		if _, bytes, _ := s.counts(); bytes != 0 {
			t.Errorf("%s: the server saw %d bytes", name, bytes)
		}
	}
}

func TestAPauseOnAKeptConnectionWritesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, ok(goodBody))
	// First exchange: start, limit, write, receipt. Second: start, limit, and then the pause.
	paused := &jumpingClock{jumpAt: 7, jump: func(now time.Time) time.Time { return now.Add(time.Hour) }}
	client := newClient(t, func(o *oauth.Options) { o.Clock = paused })
	if _, err := client.Exchange(t.Context(), registration(s.url()), credentials()); err != nil {
		t.Fatal(err)
	}
	_, before, _ := s.counts()
	_, err := client.Exchange(t.Context(), registration(s.url()), credentials())
	checkFailure(t, err, oauth.NotSent)
	if connections, after, _ := s.counts(); connections != 1 || after != before {
		t.Errorf("%d connections, %d bytes more", connections, after-before)
	}
}

func TestNotSent(t *testing.T) {
	t.Parallel()
	// A listener that accepts nobody and has its queue full would be slow; a TLS server that says nothing is the same.
	silent := listen(t)
	plain := serve(t, ok(goodBody))
	for name, c := range map[string]struct {
		cancel   bool
		endpoint string
		cause    error
	}{
		"canceled before":               {true, plain.url(), context.Canceled},
		"H01 TLS handshake without end": {false, "https://" + silent.Addr().String(), context.DeadlineExceeded},
		"H10 plain HTTP where TLS is":   {false, "https://127.0.0.1:" + plain.port(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := registration(c.endpoint)
			reg.Timeout = short
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.cancel {
				cancel()
			}
			_, err := newClient(t, nil).Exchange(ctx, reg, credentials())
			checkFailure(t, err, oauth.NotSent)
			if c.cause != nil && !errors.Is(err, c.cause) {
				t.Errorf("the cause of %q is not %v", err, c.cause)
			}
		})
	}
	t.Cleanup(func() {
		if _, _, requests := plain.counts(); requests != 0 {
			t.Errorf("%d requests", requests)
		}
	})
}

// waitingClock holds up its third call, which is the one right before the first write.
type waitingClock struct {
	clock.RealClock
	calls atomic.Int32
	until <-chan struct{}
}

func (c *waitingClock) Now() time.Time {
	if c.calls.Add(1) == 3 {
		<-c.until
	}
	return c.RealClock.Now()
}

func TestAnAnswerBeforeTheRequestIsNone(t *testing.T) {
	t.Parallel()
	listener := listen(t)
	hungUp := make(chan struct{})
	var received int64
	go func() {
		defer close(hungUp)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, httpAnswer(200, "application/json", goodBody))
		received, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	client := newClient(t, func(o *oauth.Options) { o.Clock = &waitingClock{until: hungUp} })
	_, err := client.Exchange(t.Context(), registration("http://"+listener.Addr().String()), credentials())
	checkFailure(t, err, oauth.NotSent)
	<-hungUp
	if received != 0 {
		t.Errorf("the server saw %d bytes", received)
	}
}

func TestCanceledAfterTheRequestIsUnknown(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, func(conn net.Conn, seen request) bool { cancel(); return hang(conn, seen) })
	_, err := newClient(t, nil).Exchange(ctx, registration(s.url()), credentials())
	checkFailure(t, err, oauth.OutcomeUnknown)
	if _, _, requests := s.counts(); requests != 1 {
		t.Errorf("%d requests", requests)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	self := ca.config(t, func(c *x509.Certificate) { c.IPAddresses = nil })
	old := ca.config(t, nil)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	for name, c := range map[string]struct {
		config *tls.Config
		roots  []byte
		class  oauth.Class // "" is success
		reason string
	}{
		"custom CA works":                       {ca.config(t, nil), ca.pem(), "", ""},
		"one of two CAs":                        {ca.config(t, nil), append(other.pem(), ca.pem()...), "", ""},
		"H10 expired":                           {ca.config(t, func(c *x509.Certificate) { c.NotAfter = time.Unix(1, 0) }), ca.pem(), oauth.NotSent, "expired"},
		"H10 not yet valid":                     {ca.config(t, func(c *x509.Certificate) { c.NotBefore = time.Unix(1<<36, 0) }), ca.pem(), oauth.NotSent, "not yet valid"},
		"H10 wrong host":                        {self, ca.pem(), oauth.NotSent, "another host"},
		"H10 another CA":                        {ca.config(t, nil), other.pem(), oauth.NotSent, "tls.caRef"},
		"H10 no CA named":                       {ca.config(t, nil), nil, oauth.NotSent, "tls.caRef"},
		"H10 a client's certificate":            {ca.config(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), ca.pem(), oauth.NotSent, "certificate"},
		"H10 TLS 1.1 only":                      {old, ca.pem(), oauth.NotSent, "TLS 1.2"},
		"HTTP/2 offered, HTTP/1.1 is what runs": {withHTTP2(ca.config(t, nil)), ca.pem(), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveTLS(t, c.config, ok(goodBody))
			client := newClient(t, func(o *oauth.Options) { o.RootCAs = c.roots })
			_, err := client.Exchange(t.Context(), registration("https://127.0.0.1:"+s.port()), credentials())
			_, bytes, requests := s.counts()
			if c.class == "" {
				if err != nil || requests != 1 {
					t.Fatalf("%d requests, error %v", requests, err)
				}
				return
			}
			checkFailure(t, err, c.class)
			if failure := failureOf(t, err); !strings.Contains(failure.Reason, c.reason) {
				t.Errorf("reason %q does not say %q", failure.Reason, c.reason)
			}
			if bytes != 0 || requests != 0 {
				t.Errorf("the server saw %d bytes", bytes)
			}
		})
	}
}

func withHTTP2(config *tls.Config) *tls.Config {
	config.NextProtos = []string{"h2", "http/1.1"}
	return config
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t).pem()
	for name, roots := range map[string][]byte{
		"empty, not absent":       {},
		"no PEM":                  []byte("certificate"),
		"half a certificate":      ca[:len(ca)/2],
		"a key":                   []byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"),
		"unparsable certificate":  []byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
		"one good and one not so": append(append([]byte{}, ca...), "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"...),
	} {
		if _, err := oauth.NewClient(oauth.Options{Clock: clock.RealClock{}, RootCAs: roots}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := oauth.NewClient(oauth.Options{}); err == nil {
		t.Error("no clock: accepted")
	}
}

func TestManyExchangesAtOnce(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	s := serve(t, func(conn net.Conn, seen request) bool {
		if n.Add(1)%3 == 0 {
			return false // some die
		}
		return ok(goodBody)(conn, seen)
	})
	client := newClient(t, nil)
	type outcome struct {
		id    string
		class oauth.Class
	}
	outcomes := make(chan outcome, 100)
	for i := range 100 {
		go func() {
			reg := registration(s.url())
			reg.ClientID = fmt.Sprintf("client-%d-", i)
			outcomes <- outcome{reg.ClientID, classOf(t, client, reg)}
		}()
	}
	classes := map[string]oauth.Class{}
	for range 100 {
		o := <-outcomes
		classes[o.id] = o.class
	}
	checkAtMostOnce(t, s, classes)
}
