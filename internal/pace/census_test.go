package pace_test

import (
	"testing"

	"github.com/oauth-operator/oauth-operator/internal/pace"
)

func TestTheYoungestAreBeyondTheLimit(t *testing.T) {
	t.Parallel()
	census := &pace.Census{Limit: 2}
	for _, c := range []struct {
		does, namespace, name string
		created               float64
		wakes                 string
	}{
		{"add", "a", "second", 2, ""},
		{"add", "a", "third", 3, ""},
		{"add", "a", "third", 3, ""},
		{"add", "a", "first", 1, "third"},
		{"add", "a", "fourth", 4, ""},
		{"add", "b", "third", 3, ""},
		{"remove", "a", "fourth", 0, ""},
		{"remove", "a", "nobody", 0, ""},
		{"add", "a", "fourth", 4, ""},
		{"remove", "a", "first", 0, "third"},
		{"add", "a", "first", 5, ""}, // created again
	} {
		does := func() string { return census.Remove(c.namespace, c.name) }
		if c.does == "add" {
			does = func() string { return census.Add(c.namespace, c.name, at(c.created)) }
		}
		if got := does(); got != c.wakes {
			t.Errorf("%s %s/%s changes the standing of %q, want %q", c.does, c.namespace, c.name, got, c.wakes)
		}
	}
	for name, beyond := range map[string]bool{"second": false, "third": false, "fourth": true, "first": true, "nobody": false} {
		if census.Beyond("a", name) != beyond {
			t.Errorf("%s is beyond the limit: %v", name, !beyond)
		}
	}
	if census.Beyond("b", "third") || census.Beyond("c", "third") {
		t.Error("one of another namespace counts")
	}
}

func TestOfOneAgeTheNameDecides(t *testing.T) {
	t.Parallel()
	census := &pace.Census{Limit: 1}
	census.Add("a", "y", start())
	if pushed := census.Add("a", "x", start()); pushed != "y" || census.Beyond("a", "x") || !census.Beyond("a", "y") {
		t.Errorf("%q is pushed", pushed)
	}
}

func TestWithoutALimitNobodyIsCounted(t *testing.T) {
	t.Parallel()
	census := &pace.Census{}
	for _, name := range []string{"x", "y", "z"} {
		if census.Add("a", name, start()) != "" || census.Beyond("a", name) {
			t.Errorf("%s is beyond no limit", name)
		}
	}
	if census.Remove("a", "x") != "" {
		t.Error("somebody is admitted")
	}
}
