package seal

import (
	"encoding/base32"
	"fmt"
	"strings"
)

const (
	// fingerprintName is the first text of what a fingerprint is computed from.
	fingerprintName = "oauth-operator.dev/fingerprint/v1"
	// fingerprintLength is the whole output of HMAC-SHA-256, in bytes.
	fingerprintLength = 32
)

// Fingerprint returns a text that is the same for the same purpose and parts under the same keyring, and tells
// nothing about them to whoever lacks the keyring. Every trace of a secret that leaves memory is one: an unkeyed
// hash would let anyone who reads it test guesses.
//
// It is HMAC-SHA-256 (RFC 2104) under the primary key of FingerprintKeyset of these texts, each preceded by its
// length in bytes as eight bytes, big endian:
//
//	"oauth-operator.dev/fingerprint/v1"  purpose  first part  second part ...
//
// in base32 (RFC 4648 section 6), lower case, without padding: 52 characters of a-z and 2-7, fit for a URL, a file
// name, and the value of a Kubernetes label. Safe for concurrent use.
func (k *Keyring) Fingerprint(purpose string, parts ...string) string {
	input := lengthPrefixed(append([]string{fingerprintName, purpose}, parts...)...)
	output, err := k.held().prf.ComputePRF(input, fingerprintLength)
	if err != nil {
		// ParseKeyring has tried this. An empty text in place of a fingerprint would equal every other one that
		// failed.
		panic(fmt.Sprintf("compute a fingerprint of %d bytes: %v", fingerprintLength, err))
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(output))
}
