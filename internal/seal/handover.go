package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	strictjson "sigs.k8s.io/json"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/hybrid"
	"github.com/tink-crypto/tink-go/v2/hybrid/hpke"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// HandOverKeyset is an entry of the keyring Secret: the private keys that open hand-overs, HPKE with X25519, HKDF-SHA256
// and ChaCha20-Poly1305, with the TINK prefix. ConsentKeyset lies beside it, so that the Secret of the consent server can be
// made again. A keyring of an earlier version has neither, and is whole without them.
const HandOverKeyset = "handover-keyset.json"

const (
	// maxHandOverLength bounds a sealed hand-over, and maxVerifierLength a sealed verifier, as the API type does.
	maxHandOverLength = 32 << 10
	maxVerifierLength = 4 << 10
	// consentKeysKept is how many keys of a consent keyset are kept, whatever they are good for: what they have sealed lives for
	// minutes, and links for two weeks.
	consentKeysKept = 4
)

// consentKeysets are the entries that the consent server depends on, with what makes a key of each.
func consentKeysets() []consentKeyset {
	return []consentKeyset{
		{HandOverKeyset, isHandOverKey, hybrid.DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_CHACHA20_POLY1305_Key_Template},
		{ConsentKeyset, isSealingKey, aead.XChaCha20Poly1305KeyTemplate},
	}
}

// consentKeyset is one of them.
type consentKeyset struct {
	entry    string
	right    func(key.Key) bool
	template func() *tinkpb.KeyTemplate
}

// isHandOverKey accepts what hand-overs are opened with.
func isHandOverKey(candidate key.Key) bool {
	private, ok := candidate.(*hpke.PrivateKey)
	if !ok {
		return false
	}
	public, err := private.PublicKey()
	return err == nil && isHandOverPublicKey(public)
}

// HasConsentKeys reports whether the keyring has the keys that the consent server depends on.
func (k *Keyring) HasConsentKeys() bool { return k.held().handOver != nil }

// WithConsentKeys returns the keyring with the keys that the consent server depends on, where it lacks them. All else in it
// stays byte for byte. An entry that is there and cannot be used is not replaced: somebody may have its keys elsewhere.
func (k *Keyring) WithConsentKeys() (*Keyring, error) {
	data := k.Data()
	for _, each := range consentKeysets() {
		if _, there := data[each.entry]; there {
			continue
		}
		handle, err := keyset.NewHandle(each.template())
		if err != nil {
			return nil, fmt.Errorf("generate a key for %s: %w", each.entry, err)
		}
		if data[each.entry], err = keysetText(each.entry, handle); err != nil {
			return nil, err
		}
	}
	next, err := ParseKeyring(data)
	if err != nil {
		return nil, err
	}
	if !next.HasConsentKeys() {
		return nil, fmt.Errorf("%s or %s is there and cannot be used: restore the keyring from a backup, or remove both entries", HandOverKeyset, ConsentKeyset)
	}
	return next, nil
}

// ConsentData is what belongs into the Secret of the consent server; nil: the keyring has no such keys. The private keys of
// hand-overs are not in it.
func (k *Keyring) ConsentData() map[string][]byte {
	if !k.HasConsentKeys() {
		return nil
	}
	return map[string][]byte{
		ConsentKeyset:        bytes.Clone(k.held().data[ConsentKeyset]),
		HandOverPublicKeyset: bytes.Clone(k.held().handOverPublic),
	}
}

// OpenHandOver opens what ConsentKeys.SealHandOver wrote for the same binding. Errors: ErrMalformed, ErrUnreadable,
// ErrUnknownKey where the keyring has no such keys, ErrInvalidInput. Safe for concurrent use.
func (k *Keyring) OpenHandOver(binding HandOverBinding, text string) (HandOver, error) {
	opened, err := k.openOver(handOverName, binding, text, maxHandOverLength)
	if err != nil {
		return HandOver{}, err
	}
	return decodeHandOver(opened)
}

// OpenVerifier opens what ConsentKeys.SealVerifier wrote for the same binding. It is a code verifier: RFC 7636 section 4.1.
func (k *Keyring) OpenVerifier(binding HandOverBinding, text string) (secret.Value, error) {
	opened, err := k.openOver(verifierName, binding, text, maxVerifierLength)
	if err != nil {
		return secret.Value{}, err
	}
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	if len(opened) < 43 || len(opened) > 128 || strings.Trim(string(opened), unreserved) != "" {
		return secret.Value{}, fmt.Errorf("%w: it opens, but it is no code verifier", ErrMalformed)
	}
	return secret.New(string(opened)), nil
}

// openOver is the inverse of sealOver.
func (k *Keyring) openOver(name string, binding HandOverBinding, text string, limit int) ([]byte, error) {
	info, err := binding.info(name)
	if err != nil {
		return nil, err
	}
	if len(text) > limit {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrMalformed, limit)
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("%w: it is not base64url without padding", ErrMalformed)
	}
	if !k.HasConsentKeys() {
		return nil, fmt.Errorf("the keyring opens no hand-overs: %w", ErrUnknownKey)
	}
	opened, err := k.held().handOver.Decrypt(sealed, info)
	if err != nil {
		return nil, ErrUnreadable
	}
	return opened, nil
}

