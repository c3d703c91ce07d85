package oauth_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// peer is a server that the test plays itself, one connection at a time.
type peer struct {
	listener net.Listener
	endpoint string
}

// peers gives one over http and one over https, and a change to a client that trusts the latter.
func peers(t *testing.T) (map[string]*peer, func(*oauth.Options)) {
	t.Helper()
	ca := newAuthority(t)
	plain, secured := listen(t), listen(t)
	return map[string]*peer{
		"http":  {plain, "http://" + plain.Addr().String()},
		"https": {tls.NewListener(secured, ca.config(t, nil)), "https://" + secured.Addr().String()},
	}, func(o *oauth.Options) { o.RootCAs = ca.pem() }
}

// accepting takes the next connection. For https it does the handshake, which a reading server would do by reading.
func (p *peer) accepting(t *testing.T) <-chan net.Conn {
	t.Helper()
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		if secured, ok := conn.(*tls.Conn); ok {
			_ = secured.HandshakeContext(context.Background()) // a failure shows where the connection is used
		}
		t.Cleanup(func() { _ = conn.Close() })
		accepted <- conn
	}()
	return accepted
}

// ready gets a request ready, with the peer's end of its connection.
func (p *peer) ready(ctx context.Context, t *testing.T, client *oauth.Client) (*oauth.Request, net.Conn) {
	t.Helper()
	accepted := p.accepting(t)
	request, err := client.Ready(ctx, registration(p.endpoint), refreshWith(testRefreshToken))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(request.Close)
	return request, <-accepted
}

// serveOne reads one request and answers it; the connection stays open.
func serveOne(t *testing.T, conn net.Conn, answer string) {
	t.Helper()
	got, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		t.Errorf("no request: %v", err)
		return
	}
	body, err := io.ReadAll(got.Body)
	if err != nil || !strings.Contains(string(body), "refresh_token="+testRefreshToken) {
		t.Errorf("the request is not whole: %v", err)
	}
	_, _ = io.WriteString(conn, answer)
}

// checkSilent reads until the client hangs up, and asserts that it wrote nothing.
func checkSilent(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(long))
	if n, err := io.Copy(io.Discard, conn); n != 0 || err != nil {
		t.Errorf("the server saw %d bytes, and then %v", n, err)
	}
}

// checkSent sends the request, with a limit of 20 s, and plays the server's part.
func checkSent(t *testing.T, request *oauth.Request, conn net.Conn, started time.Time) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		serveOne(t, conn, httpAnswer(200, "application/json", rotatedBody))
	}()
	reply, err := request.Send(t.Context(), started, long)
	<-done
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := reply.Judge(oauth.GrantRefreshToken); err != nil || answer.RefreshToken.Reveal() != testRefreshToken {
		t.Errorf("another answer: %v", err)
	}
}

func TestReadyHasAConnectionAndWritesNothingUntilSend(t *testing.T) {
	t.Parallel()
	all, trusting := peers(t)
	for name, p := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			request, conn := p.ready(ctx, t, newClient(t, trusting))
			cancel() // it bounds the connecting, and nothing after it
			_ = conn.SetReadDeadline(time.Now().Add(short / 3))
			if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("the server saw %d bytes before Send, and then %v", n, err)
			}
			_ = conn.SetReadDeadline(time.Time{})
			checkSent(t, request, conn, time.Now())
		})
	}
}

func TestAReadyRequestIsSent(t *testing.T) {
	t.Parallel()
	all, trusting := peers(t)
	for name, p := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, trusting)
			request, conn := p.ready(t.Context(), t, client)
			checkSent(t, request, conn, time.Now())
			// On the kept connection, the next request waits as the first one did.
			again, err := client.Ready(t.Context(), registration(p.endpoint), refreshWith(testRefreshToken))
			if err != nil {
				t.Fatal(err)
			}
			checkSent(t, again, conn, time.Now())
		})
	}
}

func TestAClosedRequestIsNeverWritten(t *testing.T) {
	t.Parallel()
	all, trusting := peers(t)
	for name, p := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request, conn := p.ready(t.Context(), t, newClient(t, trusting))
			request.Close()
			request.Close()
			checkSilent(t, conn)
			_, err := request.Send(t.Context(), time.Now(), long)
			checkFailure(t, err, oauth.NotSent)
		})
	}
}

