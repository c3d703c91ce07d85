package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// The two tokens of the fixture. They hold everything that JSON escapes and a token may contain.
const (
	plantedAccess  = `at-planted-"quoted"-\back\-<&>-0123456789`
	plantedRefresh = `rt-planted-~!@#$%^*()_+{}|-9876543210`
)

func acme() seal.Subject {
	return seal.Subject{ClusterID: "cluster-1", Namespace: "shop", Name: "acme", UID: "8d3c7d8e-0b0f-4a55-9d0c-0a7d4f0b5a11"}
}

func fullCredential() seal.Credential {
	return seal.Credential{
		ClientID:      "my-client",
		Issuer:        "https://login.example.com",
		Origins:       []string{"https://login.example.com:443", "https://mtls.example.com:8443"},
		Lineage:       "lineage-7",
		GrantSequence: 2, Rotation: 41, ClaimSequence: 44,
		ClientNamespace: "platform",
		Identity:        "Zoë <zoe@example.com>",
		IssuedTime:      time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		ExpirationTime:  time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC),
		AccessToken:     secret.New(plantedAccess), RefreshToken: secret.New(plantedRefresh), TokenType: "Bearer",
		Scopes: []string{"invoices"}, RequestedScopes: []string{"invoices", "contact"},
	}
}

func newKeyring(tb testing.TB) *seal.Keyring {
	tb.Helper()
	keyring, err := seal.GenerateKeyring()
	if err != nil {
		tb.Fatal(err)
	}
	return keyring
}

func parseKeyring(tb testing.TB, data map[string][]byte) *seal.Keyring {
	tb.Helper()
	keyring, err := seal.ParseKeyring(data)
	if err != nil {
		tb.Fatal(err)
	}
	return keyring
}

func mustSeal(tb testing.TB, keyring *seal.Keyring, purpose seal.Purpose, subject seal.Subject, credential seal.Credential) string {
	tb.Helper()
	sealed, err := keyring.Seal(purpose, subject, credential)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

// revealed compares tokens by their text.
func revealed() cmp.Option {
	return cmp.Comparer(func(a, b secret.Value) bool { return a.Equal(b) })
}

func readKeyset(tb testing.TB, text []byte) *keyset.Handle {
	tb.Helper()
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		tb.Fatal(err)
	}
	return handle
}

func writeKeyset(tb testing.TB, handle *keyset.Handle) []byte {
	tb.Helper()
	var text bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)); err != nil {
		tb.Fatal(err)
	}
	return text.Bytes()
}

// changeKeyset returns the data of the keyring after a change to its sealing keys.
func changeKeyset(tb testing.TB, keyring *seal.Keyring, change func(*keyset.Manager) error) map[string][]byte {
	tb.Helper()
	data := keyring.Data()
	manager := keyset.NewManagerFromHandle(readKeyset(tb, data[seal.SealingKeyset]))
	if err := change(manager); err != nil {
		tb.Fatal(err)
	}
	handle, err := manager.Handle()
	if err != nil {
		tb.Fatal(err)
	}
	data[seal.SealingKeyset] = writeKeyset(tb, handle)
	return data
}

// addPrimary adds a sealing key and makes it the primary one; the old one stays for opening.
func addPrimary(manager *keyset.Manager) error {
	id, err := manager.Add(aead.XChaCha20Poly1305KeyTemplate())
	if err != nil {
		return err
	}
	return manager.SetPrimary(id)
}

func keyNumber(tb testing.TB, id string) uint32 {
	tb.Helper()
	number, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		tb.Fatal(err)
	}
	return uint32(number)
}

// sealByHand states format version 1 a second time, with nothing but Tink: what it writes must open.
func sealByHand(tb testing.TB, keyring *seal.Keyring, parts []string, text string) string {
	tb.Helper()
	var bound []byte
	for _, part := range parts {
		bound = binary.BigEndian.AppendUint64(bound, uint64(len(part)))
		bound = append(bound, part...)
	}
	ciphertext, err := tinkAEAD(tb, keyring).Encrypt([]byte(text), bound)
	if err != nil {
		tb.Fatal(err)
	}
	return "v1:" + keyring.ID() + ":" + base64.RawURLEncoding.EncodeToString(ciphertext)
}

func tinkAEAD(tb testing.TB, keyring *seal.Keyring) tink.AEAD {
	tb.Helper()
	primitive, err := aead.New(readKeyset(tb, keyring.Data()[seal.SealingKeyset]))
	if err != nil {
		tb.Fatal(err)
	}
	return primitive
}

// boundParts are the associated data of acme's credential.
func boundParts() []string {
	subject := acme()
	return []string{"oauth-operator.dev/sealed/v1", "credential", subject.ClusterID, subject.Namespace, subject.Name, subject.UID}
}

// encodings returns the spellings in which a planted text could be found again: raw, hex, and base64 at each of the
// three offsets at which it can lie in a longer text.
func encodings(text string) []string {
	found := []string{text, hexOf(text), strings.ToUpper(hexOf(text))}
	for offset := range 3 {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + text))
			// The first and the last characters depend on what surrounds the text.
			found = append(found, encoded[(offset*8+5)/6:len(text)*8/6])
		}
	}
	return found
}

func hexOf(text string) string {
	var digits strings.Builder
	for i := range len(text) {
		digits.WriteString(strconv.FormatUint(uint64(text[i])|0x100, 16)[1:])
	}
	return digits.String()
}

// withKeyID rewrites the key id of a sealed string in both of its places.
func withKeyID(tb testing.TB, sealed string, id uint32) string {
	tb.Helper()
	fields := strings.Split(sealed, ":")
	ciphertext, err := base64.RawURLEncoding.DecodeString(fields[2])
	if err != nil {
		tb.Fatal(err)
	}
	binary.BigEndian.PutUint32(ciphertext[1:5], id)
	return "v1:" + strconv.FormatUint(uint64(id), 10) + ":" + base64.RawURLEncoding.EncodeToString(ciphertext)
}
