package seal_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"regexp"
	"strings"
	"testing"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

func TestS39AFingerprintIsNoUnkeyedHash(t *testing.T) {
	t.Parallel()
	ours, theirs := newKeyring(t), newKeyring(t)
	const purpose, part = "refresh-token", "guessable"
	got := ours.Fingerprint(purpose, part)
	if got == theirs.Fingerprint(purpose, part) {
		t.Error("two keyrings give the same fingerprint")
	}
	if !regexp.MustCompile(`^[a-z2-7]{52}$`).MatchString(got) {
		t.Errorf("not 52 characters of base32: %q", got)
	}
	prefixed := func(parts ...string) string {
		var joined strings.Builder
		for _, p := range parts {
			fmt.Fprintf(&joined, "\x00\x00\x00\x00\x00\x00\x00%c%s", len(p), p)
		}
		return joined.String()
	}
	inputs := []string{
		part, purpose + part, purpose + ":" + part, purpose + "\x00" + part, prefixed(part), prefixed(purpose, part),
		prefixed("oauth-operator.dev/fingerprint/v1", purpose, part),
	}
	for _, input := range inputs {
		for key, digest := range map[string]hash.Hash{
			"no key":            sha256.New(),
			"an empty key":      hmac.New(sha256.New, nil),
			"the purpose":       hmac.New(sha256.New, []byte(purpose)),
			"the name":          hmac.New(sha256.New, []byte("oauth-operator.dev/fingerprint/v1")),
			"a key of zeros":    hmac.New(sha256.New, make([]byte, 32)),
			"the id of the key": hmac.New(sha256.New, []byte(ours.ID())),
		} {
			digest.Write([]byte(input))
			sum := digest.Sum(nil)
			for _, text := range []string{
				hex.EncodeToString(sum), base64.RawURLEncoding.EncodeToString(sum), strings.ToLower(base32.StdEncoding.EncodeToString(sum))[:52],
			} {
				if got == text {
					t.Errorf("it is the hash of %q under %s", input, key)
				}
			}
		}
	}
}

func TestFingerprintIsTheDocumentedHMAC(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	message, err := base64.StdEncoding.DecodeString(keyValue(t, string(keyring.Data()[seal.FingerprintKeyset])))
	if err != nil {
		t.Fatal(err)
	}
	digest := hmac.New(sha256.New, message[len(message)-32:])
	for _, text := range []string{
		"\x00\x00\x00\x00\x00\x00\x00\x21" + "oauth-operator.dev/fingerprint/v1",
		"\x00\x00\x00\x00\x00\x00\x00\x07" + "purpose",
		"\x00\x00\x00\x00\x00\x00\x00\x01" + "a",
		"\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		digest.Write([]byte(text))
	}
	want := strings.ToLower(base32.StdEncoding.EncodeToString(digest.Sum(nil)))[:52]
	if got := keyring.Fingerprint("purpose", "a", ""); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFingerprintsOfDifferentPartsDiffer(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	lists := [][]string{
		{""},
		{"", ""},
		{"p"},
		{"p", ""},
		{"p", "", ""},
		{"p", "ab"},
		{"p", "a", "b"},
		{"p", "", "ab"},
		{"p", "ab", ""},
		{"pa", "b"},
		{"p", "a\x00b"},
		{"p", "a", "\x00b"},
		{"q", "ab"},
		{"p", "\x00\x00\x00\x00\x00\x00\x00\x01a"},
		{"p", "a,b"},
	}
	seen := map[string][]string{}
	for _, list := range lists {
		fingerprint := keyring.Fingerprint(list[0], list[1:]...)
		if other, found := seen[fingerprint]; found {
			t.Errorf("%q and %q give the same fingerprint", other, list)
		}
		seen[fingerprint] = list
		if fingerprint != keyring.Fingerprint(list[0], list[1:]...) {
			t.Errorf("%q gives two fingerprints", list)
		}
	}
}

func TestS39SealedStringsShowNoPlaintext(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	leaked := "x" + base64.RawURLEncoding.EncodeToString([]byte("xy"+plantedRefresh+"z"))
	if !showsAny(leaked, encodings(plantedRefresh)) || !showsAny(hex.EncodeToString([]byte(plantedRefresh)), encodings(plantedRefresh)) {
		t.Fatal("the search does not find what was leaked on purpose")
	}
	for range 200 {
		sealed := mustSeal(t, keyring, seal.PurposeCredential, acme(), fullCredential())
		decoded, err := base64.RawURLEncoding.DecodeString(strings.Split(sealed, ":")[2])
		if err != nil {
			t.Fatal(err)
		}
		credential := fullCredential()
		for _, planted := range []string{plantedAccess, plantedRefresh, credential.ClientID, credential.Lineage, credential.Identity, `"cid":`, `"rot":41`} {
			if showsAny(sealed, encodings(planted)) || showsAny(string(decoded), encodings(planted)) {
				t.Fatalf("a sealed string shows %q", planted)
			}
		}
	}
}

func showsAny(text string, forms []string) bool {
	for _, form := range forms {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}
