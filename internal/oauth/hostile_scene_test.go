package oauth_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// scene sets the other side of one row up.
type scene func(t *testing.T) stage

// stage is the other side, and how it is reached.
type stage struct {
	endpoint string
	options  func(*oauth.Options)
	register func(*oauth.Registration)
	// requests gives how many whole requests came. It waits for as many as are wanted, since a server may read what was
	// written after the client has given up.
	requests func(t *testing.T, want int) int
}

// replies is a server over http, repliesTLS one over https.
func replies(respond responder) scene {
	return func(t *testing.T) stage {
		t.Helper()
		s := serve(t, respond)
		return stage{endpoint: s.url(), requests: s.awaited}
	}
}

func repliesTLS(respond responder) scene { return trusted(nil, nil, respond) }

// trusted is a server over https with a certificate of a trusted authority, which change spoils.
func trusted(change func(*x509.Certificate), configure func(*tls.Config), respond responder) scene {
	return func(t *testing.T) stage {
		t.Helper()
		ca := newAuthority(t)
		config := ca.config(t, change)
		if configure != nil {
			configure(config)
		}
		s := serveTLS(t, config, respond)
		return stage{endpoint: "https://127.0.0.1:" + s.port() + "/token", requests: s.awaited, options: func(o *oauth.Options) { o.RootCAs = ca.pem() }}
	}
}

// bothWires makes a row for http and one for https of one behaviour.
func bothWires(kind func(id, behaviour string, s scene) row, id, behaviour string, respond responder) []row {
	return []row{kind(id, behaviour, replies(respond)), kind(id, behaviour+", over TLS", repliesTLS(respond))}
}

// registered changes how the client is configured.
func registered(s scene, change func(*oauth.Registration)) scene {
	return func(t *testing.T) stage {
		t.Helper()
		stage := s(t)
		stage.register = change
		return stage
	}
}

// bare is a server that speaks no HTTP: it plays with each connection as it is. The count is of what looks like the
// beginning of a request in what came.
func bare(scheme string, behave func(conn *tapped)) scene {
	return func(t *testing.T) stage {
		t.Helper()
		listener := listen(t)
		var (
			mu       sync.Mutex
			received bytes.Buffer
			running  sync.WaitGroup
		)
		ended := make(chan struct{})
		running.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				running.Go(func() { <-ended; _ = conn.Close() })
				running.Go(func() {
					behave(&tapped{conn, func(p []byte) {
						mu.Lock()
						defer mu.Unlock()
						received.Write(p)
					}, ended})
					_ = conn.Close()
				})
			}
		})
		t.Cleanup(func() {
			_ = listener.Close()
			close(ended)
			running.Wait()
		})
		return stage{endpoint: scheme + "://" + listener.Addr().String() + "/token", requests: func(t *testing.T, _ int) int {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			for _, planted := range []string{testClientSecret, testRefreshToken} {
				if strings.Contains(received.String(), planted) {
					t.Error("a secret was sent in clear")
				}
			}
			return strings.Count(received.String(), "POST /")
		}}
	}
}

// tapped notes what is read. ended is closed when the test ends.
type tapped struct {
	net.Conn
	note  func([]byte)
	ended <-chan struct{}
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.note(p[:n])
	return n, err
}

// awaited waits until the server has seen as many requests as are wanted, or a while, and gives their number.
func (s *server) awaited(t *testing.T, want int) int {
	t.Helper()
	patience := time.After(long / 2)
	for range want {
		select {
		case <-s.arrived:
		case <-patience:
			_, _, requests := s.counts()
			return requests
		}
	}
	_, _, requests := s.counts()
	return requests
}

// redirecting sends the client elsewhere: to a second server, which must see nothing.
func redirecting(status int, location func(second *server) []string) scene {
	return func(t *testing.T) stage {
		t.Helper()
		second := serve(t, ok(goodBody))
		t.Cleanup(func() {
			if connections, bytes, _ := second.counts(); connections != 0 {
				t.Errorf("the target of the redirect saw %d connections and %d bytes", connections, bytes)
			}
		})
		return replies(answer(status, "application/json", rotatedBody, location(second)...))(t)
	}
}

