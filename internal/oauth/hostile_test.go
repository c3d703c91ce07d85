package oauth_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// hostileRow is one behaviour of a server and what must come of it. Rows are made by rejected, which takes the class and
// the number of whole requests that the server may have seen, and by accepted, where that is one: a row without them
// does not compile. Without a responder nobody listens.
type hostileRow struct {
	respond  responder
	timeout  time.Duration
	class    oauth.Class
	requests int
	check    func(*testing.T, oauth.Answer)
}

func rejected(class oauth.Class, requests int, respond responder) hostileRow {
	return hostileRow{respond: respond, timeout: long, class: class, requests: requests}
}

func accepted(respond responder, check func(*testing.T, oauth.Answer)) hostileRow {
	return hostileRow{respond: respond, timeout: long, requests: 1, check: check}
}

// within shortens the time limit, for servers that never end.
func (r hostileRow) within(limit time.Duration) hostileRow {
	r.timeout = limit
	return r
}

func hang(conn net.Conn, _ request) bool {
	_, _ = io.Copy(io.Discard, conn) // until the client gives up
	return false
}

// drip writes head at once and then one byte at a time, for ever.
func drip(head, tail string) responder {
	return func(conn net.Conn, _ request) bool {
		_, err := io.WriteString(conn, head)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for i := 0; err == nil; i++ {
			<-ticker.C
			_, err = conn.Write([]byte{tail[i%len(tail)]})
		}
		return false
	}
}

// flood writes head and then the same piece for ever, and fails the test if more than a few MiB are taken.
func flood(t *testing.T, head, piece string) responder {
	t.Helper()
	return func(conn net.Conn, _ request) bool {
		n, err := io.WriteString(conn, head)
		for err == nil && n < 64<<20 {
			var more int
			more, err = io.WriteString(conn, piece)
			n += more
		}
		if err == nil {
			t.Error("the client read 64 MiB and went on")
		}
		return false
	}
}

func gzipped(n int) string {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = io.WriteString(w, `{"access_token":"`+strings.Repeat("a", n)+`"}`)
	_ = w.Close()
	return packed.String()
}

func token(body string) string { return fmt.Sprintf(`{"access_token":%s,"token_type":"Bearer"}`, body) }

func withExpiry(value string) responder {
	return ok(`{"access_token":"` + testToken + `","token_type":"Bearer","expires_in":` + value + `}`)
}

func lives(want time.Duration, warnings ...oauth.Warning) func(*testing.T, oauth.Answer) {
	return func(t *testing.T, got oauth.Answer) {
		t.Helper()
		if got.Lifetime == nil || *got.Lifetime != want {
			t.Errorf("lifetime %v, want %v", got.Lifetime, want)
		}
		if diff := cmp.Diff(warnings, got.Warnings); diff != "" {
			t.Errorf("warnings: %s", diff)
		}
	}
}

func livesUnknown(warnings ...oauth.Warning) func(*testing.T, oauth.Answer) {
	return func(t *testing.T, got oauth.Answer) {
		t.Helper()
		if got.Lifetime != nil {
			t.Errorf("lifetime %v, want none", *got.Lifetime)
		}
		if diff := cmp.Diff(warnings, got.Warnings); diff != "" {
			t.Errorf("warnings: %s", diff)
		}
	}
}

func usable(warnings ...oauth.Warning) func(*testing.T, oauth.Answer) {
	return func(t *testing.T, got oauth.Answer) {
		t.Helper()
		if got.AccessToken.Empty() {
			t.Error("no access token")
		}
		if diff := cmp.Diff(warnings, got.Warnings); diff != "" {
			t.Errorf("warnings: %s", diff)
		}
	}
}

