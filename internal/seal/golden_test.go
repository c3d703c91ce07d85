package seal_test

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

var updateGolden = flag.Bool( //nolint:gochecknoglobals // a test binary has no other place for a flag
	"update-golden", false, "write the golden vectors that do not exist yet; existing ones are never overwritten")

// goldenFolder holds the vectors of format version 1. A released vector is never changed or removed: it stands for
// what lies in the status of somebody's accounts.
const goldenFolder = "testdata/v1"

// vector is a keyring, a sealed string, and what must come of it. The keys and tokens in it were made for it.
type vector struct {
	Comment      string              `json:"comment"`
	Keyring      map[string]string   `json:"keyring"`
	Purpose      seal.Purpose        `json:"purpose"`
	Subject      seal.Subject        `json:"subject"`
	Sealed       string              `json:"sealed"`
	KeyID        string              `json:"keyID"`
	Credential   goldenCredential    `json:"credential"`
	Fingerprints []goldenFingerprint `json:"fingerprints"`
	Refused      []goldenRefusal     `json:"refused"`
}

// goldenCredential is a credential whose tokens are legible.
type goldenCredential struct {
	ClientID        string    `json:"clientID"`
	Issuer          string    `json:"issuer"`
	Origins         []string  `json:"origins"`
	Lineage         string    `json:"lineage"`
	GrantSequence   int64     `json:"grantSequence"`
	Rotation        int64     `json:"rotation"`
	ClaimSequence   int64     `json:"claimSequence"`
	Identity        string    `json:"identity"`
	ClientNamespace string    `json:"clientNamespace"`
	IssuedTime      time.Time `json:"issuedTime"`
	ExpirationTime  time.Time `json:"expirationTime"`
	Access          string    `json:"access"`
	Refresh         string    `json:"refresh"`
	TokenType       string    `json:"tokenType"`
	Scopes          []string  `json:"scopes"`
	RequestedScopes []string  `json:"requestedScopes"`
	Imports         []string  `json:"imports,omitzero"`
}

type goldenFingerprint struct {
	Purpose     string   `json:"purpose"`
	Parts       []string `json:"parts"`
	Fingerprint string   `json:"fingerprint"`
}

// goldenRefusal is an attempt to open that must fail with the named error.
type goldenRefusal struct {
	Case    string       `json:"case"`
	Purpose seal.Purpose `json:"purpose"`
	Subject seal.Subject `json:"subject"`
	Sealed  string       `json:"sealed"`
	Error   string       `json:"error"`
}

func sentinels() map[string]error {
	return map[string]error{
		"ErrUnknownKey": seal.ErrUnknownKey, "ErrNewerFormat": seal.ErrNewerFormat,
		"ErrMalformed": seal.ErrMalformed, "ErrUnreadable": seal.ErrUnreadable,
	}
}

func TestGoldenVectorsOpenForEver(t *testing.T) {
	t.Parallel()
	if *updateGolden {
		writeGolden(t)
	}
	names, err := fs.Glob(os.DirFS(goldenFolder), "*.json")
	if err != nil {
		t.Fatal(err)
	}
	for name := range goldenInputs() {
		if !slices.Contains(names, name+".json") {
			t.Errorf("the vector %s is gone", name)
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkVector(t, readVector(t, name))
		})
	}
}

func readVector(tb testing.TB, name string) vector {
	tb.Helper()
	golden, err := loadVector(name)
	if err != nil {
		tb.Fatal(err)
	}
	return golden
}

func loadVector(name string) (golden vector, err error) {
	text, err := fs.ReadFile(os.DirFS(goldenFolder), name)
	if err != nil {
		return vector{}, err
	}
	err = json.Unmarshal(text, &golden) //nolint:musttag // seal.Subject goes by its own names, which are settled
	return golden, err
}

func checkVector(t *testing.T, golden vector) {
	t.Helper()
	keyring := parseKeyring(t, bytesOf(golden.Keyring))
	opened, err := keyring.Open(golden.Purpose, golden.Subject, golden.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(golden.Credential.credential(), opened, revealed()); diff != "" {
		t.Error(diff)
	}
	if id, err := seal.KeyID(golden.Sealed); err != nil || id != golden.KeyID || !keyring.Contains(id) {
		t.Errorf("key id %s: %v", id, err)
	}
	for _, f := range golden.Fingerprints {
		if got := keyring.Fingerprint(f.Purpose, f.Parts...); got != f.Fingerprint {
			t.Errorf("fingerprint of %q, %q: got %s, want %s", f.Purpose, f.Parts, got, f.Fingerprint)
		}
	}
	if len(golden.Fingerprints) == 0 || len(golden.Refused) < 10 {
		t.Error("the vector tests less than it should")
	}
	for _, r := range golden.Refused {
		want, named := sentinels()[r.Error]
		if _, err := keyring.Open(r.Purpose, r.Subject, r.Sealed); !named || !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %s", r.Case, err, r.Error)
		}
	}
}

