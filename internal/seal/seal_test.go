package seal_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

func TestOpenReturnsWhatWasSealed(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	same := func(c *seal.Credential) seal.Credential { return *c }
	cases := map[string]struct {
		change func(*seal.Credential)
		want   func(*seal.Credential) seal.Credential
	}{
		"everything set":           {func(*seal.Credential) {}, same},
		"access token only":        {func(c *seal.Credential) { *c = seal.Credential{AccessToken: secret.New("a")} }, same},
		"refresh token only":       {func(c *seal.Credential) { *c = seal.Credential{RefreshToken: secret.New("r")} }, same},
		"no expiry known":          {func(c *seal.Credential) { c.ExpirationTime = time.Time{} }, same},
		"nil scopes stay nil":      {func(c *seal.Credential) { c.Scopes, c.RequestedScopes = nil, nil }, same},
		"empty scopes stay empty":  {func(c *seal.Credential) { c.Scopes, c.Origins = []string{}, []string{} }, same},
		"scopes keep their order":  {func(c *seal.Credential) { c.Scopes = []string{"z", "a", "z"} }, same},
		"imports keep their order": {func(c *seal.Credential) { c.Imports = []string{"z", "a", "z"} }, same},
		"empty imports stay empty": {func(c *seal.Credential) { c.Imports = []string{} }, same},
		"the largest counters":     {func(c *seal.Credential) { c.Rotation, c.ClaimSequence = 1<<63-1, 1<<63-1 }, same},
		"control characters":       {func(c *seal.Credential) { c.Identity = "\x00\n\u2028\ufffd" }, same},
		"origins are sorted and each stands once": {
			func(c *seal.Credential) { c.Origins = []string{"https://b:1", "https://a:1", "https://b:1"} },
			func(c *seal.Credential) seal.Credential {
				want := *c
				want.Origins = []string{"https://a:1", "https://b:1"}
				return want
			},
		},
		"times become UTC and whole seconds": {
			func(c *seal.Credential) {
				c.ExpirationTime = time.Date(2026, 1, 1, 1, 0, 0, 999, time.FixedZone("somewhere", 7200))
			},
			func(c *seal.Credential) seal.Credential {
				want := *c
				want.ExpirationTime = time.Date(2025, 12, 31, 23, 0, 0, 0, time.UTC)
				return want
			},
		},
	}
	for name, c := range cases {
		credential := fullCredential()
		c.change(&credential)
		before := strings.Join(credential.Origins, " ")
		opened, err := keyring.Open(seal.PurposeCredential, acme(), mustSeal(t, keyring, seal.PurposeCredential, acme(), credential))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(c.want(&credential), opened, revealed()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if strings.Join(credential.Origins, " ") != before {
			t.Errorf("%s: Seal changed the caller's origins", name)
		}
	}
}

func TestSealRefusesWhatWouldNotComeBack(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	broken := "broken-\xff\xfe"
	cases := map[string]func(*seal.Credential){
		"no token at all":            func(c *seal.Credential) { c.AccessToken, c.RefreshToken = secret.Value{}, secret.Value{} },
		"negative grant sequence":    func(c *seal.Credential) { c.GrantSequence = -1 },
		"negative rotation":          func(c *seal.Credential) { c.Rotation = -1 },
		"negative claim sequence":    func(c *seal.Credential) { c.ClaimSequence = -1 },
		"year 10000":                 func(c *seal.Credential) { c.ExpirationTime = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"year 0":                     func(c *seal.Credential) { c.IssuedTime = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) },
		"access token not UTF-8":     func(c *seal.Credential) { c.AccessToken = secret.New(broken) },
		"refresh token not UTF-8":    func(c *seal.Credential) { c.RefreshToken = secret.New(broken) },
		"client id not UTF-8":        func(c *seal.Credential) { c.ClientID = broken },
		"issuer not UTF-8":           func(c *seal.Credential) { c.Issuer = broken },
		"an origin not UTF-8":        func(c *seal.Credential) { c.Origins = []string{broken} },
		"lineage not UTF-8":          func(c *seal.Credential) { c.Lineage = broken },
		"identity not UTF-8":         func(c *seal.Credential) { c.Identity = broken },
		"token type not UTF-8":       func(c *seal.Credential) { c.TokenType = broken },
		"a scope not UTF-8":          func(c *seal.Credential) { c.Scopes = []string{"a", broken} },
		"requested scope not UTF-8":  func(c *seal.Credential) { c.RequestedScopes = []string{broken} },
		"an import not UTF-8":        func(c *seal.Credential) { c.Imports = []string{"a", broken} },
		"longer than can be stored":  func(c *seal.Credential) { c.AccessToken = secret.New(strings.Repeat("a", 400_000)) },
		"longer by its description":  func(c *seal.Credential) { c.Identity = strings.Repeat("a", 400_000) },
		"longer only in the sealing": func(c *seal.Credential) { c.AccessToken = secret.New(strings.Repeat(`"`, 200_000)) },
	}
	for name, change := range cases {
		credential := fullCredential()
		change(&credential)
		sealed, err := keyring.Seal(seal.PurposeCredential, acme(), credential)
		if !errors.Is(err, seal.ErrInvalidInput) || sealed != "" {
			t.Errorf("%s: got %d bytes and %v", name, len(sealed), err)
			continue
		}
		for _, planted := range []string{broken, plantedAccess, plantedRefresh} {
			if strings.Contains(err.Error(), planted) {
				t.Errorf("%s: the error quotes a value: %v", name, err)
			}
		}
	}
}

func TestIncompleteSubjectsAndUnknownPurposesAreRefused(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	sealed := mustSeal(t, keyring, seal.PurposeCredential, acme(), fullCredential())
	cases := map[string]func(*seal.Purpose, *seal.Subject){
		"no cluster id":   func(_ *seal.Purpose, s *seal.Subject) { s.ClusterID = "" },
		"no namespace":    func(_ *seal.Purpose, s *seal.Subject) { s.Namespace = "" },
		"no name":         func(_ *seal.Purpose, s *seal.Subject) { s.Name = "" },
		"no UID":          func(_ *seal.Purpose, s *seal.Subject) { s.UID = "" },
		"no purpose":      func(p *seal.Purpose, _ *seal.Subject) { *p = "" },
		"unknown purpose": func(p *seal.Purpose, _ *seal.Subject) { *p = "Credential" },
	}
	for name, change := range cases {
		purpose, subject := seal.PurposeCredential, acme()
		change(&purpose, &subject)
		if _, err := keyring.Seal(purpose, subject, fullCredential()); !errors.Is(err, seal.ErrInvalidInput) {
			t.Errorf("%s: Seal: %v", name, err)
		}
		if _, err := keyring.Open(purpose, subject, sealed); !errors.Is(err, seal.ErrInvalidInput) {
			t.Errorf("%s: Open: %v", name, err)
		}
	}
}

func TestS10ABlobOfAnotherAccountNamespaceClusterOrPurposeDoesNotOpen(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	cases := map[string]func(*seal.Purpose, *seal.Subject){
		"another cluster":            func(_ *seal.Purpose, s *seal.Subject) { s.ClusterID = "cluster-2" },
		"another namespace":          func(_ *seal.Purpose, s *seal.Subject) { s.Namespace = "shop2" },
		"another name":               func(_ *seal.Purpose, s *seal.Subject) { s.Name = "acm" },
		"the account made again":     func(_ *seal.Purpose, s *seal.Subject) { s.UID = "00000000-0000-0000-0000-000000000000" },
		"another purpose":            func(p *seal.Purpose, _ *seal.Subject) { *p = seal.PurposeJournal },
		"namespace and name swapped": func(_ *seal.Purpose, s *seal.Subject) { s.Namespace, s.Name = s.Name, s.Namespace },
		"a letter moved from name to namespace": func(_ *seal.Purpose, s *seal.Subject) {
			s.Namespace, s.Name = s.Namespace+s.Name[:1], s.Name[1:]
		},
		"a letter moved from namespace to cluster": func(_ *seal.Purpose, s *seal.Subject) {
			s.ClusterID, s.Namespace = s.ClusterID+s.Namespace[:1], s.Namespace[1:]
		},
		"a letter moved from UID to name": func(_ *seal.Purpose, s *seal.Subject) {
			s.Name, s.UID = s.Name+s.UID[:1], s.UID[1:]
		},
		"a length moved along with the text": func(_ *seal.Purpose, s *seal.Subject) {
			s.Namespace, s.Name = s.Namespace+"\x00\x00\x00\x00\x00\x00\x00\x04"+s.Name, "x"
		},
	}
	for name, change := range cases {
		purpose, subject := seal.PurposeCredential, acme()
		change(&purpose, &subject)
		for direction, pair := range map[string][2]seal.Subject{"ours as theirs": {acme(), subject}, "theirs as ours": {subject, acme()}} {
			sealedFor, openedFor := seal.PurposeCredential, purpose
			if direction == "theirs as ours" {
				sealedFor, openedFor = purpose, seal.PurposeCredential
			}
			sealed := mustSeal(t, keyring, sealedFor, pair[0], fullCredential())
			if _, err := keyring.Open(sealedFor, pair[0], sealed); err != nil {
				t.Errorf("%s, %s: it must open where it belongs: %v", name, direction, err)
			}
			opened, err := keyring.Open(openedFor, pair[1], sealed)
			if !errors.Is(err, seal.ErrUnreadable) || !opened.AccessToken.Empty() || !opened.RefreshToken.Empty() {
				t.Errorf("%s, %s: got %v", name, direction, err)
			}
		}
	}
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	sealed := mustSeal(t, keyring, seal.PurposeCredential, acme(), fullCredential())
	for i := range len(sealed) {
		for _, with := range []byte("A0:=\n") {
			if sealed[i] == with {
				continue
			}
			changed := sealed[:i] + string(with) + sealed[i+1:]
			if _, err := keyring.Open(seal.PurposeCredential, acme(), changed); err == nil {
				t.Fatalf("it opens with %q at %d", with, i)
			}
		}
		if _, err := keyring.Open(seal.PurposeCredential, acme(), sealed[:i]); err == nil {
			t.Fatalf("it opens when cut after %d bytes", i)
		}
	}
}

func TestOneKeyringServesManyAtOnce(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	want := keyring.Fingerprint("p", "part")
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 50 {
				sealed, err := keyring.Seal(seal.PurposeCredential, acme(), fullCredential())
				if err != nil {
					t.Error(err)
					return
				}
				opened, err := keyring.Open(seal.PurposeCredential, acme(), sealed)
				if err != nil || opened.RefreshToken.Reveal() != plantedRefresh || keyring.Fingerprint("p", "part") != want {
					t.Errorf("a result is wrong beside others: %v", err)
				}
				if len(keyring.Data()) != 2 || !keyring.Contains(keyring.ID()) {
					t.Error("the keyring changed")
				}
			}
		})
	}
	workers.Wait()
}

