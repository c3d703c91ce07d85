package oauth_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

const fuzzedLimit = 1 << 20 // of what is shown to a parser, since nothing longer reaches it

func grants() []oauth.GrantType {
	return []oauth.GrantType{oauth.GrantClientCredentials, oauth.GrantRefreshToken, oauth.GrantAuthorizationCode}
}

// FuzzParseAnswer shows that no answer makes the judge panic, contradict itself, quote the server, take what is no token
// for one, or find a refresh token that the server did not send.
func FuzzParseAnswer(f *testing.F) {
	for _, body := range []string{
		goodBody, `{"error":"invalid_client"}`, `{"access_token":"a","access_token":"b"}`, `{"access_token":"\ud800","expires_in":1e999}`,
		`{"access_token":"a","scope":["a",null],"refresh_token":"r","expires_in":"-0"}`, `<html>`, ``, `[[[[`, "{\"access_token\":\"a\xff\"}",
		`{"access_token":7,"refresh_token":"r"}`, `{"refresh_token":"r","refresh_token":"r"}`, `{"refresh_token":"a b","error":null,"error":1}`,
		`{"error":"invalid_grant","error_description":"Already being PROCESSED","refresh_token":"r"}`,
		"\xef\xbb\xbf" + rotatedBody, rotatedBody + "<p>", rotatedBody + rotatedBody, `{"x":{"refresh_token":"r"},"access\u005ftoken":"\u0061"}`,
		gzipOf(rotatedBody), gzipOf(rotatedBody)[:40],
	} {
		for _, contentType := range []string{"application/json", "text/html; charset=utf-16", ""} {
			for _, status := range []int{200, 302, 400, 503} {
				f.Add([]byte(body), contentType, "", status)
			}
		}
		f.Add([]byte(body), "", "gzip", 200)
	}
	f.Add([]byte(gzipOf(strings.Repeat(" ", 2<<20))), "", "gzip", 200)
	words := vocabulary(f)
	f.Fuzz(func(t *testing.T, body []byte, contentType, encoding string, status int) {
		header := http.Header{"Content-Type": {contentType}}
		if encoding != "" {
			header.Set("Content-Encoding", encoding)
		}
		if len(body) > fuzzedLimit {
			return
		}
		reply := oauth.NewReply(status, header, body, start())
		for _, grant := range grants() {
			checkJudgement(t, words, reply, grant, offered(header, body))
		}
	})
}

// checkJudgement holds one judgement against the rules. The refresh tokens are those that the body offers by an
// independent reading.
func checkJudgement(t *testing.T, words map[string]bool, reply oauth.Reply, grant oauth.GrantType, offered []string) {
	t.Helper()
	answer, err := reply.Judge(grant)
	again, errAgain := reply.Judge(grant)
	if diff := cmp.Diff(answer, again); diff != "" || (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
		t.Errorf("judged otherwise the second time: %s, %v, %v", diff, err, errAgain)
	}
	status := reply.Status()
	if token := answer.RefreshToken; !token.Empty() && !slices.Equal(offered, []string{token.Reveal()}) {
		t.Errorf("the answer offers the refresh tokens %q, and %q was taken", offered, token.Reveal())
	}
	if err == nil {
		checkFuzzedAnswer(t, answer, grant, status)
		return
	}
	failure := failureOf(t, err)
	checkFuzzedError(t, words, failure)
	if failure.Class == oauth.NotSent || failure.Status != status {
		t.Errorf("%+v", failure)
	}
	checkSalvaged(t, answer, failure, grant)
}

// checkFuzzedError asserts that an error says nothing but words of ours.
func checkFuzzedError(t *testing.T, words map[string]bool, failure *oauth.Error) {
	t.Helper()
	if !words[failure.Reason] {
		t.Errorf("the reason %q is not one of ours", failure.Reason)
	}
	if failure.Code != "" && failure.Code != oauth.CodeUnrecognised && !oauth.IsRegistered(failure.Code) {
		t.Errorf("the code %q is not a registered one", failure.Code)
	}
	if failure.RetryAfter != 0 && (failure.RetryAfter < time.Second || failure.RetryAfter > time.Hour) ||
		failure.Class == oauth.Throttled && failure.RetryAfter == 0 {
		t.Errorf("%s with a wait of %s", failure.Class, failure.RetryAfter)
	}
	cause := ""
	if err := failure.Unwrap(); err != nil {
		cause = err.Error()
		checkCause(t, err)
	}
	if text := failure.Error(); len(text) > len(failure.Class)+len(failure.Code)+len(failure.Reason)+len(cause)+40 {
		t.Errorf("more is said than there is: %q", text)
	}
}

