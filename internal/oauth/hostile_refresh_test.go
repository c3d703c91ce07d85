package oauth_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// refreshRow is one behaviour of a server towards a refresh. Rows are made by refused, which takes the class, the number
// of whole requests that the server may have seen and the refresh token that is kept all the same ("": none), and by
// refreshed, where the class is none and the number is one: a row without them does not compile.
type refreshRow struct {
	respond  responder
	limit    time.Duration
	class    oauth.Class
	requests int
	access   string
	refresh  string
	wait     time.Duration
}

func refused(class oauth.Class, requests int, salvaged string, respond responder) refreshRow {
	return refreshRow{respond: respond, limit: long, class: class, requests: requests, refresh: salvaged}
}

func refreshed(access, refresh string, respond responder) refreshRow {
	return refreshRow{respond: respond, limit: long, requests: 1, access: access, refresh: refresh}
}

// briefly shortens the limit, for servers that never end.
func (r refreshRow) briefly() refreshRow {
	r.limit = short
	return r
}

// waiting says what Retry-After must come to.
func (r refreshRow) waiting(wait time.Duration) refreshRow {
	r.wait = wait
	return r
}

const (
	nothing     = "" // is salvaged, or came
	rotatedBody = `{"access_token":"` + testToken + `","token_type":"Bearer","expires_in":3600,"refresh_token":"` + testRefreshToken + `"}`
	inProcess   = `{"error":"invalid_grant","error_description":"The Token Request is ALREADY being processed."}`
)

// rotated is an answer with a good refresh token and these other members.
func rotated(members string) responder { return ok(`{"refresh_token":"new",` + members + `}`) }

func TestHostileTransportUnderARefresh(t *testing.T) {
	t.Parallel()
	runRefreshes(t, map[string]refreshRow{
		"H01 accepts and never answers":        refused(oauth.OutcomeUnknown, 1, nothing, hang).briefly(),
		"H02 slow-loris headers":               refused(oauth.OutcomeUnknown, 1, nothing, drip("HTTP/1.1 200 OK\r\nX: ", "a")).briefly(),
		"H03 body one byte at a time":          refused(oauth.OutcomeUnknown, 1, nothing, drip("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", " ")).briefly(),
		"H03 the tokens, then spaces for ever": refused(oauth.OutcomeUnknown, 1, nothing, drip("HTTP/1.1 200 OK\r\n\r\n"+rotatedBody, " ")).briefly(),
		"H04 the tokens, then 1 GB of spaces":  refused(oauth.OutcomeUnknown, 1, nothing, flood(t, "HTTP/1.1 200 OK\r\n\r\n"+rotatedBody, strings.Repeat(" ", 1<<16))),
		"H12 reset after the request":          refused(oauth.OutcomeUnknown, 1, nothing, func(conn net.Conn, _ request) bool { reset(conn); return false }),
		"H12 close after the request":          refused(oauth.OutcomeUnknown, 1, nothing, raw("")),
		"H12 close within the status line":     refused(oauth.OutcomeUnknown, 1, nothing, raw("HTTP/1.1 2")),
		"H12 close within the headers":         refused(oauth.OutcomeUnknown, 1, nothing, raw("HTTP/1.1 200 OK\r\nContent-Type: a")),
		"H13 listener closed":                  refused(oauth.NotSent, 0, nothing, nil),
		"H14 body shorter than declared":       refused(oauth.OutcomeUnknown, 1, nothing, raw("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"+rotatedBody)),
		"H14 chunked without its end":          refused(oauth.OutcomeUnknown, 1, nothing, raw(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(rotatedBody), rotatedBody))),
		"H14 invalid_grant, cut":               refused(oauth.OutcomeUnknown, 1, nothing, raw("HTTP/1.1 400 Bad\r\nContent-Length: 5000\r\n\r\n"+`{"error":"invalid_grant"}`)),
	})
}

