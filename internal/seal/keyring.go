package seal

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/xchacha20poly1305"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/prf/hmacprf"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// The entries of the keyring Secret. The names never change.
const (
	// SealingKeyset holds the keys that seal and open: XChaCha20-Poly1305 with the TINK prefix. One is primary and
	// seals; every enabled one opens.
	SealingKeyset = "sealing-keyset.json"
	// FingerprintKeyset holds the key of Fingerprint: HMAC-SHA-256, 32 bytes. It is a keyset of its own so that
	// fingerprints stay the same when the sealing key is rotated.
	FingerprintKeyset = "fingerprint-keyset.json"
)

// Bounds of a keyring.
const (
	// MaxKeyringLength bounds the data of the keyring Secret, names and values together, in bytes.
	MaxKeyringLength = 64 << 10
	// MaxKeys bounds the keys of one keyset, whatever their state.
	MaxKeys = 100
)

// hmacKeyLength is the length of a fingerprint key, in bytes.
const hmacKeyLength = 32

// Keyring holds the keys. It comes from GenerateKeyring or ParseKeyring, never changes, is safe for concurrent use,
// and prints as the id of its primary key.
type Keyring struct { //nolint:recvcheck // printing must redact a copy as well, so those methods take a value
	// held gives the keys. It is a function, because printing a struct that contains a Keyring in an unexported
	// field goes by reflection and ignores the methods below. A function is printed as an address; a pointer to a
	// struct is followed by some verbs.
	held func() *heldKeys
}

// heldKeys is what a Keyring holds. The primitives are built once: building one for each call would cost more than
// the call.
type heldKeys struct {
	data    map[string][]byte
	primary string
	ids     map[string]struct{}
	keys    []Key
	aead    tink.AEAD
	prf     prf.PRF
	handOverKeys
}

// GenerateKeyring makes a keyring with one new random key of each kind. Whatever it seals is lost with it, so its
// Data is stored before it is used.
func GenerateKeyring() (*Keyring, error) {
	sealing, err := keyset.NewHandle(aead.XChaCha20Poly1305KeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("generate the sealing key: %w", err)
	}
	fingerprint, err := keyset.NewHandle(prf.HMACSHA256PRFKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("generate the fingerprint key: %w", err)
	}
	data := map[string][]byte{}
	for entry, handle := range map[string]*keyset.Handle{SealingKeyset: sealing, FingerprintKeyset: fingerprint} {
		if data[entry], err = keysetText(entry, handle); err != nil {
			return nil, err
		}
	}
	return ParseKeyring(data)
}

// ParseKeyring reads the data of the keyring Secret: SealingKeyset and FingerprintKeyset, each a Tink keyset in
// Tink's own JSON, in clear. A keyset that holds a key of another kind is refused as a whole, even where that key is
// disabled. HandOverKeyset and ConsentKeyset may be missing. Further entries, which a later version may have put there, are
// kept for Data and not looked at.
//
// Errors name the entry at fault and never quote it.
func ParseKeyring(data map[string][]byte) (*Keyring, error) {
	length := 0
	for entry, text := range data {
		length += len(entry) + len(text)
	}
	if length > MaxKeyringLength {
		return nil, fmt.Errorf("the keyring is %d bytes long, at most %d are allowed", length, MaxKeyringLength)
	}
	sealing, err := parseKeyset(data, SealingKeyset, isSealingKey)
	if err != nil {
		return nil, err
	}
	fingerprint, err := parseKeyset(data, FingerprintKeyset, isFingerprintKey)
	if err != nil {
		return nil, err
	}
	return newKeyring(data, sealing, fingerprint)
}