func TestARequestThatNobodyEndsIsGivenUp(t *testing.T) {
	t.Parallel()
	all, trusting := peers(t)
	for name, p := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, trusting)
			client.SetHold(short)
			request, conn := p.ready(t.Context(), t, client)
			checkSilent(t, conn)
			_, err := request.Send(t.Context(), time.Now(), long)
			checkFailure(t, err, oauth.NotSent)
		})
	}
}

func TestTheLimitRunsFromBeforeTheClaim(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		began  time.Time
		passed time.Duration
		sent   bool
	}{
		"a little is left":                     {time.Now(), 19 * time.Second, true},
		"nothing is left":                      {time.Now(), 20 * time.Second, false},
		"paused for an hour":                   {time.Now(), time.Hour, false},
		"a clock with one reading":             {start(), time.Hour, false},
		"a clock with one reading, set back":   {start(), -time.Hour, true},
		"a clock with one reading, in between": {start(), 19 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, trusting := peers(t)
			for _, p := range all {
				fake := clocktesting.NewFakePassiveClock(c.began)
				client := newClient(t, func(o *oauth.Options) { trusting(o); o.Clock = fake })
				request, conn := p.ready(t.Context(), t, client)
				fake.SetTime(c.began.Add(c.passed))
				if c.sent {
					checkSent(t, request, conn, c.began)
					continue
				}
				_, err := request.Send(t.Context(), c.began, long)
				checkFailure(t, err, oauth.NotSent)
				if failure := failureOf(t, err); !strings.Contains(failure.Reason, "time limit") {
					t.Errorf("reason %q", failure.Reason)
				}
				checkSilent(t, conn)
			}
		})
	}
}

// A process that is stopped between Send and the write: the clock is asked first for what is left, then at the write.
func TestAPauseWithinSendWritesNothing(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]func(time.Time) time.Time{
		"a clock with two readings": func(now time.Time) time.Time { return now.Add(time.Hour) },
		"a clock with one reading":  func(now time.Time) time.Time { return now.Round(0).Add(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, trusting := peers(t)
			for _, p := range all {
				client := newClient(t, func(o *oauth.Options) { trusting(o); o.Clock = &jumpingClock{jumpAt: 2, jump: jump} })
				request, conn := p.ready(t.Context(), t, client)
				_, err := request.Send(t.Context(), time.Now(), time.Minute)
				checkFailure(t, err, oauth.NotSent)
				checkSilent(t, conn)
			}
		})
	}
}

// The longest request, so that a limit which is reached within it leaves all of it or nothing.
func TestTheLongestRequestGoesOutInOneWrite(t *testing.T) {
	t.Parallel()
	s := serve(t, ok(rotatedBody))
	// Asked for what is left, before the first write, and then an hour later: before a second write, or for the receipt.
	late := &jumpingClock{jumpAt: 3, jump: func(now time.Time) time.Time { return now.Add(time.Hour) }}
	client := newClient(t, func(o *oauth.Options) { o.Clock = late })
	request, err := client.Ready(t.Context(), registration(s.url()), refreshWith(strings.Repeat("%", 16<<10)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := request.Send(t.Context(), time.Now(), long); err != nil {
		t.Error(err)
	}
}

func TestAConnectionThatDiesWhileHeld(t *testing.T) {
	t.Parallel()
	for name, die := range map[string]func(net.Conn){
		"the server closes its side": func(conn net.Conn) {
			if closer, ok := conn.(interface{ CloseWrite() error }); ok {
				_ = closer.CloseWrite()
			}
		},
		"an answer before the request": func(conn net.Conn) { _, _ = io.WriteString(conn, httpAnswer(200, "application/json", rotatedBody)) },
		"408 before the request":       func(conn net.Conn) { _, _ = io.WriteString(conn, "HTTP/1.1 408 Request Timeout\r\n\r\n") },
	} {
		all, trusting := peers(t)
		for scheme, p := range all {
			t.Run(name+", "+scheme, func(t *testing.T) {
				t.Parallel()
				client := newClient(t, trusting)
				request, conn := p.ready(t.Context(), t, client)
				die(conn)
				checkSilent(t, conn) // returns when the client has seen it and hung up
				_, err := request.Send(t.Context(), time.Now(), long)
				checkFailure(t, err, oauth.NotSent)

				another, conn := p.ready(t.Context(), t, client)
				checkSent(t, another, conn, time.Now())
			})
		}
	}
}

func TestAReusedConnectionThatDiesWhileHeld(t *testing.T) {
	t.Parallel()
	all, trusting := peers(t)
	for name, p := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, trusting)
			first, conn := p.ready(t.Context(), t, client)
			checkSent(t, first, conn, time.Now())
			second, err := client.Ready(t.Context(), registration(p.endpoint), refreshWith(testRefreshToken))
			if err != nil {
				t.Fatal(err)
			}
			closer, ok := conn.(interface{ CloseWrite() error })
			if !ok || closer.CloseWrite() != nil {
				t.Fatal("the connection cannot be closed by half")
			}
			checkSilent(t, conn)
			_, err = second.Send(t.Context(), time.Now(), long)
			checkFailure(t, err, oauth.NotSent)

			third, conn := p.ready(t.Context(), t, client)
			checkSent(t, third, conn, time.Now())
		})
	}
}