func checkFuzzedAnswer(t *testing.T, answer oauth.Answer, grant oauth.GrantType, status int) {
	t.Helper()
	if status < 200 || status > 299 {
		t.Errorf("a token was taken with status %d", status)
	}
	for token, most := range map[secret.Value]int{answer.AccessToken: 16 << 10, answer.RefreshToken: 64 << 10} {
		for _, c := range []byte(token.Reveal()) {
			if c <= ' ' || c > '~' {
				t.Errorf("a token holds %s", strconv.Quote(token.Reveal()))
			}
		}
		if token.Len() > most {
			t.Errorf("a token of %d bytes", token.Len())
		}
	}
	if answer.AccessToken.Empty() || grant == oauth.GrantClientCredentials && !answer.RefreshToken.Empty() ||
		!strings.EqualFold(answer.TokenType, "Bearer") || len(answer.Warnings) > 5 {
		t.Errorf("%+v", answer)
	}
	checkFuzzedLifetime(t, answer.Lifetime)
	checkFuzzedScope(t, answer.Scope)
}

// checkSalvaged holds what comes beside an error against the rule: a refresh token, where one may be kept, and its time.
func checkSalvaged(t *testing.T, answer oauth.Answer, failure *oauth.Error, grant oauth.GrantType) {
	t.Helper()
	if answer.RefreshToken.Empty() {
		if diff := cmp.Diff(oauth.Answer{}, answer); diff != "" {
			t.Errorf("an error came with an answer: %s", diff)
		}
		return
	}
	want := oauth.Answer{RefreshToken: answer.RefreshToken, ReceivedTime: answer.ReceivedTime}
	if diff := cmp.Diff(want, answer); diff != "" || answer.ReceivedTime.IsZero() {
		t.Errorf("a refresh token was salvaged with other than its time: %s", diff)
	}
	if failure.Class != oauth.InvalidResponse || failure.Code != "" || grant == oauth.GrantClientCredentials || failure.Status/100 != 2 {
		t.Errorf("a refresh token was salvaged from %s of %s", failure.Class, grant)
	}
}

// offered reads the refresh tokens of the first object of a body, token by token and not into a struct: each member of
// the very name, and "?" for one that is no text. An answer that names an error offers none.
func offered(header http.Header, body []byte) (found []string) {
	if strings.Contains(strings.ToLower(header.Get("Content-Encoding")), "gzip") {
		if from, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
			if plain, err := io.ReadAll(io.LimitReader(from, fuzzedLimit+1)); err == nil {
				body = plain
			}
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))))
	decoder.UseNumber()
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	for decoder.More() {
		name, err := decoder.Token()
		var value any
		if err != nil || decoder.Decode(&value) != nil {
			return nil // it is no object
		}
		text, isText := value.(string)
		switch {
		case name == "error" && value != nil:
			return nil
		case name == "refresh_token" && isText:
			found = append(found, text)
		case name == "refresh_token":
			found = append(found, "?")
		}
	}
	return found
}

// vocabulary is every reason that there is, read from the source, so that none has to be listed a second time.
func vocabulary(tb testing.TB) map[string]bool {
	tb.Helper()
	file, err := parser.ParseFile(gotoken.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		tb.Fatal(err)
	}
	words := map[string]bool{}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, is := node.(*ast.ValueSpec)
		if !is || len(spec.Names) != 1 || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "reason") {
			return true
		}
		if value, is := spec.Values[0].(*ast.BasicLit); is {
			text, err := strconv.Unquote(value.Value)
			words[text] = err == nil
		}
		return true
	})
	if len(words) < 30 {
		tb.Fatalf("only %d reasons were found", len(words))
	}
	return words
}