func TestTheSameCredentialIsNeverSealedAlikeTwice(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	seen := map[string]bool{}
	for range 100 {
		sealed := mustSeal(t, keyring, seal.PurposeCredential, acme(), fullCredential())
		ciphertext, err := base64.RawURLEncoding.DecodeString(strings.Split(sealed, ":")[2])
		if err != nil {
			t.Fatal(err)
		}
		seen[string(ciphertext[5:29])] = true
	}
	if len(seen) != 100 {
		t.Errorf("100 times sealed with %d nonces", len(seen))
	}
}

func TestSizesAreAsDocumented(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	cases := map[string]struct {
		unit  string
		count int
		most  int
	}{
		"no long token":                 {"a", 1, 700},
		"two tokens of 1.2 kB":          {"a", 1200, 3900},
		"two of 16 KiB":                 {"a", 16 << 10, 45 << 10},
		"two of 16 KiB, all backslash":  {`\`, 16 << 10, 89 << 10},
		"two of 64 KiB":                 {"a", 64 << 10, 176 << 10},
		"two of 64 KiB, all backslash":  {`\`, 64 << 10, 351 << 10},
		"two of 64 KiB, all quotes":     {`"`, 64 << 10, 351 << 10},
		"two of 64 KiB, all ampersands": {`&`, 64 << 10, 176 << 10},
	}
	for name, c := range cases {
		credential := fullCredential()
		credential.AccessToken = secret.New(strings.Repeat(c.unit, c.count))
		credential.RefreshToken = credential.AccessToken
		sealed := mustSeal(t, keyring, seal.PurposeCredential, acme(), credential)
		t.Logf("%s: %d bytes", name, len(sealed))
		if len(sealed) > c.most || c.most > seal.MaxSealedLength {
			t.Errorf("%s: %d bytes, more than %d", name, len(sealed), c.most)
		}
		opened, err := keyring.Open(seal.PurposeCredential, acme(), sealed)
		if err != nil || !opened.RefreshToken.Equal(credential.RefreshToken) {
			t.Errorf("%s: it does not come back: %v", name, err)
		}
	}
}
