// Package seal turns a credential into one printable string that only the holder of the keyring can read, and back.
// It does the same with a receipt, which is what a token request brought before anybody has judged it, and holds the
// journal, in which receipts survive the process until the credential made of them is kept.
//
// A sealed credential is bound to the account it belongs to: what was sealed for one account, namespace, cluster or
// purpose does not open for another. The sealed string is all that a person's consent depends on, so format
// version 1, described at Keyring.Seal, is frozen: whatever a released version has sealed, every later one opens.
//
// The journal is the package's only I/O: it reads and writes files in the one folder that it was given, and nothing of
// a reply or a credential gets there unsealed. All else must never do I/O. The package must never read a clock, import
// Kubernetes, print key material or tokens, or put any of them, or any decrypted byte, into an error.
package seal

import (
	"errors"
	"fmt"
)

// The errors of this package, for errors.Is. Their texts, and those of the errors that wrap them, hold no secret.
var (
	// ErrUnknownKey: the string was sealed by a key that this keyring does not hold, or holds disabled. The string
	// itself may be sound: with the right keyring it opens.
	ErrUnknownKey = errors.New("sealed by a key that the keyring does not hold")
	// ErrNewerFormat: the string has a format version that this build cannot read. It must be left as it is.
	ErrNewerFormat = errors.New("sealed in a format newer than this version of oauth-operator reads: upgrade it")
	// ErrMalformed: this is not a string that Seal or SealReceipt writes, or what was opened is not what it was opened
	// as. Of a file in the journal: it is not an entry.
	ErrMalformed = errors.New("not what was sealed here")
	// ErrUnreadable: authentication failed. The key is known, so either bytes were changed, or the string was
	// sealed for another account, namespace, cluster or purpose. Which of them, cryptography cannot tell.
	ErrUnreadable = errors.New("changed, or sealed for another account, namespace, cluster or purpose")
	// ErrInvalidInput: the caller asked for something that cannot be sealed or opened, such as a subject without a
	// UID. It says nothing about any sealed string.
	ErrInvalidInput = errors.New("invalid input")
)

// Purpose says what a sealed string is for. It is part of what a string is bound to, so that a string that was
// written for one purpose cannot be passed off for another.
type Purpose string

// The purposes. Their values are part of format version 1.
const (
	// PurposeCredential is the credential in the status of an account.
	PurposeCredential Purpose = "credential"
	// PurposeJournal is the result of an exchange on the disk of the pod, until it is kept: a receipt.
	PurposeJournal Purpose = "journal"
)

// Subject is what a sealed string is bound to. All four are required, since an empty one would bind to nothing.
type Subject struct {
	// ClusterID identifies the cluster.
	ClusterID string
	// Namespace, Name and UID are those of the account.
	Namespace, Name, UID string
}

// Sizes of a sealed string, in bytes.
const (
	// MaxSealedLength bounds a sealed string. Seal writes none that is longer and Open reads none. The widest
	// tokens that are accepted fit with room to spare, see Keyring.Seal.
	MaxSealedLength = 512 << 10
	// minCiphertextLength is what Tink adds to a text: prefix, nonce, tag.
	minCiphertextLength = prefixLength + 24 + 16
)

// Seal encrypts the credential with the primary key and binds it to purpose and subject.
//
// Format version 1 is
//
//	v1:<key id>:<ciphertext>
//
// The key id is that of the Tink key, in decimal without leading zeros, as Tink's keyset JSON shows it; it stands in
// clear, so that a key can be retired once no string names it. The ciphertext is Tink's own for XChaCha20-Poly1305
// with the TINK prefix (0x01, key id in four bytes, big endian; nonce of 24 bytes; encrypted text; tag of 16 bytes),
// in base64url without padding (RFC 4648 section 5). Each string has exactly one spelling; others are ErrMalformed.
//
// The associated data are these six texts, each preceded by its length in bytes as eight bytes, big endian:
//
//	"oauth-operator.dev/sealed/v1"  purpose  cluster id  namespace  name  account UID
//
// The text is a JSON object in UTF-8, whose members are listed at Credential.
//
// Origins are sealed sorted and without duplicates, times in UTC and cut to whole seconds; everything else comes
// back from Open as it went in. ErrInvalidInput is returned for a purpose or subject that is not complete, for a
// credential without any token, with a negative counter, a year outside 1 to 9999 or a text that is not UTF-8, and
// where the string would be longer than MaxSealedLength.
//
// Sizes: 4/3 of the JSON text, plus 75 bytes at most. Two tokens of 1.2 kB make about 3.7 kB; two of 16 KiB about
// 44 KiB, 88 KiB if they consist of quotes and backslashes, which JSON doubles; two of 64 KiB about 175 KiB and
// 350 KiB. MaxSealedLength therefore always leaves at least 120 KiB of JSON for the rest of the credential.
//
// Safe for concurrent use.
func (k *Keyring) Seal(purpose Purpose, subject Subject, credential Credential) (string, error) {
	text, err := encodeCredential(credential)
	if err != nil {
		return "", err
	}
	return k.sealText(purpose, subject, text, MaxSealedLength)
}

// Open decrypts what Seal wrote for the same purpose and subject. The caller compares the bound values of the
// credential (client id, issuer, origins, counters, identity) with what it expects before it sends anything.
//
// Errors: ErrMalformed, ErrNewerFormat, ErrUnknownKey, ErrUnreadable, ErrInvalidInput. With any of them the
// credential is the zero one. Safe for concurrent use.
func (k *Keyring) Open(purpose Purpose, subject Subject, sealed string) (Credential, error) {
	text, err := k.openText(purpose, subject, sealed, MaxSealedLength)
	if err != nil {
		return Credential{}, err
	}
	return decodeCredential(text)
}

// sealText encrypts a text, so that the string is at most limit bytes long.
func (k *Keyring) sealText(purpose Purpose, subject Subject, text []byte, limit int) (string, error) {
	bound, err := associatedData(purpose, subject)
	if err != nil {
		return "", err
	}
	ciphertext, err := k.held().aead.Encrypt(text, bound)
	if err != nil {
		// The cause is left out: what a library says about a text that is being encrypted is not ours to vouch for.
		return "", fmt.Errorf("%w: key %s did not encrypt", ErrInvalidInput, k.ID())
	}
	sealed := formatSealed(k.held().primary, ciphertext)
	if len(sealed) > limit {
		return "", fmt.Errorf("%w: the sealed string would be %d bytes long, at most %d are allowed", ErrInvalidInput, len(sealed), limit)
	}
	return sealed, nil
}

// openText is the inverse of sealText.
func (k *Keyring) openText(purpose Purpose, subject Subject, sealed string, limit int) ([]byte, error) {
	bound, err := associatedData(purpose, subject)
	if err != nil {
		return nil, err
	}
	id, ciphertext, err := parseSealed(sealed, limit)
	if err != nil {
		return nil, err
	}
	if !k.Contains(id) {
		return nil, fmt.Errorf("key %s, where the primary key is %s: %w", id, k.ID(), ErrUnknownKey)
	}
	text, err := k.held().aead.Decrypt(ciphertext, bound)
	if err != nil {
		// Tink's reason is the same for every cause, on purpose.
		return nil, fmt.Errorf("key %s is known, but it does not open: %w", id, ErrUnreadable)
	}
	return text, nil
}
