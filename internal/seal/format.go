package seal

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

const (
	// formatPrefix opens every string of format version 1.
	formatPrefix = "v1:"
	// formatName is the first of the associated data: nothing else that is ever encrypted under these keys may
	// begin with it.
	formatName = "oauth-operator.dev/sealed/v1"
	// prefixLength is the length of Tink's prefix, which names the key: 0x01 and the key id in four bytes.
	prefixLength = 5
	// prefixStart is the first byte of that prefix.
	prefixStart = 0x01
	// maxVersionDigits bounds the version number that is still believed to be one.
	maxVersionDigits = 6
)

// KeyID returns the id of the key that sealed the string, be it a credential or a receipt, without opening it, in the
// form of Keyring.ID. ErrNewerFormat means that the key cannot be told, so no key may be retired on the strength of
// it; ErrMalformed that Open and OpenReceipt would fail with it too.
func KeyID(sealed string) (string, error) {
	id, _, err := parseSealed(sealed, MaxSealedReceiptLength)
	return id, err
}

// formatSealed is the inverse of parseSealed.
func formatSealed(id string, ciphertext []byte) string {
	return formatPrefix + id + ":" + base64.RawURLEncoding.EncodeToString(ciphertext)
}

// parseSealed takes a sealed string of at most limit bytes apart. One credential has exactly one string: a second
// spelling would let whoever can write status make changes that comparisons of strings see and comparisons of
// credentials do not.
func parseSealed(sealed string, limit int) (id string, ciphertext []byte, err error) {
	rest, ours := strings.CutPrefix(sealed, formatPrefix)
	switch {
	case !ours && isNewer(sealed):
		return "", nil, ErrNewerFormat
	case !ours:
		return "", nil, fmt.Errorf("%w: it does not begin with a format version", ErrMalformed)
	case len(sealed) > limit:
		return "", nil, fmt.Errorf("%w: it is longer than %d bytes", ErrMalformed, limit)
	}
	id, encoded, found := strings.Cut(rest, ":")
	number, err := strconv.ParseUint(id, 10, 32)
	if !found || err != nil || number == 0 || keyIDText(uint32(number)) != id {
		return "", nil, fmt.Errorf("%w: it names no key", ErrMalformed)
	}
	ciphertext, err = base64.RawURLEncoding.Strict().DecodeString(encoded)
	// The decoder skips line breaks even when it is strict.
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return "", nil, fmt.Errorf("%w: the ciphertext is not base64url without padding", ErrMalformed)
	}
	if len(ciphertext) < minCiphertextLength {
		return "", nil, fmt.Errorf("%w: the ciphertext is too short", ErrMalformed)
	}
	if ciphertext[0] != prefixStart || uint64(binary.BigEndian.Uint32(ciphertext[1:prefixLength])) != number {
		return "", nil, fmt.Errorf("%w: the ciphertext is not of the key that it names", ErrMalformed)
	}
	return id, ciphertext, nil
}

// isNewer reports whether the string begins like one of a format version above ours: every version begins with
// "v", its number, and a colon.
func isNewer(sealed string) bool {
	version, _, found := strings.Cut(sealed, ":")
	digits, marked := strings.CutPrefix(version, "v")
	if !found || !marked || len(digits) > maxVersionDigits {
		return false
	}
	number, err := strconv.ParseUint(digits, 10, 32)
	return err == nil && number > 1 && digits[0] != '0'
}

// keyIDText is the one spelling of a key id.
func keyIDText(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// associatedData is what a sealed string is bound to, laid out as Keyring.Seal documents it.
func associatedData(purpose Purpose, subject Subject) ([]byte, error) {
	if purpose != PurposeCredential && purpose != PurposeJournal {
		return nil, fmt.Errorf("%w: unknown purpose", ErrInvalidInput)
	}
	for _, part := range []struct{ name, value string }{
		{"cluster id", subject.ClusterID},
		{"namespace", subject.Namespace},
		{"name", subject.Name},
		{"UID", subject.UID},
	} {
		if part.value == "" {
			return nil, fmt.Errorf("%w: the subject has no %s", ErrInvalidInput, part.name)
		}
	}
	return lengthPrefixed(formatName, string(purpose), subject.ClusterID, subject.Namespace, subject.Name, subject.UID), nil
}

// lengthPrefixed joins texts so that no two lists of texts give the same bytes: each text follows its length in
// bytes, eight bytes, big endian.
func lengthPrefixed(parts ...string) []byte {
	size := 0
	for _, part := range parts {
		size += 8 + len(part)
	}
	joined := make([]byte, 0, size)
	for _, part := range parts {
		joined = binary.BigEndian.AppendUint64(joined, uint64(len(part)))
		joined = append(joined, part...)
	}
	return joined
}
