package oauth_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

const okHead = "HTTP/1.1 200 OK\r\n"

// transportRows are H01 to H04, H06 and H12 to H15: what a server does to a connection.
func transportRows() []row {
	const tooLarge, broken = "larger than 1 MiB", "broke"
	slow := func(kind func(id, behaviour string, s scene) row) func(id, behaviour string, s scene) row {
		return func(id, behaviour string, s scene) row { return kind(id, behaviour, s).shortly() }
	}
	breaking := func(behaviour string, s scene) row { return doubtful("H06", behaviour, s).saying(broken) }
	large := func(id, behaviour string, s scene) row { return doubtful(id, behaviour, s).saying(tooLarge) }
	spaces := strings.Repeat(" ", 1<<16)
	return slices.Concat(
		[]row{
			both("H01", "accepts TCP and never reads", fails(oauth.OutcomeUnknown, 0, unchanged()), bare("http", func(conn *tapped) { <-conn.ended })).shortly(),
			unsent("H01", "accepts TCP and never speaks TLS", bare("https", func(conn *tapped) { drain(conn) })).slowly(),
			unsent("H02", "TLS handshake one byte at a time", bare("https", func(conn *tapped) { dripOn(conn, nil, "\x16\x03\x03\x40\x00") })).slowly(),
		},
		bothWires(slow(doubtful), "H01", "reads the request and never answers", hang),
		bothWires(slow(doubtful), "H02", "headers one byte at a time", drip(okHead+"X: ", "a")),
		bothWires(slow(doubtful), "H02", "status line one byte at a time", drip("", "HTTP/1.1 200 OK")),
		bothWires(slow(doubtful), "H02", "a provisional answer now and then, for ever", drip("", "HTTP/1.1 102 Processing\r\n\r\n")),
		bothWires(slow(doubtful), "H03", "body one byte at a time", drip(okHead+"Content-Length: 99999\r\n\r\n", " ")),
		bothWires(slow(doubtful), "H03", "tokens, then spaces for ever", drip(okHead+"\r\n"+rotatedBody, " ")),
		bothWires(slow(doubtful), "H03", "chunk extension one byte at a time", drip(okHead+"Transfer-Encoding: chunked\r\n\r\n2;", "x")),
		bothWires(slow(doubtful), "H03", "trailer one byte at a time", drip(chunkedTokens()+"0\r\nX: ", "y")),
		bothWires(slow(doubtful), "H03", "invalid_grant, then spaces for ever", drip("HTTP/1.1 400 Bad Request\r\n\r\n"+`{"error":"invalid_grant"}`, " ")),
		bothWires(large, "H04", "declared body of 1 GB", flood(okHead+"Content-Length: 1000000000\r\n\r\n", spaces)),
		bothWires(large, "H04", "endless chunked body", flood(okHead+"Transfer-Encoding: chunked\r\n\r\n", "10000\r\n"+spaces+"\r\n")),
		bothWires(large, "H04", "tokens before endless spaces", flood(okHead+"\r\n"+rotatedBody, spaces)),
		[]row{
			large("H04", "endless refresh token", replies(flood(okHead+"\r\n"+`{"refresh_token":"`, strings.Repeat("r", 1<<16)))),
			taken("H04", "1 MiB and not a byte more", testToken, testRefreshToken, says(rotatedBody+strings.Repeat(" ", 1<<20-len(rotatedBody)))),
			large("H04", "1 MiB and a byte", says(rotatedBody+strings.Repeat(" ", 1<<20-len(rotatedBody)+1))),
			refused("H04", "page of 1 GB with 404", oauth.RequestRejected, oauth.RequestRejected, replies(flood("HTTP/1.1 404 Not Found\r\n\r\n", strings.Repeat("<p>", 1<<14)))),
			refused("H04", "invalid_grant before endless spaces", oauth.RequestRejected, oauth.RequestRejected, replies(flood("HTTP/1.1 400 Bad Request\r\n\r\n"+`{"error":"invalid_grant"}`, spaces))),
			breaking("one header of 10 MB", replies(flood(okHead+"X: ", strings.Repeat("a", 1<<16)))),
			breaking("10,000 header lines", replies(raw(okHead+strings.Repeat("X-Long-Name: value\r\n", 10_000)+"\r\n"))),
			breaking("endless header lines", replies(flood(okHead, strings.Repeat("X: y\r\n", 1000)))),
			breaking("status line of 10 MB", replies(flood("HTTP/1.1 200 ", strings.Repeat("K", 1<<16)))),
			breaking("endless provisional answers", replies(flood("", strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 100)))),
			breaking("endless provisional answers without headers", replies(flood("", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100)))),
			breaking("endless chunk extension", replies(flood(okHead+"Transfer-Encoding: chunked\r\n\r\n2;", strings.Repeat("x", 1<<16)))),
			breaking("a chunk extension on each of endless chunks", replies(flood(okHead+"Transfer-Encoding: chunked\r\n\r\n", strings.Repeat("1;"+strings.Repeat("x", 2000)+"\r\n \r\n", 10)))),
			breaking("endless trailers", replies(flood(chunkedTokens()+"0\r\n", strings.Repeat("X: y\r\n", 1000)))),
		},
		cutRows(),
		[]row{
			unsent("H13", "listener closed", func(t *testing.T) stage {
				t.Helper()
				s := serve(t, ok(goodBody))
				_ = s.listener.Close()
				return stage{endpoint: s.url(), requests: s.awaited}
			}).saying("no connection"),
			refused("H15", "407 page of a proxy", oauth.RequestRejected, oauth.RequestRejected, replies(answer(407, "text/html", "<p>"+testClientSecret, "Proxy-Authenticate: Basic realm=x"))),
			doubtful("H15", "502 page of a gateway", replies(answer(502, "text/html", "<p>"+rotatedBody))),
			doubtful("H15", "504 page of a gateway", replies(answer(504, "text/html", "<p>"))),
		},
	)
}

