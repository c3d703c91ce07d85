package projection_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/projection"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// hostile has every character in it that a token can consist of, those that mean something in front, in the middle and at
// the end, and what a shell would run. That a token consists of 0x21 to 0x7E alone is seen to before it is kept.
func hostile() string {
	var all strings.Builder
	for c := byte(0x21); c <= 0x7E; c++ {
		all.WriteByte(c)
	}
	return `''"\$(touch${IFS}owned)` + "`touch${IFS}owned`;'#" + all.String() + `&&touch${IFS}owned||''"$(access_token)$$(x)\`
}

func source(token string) projection.Source {
	return projection.Source{
		AccessToken: secret.New(token), ExpirationTime: time.Date(2026, 3, 1, 13, 30, 0, 0, time.FixedZone("", 3600)),
		Scopes: []string{"contact", "invoices"}, OnBehalfOf: "acct_8f2", OnBehalfOfHeader: "on-behalf-of",
	}
}

// made is what a Secret holds, if there can be one.
func made(t *testing.T, data map[string]v1alpha1.SecretText, from projection.Source) map[string]string {
	t.Helper()
	layout, fault := projection.New(v1alpha1.TokenSecret{Data: data})
	if fault != nil {
		t.Fatalf("%s: %s", fault.Reason, fault.Message)
	}
	content := map[string]string{}
	for key, value := range layout.Content(from) {
		content[key] = string(value)
	}
	return content
}

func TestTheDefaultKeysAreTheseByteForByte(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		from projection.Source
		want map[string]string
	}{
		"all that is known": {source("t0k&n"), map[string]string{
			"access_token": "t0k&n", "token_type": "Bearer", "expires_at": "2026-03-01T12:30:00Z", "scope": "contact invoices",
			"authorization": "Bearer t0k&n", "headers": "Authorization: Bearer t0k&n\non-behalf-of: acct_8f2\n", "on_behalf_of": "acct_8f2",
		}},
		"the token alone": {projection.Source{AccessToken: secret.New("t"), OnBehalfOfHeader: "on-behalf-of"}, map[string]string{
			"access_token": "t", "token_type": "Bearer", "authorization": "Bearer t", "headers": "Authorization: Bearer t\n",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, made(t, nil, test.from)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatATextBecomes(t *testing.T) {
	t.Parallel()
	const token = `a'"\$(b)` //nolint:gosec // a token of the tests' own
	tests := map[string]struct{ text, want string }{
		"nothing put in":                         {"machine x\n", "machine x\n"},
		"an empty text":                          {"", ""},
		"a value as it is":                       {"<$(access_token)>", `<a'"\$(b)>`},
		"two beside each other":                  {"$(token_type)$(token_type)", "BearerBearer"},
		"for JSON":                               {`"$(access_token.json)"`, `"a'\"\\$(b)"`},
		"a line break for JSON":                  {`"$(headers.json)"`, `"Authorization: Bearer a'\"\\$(b)\non-behalf-of: acct_8f2\n"`},
		"for JSON, behind an escaped quote":      {`"\"$(token_type.json)"`, `"\"Bearer"`},
		"in base64":                              {"$(access_token.base64)", "YSciXCQoYik="},
		"in a URL":                               {"$(access_token.url)", "a%27%22%5C%24%28b%29"},
		"for a shell":                            {"'$(access_token.sh)'", `'a'\''"\$(b)'`},
		"another key":                            {"$(login.base64)", "dXNlcjphJyJcJChiKQ=="},
		"a $ that means nothing":                 {"cost: 5$, $x, ${y}, $", "cost: 5$, $x, ${y}, $"},
		"an escaped reference":                   {"$$(access_token)", "$(access_token)"},
		"an escaped reference that is none":      {"$$(anything at all", "$(anything at all"},
		"a $ before a reference":                 {"$$$(token_type)", "$Bearer"},
		"two $ before what would be a reference": {"$$$$(token_type)", "$$(token_type)"},
		"two $ alone, as Kubernetes has it":      {"a$$b", "a$b"},
		"a text in another alphabet":             {"Schlüssel $(token_type) 鍵", "Schlüssel Bearer 鍵"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := map[string]v1alpha1.SecretText{"text": v1alpha1.SecretText(test.text), "login": "user:$(access_token)"}
			if diff := cmp.Diff(test.want, made(t, data, source(token))["text"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAValueThatIsAbsentIsEmpty(t *testing.T) {
	t.Parallel()
	data := map[string]v1alpha1.SecretText{"text": "<$(expires_at)$(scope)$(on_behalf_of)>"}
	content := made(t, data, projection.Source{AccessToken: secret.New("t")})
	if content["text"] != "<>" {
		t.Errorf("got %q", content["text"])
	}
	if _, is := content["scope"]; is {
		t.Error("a reference makes a key that is not there")
	}
}

// TestWhatCannotBeMadeIsNamed has what the schema refuses too, since a stored account may be older than the schema.
func TestWhatCannotBeMadeIsNamed(t *testing.T) {
	t.Parallel()
	const docker = v1alpha1.SecretTypeDockerConfigJSON
	tests := map[string]struct {
		secret v1alpha1.TokenSecret
		want   string // what the message has in it
	}{
		"a name that there is not":               {data("text", "$(refresh_token)"), "$(refresh_token), and there is no such key"},
		"a client secret":                        {data("text", "$(client_secret)"), "$(client_secret), and there is no such key"},
		"a format that there is not":             {data("text", "$(access_token.html)"), "$( that does not begin a reference"},
		"a reference without an end":             {data("text", "$(access_token"), "$( that does not begin a reference"},
		"a reference to nothing":                 {data("text", "$()"), "$( that does not begin a reference"},
		"a command":                              {data("text", "$(cat /etc/passwd)"), "$( that does not begin a reference"},
		"a reference within another":             {data("text", "$(access_token$(scope))"), "$( that does not begin a reference"},
		"two formats":                            {data("text", "$(access_token.json.base64)"), "$( that does not begin a reference"},
		"a key that has a dot in its name":       {data("a.b", "x", "text", "$(a.b)"), "$( that does not begin a reference"},
		"a key that refers to itself":            {data("text", "$(text)"), "itself has $(text)"},
		"keys that refer to each other":          {data("a", "$(b)", "b", "$(a)"), "itself has"},
		"a chain of keys":                        {data("a", "$(b)", "b", "$(c)", "c", "x"), "which itself has $(c)"},
		"a shell's value without quotes":         {data("text", "T=$(access_token.sh)"), "outside of single quotes"},
		"a shell's value in double quotes":       {data("text", `T="$(access_token.sh)"`), "outside of single quotes"},
		"a shell's value behind the quotes":      {data("text", "T='x'$(access_token.sh)"), "outside of single quotes"},
		"JSON without quotes":                    {data("text", `{"t":$(access_token.json)}`), "outside of double quotes"},
		"JSON behind an escaped quote":           {data("text", `{"a":"\"","t":$(access_token.json)}`), "outside of double quotes"},
		"a default key":                          {data("access_token", "x"), "cannot replace access_token"},
		"a default key that may be absent":       {data("scope", "x"), "cannot replace scope"},
		"a key that cannot be":                   {data("a/b", "x"), "a key that a Secret cannot have"},
		"a key that leads out":                   {data("..a", "x"), "a key that a Secret cannot have"},
		"a key that is a folder":                 {data(".", "x"), "a key that a Secret cannot have"},
		"a key that is too long":                 {data(strings.Repeat("k", 254), "x"), "a key that a Secret cannot have"},
		"a registry's file without its key":      {typed(docker), "needs spec.secret.data[.dockerconfigjson]"},
		"a registry's file that is no JSON":      {typed(docker, ".dockerconfigjson", `{"auths":`), "no JSON object"},
		"a registry's file that is a list":       {typed(docker, ".dockerconfigjson", `[]`), "no JSON object"},
		"a registry's file that a token breaks":  {typed(docker, ".dockerconfigjson", `{"auths":{"r":{"username":"u","password":"$(access_token)"}}}`), "no JSON object"},
		"a registry's file without registries":   {typed(docker, ".dockerconfigjson", `{}`), "no JSON object"},
		"a registry's login without a user":      {typed(docker, ".dockerconfigjson", `{"auths":{"r":{"auth":"$(access_token.base64)"}}}`), "auth of r is not the base64 of user:password"},
		"a registry's login that is not encoded": {typed(docker, ".dockerconfigjson", `{"auths":{"r":{"auth":"$(login.json)"}}}`, "login", "u:$(access_token)"), "auth of r is not the base64"},
		"a user without a password":              {typed(v1alpha1.SecretTypeBasicAuth, "username", "u"), "needs spec.secret.data[username] and [password]"},
		"a password without a user":              {typed(v1alpha1.SecretTypeBasicAuth, "password", "$(access_token)"), "needs spec.secret.data[username] and [password]"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, fault := projection.New(test.secret)
			if fault == nil {
				t.Fatal("it is taken")
			}
			if fault.Reason != v1alpha1.ReasonInvalidSecretData || !strings.Contains(fault.Message, test.want) {
				t.Errorf("%s: %s\nwant %s: ... %s", fault.Reason, fault.Message, v1alpha1.ReasonInvalidSecretData, test.want)
			}
		})
	}
}

func data(keysAndTexts ...string) v1alpha1.TokenSecret {
	return typed(v1alpha1.SecretTypeOpaque, keysAndTexts...)
}

func typed(secretType v1alpha1.SecretType, keysAndTexts ...string) v1alpha1.TokenSecret {
	texts := map[string]v1alpha1.SecretText{}
	for i := 0; i+1 < len(keysAndTexts); i += 2 {
		texts[keysAndTexts[i]] = v1alpha1.SecretText(keysAndTexts[i+1])
	}
	return v1alpha1.TokenSecret{Type: secretType, Data: texts}
}

// worst are credentials that make as much as they can of a reference: the longest there are, of what a format escapes.
func worst() []projection.Source {
	var sources []projection.Source
	for _, pattern := range []string{"a", `'`, `'x`, `'"`, `"`, `\`, `\'`, "%", `''x`} {
		long := func(size int) string { return strings.Repeat(pattern, size/len(pattern)+1)[:size] }
		sources = append(sources, projection.Source{
			AccessToken: secret.New(long(projection.MaxTokenBytes)), ExpirationTime: time.Unix(0, 0),
			Scopes: []string{long(projection.MaxScopeBytes)}, OnBehalfOf: long(projection.MaxOnBehalfOfBytes),
			OnBehalfOfHeader: long(projection.MaxOnBehalfOfBytes),
		})
	}
	return sources
}

func size(content map[string][]byte) int {
	sum := 0
	for key, value := range content {
		sum += len(key) + len(value)
	}
	return sum
}

// bombs are texts of the largest size that the schema allows, made to grow.
func bombs() map[string]v1alpha1.TokenSecret {
	full := func(reference string) string { return strings.Repeat(reference, 4094/len(reference)) }
	all := map[string]v1alpha1.TokenSecret{
		"sixteen keys full of tokens":        {Data: map[string]v1alpha1.SecretText{}},
		"sixteen keys full of a key":         {Data: map[string]v1alpha1.SecretText{"a": v1alpha1.SecretText(full("$(access_token)"))}},
		"sixteen keys full of a key in sh":   {Data: map[string]v1alpha1.SecretText{"a": v1alpha1.SecretText("$(access_token)$(access_token)")}},
		"one key full of tokens for a shell": data("a", "'"+full("$(access_token.sh)")+"'"),
		"one key full of what a URL escapes": data("a", full("$(scope.url)")),
		"quotes put in for a shell":          data("a", strings.Repeat("'", 4096), "b", "'"+full("$(a.sh)")+"'"),
		"control characters put in for JSON": data("a", strings.Repeat("\x01", 4096), "b", `"`+full("$(a.json)")+`"`),
		"characters of four bytes in a URL":  data("a", strings.Repeat("𝄞", 4096), "b", full("$(a.url)")),
	}
	for i := range 16 {
		all["sixteen keys full of tokens"].Data[fmt.Sprintf("k%d", i)] = v1alpha1.SecretText(full("$(access_token)"))
		if i > 0 {
			all["sixteen keys full of a key"].Data[fmt.Sprintf("k%d", i)] = v1alpha1.SecretText(full("$(a)"))
			all["sixteen keys full of a key in sh"].Data[fmt.Sprintf("k%d", i)] = v1alpha1.SecretText("'" + full("$(a.sh)") + "'")
		}
	}
	return all
}

// TestS19NoBombIsMade looks at how many bytes a refusal allocates, so nothing else may run beside it: what refuses a bomb
// must count, and not make it first.
func TestS19NoBombIsMade(t *testing.T) {
	for name, bomb := range bombs() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, fault := projection.New(bomb)
		runtime.ReadMemStats(&after)
		if fault == nil || fault.Reason != v1alpha1.ReasonSecretTooLarge {
			t.Errorf("%s: got %+v", name, fault)
		}
		if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 4<<20 {
			t.Errorf("%s: %d bytes are allocated to refuse it", name, bytes)
		}
	}
}

// TestS37WhatIsTakenFitsWhateverTokenComes adds references until one more is refused, and wants what was taken last to be
// what it was counted to be, at most, with the credentials that make most of it.
func TestS37WhatIsTakenFitsWhateverTokenComes(t *testing.T) {
	t.Parallel()
	const limit = 512 << 10
	tests := map[string]struct {
		reference string
		taken     int // how many are taken, beside what the other keys take
	}{
		"as it is":                      {"$(access_token)", 23},
		"for JSON":                      {`"$(access_token.json)"`, 11},
		"in base64":                     {"$(access_token.base64)", 17},
		"in a URL":                      {"$(access_token.url)", 7},
		"for a shell":                   {"'$(access_token.sh)'", 9},
		"headers":                       {"$(headers)", 22},
		"headers for a shell":           {"'$(headers.sh)'", 9},
		"scopes":                        {"$(scope)", 14},
		"a key in base64":               {"$(login.base64)", 17},
		"a key for a shell":             {"'$(login.sh)'", 9},
		"a key with quotes for a shell": {"'$(quoted.sh)'", 9},
		"a key with JSON in base64":     {"$(config.base64)", 8},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var last *projection.Layout
			taken := -1
			for fault := (*projection.Fault)(nil); fault == nil; {
				var layout *projection.Layout
				layout, fault = projection.New(data(
					"login", "user:$(access_token)", "quoted", "'$(access_token)'", "config", `{"t":"$(access_token.json)"}`,
					"text", strings.Repeat(test.reference, taken+1),
				))
				switch {
				case fault == nil:
					last, taken = layout, taken+1
				case fault.Reason != v1alpha1.ReasonSecretTooLarge:
					t.Fatalf("%s: %s", fault.Reason, fault.Message)
				}
			}
			if taken != test.taken {
				t.Errorf("%d references are taken, want %d", taken, test.taken)
			}
			largest := 0
			for _, from := range worst() {
				largest = max(largest, size(last.Content(from)))
			}
			if largest > limit {
				t.Errorf("the Secret has %d bytes", largest)
			}
		})
	}
}