// logged notes whether anything was written to the process's log, where net/http puts what it cannot place.
type logged struct{ bytes atomic.Int64 }

func (l *logged) Write(p []byte) (int, error) {
	l.bytes.Add(int64(len(p)))
	return len(p), nil
}

// FuzzRawResponse sends bytes through the client's own connection, whatever they are: HTTP or not.
func FuzzRawResponse(f *testing.F) {
	for _, response := range []string{
		"", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\n\r\n" + rotatedBody, httpAnswer(200, "application/json", rotatedBody),
		httpAnswer(400, "application/json", inProcess, "Retry-After: 1"), "HTTP/1.0 200\n\n" + goodBody,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\n" + httpAnswer(200, "", rotatedBody), "HTTP/1.1 101 Switching Protocols\r\n\r\n" + rotatedBody,
		httpAnswer(200, "", rotatedBody) + httpAnswer(200, "", goodBody), httpAnswer(307, "", rotatedBody, "Location: http://127.0.0.1/"),
		httpAnswer(200, "application/json", gzipOf(rotatedBody), "Content-Encoding: gzip"),
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n" + rotatedBody,
		"HTTP/2.0 200 OK\r\n\r\n", "\x00\x00\x12\x04\x00\x00\x00\x00\x00", "HTTP/1.1 204 No Content\r\n\r\n" + rotatedBody, testClientSecret,
	} {
		f.Add([]byte(response))
	}
	words := vocabulary(f)
	said := new(logged)
	before := log.Writer()
	log.SetOutput(said)
	f.Cleanup(func() { log.SetOutput(before) })
	f.Fuzz(func(t *testing.T, response []byte) {
		for _, grant := range grants() {
			checkExchange(t, words, grant, response)
		}
		if n := said.bytes.Swap(0); n > 0 {
			t.Errorf("%d bytes were written to the log", n)
		}
	})
}

func checkExchange(t *testing.T, words map[string]bool, grant oauth.GrantType, response []byte) {
	t.Helper()
	client := newClient(t, nil)
	defer client.Close()
	requests := make(chan int, 1)
	client.ConnectBy(func() net.Conn {
		ours, theirs := net.Pipe()
		go func() { requests <- respondOnce(theirs, response) }()
		return ours
	})
	request := credentials("a")
	switch grant {
	case oauth.GrantRefreshToken:
		request = refreshWith("spent")
	case oauth.GrantAuthorizationCode:
		request = redeem("spent")
	case oauth.GrantClientCredentials:
	}
	ready, err := client.Ready(t.Context(), registration("http://127.0.0.1/token"), request)
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	reply, err := ready.Send(t.Context(), time.Now(), long)
	if n := <-requests; n != 1 {
		t.Errorf("%d requests", n)
	}
	if err != nil {
		failure := failureOf(t, err)
		checkFuzzedError(t, words, failure)
		if failure.Class != oauth.OutcomeUnknown {
			t.Errorf("a request that was sent, of class %s", failure.Class)
		}
		return
	}
	checkSurvivesStorage(t, reply, grant)
	header, body := readIndependently(response)
	checkJudgement(t, words, reply, grant, offered(header, body))
}

// respondOnce reads one request, writes the response, and counts the requests until the client hangs up.
func respondOnce(conn net.Conn, response []byte) (requests int) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	got, err := http.ReadRequest(in)
	if err != nil {
		return 0
	}
	if _, err := io.Copy(io.Discard, got.Body); err != nil {
		return 0
	}
	_, _ = conn.Write(response) // fails where the client has seen enough
	return 1
}

// readIndependently gives the first response that is none of the provisional ones.
func readIndependently(response []byte) (http.Header, []byte) {
	in := bufio.NewReader(bytes.NewReader(response))
	for {
		got, err := http.ReadResponse(in, &http.Request{Method: http.MethodPost})
		if err != nil {
			return nil, nil
		}
		if got.StatusCode >= 100 && got.StatusCode <= 199 && got.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		body, err := io.ReadAll(io.LimitReader(got.Body, fuzzedLimit))
		_ = got.Body.Close()
		if err != nil {
			return nil, nil
		}
		return got.Header, body
	}
}

