package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// RetiredKeys is an entry of the keyring Secret: the ids of the sealing keys that were removed, as a JSON array of
// strings, the last one last. It lets whoever still has such a key in memory tell a keyring that has gone on from
// another one. It decides nothing else, so that a keyring without it, or with one that cannot be read, is whole.
const RetiredKeys = "retired-keys.json"

// KeyState is what a sealing key is good for.
type KeyState string

const (
	// KeyDistributed opens, and does not seal yet: it was added after the primary key, and waits until everybody has it.
	KeyDistributed KeyState = "Distributed"
	// KeyPrimary opens and seals.
	KeyPrimary KeyState = "Primary"
	// KeyDecryptOnly opens what it has sealed, and seals no more.
	KeyDecryptOnly KeyState = "DecryptOnly"
	// KeyDisabled does nothing. It is there, and can be enabled again.
	KeyDisabled KeyState = "Disabled"
)

// Key is one sealing key, by its id.
type Key struct {
	ID    string
	State KeyState
}

// Keys are the sealing keys, in the order in which they were added.
func (k *Keyring) Keys() []Key { return slices.Clone(k.held().keys) }

// KeyState returns what the key with this id is good for; "": it is not there.
func (k *Keyring) KeyState(id string) KeyState {
	at := slices.IndexFunc(k.held().keys, func(key Key) bool { return key.ID == id })
	if at < 0 {
		return ""
	}
	return k.held().keys[at].State
}

// Retired reports whether the key with this id was removed from the keyring, by Without.
func (k *Keyring) Retired(id string) bool { return slices.Contains(k.retired(), id) }

// retired are the ids in RetiredKeys.
func (k *Keyring) retired() []string {
	var ids []string
	if json.Unmarshal(k.held().data[RetiredKeys], &ids) != nil {
		return nil
	}
	return ids
}

// Follows reports whether this keyring is what became of an earlier one: it makes the same fingerprints, and it has the
// key that the earlier one sealed with, or says that it was retired. Any other is a stranger, or a backup that is too old.
func (k *Keyring) Follows(earlier *Keyring) bool {
	const probe = "keyring"
	return k.Fingerprint(probe) == earlier.Fingerprint(probe) && (k.KeyState(earlier.ID()) != "" || k.Retired(earlier.ID()))
}

// WithNewKey returns the keyring with one more key, new and random, that opens and does not seal: it is distributed. The keys
// that the consent server depends on are rotated along with it.
func (k *Keyring) WithNewKey() (*Keyring, error) {
	if len(k.Keys()) >= MaxKeys {
		return nil, fmt.Errorf("it holds %d keys already, which is the most: retire one first", MaxKeys)
	}
	if slices.ContainsFunc(k.Keys(), func(key Key) bool { return key.State == KeyDistributed }) {
		return nil, errors.New("it holds a new key already that does not seal yet")
	}
	next, err := k.changed(func(manager *keyset.Manager) error {
		_, err := manager.Add(aead.XChaCha20Poly1305KeyTemplate())
		return err
	})
	if err != nil {
		return nil, err
	}
	return next.withNewConsentKeys()
}

// WithPrimary returns the keyring in which a distributed key seals, and the one that did so only opens.
func (k *Keyring) WithPrimary(id string) (*Keyring, error) {
	next, err := k.move(id, KeyDistributed, (*keyset.Manager).SetPrimary)
	if err != nil {
		return nil, err
	}
	return next.withNewestConsentKeys()
}

// WithDisabled returns the keyring in which a key that only opens does nothing any more.
func (k *Keyring) WithDisabled(id string) (*Keyring, error) {
	return k.move(id, KeyDecryptOnly, (*keyset.Manager).Disable)
}

// WithEnabled undoes WithDisabled.
func (k *Keyring) WithEnabled(id string) (*Keyring, error) {
	return k.move(id, KeyDisabled, (*keyset.Manager).Enable)
}

// Without returns the keyring without a disabled key. What that key has sealed cannot be opened any more.
func (k *Keyring) Without(id string) (*Keyring, error) {
	next, err := k.move(id, KeyDisabled, (*keyset.Manager).Delete)
	if err != nil {
		return nil, err
	}
	retired := append(k.retired(), id)
	text, err := json.Marshal(retired[max(0, len(retired)-MaxKeys):])
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", RetiredKeys, err)
	}
	data := next.Data()
	data[RetiredKeys] = text
	if next, err = ParseKeyring(data); err != nil {
		return nil, err
	}
	return next.withoutOldConsentKeys()
}

// move changes what one key is good for, which must be in the given state.
func (k *Keyring) move(id string, from KeyState, change func(*keyset.Manager, uint32) error) (*Keyring, error) {
	if state := k.KeyState(id); state != from {
		return nil, fmt.Errorf("key %s is not %s, but %q", id, from, state)
	}
	number, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%q is no key id", id)
	}
	return k.changed(func(manager *keyset.Manager) error { return change(manager, uint32(number)) }) //nolint:gosec // it was read as one of 32 bits
}

// changed returns the keyring after a change to its sealing keys, as it is read back from what is to be stored. All else in
// it stays byte for byte.
func (k *Keyring) changed(change func(*keyset.Manager) error) (*Keyring, error) {
	data := k.Data()
	handle, err := parseKeyset(data, SealingKeyset, isSealingKey)
	if err != nil {
		return nil, err
	}
	manager := keyset.NewManagerFromHandle(handle)
	if err := change(manager); err != nil {
		return nil, fmt.Errorf("%s: the keys could not be changed", SealingKeyset)
	}
	if handle, err = manager.Handle(); err != nil {
		return nil, fmt.Errorf("%s: the keys could not be changed", SealingKeyset)
	}
	var text bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)); err != nil {
		return nil, fmt.Errorf("%s: the keys could not be written", SealingKeyset)
	}
	data[SealingKeyset] = text.Bytes()
	return ParseKeyring(data)
}