func TestHostileTransport(t *testing.T) {
	t.Parallel()
	runHostile(t, map[string]hostileRow{
		"H01 accepts and never answers":     rejected(oauth.OutcomeUnknown, 1, hang).within(short),
		"H02 slow-loris headers":            rejected(oauth.OutcomeUnknown, 1, drip("HTTP/1.1 200 OK\r\nX: ", "a")).within(short),
		"H03 body one byte at a time":       rejected(oauth.OutcomeUnknown, 1, drip("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", " ")).within(short),
		"H04 declared body of 1 GB":         rejected(oauth.OutcomeUnknown, 1, flood(t, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", strings.Repeat(" ", 1<<16))),
		"H04 endless chunked body":          rejected(oauth.OutcomeUnknown, 1, flood(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "10000\r\n"+strings.Repeat(" ", 1<<16)+"\r\n")),
		"H04 a token before endless spaces": rejected(oauth.OutcomeUnknown, 1, flood(t, "HTTP/1.1 200 OK\r\n\r\n"+goodBody, strings.Repeat(" ", 1<<16))),
		"H04 page of 1 GB with 404":         rejected(oauth.RequestRejected, 1, flood(t, "HTTP/1.1 404 Not Found\r\n\r\n", strings.Repeat("<p>", 1<<14))),
		"H05 gzip bomb":                     rejected(oauth.InvalidResponse, 1, answer(200, "application/json", gzipped(8<<20), "Content-Encoding: gzip")),
		"H05 small gzip, not asked for":     rejected(oauth.InvalidResponse, 1, answer(200, "application/json", gzipped(10), "Content-Encoding: gzip")),
		"H05 nested encodings":              rejected(oauth.InvalidResponse, 1, answer(200, "application/json", goodBody, "Content-Encoding: gzip, gzip")),
		"H05 two encoding headers":          rejected(oauth.InvalidResponse, 1, answer(200, "application/json", goodBody, "Content-Encoding: identity", "Content-Encoding: br")),
		"H05 br, not asked for":             rejected(oauth.InvalidResponse, 1, answer(200, "application/json", goodBody, "Content-Encoding: br")),
		"H06 one header of 10 MB":           rejected(oauth.OutcomeUnknown, 1, flood(t, "HTTP/1.1 200 OK\r\nX: ", strings.Repeat("a", 1<<16))),
		"H06 10,000 header lines":           rejected(oauth.OutcomeUnknown, 1, raw("HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Long-Name: value\r\n", 10_000)+"\r\n")),
		"H06 endless 1xx answers":           rejected(oauth.OutcomeUnknown, 1, flood(t, "", strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 100))),
		"H12 reset after the request":       rejected(oauth.OutcomeUnknown, 1, func(conn net.Conn, _ request) bool { reset(conn); return false }),
		"H12 close after the request":       rejected(oauth.OutcomeUnknown, 1, raw("")),
		"H12 close within the status line":  rejected(oauth.OutcomeUnknown, 1, raw("HTTP/1.1 2")),
		"H12 what comes back is not HTTP":   rejected(oauth.OutcomeUnknown, 1, raw(testClientSecret+"\r\n\r\n")),
		"H13 listener closed":               rejected(oauth.NotSent, 0, nil),
		"H14 body shorter than declared":    rejected(oauth.OutcomeUnknown, 1, raw("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"+goodBody)),
		"H14 chunked without its end":       rejected(oauth.OutcomeUnknown, 1, raw(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(goodBody), goodBody))),
		"H14 error body shorter than said":  rejected(oauth.OutcomeUnknown, 1, raw("HTTP/1.1 400 Bad\r\nContent-Length: 5000\r\n\r\n"+`{"error":"invalid_client"}`)),
		"101 and an endless body":           rejected(oauth.InvalidResponse, 1, drip("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", " ")),
		"a connection that ends the body":   accepted(raw("HTTP/1.1 200 OK\r\n\r\n"+goodBody), usable()),
		"a few 1xx before the answer":       accepted(raw("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"+httpAnswer(200, "", goodBody)), usable()),
	})
}

