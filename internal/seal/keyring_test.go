package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/prf/hmacprf"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

func TestAKeyringSurvivesItsStorage(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	data := keyring.Data()
	data["later.json"] = []byte("of a later version")
	restored := parseKeyring(t, data)
	if restored.ID() != keyring.ID() || !restored.Contains(keyring.ID()) || restored.Contains("") || restored.Contains("1") {
		t.Error("the ids differ")
	}
	if diff := cmp.Diff(data, restored.Data()); diff != "" {
		t.Errorf("what was parsed must be given back byte for byte: %s", diff)
	}
	if keyring.Fingerprint("p", "x") != restored.Fingerprint("p", "x") {
		t.Error("the fingerprints differ")
	}
	sealed := mustSeal(t, keyring, seal.PurposeCredential, acme(), fullCredential())
	if _, err := restored.Open(seal.PurposeCredential, acme(), sealed); err != nil {
		t.Error(err)
	}
	given := restored.Data()
	given["later.json"][0] = 'X'
	data[seal.SealingKeyset][0] = 'X'
	delete(given, seal.FingerprintKeyset)
	if again := restored.Data(); len(again) != 3 || again["later.json"][0] == 'X' || again[seal.SealingKeyset][0] == 'X' {
		t.Error("changing a map outside changed the keyring")
	}
}

func TestTwoKeyringsShareNothing(t *testing.T) {
	t.Parallel()
	ours, theirs := newKeyring(t), newKeyring(t)
	sealed := mustSeal(t, ours, seal.PurposeCredential, acme(), fullCredential())
	if _, err := theirs.Open(seal.PurposeCredential, acme(), sealed); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("got %v", err)
	}
	// Another key that claims the same id opens nothing either, and the error tells the two apart.
	if _, err := theirs.Open(seal.PurposeCredential, acme(), withKeyID(t, sealed, keyNumber(t, theirs.ID()))); !errors.Is(err, seal.ErrUnreadable) {
		t.Errorf("got %v", err)
	}
}