// FuzzRetryAfter shows that no header makes an account wait for ever, or not at all.
func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"", "120", "-1", "1e99", "NaN", "0x1p-2", start().Format(http.TimeFormat), "soon"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		wait := oauth.RetryAfter(value, start())
		if wait < time.Second || wait > time.Hour {
			t.Errorf("%q: %v", value, wait)
		}
		if seconds, err := strconv.ParseInt(value, 10, 32); err == nil && wait != time.Duration(min(max(seconds, 1), 3600))*time.Second {
			t.Errorf("%q: %v", value, wait)
		}
		if at, err := http.ParseTime(value); err == nil && wait != min(max(at.Sub(start()), time.Second), time.Hour) {
			t.Errorf("%q: %v", value, wait)
		}
	})
}

// FuzzScope shows that what is taken for scopes are scopes, one by one.
func FuzzScope(f *testing.F) {
	for _, raw := range []string{`"a b"`, `["a","b"]`, `["a b","c"]`, `null`, `7`, `"a\u0020b"`, `"\ud800"`, `"a\"b"`, `[]`, `""`, `[null]`, `{}`} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		scope, warning := oauth.ReadScope(raw)
		checkFuzzedScope(t, scope)
		if scope != nil && (warning == oauth.InvalidScope || !json.Valid(raw)) || scope == nil && warning == oauth.ScopeList {
			t.Errorf("%q: %v with %q", raw, scope, warning)
		}
		again, _ := oauth.ReadScope(raw)
		if diff := cmp.Diff(scope, again); diff != "" {
			t.Error(diff)
		}
		if scope == nil {
			return
		}
		// As one text it is read to the same.
		text, err := json.Marshal(*scope)
		if back, _ := oauth.ReadScope(text); err != nil || back == nil || *back != *scope {
			t.Errorf("%q does not come back: %v", *scope, err)
		}
	})
}

func checkFuzzedScope(t *testing.T, scope *string) {
	t.Helper()
	if scope == nil {
		return
	}
	if len(*scope) > 16<<10 || !regexp.MustCompile(`^[\x20\x21\x23-\x5B\x5D-\x7E]*$`).MatchString(*scope) {
		t.Errorf("scopes %q", *scope)
	}
}

// FuzzLifetime shows that no number is taken for more, or less, than it is, and that none is too large.
func FuzzLifetime(f *testing.F) {
	for _, raw := range []string{`3600`, `"3600"`, `3.6e3`, `-1`, `-0`, `1e999`, `"Infinity"`, `"0x10"`, `null`, `[]`, `"\u0031"`, `0.999`, `315360001`} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		lifetime, warning := oauth.ReadLifetime(raw)
		checkFuzzedLifetime(t, lifetime)
		unusable := warning == oauth.InvalidExpiresIn || warning == oauth.ZeroExpiresIn || len(raw) == 0
		if (lifetime == nil) != unusable || lifetime != nil && (*lifetime == 0) != (warning == oauth.NegativeExpiresIn) {
			t.Errorf("%q: %v with %q", raw, lifetime, warning)
		}
		if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil && n > 0 && n <= 315360000 && raw[0] != '0' && raw[0] != '+' &&
			(lifetime == nil || *lifetime != time.Duration(n)*time.Second) {
			t.Errorf("%q: %v", raw, lifetime)
		}
	})
}

func checkFuzzedLifetime(t *testing.T, lifetime *time.Duration) {
	t.Helper()
	if l := lifetime; l != nil && (*l < 0 || *l > 3650*24*time.Hour || *l%time.Second != 0) {
		t.Errorf("lifetime %v", *l)
	}
}