func TestHostileStatusAndBody(t *testing.T) {
	t.Parallel()
	withType := func(contentType, body string) responder { return answer(200, contentType, body) }
	runHostile(t, map[string]hostileRow{
		"H16 login page":                       rejected(oauth.InvalidResponse, 1, withType("text/html", "<html>"+testClientSecret+"</html>")),
		"H16 login page called JSON":           rejected(oauth.InvalidResponse, 1, withType("application/json", "\n<!doctype html>")),
		"H17 JSON called text/html":            accepted(withType("text/html", goodBody), usable()),
		"H17 JSON called text/plain":           accepted(withType("text/plain; charset=UTF-8", goodBody), usable()),
		"H17 JSON called form":                 accepted(withType("application/x-www-form-urlencoded", goodBody), usable()),
		"H17 JSON without a type":              accepted(withType("", goodBody), usable()),
		"H17 JSON with a broken type":          accepted(withType(";;;", goodBody), usable()),
		"H18 charset utf-16":                   rejected(oauth.InvalidResponse, 1, withType("application/json; charset=utf-16", goodBody)),
		"H18 charset iso-8859-1":               rejected(oauth.InvalidResponse, 1, withType(`application/json; charset="ISO-8859-1"`, goodBody)),
		"H18 two charsets":                     rejected(oauth.InvalidResponse, 1, withType("application/json; charset=utf-8; charset=utf-16", goodBody)),
		"H18 body in UTF-16":                   rejected(oauth.InvalidResponse, 1, withType("application/json", "\xff\xfe{\x00\"\x00")),
		"H19 invalid UTF-8 in the token":       rejected(oauth.InvalidResponse, 1, ok(token("\"a\xffb\""))),
		"H19 lone surrogate in the token":      rejected(oauth.InvalidResponse, 1, ok(token(`"a\ud800b"`))),
		"H19 U+FFFD in the token":              rejected(oauth.InvalidResponse, 1, ok(token(`"a\ufffdb"`))),
		"H20 form-encoded body":                rejected(oauth.InvalidResponse, 1, withType("application/x-www-form-urlencoded", "access_token=a&token_type=Bearer")),
		"H21 204":                              rejected(oauth.InvalidResponse, 1, raw("HTTP/1.1 204 No Content\r\n\r\n")),
		"H21 empty 200":                        rejected(oauth.InvalidResponse, 1, ok("")),
		"H21 200 of spaces":                    rejected(oauth.InvalidResponse, 1, ok(" \r\n\t")),
		"H22 two objects":                      rejected(oauth.InvalidResponse, 1, ok(goodBody+goodBody)),
		"H22 trailing garbage":                 rejected(oauth.InvalidResponse, 1, ok(goodBody+"x")),
		"H22 trailing NUL":                     rejected(oauth.InvalidResponse, 1, ok(goodBody+"\x00")),
		"H22 byte order mark":                  rejected(oauth.InvalidResponse, 1, ok("\xef\xbb\xbf"+goodBody)),
		"H22 array":                            rejected(oauth.InvalidResponse, 1, ok("["+goodBody+"]")),
		"H22 null":                             rejected(oauth.InvalidResponse, 1, ok("null")),
		"H22 nested ever deeper":               rejected(oauth.InvalidResponse, 1, ok(`{"x":`+strings.Repeat("[", 500_000))),
		"H22 nested deep and closed":           rejected(oauth.InvalidResponse, 1, ok(`{"x":`+strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000)+`}`)),
		"H23 access_token twice":               rejected(oauth.InvalidResponse, 1, ok(`{"access_token":"a","access_token":"b","token_type":"Bearer"}`)),
		"H23 the same access_token twice":      rejected(oauth.InvalidResponse, 1, ok(`{"access_token":"a","access_token":"a","token_type":"Bearer"}`)),
		"H23 access_token twice, once escaped": rejected(oauth.InvalidResponse, 1, ok(`{"access_token":"a","access\u005ftoken":"b","token_type":"Bearer"}`)),
		"H23 twice, behind 200 others":         rejected(oauth.InvalidResponse, 1, ok(`{`+strings.Repeat(`"x":1,`, 200)+`"y":{`+strings.Repeat(`"z":1,`, 200)+`"z":1},"access_token":"a","access_token":"b"}`)),
		"H23 expires_in twice":                 rejected(oauth.InvalidResponse, 1, ok(`{"access_token":"a","expires_in":1,"expires_in":2}`)),
		"H23 refresh_token twice":              rejected(oauth.InvalidResponse, 1, ok(`{"access_token":"a","refresh_token":"1","refresh_token":"2"}`)),
		"H23 error twice":                      rejected(oauth.InvalidResponse, 1, ok(`{"error":"invalid_client","error":null,"access_token":"a"}`)),
		"H23 unknown field twice":              accepted(ok(`{"x":1,"x":2,"y":{"access_token":1,"access_token":2},"access_token":"a","token_type":"Bearer"}`), usable()),
		"H24 only ACCESS_TOKEN":                rejected(oauth.InvalidResponse, 1, ok(`{"ACCESS_TOKEN":"a","Access_Token":"b"}`)),
		"H24 ACCESS_TOKEN beside the real one": accepted(ok(`{"access_token":"real","ACCESS_TOKEN":"a","Access_Token":"b","token_type":"Bearer"}`), func(t *testing.T, got oauth.Answer) {
			t.Helper()
			if got.AccessToken.Reveal() != "real" {
				t.Error("another field was taken")
			}
		}),
		"H25 numeric token":                rejected(oauth.InvalidResponse, 1, ok(token("1"))),
		"H25 boolean token":                rejected(oauth.InvalidResponse, 1, ok(token("true"))),
		"H25 object token":                 rejected(oauth.InvalidResponse, 1, ok(token(`{"value":"a"}`))),
		"H25 null token":                   rejected(oauth.InvalidResponse, 1, ok(token("null"))),
		"H25 empty token":                  rejected(oauth.InvalidResponse, 1, ok(token(`""`))),
		"H26 error and token":              rejected(oauth.ClientRejected, 1, ok(`{"error":"invalid_client","access_token":"a","token_type":"Bearer"}`)),
		"H26 unregistered error and token": rejected(oauth.InvalidResponse, 1, ok(`{"error":"`+testClientSecret+`","access_token":"a","token_type":"Bearer"}`)),
		"H27 error object":                 rejected(oauth.InvalidResponse, 1, ok(`{"error":{"code":400,"message":"`+testClientSecret+`"}}`)),
		"H27 error object with 400":        rejected(oauth.RequestRejected, 1, answer(400, "application/json", `{"error":{"code":400}}`)),
		"H27 list of errors":               rejected(oauth.InvalidResponse, 1, ok(`{"errors":["`+testClientSecret+`"]}`)),
		"H28 ok:false":                     rejected(oauth.InvalidResponse, 1, ok(`{"ok":false}`)),
		"H29 bad_refresh_token with 200":   rejected(oauth.ClientRejected, 1, ok(`{"error":"bad_refresh_token"}`)), // no refresh token in this grant
		"H30 400 that looks like success":  rejected(oauth.RequestRejected, 1, answer(400, "application/json", goodBody)),
		"H30 500 that looks like success":  rejected(oauth.OutcomeUnknown, 1, answer(500, "application/json", goodBody)),
		"H54 429 with a token":             rejected(oauth.Throttled, 1, answer(429, "application/json", goodBody)),
		"error is null: none":              accepted(ok(`{"error":null,"access_token":"a","token_type":"Bearer"}`), usable()),
		"H86 the request echoed as description": rejected(oauth.RequestRejected, 1, func(conn net.Conn, seen request) bool {
			return answer(400, "application/json", `{"error":"invalid_request","error_description":"`+seen.body+`"}`)(conn, seen)
		}),
	})
}

