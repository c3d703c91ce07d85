package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B

// consentKeyring is a keyring with all keys, and what the consent server holds of them.
func consentKeyring(tb testing.TB) (*seal.Keyring, *seal.ConsentKeys) {
	tb.Helper()
	keyring, err := newKeyring(tb).WithConsentKeys()
	if err != nil {
		tb.Fatal(err)
	}
	return keyring, consentKeys(tb, keyring)
}

func consentKeys(tb testing.TB, keyring *seal.Keyring) *seal.ConsentKeys {
	tb.Helper()
	keys, err := seal.ParseConsentKeys(keyring.ConsentData())
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

func aBinding() seal.HandOverBinding {
	return seal.HandOverBinding{
		AccountUID: "uid-1", ClientUID: "uid-2", ClientID: "my-client",
		RedirectURI: "https://oauth.example.com/callback/platform/smartbusiness", Attempt: 3, StateHash: "hash",
	}
}

func aHandOver() seal.HandOver {
	return seal.HandOver{Code: secret.New("planted-code"), Issuer: "https://issuer.example", Captured: []seal.CapturedField{{Name: "realmId", Value: "42"}}}
}

func TestAHandOverOpensForWhatItIsBoundTo(t *testing.T) {
	t.Parallel()
	keyring, keys := consentKeyring(t)
	sealed, err := keys.SealHandOver(aBinding(), aHandOver())
	if err != nil {
		t.Fatal(err)
	}
	sealedVerifier, err := keys.SealVerifier(aBinding(), verifier)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := keyring.OpenHandOver(aBinding(), sealed)
	if err != nil || opened.Code.Reveal() != "planted-code" || opened.Issuer != "https://issuer.example" {
		t.Errorf("opened %v: %v", opened, err)
	}
	if diff := cmp.Diff(aHandOver().Captured, opened.Captured); diff != "" {
		t.Error(diff)
	}
	if got, err := keyring.OpenVerifier(aBinding(), sealedVerifier); err != nil || got.Reveal() != verifier {
		t.Errorf("the verifier: %v", err)
	}
	// Neither passes for the other.
	if _, err := keyring.OpenHandOver(aBinding(), sealedVerifier); !errors.Is(err, seal.ErrUnreadable) {
		t.Errorf("a verifier as a hand-over: %v", err)
	}
	if _, err := keyring.OpenVerifier(aBinding(), sealed); !errors.Is(err, seal.ErrUnreadable) {
		t.Errorf("a hand-over as a verifier: %v", err)
	}
	for name, change := range map[string]func(*seal.HandOverBinding){
		"account":      func(b *seal.HandOverBinding) { b.AccountUID = "uid-9" },
		"client":       func(b *seal.HandOverBinding) { b.ClientUID = "uid-9" },
		"client id":    func(b *seal.HandOverBinding) { b.ClientID = "other" },
		"redirect URI": func(b *seal.HandOverBinding) { b.RedirectURI += "2" },
		"attempt":      func(b *seal.HandOverBinding) { b.Attempt++ },
		"state":        func(b *seal.HandOverBinding) { b.StateHash = "other" },
	} {
		binding := aBinding()
		change(&binding)
		if _, err := keyring.OpenHandOver(binding, sealed); !errors.Is(err, seal.ErrUnreadable) {
			t.Errorf("it opens for another %s: %v", name, err)
		}
		if _, err := keyring.OpenVerifier(binding, sealedVerifier); !errors.Is(err, seal.ErrUnreadable) {
			t.Errorf("the verifier opens for another %s: %v", name, err)
		}
	}
	if printed := fmt.Sprintf("%v %+v %#v %s", opened, opened, opened, opened); strings.Contains(printed, "planted-code") {
		t.Errorf("printing shows the code: %s", printed)
	}
}

// S18: what the consent server holds opens no hand-over, no verifier and no credential; and nothing private is in it.
func TestS18ConsentKeysOpenNoHandOver(t *testing.T) {
	t.Parallel()
	keyring, keys := consentKeyring(t)
	sealed, err := keys.SealHandOver(aBinding(), aHandOver())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.OpenTicket(sealed); err == nil {
		t.Error("the keys of tickets open a hand-over")
	}
	if _, err := keys.OpenCookie([]byte("hash"), sealed); err == nil {
		t.Error("the keys of cookies open a hand-over")
	}
	data := keyring.ConsentData()
	if names := sortedNames(data); !slices.Equal(names, []string{seal.ConsentKeyset, seal.HandOverPublicKeyset}) {
		t.Errorf("the consent server gets %v", names)
	}
	if bytes.Contains(data[seal.HandOverPublicKeyset], []byte("PRIVATE")) {
		t.Error("there is a private key in what the consent server gets")
	}
	// Whoever puts what the consent server holds into a keyring's place gets no keyring.
	stolen := map[string][]byte{
		seal.SealingKeyset: data[seal.ConsentKeyset], seal.FingerprintKeyset: newKeyring(t).Data()[seal.FingerprintKeyset],
		seal.HandOverKeyset: data[seal.HandOverPublicKeyset], seal.ConsentKeyset: data[seal.ConsentKeyset],
	}
	made, err := seal.ParseKeyring(stolen)
	if err != nil {
		t.Fatal(err)
	}
	if made.HasConsentKeys() {
		t.Error("a public key passes for a private one")
	}
	if _, err := made.OpenHandOver(aBinding(), sealed); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("it opens a hand-over: %v", err)
	}
	credential := mustSeal(t, keyring, seal.PurposeCredential, acme(), fullCredential())
	if _, err := made.Open(seal.PurposeCredential, acme(), withKeyID(t, credential, keyNumber(t, made.ID()))); err == nil {
		t.Error("it opens a credential")
	}
}

