package projection_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/projection"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// FuzzATextIsMadeOrRefused wants of any text that it is refused with a reason, or made within the limits, and of any token
// that it comes back out of each format as it went in.
func FuzzATextIsMadeOrRefused(f *testing.F) {
	for _, text := range []string{
		"", "$", "$$", "$(", "$()", "$(access_token)", "$$(access_token)", "$$$(access_token.sh)", "'$(other.sh)'", `"$(other.json)"`,
		"$(other.base64)", "$(text)", "$(access_token.url)$(", `"\"$(scope.json)"`, "\x00$(headers)\xff",
	} {
		f.Add(text, "user:$(access_token)", hostile())
	}
	f.Fuzz(func(t *testing.T, text, other, token string) {
		if len(text) > 4096 || len(other) > 4096 || len(token) > projection.MaxTokenBytes {
			t.Skip("the schema and the provider's reply are bounded")
		}
		token = visible(token)
		spec := v1alpha1.TokenSecret{Data: map[string]v1alpha1.SecretText{
			"text": v1alpha1.SecretText(text), "other": v1alpha1.SecretText(other),
			"json": `"$(access_token.json)"`, "base64": "$(access_token.base64)", "url": "$(access_token.url)", "sh": "'$(access_token.sh)'",
		}}
		layout, fault := projection.New(spec)
		if fault != nil {
			if fault.Reason == "" || fault.Message == "" {
				t.Error("it is refused without a reason")
			}
			return
		}
		content := layout.Content(projection.Source{AccessToken: secret.New(token)})
		if size(content) > 512<<10 {
			t.Errorf("the Secret has %d bytes", size(content))
		}
		if !strings.Contains(text, "$") && string(content["text"]) != text {
			t.Errorf("a text without references is changed: %q", content["text"])
		}
		for format, back := range readBack(content) {
			if back != token {
				t.Errorf("%s: %q comes back as %q", format, token, back)
			}
		}
	})
}

// visible leaves of a text what a token can consist of.
func visible(text string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x21 || c > 0x7E {
			return -1
		}
		return c
	}, text)
}

// readBack reads the token out of each format, by other means than those that wrote it.
func readBack(content map[string][]byte) map[string]string {
	var fromJSON string
	_ = json.Unmarshal(content["json"], &fromJSON)
	fromBase64, _ := base64.StdEncoding.DecodeString(string(content["base64"]))
	fromURL, _ := url.PathUnescape(string(content["url"]))
	return map[string]string{"json": fromJSON, "base64": string(fromBase64), "url": fromURL, "sh": word(string(content["sh"]))}
}

// word reads one word as a POSIX shell does that knows single quotes and backslashes.
func word(text string) string {
	var out strings.Builder
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\'':
			quoted = !quoted
		case c == '\\' && !quoted && i+1 < len(text):
			i++
			out.WriteByte(text[i])
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// BenchmarkS19 makes the largest Secrets that are taken, each of one format.
func BenchmarkS19(b *testing.B) {
	for name, text := range map[string]string{
		"raw": strings.Repeat("$(access_token)", 23), "json": strings.Repeat(`"$(access_token.json)"`, 11), "base64": strings.Repeat("$(access_token.base64)", 17),
		"url": strings.Repeat("$(access_token.url)", 7), "sh": strings.Repeat("'$(access_token.sh)'", 9), "nothing": strings.Repeat("$$", 2048),
	} {
		for _, from := range []struct{ name, pattern string }{{"plain", "a"}, {"quotes", "'"}, {"backslashes", `\`}} {
			b.Run(name+"/"+from.name, func(b *testing.B) {
				spec := v1alpha1.TokenSecret{Data: map[string]v1alpha1.SecretText{"text": v1alpha1.SecretText(text)}}
				token := projection.Source{AccessToken: secret.New(strings.Repeat(from.pattern, projection.MaxTokenBytes))}
				b.ReportAllocs()
				for b.Loop() {
					layout, fault := projection.New(spec)
					if fault != nil {
						b.Fatal(fault.Message)
					}
					b.SetBytes(int64(size(layout.Content(token))))
				}
			})
		}
	}
}
