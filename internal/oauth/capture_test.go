package oauth_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

func replyOf(status int, body string) oauth.Reply {
	return oauth.NewReply(status, http.Header{"Content-Type": {"application/json"}}, []byte(body), start())
}

// H43: what is captured is a text in the characters that a file line can hold, or a URL of a host that was allowed; all else
// is left out, and costs nothing else.
func TestCapturedFieldsThatLie(t *testing.T) {
	t.Parallel()
	anyURL := oauth.Capture{Pointer: "/v", Key: "k", URL: true}
	ours := oauth.Capture{Pointer: "/v", Key: "k", URL: true, Hosts: []string{"api.example.com", "*.my.example.com"}}
	text := oauth.Capture{Pointer: "/v", Key: "k"}
	for name, test := range map[string]struct {
		wanted oauth.Capture
		body   string
		want   string // "": left out
	}{
		"a text":                                {text, `{"v":"acct_8f2"}`, "acct_8f2"},
		"a number":                              {text, `{"v":123456789012}`, "123456789012"},
		"the longest number that is read whole": {text, `{"v":9223372036854775807}`, "9223372036854775807"},
		"one of which the end would be lost":    {text, `{"v":9223372036854775809}`, ""},
		"a fraction of which it would be":       {text, `{"v":90071992547409931.5}`, ""},
		"a boolean":                             {text, `{"v":true}`, "true"},
		"an object":                             {text, `{"v":{"a":"b"}}`, ""},
		"a list":                                {text, `{"v":["a"]}`, ""},
		"nothing":                               {text, `{"v":null}`, ""},
		"an empty text":                         {text, `{"v":""}`, ""},
		"a line break":                          {text, `{"v":"a\r\nX-Evil: 1"}`, ""},
		"a NUL":                                 {text, `{"v":"a\u0000"}`, ""},
		"no ASCII":                              {text, `{"v":"ä"}`, ""},
		"half a character":                      {text, `{"v":"\ud800"}`, ""},
		"a long text":                           {text, `{"v":"` + strings.Repeat("a", 1025) + `"}`, ""},
		"two of the name":                       {text, `{"v":"a","v":"b"}`, ""},
		"a name in other letters":               {text, `{"V":"a"}`, ""},
		"one below":                             {oauth.Capture{Pointer: "/team/id", Key: "k"}, `{"team":{"id":"T1"}}`, "T1"},
		"one of a list":                         {oauth.Capture{Pointer: "/teams/1/id", Key: "k"}, `{"teams":[{"id":"T0"},{"id":"T1"}]}`, "T1"},
		"one beyond a list":                     {oauth.Capture{Pointer: "/teams/2", Key: "k"}, `{"teams":["a","b"]}`, ""},
		"a number in another spelling":          {oauth.Capture{Pointer: "/teams/01", Key: "k"}, `{"teams":["a","b"]}`, ""},
		"a name with a slash":                   {oauth.Capture{Pointer: "/a~1b~0c", Key: "k"}, `{"a/b~c":"x"}`, "x"},
		"a URL":                                 {anyURL, `{"v":"https://eu1.salesforce.example/services"}`, "https://eu1.salesforce.example/services"},
		"a URL without TLS":                     {anyURL, `{"v":"http://eu1.salesforce.example"}`, ""},
		"a script":                              {anyURL, `{"v":"javascript:alert(1)"}`, ""},
		"a file":                                {anyURL, `{"v":"file:///etc/passwd"}`, ""},
		"a name and a password":                 {anyURL, `{"v":"https://api.example.com@evil.example/"}`, ""},
		"the metadata service":                  {anyURL, `{"v":"https://169.254.169.254/"}`, ""},
		"an address of the network":             {anyURL, `{"v":"https://10.0.0.1/"}`, ""},
		"this machine":                          {anyURL, `{"v":"https://localhost/"}`, ""},
		"this machine, in version 6":            {anyURL, `{"v":"https://[::1]/"}`, ""},
		"an address in one number":              {anyURL, `{"v":"https://2130706433/"}`, ""},
		"an address in sixteens":                {anyURL, `{"v":"https://0x7f.0x1/"}`, ""},
		"a short address":                       {anyURL, `{"v":"https://127.1/"}`, ""},
		"a name of the network":                 {anyURL, `{"v":"https://vault/"}`, ""},
		"a name of the cluster":                 {anyURL, `{"v":"https://kubernetes.default.svc.cluster.local/"}`, ""},
		"no host":                               {anyURL, `{"v":"https:///x"}`, ""},
		"an allowed host":                       {ours, `{"v":"https://api.example.com/v1"}`, "https://api.example.com/v1"},
		"an allowed host in capitals":           {ours, `{"v":"https://API.example.com/"}`, "https://API.example.com/"},
		"one below an allowed one":              {ours, `{"v":"https://acme.my.example.com/"}`, "https://acme.my.example.com/"},
		"the one above those":                   {ours, `{"v":"https://my.example.com/"}`, ""},
		"one that ends alike":                   {ours, `{"v":"https://evilmy.example.com/"}`, ""},
		"one below a host that is meant alone":  {ours, `{"v":"https://x.api.example.com/"}`, ""},
		"an allowed host as a part of another":  {ours, `{"v":"https://api.example.com.evil.example/"}`, ""},
		"an allowed host behind a backslash":    {ours, `{"v":"https://evil.example\\.my.example.com/"}`, ""},
		"a value in an answer that is an error": {text, `{"error":"invalid_grant","v":"a"}`, "a"},
	} {
		values, missing := replyOf(200, test.body).Captured([]oauth.Capture{test.wanted})
		want, left := map[string]string{"k": test.want}, []string(nil)
		if test.want == "" {
			want, left = nil, []string{"k"}
		}
		if diff := cmp.Diff(want, values); diff != "" || !slices.Equal(left, missing) {
			t.Errorf("%s: %s, missing %v", name, diff, missing)
		}
	}
}

