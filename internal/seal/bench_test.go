package seal_test

import (
	"strings"
	"testing"

	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// benchmarkCredential has an access token of 1.2 kB, the size of a usual JWT, and a short refresh token.
func benchmarkCredential() seal.Credential {
	credential := fullCredential()
	credential.AccessToken = secret.New(strings.Repeat("eyJhbGciOiJS", 100))
	return credential
}

func BenchmarkSeal(b *testing.B) {
	keyring, credential := newKeyring(b), benchmarkCredential()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keyring.Seal(seal.PurposeCredential, acme(), credential); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	keyring := newKeyring(b)
	sealed := mustSeal(b, keyring, seal.PurposeCredential, acme(), benchmarkCredential())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keyring.Open(seal.PurposeCredential, acme(), sealed); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(sealed)), "sealed-bytes")
}

func BenchmarkFingerprint(b *testing.B) {
	keyring := newKeyring(b)
	token := strings.Repeat("eyJhbGciOiJS", 100)
	b.ReportAllocs()
	for b.Loop() {
		if keyring.Fingerprint("refresh-token", token) == "" {
			b.Fatal("no fingerprint")
		}
	}
}

// BenchmarkJournal is what the journal adds to an exchange: room, the entry, and its removal.
func BenchmarkJournal(b *testing.B) {
	journal, _ := newJournal(b, 0)
	sealed := mustSealReceipt(b, newKeyring(b), acme(), fullReceipt())
	b.ReportAllocs()
	for b.Loop() {
		slot, err := journal.Reserve(acme(), "claim-1")
		if err != nil {
			b.Fatal(err)
		}
		if err := slot.Write(sealed); err != nil {
			b.Fatal(err)
		}
		if err := journal.Remove(acme().UID, "claim-1"); err != nil {
			b.Fatal(err)
		}
	}
}