// named is a server that is reached by a name, which is answered with these addresses. What may be called is the
// default: public addresses.
func named(addresses ...string) scene {
	return func(t *testing.T) stage {
		t.Helper()
		at := repliesTLS(ok(rotatedBody))(t)
		var found []netip.Addr
		for _, address := range addresses {
			found = append(found, netip.MustParseAddr(address))
		}
		trusting := at.options
		at.options = func(o *oauth.Options) {
			trusting(o)
			o.Egress, o.Resolver = oauth.Egress{}, resolver(t, func() []netip.Addr { return found })
		}
		at.endpoint = strings.Replace(at.endpoint, "127.0.0.1", "provider.test", 1)
		return at
	}
}

// literal is a server on this machine, and an endpoint with its port and this host, under the default rules.
func literal(scheme, host string) scene {
	return func(t *testing.T) stage {
		t.Helper()
		at := named()(t)
		at.endpoint = strings.Replace(strings.Replace(at.endpoint, "provider.test", host, 1), "https", scheme, 1)
		return at
	}
}

func hang(conn net.Conn, _ request) bool {
	_, _ = io.Copy(io.Discard, conn) // until the client gives up
	return false
}

// drip writes head at once and then one byte at a time, for ever.
func drip(head, tail string) responder {
	return func(conn net.Conn, _ request) bool {
		_, err := io.WriteString(conn, head)
		dripOn(conn, err, tail)
		return false
	}
}

func dripOn(conn net.Conn, err error, tail string) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for i := 0; err == nil; i++ {
		<-ticker.C
		_, err = conn.Write([]byte{tail[i%len(tail)]})
	}
}

// flood writes head and then the same piece for ever. After 64 MiB it stops and leaves the client waiting, so that one
// which takes that much is found out by its limit.
func flood(head, piece string) responder {
	return func(conn net.Conn, seen request) bool {
		n, err := io.WriteString(conn, head)
		for err == nil && n < 64<<20 {
			var more int
			more, err = io.WriteString(conn, piece)
			n += more
		}
		return err == nil && hang(conn, seen)
	}
}

// halfClosed closes the server's side only, after these bytes: for TLS with a close_notify.
func halfClosed(bytes string) responder {
	return func(conn net.Conn, seen request) bool {
		_, _ = io.WriteString(conn, bytes)
		if closer, is := conn.(interface{ CloseWrite() error }); is {
			_ = closer.CloseWrite()
		}
		return hang(conn, seen)
	}
}

// cut ends the connection after these bytes without a word of TLS.
func cut(bytes string) responder {
	return func(conn net.Conn, _ request) bool {
		_, _ = io.WriteString(conn, bytes)
		if secured, is := conn.(*tls.Conn); is {
			_ = secured.NetConn().Close()
		}
		return false
	}
}

// resetting ends the connection after these bytes so that the client sees a reset.
func resetting(bytes string) responder {
	return func(conn net.Conn, _ request) bool {
		_, _ = io.WriteString(conn, bytes)
		reset(conn)
		return false
	}
}

func gzipOf(text string) string {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return packed.String()
}

// packed answers with gzip; what it holds, what it says.
func packed(status int, body string, encoding ...string) responder {
	lines := []string{"Content-Encoding: gzip"}
	if len(encoding) > 0 {
		lines = nil
		for _, value := range encoding {
			lines = append(lines, "Content-Encoding: "+value)
		}
	}
	return answer(status, "application/json", body, lines...)
}

// chunkedTokens is an answer with rotated tokens, in chunks without their end.
func chunkedTokens() string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(rotatedBody), rotatedBody)
}

func withStatus(status int, body string, headers ...string) responder {
	return answer(status, "application/json", body, headers...)
}

func withType(contentType, body string) responder { return answer(200, contentType, body) }

// answering is an answer with a good refresh token and these other members.
func answering(members string) scene { return replies(rotated(members)) }

func rotated(members string) responder { return ok(`{"refresh_token":"new",` + members + `}`) }

// says is an answer of 200 with this body.
func says(body string) scene { return replies(ok(body)) }

const (
	rotatedBody = `{"access_token":"` + testToken + `","token_type":"Bearer","expires_in":3600,"refresh_token":"` + testRefreshToken + `"}`
	inProcess   = `{"error":"invalid_grant","error_description":"The Token Request is ALREADY being processed."}`
)

// echoed answers 400 with the request's own body: as description, or, where no code is given, as the code.
func echoed(code string) responder {
	return func(conn net.Conn, seen request) bool {
		body := fmt.Sprintf(`{"error":%q,"error_description":%q}`, code, seen.body)
		if code == "" {
			body = fmt.Sprintf(`{"error":%q}`, seen.body)
		}
		_, err := io.WriteString(conn, httpAnswer(400, "application/json", body))
		return err == nil
	}
}