func TestHostileAnswersToARefresh(t *testing.T) {
	t.Parallel()
	withStatus := func(status int, body string, headers ...string) responder {
		return answer(status, "application/json", body, headers...)
	}
	rows := map[string]refreshRow{
		"both tokens":                              refreshed(testToken, testRefreshToken, ok(rotatedBody)),
		"H16 login page":                           refused(oauth.InvalidResponse, 1, nothing, answer(200, "text/html", "<html>"+rotatedBody)),
		"H18 charset utf-16":                       refused(oauth.InvalidResponse, 1, nothing, answer(200, "application/json; charset=utf-16", rotatedBody)),
		"H05 a coding that was not asked for":      refused(oauth.InvalidResponse, 1, nothing, withStatus(200, rotatedBody, "Content-Encoding: br")),
		"H14 JSON without its end":                 refused(oauth.InvalidResponse, 1, nothing, ok(strings.TrimSuffix(rotatedBody, "}"))),
		"H14 JSON cut within the refresh token":    refused(oauth.InvalidResponse, 1, nothing, ok(`{"access_token":"a","refresh_token":"ne`)),
		"H21 204":                                  refused(oauth.InvalidResponse, 1, nothing, raw("HTTP/1.1 204 No Content\r\n\r\n")),
		"H22 two objects":                          refused(oauth.InvalidResponse, 1, nothing, ok(rotatedBody+rotatedBody)),
		"H22 trailing garbage":                     refused(oauth.InvalidResponse, 1, nothing, ok(rotatedBody+"x")),
		"H23 access_token twice":                   refused(oauth.InvalidResponse, 1, "new", rotated(`"access_token":"a","access_token":"b"`)),
		"H23 the same access_token twice":          refused(oauth.InvalidResponse, 1, "new", rotated(`"access_token":"a","access_token":"a"`)),
		"H23 token_type twice":                     refused(oauth.InvalidResponse, 1, "new", rotated(`"access_token":"a","token_type":"Bearer","token_type":"Bearer"`)),
		"H23 expires_in twice":                     refused(oauth.InvalidResponse, 1, "new", rotated(`"access_token":"a","expires_in":1,"expires_in":2`)),
		"H23 scope twice, behind 200 others":       refused(oauth.InvalidResponse, 1, "new", rotated(strings.Repeat(`"x":1,`, 200)+`"access_token":"a","scope":"a","scope":"b"`)),
		"H23 unknown field twice":                  refreshed("a", "new", rotated(`"access_token":"a","x":1,"x":2`)),
		"H23 error_description twice":              refreshed("a", "new", rotated(`"access_token":"a","error_description":"1","error_description":"2"`)),
		"H23 two refresh tokens":                   refused(oauth.OutcomeUnknown, 1, nothing, rotated(`"access_token":"a","refresh_token":"other"`)),
		"H23 the same refresh token twice":         refused(oauth.OutcomeUnknown, 1, nothing, rotated(`"access_token":"a","refresh_token":"new"`)),
		"H23 a refresh token, then null":           refused(oauth.OutcomeUnknown, 1, nothing, rotated(`"access_token":"a","refresh_token":null`)),
		"H23 two refresh tokens, one escaped":      refused(oauth.OutcomeUnknown, 1, nothing, rotated(`"access_token":"a","refresh\u005ftoken":"other"`)),
		"H23 two refresh tokens, no access token":  refused(oauth.OutcomeUnknown, 1, nothing, rotated(`"refresh_token":"other"`)),
		"H23 both tokens twice":                    refused(oauth.OutcomeUnknown, 1, nothing, rotated(`"access_token":"a","access_token":"b","refresh_token":"other"`)),
		"H23 error twice":                          refused(oauth.InvalidResponse, 1, nothing, rotated(`"access_token":"a","error":"invalid_grant","error":null`)),
		"H23 access_token twice beside an error":   refused(oauth.InvalidResponse, 1, nothing, rotated(`"access_token":"a","access_token":"b","error":"invalid_grant"`)),
		"H24 only ACCESS_TOKEN":                    refused(oauth.InvalidResponse, 1, "new", rotated(`"ACCESS_TOKEN":"a"`)),
		"H24 ACCESS_TOKEN beside the real one":     refreshed("a", "new", rotated(`"access_token":"a","ACCESS_TOKEN":"b"`)),
		"H24 REFRESH_TOKEN beside the real one":    refreshed("a", "new", rotated(`"access_token":"a","REFRESH_TOKEN":"b","Refresh_Token":7`)),
		"H24 only REFRESH_TOKEN":                   refreshed("a", nothing, ok(`{"access_token":"a","REFRESH_TOKEN":"b"}`)),
		"H25 no access token":                      refused(oauth.InvalidResponse, 1, "new", rotated(`"token_type":"Bearer"`)),
		"H25 numeric access token":                 refused(oauth.InvalidResponse, 1, "new", rotated(`"access_token":7`)),
		"H25 empty access token":                   refused(oauth.InvalidResponse, 1, "new", rotated(`"access_token":""`)),
		"H26 error beside tokens":                  refused(oauth.RefreshTokenRejected, 1, nothing, rotated(`"access_token":"a","error":"invalid_grant"`)),
		"H26 error beside a bad token":             refused(oauth.ClientRejected, 1, nothing, rotated(`"access_token":7,"error":"invalid_client"`)),
		"H26 unregistered error beside tokens":     refused(oauth.InvalidResponse, 1, nothing, rotated(`"access_token":"a","error":"`+testClientSecret+`"`)),
		"H27 error object beside tokens":           refused(oauth.InvalidResponse, 1, nothing, rotated(`"access_token":"a","error":{"code":400}`)),
		"error is null: none":                      refreshed("a", "new", rotated(`"access_token":"a","error":null`)),
		"H29 bad_refresh_token with 200":           refused(oauth.RefreshTokenRejected, 1, nothing, ok(`{"error":"bad_refresh_token"}`)),
		"H30 400 that looks like success":          refused(oauth.RequestRejected, 1, nothing, withStatus(400, rotatedBody)),
		"H30 500 that looks like success":          refused(oauth.OutcomeUnknown, 1, nothing, withStatus(500, rotatedBody)),
		"a redirect with tokens":                   refused(oauth.RequestRejected, 1, nothing, withStatus(302, rotatedBody, "Location: https://example.com/")),
		"invalid_grant":                            refused(oauth.RefreshTokenRejected, 1, nothing, withStatus(400, `{"error":"invalid_grant"}`)),
		"H32 refresh token of 16 KiB":              refreshed("a", strings.Repeat("r", 16<<10), ok(`{"access_token":"a","refresh_token":"`+strings.Repeat("r", 16<<10)+`"}`)),
		"H32 refresh token of 16 KiB and a byte":   refused(oauth.OutcomeUnknown, 1, nothing, ok(`{"access_token":"a","refresh_token":"`+strings.Repeat("r", 16<<10+1)+`"}`)),
		"H32 access token of 16 KiB and a byte":    refused(oauth.InvalidResponse, 1, "new", rotated(`"access_token":"`+strings.Repeat("a", 16<<10+1)+`"`)),
		"H33 token_type mac":                       refused(oauth.InvalidResponse, 1, "new", rotated(`"access_token":"a","token_type":"mac"`)),
		"H33 token_type 7":                         refused(oauth.InvalidResponse, 1, "new", rotated(`"access_token":"a","token_type":7`)),
		"H41 scope that cannot be read":            refreshed("a", "new", rotated(`"access_token":"a","scope":{}`)),
		"H45 no refresh token":                     refreshed(testToken, nothing, ok(goodBody)),
		"H45 refresh token null":                   refreshed("a", nothing, ok(`{"access_token":"a","refresh_token":null}`)),
		"H45 neither token":                        refused(oauth.InvalidResponse, 1, nothing, ok(`{}`)),
		"H51 already being processed":              refused(oauth.OutcomeUnknown, 1, nothing, withStatus(400, inProcess)),
		"H51 already being processed, with 200":    refused(oauth.OutcomeUnknown, 1, nothing, ok(inProcess)),
		"H51 the same text with invalid_client":    refused(oauth.ClientRejected, 1, nothing, withStatus(401, strings.Replace(inProcess, "grant", "client", 1))),
		"H51 another text with invalid_grant":      refused(oauth.RefreshTokenRejected, 1, nothing, withStatus(400, `{"error":"invalid_grant","error_description":"already processed"}`)),
		"H51 the text in another field":            refused(oauth.RefreshTokenRejected, 1, nothing, withStatus(400, `{"error":"invalid_grant","Error_Description":"already being processed"}`)),
		"H51 a description that is no text":        refused(oauth.RefreshTokenRejected, 1, nothing, withStatus(400, `{"error":"invalid_grant","error_description":["already being processed"]}`)),
		"H54 429, Retry-After 120":                 refused(oauth.Throttled, 1, nothing, withStatus(429, rotatedBody, "Retry-After: 120")).waiting(2 * time.Minute),
		"H54 429, Retry-After -1":                  refused(oauth.Throttled, 1, nothing, withStatus(429, "", "Retry-After: -1")).waiting(time.Second),
		"H54 429, Retry-After 10^9":                refused(oauth.Throttled, 1, nothing, withStatus(429, "", "Retry-After: 1000000000")).waiting(time.Hour),
		"H54 429, Retry-After garbage":             refused(oauth.Throttled, 1, nothing, withStatus(429, "", "Retry-After: soon")).waiting(time.Minute),
		"H54 429, no Retry-After":                  refused(oauth.Throttled, 1, nothing, withStatus(429, "")).waiting(time.Minute),
		"H54 503, a date long past":                refused(oauth.OutcomeUnknown, 1, nothing, withStatus(503, "", "Retry-After: Mon, 02 Jan 2006 15:04:05 GMT")).waiting(time.Second),
		"H54 429 with invalid_grant":               refused(oauth.Throttled, 1, nothing, withStatus(429, `{"error":"invalid_grant"}`, "Retry-After: 120")).waiting(2 * time.Minute),
		"H55 503":                                  refused(oauth.OutcomeUnknown, 1, nothing, withStatus(503, "")),
		"H86 the request echoed as description":    refused(oauth.RefreshTokenRejected, 1, nothing, echoed("invalid_grant")),
		"H86 the request echoed as error":          refused(oauth.RequestRejected, 1, nothing, echoed("")),
		"a server that answers and keeps on going": refused(oauth.InvalidResponse, 1, nothing, raw("HTTP/1.1 200 OK\r\n\r\n"+rotatedBody+"HTTP/1.1 200 OK\r\n\r\n")),
	}
	for _, bad := range []string{`a\r\nX-Evil: 1`, `a\u0000b`, `a\tb`, `a\u007fb`, `aéb`, ` a`, `a `, `a b`, `\n`, `a\ud800b`} {
		rows["H31 access token "+bad] = refused(oauth.InvalidResponse, 1, "new", rotated(`"access_token":"`+bad+`"`))
		rows["H31 refresh token "+bad] = refused(oauth.OutcomeUnknown, 1, nothing, ok(`{"access_token":"a","refresh_token":"`+bad+`"}`))
	}
	for _, bad := range []string{`7`, `true`, `{}`, `["new"]`, `""`} {
		rows["H25 refresh token "+bad] = refused(oauth.OutcomeUnknown, 1, nothing, ok(`{"access_token":"a","refresh_token":`+bad+`}`))
		rows["H25 refresh token and no access token "+bad] = refused(oauth.OutcomeUnknown, 1, nothing, ok(`{"refresh_token":`+bad+`}`))
	}
	for _, value := range []string{`null`, `""`, `true`, `[]`, `{}`, `"never"`, `-1`, `0`, `1e999`, `"NaN"`} {
		rows["H38 expires_in "+value] = refreshed("a", "new", rotated(`"access_token":"a","expires_in":`+value))
	}
	runRefreshes(t, rows)
}

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

