package oauth_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// statusRows are H16 to H18, H20, H21 and H30: form and status of an answer.
func statusRows() (rows []row) {
	const page = "is a page"
	for _, contentType := range []string{"text/html", "text/plain; charset=UTF-8", "application/x-www-form-urlencoded", "", ";;;", "application/octet-stream", `application/json; charset="utf-8"`, "text/html; charset=utf8", "multipart/form-data"} {
		rows = append(rows, taken("H17", fmt.Sprintf("JSON called %q", contentType), testToken, testRefreshToken, replies(withType(contentType, rotatedBody))))
	}
	for _, contentType := range []string{"application/json; charset=utf-16", `application/json; charset="ISO-8859-1"`, "application/json; charset=utf-8; charset=utf-16", "text/html; charset=windows-1252", "application/json; charset=utf-7", "application/json; charset="} {
		rows = append(rows, rescued("H18", fmt.Sprintf("JSON called %q", contentType), replies(withType(contentType, rotatedBody))).saying("charset"))
	}
	for _, status := range []int{400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 418, 422, 423, 424, 428, 431, 444, 451, 499} {
		class := oauth.RequestRejected
		if status == 401 {
			class = oauth.ClientRejected
		}
		rows = append(rows,
			refused("H30", fmt.Sprintf("%d that looks like success", status), class, class, replies(withStatus(status, rotatedBody))),
			refused("H16", fmt.Sprintf("%d with a page", status), class, class, replies(answer(status, "text/html", "<html>"+rotatedBody))),
		)
	}
	for _, status := range []int{500, 501, 502, 503, 504, 507, 511, 520, 522, 530, 599, 600, 700} {
		rows = append(rows, doubtful("H30", fmt.Sprintf("%d that looks like success", status), replies(withStatus(status, rotatedBody))))
	}
	return append(rows,
		invalid("H16", "login page", replies(withType("text/html", "<html>"+testClientSecret+rotatedBody))).saying(page),
		invalid("H16", "login page called JSON", replies(withType("application/json", "\n<!doctype html>"+rotatedBody))).saying(page),
		invalid("H16", "page in a language that is no markup", replies(withType("text/plain", "Bitte melden Sie sich an: "+testClientSecret))),
		invalid("H18", "body in UTF-16 with its mark", replies(withType("application/json", utf16(rotatedBody, "\xff\xfe")))),
		invalid("H18", "body in UTF-16 without a mark", replies(withType("application/json", utf16(rotatedBody, "")))),
		invalid("H18", "body in UTF-16, said so", replies(withType("application/json; charset=utf-16le", utf16(rotatedBody, "")))),
		invalid("H20", "form-encoded body", replies(withType("application/x-www-form-urlencoded", "access_token=a&token_type=Bearer&refresh_token=new&expires_in=3600abc"))),
		invalid("H20", "XML body", replies(withType("application/xml", "<OAuth><access_token>a</access_token></OAuth>"))),
		invalid("H21", "204", replies(raw("HTTP/1.1 204 No Content\r\n\r\n"))).saying("empty"),
		invalid("H21", "205", replies(withStatus(205, ""))).saying("empty"),
		invalid("H21", "empty 200", says("")).saying("empty"),
		invalid("H21", "200 of spaces", says(" \r\n\t")).saying("empty"),
		invalid("H21", "200 of a byte order mark", says("\xef\xbb\xbf")).saying("empty"),
		invalid("H21", "empty object", says("{}")).saying("no access_token"),
	)
}

func utf16(text, mark string) string {
	for _, c := range text {
		mark += string(c) + "\x00"
	}
	return mark
}