// cutRows are H12 and H14: the connection ends too early.
func cutRows() (rows []row) {
	for name, bytes := range map[string]string{
		"H12 nothing":                        "",
		"H12 half a status line":             "HTTP/1.1 2",
		"H12 the status line":                okHead,
		"H12 half a header":                  okHead + "Content-Type: a",
		"H12 the headers":                    okHead + "Content-Length: 100\r\n\r\n",
		"H12 a provisional answer":           "HTTP/1.1 100 Continue\r\n\r\n",
		"H14 all tokens of a longer body":    okHead + "Content-Length: 5000\r\n\r\n" + rotatedBody,
		"H14 all but the body's last byte":   fmt.Sprintf(okHead+"Content-Length: %d\r\n\r\n%s", len(rotatedBody), rotatedBody[:len(rotatedBody)-1]),
		"H14 all tokens of more chunks":      chunkedTokens(),
		"H14 half a chunk":                   okHead + "Transfer-Encoding: chunked\r\n\r\nfff\r\n" + rotatedBody,
		"H14 a last chunk without its end":   chunkedTokens() + "0\r\n",
		"H14 half of an error":               "HTTP/1.1 400 Bad\r\nContent-Length: 5000\r\n\r\n" + `{"error":"invalid_grant"}`,
		"H14 half of an error of a client":   "HTTP/1.1 401 Bad\r\nContent-Length: 5000\r\n\r\n" + `{"error":"invalid_client"}`,
		"H14 half of a packed answer":        okHead + "Content-Encoding: gzip\r\nContent-Length: 5000\r\n\r\n" + gzipOf(rotatedBody),
		"H14 half of an answer to slow down": "HTTP/1.1 429 Wait\r\nRetry-After: 60\r\nContent-Length: 5000\r\n\r\n" + `{"error":"slow_down"}`,
	} {
		id, what, _ := strings.Cut(name, " ")
		rows = append(rows, bothWires(doubtful, id, "closes after "+what, raw(bytes))...)
		rows = append(rows, bothWires(doubtful, id, "resets after "+what, resetting(bytes))...)
		rows = append(rows, bothWires(doubtful, id, "closes its side after "+what, halfClosed(bytes))...)
		rows = append(rows, doubtful(id, "breaks TLS off after "+what, repliesTLS(cut(bytes))))
	}
	// Where the end of the connection is the end of the body, a body that is whole is one, and another is not.
	whole := okHead + "\r\n" + rotatedBody
	for how, end := range map[string]func(string) responder{"closes": raw, "closes its side": halfClosed, "breaks TLS off": cut} {
		rows = append(rows,
			taken("H14", how+" after a body without a length", testToken, testRefreshToken, repliesTLS(end(whole))),
			invalid("H14", how+" within a body without a length", repliesTLS(end(whole[:len(whole)-1]))),
			invalid("H14", how+" within the refresh token, without a length", repliesTLS(end(okHead+"\r\n"+`{"access_token":"a","refresh_token":"ne`))),
		)
	}
	return append(rows, doubtful("H14", "resets after a body without a length", replies(func(conn net.Conn, seen request) bool {
		_, _ = io.WriteString(conn, whole[:len(whole)-1])
		return resetting("")(conn, seen)
	})))
}

