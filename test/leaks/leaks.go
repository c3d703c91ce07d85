// Package leaks searches text for secrets, in whatever form a program may have written them.
//
// It must never decide what is a secret: the caller plants or knows them.
package leaks

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
)

// Finding is a secret that was found, in one of the forms.
type Finding struct {
	// Form is how it was written.
	Form string
	// Around is where, with the secret itself left out.
	Around string
}

// Search looks for a secret in a text: as it is, in base64 at each of three offsets and in both alphabets, in hex, in the
// joined columns of hex dumps, and escaped for URLs and JSON. Secrets should be 12 bytes or longer: shorter ones are found
// by chance.
func Search(text []byte, secret string) []Finding {
	var found []Finding
	for view, content := range map[string][]byte{"": text, "JSON string": unescaped(text)} {
		within := strings.TrimRight(" within a "+view, " ")
		if view == "" {
			within = ""
		}
		for form, needle := range forms(secret) {
			if at := bytes.Index(content, []byte(needle)); at >= 0 {
				found = append(found, Finding{Form: form + within, Around: around(content, at, len(needle))})
			}
		}
		if at := bytes.Index(dumped(content), []byte(secret)); at >= 0 {
			found = append(found, Finding{Form: "hex dump" + within})
		}
	}
	return found
}

// forms are the texts that a plain search finds.
func forms(secret string) map[string]string {
	all := map[string]string{
		"raw": secret, "hex": hex.EncodeToString([]byte(secret)), "upper case hex": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"spaced hex":  strings.TrimSpace(regexp.MustCompile("..").ReplaceAllString(hex.EncodeToString([]byte(secret)), "$0 ")),
		"URL-escaped": url.QueryEscape(secret), "path-escaped": url.PathEscape(secret),
	}
	if encoded, err := json.Marshal(secret); err == nil {
		all["JSON-escaped"] = strings.Trim(string(encoded), `"`)
	}
	for offset := range 3 {
		// The first and the last characters depend on what stands beside the secret, and are left out.
		padded := append(make([]byte, offset), secret...)
		whole := len(padded) / 3 * 3
		first := map[int]int{0: 0, 1: 4, 2: 4}[offset]
		all["base64, offset "+string(rune('0'+offset))] = base64.StdEncoding.EncodeToString(padded[:whole])[first:]
		all["base64url, offset "+string(rune('0'+offset))] = base64.URLEncoding.EncodeToString(padded[:whole])[first:]
	}
	return all
}

// unescaped is the text with the escapes of JSON strings undone as far as they hide something.
func unescaped(text []byte) []byte {
	return []byte(strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\t`, "\t", `\"`, `"`, `\/`, "/", `\u0026`, "&", `\u003c`, "<", `\u003e`, ">").Replace(string(text)))
}

// dumpLine is a line of a hex dump: an offset, sixteen bytes, and the same as text.
var dumpLine = regexp.MustCompile(`(?m)^[^\n]*?\b[0-9a-f]{8} {2}((?:[0-9a-f]{2} +){1,16})`)

// dumped joins the columns of all hex dumps.
func dumped(text []byte) []byte {
	var joined []byte
	for _, line := range dumpLine.FindAllSubmatch(text, -1) {
		decoded, err := hex.DecodeString(strings.Join(strings.Fields(string(line[1])), ""))
		if err == nil {
			joined = append(joined, decoded...)
		}
	}
	return joined
}

func around(text []byte, at, length int) string {
	const context = 60
	before, after := text[max(at-context, 0):at], text[min(at+length, len(text)):min(at+length+context, len(text))]
	return string(before) + "[...]" + string(after)
}