// bodyRows are H19, H22, H24, H25 and H28: JSON that is not what it should be.
func bodyRows() (rows []row) {
	deep := func(n int, end string) string {
		return `{"x":` + strings.Repeat("[", n) + strings.Repeat(end, n) + `,"refresh_token":"new"}`
	}
	for _, bad := range []string{"1", "true", `{"value":"a"}`, `["a"]`, "null", `""`, "1.5", `[]`} {
		rows = append(rows, salvaged("H25", "access token "+bad, answering(`"token_type":"Bearer","access_token":`+bad)))
		if bad == "null" {
			continue
		}
		rows = append(rows,
			each("H25", "refresh token "+bad, succeeds(1, newAccess("a")), fails(oauth.OutcomeUnknown, 1, unchanged()), says(`{"access_token":"a","refresh_token":`+bad+`}`)),
			each("H25", "refresh token "+bad+", and no access token", fails(oauth.InvalidResponse, 1, unchanged()), fails(oauth.OutcomeUnknown, 1, unchanged()), says(`{"refresh_token":`+bad+`}`)),
		)
	}
	for _, surplus := range []string{"x", "\x00", "}", "<!-- served in 3 ms -->", "\n\nWarning: testing", ",", "null", "\xff", `"a"`, "[]", "\xef\xbb\xbf"} {
		rows = append(rows, rescued("H22", fmt.Sprintf("JSON, then %q", surplus), says(rotatedBody+surplus)).saying("follows"))
	}
	for name, body := range map[string]string{
		"two objects": rotatedBody + rotatedBody, "two objects, the second one empty": rotatedBody + "{}", "two objects, a line each": rotatedBody + "\n" + rotatedBody,
		"another object in a comment": rotatedBody + `<!-- {"refresh_token":"other"} -->`, "a list": "[" + rotatedBody + "]", "null": "null", "a number": "7",
		"a text": `"` + testClientSecret + `"`, "true": "true", "something before it": "x" + rotatedBody, "a guard before it": ")]}',\n" + rotatedBody, "a call around it": "callback(" + rotatedBody + ")",
		"single quotes": `{'access_token':'a','refresh_token':'new'}`, "a comment in it": `{/* x */"access_token":"a"}`, "a comma too many": `{"access_token":"a","refresh_token":"new",}`,
		"no quotes": `{access_token:"a"}`, "without its end": strings.TrimSuffix(rotatedBody, "}"), "without its beginning": strings.TrimPrefix(rotatedBody, "{"),
		"ever deeper": `{"x":` + strings.Repeat("[", 500_000), "deep and closed": deep(20_000, "]"), "deep and closed wrongly": deep(10, "}"),
		"NUL before it": "\x00" + rotatedBody, "a byte order mark twice": "\xef\xbb\xbf\xef\xbb\xbf" + rotatedBody, "control characters between": "{\"access_token\":\x01\"a\"}",
		"a line break within a text": "{\"access_token\":\"a\",\"x\":\"\n\",\"refresh_token\":\"new\"}", "a number that is none": `{"access_token":"a","expires_in":01,"refresh_token":"new"}`,
		"a bare Infinity": `{"access_token":"a","expires_in":Infinity,"refresh_token":"new"}`, "a bare NaN": `{"access_token":"a","expires_in":NaN}`,
		"an escape that is none": `{"access_token":"\x61","refresh_token":"new"}`,
	} {
		rows = append(rows, invalid("H22", name, says(body)))
	}
	return append(rows,
		taken("H22", "byte order mark before it", testToken, testRefreshToken, says("\xef\xbb\xbf"+rotatedBody)),
		taken("H22", "white space around it", testToken, testRefreshToken, says("\r\n\t "+rotatedBody+" \r\n")),
		taken("H22", "a thousand members more", "a", "new", answering(strings.Repeat(`"x":1,`, 1000)+`"access_token":"a"`)),
		taken("H22", "deep members more", "a", "new", answering(`"access_token":"a","x":`+strings.Repeat("[", 900)+strings.Repeat("]", 900))),
		taken("H22", "a long member more", "a", "new", answering(`"access_token":"a","x":"`+strings.Repeat("x", 900_000)+`"`)),
		taken("H22", "a number of a million digits in another member", "a", "new", answering(`"access_token":"a","x":`+strings.Repeat("9", 900_000))),
		salvaged("H19", "invalid UTF-8 in the access token", answering("\"access_token\":\"a\xffb\"")),
		salvaged("H19", "a lone surrogate in the access token", answering(`"access_token":"a\ud800b"`)),
		salvaged("H19", "U+FFFD in the access token", answering(`"access_token":"a\ufffdb"`)),
		salvaged("H19", "a surrogate pair in the access token", answering(`"access_token":"\ud83d\ude00"`)),
		taken("H19", "invalid UTF-8 in another member", "a", "new", answering("\"access_token\":\"a\",\"x\":\"\xff\"")),
		taken("H19", "an escaped letter in the access token", "abc", "new", answering(`"access_token":"a\u0062c"`)),
		salvaged("H24", "only ACCESS_TOKEN", answering(`"ACCESS_TOKEN":"a","Access_Token":"b","accessToken":"c","access-token":"d"`)),
		taken("H24", "ACCESS_TOKEN beside the real one", "real", "new", answering(`"access_token":"real","ACCESS_TOKEN":"a","Access_Token":"b"`)),
		taken("H24", "REFRESH_TOKEN beside the real one", "a", "new", answering(`"access_token":"a","REFRESH_TOKEN":"b","Refresh_Token":7`)),
		taken("H24", "only REFRESH_TOKEN", "a", heldRefreshToken, says(`{"access_token":"a","REFRESH_TOKEN":"b"}`)),
		taken("H24", "ERROR beside tokens", "a", "new", answering(`"access_token":"a","ERROR":"invalid_grant","Error":"x"`)),
		taken("H24", "a name with a K of another script", "a", "new", answering(`"access_token":"a","refresh_to\u212aen":"b"`)),
		invalid("H25", "tokens within another object", says(`{"data":`+rotatedBody+`}`)),
		invalid("H28", "ok:false", says(`{"ok":false,"msg":"`+testClientSecret+`"}`)),
		invalid("H28", "a result by number", says(`{"result":"1001","code":40110}`)),
	)
}