func TestHostileTokenFields(t *testing.T) {
	t.Parallel()
	const decade = 3650 * 24 * time.Hour
	rows := map[string]hostileRow{
		"H32 token of 16 KiB":            accepted(ok(token(`"`+strings.Repeat("a", 16<<10)+`"`)), usable(oauth.LongAccessToken)),
		"H32 token of 8 KiB":             accepted(ok(token(`"`+strings.Repeat("a", 8<<10)+`"`)), usable()),
		"H32 token of 16 KiB and a byte": rejected(oauth.InvalidResponse, 1, ok(token(`"`+strings.Repeat("a", 16<<10+1)+`"`))),
		"H32 token of 300 kB":            rejected(oauth.InvalidResponse, 1, ok(token(`"`+strings.Repeat("a", 300_000)+`"`))),
		"H32 token of 1 MB":              rejected(oauth.OutcomeUnknown, 1, ok(token(`"`+strings.Repeat("a", 1<<20)+`"`))),
		"H33 no token_type":              accepted(ok(`{"access_token":"a"}`), usable(oauth.MissingTokenType)),
		"H33 bEARER":                     accepted(ok(`{"access_token":"a","token_type":"bEARER"}`), usable()),
		"H37 bare Infinity is not JSON":  rejected(oauth.InvalidResponse, 1, withExpiry("Infinity")),
		"H40 milliseconds":               accepted(withExpiry("3600000"), lives(3600000*time.Second)),
		"H41 scope reduced":              accepted(ok(`{"access_token":"a","token_type":"Bearer","scope":"a  b"}`), scoped("a", "b")),
		"scope as a list":                accepted(ok(`{"access_token":"a","token_type":"Bearer","scope":["a","b"]}`), scoped("a", "b")),
		"scope that is not one":          accepted(ok(`{"access_token":"a","token_type":"Bearer","scope":7}`), usable(oauth.InvalidScope)),
		"scope with CRLF":                accepted(ok(`{"access_token":"a","token_type":"Bearer","scope":"a\r\nX: 1"}`), usable(oauth.InvalidScope)),
		"scope too long":                 accepted(ok(`{"access_token":"a","token_type":"Bearer","scope":"`+strings.Repeat("a", 17<<10)+`"}`), usable(oauth.InvalidScope)),
		"H44 id_token is ignored":        accepted(ok(`{"access_token":"a","token_type":"Bearer","id_token":"x.y.z"}`), usable()),
		"H45 a refresh token is ignored": accepted(ok(`{"access_token":"a","token_type":"Bearer","refresh_token":"r"}`), func(t *testing.T, got oauth.Answer) {
			t.Helper()
			if !got.RefreshToken.Empty() {
				t.Error("the refresh token was taken")
			}
			usable(oauth.RefreshTokenIgnored)(t, got)
		}),
	}
	for _, bad := range []string{`a\r\nX-Evil: 1`, `a\u0000b`, `a\tb`, `a\u007fb`, `aéb`, ` a`, `a `, `a b`, `\n`} {
		rows["H31 token "+bad] = rejected(oauth.InvalidResponse, 1, ok(token(`"`+bad+`"`)))
	}
	for _, kind := range []string{`"mac"`, `"DPoP"`, `"N_A"`, `"bot"`, `"jwt-bearer"`, `""`, `"Bearer "`, `7`, `["Bearer"]`} {
		rows["H33 token_type "+kind] = rejected(oauth.InvalidResponse, 1, ok(`{"access_token":"a","token_type":`+kind+`}`))
	}
	for _, value := range []string{`"3600"`, `3600.0`, `3600.5`, `3.6e3`, `"3600.9"`, `36e2`} {
		rows["H34 expires_in "+value] = accepted(withExpiry(value), lives(time.Hour))
	}
	for _, value := range []string{`-1`, `-1e12`, `"-1"`, `-0.5`, `-1e999`} {
		rows["H35 expires_in "+value] = accepted(withExpiry(value), lives(0, oauth.NegativeExpiresIn))
	}
	for _, value := range []string{`0`, `"0"`, `0.0`, `-0`, `0.9`, `1e-999`} {
		rows["H36 expires_in "+value] = accepted(withExpiry(value), livesUnknown(oauth.ZeroExpiresIn))
	}
	for _, value := range []string{`1e12`, `1e30`, `"Infinity"`, `9223372036854775808`, `9223372037`, `1e999`, strings.Repeat("9", 400), `315360001`} {
		rows["H37 expires_in "+value] = accepted(withExpiry(value), lives(decade, oauth.ClampedExpiresIn))
	}
	rows["H37 exactly ten years"] = accepted(withExpiry("315360000"), lives(decade))
	for _, value := range []string{`null`, `""`, `true`, `[]`, `{}`, `"never"`, `"0x10"`, `"NaN"`, `"inf"`, `"3600 "`, `" 3600"`, `"+3600"`, `"1_000"`, `"true"`, `"3600abc"`} {
		rows["H38 expires_in "+value] = accepted(withExpiry(value), livesUnknown(oauth.InvalidExpiresIn))
	}
	for _, value := range []string{`1`, `5`} {
		seconds, _ := time.ParseDuration(value + "s")
		rows["H39 expires_in "+value] = accepted(withExpiry(value), lives(seconds))
	}
	runHostile(t, rows)
}

