package consent_test

import (
	"bytes"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// testKeys are the keys of both sides, made as the operator makes them.
type testKeys struct {
	consent *seal.ConsentKeys
	data    map[string][]byte
	keyring *seal.Keyring
}

func newTestKeys(t *testing.T) testKeys {
	t.Helper()
	keyring, err := seal.GenerateKeyring()
	if err != nil {
		t.Fatal(err)
	}
	if keyring, err = keyring.WithConsentKeys(); err != nil {
		t.Fatal(err)
	}
	keys := testKeys{keyring: keyring, data: keyring.ConsentData()}
	if keys.consent, err = seal.ParseConsentKeys(keys.data); err != nil {
		t.Fatal(err)
	}
	return keys
}

// rotated are the keys after a rotation: a new one seals, the old one still opens.
func (k testKeys) rotated(t *testing.T) testKeys {
	t.Helper()
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(k.data[seal.ConsentKeyset])))
	if err != nil {
		t.Fatal(err)
	}
	manager := keyset.NewManagerFromHandle(handle)
	id, err := manager.Add(aead.XChaCha20Poly1305KeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if err := manager.SetPrimary(id); err != nil {
		t.Fatal(err)
	}
	if handle, err = manager.Handle(); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)); err != nil {
		t.Fatal(err)
	}
	after := testKeys{keyring: k.keyring, data: map[string][]byte{seal.ConsentKeyset: text.Bytes(), seal.HandOverPublicKeyset: k.data[seal.HandOverPublicKeyset]}}
	if after.consent, err = seal.ParseConsentKeys(after.data); err != nil {
		t.Fatal(err)
	}
	return after
}

// openHandOver does what the controller does, and returns the code and what was captured.
func (k testKeys) openHandOver(binding seal.HandOverBinding, sealed string) (string, error) {
	over, err := k.keyring.OpenHandOver(binding, sealed)
	said := over.Code.Reveal()
	for _, each := range over.Captured {
		said += " " + each.Name + "=" + each.Value
	}
	return said, err
}

func (k testKeys) openVerifier(binding seal.HandOverBinding, sealed string) (string, error) {
	verifier, err := k.keyring.OpenVerifier(binding, sealed)
	return verifier.Reveal(), err
}