// newKeyring builds the primitives of two checked keysets.
func newKeyring(data map[string][]byte, sealing, fingerprint *keyset.Handle) (*Keyring, error) {
	held := &heldKeys{data: cloneData(data), ids: map[string]struct{}{}}
	for i := range sealing.Len() {
		entry, err := sealing.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("%s: key %d of %d cannot be read", SealingKeyset, i+1, sealing.Len())
		}
		id := keyIDText(entry.KeyID())
		if entry.KeyStatus() == keyset.Enabled {
			held.ids[id] = struct{}{}
		}
		switch {
		case entry.IsPrimary():
			held.primary = id
			held.keys = append(held.keys, Key{id, KeyPrimary})
		case entry.KeyStatus() != keyset.Enabled:
			held.keys = append(held.keys, Key{id, KeyDisabled})
		case held.primary == "":
			held.keys = append(held.keys, Key{id, KeyDecryptOnly})
		default: // keys are added at the end: this one came after the one that seals
			held.keys = append(held.keys, Key{id, KeyDistributed})
		}
	}
	var err error
	if held.aead, err = aead.New(sealing); err != nil {
		return nil, fmt.Errorf("%s: the keys cannot be used", SealingKeyset)
	}
	set, err := prf.NewPRFSet(fingerprint)
	if err != nil {
		return nil, fmt.Errorf("%s: the keys cannot be used", FingerprintKeyset)
	}
	held.prf = set.PRFs[set.PrimaryID]
	// Whether it can give that many bytes depends on the key and not on the input, so Fingerprint cannot fail later.
	if _, err := held.prf.ComputePRF(nil, fingerprintLength); err != nil {
		return nil, fmt.Errorf("%s: the primary key cannot be used", FingerprintKeyset)
	}
	held.takeConsentKeys()
	return &Keyring{held: func() *heldKeys { return held }}, nil
}

// parseKeyset reads one entry and checks every key in it. Tink's own errors are left out, so that it need not be
// known what they quote.
func parseKeyset(data map[string][]byte, name string, right func(key.Key) bool) (*keyset.Handle, error) {
	text, found := data[name]
	if !found {
		return nil, fmt.Errorf("%s is missing", name)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, fmt.Errorf("%s is not a Tink keyset in JSON with one enabled primary key", name)
	}
	if handle.Len() > MaxKeys {
		return nil, fmt.Errorf("%s holds %d keys, at most %d are allowed", name, handle.Len(), MaxKeys)
	}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil || entry.KeyID() == 0 || !right(entry.Key()) {
			return nil, fmt.Errorf("%s: key %d of %d is not of the kind that belongs there", name, i+1, handle.Len())
		}
	}
	return handle, nil
}

// isSealingKey accepts what format version 1 is made of. A key without Tink's prefix is refused: a string could not
// say which key it needs, and each such key would be tried on every string.
func isSealingKey(candidate key.Key) bool {
	sealing, ok := candidate.(*xchacha20poly1305.Key)
	if !ok {
		return false
	}
	parameters, ok := sealing.Parameters().(*xchacha20poly1305.Parameters)
	return ok && parameters.Variant() == xchacha20poly1305.VariantTink
}

// isFingerprintKey accepts HMAC-SHA-256 with a key of full length.
func isFingerprintKey(candidate key.Key) bool {
	fingerprint, ok := candidate.(*hmacprf.Key)
	if !ok {
		return false
	}
	parameters, ok := fingerprint.Parameters().(*hmacprf.Parameters)
	return ok && parameters.HashType() == hmacprf.SHA256 && parameters.KeySizeInBytes() == hmacKeyLength
}

// Data returns what belongs into the keyring Secret, in clear: byte for byte what was parsed, entries of later
// versions included. The map is the caller's own.
func (k *Keyring) Data() map[string][]byte { return cloneData(k.held().data) }

// cloneData copies a map and its values.
func cloneData(data map[string][]byte) map[string][]byte {
	cloned := maps.Clone(data)
	for entry, text := range cloned {
		cloned[entry] = slices.Clone(text)
	}
	return cloned
}

// ID returns the id of the primary sealing key, as Tink's JSON shows it: decimal, 1 to 4294967295. It is chosen at
// random with the key and is no secret.
func (k *Keyring) ID() string { return k.held().primary }

// Contains reports whether the keyring can open what the key with this id has sealed: the key is there and enabled.
func (k *Keyring) Contains(id string) bool {
	_, found := k.held().ids[id]
	return found
}

// String names the primary key, and nothing of the key itself.
func (k Keyring) String() string {
	if k.held == nil {
		return "keyring without keys"
	}
	return "keyring with primary key " + k.held().primary
}

// GoString is String, for %#v.
func (k Keyring) GoString() string { return k.String() }

// Format prints String for every verb and flag.
func (k Keyring) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, k.String()) }

// MarshalJSON prints String. A keyring is stored by its Data.
func (k Keyring) MarshalJSON() ([]byte, error) { return []byte(`"` + k.String() + `"`), nil }

// MarshalText prints String.
func (k Keyring) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue is String, for log/slog.
func (k Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }
