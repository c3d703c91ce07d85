package oauth_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// checkSurvivesStorage asserts that a stored reply is judged as the fresh one is.
func checkSurvivesStorage(t *testing.T, fresh oauth.Reply, grants ...oauth.GrantType) {
	t.Helper()
	stored, err := oauth.DecodeReply(fresh.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stored.Encode(), fresh.Encode()) {
		t.Error("a stored reply is not encoded as the fresh one is")
	}
	for _, grant := range grants {
		wantAnswer, wantErr := fresh.Judge(grant)
		gotAnswer, gotErr := stored.Judge(grant)
		if diff := cmp.Diff(wantAnswer, gotAnswer); diff != "" {
			t.Errorf("%s: %s", grant, diff)
		}
		if wantAnswer.ReceivedTime != gotAnswer.ReceivedTime {
			t.Errorf("%s: received %v, want %v", grant, gotAnswer.ReceivedTime, wantAnswer.ReceivedTime)
		}
		var want, got *oauth.Error
		_, _ = errors.As(wantErr, &want), errors.As(gotErr, &got)
		if (want == nil) != (got == nil) || want != nil && *want != *got {
			t.Errorf("%s: error %v, want %v", grant, gotErr, wantErr)
		}
	}
}

func TestAStoredReplyIsJudgedAsTheFreshOne(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]oauth.Reply{
		"both tokens":             oauth.NewReply(200, http.Header{"Content-Type": {"application/json"}}, []byte(rotatedBody), time.Now()),
		"no body":                 oauth.NewReply(204, nil, nil, start()),
		"any bytes":               oauth.NewReply(200, nil, []byte("\xff\x00{"), start()),
		"a charset":               oauth.NewReply(200, http.Header{"Content-Type": {"a/b", "text/json; charset=\xff"}}, []byte(rotatedBody), start()),
		"an empty header":         oauth.NewReply(200, http.Header{"Content-Type": {""}, "Content-Encoding": {"", ""}}, []byte(rotatedBody), start()),
		"two codings":             oauth.NewReply(200, http.Header{"Content-Encoding": {"identity", "br"}}, []byte(rotatedBody), start()),
		"Retry-After twice":       oauth.NewReply(429, http.Header{"Retry-After": {"7", "9"}}, nil, start()),
		"Retry-After by the date": oauth.NewReply(503, http.Header{"Retry-After": {start().Add(time.Minute).Format(http.TimeFormat)}}, nil, start()),
		"another time zone":       oauth.NewReply(200, nil, []byte(rotatedBody), start().In(time.FixedZone("", 3600))),
		"a time before 1970":      oauth.NewReply(200, nil, []byte(rotatedBody), start().AddDate(-100, 0, 0).Add(time.Nanosecond)),
		"no time":                 oauth.NewReply(200, nil, []byte(rotatedBody), time.Time{}),
		"status 000":              oauth.NewReply(0, nil, nil, start()),
		"the zero reply":          {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkSurvivesStorage(t, reply, oauth.GrantRefreshToken, oauth.GrantClientCredentials)
		})
	}
}

func TestAnAnswerTooLargeIsStoredAsThat(t *testing.T) {
	t.Parallel()
	s := serve(t, flood("HTTP/1.1 200 OK\r\n\r\n"+rotatedBody, strings.Repeat(" ", 1<<16)))
	ready, err := newClient(t, nil).Ready(t.Context(), registration(s.url()), refreshWith("r"))
	if err != nil {
		t.Fatal(err)
	}
	reply, err := ready.Send(t.Context(), time.Now(), long)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(reply.Encode()); n > 1000 {
		t.Errorf("%d bytes are stored of a body that is of no use", n)
	}
	checkSurvivesStorage(t, reply, oauth.GrantRefreshToken)
}