// encodingRows are H05: bodies that are packed.
func encodingRows() []row {
	const encoded = "encoded"
	twice := gzipOf(gzipOf(rotatedBody))
	return []row{
		doubtful("H05", "gzip bomb", replies(packed(200, gzipOf(rotatedBody+strings.Repeat(" ", 8<<20))))).saying("larger than 1 MiB"),
		refused("H05", "gzip bomb with 400", oauth.RequestRejected, oauth.RequestRejected, replies(packed(400, gzipOf(`{"error":"invalid_grant"}`+strings.Repeat(" ", 8<<20))))),
		taken("H05", "gzip, not asked for", testToken, testRefreshToken, replies(packed(200, gzipOf(rotatedBody)))),
		taken("H05", "gzip in capitals", testToken, testRefreshToken, replies(packed(200, gzipOf(rotatedBody), "GZIP"))),
		taken("H05", "x-gzip", testToken, testRefreshToken, replies(packed(200, gzipOf(rotatedBody), "x-gzip"))),
		taken("H05", "gzip in two members", testToken, testRefreshToken, replies(packed(200, gzipOf(rotatedBody[:20])+gzipOf(rotatedBody[20:])))),
		refused("H05", "invalid_grant in gzip", oauth.ClientRejected, oauth.RefreshTokenRejected, replies(packed(400, gzipOf(`{"error":"invalid_grant"}`)))),
		refused("H05", "in process, in gzip", oauth.ClientRejected, oauth.OutcomeUnknown, replies(packed(400, gzipOf(inProcess)))),
		salvaged("H05", "gzip around an access token that is none", replies(packed(200, gzipOf(`{"access_token":7,"refresh_token":"new"}`)))),
		invalid("H05", "gzip that is cut", replies(packed(200, gzipOf(rotatedBody)[:60]))).saying(encoded),
		invalid("H05", "gzip with a wrong sum", replies(packed(200, gzipOf(rotatedBody)[:len(gzipOf(rotatedBody))-8]+"\x00\x00\x00\x00\x00\x00\x00\x00"))).saying(encoded),
		invalid("H05", "gzip in gzip", replies(packed(200, twice, "gzip, gzip"))).saying(encoded),
		invalid("H05", "gzip in gzip, said once", replies(packed(200, twice))),
		invalid("H05", "gzip that is not said", says(gzipOf(rotatedBody))),
		invalid("H05", "br", replies(packed(200, "\x0b\x02\x80abc\x03", "br"))).saying(encoded),
		invalid("H05", "deflate", replies(packed(200, "x\x9c\xab\xae\x05\x00\x01u\x00\xf9", "deflate"))).saying(encoded),
		invalid("H05", "zstd", replies(packed(200, "\x28\xb5\x2f\xfd\x00", "zstd"))).saying(encoded),
		rescued("H05", "br is said, and is not there", replies(packed(200, rotatedBody, "br"))).saying(encoded),
		rescued("H05", "gzip is said, and is not there", replies(packed(200, rotatedBody))).saying(encoded),
		rescued("H05", "identity and br are said", replies(packed(200, rotatedBody, "identity", "br"))).saying(encoded),
		taken("H05", "identity is said", testToken, testRefreshToken, replies(packed(200, rotatedBody, "identity"))),
	}
}

