package seal_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// FuzzOpen shows that no string makes Open panic, and that none opens which Seal did not write. The strings that it
// starts from are near to a sound one, so that the fuzzer gets behind the outer checks; the keyring is a stored one, since
// each process of the fuzzer would otherwise make its own and refuse all strings of the others by their key.
func FuzzOpen(f *testing.F) {
	golden := readVector(f, "full.json")
	keyring, sound := parseKeyring(f, bytesOf(golden.Keyring)), golden.Sealed
	if _, err := keyring.Open(golden.Purpose, golden.Subject, sound); err != nil {
		f.Fatal(err)
	}
	f.Add(sound)
	f.Add(sound + "A")
	f.Add(sound[:len(sound)/2])
	f.Add(strings.Replace(sound, "v1", "v2", 1))
	f.Add(withKeyID(f, sound, 7))
	f.Add("v1:" + keyring.ID() + ":")
	f.Add("v1:1:AQAAAAE" + strings.Repeat("A", 80))
	f.Add("")
	f.Fuzz(func(t *testing.T, sealed string) {
		if sealed == sound {
			return
		}
		opened, err := keyring.Open(golden.Purpose, golden.Subject, sealed)
		if err == nil || !opened.AccessToken.Empty() || !opened.RefreshToken.Empty() {
			t.Fatalf("it opens: %q", sealed)
		}
		known := false
		for _, sentinel := range []error{seal.ErrMalformed, seal.ErrNewerFormat, seal.ErrUnknownKey, seal.ErrUnreadable} {
			known = known || errors.Is(err, sentinel)
		}
		if !known {
			t.Fatalf("an error without a name: %v", err)
		}
		if id, err := seal.KeyID(sealed); err == nil && !strings.HasPrefix(sealed, "v1:"+id+":") {
			t.Fatalf("the key id %s is not that of %q", id, sealed)
		}
	})
}
