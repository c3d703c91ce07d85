package oauth_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// tokenRows are H32, H33 and H44: how long a token is, and of which type.
func tokenRows() (rows []row) {
	const limit, most = 16 << 10, 64 << 10
	of := func(n int) string { return strings.Repeat("a", n) }
	for _, kind := range []string{`"mac"`, `"DPoP"`, `"N_A"`, `"bot"`, `"jwt-bearer"`, `""`, `"Bearer "`, `" Bearer"`, `"Bearer, DPoP"`, `7`, `["Bearer"]`, `true`, `{}`, `"Bear\u0000er"`, `"ᴮearer"`} {
		rows = append(rows, salvaged("H33", "token_type "+kind, answering(`"access_token":"a","token_type":`+kind)).saying("Bearer"))
	}
	for _, kind := range []string{`"Bearer"`, `"bearer"`, `"BEARER"`, `"bEARER"`, `"\u0042earer"`} {
		rows = append(rows, taken("H33", "token_type "+kind, "a", "new", answering(`"access_token":"a","token_type":`+kind)).having(usable()))
	}
	return append(rows,
		taken("H33", "no token_type", "a", "new", answering(`"access_token":"a"`)).having(usable(oauth.MissingTokenType)),
		taken("H33", "token_type null", "a", "new", answering(`"access_token":"a","token_type":null`)).having(usable(oauth.MissingTokenType)),
		taken("H32", "access token of 8 KiB", of(8<<10), "new", bearing(of(8<<10))).having(usable()),
		taken("H32", "access token of 8 KiB and a byte", of(8<<10+1), "new", bearing(of(8<<10+1))).having(usable(oauth.LongAccessToken)),
		taken("H32", "access token of 16 KiB", of(limit), "new", bearing(of(limit))).having(usable(oauth.LongAccessToken)),
		taken("H32", "access token of 16 KiB, all of it escaped", of(limit), "new", bearing(strings.Repeat(`\u0061`, limit))).having(usable(oauth.LongAccessToken)),
		salvaged("H32", "access token of 16 KiB and a byte", bearing(of(limit+1))).saying("16 KiB"),
		salvaged("H32", "access token of 300 kB", bearing(of(300_000))).saying("16 KiB"),
		doubtful("H32", "access token of 1 MiB", bearing(of(1<<20))).saying("1 MiB"),
		taken("H32", "refresh token of 64 KiB", "a", of(most), says(`{"access_token":"a","refresh_token":"`+of(most)+`"}`)),
		each("H32", "refresh token of 64 KiB and a byte", succeeds(1, newAccess("a")), fails(oauth.OutcomeUnknown, 1, unchanged()), says(`{"access_token":"a","refresh_token":"`+of(most+1)+`"}`)),
		taken("H32", "tokens of one byte", "a", "b", says(`{"access_token":"a","refresh_token":"b"}`)),
		taken("H44", "an id_token is ignored", "a", "new", answering(`"access_token":"a","token_type":"Bearer","id_token":"x.y.z"`)).having(usable()),
		taken("H44", "an id_token that is no text", "a", "new", answering(`"access_token":"a","token_type":"Bearer","id_token":{}`)).having(usable()),
	)
}

// bearing is an answer with the refresh token "new" and this access token.
func bearing(token string) scene {
	return answering(`"access_token":"` + token + `","token_type":"Bearer"`)
}