// rescued is salvaged, out of an answer that is rotatedBody but for what is around it.
func rescued(id, behaviour string, s scene) row {
	return each(id, behaviour, fails(oauth.InvalidResponse, 1, unchanged()), fails(oauth.InvalidResponse, 1, newRefresh(testRefreshToken)), s)
}

// redirectRows are H07 to H09.
func redirectRows() (rows []row) {
	no := func(id, behaviour string, s scene) row {
		return refused(id, behaviour, oauth.RequestRejected, oauth.RequestRejected, s).saying("redirects are not followed")
	}
	to := func(id string, status int, where string, location func(second *server) []string) {
		rows = append(rows, no(id, fmt.Sprintf("%d to %s", status, where), redirecting(status, location)))
	}
	for _, status := range []int{300, 301, 302, 303, 304, 305, 306, 307, 308, 399} {
		id := "H07"
		if status == 307 || status == 308 {
			id = "H08"
		}
		to(id, status, "another server", func(second *server) []string { return []string{"Location: " + second.url()} })
		to(id, status, "itself", func(*server) []string { return []string{"Location: /token"} })
		to(id, status, "nowhere", func(*server) []string { return nil })
	}
	for where, location := range map[string]string{
		"a metadata service": "http://169.254.169.254/latest", "the same in decimal": "http://2852039166/", "http": "http://provider.test/",
		"the same host by https": "https://127.0.0.1/token", "no host": "//", "a script": "javascript:alert(1)", "a file": "file:///etc/passwd",
		"a name with a password": "https://u:" + testClientSecret + "@example.com/", "what is no URL": "http://[::1", "unix": "unix:///run/x.sock",
	} {
		to("H09", 307, where, func(*server) []string { return []string{"Location: " + location} })
	}
	return append(rows,
		no("H07", "302 to two places", redirecting(302, func(second *server) []string { return []string{"Location: /token", "Location: " + second.url()} })),
		no("H08", "307 with another server in every header", redirecting(307, func(second *server) []string {
			return []string{"Location: " + second.url(), "Content-Location: " + second.url(), "Link: <" + second.url() + ">; rel=preload", "Refresh: 0; url=" + second.url(), "Alt-Svc: http/1.1=\":" + second.port() + "\""}
		})),
		taken("H07", "200 with a Refresh and a Location", testToken, testRefreshToken, redirecting(200, func(second *server) []string {
			return []string{"Refresh: 0; url=" + second.url(), "Location: " + second.url()}
		})),
		invalid("H07", "200 with a page that redirects", replies(withType("text/html", `<meta http-equiv="refresh" content="0; url=https://example.com/">`))),
		refused("H07", "redirect with an error code", oauth.RequestRejected, oauth.RequestRejected, replies(withStatus(302, `{"error":"invalid_grant"}`, "Location: /x"))),
	)
}