func runRefreshes(t *testing.T, rows map[string]refreshRow) {
	t.Helper()
	for name, row := range rows {
		t.Run(name[:min(len(name), 80)], func(t *testing.T) {
			t.Parallel()
			runRefreshRow(t, row)
		})
	}
}

func runRefreshRow(t *testing.T, row refreshRow) {
	t.Helper()
	s := serve(t, row.respond)
	if row.respond == nil {
		_ = s.listener.Close()
	}
	began := time.Now()
	got, err := refreshOnce(t, newClient(t, nil), s.url(), row.limit)
	if elapsed := time.Since(began); row.limit == short && elapsed > long/2 {
		t.Errorf("took %s", elapsed)
	}
	if _, _, requests := s.counts(); requests != row.requests {
		t.Errorf("the server saw %d requests, want %d", requests, row.requests)
	}
	if row.class != "" {
		checkFailure(t, err, row.class)
		if failure := failureOf(t, err); failure.RetryAfter != row.wait {
			t.Errorf("wait %s, want %s", failure.RetryAfter, row.wait)
		}
		checkOnlyRefreshToken(t, got, row.refresh)
		return
	}
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if got.AccessToken.Reveal() != row.access || got.RefreshToken.Reveal() != row.refresh || got.ReceivedTime.IsZero() {
		t.Error("other tokens came out than were sent")
	}
}

// refreshOnce makes one refresh in its three steps, and judges the reply a second time after it was stored.
func refreshOnce(t *testing.T, client *oauth.Client, endpoint string, limit time.Duration) (oauth.Answer, error) {
	t.Helper()
	started := time.Now()
	ready, err := client.Ready(t.Context(), registration(endpoint), refreshWith(testRefreshToken))
	if err != nil {
		return oauth.Answer{}, err
	}
	defer ready.Close()
	reply, err := ready.Send(t.Context(), started, limit)
	if err != nil {
		return oauth.Answer{}, err
	}
	checkSurvivesStorage(t, reply, oauth.GrantRefreshToken)
	return reply.Judge(oauth.GrantRefreshToken)
}

// checkOnlyRefreshToken asserts that an error came with this refresh token and its time alone, or with nothing.
func checkOnlyRefreshToken(t *testing.T, got oauth.Answer, want string) {
	t.Helper()
	expected := oauth.Answer{}
	if want != "" {
		expected = oauth.Answer{RefreshToken: secret.New(want), ReceivedTime: got.ReceivedTime}
		if got.ReceivedTime.IsZero() {
			t.Error("a refresh token came without its time")
		}
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("beside the error came: %s", diff)
	}
}
