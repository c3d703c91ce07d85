package consent_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzCallback shows that no query makes a callback panic; that what is handed over is one code that the query has, or one
// denial, with the state that this browser began with; and that everything else is refused from memory. STATE stands for
// that state.
func FuzzCallback(f *testing.F) {
	for _, query := range []string{
		"state=STATE&code=a-code", "code=a-code", "state=STATE&error=access_denied", "state=STATE&state=STATE&code=a", "state=STATE&code=a&code=b",
		"state=STATE&code=%0d%0a", "state=STATE&code=a;b", "state=STATE&code=a&iss=https://x", "state=STATE&code=a&realmId=1", "state=%53TATE&code=a",
		"state=STATE&code=a&access_token=t", "state=STATE&error=%22&code=a", "state=STATE&code=a&realmId=1&realmId=2", "STATE", "&&&", "state=STATE&code=%zz",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		s := newScene(t, capturing("realmId"))
		b := s.browser()
		begun := b.begin()
		raw = strings.ReplaceAll(raw, "STATE", begun.state)
		s.resetCounts()
		got := b.get(publicURL+"/callback/platform/smartbusiness", func(r *http.Request) { r.URL.RawQuery = raw })
		reads, writes := s.counts()
		waits := s.handedOver()
		switch {
		case got.Code == http.StatusBadRequest && reads == 0 && writes == 0 && waits == "":
			return
		case got.Code != http.StatusSeeOther || reads != 1 || writes != 1:
			t.Fatalf("%q: %d, %d reads, %d writes", raw, got.Code, reads, writes)
		}
		query, err := url.ParseQuery(raw)
		if err != nil || len(query["state"]) != 1 || query.Get("state") != begun.state {
			t.Fatalf("%q was taken: %v", raw, err)
		}
		want := "code " + query.Get("code")
		if query.Get("realmId") != "" {
			want += " realmId=" + query.Get("realmId")
		}
		if query.Has("error") {
			if !strings.HasPrefix(waits, "denial ") {
				t.Fatalf("%q: %q waits", raw, waits)
			}
		} else if waits != want || query.Get("code") == "" {
			t.Fatalf("%q: %q waits, want %q", raw, waits, want)
		}
	})
}