// connectionRows are what is on no list, of connections.
func connectionRows() []row {
	upgrade := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "
	return []row{
		invalid("X01", "101 and an endless body", replies(drip(upgrade+"x\r\n\r\n", " "))),
		invalid("X01", "101 to websocket, and tokens", replies(raw(upgrade+"websocket\r\n\r\n"+rotatedBody))),
		invalid("X01", "101 to h2c, and a frame of it", replies(raw(upgrade+"h2c\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00"))),
		taken("X01", "200 with Connection: upgrade", testToken, testRefreshToken, replies(withStatus(200, rotatedBody, "Connection: upgrade", "Upgrade: h2c"))),
		refused("X01", "426 Upgrade Required", oauth.RequestRejected, oauth.RequestRejected, replies(withStatus(426, "", "Connection: upgrade", "Upgrade: TLS/1.3"))),
		doubtful("X02", "HTTP/2 frames to an HTTP/1.1 request", replies(raw("\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x00\x00\xff\xff\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"))),
		doubtful("X02", "an SSH server", replies(raw("SSH-2.0-OpenSSH_9.9\r\n"))),
		doubtful("X02", "an SMTP server", replies(raw("220 mail.example ESMTP\r\n500 5.5.1 Command unrecognized\r\n"))),
		doubtful("X02", "an echo server", replies(func(conn net.Conn, seen request) bool {
			_, _ = io.WriteString(conn, seen.method+" "+seen.target+" HTTP/1.1\r\n\r\n"+seen.body)
			return false
		})),
		doubtful("X02", "TLS where http is spoken", replies(raw("\x15\x03\x01\x00\x02\x02\x46"))),
		taken("X03", "a few provisional answers before the answer", testToken, testRefreshToken, replies(raw("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"+httpAnswer(200, "", rotatedBody)))),
		taken("X03", "a second answer behind the answer", testToken, testRefreshToken, replies(raw(httpAnswer(200, "", rotatedBody)+httpAnswer(200, "", `{"access_token":"b","refresh_token":"c"}`)))),
		taken("X03", "a second answer behind the answer, over TLS", testToken, testRefreshToken, repliesTLS(raw(httpAnswer(200, "", rotatedBody)+httpAnswer(200, "", `{"access_token":"b","refresh_token":"c"}`)))),
		rescued("X03", "a second answer behind a body without a length", replies(raw(okHead+"\r\n"+rotatedBody+okHead+"\r\n"))),
		taken("X04", "cookies, challenges and other services", testToken, testRefreshToken, replies(withStatus(200, rotatedBody,
			"Set-Cookie: a="+testClientSecret, "WWW-Authenticate: Negotiate", `Alt-Svc: h3=":443"`, "Strict-Transport-Security: max-age=1", "Clear-Site-Data: *"))),
		refused("X04", "401 with challenges", oauth.ClientRejected, oauth.ClientRejected, replies(withStatus(401, "", "WWW-Authenticate: Basic realm=x", "WWW-Authenticate: Negotiate", "WWW-Authenticate: Digest nonce=x"))),
		refused("X04", "a nonce to try again with", oauth.RequestRejected, oauth.RequestRejected, replies(withStatus(400, `{"error":"use_dpop_nonce"}`, "DPoP-Nonce: x"))),
		refused("X04", "421 Misdirected Request", oauth.RequestRejected, oauth.RequestRejected, replies(withStatus(421, rotatedBody))),
		refused("X04", "425 Too Early", oauth.RequestRejected, oauth.RequestRejected, replies(withStatus(425, rotatedBody))),
		doubtful("X04", "408 Request Timeout", replies(withStatus(408, rotatedBody, "Connection: close"))),
	}
}