func TestRotationStepByStep(t *testing.T) {
	t.Parallel()
	first := newKeyring(t)
	old := mustSeal(t, first, seal.PurposeCredential, acme(), fullCredential())

	distributed := parseKeyring(t, changeKeyset(t, first, func(m *keyset.Manager) error {
		_, err := m.Add(aead.XChaCha20Poly1305KeyTemplate())
		return err
	}))
	if distributed.ID() != first.ID() {
		t.Error("a key that is only distributed must not seal")
	}
	second := parseKeyring(t, changeKeyset(t, distributed, func(m *keyset.Manager) error {
		handle := readKeyset(t, distributed.Data()[seal.SealingKeyset])
		added, err := handle.Entry(1)
		if err != nil {
			return err
		}
		return m.SetPrimary(added.KeyID())
	}))
	if second.ID() == first.ID() || !second.Contains(first.ID()) || !distributed.Contains(second.ID()) {
		t.Error("both keys must be known before and after the change of the primary one")
	}
	sealed := mustSeal(t, second, seal.PurposeCredential, acme(), fullCredential())
	for name, text := range map[string]string{"by the old key": old, "by the new key": sealed} {
		for stage, keyring := range map[string]*seal.Keyring{"distributed": distributed, "rotated": second} {
			if _, err := keyring.Open(seal.PurposeCredential, acme(), text); err != nil {
				t.Errorf("sealed %s, opened when %s: %v", name, stage, err)
			}
		}
	}
	if first.Fingerprint("p", "x") != second.Fingerprint("p", "x") {
		t.Error("rotating the sealing key changed the fingerprints")
	}
	for name, change := range map[string]func(*keyset.Manager) error{
		"disabled": func(m *keyset.Manager) error { return m.Disable(keyNumber(t, first.ID())) },
		"removed":  func(m *keyset.Manager) error { return m.Delete(keyNumber(t, first.ID())) },
	} {
		retired := parseKeyring(t, changeKeyset(t, second, change))
		if retired.Contains(first.ID()) {
			t.Errorf("%s: the key is still said to be there", name)
		}
		if _, err := retired.Open(seal.PurposeCredential, acme(), old); !errors.Is(err, seal.ErrUnknownKey) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := retired.Open(seal.PurposeCredential, acme(), sealed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseKeyringRefusesByTheNameOfTheEntry(t *testing.T) {
	t.Parallel()
	sound := newKeyring(t)
	sealing, fingerprint := string(sound.Data()[seal.SealingKeyset]), string(sound.Data()[seal.FingerprintKeyset])
	mixed := changeKeyset(t, sound, func(m *keyset.Manager) error {
		id, err := m.Add(aead.AES256GCMKeyTemplate())
		return errors.Join(err, m.Disable(id))
	})
	many := changeKeyset(t, sound, addPrimaries(seal.MaxKeys))
	cases := map[string]struct{ entry, text string }{
		"no sealing keys":                  {seal.SealingKeyset, ""},
		"no fingerprint key":               {seal.FingerprintKeyset, ""},
		"not JSON":                         {seal.SealingKeyset, sealing[:len(sealing)-3]},
		"text behind":                      {seal.SealingKeyset, sealing + "{}"},
		"an empty object":                  {seal.SealingKeyset, "{}"},
		"null":                             {seal.FingerprintKeyset, "null"},
		"an unknown member":                {seal.SealingKeyset, `{"extra":1,` + sealing[1:]},
		"no primary key":                   {seal.SealingKeyset, strings.Replace(sealing, sound.ID(), "1", 1)},
		"a disabled primary key":           {seal.SealingKeyset, strings.Replace(sealing, "ENABLED", "DISABLED", 1)},
		"key id 0":                         {seal.SealingKeyset, strings.ReplaceAll(sealing, sound.ID(), "0")},
		"a cut key":                        {seal.SealingKeyset, cutKey(t, sealing)},
		"a cut fingerprint key":            {seal.FingerprintKeyset, cutKey(t, fingerprint)},
		"the fingerprint key in its place": {seal.SealingKeyset, fingerprint},
		"the sealing key in its place":     {seal.FingerprintKeyset, sealing},
		"another algorithm":                {seal.SealingKeyset, newKeyset(t, aead.AES256GCMKeyTemplate())},
		"another algorithm, disabled":      {seal.SealingKeyset, string(mixed[seal.SealingKeyset])},
		"without prefix":                   {seal.SealingKeyset, newKeyset(t, withPrefix(tinkpb.OutputPrefixType_RAW))},
		"with another prefix":              {seal.SealingKeyset, newKeyset(t, withPrefix(tinkpb.OutputPrefixType_CRUNCHY))},
		"too many keys":                    {seal.SealingKeyset, string(many[seal.SealingKeyset])},
		"another PRF":                      {seal.FingerprintKeyset, newKeyset(t, prf.HKDFSHA256PRFKeyTemplate())},
		"a longer key and another hash":    {seal.FingerprintKeyset, newKeyset(t, prf.HMACSHA512PRFKeyTemplate())},
		"a shorter key":                    {seal.FingerprintKeyset, newHMACKeyset(t, 16, hmacprf.SHA256)},
		"another hash":                     {seal.FingerprintKeyset, newHMACKeyset(t, 32, hmacprf.SHA512)},
		"a hash that is too short":         {seal.FingerprintKeyset, newHMACKeyset(t, 32, hmacprf.SHA1)},
	}
	for name, c := range cases {
		data := sound.Data()
		data[c.entry] = []byte(c.text)
		keyring, err := seal.ParseKeyring(data)
		if err == nil || keyring != nil {
			t.Errorf("%s: it is accepted", name)
			continue
		}
		if !strings.Contains(err.Error(), c.entry) || strings.Contains(err.Error(), keyValue(t, sealing)) || strings.Contains(err.Error(), keyValue(t, fingerprint)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseKeyringRefusesWhatIsMissingOrTooLong(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{seal.SealingKeyset, seal.FingerprintKeyset} {
		data := newKeyring(t).Data()
		delete(data, entry)
		if _, err := seal.ParseKeyring(data); err == nil || !strings.Contains(err.Error(), entry+" is missing") {
			t.Errorf("without %s: %v", entry, err)
		}
	}
	if _, err := seal.ParseKeyring(nil); err == nil {
		t.Error("no data: it is accepted")
	}
	data := newKeyring(t).Data()
	data["later.json"] = make([]byte, seal.MaxKeyringLength)
	if _, err := seal.ParseKeyring(data); err == nil || !strings.Contains(err.Error(), "65536") {
		t.Errorf("too long: %v", err)
	}
}

// newKeyset returns the JSON of a keyset with one new key.
func newKeyset(tb testing.TB, template *tinkpb.KeyTemplate) string {
	tb.Helper()
	handle, err := keyset.NewHandle(template)
	if err != nil {
		tb.Fatal(err)
	}
	return string(writeKeyset(tb, handle))
}

// newHMACKeyset returns the JSON of a keyset with a key for fingerprints of the given kind.
func newHMACKeyset(tb testing.TB, keyLength int, hash hmacprf.HashType) string {
	tb.Helper()
	parameters, err := hmacprf.NewParameters(keyLength, hash)
	if err != nil {
		tb.Fatal(err)
	}
	manager := keyset.NewManager()
	id, err := manager.AddNewKeyFromParameters(parameters)
	if err := errors.Join(err, manager.SetPrimary(id)); err != nil {
		tb.Fatal(err)
	}
	handle, err := manager.Handle()
	if err != nil {
		tb.Fatal(err)
	}
	return string(writeKeyset(tb, handle))
}

func withPrefix(prefix tinkpb.OutputPrefixType) *tinkpb.KeyTemplate {
	template := aead.XChaCha20Poly1305KeyTemplate()
	template.OutputPrefixType = prefix
	return template
}

// addPrimaries adds that many sealing keys.
func addPrimaries(count int) func(*keyset.Manager) error {
	return func(manager *keyset.Manager) error {
		var failed error
		for range count {
			failed = errors.Join(failed, addPrimary(manager))
		}
		return failed
	}
}

func TestAHundredKeysFit(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	sealed := mustSeal(t, keyring, seal.PurposeCredential, acme(), fullCredential())
	data := changeKeyset(t, keyring, addPrimaries(seal.MaxKeys-1))
	if _, err := parseKeyring(t, data).Open(seal.PurposeCredential, acme(), sealed); err != nil {
		t.Error(err)
	}
}

// keyValue returns the key of a keyset, as it stands in its JSON.
func keyValue(tb testing.TB, text string) string {
	tb.Helper()
	var parsed struct {
		Key []struct {
			KeyData struct {
				Value string `json:"value"`
			} `json:"keyData"`
		} `json:"key"`
	}
	if err := json.Unmarshal([]byte(text), &parsed); err != nil {
		tb.Fatal(err)
	}
	return parsed.Key[0].KeyData.Value
}

// cutKey takes the last byte from the key of a keyset, which is a serialised message: a field mark, the length of
// the key, the key.
func cutKey(tb testing.TB, text string) string {
	tb.Helper()
	value := keyValue(tb, text)
	message, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		tb.Fatal(err)
	}
	message[len(message)-33]--
	return strings.Replace(text, value, base64.StdEncoding.EncodeToString(message[:len(message)-1]), 1)
}

func TestNothingPrintsAKeyOrAToken(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	type holder struct {
		Keyring    *seal.Keyring
		Value      seal.Keyring
		hidden     *seal.Keyring
		buried     seal.Keyring
		Credential seal.Credential
		inner      seal.Credential
	}
	held := holder{keyring, *keyring, keyring, *keyring, fullCredential(), fullCredential()}
	if held.hidden.ID() != held.buried.ID() || held.inner.AccessToken.Empty() {
		t.Fatal("the holder holds nothing")
	}
	outputs := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s", "%T"} {
		outputs[verb] = fmt.Sprintf(strings.Repeat(verb+" ", 6), keyring, *keyring, held, &held, []any{held, &held}, fullCredential())
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("m", "keyring", keyring, "value", *keyring, "held", held, "credential", fullCredential())
	slog.New(slog.NewTextHandler(&logged, nil)).Info("m", "keyring", keyring, "value", *keyring, "held", held, "credential", fullCredential())
	outputs["slog"] = logged.String()
	asJSON, err := json.Marshal(map[string]any{"keyring": keyring, "value": *keyring, "held": held, "credential": fullCredential()})
	if err != nil {
		t.Fatal(err)
	}
	outputs["json"] = string(asJSON)
	outputs["zero"] = fmt.Sprintf("%v %+v %v", seal.Keyring{}, (*seal.Keyring)(nil), seal.Credential{})
	var planted []string
	for _, text := range keyring.Data() {
		value := keyValue(t, string(text))
		message, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			t.Fatal(err)
		}
		planted = append(planted, value, fmt.Sprintf("%d", message)[1:40], fmt.Sprintf("%d", text)[1:40])
		planted = append(planted, encodings(string(message[len(message)-32:]))...)
		planted = append(planted, encodings(string(text))...)
	}
	planted = append(planted, encodings(plantedAccess)...)
	planted = append(planted, encodings(plantedRefresh)...)
	for how, output := range outputs {
		for _, text := range planted {
			if strings.Contains(output, text) {
				t.Errorf("%s prints %q", how, text)
			}
		}
	}
	delete(outputs, "%T")
	delete(outputs, "zero")
	for how, output := range outputs {
		if !strings.Contains(output, "keyring with primary key "+keyring.ID()) || !strings.Contains(output, secret.Redacted) {
			t.Errorf("%s names no key or lacks the mark: %s", how, output)
		}
	}
}