// duplicateRows are H23: which one counts, nobody knows.
func duplicateRows() []row {
	otherwise := strings.Repeat(`"x":1,`, 200)
	doubt := func(behaviour, members string) row {
		return each("H23", behaviour, fails(oauth.InvalidResponse, 1, unchanged()), fails(oauth.OutcomeUnknown, 1, unchanged()), answering(members))
	}
	return []row{
		salvaged("H23", "access_token twice", answering(`"access_token":"a","access_token":"b"`)).saying("twice"),
		salvaged("H23", "the same access_token twice", answering(`"access_token":"a","access_token":"a"`)),
		salvaged("H23", "access_token twice, once escaped", answering(`"access_token":"a","access\u005ftoken":"b"`)),
		salvaged("H23", "access_token, then null", answering(`"access_token":"a","access_token":null`)),
		salvaged("H23", "access_token twice, behind 200 others", answering(otherwise+`"y":{`+otherwise+`"z":1},"access_token":"a","access_token":"b"`)),
		salvaged("H23", "token_type twice", answering(`"access_token":"a","token_type":"Bearer","token_type":"Bearer"`)),
		salvaged("H23", "expires_in twice", answering(`"access_token":"a","expires_in":1,"expires_in":2`)),
		salvaged("H23", "scope twice, behind 200 others", answering(otherwise+`"access_token":"a","scope":"a","scope":"b"`)),
		taken("H23", "an unknown member twice", "a", "new", answering(`"access_token":"a","x":1,"x":2,"y":{"access_token":1,"access_token":2,"refresh_token":1,"refresh_token":2}`)),
		taken("H23", "error_description twice", "a", "new", answering(`"access_token":"a","error_description":"1","error_description":"2"`)),
		doubt("two refresh tokens", `"access_token":"a","refresh_token":"other"`),
		doubt("the same refresh token twice", `"access_token":"a","refresh_token":"new"`),
		doubt("a refresh token, then null", `"access_token":"a","refresh_token":null`),
		doubt("two refresh tokens, one escaped", `"access_token":"a","refresh\u005ftoken":"other"`),
		doubt("two refresh tokens, no access token", `"refresh_token":"other"`),
		doubt("both tokens twice", `"access_token":"a","access_token":"b","refresh_token":"other"`),
		each("H23", "two refresh tokens, packed", fails(oauth.InvalidResponse, 1, unchanged()), fails(oauth.OutcomeUnknown, 1, unchanged()), replies(packed(200, gzipOf(`{"access_token":"a","refresh_token":"1","refresh_token":"2"}`)))),
		each("H23", "two refresh tokens, in a charset", fails(oauth.InvalidResponse, 1, unchanged()), fails(oauth.OutcomeUnknown, 1, unchanged()), replies(withType("a/b; charset=x", `{"access_token":"a","refresh_token":"1","refresh_token":"2"}`))),
		invalid("H23", "error twice", answering(`"access_token":"a","error":"invalid_grant","error":null`)),
		invalid("H23", "access_token twice beside an error", answering(`"access_token":"a","access_token":"b","error":"invalid_grant"`)),
		refused("H23", "invalid_grant twice, with 400", oauth.RequestRejected, oauth.RequestRejected, replies(withStatus(400, `{"error":"invalid_grant","error":"invalid_client"}`))),
	}
}