// goldenInputs are what the vectors were made from, once.
func goldenInputs() map[string]vector {
	full := goldenOf(fullCredential())
	small := goldenCredential{
		ClientID: "c", Lineage: "l", IssuedTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Access: "t", TokenType: "Bearer",
		Origins: []string{"https://api.example.com:443"},
	}
	refreshOnly := full
	refreshOnly.Access, refreshOnly.ExpirationTime, refreshOnly.Scopes = "", time.Time{}, []string{}
	long := full
	long.Access = strings.Repeat("eyJhbGciOiJS", 100)
	odd := full
	odd.Identity, odd.ClientID, odd.Rotation = "名前 \u2028\x00\"\\</script>&", "ü:ö@ä", 1<<63-1
	odd.Access, odd.Refresh = everyTokenCharacter(), everyTokenCharacter()
	imported := full
	imported.Imports = []string{strings.Repeat("a2", 26), strings.Repeat("b3", 26)}
	subject := acme()
	wide := seal.Subject{
		ClusterID: "3f1f6a52-5d0f-4e8e-9a36-d0b5f2c1c0de", Namespace: strings.Repeat("n", 63), Name: strings.Repeat("a", 253), UID: subject.UID,
	}
	return map[string]vector{
		"full":         {Comment: "every field set", Purpose: seal.PurposeCredential, Subject: subject, Credential: full},
		"small":        {Comment: "client credentials: no refresh token, no expiry, counters 0", Purpose: seal.PurposeCredential, Subject: subject, Credential: small},
		"refresh-only": {Comment: "a refresh token only, scopes empty and not absent", Purpose: seal.PurposeCredential, Subject: subject, Credential: refreshOnly},
		"long":         {Comment: "an access token of 1.2 kB", Purpose: seal.PurposeCredential, Subject: subject, Credential: long},
		"odd":          {Comment: "every character a token may have; texts that JSON escapes", Purpose: seal.PurposeCredential, Subject: subject, Credential: odd},
		"wide":         {Comment: "the longest namespace and name", Purpose: seal.PurposeCredential, Subject: wide, Credential: full},
		"journal":      {Comment: "sealed for the journal", Purpose: seal.PurposeJournal, Subject: subject, Credential: full},
		"imported":     {Comment: "two refresh tokens were imported", Purpose: seal.PurposeCredential, Subject: subject, Credential: imported},
		"rotated":      {Comment: "sealed by a key that is no longer the primary one", Purpose: seal.PurposeCredential, Subject: subject, Credential: full},
	}
}

// everyTokenCharacter is 0x21 to 0x7E.
func everyTokenCharacter() string {
	var text strings.Builder
	for c := byte(0x21); c <= 0x7e; c++ {
		text.WriteByte(c)
	}
	return text.String()
}

func writeGolden(t *testing.T) {
	t.Helper()
	folder, err := os.OpenRoot(goldenFolder)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = folder.Close() }()
	for name, golden := range goldenInputs() {
		keyring := newKeyring(t)
		golden.Sealed = mustSeal(t, keyring, golden.Purpose, golden.Subject, golden.Credential.credential())
		golden.KeyID = keyring.ID()
		if name == "rotated" {
			keyring = parseKeyring(t, changeKeyset(t, keyring, addPrimary))
		}
		golden.Keyring = map[string]string{}
		for entry, text := range keyring.Data() {
			golden.Keyring[entry] = string(text)
		}
		golden.Fingerprints = goldenFingerprints(keyring)
		golden.Refused = goldenRefusals(t, golden)
		text, err := json.MarshalIndent(golden, "", "  ") //nolint:musttag // seal.Subject goes by its own names, which are settled
		if err != nil {
			t.Fatal(err)
		}
		writeNewFile(t, folder, name+".json", append(text, '\n'))
	}
}