// framingRows are what is on no list, of HTTP/1.1.
func framingRows() (rows []row) {
	n := len(rotatedBody)
	body := func(head string) string { return strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + rotatedBody }
	for name, response := range map[string]string{
		"two lengths that differ":             body(fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: %d\nContent-Length: 5", n)),
		"two lengths that differ, in one":     body(fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: %d, 5", n)),
		"a negative length":                   body("HTTP/1.1 200 OK\nContent-Length: -1"),
		"a length with a plus":                body(fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: +%d", n)),
		"a length in hexadecimal":             body("HTTP/1.1 200 OK\nContent-Length: 0x5"),
		"a length beyond all numbers":         body("HTTP/1.1 200 OK\nContent-Length: 99999999999999999999"),
		"a transfer coding that is not known": body("HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked"),
		"two transfer codings":                body("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked"),
		"identity as a transfer coding":       body("HTTP/1.1 200 OK\nTransfer-Encoding: identity"),
		"a chunk size beyond all numbers":     okHead + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + rotatedBody,
		"a chunk size below zero":             okHead + "Transfer-Encoding: chunked\r\n\r\n-1\r\n" + rotatedBody,
		"a chunk longer than it says":         okHead + "Transfer-Encoding: chunked\r\n\r\n5\r\n" + rotatedBody + "\r\n0\r\n\r\n",
		"a header without a name":             body("HTTP/1.1 200 OK\n: c"),
		"a header without a colon":            body("HTTP/1.1 200 OK\nnonsense"),
		"NUL in a header's name":              body("HTTP/1.1 200 OK\nA\x00B: c"),
		"a first header that is folded":       body("HTTP/1.1 200 OK\n folded: c"),
		"no HTTP at all, but the body":        rotatedBody,
		"a status of four digits":             body("HTTP/1.1 2000 OK"),
		"a status of two digits":              body("HTTP/1.1 20 OK"),
		"a status that is no number":          body("HTTP/1.1 2O0 OK"),
		"a status below zero":                 body("HTTP/1.1 -20 OK"),
		"another protocol":                    body("ICY 200 OK"),
		"a protocol in small letters":         body("http/1.1 200 OK"),
		"a version that is none":              body("HTTP/one 200 OK"),
		"a line break before the status":      "\r\n" + body("HTTP/1.1 200 OK"),
	} {
		rows = append(rows, doubtful("X05", name, replies(raw(response))).saying("not HTTP"))
	}
	for name, response := range map[string]string{
		"two lengths that agree":             body(fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: %d\nContent-Length: %d", n, n)),
		"a length that chunks overrule":      strings.Replace(chunkedTokens(), "\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n", 1) + "0\r\n\r\n",
		"a body without a length":            body("HTTP/1.1 200 OK"),
		"a header that is folded":            body("HTTP/1.1 200 OK\nX: a\n b\n\tc"),
		"line breaks without CR":             "HTTP/1.1 200 OK\nX: y\n\n" + rotatedBody,
		"a status without a phrase":          body("HTTP/1.1 200"),
		"a phrase that is not ASCII":         body("HTTP/1.1 200 \xff\xfe" + testClientSecret),
		"HTTP/1.0":                           body("HTTP/1.0 200 OK"),
		"HTTP/2 in the status line":          body("HTTP/2.0 200 OK"),
		"201":                                body("HTTP/1.1 201 Created"),
		"203":                                body("HTTP/1.1 203 Non-Authoritative Information"),
		"299":                                body("HTTP/1.1 299 Whatever"),
		"chunk extensions":                   okHead + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x;a=b;c=\"d\"\r\n%s\r\n0;e\r\n\r\n", n, rotatedBody),
		"trailers that name other things":    chunkedTokens() + "0\r\nContent-Encoding: br\r\nContent-Type: text/html; charset=utf-16\r\nLocation: /x\r\n\r\n",
		"a chunk for each byte":              okHead + "Transfer-Encoding: chunked\r\n\r\n" + chunkEach(rotatedBody) + "0\r\n\r\n",
		"a space before the colon":           body("HTTP/1.1 200 OK\nContent-Encoding : br"),
		"lengths and codings of other names": body("HTTP/1.1 200 OK\nX-Content-Length: 5\nX-Transfer-Encoding: chunked"),
	} {
		rows = append(rows, taken("X06", name, testToken, testRefreshToken, replies(raw(response))))
	}
	return append(rows,
		invalid("X05", "a status of 099", replies(raw(body("HTTP/1.1 099 OK")))),
		doubtful("X05", "a status of 999", replies(raw(body("HTTP/1.1 999 OK")))),
		invalid("X05", "204 with a body", replies(raw(body("HTTP/1.1 204 No Content")))),
	)
}

func chunkEach(text string) string {
	var b strings.Builder
	for _, c := range text {
		b.WriteString("1\r\n" + string(c) + "\r\n")
	}
	return b.String()
}
