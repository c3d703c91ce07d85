package plugin

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"plain text":                        {"the client is ready: 3 % off — größer, 日本", "the client is ready: 3 % off — größer, 日本"},
		"a colour":                          {"a \x1b[1;31mred\x1b[0m word", "a red word"},
		"a colour of C1":                    {"a \u009b31mred\u009b0m word", "a red word"},
		"a colour with colons":              {"\x1b[38:2::1:2:3mred", "red"},
		"a cleared screen":                  {"\x1b[2J\x1b[Hok", "ok"},
		"a window's title":                  {"a\x1b]0;owned\ab", "ab"},
		"a link":                            {"\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\", "click"},
		"a title of C1":                     {"a\u009d0;owned\u009cb", "ab"},
		"a title without an end":            {"a\x1b]0;owned", "a0;owned"},
		"a device control string":           {"a\x1bP1$r0m\x1b\\b", "ab"},
		"an escape that selects characters": {"a\x1b(0b", "ab"},
		"a reset":                           {"a\x1bcb", "ab"},
		"an escape alone":                   {"a\x1b", "a"},
		"a sequence without an end":         {"a\x1b[31", "a"},
		"a sequence that a control ends":    {"a\x1b[3\nb", "a b"},
		"lines":                             {"ok\r\nNAME\tREADY\u2028x\u0085y", "ok  NAME READY x y"},
		"a backspace, a bell and a delete":  {"no\b\b\a\x7fok", "nook"},
		"bytes that are no text":            {"a\xffb", "a\ufffdb"},
		"a C1 byte that is no text":         {"a\x9b31mb", "a\ufffd31mb"},
		"directions":                        {"\u202ecba\u202c \u2066x\u2069\u200f\u061c", "cba x"},
		"characters without a width":        {"pay\u200bpal\ufeff\u00ad", "paypal"},
		"fillers, and selectors":            {"pay\u3164\u115f\uffa0\u034fpal\ufe0f", "paypal"},
		"other spaces":                      {"a\u00a0b\u2003c\u3000d", "a b c d"},
		"a pile of marks":                   {"a" + strings.Repeat("\u0301", 50) + "b" + strings.Repeat("\u0489\u200d", 50), "a\u0301\u0301\u0301b\u0489\u0489\u0489"},
		"tags, and private ones":            {"a\U000e0041\ue000b", "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := clean(c.text); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Many sequences without an end must not make it slow: each of them would be looked for to the end of the text.
func TestCleanIsNotSlowWithHostileText(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		clean(strings.Repeat("\x1b]x", 1<<19))
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("a text of 1.5 MB took longer than 20 s")
	}
}

func FuzzClean(f *testing.F) {
	for _, text := range []string{"\x1b[31mred\x1b[0m", "\x1b]8;;x\x1b\\y", "\u009b2J", "\u202e", "a\xffb"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := clean(text)
		for _, each := range got {
			if unicode.IsControl(each) || unicode.Is(unicode.Cf, each) {
				t.Fatalf("%q is left in %q", each, got)
			}
		}
		if again := clean(got); again != got {
			t.Fatalf("%q becomes %q", got, again)
		}
	})
}

func TestScrubCleansEveryTextOfAnObject(t *testing.T) {
	t.Parallel()
	const bad = "a\x1b[31mb\u202e"
	at := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	object := func(text string) any {
		return []any{
			&v1alpha1.ConnectedAccountList{Items: []v1alpha1.ConnectedAccount{{
				ObjectMeta: metav1.ObjectMeta{Name: text, Annotations: map[string]string{text: text}},
				Spec:       v1alpha1.ConnectedAccountSpec{Scopes: []v1alpha1.Scope{v1alpha1.Scope(text)}},
				Status: v1alpha1.ConnectedAccountStatus{
					Conditions: []metav1.Condition{{Reason: text, Message: text, LastTransitionTime: at}}, ExpirationTime: &at,
					Authorization: v1alpha1.Authorization{LastOutcome: v1alpha1.AuthorizationOutcome{Reason: text}},
				},
			}}},
			&corev1.Secret{Data: map[string][]byte{"key": []byte(bad)}},
		}
	}
	got := object(bad)
	scrub(got)
	if diff := cmp.Diff(object("ab"), got); diff != "" {
		t.Error(diff)
	}
}
