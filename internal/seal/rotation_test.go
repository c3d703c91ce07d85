package seal_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// step is one change of a keyring.
type step func(*seal.Keyring) (*seal.Keyring, error)

// keyAt is a key of a keyring in a rotation, by its place.
type keyAt int

func (s keyAt) of(k *seal.Keyring) string { return k.Keys()[s].ID }

func adds(k *seal.Keyring) (*seal.Keyring, error) { return k.WithNewKey() }

func promotes(at keyAt) step {
	return func(k *seal.Keyring) (*seal.Keyring, error) { return k.WithPrimary(at.of(k)) }
}

func disables(at keyAt) step {
	return func(k *seal.Keyring) (*seal.Keyring, error) { return k.WithDisabled(at.of(k)) }
}

func enables(at keyAt) step {
	return func(k *seal.Keyring) (*seal.Keyring, error) { return k.WithEnabled(at.of(k)) }
}

func removes(at keyAt) step {
	return func(k *seal.Keyring) (*seal.Keyring, error) { return k.Without(at.of(k)) }
}

func after(tb testing.TB, keyring *seal.Keyring, steps ...step) *seal.Keyring {
	tb.Helper()
	for _, step := range steps {
		next, err := step(keyring)
		if err != nil {
			tb.Fatal(err)
		}
		keyring = next
	}
	return keyring
}

