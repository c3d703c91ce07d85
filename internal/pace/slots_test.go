package pace_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/pace"
)

func start() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func at(seconds float64) time.Time { return start().Add(time.Duration(seconds * float64(time.Second))) }

// turn is one of an account "namespace/name" with a client, which takes two requests at once.
func turn(namespace, name, client string, deadline ...time.Time) pace.Turn {
	made := pace.Turn{Account: namespace + "/" + name, Namespace: namespace, Client: client, ClientLimit: 2}
	for _, when := range deadline {
		made.Deadline = when
	}
	return made
}

// taken takes a slot, which there has to be or not.
func taken(t *testing.T, slots *pace.Slots, want bool, one pace.Turn) {
	t.Helper()
	got, called := slots.Take(one, start())
	if got != want || len(called) > 0 {
		t.Fatalf("%s gets a slot: %v, want %v; called are %v", one.Account, got, want, called)
	}
}

func calls(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s calls (-want +got):\n%s", what, diff)
	}
}

func TestSlotsAreBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits pace.Limits
		before []pace.Turn
		asks   pace.Turn
		want   bool
	}{
		"nobody has any":                        {pace.Limits{Namespace: 3, Total: 4}, nil, turn("a", "1", "x"), true},
		"the client has one left":               {pace.Limits{Namespace: 3, Total: 4}, []pace.Turn{turn("a", "1", "x")}, turn("a", "2", "x"), true},
		"the client has as many as it takes":    {pace.Limits{Namespace: 3, Total: 4}, []pace.Turn{turn("a", "1", "x"), turn("b", "1", "x")}, turn("c", "1", "x"), false},
		"another client has none":               {pace.Limits{Namespace: 3, Total: 4}, []pace.Turn{turn("a", "1", "x"), turn("b", "1", "x")}, turn("c", "1", "y"), true},
		"the namespace has as many as it may":   {pace.Limits{Namespace: 3, Total: 9}, []pace.Turn{turn("a", "1", "x"), turn("a", "2", "y"), turn("a", "3", "z")}, turn("a", "4", "w"), false},
		"another namespace has none":            {pace.Limits{Namespace: 3, Total: 9}, []pace.Turn{turn("a", "1", "x"), turn("a", "2", "y"), turn("a", "3", "z")}, turn("b", "1", "w"), true},
		"all have as many as there are":         {pace.Limits{Namespace: 3, Total: 2}, []pace.Turn{turn("a", "1", "x"), turn("b", "1", "y")}, turn("c", "1", "z"), false},
		"the account itself has one not ended":  {pace.Limits{Namespace: 3, Total: 9}, []pace.Turn{turn("a", "1", "x")}, turn("a", "1", "x"), false},
		"the account has one of another client": {pace.Limits{Namespace: 3, Total: 9}, []pace.Turn{turn("a", "1", "x")}, turn("a", "1", "y"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slots := pace.NewSlots(c.limits)
			for _, earlier := range c.before {
				taken(t, slots, true, earlier)
			}
			taken(t, slots, c.want, c.asks)
		})
	}
}

func TestAFreeSlotGoesToWhoNeedsItFirst(t *testing.T) {
	t.Parallel()
	slots := pace.NewSlots(pace.Limits{Namespace: 9, Total: 9})
	taken(t, slots, true, turn("a", "1", "x"))
	taken(t, slots, true, turn("a", "2", "x"))
	taken(t, slots, false, turn("a", "late", "x", at(100)))
	taken(t, slots, false, turn("a", "early", "x", at(50)))
	taken(t, slots, false, turn("a", "none", "x"))
	taken(t, slots, false, turn("a", "none, too", "x"))
	taken(t, slots, false, turn("a", "late", "x", at(10))) // it has become urgent

	calls(t, "the first end", slots.Give("a/1", start()), "a/none")
	calls(t, "the second end", slots.Give("a/2", start()), "a/none, too")
	taken(t, slots, true, turn("a", "none", "x"))
	calls(t, "the third end", slots.Give("a/none", start()), "a/late")
	calls(t, "somebody who was called and does not want it", slots.Leave("a/late", start()), "a/early")
}

func TestAFreeSlotGoesToTheNamespaceThatHasTheFewest(t *testing.T) {
	t.Parallel()
	slots := pace.NewSlots(pace.Limits{Namespace: 9, Total: 3})
	for i, client := range []string{"x", "x", "y"} {
		taken(t, slots, true, turn("many", fmt.Sprint(i), client))
	}
	for i := range 100 {
		taken(t, slots, false, turn("many", fmt.Sprint(10+i), "z"))
	}
	taken(t, slots, false, turn("few", "1", "z", at(1000)))
	calls(t, "an end", slots.Give("many/0", start()), "few/1")
	calls(t, "another end", slots.Give("many/1", start()), "many/10")
}

func TestAClientsPartIsFreeOnceItHasAnswered(t *testing.T) {
	t.Parallel()
	slots := pace.NewSlots(pace.Limits{Namespace: 3, Total: 9})
	taken(t, slots, true, turn("a", "1", "x"))
	taken(t, slots, true, turn("a", "2", "x"))
	taken(t, slots, false, turn("a", "3", "x"))
	taken(t, slots, false, turn("a", "4", "x"))
	calls(t, "an answer", slots.Answered("a/1", start()), "a/3")
	calls(t, "the same answer again", slots.Answered("a/1", start()))
	calls(t, "an answer of which the namespace has no room", slots.Answered("a/2", start()))
	calls(t, "the end", slots.Give("a/1", start()), "a/4")
}

func TestASlotIsNotKeptForEverForWhoWasCalled(t *testing.T) {
	t.Parallel()
	slots := pace.NewSlots(pace.Limits{Namespace: 9, Total: 1})
	taken(t, slots, true, turn("a", "1", "x"))
	taken(t, slots, false, turn("a", "gone", "x"))
	taken(t, slots, false, turn("a", "2", "x"))
	calls(t, "the end", slots.Give("a/1", at(0)), "a/gone")

	if got, called := slots.Take(turn("b", "1", "y"), at(9)); got || len(called) > 0 {
		t.Errorf("the slot is not kept: %v, %v", got, called)
	}
	got, called := slots.Take(turn("b", "2", "y"), at(11))
	if got {
		t.Error("whoever waited is overtaken")
	}
	calls(t, "whoever asks next", called, "a/2")
	if !slots.Waits("a/2") || !slots.Waits("b/1") || slots.Waits("a/gone") {
		t.Error("it is not known who waits")
	}
}

func TestSlotsForgetWhoIsGone(t *testing.T) {
	t.Parallel()
	slots := pace.NewSlots(pace.Limits{Namespace: 9, Total: 1})
	taken(t, slots, true, turn("a", "1", "x"))
	taken(t, slots, false, turn("a", "2", "y"))
	if diff := cmp.Diff(map[string]pace.Use{"x": {Open: 1}, "y": {Waiting: 1}}, slots.Uses()); diff != "" {
		t.Errorf("in use (-want +got):\n%s", diff)
	}
	calls(t, "leaving", slots.Leave("a/2", start()))
	calls(t, "leaving with a slot in use", slots.Leave("a/1", start()))
	calls(t, "the end", slots.Give("a/1", start()))
	if uses := slots.Uses(); len(uses) > 0 {
		t.Errorf("in use: %v", uses)
	}
	taken(t, slots, true, turn("b", "1", "x"))
}
