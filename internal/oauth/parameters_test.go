package oauth_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	kjson "sigs.k8s.io/json"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// What a definition lets through that is not the right one is not sent either.
func TestParametersThatAreNotSent(t *testing.T) {
	t.Parallel()
	s := serve(t, ok(goodBody))
	rows := map[string][]oauth.Parameter{
		"no name":          {{Name: "", Value: "a"}},
		"no value":         {{Name: "audience", Value: ""}},
		"a space":          {{Name: "a b", Value: "a"}},
		"a name of two":    {{Name: "a&client_secret", Value: "a"}},
		"a percent sign":   {{Name: "%63ode", Value: "a"}},
		"a line":           {{Name: "audience", Value: "a\r\nX-Evil: 1"}},
		"NUL":              {{Name: "audience", Value: "a\x00"}},
		"not ASCII":        {{Name: "audience", Value: "é"}},
		"a name not ASCII": {{Name: "ſcope", Value: "a"}}, // its capital is S
		"the second one":   {{Name: "audience", Value: "a"}, {Name: "Grant_Type", Value: "password"}},
	}
	for _, name := range oauth.ReservedParameters() {
		rows[name] = []oauth.Parameter{{Name: name, Value: "a"}}
		rows[name+" in capitals"] = []oauth.Parameter{{Name: strings.ToUpper(name), Value: "a"}}
		rows[name+" of a list"] = []oauth.Parameter{{Name: name + "[]", Value: "a"}}
		rows[name+" with dots"] = []oauth.Parameter{{Name: strings.ReplaceAll(name, "_", "."), Value: "a"}}
		rows[name+" with a bracket"] = []oauth.Parameter{{Name: strings.ReplaceAll(name, "_", "["), Value: "a"}}
	}
	for name, parameters := range rows {
		reg := registration(s.url())
		reg.Parameters = parameters
		for _, request := range []oauth.GrantRequest{credentials(), refreshWith("r"), redeem("c")} {
			_, err := newClient(t, nil).Exchange(t.Context(), reg, request)
			checkFailure(t, err, oauth.NotSent)
			if failure := failureOf(t, err); !strings.Contains(failure.Reason, "tokenRequest.parameters") {
				t.Errorf("%s: reason %q", name, failure.Reason)
			}
		}
	}
	twice := registration(s.url())
	twice.BodyFormat, twice.Parameters = oauth.BodyJSON, []oauth.Parameter{{Name: "resource", Value: "a"}, {Name: "resource", Value: "b"}}
	_, err := newClient(t, nil).Exchange(t.Context(), twice, credentials())
	checkFailure(t, err, oauth.NotSent)
	if connections, _, _ := s.counts(); connections != 0 {
		t.Errorf("%d connections", connections)
	}
}

// A revocation is no token request. A parameter that cannot be sent does not keep a grant from being ended.
func TestRevocationSendsNoParameters(t *testing.T) {
	t.Parallel()
	for name, parameters := range map[string][]oauth.Parameter{
		"a good one": {{Name: "audience", Value: "a"}}, "one that cannot be sent": {{Name: "scope", Value: "a"}},
	} {
		s := serve(t, ok(""))
		reg := registration(s.url())
		reg.BodyFormat, reg.Parameters = oauth.BodyJSON, parameters
		if err := newClient(t, nil).Revoke(t.Context(), reg, s.url(), secret.New("r")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff("client_id=the-client&client_secret=pl4nted-client-s3cret&token=r&token_type_hint=refresh_token", s.seen()[0].body); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// FuzzParameters shows that no parameter, whatever it is called, changes what the operator says itself, or is sent otherwise
// than it is written.
func FuzzParameters(f *testing.F) {
	for _, name := range append(oauth.ReservedParameters(), "audience", "resource", "scope[]", "client.id", "a&b", "a=b", "a\"", "Kind", "x[y]", "") {
		for _, value := range []string{"a", "https://api.example/?a=b&c=d", "\"},{", "a+b %", "\n", "é", ""} {
			f.Add(name, value, false)
			f.Add(name, value, true)
		}
	}
	f.Fuzz(func(t *testing.T, name, value string, asJSON bool) {
		reg := registration("https://provider.example/token")
		reg.Parameters = []oauth.Parameter{{Name: name, Value: value}, {Name: "last", Value: "1"}}
		if asJSON {
			reg.BodyFormat = oauth.BodyJSON
		}
		without := reg
		without.Parameters = nil
		request := refreshWith("r", "s")
		body, err := oauth.Body(reg, request)
		if err != nil {
			checkFailure(t, err, oauth.NotSent)
			return
		}
		plain, err := oauth.Body(without, request)
		if err != nil {
			t.Fatal(err)
		}
		want := pairs(t, plain, asJSON)
		want[name], want["last"] = append(want[name], value), append(want["last"], "1")
		if diff := cmp.Diff(want, pairs(t, body, asJSON)); diff != "" {
			t.Error(diff)
		}
		if folded := strings.ToLower(name); slices.Contains(oauth.ReservedParameters(), folded) {
			t.Errorf("%q is sent", name)
		}
	})
}

// pairs reads a body as a strict server does.
func pairs(t *testing.T, body []byte, asJSON bool) url.Values {
	t.Helper()
	if !asJSON {
		values, err := url.ParseQuery(string(body))
		if err != nil {
			t.Fatal(err)
		}
		return values
	}
	var members map[string]json.RawMessage
	if findings, err := kjson.UnmarshalStrict(body, &members); err != nil || len(findings) > 0 {
		t.Fatalf("%v %v", findings, err)
	}
	values := url.Values{}
	for name, raw := range members {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			t.Fatal(err)
		}
		values.Add(name, text)
	}
	return values
}
