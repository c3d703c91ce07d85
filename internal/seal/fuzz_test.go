package seal_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// FuzzOpenReceipt shows the same for receipts, and that neither is ever opened as the other.
func FuzzOpenReceipt(f *testing.F) {
	golden := readReceiptVector(f, "full.json")
	keyring, sound := parseKeyring(f, bytesOf(golden.Keyring)), golden.Sealed
	if _, err := keyring.OpenReceipt(golden.Subject, sound); err != nil {
		f.Fatal(err)
	}
	credential := readVector(f, "full.json").Sealed
	for _, sealed := range []string{sound, sound + "A", sound[:len(sound)/2], strings.Replace(sound, "v1", "v2", 1), withKeyID(f, sound, 7), credential, ""} {
		f.Add(sealed)
	}
	f.Fuzz(func(t *testing.T, sealed string) {
		if sealed == sound {
			return
		}
		opened, err := keyring.OpenReceipt(golden.Subject, sealed)
		if err == nil || len(opened.Reply) > 0 || opened.ClaimID != "" || !opened.Template.RefreshToken.Empty() {
			t.Fatalf("it opens: %q", sealed)
		}
		checkNamed(t, err, sealed)
	})
}

// checkNamed asserts that an error is one of ours, and that it quotes nothing of what was read but an id of a key.
func checkNamed(t *testing.T, err error, texts ...string) {
	t.Helper()
	named := errors.Is(err, seal.ErrInvalidInput)
	for _, sentinel := range sentinels() {
		named = named || errors.Is(err, sentinel)
	}
	if !named {
		t.Errorf("an error without a name: %v", err)
	}
	checkQuotesNothing(t, err, texts...)
}

// checkQuotesNothing looks in an error for pieces of what was read. Our own words may stand in an input as well.
func checkQuotesNothing(t *testing.T, err error, texts ...string) {
	t.Helper()
	const piece = 16
	said := err.Error()
	for _, text := range texts {
		for at := 0; at+piece <= len(text); at++ {
			if part := text[at : at+piece]; strings.Contains(said, part) && !strings.Contains(ownWords, part) {
				t.Fatalf("%q quotes %q", said, part)
			}
		}
	}
	if len(said) > 500 {
		t.Errorf("an error of %d bytes", len(said))
	}
}

// ownWords are what the errors say by themselves.
const ownWords = "it opens, but its content is not the JSON that belongs there | not what was sealed here | it does not begin with a format version | " +
	"sealing-keyset.json fingerprint-keyset.json is not a Tink keyset in JSON with one enabled primary key"