// A reset of a reused connection after the write is where net/http repeats requests whose body it has twice.
func TestAResetOnAReusedConnectionNeverRepeatsARefresh(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	respond := func(conn net.Conn, seen request) bool {
		if strings.Contains(seen.body, "refresh_token=first") {
			return ok(rotatedBody)(conn, seen)
		}
		reset(conn)
		return false
	}
	for scheme, s := range map[string]*server{"http": serve(t, respond), "https": serveTLS(t, ca.config(t, nil), respond)} {
		client := newClient(t, func(o *oauth.Options) { o.RootCAs = ca.pem() })
		reg := registration(scheme + "://127.0.0.1:" + s.port())
		if _, err := client.Exchange(t.Context(), reg, refreshWith("first")); err != nil {
			t.Fatal(err)
		}
		_, err := client.Exchange(t.Context(), reg, refreshWith("second"))
		checkFailure(t, err, oauth.OutcomeUnknown)
		if connections, _, requests := s.counts(); connections != 1 || requests != 2 {
			t.Errorf("%s: %d connections and %d requests, want 1 and 2", scheme, connections, requests)
		}
	}
}

func TestSendIsBoundedByItsLimit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		respond responder
		status  int
	}{
		"H01 no answer":            {hang, 0},
		"H02 headers without end":  {drip("HTTP/1.1 200 OK\r\nX: ", "a"), 0},
		"H03 body without end":     {drip("HTTP/1.1 200 OK\r\n\r\n", " "), 200},
		"H03 an error without end": {drip("HTTP/1.1 400 Bad\r\n\r\n", " "), 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, c.respond)
			request, err := newClient(t, nil).Ready(t.Context(), registration(s.url()), refreshWith("r"))
			if err != nil {
				t.Fatal(err)
			}
			// The registration's own timeout is long: it has no say here.
			began := time.Now()
			_, err = request.Send(t.Context(), began.Add(-long+short), long)
			checkFailure(t, err, oauth.OutcomeUnknown)
			if failure := failureOf(t, err); failure.Status != c.status || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%+v", failure)
			}
			if elapsed := time.Since(began); elapsed > long/2 {
				t.Errorf("took %s", elapsed)
			}
			if _, _, requests := s.counts(); requests != 1 {
				t.Errorf("%d requests", requests)
			}
		})
	}
}

// A process that is stopped while the answer comes, and goes on after its limit, still takes the answer: it may be the only
// place where the next refresh token is.
func TestAnAnswerThatCameDuringAPauseIsTaken(t *testing.T) {
	t.Parallel()
	const limit = 200 * time.Millisecond
	clock := clocktesting.NewFakePassiveClock(time.Now())
	peers, trusting := peers(t)
	client := newClient(t, func(o *oauth.Options) { trusting(o); o.Clock = clock })
	request, conn := peers["http"].ready(t.Context(), t, client)
	go func() {
		got, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			t.Errorf("no request: %v", err)
			return
		}
		_, _ = io.Copy(io.Discard, got.Body)
		clock.SetTime(clock.Now().Add(time.Minute)) // the pause
		<-time.After(2 * limit)                     // the limit has passed by any clock
		_, _ = io.WriteString(conn, httpAnswer(200, "application/json", `{"access_token":"a","token_type":"Bearer","refresh_token":"next"}`))
	}()
	reply, err := request.Send(t.Context(), clock.Now(), limit)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := reply.Judge(oauth.GrantRefreshToken); err != nil || answer.RefreshToken.Reveal() != "next" {
		t.Errorf("got %v, %v", answer, err)
	}
}