// byteRows are H31: every character that no token may hold, in each of the tokens.
func byteRows() (rows []row) {
	bad := func(name, text string) {
		rows = append(rows,
			salvaged("H31", "access token with "+name, bearing(text)),
			each("H31", "refresh token with "+name, succeeds(1, newAccess("a")), fails(oauth.OutcomeUnknown, 1, unchanged()), says(`{"access_token":"a","refresh_token":"`+text+`"}`)),
		)
	}
	for _, c := range badBytes() {
		bad(fmt.Sprintf("U+%04X", c), fmt.Sprintf(`a\u%04xb`, c))
		if c >= 0x80 || c == ' ' || c == 0x7f {
			bad(fmt.Sprintf("the byte %#02x", c), "a"+string([]byte{c})+"b")
			continue
		}
		// JSON does not allow these in a text, so that the answer is none.
		rows = append(rows, invalid("H31", fmt.Sprintf("the byte %#02x", c), says("{\"access_token\":\"a"+string(rune(c))+"b\",\"refresh_token\":\"new\"}")))
	}
	for name, text := range map[string]string{
		"a header behind it": `a\r\nX-Evil: 1`, "a space before it": " a", "a space behind it": "a ", "spaces alone": "  ", "a line separator": `a\u2028b`, "a zero-width space": `a\u200bb`,
		"an accent": "é", "full width": "ａ", "a lone surrogate": `a\ud800b`, "a backslash and n that is one": `a\nb`, "a byte order mark": `\ufeffa`,
	} {
		bad(name, text)
	}
	for name, text := range map[string]string{"every character": everyCharacter(), "quotes": `\"'`, "a backslash": `\\`, "a slash that is escaped": `\/`, "markup": "<script>", "a shell's words": "$(id);`id`", "a template's": "{{.}}%s%n"} {
		plain := strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\/`, `/`).Replace(text)
		rows = append(rows, taken("H31", "tokens with "+name, plain, plain, says(`{"access_token":"`+text+`","refresh_token":"`+text+`"}`)))
	}
	return rows
}

// badBytes are those of which no token is made.
func badBytes() (bad []byte) {
	for c := byte(0); ; c++ {
		if c <= ' ' || c > '~' {
			bad = append(bad, c)
		}
		if c == 0xff {
			return bad
		}
	}
}

// everyCharacter is what a token may hold, as JSON writes it.
func everyCharacter() string {
	var b strings.Builder
	for c := '!'; c <= '~'; c++ {
		if c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// lifetimeRows are H34 to H40: a number never costs the token that it came with.
func lifetimeRows() (rows []row) {
	const decade = 3650 * 24 * time.Hour
	for _, group := range []struct {
		id     string
		values []string
		check  func(*testing.T, oauth.Answer)
	}{
		{"H34", []string{`3600`, `"3600"`, `3600.0`, `3600.5`, `3.6e3`, `"3600.9"`, `36e2`, `36E+2`, `360000e-2`, `3600.000000000000000000000000001`, `"\u0033600"`}, lives(time.Hour)},
		{"H35", []string{`-1`, `-1e12`, `"-1"`, `-0.5`, `-1e999`, `-9223372036854775808`, `-9223372036854775809`}, lives(0, oauth.NegativeExpiresIn)},
		{"H36", []string{`0`, `"0"`, `0.0`, `-0`, `0.9`, `1e-999`, `0e9`}, livesUnknown(oauth.ZeroExpiresIn)},
		{"H37", []string{`1e12`, `1e30`, `"Infinity"`, `9223372036854775808`, `9223372036854775807`, `18446744073709551616`, `9223372037`, `1e999`, strings.Repeat("9", 400), `315360001`}, lives(decade, oauth.ClampedExpiresIn)},
		{"H37", []string{`315360000`, `3.1536e8`}, lives(decade)},
		{"H38", []string{`null`, `""`, `true`, `[]`, `{}`, `[3600]`, `{"seconds":3600}`, `"never"`, `"0x10"`, `"NaN"`, `"inf"`, `"-Infinity"`, `"3600 "`, `" 3600"`, `"+3600"`, `"1_000"`, `"true"`, `"3600abc"`, `"1,5"`, `"01"`, `".5"`, `"5."`, `"٣"`, `"2026-01-01T00:00:00Z"`}, livesUnknown(oauth.InvalidExpiresIn)},
		{"H39", []string{`1`, `1.9`}, lives(time.Second)},
		{"H39", []string{`5`}, lives(5 * time.Second)},
		{"H40", []string{`3600000`}, lives(3600000 * time.Second)}, // milliseconds: no client can say so yet
	} {
		for _, value := range group.values {
			rows = append(rows, taken(group.id, "expires_in "+value[:min(len(value), 60)], "a", "new", answering(`"access_token":"a","token_type":"Bearer","expires_in":`+value)).having(group.check))
		}
	}
	return append(rows,
		taken("H38", "no expires_in", "a", "new", answering(`"access_token":"a","token_type":"Bearer","expires":3600,"expires_at":1`)).having(livesUnknown()),
	)
}

// scopeRows are H41: less may be granted than was asked for, and it must be known what.
func scopeRows() []row {
	scope := func(behaviour, value string, check func(*testing.T, oauth.Answer)) row {
		return taken("H41", behaviour, "a", "new", answering(`"access_token":"a","token_type":"Bearer","scope":`+value)).having(check)
	}
	return []row{
		scope("scope reduced", `"a  b"`, scoped("a", "b")),
		scope("no scope at all", `""`, scoped()),
		scope("scope null", `null`, usable()),
		scope("scope as a list", `["a","b"]`, scoped("a", "b")),
		scope("scope that is a number", `7`, usable(oauth.InvalidScope)),
		scope("scope that is an object", `{}`, usable(oauth.InvalidScope)),
		scope("scope as a list of lists", `[["a"]]`, usable(oauth.InvalidScope)),
		scope("scope with CRLF", `"a\r\nX: 1"`, usable(oauth.InvalidScope)),
		scope("scope with a quote", `"a\"b"`, usable(oauth.InvalidScope)),
		scope("scope with commas", `"a,b"`, scoped("a,b")),
		scope("scope of 17 KiB", `"`+strings.Repeat("a", 17<<10)+`"`, usable(oauth.InvalidScope)),
		scope("ten thousand scopes", `"`+strings.Repeat("a ", 10_000)+`"`, usable(oauth.InvalidScope)),
	}
}

// rotationRows are H45, and H48 and H49 as far as one request goes.
func rotationRows() []row {
	return []row{
		taken("H45", "no refresh token", testToken, heldRefreshToken, says(goodBody)),
		taken("H45", "refresh token null", "a", heldRefreshToken, says(`{"access_token":"a","refresh_token":null}`)),
		taken("H45", "the same refresh token", "a", heldRefreshToken, says(`{"access_token":"a","refresh_token":"`+heldRefreshToken+`"}`)),
		taken("H45", "another refresh token", testToken, testRefreshToken, says(rotatedBody)),
		salvaged("H45", "a refresh token alone", says(`{"refresh_token":"new"}`)).saying("no access_token"),
		invalid("H45", "neither token", says(`{"token_type":"Bearer","expires_in":3600}`)),
		taken("H45", "a refresh token within another object", "a", heldRefreshToken, says(`{"access_token":"a","x":{"refresh_token":"other"}}`)),
	}
}

// configurationRows are H80 and what else cannot be sent as it is configured.
func configurationRows() []row {
	with := func(change func(*oauth.Registration)) scene { return registered(replies(ok(rotatedBody)), change) }
	endpoint := func(change func(string) string) scene {
		return with(func(r *oauth.Registration) { r.TokenEndpoint = change(r.TokenEndpoint) })
	}
	injected := "a\r\nX-Evil: 1\r\n\r\nPOST /token HTTP/1.1\r\n"
	return []row{
		unsent("H80", "colon in the id, raw Basic", with(func(r *oauth.Registration) {
			r.Method, r.BasicEncoding, r.ClientID = oauth.ClientSecretBasic, oauth.BasicRaw, "a:b"
		})).saying("colon"),
		taken("H80", "colon in the id, encoded Basic", testToken, testRefreshToken, with(func(r *oauth.Registration) { r.Method, r.ClientID = oauth.ClientSecretBasic, "a:b" })),
		taken("H80", "colon in the secret, raw Basic", testToken, testRefreshToken, with(func(r *oauth.Registration) {
			r.Method, r.BasicEncoding, r.ClientSecret = oauth.ClientSecretBasic, oauth.BasicRaw, secret.New("a:b")
		})),
		taken("H82", "CRLF in id and secret, Basic", testToken, testRefreshToken, with(func(r *oauth.Registration) {
			r.Method, r.ClientID, r.ClientSecret = oauth.ClientSecretBasic, injected, secret.New(injected)
		})),
		taken("H82", "CRLF in id and secret, raw Basic", testToken, testRefreshToken, with(func(r *oauth.Registration) {
			r.Method, r.BasicEncoding, r.ClientID, r.ClientSecret = oauth.ClientSecretBasic, oauth.BasicRaw, strings.ReplaceAll(injected, ":", ""), secret.New(injected)
		})),
		taken("H82", "CRLF in id and secret, form", testToken, testRefreshToken, with(func(r *oauth.Registration) { r.ClientID, r.ClientSecret = injected, secret.New(injected) })),
		taken("H82", "CRLF in id and secret, JSON", testToken, testRefreshToken, with(func(r *oauth.Registration) {
			r.BodyFormat, r.ClientID, r.ClientSecret = oauth.BodyJSON, injected, secret.New(injected)
		})),
		unsent("H82", "a secret that JSON cannot carry", with(func(r *oauth.Registration) { r.BodyFormat, r.ClientSecret = oauth.BodyJSON, secret.New("\xff") })).saying("UTF-8"),
		unsent("H82", "CRLF in the endpoint", endpoint(func(e string) string { return e + "\r\nX-Evil: 1" })).saying("endpoint"),
		unsent("H82", "a space and a version in the endpoint's host", endpoint(func(e string) string { return strings.Replace(e, "/token", " HTTP/1.1/token", 1) })).saying("endpoint"),
		taken("H82", "CRLF in the endpoint, escaped", testToken, testRefreshToken, endpoint(func(e string) string { return e + "?a=%0d%0aX-Evil:%201" })),
		unsent("H82", "a name and a password in the endpoint", endpoint(func(e string) string { return strings.Replace(e, "//", "//u:"+testClientSecret+"@", 1) })).saying("endpoint"),
		unsent("H82", "a fragment in the endpoint", endpoint(func(e string) string { return e + "#" + testClientSecret })).saying("endpoint"),
		unsent("H82", "no client id", with(func(r *oauth.Registration) { r.ClientID = "" })).saying("client id"),
		unsent("H82", "no client secret", with(func(r *oauth.Registration) { r.ClientSecret = secret.Value{} })).saying("client secret"),
	}
}
