package seal_test

import (
	"slices"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

func TestTheNextStepOfARotation(t *testing.T) {
	t.Parallel()
	const long, none = 1000 * time.Hour, keyAt(-1)
	names := func(rotate, retire keyAt) func(*seal.Keyring) seal.KeyRequest {
		return func(k *seal.Keyring) seal.KeyRequest {
			var asked seal.KeyRequest
			if rotate >= 0 {
				asked.Rotate = rotate.of(k)
			}
			if retire >= 0 {
				asked.Retire = retire.of(k)
			}
			return asked
		}
	}
	rotates, retires := func(at keyAt) func(*seal.Keyring) seal.KeyRequest { return names(at, none) }, func(at keyAt) func(*seal.Keyring) seal.KeyRequest { return names(none, at) }
	words := func(rotate, retire string) func(*seal.Keyring) seal.KeyRequest {
		return func(*seal.Keyring) seal.KeyRequest { return seal.KeyRequest{Rotate: rotate, Retire: retire} }
	}
	added, promoted := []step{adds}, []step{adds, promotes(1)}
	disabled := slices.Concat(promoted, []step{disables(0)})
	cases := map[string]struct {
		steps   []step
		asked   func(*seal.Keyring) seal.KeyRequest
		age     time.Duration
		action  seal.KeyAction
		at      keyAt // the key that it is about
		refused bool
		rest    time.Duration
	}{
		"nothing is done that nobody asked for":            {promoted, names(none, none), long, seal.KeyRests, none, false, 0},
		"a key that was added stays until it is asked for": {added, names(none, none), long, seal.KeyRests, none, false, 0},
		"a rotation begins with a new key":                 {nil, rotates(0), long, seal.KeyAdd, none, false, 0},
		"which does not seal in its first ten minutes":     {added, rotates(0), 10*time.Minute - 1, seal.KeyRests, none, false, 0},
		"then it does": {added, rotates(0), 10 * time.Minute, seal.KeyPromote, 1, false, 0},
		"a request that stays does not rotate again":                {promoted, rotates(0), long, seal.KeyRests, none, false, 0},
		"nor when the old key is about to go":                       {disabled, rotates(0), long, seal.KeyRests, none, false, 0},
		"the next one names the key that seals by then":             {promoted, rotates(1), long, seal.KeyAdd, none, false, 0},
		"a rotation that names a key to be is refused":              {added, rotates(1), long, seal.KeyRests, 1, true, 0},
		"so is one that names none":                                 {nil, words("now", ""), long, seal.KeyRests, none, true, 0},
		"a key that opens goes after an hour":                       {promoted, retires(0), time.Hour, seal.KeyDisable, 0, false, 0},
		"and not before":                                            {promoted, retires(0), time.Hour - time.Second, seal.KeyRests, 0, false, time.Second},
		"it is gone a minute after it was disabled":                 {disabled, retires(0), time.Minute, seal.KeyRemove, 0, false, 0},
		"and not before, so that everybody has noticed":             {disabled, retires(0), time.Minute - 1, seal.KeyRests, none, false, 0},
		"the key that seals does not go":                            {promoted, retires(1), long, seal.KeyRests, 1, true, 0},
		"nor the one that will":                                     {added, retires(1), long, seal.KeyRests, 1, true, 0},
		"a retirement that names no key is refused":                 {promoted, words("", "old"), long, seal.KeyRests, none, true, 0},
		"both asked for, the rotation comes first":                  {nil, names(0, 0), long, seal.KeyAdd, none, false, 0},
		"and nothing is refused while it is under way":              {added, names(0, 0), time.Second, seal.KeyRests, none, false, 0},
		"then the retirement, though the other request stays":       {promoted, names(0, 0), long, seal.KeyDisable, 0, false, 0},
		"a mistake in the one is told before the other is done":     {promoted, words("now", ""), long, seal.KeyRests, none, true, 0},
		"while a key is distributed, one that opens may still go":   {append(promoted[:2:2], adds), names(1, 0), 30 * time.Minute, seal.KeyPromote, 2, false, 0},
		"a key that was disabled by hand is removed where one asks": {disabled, names(none, 0), long, seal.KeyRemove, 0, false, 0},
	}
	for name, c := range cases {
		keyring := after(t, newKeyring(t), c.steps...)
		got := keyring.NextKeyStep(c.asked(keyring), func(key seal.Key) time.Duration {
			if keyring.KeyState(key.ID) != key.State {
				t.Errorf("%s: asked for the age of %+v", name, key)
			}
			return c.age
		})
		about := ""
		if c.at >= 0 {
			about = c.at.of(keyring)
		}
		if got.Action != c.action || got.Refused != c.refused || got.Rest != c.rest || about != "" && got.Key.ID != about {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestARequestIsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	first := newKeyring(t)
	removed := after(t, first, adds, promotes(1), disables(0), removes(0))
	asked := seal.KeyRequest{Rotate: first.ID(), Retire: first.ID()}
	if got := removed.NextKeyStep(asked, func(seal.Key) time.Duration { return 1000 * time.Hour }); got != (seal.KeyStep{Action: seal.KeyRests}) {
		t.Errorf("both are done, and %+v is next", got)
	}
}