// FuzzEndpoint shows that an endpoint has one origin or none, and that only hosts that are named may receive a secret: no
// spelling of an endpoint or of the annotation passes another host off for one that is.
func FuzzEndpoint(f *testing.F) {
	for _, endpoint := range []string{
		"https://API.example.com/a?b", "https://api.example.com:0443", "http://127.0.0.1/x", "HTTPS://[0:0:0::1]:8443/", "https://u:p@a/", "https://a/#f",
		"https://a:99999/", "https://a:/", "https://ä.example/", "https://[fe80::1%25eth0]/", "https:a.example", `https://a\@b/`, "https://[::ffff:1.2.3.4]/",
		"https://0x7f.1/", "https://2130706433/", "https://a..b/", "https://[a.b]/", "https://a%2eb/", "//a", "https://a\tb/", "https://a b/",
	} {
		for _, hosts := range []string{"api.example.com", "*", "a, b:80", "[::1]:8443", "u:p@a", "a/b", "https://a", ""} {
			f.Add(endpoint, hosts)
		}
	}
	shape := regexp.MustCompile(`^https?://([a-z0-9._-]+|\[[0-9a-f:.]+\]):([1-9]\d{0,4})$`)
	f.Fuzz(func(t *testing.T, endpoint, annotation string) {
		hosts := strings.FieldsFunc(annotation, func(c rune) bool { return c == ',' || c == ' ' })
		allowed := oauth.HostsAllowed(endpoint, hosts)
		origin, err := oauth.Origin(endpoint)
		if err != nil {
			if allowed || origin != "" || strings.Contains(err.Error(), endpoint) && len(endpoint) > 8 {
				t.Errorf("%q: no endpoint, and yet %t, %q, %v", endpoint, allowed, origin, err)
			}
			return
		}
		checkFuzzedOrigin(t, endpoint, origin, shape)
		checkFuzzedHosts(t, endpoint, origin, hosts, allowed)
	})
}

// checkFuzzedOrigin: an origin has one spelling.
func checkFuzzedOrigin(t *testing.T, endpoint, origin string, shape *regexp.Regexp) {
	t.Helper()
	if !shape.MatchString(origin) {
		t.Errorf("%q has the origin %q", endpoint, origin)
	}
	if again, err := oauth.Origin(origin); err != nil || again != origin {
		t.Errorf("the origin %q has the origin %q, %v", origin, again, err)
	}
}

// checkFuzzedHosts: an endpoint is allowed where its own host and port are named, and nowhere else.
func checkFuzzedHosts(t *testing.T, endpoint, origin string, hosts []string, allowed bool) {
	t.Helper()
	_, place, _ := strings.Cut(origin, "://")
	if oauth.HostsAllowed(endpoint, nil) || !oauth.HostsAllowed(endpoint, []string{place}) || oauth.HostsAllowed(endpoint, []string{"x" + place, place + "0"}) {
		t.Errorf("%q is allowed by other than %q", endpoint, place)
	}
	named := slices.ContainsFunc(hosts, func(entry string) bool {
		meant, err := oauth.Origin("https://" + strings.TrimSpace(entry)) // what is pasted may end in a line break
		return err == nil && meant == "https://"+place
	})
	if allowed && !named {
		t.Errorf("%q is allowed by %q", endpoint, hosts)
	}
}

// FuzzRoots shows that a bundle is read whole or refused, and never quoted.
func FuzzRoots(f *testing.F) {
	sound := authorityFor(f).pem()
	for _, bundle := range [][]byte{sound, sound[:len(sound)/2], append(slices.Clone(sound), sound...), {}, []byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")} {
		f.Add(bundle)
	}
	f.Fuzz(func(t *testing.T, bundle []byte) {
		client, err := oauth.NewClient(oauth.Options{Clock: clocktesting.NewFakePassiveClock(start()), RootCAs: bundle})
		if (client == nil) != (err != nil) {
			t.Fatalf("%v and a client: %t", err, client != nil)
		}
		if err != nil && !regexp.MustCompile(`^oauth client: the CA bundle holds [a-zA-Z ]+$`).MatchString(err.Error()) {
			t.Errorf("%q", err)
		}
		if err == nil && bundle != nil && !bytes.Contains(bundle, []byte("BEGIN CERTIFICATE")) {
			t.Error("roots were found where there is no certificate")
		}
	})
}