func scoped(want ...string) func(*testing.T, oauth.Answer) {
	return func(t *testing.T, got oauth.Answer) {
		t.Helper()
		if diff := cmp.Diff(want, got.Scopes()); diff != "" {
			t.Errorf("scopes: %s", diff)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
		t.Run(fmt.Sprintf("H07 H08 H09 status %d", status), func(t *testing.T) {
			t.Parallel()
			second := serve(t, ok(goodBody))
			for _, target := range []string{second.url(), "http://169.254.169.254/latest", "/elsewhere", ""} {
				s := serve(t, answer(status, "application/json", `{"error":"invalid_client"}`, "Location: "+target))
				_, err := newClient(t, nil).Exchange(t.Context(), registration(s.url()), credentials())
				checkFailure(t, err, oauth.RequestRejected)
				if failure := failureOf(t, err); !strings.Contains(failure.Reason, "redirects") {
					t.Errorf("reason %q", failure.Reason)
				}
				if _, _, requests := s.counts(); requests != 1 {
					t.Errorf("the redirecting server saw %d requests", requests)
				}
			}
			if connections, _, _ := second.counts(); connections != 0 {
				t.Errorf("the target of the redirect saw %d connections", connections)
			}
		})
	}
}

func runHostile(t *testing.T, rows map[string]hostileRow) {
	t.Helper()
	for name, row := range rows {
		t.Run(name[:min(len(name), 80)], func(t *testing.T) {
			t.Parallel()
			runHostileRow(t, row)
		})
	}
}

func runHostileRow(t *testing.T, row hostileRow) {
	t.Helper()
	s := serve(t, row.respond)
	if row.respond == nil {
		_ = s.listener.Close()
	}
	reg := registration(s.url())
	reg.Timeout = row.timeout
	got, err := newClient(t, nil).Exchange(t.Context(), reg, credentials("scope1"))
	if _, _, requests := s.counts(); requests != row.requests {
		t.Errorf("the server saw %d requests, want %d", requests, row.requests)
	}
	if row.check != nil {
		if err != nil {
			t.Fatalf("rejected: %v", err)
		}
		row.check(t, got)
		return
	}
	checkFailure(t, err, row.class)
	if diff := cmp.Diff(oauth.Answer{}, got); diff != "" {
		t.Errorf("an error came with an answer: %s", diff)
	}
}

// failureOf gives the error as the one type that there is.
func failureOf(t *testing.T, err error) *oauth.Error {
	t.Helper()
	var failure *oauth.Error
	if !errors.As(err, &failure) {
		t.Fatalf("error %T (%v) is not an *oauth.Error", err, err)
	}
	return failure
}

// checkFailure asserts the class, a reason, and that nothing planted shows.
func checkFailure(t *testing.T, err error, class oauth.Class) {
	t.Helper()
	failure := failureOf(t, err)
	if failure.Class != class {
		t.Errorf("class %s, want %s: %v", failure.Class, class, err)
	}
	if failure.Reason == "" {
		t.Error("no reason given")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for ; err != nil; err = errors.Unwrap(err) {
			text := fmt.Sprintf(verb, err)
			for _, planted := range []string{testClientSecret, testToken, testRefreshToken} {
				if found := leaks(text, planted); len(found) > 0 {
					t.Errorf("the error holds a secret as %v", found)
				}
			}
		}
		err = failure
	}
}