func sortedNames(data map[string][]byte) []string {
	var names []string
	for name := range data {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestAKeyringOfAnEarlierVersionGetsTheKeysOfConsents(t *testing.T) {
	t.Parallel()
	earlier := newKeyring(t)
	if earlier.HasConsentKeys() || earlier.ConsentData() != nil {
		t.Error("there are keys already")
	}
	if _, err := earlier.OpenHandOver(aBinding(), "AAAA"); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("got %v", err)
	}
	with, err := earlier.WithConsentKeys()
	if err != nil {
		t.Fatal(err)
	}
	if !with.Follows(earlier) || !earlier.Follows(with) {
		t.Error("it is taken for another keyring")
	}
	for name, text := range earlier.Data() {
		if !bytes.Equal(with.Data()[name], text) {
			t.Errorf("%s was changed", name)
		}
	}
	again, err := with.WithConsentKeys()
	if err != nil || !cmp.Equal(again.Data(), with.Data()) {
		t.Errorf("keys that were there are replaced: %v", err)
	}
	broken := with.Data()
	broken[seal.HandOverKeyset] = []byte("{")
	read, err := seal.ParseKeyring(broken)
	if err != nil || read.HasConsentKeys() {
		t.Fatalf("tokens cannot be refreshed because consents cannot be had: %v", err)
	}
	if _, err := read.WithConsentKeys(); err == nil {
		t.Error("an entry that cannot be used was replaced")
	}
}

// S27, its part of the keys: what was sealed under an earlier key opens while that is there, and what a replica of the consent
// server seals that has the new keys only or the old ones only.
func TestS27KeysOfConsentsAreRotatedWithTheOthers(t *testing.T) {
	t.Parallel()
	keyring, old := consentKeyring(t)
	first := keyring.ID()
	ticket, err := old.SealTicket(seal.Ticket{Namespace: "shop", Name: "acme", AccountUID: "uid-1", Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := old.SealHandOver(aBinding(), aHandOver())
	if err != nil {
		t.Fatal(err)
	}
	check := func(step string, keyring *seal.Keyring) {
		t.Helper()
		if _, err := keyring.OpenHandOver(aBinding(), sealed); err != nil {
			t.Errorf("%s: the hand-over does not open: %v", step, err)
		}
		now := consentKeys(t, keyring)
		if _, err := now.OpenTicket(ticket); err != nil {
			t.Errorf("%s: the ticket does not open: %v", step, err)
		}
		newer, err := now.SealTicket(seal.Ticket{Name: "acme"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := old.OpenTicket(newer); (err != nil) != (step == "promoted") {
			t.Errorf("%s: for a replica with the old keys: %v", step, err)
		}
	}
	added, err := keyring.WithNewKey()
	if err != nil {
		t.Fatal(err)
	}
	check("added", added)
	second := added.Keys()[1].ID
	promoted, err := added.WithPrimary(second)
	if err != nil {
		t.Fatal(err)
	}
	check("promoted", promoted)
	disabled, err := promoted.WithDisabled(first)
	if err != nil {
		t.Fatal(err)
	}
	removed, err := disabled.Without(first)
	if err != nil {
		t.Fatal(err)
	}
	check("promoted", removed)
}

func TestWhatIsNoHandOverIsNamed(t *testing.T) {
	t.Parallel()
	keyring, keys := consentKeyring(t)
	short, err := keys.SealVerifier(aBinding(), "short")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.OpenVerifier(aBinding(), short); !errors.Is(err, seal.ErrMalformed) {
		t.Errorf("a short verifier: %v", err)
	}
	empty, err := keys.SealHandOver(aBinding(), seal.HandOver{})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]error{
		empty: seal.ErrMalformed, "": seal.ErrUnreadable, "AAAA": seal.ErrUnreadable, "not base64!": seal.ErrMalformed,
		"AAA\nBBB": seal.ErrMalformed, strings.Repeat("A", 40<<10): seal.ErrMalformed,
	} {
		if _, err := keyring.OpenHandOver(aBinding(), text); !errors.Is(err, want) {
			t.Errorf("%.20q: %v, want %v", text, err, want)
		}
	}
	if _, err := keyring.OpenHandOver(seal.HandOverBinding{}, empty); !errors.Is(err, seal.ErrInvalidInput) {
		t.Errorf("without a binding: %v", err)
	}
}

// FuzzOpenHandOver shows that no text of a stranger makes the operator panic, and that none opens that was not sealed to it.
func FuzzOpenHandOver(f *testing.F) {
	keyring, keys := consentKeyring(f)
	sound, err := keys.SealHandOver(aBinding(), aHandOver())
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{sound, sound + "A", sound[:len(sound)/2], "AQ", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		opened, err := keyring.OpenHandOver(aBinding(), text)
		if text != sound && (err == nil || !opened.Code.Empty()) {
			t.Fatalf("it opens: %q", text)
		}
		_, _ = keyring.OpenVerifier(aBinding(), text)
	})
}

// FuzzHandOverContent shows the same for what whoever has the public key can seal.
func FuzzHandOverContent(f *testing.F) {
	for _, text := range []string{`{"code":"c"}`, `{"code":"c","code":"d"}`, `{"code":1}`, `{"code":"c","captured":[{"name":"a","value":"b"}]}`, `[]`, "\xff", ""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		opened, err := seal.DecodeHandOver(text)
		if err == nil && opened.Code.Empty() {
			t.Fatal("a hand-over without a code")
		}
		if err != nil {
			checkNamed(t, err)
		}
	})
}

// FuzzOpenTicket shows the same for the texts that browsers bring to the consent server.
func FuzzOpenTicket(f *testing.F) {
	_, keys := consentKeyring(f)
	ticket, err := keys.SealTicket(seal.Ticket{Namespace: "shop", Name: "acme", AccountUID: "uid-1", Attempt: 1})
	if err != nil {
		f.Fatal(err)
	}
	cookie, err := keys.SealCookie([]byte("hash"), seal.Cookie{ClientUID: "uid-2"})
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{ticket, cookie, ticket + "A", ticket[:len(ticket)/2], "AQ", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := keys.OpenTicket(text); err == nil && text != ticket {
			t.Fatalf("a ticket opens: %q", text)
		}
		if _, err := keys.OpenCookie([]byte("hash"), text); err == nil && text != cookie {
			t.Fatalf("a cookie opens: %q", text)
		}
	})
}
