package seal_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// smallText is the JSON of the smallest credential.
const smallText = `{"cid":"c","lin":"l","gsq":1,"rot":2,"csq":3,"at":"t"}`

func TestOpenReadsTheDocumentedFormatWrittenByHand(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	text := `{"cid":"c","iss":"i","org":["https://a:1"],"lin":"l","gsq":1,"rot":2,"csq":3,"idn":"d","cns":"n",` +
		`"iat":"2026-01-02T03:04:05Z","exp":"2026-01-02T04:04:05Z","at":"t","rt":"r","typ":"Bearer","scp":["s"],"rsc":[],"imp":["f","g"]}`
	want := seal.Credential{
		ClientID: "c", Issuer: "i", Origins: []string{"https://a:1"}, Lineage: "l",
		GrantSequence: 1, Rotation: 2, ClaimSequence: 3, Identity: "d", ClientNamespace: "n",
		IssuedTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), ExpirationTime: time.Date(2026, 1, 2, 4, 4, 5, 0, time.UTC),
		AccessToken: secret.New("t"), RefreshToken: secret.New("r"), TokenType: "Bearer",
		Scopes: []string{"s"}, RequestedScopes: []string{}, Imports: []string{"f", "g"},
	}
	opened, err := keyring.Open(seal.PurposeCredential, acme(), sealByHand(t, keyring, boundParts(), text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, opened, revealed()); diff != "" {
		t.Error(diff)
	}
	written := openByHand(t, keyring, mustSeal(t, keyring, seal.PurposeCredential, acme(), want))
	if diff := cmp.Diff(text, written); diff != "" {
		t.Errorf("Seal writes other JSON than is documented: %s", diff)
	}
	small := seal.Credential{ClientID: "c", Lineage: "l", GrantSequence: 1, Rotation: 2, ClaimSequence: 3, AccessToken: secret.New("t")}
	written = openByHand(t, keyring, mustSeal(t, keyring, seal.PurposeCredential, acme(), small))
	if diff := cmp.Diff(smallText, written); diff != "" {
		t.Errorf("Seal writes other JSON than is documented: %s", diff)
	}
}

// openByHand returns the JSON text inside a sealed credential of acme.
func openByHand(tb testing.TB, keyring *seal.Keyring, sealed string) string {
	tb.Helper()
	return textInside(tb, keyring, boundParts(), sealed)
}