// errorRows are H26, H27, H29, H51, H59 and H86: what a server says of errors, and what it repeats.
func errorRows() []row {
	no := func(id, behaviour string, credentials, refresh oauth.Class, status int, body string) row {
		return refused(id, behaviour, credentials, refresh, replies(withStatus(status, body)))
	}
	const asked, mine, spent = oauth.RequestRejected, oauth.ClientRejected, oauth.RefreshTokenRejected
	rows := []row{
		no("H26", "invalid_grant beside tokens", mine, spent, 200, `{"refresh_token":"new","access_token":"a","error":"invalid_grant"}`),
		no("H26", "invalid_client beside a bad token", mine, mine, 200, `{"refresh_token":"new","access_token":7,"error":"invalid_client"}`),
		invalid("H26", "an unregistered error beside tokens", answering(`"access_token":"a","error":"`+testClientSecret+`"`)),
		invalid("H26", "an empty error beside tokens", answering(`"access_token":"a","error":""`)),
		taken("H26", "a null error beside tokens", "a", "new", answering(`"access_token":"a","error":null`)),
		invalid("H27", "error object beside tokens", answering(`"access_token":"a","error":{"code":400,"message":"`+testClientSecret+`"}`)),
		invalid("H27", "error object", says(`{"error":{"code":400,"message":"`+testClientSecret+`"}}`)),
		no("H27", "error object with 400", asked, asked, 400, `{"error":{"code":400,"message":"`+testClientSecret+`"}}`),
		no("H27", "error object with 401", mine, mine, 401, `{"error":{"code":401}}`),
		invalid("H27", "list of errors", says(`{"errors":["`+testClientSecret+`"]}`)),
		no("H27", "list of errors with 400", asked, asked, 400, `{"errors":[{"error":"invalid_grant"}]}`),
		no("H27", "a list as error", asked, asked, 400, `{"error":["invalid_grant"]}`),
		no("H27", "a number as error", asked, asked, 400, `{"error":1}`),
		no("H27", "invalid_grant in other letters", asked, asked, 400, `{"error":"Invalid_Grant"}`),
		no("H27", "invalid_grant and a space", asked, asked, 400, `{"error":"invalid_grant "}`),
		no("H27", "invalid_grant in a page", asked, asked, 400, `<p>{"error":"invalid_grant"}`),
		no("H27", "invalid_grant, form-encoded", asked, asked, 400, `error=invalid_grant`),
		no("H27", "invalid_grant, and something behind it", asked, asked, 400, `{"error":"invalid_grant"}x`),
		no("H29", "bad_refresh_token with 200", mine, spent, 200, `{"error":"bad_refresh_token"}`),
		no("H29", "invalid_grant with 200", mine, spent, 200, `{"error":"invalid_grant"}`),
		no("H29", "invalid_grant with 400", mine, spent, 400, `{"error":"invalid_grant"}`),
		no("H29", "invalid_grant with 500", mine, spent, 500, `{"error":"invalid_grant"}`),
		no("H29", "invalid_client with 401", mine, mine, 401, `{"error":"invalid_client"}`),
		no("H29", "temporarily_unavailable with 400", oauth.OutcomeUnknown, oauth.OutcomeUnknown, 400, `{"error":"temporarily_unavailable"}`),
		no("H51", "already being processed", mine, oauth.OutcomeUnknown, 400, inProcess),
		no("H51", "already being processed, with 200", mine, oauth.OutcomeUnknown, 200, inProcess),
		no("H51", "the same text with invalid_client", mine, mine, 401, strings.Replace(inProcess, "grant", "client", 1)),
		no("H51", "another text with invalid_grant", mine, spent, 400, `{"error":"invalid_grant","error_description":"already processed"}`),
		no("H51", "the text in another field", mine, spent, 400, `{"error":"invalid_grant","Error_Description":"already being processed"}`),
		no("H51", "a description that is no text", mine, spent, 400, `{"error":"invalid_grant","error_description":["already being processed"]}`),
		no("H59", "refresh too early, as invalid_request", asked, asked, 400, `{"error":"invalid_request","error_description":"Rate limit exceeded: access_token not expired"}`),
		no("H59", "refresh too early, as a code of its own", asked, asked, 400, `{"error":"token_not_expired"}`),
		no("H59", "refresh too early, without a code", mine, mine, 401, `{"message":"access_token not expired"}`),
		refused("H86", "the request as description", mine, spent, replies(echoed("invalid_grant"))),
		refused("H86", "the request as error", asked, asked, replies(echoed(""))),
		refused("H86", "the request as a page", asked, asked, replies(func(conn net.Conn, seen request) bool {
			return answer(403, "text/html", "<pre>"+seen.body+"</pre>")(conn, seen)
		})),
		refused("H86", "the request in headers", mine, mine, replies(func(conn net.Conn, seen request) bool {
			return answer(401, "text/html", "", "WWW-Authenticate: "+seen.body, "X-Echo: "+seen.header.Get("Authorization"))(conn, seen)
		})),
		doubtful("H86", "the request in place of an answer", replies(func(conn net.Conn, seen request) bool {
			_, _ = io.WriteString(conn, seen.body+"\r\n\r\n")
			return false
		})),
		salvaged("H86", "the request as token type", replies(func(conn net.Conn, seen request) bool {
			return rotated(fmt.Sprintf(`"access_token":"a","token_type":%q`, seen.body))(conn, seen)
		})),
	}
	for form, text := range encodings(testClientSecret) {
		rows = append(rows,
			no("H86", "the secret as error, "+form, asked, asked, 400, fmt.Sprintf(`{"error":%q,"error_description":%q,"error_uri":%q}`, text, text, text)),
			doubtful("H86", "the secret in the status line, "+form, replies(raw("HTTP/1.1 "+text+"\r\n\r\n"))),
		)
	}
	return rows
}