// FuzzCredentialText shows that what stands inside a seal is read to one credential or none, and is written again to what
// reads alike. It is authenticated, so that a stranger does not write it; a faulty or another version does.
func FuzzCredentialText(f *testing.F) {
	keyring := newKeyring(f)
	for _, text := range []string{
		`{"cid":"c","lin":"l","gsq":1,"rot":2,"csq":3,"at":"a","rt":"r","iat":"2026-03-01T12:00:00Z","scp":[],"org":["b","a","a"]}`,
		`{"cid":"c","lin":"l","gsq":1,"rot":2,"csq":3,"at":"a","new":{"x":1}}`, `{"gsq":0,"rot":0,"csq":0,"rt":"r","rt":"s"}`,
		`{"gsq":0,"rot":0,"csq":0,"RT":"r"}`, `{"gsq":-1}`, `{"gsq":0,"rot":0,"csq":0,"rt":"\ud800"}`, `{}`, `[]`, ``, "{\"cid\":\"\xff\"}",
		`{"gsq":0,"rot":0,"csq":0,"rt":"r","iat":"2026-03-01T12:00:00.5Z"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		opened, err := keyring.Open(seal.PurposeCredential, acme(), sealByHand(t, keyring, boundParts(), text))
		if err != nil {
			if !opened.AccessToken.Empty() || !opened.RefreshToken.Empty() {
				t.Error("a token came with an error")
			}
			checkNamed(t, err, text)
			return
		}
		if opened.AccessToken.Empty() && opened.RefreshToken.Empty() || opened.Rotation < 0 || opened.GrantSequence < 0 || opened.ClaimSequence < 0 {
			t.Errorf("opened as %v", opened)
		}
		again, err := keyring.Open(seal.PurposeCredential, acme(), mustSeal(t, keyring, seal.PurposeCredential, acme(), opened))
		if err != nil {
			t.Fatalf("it does not come back: %v", err)
		}
		slices.Sort(opened.Origins)
		opened.Origins = slices.Compact(opened.Origins) // as they are sealed
		if diff := cmp.Diff(opened, again, revealed()); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzReceiptText shows the same for receipts.
func FuzzReceiptText(f *testing.F) {
	keyring := newKeyring(f)
	for _, text := range []string{
		`{"clm":"c-1","att":1,"spt":"f","tpl":{"cid":"c","lin":"l","gsq":1,"rot":2,"csq":3},"dlt":60,"rpl":"e30="}`,
		`{"clm":"c-1","att":1,"tpl":{"gsq":1,"rot":2,"csq":3,"rt":"r"},"rpl":"e30=","new":1}`, `{"clm":"../a","att":1,"tpl":{},"rpl":"e30="}`,
		`{"clm":"c","att":0,"tpl":{"gsq":1,"rot":2,"csq":3},"rpl":"e30="}`, `{"clm":"c","att":1,"tpl":null,"rpl":""}`, `{"clm":"c","att":1,"att":2}`,
		`{"gsq":1,"rot":2,"csq":3,"rt":"r"}`, `{}`, ``,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		opened, err := keyring.OpenReceipt(acme(), sealByHand(t, keyring, receiptParts(), text))
		if err != nil {
			if len(opened.Reply) > 0 {
				t.Error("a reply came with an error")
			}
			checkNamed(t, err, text)
			return
		}
		if len(opened.Reply) == 0 || opened.Attempt < 1 || opened.DefaultLifetime < 0 || strings.ContainsAny(opened.ClaimID, "/._") {
			t.Errorf("opened as %v", opened)
		}
		again, err := keyring.OpenReceipt(acme(), mustSealReceipt(t, keyring, acme(), opened))
		if err != nil {
			t.Fatalf("it does not come back: %v", err)
		}
		slices.Sort(opened.Template.Origins)
		opened.Template.Origins = slices.Compact(opened.Template.Origins)
		if diff := cmp.Diff(receiptFields(opened), receiptFields(again), revealed()); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzParseKeyring shows that what is taken for a keyring is one: it seals, opens and comes back. Nothing of a keyring is
// ever said, sound or not.
func FuzzParseKeyring(f *testing.F) {
	golden := readVector(f, "full.json")
	sealing, fingerprint := golden.Keyring[seal.SealingKeyset], golden.Keyring[seal.FingerprintKeyset]
	f.Add(sealing, fingerprint)
	f.Add(fingerprint, sealing)
	f.Add(sealing[:len(sealing)/2], fingerprint)
	f.Add(strings.Replace(sealing, "ENABLED", "DISABLED", 1), fingerprint)
	f.Add(strings.Replace(sealing, "TINK", "RAW", 1), fingerprint)
	f.Add(strings.Replace(sealing, "SYMMETRIC", "REMOTE", 1), fingerprint)
	f.Add("{}", "")
	f.Add(`{"primaryKeyId":1,"key":[]}`, fingerprint)
	f.Fuzz(func(t *testing.T, sealing, fingerprint string) {
		data := map[string][]byte{seal.SealingKeyset: []byte(sealing), seal.FingerprintKeyset: []byte(fingerprint)}
		keyring, err := seal.ParseKeyring(data)
		if err != nil {
			if keyring != nil {
				t.Error("a keyring came with an error")
			}
			checkQuotesNothing(t, err, sealing, fingerprint)
			return
		}
		if !keyring.Contains(keyring.ID()) || len(keyring.Fingerprint("p", "a")) != 52 {
			t.Errorf("%v", keyring)
		}
		if diff := cmp.Diff(data, keyring.Data()); diff != "" {
			t.Error("the data do not come back")
		}
		opened, err := keyring.Open(seal.PurposeCredential, acme(), mustSeal(t, keyring, seal.PurposeCredential, acme(), fullCredential()))
		if err != nil || opened.RefreshToken.Reveal() != plantedRefresh {
			t.Errorf("what it seals does not open: %v", err)
		}
	})
}

// FuzzFileName shows that no name of a file is taken for another entry's, or for a path.
func FuzzFileName(f *testing.F) {
	for _, name := range []string{"u_c.json", "u_c.tmp", "u_c_d.json", "../u_c.json", "u_c.json.json", "_c.json", "u_.json", "", ".json", strings.Repeat("u", 65) + "_c.json"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, suffix := range []string{".json", ".tmp"} {
			uid, claimID, ours := seal.ParseFileName(name, suffix)
			if !ours {
				if uid+claimID != "" {
					t.Errorf("%q: %q, %q", name, uid, claimID)
				}
				continue
			}
			if uid+"_"+claimID+suffix != name || uid == "" || claimID == "" || strings.ContainsAny(name, "/\\\x00") || strings.Contains(name, "..") || len(name) > 150 {
				t.Errorf("%q: %q, %q", name, uid, claimID)
			}
		}
	})
}