// textInside opens with nothing but Tink.
func textInside(tb testing.TB, keyring *seal.Keyring, parts []string, sealed string) string {
	tb.Helper()
	ciphertext, err := base64.RawURLEncoding.DecodeString(strings.Split(sealed, ":")[2])
	if err != nil {
		tb.Fatal(err)
	}
	var bound []byte
	for _, part := range parts {
		bound = binary.BigEndian.AppendUint64(bound, uint64(len(part)))
		bound = append(bound, part...)
	}
	text, err := tinkAEAD(tb, keyring).Decrypt(ciphertext, bound)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func TestOpenIsStrictAboutWhatIsInside(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	with := func(more string) string { return strings.TrimSuffix(smallText, "}") + more + "}" }
	cases := map[string]struct {
		text string
		want error
	}{
		"the smallest credential":             {smallText, nil},
		"a member that a later version added": {with(`,"dpop":{"a":[1,2]}`), nil},
		"several of them":                     {with(`,"x1":null,"x2":{"cid":"other","CID":"other"}`), nil},
		"a duplicate member":                  {with(`,"at":"other"`), seal.ErrMalformed},
		"a duplicate counter":                 {with(`,"rot":9`), seal.ErrMalformed},
		"a case variant":                      {with(`,"AT":"other"`), seal.ErrMalformed},
		"a case variant of one that is not":   {with(`,"Rt":"other"`), seal.ErrMalformed},
		"a case variant by Unicode folding":   {with(`,"r` + "\u017f" + `c":["other"]`), seal.ErrMalformed},
		"a duplicate by escape":               {with(`,"\u0061t":"other"`), seal.ErrMalformed},
		"an empty member name":                {with(`,"":1`), seal.ErrMalformed},
		"a dotted member name":                {with(`,"at.x":1`), seal.ErrMalformed},
		"no grant sequence":                   {strings.Replace(smallText, `"gsq":1,`, "", 1), seal.ErrMalformed},
		"no rotation":                         {strings.Replace(smallText, `"rot":2,`, "", 1), seal.ErrMalformed},
		"no claim sequence":                   {strings.Replace(smallText, `"csq":3,`, "", 1), seal.ErrMalformed},
		"a rotation of null":                  {strings.Replace(smallText, `"rot":2`, `"rot":null`, 1), seal.ErrMalformed},
		"a negative rotation":                 {strings.Replace(smallText, `"rot":2`, `"rot":-2`, 1), seal.ErrMalformed},
		"a rotation with a fraction":          {strings.Replace(smallText, `"rot":2`, `"rot":2.5`, 1), seal.ErrMalformed},
		"a rotation beyond 64 bits":           {strings.Replace(smallText, `"rot":2`, `"rot":9223372036854775808`, 1), seal.ErrMalformed},
		"a rotation as text":                  {strings.Replace(smallText, `"rot":2`, `"rot":"2"`, 1), seal.ErrMalformed},
		"no token":                            {strings.Replace(smallText, `,"at":"t"`, "", 1), seal.ErrMalformed},
		"a token as a number":                 {strings.Replace(smallText, `"t"`, `424242`, 1), seal.ErrMalformed},
		"a time with a zone":                  {with(`,"exp":"2026-01-02T03:04:05+01:00"`), seal.ErrMalformed},
		"a time with a fraction":              {with(`,"exp":"2026-01-02T03:04:05.5Z"`), seal.ErrMalformed},
		"a time with a comma":                 {with(`,"exp":"2026-01-02T03:04:05,5Z"`), seal.ErrMalformed},
		"a time in lower case":                {with(`,"iat":"2026-01-02t03:04:05z"`), seal.ErrMalformed},
		"a day that does not exist":           {with(`,"iat":"2026-02-30T03:04:05Z"`), seal.ErrMalformed},
		"text after the object":               {smallText + smallText, seal.ErrMalformed},
		"an array":                            {"[" + smallText + "]", seal.ErrMalformed},
		"null":                                {"null", seal.ErrMalformed},
		"nothing":                             {"", seal.ErrMalformed},
		"cut short":                           {smallText[:20], seal.ErrMalformed},
		"not UTF-8":                           {strings.Replace(smallText, `"t"`, "\"\xff\"", 1), seal.ErrMalformed},
	}
	for name, c := range cases {
		opened, err := keyring.Open(seal.PurposeCredential, acme(), sealByHand(t, keyring, boundParts(), c.text))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if c.want == nil && (opened.AccessToken.Reveal() != "t" || opened.ClientID != "c" || opened.Rotation != 2) {
			t.Errorf("%s: opened something else: %v", name, opened)
		}
		if c.want != nil && (!opened.AccessToken.Empty() || strings.Contains(err.Error(), "other") || strings.Contains(err.Error(), "424242")) {
			t.Errorf("%s: the error tells too much, or comes with a token: %v", name, err)
		}
	}
}

func TestNoMemberMayStandTwiceOrInCapitals(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	credential := fullCredential()
	credential.Imports, credential.Parameters = []string{"first", "second"}, "hash"
	sealed := mustSeal(t, keyring, seal.PurposeCredential, acme(), credential)
	if opened, err := keyring.Open(seal.PurposeCredential, acme(), sealed); err != nil || opened.Parameters != "hash" {
		t.Errorf("what stands for the parameters comes back as %q: %v", opened.Parameters, err)
	}
	full := openByHand(t, keyring, sealed)
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(full), &members); err != nil || len(members) != 18 {
		t.Fatalf("%d members: %v", len(members), err)
	}
	for name, value := range members {
		for _, spelling := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			text := `{"` + spelling + `":` + string(value) + "," + full[1:]
			if _, err := keyring.Open(seal.PurposeCredential, acme(), sealByHand(t, keyring, boundParts(), text)); !errors.Is(err, seal.ErrMalformed) {
				t.Errorf("%s beside %s: got %v", spelling, name, err)
			}
		}
	}
}