// writeNewFile writes a file that does not exist, and leaves one that does.
func writeNewFile(t *testing.T, folder *os.Root, name string, text []byte) {
	t.Helper()
	// O_EXCL is what refuses to overwrite.
	file, err := folder.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		t.Logf("%s exists and stays as it is", name)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

func goldenFingerprints(keyring *seal.Keyring) []goldenFingerprint {
	fingerprints := []goldenFingerprint{
		{Purpose: "refresh-token", Parts: []string{plantedRefresh}},
		{Purpose: "purpose", Parts: []string{"a", "", "ü"}},
		{Purpose: "none", Parts: []string{}},
	}
	for i, f := range fingerprints {
		fingerprints[i].Fingerprint = keyring.Fingerprint(f.Purpose, f.Parts...)
	}
	return fingerprints
}

func goldenRefusals(t *testing.T, golden vector) []goldenRefusal {
	t.Helper()
	refusal := func(name, want string, change func(*goldenRefusal)) goldenRefusal {
		r := goldenRefusal{Case: name, Purpose: golden.Purpose, Subject: golden.Subject, Sealed: golden.Sealed, Error: want}
		change(&r)
		return r
	}
	other := map[seal.Purpose]seal.Purpose{seal.PurposeCredential: seal.PurposeJournal, seal.PurposeJournal: seal.PurposeCredential}
	middle := len(golden.Sealed) / 2
	letter := map[bool]string{true: "B", false: "A"}[golden.Sealed[middle] == 'A']
	return []goldenRefusal{
		refusal("another cluster", "ErrUnreadable", func(r *goldenRefusal) { r.Subject.ClusterID += "x" }),
		refusal("another namespace", "ErrUnreadable", func(r *goldenRefusal) { r.Subject.Namespace += "x" }),
		refusal("another name", "ErrUnreadable", func(r *goldenRefusal) { r.Subject.Name += "x" }),
		refusal("another UID", "ErrUnreadable", func(r *goldenRefusal) { r.Subject.UID += "x" }),
		refusal("another purpose", "ErrUnreadable", func(r *goldenRefusal) { r.Purpose = other[r.Purpose] }),
		refusal("a letter moved from name to namespace", "ErrUnreadable", func(r *goldenRefusal) {
			r.Subject.Namespace, r.Subject.Name = r.Subject.Namespace+r.Subject.Name[:1], r.Subject.Name[1:]
		}),
		refusal("a changed character", "ErrUnreadable", func(r *goldenRefusal) {
			r.Sealed = r.Sealed[:middle] + letter + r.Sealed[middle+1:]
		}),
		refusal("a key that the keyring lacks", "ErrUnknownKey", func(r *goldenRefusal) {
			r.Sealed = withKeyID(t, r.Sealed, keyNumber(t, golden.KeyID)^1)
		}),
		refusal("a newer format", "ErrNewerFormat", func(r *goldenRefusal) { r.Sealed = "v2" + r.Sealed[2:] }),
		refusal("a line break at the end", "ErrMalformed", func(r *goldenRefusal) { r.Sealed += "\n" }),
		refusal("padding", "ErrMalformed", func(r *goldenRefusal) { r.Sealed += "=" }),
	}
}

func bytesOf(texts map[string]string) map[string][]byte {
	data := map[string][]byte{}
	for entry, text := range texts {
		data[entry] = []byte(text)
	}
	return data
}

func goldenOf(c seal.Credential) goldenCredential {
	return goldenCredential{
		ClientID: c.ClientID, Issuer: c.Issuer, Origins: c.Origins, Lineage: c.Lineage,
		GrantSequence: c.GrantSequence, Rotation: c.Rotation, ClaimSequence: c.ClaimSequence, Identity: c.Identity, ClientNamespace: c.ClientNamespace,
		IssuedTime: c.IssuedTime, ExpirationTime: c.ExpirationTime,
		Access: c.AccessToken.Reveal(), Refresh: c.RefreshToken.Reveal(), TokenType: c.TokenType,
		Scopes: c.Scopes, RequestedScopes: c.RequestedScopes, Imports: c.Imports,
	}
}

func (g goldenCredential) credential() seal.Credential {
	return seal.Credential{
		ClientID: g.ClientID, Issuer: g.Issuer, Origins: g.Origins, Lineage: g.Lineage,
		GrantSequence: g.GrantSequence, Rotation: g.Rotation, ClaimSequence: g.ClaimSequence, Identity: g.Identity, ClientNamespace: g.ClientNamespace,
		IssuedTime: g.IssuedTime, ExpirationTime: g.ExpirationTime,
		AccessToken: secret.New(g.Access), RefreshToken: secret.New(g.Refresh), TokenType: g.TokenType,
		Scopes: g.Scopes, RequestedScopes: g.RequestedScopes, Imports: g.Imports,
	}
}