// throttleRows are H54 and H55: a server that asks to wait.
func throttleRows() (rows []row) {
	wait := func(behaviour string, wait time.Duration, body string, headers ...string) {
		rows = append(rows, refused("H54", "429, "+behaviour, oauth.Throttled, oauth.Throttled, replies(withStatus(429, body, headers...))).waiting(wait))
	}
	for value, want := range map[string]time.Duration{
		"120": 2 * time.Minute, "-1": time.Second, "0": time.Second, "1000000000": time.Hour, "99999999999999999999": time.Hour, "soon": time.Minute, "": time.Minute,
		"1.5": 1500 * time.Millisecond, "NaN": time.Minute, "1e9": time.Hour, "120, 240": time.Minute, "120 seconds": time.Minute, "PT2M": time.Minute,
		"Mon, 02 Jan 2006 15:04:05 GMT": time.Second, "Fri, 31 Dec 9999 23:59:59 GMT": time.Hour, "Monday, 02-Jan-06 15:04:05 GMT": time.Second,
		"Mon Jan  2 15:04:05 2006": time.Second, "2006-01-02T15:04:05Z": time.Minute, "\xff\xfe": time.Minute,
	} {
		wait(fmt.Sprintf("Retry-After %q", value), want, "", "Retry-After: "+value)
	}
	wait("no Retry-After", time.Minute, "")
	wait("with tokens", 2*time.Minute, rotatedBody, "Retry-After: 120")
	wait("with invalid_grant", 2*time.Minute, `{"error":"invalid_grant"}`, "Retry-After: 120")
	wait("two of them", 2*time.Minute, "", "Retry-After: 120", "Retry-After: 7")
	wait("with a page", time.Minute, "<html>"+testClientSecret)
	return slices.Concat(rows, []row{
		refused("H54", "slow_down with 400", oauth.Throttled, oauth.Throttled, replies(withStatus(400, `{"error":"slow_down"}`))).waiting(time.Minute),
		refused("H54", "503 with Retry-After", oauth.Throttled, oauth.OutcomeUnknown, replies(withStatus(503, "", "Retry-After: 120"))).waiting(2 * time.Minute),
		refused("H54", "503 with a date long past", oauth.Throttled, oauth.OutcomeUnknown, replies(withStatus(503, "", "Retry-After: Mon, 02 Jan 2006 15:04:05 GMT"))).waiting(time.Second),
		doubtful("H55", "503", replies(withStatus(503, ""))),
		doubtful("H55", "503 with a page", replies(answer(503, "text/html", "<html>"+testClientSecret))),
		doubtful("H55", "500 with Retry-After", replies(withStatus(500, "", "Retry-After: 120"))),
	})
}