func TestTheAssociatedDataAreTheDocumentedOnes(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	cases := map[string]func([]string) []string{
		"another format name":  func(p []string) []string { p[0] = "oauth-operator.dev/sealed/v2"; return p },
		"another purpose":      func(p []string) []string { p[1] = "journal"; return p },
		"another cluster":      func(p []string) []string { p[2] += "x"; return p },
		"another namespace":    func(p []string) []string { p[3] += "x"; return p },
		"another name":         func(p []string) []string { p[4] += "x"; return p },
		"another UID":          func(p []string) []string { p[5] += "x"; return p },
		"a seventh text":       func(p []string) []string { return append(p, "") },
		"one text too few":     func(p []string) []string { return p[:5] },
		"two texts joined":     func(p []string) []string { return []string{p[0], p[1], p[2], p[3] + p[4], p[5]} },
		"no associated data":   func([]string) []string { return nil },
		"another order of two": func(p []string) []string { p[3], p[4] = p[4], p[3]; return p },
	}
	for name, change := range cases {
		sealed := sealByHand(t, keyring, change(boundParts()), smallText)
		if _, err := keyring.Open(seal.PurposeCredential, acme(), sealed); !errors.Is(err, seal.ErrUnreadable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestASealedStringHasOneSpelling(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	sealed := mustSeal(t, keyring, seal.PurposeCredential, acme(), fullCredential())
	fields := strings.Split(sealed, ":")
	version, id, text := fields[0], fields[1], fields[2]
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		sealed string
		want   error
	}{
		"nothing":                           {"", seal.ErrMalformed},
		"no version":                        {id + ":" + text, seal.ErrMalformed},
		"no key id":                         {version + ":" + text, seal.ErrMalformed},
		"an empty key id":                   {"v1::" + text, seal.ErrMalformed},
		"no ciphertext":                     {"v1:" + id, seal.ErrMalformed},
		"an empty ciphertext":               {"v1:" + id + ":", seal.ErrMalformed},
		"a fourth field":                    {sealed + ":", seal.ErrMalformed},
		"version in capitals":               {"V" + sealed[1:], seal.ErrMalformed},
		"version 0":                         {"v0:" + id + ":" + text, seal.ErrMalformed},
		"version 01":                        {"v01:" + id + ":" + text, seal.ErrMalformed},
		"version 02":                        {"v02:" + id + ":" + text, seal.ErrMalformed},
		"version -2":                        {"v-2:" + id + ":" + text, seal.ErrMalformed},
		"version without a number":          {"v:" + id + ":" + text, seal.ErrMalformed},
		"version of too many digits":        {"v1000000:" + id + ":" + text, seal.ErrMalformed},
		"version 2":                         {"v2:" + id + ":" + text, seal.ErrNewerFormat},
		"version 10 with another layout":    {"v10:anything at all", seal.ErrNewerFormat},
		"version 2 and longer than we read": {"v2:" + strings.Repeat("a", seal.MaxSealedLength), seal.ErrNewerFormat},
		"longer than we read":               {sealed + strings.Repeat("A", seal.MaxSealedReceiptLength), seal.ErrMalformed},
		"leading zero in the key id":        {"v1:0" + id + ":" + text, seal.ErrMalformed},
		"sign before the key id":            {"v1:+" + id + ":" + text, seal.ErrMalformed},
		"key id 0":                          {withKeyID(t, sealed, 0), seal.ErrMalformed},
		"key id in hex":                     {"v1:0xff:" + text, seal.ErrMalformed},
		"key id beyond 32 bits":             {"v1:4294967296:" + text, seal.ErrMalformed},
		"key id unlike the ciphertext's":    {"v1:" + fields[1][:len(id)-1] + ":" + text, seal.ErrMalformed},
		"a key that nobody has":             {withKeyID(t, sealed, keyNumber(t, id)^1), seal.ErrUnknownKey},
		"white space before":                {" " + sealed, seal.ErrMalformed},
		"a line break behind":               {sealed + "\n", seal.ErrMalformed},
		"a line break within":               {sealed[:40] + "\r\n" + sealed[40:], seal.ErrMalformed},
		"padding":                           {sealed + "=", seal.ErrMalformed},
		"one character more":                {sealed + "A", nil},
		"standard base64":                   {"v1:" + id + ":" + base64.RawStdEncoding.EncodeToString(append(decoded[:5:5], 0xfb, 0xff)), seal.ErrMalformed},
		"too short for any text":            {"v1:" + id + ":" + base64.RawURLEncoding.EncodeToString(decoded[:44]), seal.ErrMalformed},
		"long enough for an empty text":     {"v1:" + id + ":" + base64.RawURLEncoding.EncodeToString(decoded[:45]), seal.ErrUnreadable},
		"another Tink prefix":               {"v1:" + id + ":" + base64.RawURLEncoding.EncodeToString(append([]byte{0}, decoded[1:]...)), seal.ErrMalformed},
	}
	for name, c := range cases {
		_, err := keyring.Open(seal.PurposeCredential, acme(), c.sealed)
		if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
			t.Errorf("%s: got %v", name, err)
		}
		_, idErr := seal.KeyID(c.sealed)
		if outside := errors.Is(err, seal.ErrMalformed) || errors.Is(err, seal.ErrNewerFormat); outside != (idErr != nil) {
			t.Errorf("%s: Open says %v, KeyID %v", name, err, idErr)
		}
	}
}

func TestBitsThatBase64DoesNotUseMustBeZero(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	refused := 0
	for _, more := range []string{"", "a", "ab"} {
		sealed := sealByHand(t, keyring, boundParts(), strings.Replace(smallText, `"t"`, `"t`+more+`"`, 1))
		alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(alphabet, sealed[len(sealed)-1])
		variant := sealed[:len(sealed)-1] + string(alphabet[last^1])
		lenient, err := base64.RawURLEncoding.DecodeString(strings.Split(variant, ":")[2])
		if err != nil {
			t.Fatal(err)
		}
		same := base64.RawURLEncoding.EncodeToString(lenient) == strings.Split(sealed, ":")[2]
		if _, err := keyring.Open(seal.PurposeCredential, acme(), variant); same && !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("a second spelling of the same bytes: got %v", err)
		}
		if same {
			refused++
		}
	}
	if refused != 2 {
		t.Errorf("two of three lengths have bits to spare, seen: %d", refused)
	}
}

func TestKeyIDNamesThePrimaryKeyOfItsTime(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	id, err := seal.KeyID(mustSeal(t, keyring, seal.PurposeJournal, acme(), fullCredential()))
	if err != nil || id != keyring.ID() {
		t.Errorf("got %q and %v, want %q", id, err, keyring.ID())
	}
}