func TestBytesThatAreNoReply(t *testing.T) {
	t.Parallel()
	good := string(oauth.NewReply(200, http.Header{"Retry-After": {"1"}}, []byte(rotatedBody), start()).Encode())
	if _, err := oauth.DecodeReply([]byte(good)); err != nil {
		t.Fatal(err)
	}
	swapped := func(old, replacement string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the encoding", old)
		}
		return strings.Replace(good, old, replacement, 1)
	}
	large := base64.StdEncoding.EncodeToString(make([]byte, 1<<20+1))
	for name, encoded := range map[string]string{
		"nothing":                   "",
		"null":                      "null",
		"a page":                    "<html>" + testToken,
		"half of it":                good[:len(good)/2],
		"two of it":                 good + good,
		"no version":                swapped(`"version":1,`, ``),
		"another version":           swapped(`"version":1`, `"version":2`),
		"a field more":              swapped(`{`, `{"`+testToken+`":1,`),
		"a field twice":             swapped(`{`, `{"status":200,`),
		"a field in another case":   swapped(`"status"`, `"STATUS"`),
		"a status below all":        swapped(`"status":200`, `"status":-1`),
		"a status above all":        swapped(`"status":200`, `"status":1000`),
		"a status that is text":     swapped(`"status":200`, `"status":"`+testToken+`"`),
		"a body that is no base64":  swapped(`"body":"`, `"body":"*`),
		"a body above the limit":    swapped(`"body":"`, `"body":"`+large),
		"too large, and yet a body": swapped(`"body"`, `"tooLarge":true,"body"`),
		"nanoseconds below zero":    swapped(`"receivedNanoseconds":0`, `"receivedNanoseconds":-1`),
		"nanoseconds of a second":   swapped(`"receivedNanoseconds":0`, `"receivedNanoseconds":1000000000`),
	} {
		reply, err := oauth.DecodeReply([]byte(encoded))
		if err == nil {
			t.Errorf("%s: taken for a reply", name)
			continue
		}
		if len(leaks(err.Error(), testToken)) > 0 {
			t.Errorf("%s: the error quotes what was stored", name)
		}
		if reply != (oauth.Reply{}) {
			t.Errorf("%s: a reply came with the error", name)
		}
	}
}

func TestAReplyNeverPrintsItself(t *testing.T) {
	t.Parallel()
	reply := oauth.NewReply(200, http.Header{"Content-Type": {testClientSecret}}, []byte(rotatedBody), start())
	held := struct {
		Shown  oauth.Reply
		hidden oauth.Reply
		behind *oauth.Reply
	}{reply, reply, &reply}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("m", "reply", reply, "held", held)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("m", "reply", &reply, "held", held)
	asJSON, err := json.Marshal(map[string]any{"reply": reply, "held": held, "pointer": &reply})
	if err != nil {
		t.Fatal(err)
	}
	asKey, err := json.Marshal(map[oauth.Reply]int{reply: 1})
	if err != nil {
		t.Fatal(err)
	}
	outputs := map[string]string{"slog": logged.String(), "json": string(asJSON), "json key": string(asKey), "cmp": cmp.Diff(reply.String(), "")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s"} {
		outputs[verb] = fmt.Sprintf(verb+verb+verb+verb, reply, &reply, held, []any{&held, reply})
	}
	for how, output := range outputs {
		for _, planted := range []string{testToken, testRefreshToken, testClientSecret} {
			if found := leaks(output, planted); len(found) > 0 {
				t.Errorf("%s printed a secret as %v", how, found)
			}
		}
	}
	if !strings.Contains(outputs["%v"], "[redacted]") {
		t.Errorf("the mark is missing: %s", outputs["%v"])
	}
	if !strings.Contains(string(reply.Encode()), base64.StdEncoding.EncodeToString([]byte(rotatedBody))) {
		t.Error("the encoding does not hold the body")
	}
}

func FuzzDecodeReply(f *testing.F) {
	for _, reply := range []oauth.Reply{
		{},
		oauth.NewReply(200, http.Header{"Content-Type": {"application/json"}}, []byte(rotatedBody), start()),
		oauth.NewReply(400, http.Header{"Content-Encoding": {"br", "\xff"}}, []byte(inProcess), start()),
		oauth.NewReply(429, http.Header{"Retry-After": {"120"}}, nil, start()),
	} {
		f.Add(reply.Encode())
	}
	f.Add([]byte(`{"version":1,"status":200,"body":"e30=","receivedSeconds":9223372036854775807,"receivedNanoseconds":999999999}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		reply, err := oauth.DecodeReply(encoded)
		if err != nil {
			if reply != (oauth.Reply{}) || !slices.Contains([]string{
				"these bytes are not an encoded reply", "the encoded reply is of a version that is not known to this program",
			}, err.Error()) {
				t.Errorf("refused with %q", err)
			}
			return
		}
		if n := len(reply.Encode()); n > len(encoded)+1000 {
			t.Errorf("%d bytes became %d", len(encoded), n)
		}
		checkSurvivesStorage(t, reply, oauth.GrantRefreshToken, oauth.GrantClientCredentials)
		if text := reply.String() + fmt.Sprintf("%+v%#v", reply, &reply); strings.ReplaceAll(text, "[redacted]", "") != "" {
			t.Errorf("it prints %q", text)
		}
	})
}