func TestNothingIsCapturedFromARefusal(t *testing.T) {
	t.Parallel()
	wanted := []oauth.Capture{{Pointer: "/v", Key: "k"}}
	for name, reply := range map[string]oauth.Reply{
		"400": replyOf(400, `{"v":"a","id":"x"}`), "a page": replyOf(200, `<html>`), "two objects": replyOf(200, `{"v":"a","id":"x"}{}`), "nothing": {},
	} {
		if values, missing := reply.Captured(wanted); values != nil || len(missing) != 1 {
			t.Errorf("%s: %v", name, values)
		}
		if got := reply.Identity("/id"); got != "" {
			t.Errorf("%s: it is %q's", name, got)
		}
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"id":"alice"}`: "alice", `{"id":42}`: "42", `{"id":"a b"}`: "a b", `{"id":" a"}`: "", `{"id":"a\n"}`: "",
		`{"id":"` + strings.Repeat("a", 257) + `"}`: "", `{"id":"a","id":"b"}`: "", `{"x":{"id":"a"}}`: "",
	} {
		if got := replyOf(200, body).Identity("/id"); got != want {
			t.Errorf("%.40s: %q, want %q", body, got, want)
		}
	}
	if got := replyOf(200, `{"id":"a"}`).Identity(""); got != "" {
		t.Errorf("without a pointer: %q", got)
	}
}

// FuzzCaptured shows that no answer makes the reader of captured values panic, or take out what no line of a file can hold.
func FuzzCaptured(f *testing.F) {
	for _, body := range []string{`{"v":"a"}`, `{"v":1e999}`, `{"v":["https://a.example"]}`, "\xef\xbb\xbf{}", `{"v":"\ud800"}`} {
		f.Add([]byte(body), "/v")
	}
	f.Fuzz(func(t *testing.T, body []byte, pointer string) {
		reply := oauth.NewReply(200, http.Header{}, body, start())
		values, _ := reply.Captured([]oauth.Capture{{Pointer: pointer, Key: "text"}, {Pointer: pointer, Key: "url", URL: true}})
		for _, value := range append([]string{values["text"], values["url"]}, reply.Identity(pointer)) {
			if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }) || len(value) > 1024 {
				t.Fatalf("%q was taken out", value)
			}
		}
		if value := values["url"]; value != "" && !strings.HasPrefix(strings.ToLower(value), "https://") {
			t.Fatalf("%q is taken for a URL", value)
		}
	})
}
