package consent_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/hybrid"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// testKeys are the keys of both sides.
type testKeys struct {
	consent *seal.ConsentKeys
	data    map[string][]byte
	private *keyset.Handle
}

func newTestKeys(t *testing.T) testKeys {
	t.Helper()
	var keys testKeys
	consent, err := keyset.NewHandle(aead.XChaCha20Poly1305KeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if keys.private, err = keyset.NewHandle(hybrid.DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_CHACHA20_POLY1305_Key_Template()); err != nil {
		t.Fatal(err)
	}
	public, err := keys.private.Public()
	if err != nil {
		t.Fatal(err)
	}
	var consentText, publicText bytes.Buffer
	if err := insecurecleartextkeyset.Write(consent, keyset.NewJSONWriter(&consentText)); err != nil {
		t.Fatal(err)
	}
	if err := public.WriteWithNoSecrets(keyset.NewJSONWriter(&publicText)); err != nil {
		t.Fatal(err)
	}
	keys.data = map[string][]byte{seal.ConsentKeyset: consentText.Bytes(), seal.HandOverPublicKeyset: publicText.Bytes()}
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
	after := testKeys{private: k.private, data: map[string][]byte{seal.ConsentKeyset: text.Bytes(), seal.HandOverPublicKeyset: k.data[seal.HandOverPublicKeyset]}}
	if after.consent, err = seal.ParseConsentKeys(after.data); err != nil {
		t.Fatal(err)
	}
	return after
}

// openHandOver does what the controller does, and returns the code and what was captured.
func (k testKeys) openHandOver(binding seal.HandOverBinding, sealed string) (string, error) {
	text, err := k.open("oauth-operator.dev/hand-over/v1", binding, sealed)
	if err != nil {
		return "", err
	}
	over := struct {
		Code, Issuer string
		Captured     []seal.CapturedField
	}{}
	if err := json.Unmarshal(text, &over); err != nil {
		return "", err
	}
	said := over.Code
	for _, each := range over.Captured {
		said += " " + each.Name + "=" + each.Value
	}
	return said, nil
}

func (k testKeys) openVerifier(binding seal.HandOverBinding, sealed string) (string, error) {
	text, err := k.open("oauth-operator.dev/verifier/v1", binding, sealed)
	return string(text), err
}

func (k testKeys) open(name string, b seal.HandOverBinding, sealed string) ([]byte, error) {
	decrypt, err := hybrid.NewHybridDecrypt(k.private)
	if err != nil {
		return nil, err
	}
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return nil, err
	}
	var info []byte
	for _, part := range []string{name, b.AccountUID, b.ClientUID, b.ClientID, b.RedirectURI, fmt.Sprint(b.Attempt), b.StateHash} {
		info = append(binary.BigEndian.AppendUint64(info, uint64(len(part))), part...)
	}
	return decrypt.Decrypt(raw, info)
}