func TestAKeyGoesThroughItsStatesInOrder(t *testing.T) {
	t.Parallel()
	const distributed, primary, opens, disabled = seal.KeyDistributed, seal.KeyPrimary, seal.KeyDecryptOnly, seal.KeyDisabled
	cases := map[string]struct {
		steps []step
		want  []seal.KeyState
	}{
		"a new keyring has one key, which seals":        {nil, []seal.KeyState{primary}},
		"a new key does not seal yet":                   {[]step{adds}, []seal.KeyState{primary, distributed}},
		"once it does, the old one opens":               {[]step{adds, promotes(1)}, []seal.KeyState{opens, primary}},
		"the old one is disabled":                       {[]step{adds, promotes(1), disables(0)}, []seal.KeyState{disabled, primary}},
		"and enabled again, if it was needed":           {[]step{adds, promotes(1), disables(0), enables(0)}, []seal.KeyState{opens, primary}},
		"or removed":                                    {[]step{adds, promotes(1), disables(0), removes(0)}, []seal.KeyState{primary}},
		"the next rotation leaves two that only open":   {[]step{adds, promotes(1), adds, promotes(2)}, []seal.KeyState{opens, opens, primary}},
		"a key can go while the next is distributed":    {[]step{adds, promotes(1), disables(0), adds, removes(0)}, []seal.KeyState{primary, distributed}},
		"a disabled key is not in the next one's place": {[]step{adds, promotes(1), disables(0), adds, promotes(2)}, []seal.KeyState{disabled, opens, primary}},
	}
	for name, c := range cases {
		first := newKeyring(t)
		keyring := after(t, first, c.steps...)
		var got []seal.KeyState
		for _, key := range keyring.Keys() {
			got = append(got, key.State)
			if keyring.KeyState(key.ID) != key.State {
				t.Errorf("%s: the state of key %s is told in two ways", name, key.ID)
			}
			if keyring.Contains(key.ID) != (key.State != disabled) {
				t.Errorf("%s: a key that is %s should open unless it is disabled", name, key.State)
			}
			if (keyring.ID() == key.ID) != (key.State == primary) {
				t.Errorf("%s: key %s seals, and is %s", name, keyring.ID(), key.State)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if !bytes.Equal(keyring.Data()[seal.FingerprintKeyset], first.Data()[seal.FingerprintKeyset]) {
			t.Errorf("%s: the fingerprint key changed", name)
		}
	}
}

func TestAKeyringIsChangedInOrderOrNotAtAll(t *testing.T) {
	t.Parallel()
	unknown := func(change func(*seal.Keyring, string) (*seal.Keyring, error), id string) step {
		return func(k *seal.Keyring) (*seal.Keyring, error) { return change(k, id) }
	}
	cases := map[string]struct {
		before []step
		step   step
	}{
		"two keys are not distributed at once":     {[]step{adds}, adds},
		"the key that seals is not promoted":       {nil, promotes(0)},
		"nor one that only opens":                  {[]step{adds, promotes(1)}, promotes(0)},
		"nor one that is disabled":                 {[]step{adds, promotes(1), disables(0)}, promotes(0)},
		"the key that seals is not disabled":       {nil, disables(0)},
		"nor one that is distributed":              {[]step{adds}, disables(1)},
		"the key that seals is not removed":        {nil, removes(0)},
		"nor one that still opens":                 {[]step{adds, promotes(1)}, removes(0)},
		"nor one that is distributed, and unnamed": {[]step{adds}, removes(1)},
		"a key that opens is not enabled":          {[]step{adds, promotes(1)}, enables(0)},
		"an unknown key is not promoted":           {nil, unknown((*seal.Keyring).WithPrimary, "1")},
		"nor removed":                              {nil, unknown((*seal.Keyring).Without, "")},
	}
	for name, c := range cases {
		keyring := after(t, newKeyring(t), c.before...)
		if next, err := c.step(keyring); err == nil || next != nil {
			t.Errorf("%s: it is done", name)
		}
	}
	full := parseKeyring(t, changeKeyset(t, newKeyring(t), addPrimaries(seal.MaxKeys-1)))
	if _, err := full.WithNewKey(); err == nil || !strings.Contains(err.Error(), "100 keys") {
		t.Errorf("more keys than can be read: %v", err)
	}
}

func TestWhatWasSealedOpensUntilItsKeyIsDisabled(t *testing.T) {
	t.Parallel()
	first := newKeyring(t)
	old := mustSeal(t, first, seal.PurposeCredential, acme(), fullCredential())
	distributed := after(t, first, adds)
	promoted := after(t, distributed, promotes(1))
	young := mustSeal(t, promoted, seal.PurposeCredential, acme(), fullCredential())
	disabled := after(t, promoted, disables(0))
	cases := map[string]struct {
		keyring  *seal.Keyring
		old, new error
	}{
		"before, what is new is of an unknown key": {first, nil, seal.ErrUnknownKey},
		"distributed":   {distributed, nil, nil},
		"promoted":      {promoted, nil, nil},
		"disabled":      {disabled, seal.ErrUnknownKey, nil},
		"enabled again": {after(t, disabled, enables(0)), nil, nil},
		"removed":       {after(t, disabled, removes(0)), seal.ErrUnknownKey, nil},
	}
	for name, c := range cases {
		for text, want := range map[string]error{old: c.old, young: c.new} {
			if _, err := c.keyring.Open(seal.PurposeCredential, acme(), text); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", name, err, want)
			}
		}
		if c.keyring.Fingerprint("p", "x") != first.Fingerprint("p", "x") {
			t.Errorf("%s: a fingerprint changed", name)
		}
	}
}

func TestAKeyringFollowsWhatItCameFrom(t *testing.T) {
	t.Parallel()
	first := newKeyring(t)
	promoted := after(t, first, adds, promotes(1))
	removed := after(t, promoted, disables(0), removes(0))
	withEntry := func(entry string, text []byte) *seal.Keyring {
		data := removed.Data()
		data[entry] = text
		return parseKeyring(t, data)
	}
	cases := map[string]struct {
		later, earlier *seal.Keyring
		want           bool
	}{
		"itself":                                  {first, first, true},
		"one with a new key":                      {after(t, first, adds), first, true},
		"one that seals with it":                  {promoted, first, true},
		"one that has disabled what was in use":   {after(t, promoted, disables(0)), first, true},
		"one that has retired what was in use":    {removed, first, true},
		"a backup from before, while it sealed":   {first, promoted, false},
		"a copy from before, with the key in use": {after(t, first, adds), first, true},
		"another keyring":                         {newKeyring(t), first, false},
		"one whose retired keys were lost":        {withEntry(seal.RetiredKeys, nil), first, false},
		"one whose retired keys are no list":      {withEntry(seal.RetiredKeys, []byte("{")), first, false},
		"the right keys, with other fingerprints": {withEntry(seal.FingerprintKeyset, newKeyring(t).Data()[seal.FingerprintKeyset]), removed, false},
	}
	for name, c := range cases {
		if got := c.later.Follows(c.earlier); got != c.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
	if !removed.Retired(first.ID()) || removed.Retired(removed.ID()) || first.Retired(first.ID()) {
		t.Error("what was retired is not told")
	}
}

func TestOtherEntriesOutliveARotation(t *testing.T) {
	t.Parallel()
	data := newKeyring(t).Data()
	data["later.json"] = []byte("of a later version")
	rotated := after(t, parseKeyring(t, data), adds, promotes(1), disables(0), removes(0))
	if string(rotated.Data()["later.json"]) != "of a later version" {
		t.Error("an entry of a later version is gone")
	}
}

func TestTheListOfRetiredKeysStaysShort(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	first := keyring.ID()
	var last string
	for range seal.MaxKeys + 1 {
		last = keyring.ID()
		keyring = after(t, keyring, adds, promotes(1), disables(0), removes(0))
	}
	if keyring.Retired(first) || !keyring.Retired(last) || len(keyring.Data()[seal.RetiredKeys]) > seal.MaxKeys*14 {
		t.Error("the list grows, or forgets the last one")
	}
}