// decodeHandOver reads what a hand-over holds. The consent server may be of a later version, so that what is not known is
// ignored; but nothing may be there twice. Whoever holds the public key can have sealed it: nothing in it is believed.
func decodeHandOver(text []byte) (HandOver, error) {
	if !utf8.Valid(text) {
		return HandOver{}, fmt.Errorf("%w: it opens, but its content is not UTF-8", ErrMalformed)
	}
	var wire handOverText
	strict, err := strictjson.UnmarshalStrict(text, &wire, strictjson.DisallowDuplicateFields)
	if err != nil || len(strict) > 0 {
		return HandOver{}, fmt.Errorf("%w: it opens, but its content is not that of a hand-over", ErrMalformed)
	}
	if wire.Code == "" {
		return HandOver{}, fmt.Errorf("%w: it opens, but there is no code", ErrMalformed)
	}
	return HandOver{Code: secret.New(wire.Code), Issuer: wire.Issuer, Captured: wire.Captured}, nil
}

// String names nothing of it.
func (h HandOver) String() string { return "hand-over" }

// GoString is String, for %#v.
func (h HandOver) GoString() string { return h.String() }

// MarshalJSON prints String. A hand-over is written by ConsentKeys.SealHandOver.
func (h HandOver) MarshalJSON() ([]byte, error) { return json.Marshal(h.String()) }

// takeConsentKeys builds the primitives of the keys that the consent server depends on. What cannot be used counts as absent:
// tokens are refreshed without them.
func (h *heldKeys) takeConsentKeys() {
	private, err := parseKeyset(h.data, HandOverKeyset, isHandOverKey)
	if err != nil {
		return
	}
	if _, err := parseKeyset(h.data, ConsentKeyset, isSealingKey); err != nil {
		return
	}
	public, err := private.Public()
	if err != nil {
		return
	}
	var text bytes.Buffer
	if public.WriteWithNoSecrets(keyset.NewJSONWriter(&text)) != nil {
		return
	}
	opener, err := hybrid.NewHybridDecrypt(private)
	if err != nil {
		return
	}
	h.handOver, h.handOverPublic = opener, text.Bytes()
}

// changedConsent returns the keyring after a change to each of the keysets that the consent server depends on, if they are
// there.
func (k *Keyring) changedConsent(change func(*keyset.Manager, *keyset.Handle, *tinkpb.KeyTemplate) error) (*Keyring, error) {
	if !k.HasConsentKeys() {
		return k, nil
	}
	data := k.Data()
	for _, each := range consentKeysets() {
		handle, err := parseKeyset(data, each.entry, each.right)
		if err != nil {
			return nil, err
		}
		manager := keyset.NewManagerFromHandle(handle)
		if err := change(manager, handle, each.template()); err != nil {
			return nil, fmt.Errorf("%s: the keys could not be changed", each.entry)
		}
		if handle, err = manager.Handle(); err != nil {
			return nil, fmt.Errorf("%s: the keys could not be changed", each.entry)
		}
		if data[each.entry], err = keysetText(each.entry, handle); err != nil {
			return nil, err
		}
	}
	return ParseKeyring(data)
}

// withNewConsentKeys adds a key to each keyset that seals nothing yet: it is distributed.
func (k *Keyring) withNewConsentKeys() (*Keyring, error) {
	return k.changedConsent(func(manager *keyset.Manager, _ *keyset.Handle, template *tinkpb.KeyTemplate) error {
		_, err := manager.Add(template)
		return err
	})
}

// withNewestConsentKeys has the newest key of each keyset seal.
func (k *Keyring) withNewestConsentKeys() (*Keyring, error) {
	return k.changedConsent(func(manager *keyset.Manager, handle *keyset.Handle, _ *tinkpb.KeyTemplate) error {
		newest, err := handle.Entry(handle.Len() - 1)
		if err != nil {
			return err
		}
		return manager.SetPrimary(newest.KeyID())
	})
}

// withoutOldConsentKeys leaves the newest keys of each keyset.
func (k *Keyring) withoutOldConsentKeys() (*Keyring, error) {
	return k.changedConsent(func(manager *keyset.Manager, handle *keyset.Handle, _ *tinkpb.KeyTemplate) error {
		for i := range handle.Len() - consentKeysKept {
			old, err := handle.Entry(i)
			if err != nil {
				return err
			}
			if old.IsPrimary() {
				return nil
			}
			if err := manager.Delete(old.KeyID()); err != nil {
				return err
			}
		}
		return nil
	})
}

// keysetText is a keyset in Tink's own JSON, in clear.
func keysetText(entry string, handle *keyset.Handle) ([]byte, error) {
	var text bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)); err != nil {
		return nil, fmt.Errorf("%s: the keys could not be written", entry)
	}
	return text.Bytes(), nil
}

// handOverKeys is what heldKeys has of the keys of hand-overs.
type handOverKeys struct {
	handOver       tink.HybridDecrypt
	handOverPublic []byte
}