func TestAClockThatIsSetBackDoesNotLengthenTheLimit(t *testing.T) {
	t.Parallel()
	fake := clocktesting.NewFakePassiveClock(start())
	s := serve(t, hang)
	request, err := newClient(t, func(o *oauth.Options) { o.Clock = fake }).Ready(t.Context(), registration(s.url()), refreshWith("r"))
	if err != nil {
		t.Fatal(err)
	}
	fake.SetTime(start().Add(-time.Hour))
	began := time.Now()
	_, err = request.Send(t.Context(), start(), short)
	checkFailure(t, err, oauth.OutcomeUnknown)
	if elapsed := time.Since(began); elapsed > long/2 {
		t.Errorf("took %s", elapsed)
	}
}

func TestSendAfterItsContextHasEndedWritesNothing(t *testing.T) {
	t.Parallel()
	all, trusting := peers(t)
	for name, p := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, trusting)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			request, conn := p.ready(t.Context(), t, client)
			_, err := request.Send(ctx, time.Now(), long)
			checkFailure(t, err, oauth.NotSent)
			checkSilent(t, conn)
		})
	}
}

func TestSendSendsOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, ok(rotatedBody))
	request, err := newClient(t, nil).Ready(t.Context(), registration(s.url()), refreshWith("r"))
	if err != nil {
		t.Fatal(err)
	}
	replies := make(chan string, 10)
	for range cap(replies) {
		go func() {
			defer request.Close()
			reply, err := request.Send(t.Context(), time.Now(), long)
			if err != nil {
				t.Error(err)
			}
			replies <- string(reply.Encode())
		}()
	}
	want := <-replies
	for range cap(replies) - 1 {
		if <-replies != want {
			t.Error("two calls of Send returned different replies")
		}
	}
	if _, _, requests := s.counts(); requests != 1 {
		t.Errorf("%d requests", requests)
	}
}

func TestReadyFailsAsNotSent(t *testing.T) {
	t.Parallel()
	silent := listen(t)
	reg := registration("https://" + silent.Addr().String())
	reg.Timeout = short
	request, err := newClient(t, nil).Ready(t.Context(), reg, refreshWith("r"))
	checkFailure(t, err, oauth.NotSent)
	if request != nil {
		t.Error("a request came with the error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	reg.Timeout = long
	if _, err = newClient(t, nil).Ready(ctx, reg, refreshWith("r")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	checkFailure(t, err, oauth.NotSent)
}

// Not parallel: it counts the goroutines of the process.
func TestNothingIsLeftBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("exchanges of all kinds", func(t *testing.T) {
		client := newClient(t, nil)
		client.SetHold(short)
		answering := serve(t, answer(200, "application/json", rotatedBody, "Connection: close"))
		hanging, silent := serve(t, hang), listen(t)
		for range 5 {
			closed, err := client.Ready(t.Context(), registration(answering.url()), refreshWith("r"))
			if err != nil {
				t.Fatal(err)
			}
			closed.Close()
			if _, err := client.Ready(t.Context(), registration(answering.url()), refreshWith("r")); err != nil { // and forgotten
				t.Fatal(err)
			}
			unanswered, err := client.Ready(t.Context(), registration(hanging.url()), refreshWith("r"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = unanswered.Send(t.Context(), time.Now(), short/10)
			checkFailure(t, err, oauth.OutcomeUnknown)
			reg := registration("https://" + silent.Addr().String())
			reg.Timeout = short / 10
			_, err = client.Ready(t.Context(), reg, refreshWith("r"))
			checkFailure(t, err, oauth.NotSent)
			if _, err := client.Exchange(t.Context(), registration(answering.url()), refreshWith("r")); err != nil {
				t.Fatal(err)
			}
		}
		// While client and servers live: what ends only because they do is left behind, too.
		waitForGoroutines(t, before+3) // this subtest, and the two servers' own
	})
	waitForGoroutines(t, before)
}

func waitForGoroutines(t *testing.T, limit int) {
	t.Helper()
	deadline := time.Now().Add(long / 2)
	for runtime.NumGoroutine() > limit {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, want %d:\n%s", runtime.NumGoroutine(), limit, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(short / 30)
	}
}
