package seal

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/hybrid"
	"github.com/tink-crypto/tink-go/v2/hybrid/hpke"
	"github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	strictjson "sigs.k8s.io/json"

	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// The entries of the Secret that the consent server mounts.
const (
	// ConsentKeyset holds the keys of tickets and cookies: XChaCha20-Poly1305 with the TINK prefix. They open nothing else.
	ConsentKeyset = "consent-keyset.json"
	// HandOverPublicKeyset holds the public keys to which hand-overs are sealed. Only the keyring has the private ones.
	HandOverPublicKeyset = "handover-public-keyset.json"
)

// What each kind of text is bound to begins with one of these, so that none can be passed off for another.
const (
	ticketName   = "oauth-operator.dev/ticket/v1"
	cookieName   = "oauth-operator.dev/cookie/v1"
	handOverName = "oauth-operator.dev/hand-over/v1"
	verifierName = "oauth-operator.dev/verifier/v1"
)

// maxConsentText bounds a ticket or a cookie, in bytes.
const maxConsentText = 4 << 10

// Ticket says which account a link is for. Whoever has it may consent for that account.
type Ticket struct {
	Namespace  string    `json:"namespace"`
	Name       string    `json:"name"`
	AccountUID string    `json:"accountUID"`
	Attempt    int64     `json:"attempt"`
	NotAfter   time.Time `json:"notAfter"`
}

// Cookie is what a browser remembers of a sign-in that it has begun.
type Cookie struct {
	Ticket      Ticket `json:"ticket"`
	ClientUID   string `json:"clientUID"`
	ClientID    string `json:"clientID"`
	RedirectURI string `json:"redirectURI"`
	// Issuer is the one that the callback must name; empty where that is not looked at.
	Issuer string `json:"issuer,omitempty"`
	// TokenHost is the host, with port, that is to receive the code, and ScopeHash stands for the scopes that were asked for.
	TokenHost string `json:"tokenHost,omitempty"`
	ScopeHash string `json:"scopeHash,omitempty"`
	// Capture are the names of the callback's fields that are handed over besides the code.
	Capture []string `json:"capture,omitempty"`
	// SealedVerifier is sealed to the operator: whoever has the cookie and these keys cannot open it. Empty without PKCE.
	SealedVerifier string    `json:"sealedVerifier,omitempty"`
	StartTime      time.Time `json:"startTime"`
}

// HandOver is what a callback brought.
type HandOver struct {
	Code secret.Value
	// Issuer is what the callback said of itself, or empty.
	Issuer string
	// ScopeHash stands for the scopes that the person was asked for; empty: not known.
	ScopeHash string
	Captured  []CapturedField
}

// ScopeHash stands for a set of scopes: a list of them can be longer than a cookie.
func ScopeHash(scopes []string) string {
	sorted := slices.Sorted(slices.Values(scopes))
	sum := sha256.Sum256([]byte(strings.Join(slices.Compact(sorted), " ")))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// CapturedField is a field of a callback's query.
type CapturedField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// handOverText is how a HandOver is written.
type handOverText struct {
	Code      string          `json:"code"`
	Issuer    string          `json:"issuer,omitempty"`
	ScopeHash string          `json:"scopeHash,omitempty"`
	Captured  []CapturedField `json:"captured,omitempty"`
}

// HandOverBinding is what a hand-over and its verifier are bound to. All are required.
type HandOverBinding struct {
	AccountUID, ClientUID, ClientID, RedirectURI string
	Attempt                                      int64
	// StateHash is the hash of the state, in base64url.
	StateHash string
}

// ConsentKeys are what the consent server holds: keys for its own tickets and cookies, and public keys to seal to the
// operator with. It opens nothing that is sealed to the operator.
type ConsentKeys struct { //nolint:recvcheck // printing must redact a copy as well, so those methods take a value
	held func() *heldConsentKeys
}

type heldConsentKeys struct {
	aead    tink.AEAD
	encrypt tink.HybridEncrypt
}

// ParseConsentKeys reads the data of the Secret that the operator writes for the consent server.
func ParseConsentKeys(data map[string][]byte) (*ConsentKeys, error) {
	consent, err := parseKeyset(data, ConsentKeyset, isSealingKey)
	if err != nil {
		return nil, err
	}
	public, err := parsePublicKeyset(data)
	if err != nil {
		return nil, err
	}
	held := &heldConsentKeys{}
	if held.aead, err = aead.New(consent); err != nil {
		return nil, fmt.Errorf("%s: the keys cannot be used", ConsentKeyset)
	}
	if held.encrypt, err = hybrid.NewHybridEncrypt(public); err != nil {
		return nil, fmt.Errorf("%s: the keys cannot be used", HandOverPublicKeyset)
	}
	return &ConsentKeys{held: func() *heldConsentKeys { return held }}, nil
}

// parsePublicKeyset refuses a keyset with a private key in it.
func parsePublicKeyset(data map[string][]byte) (*keyset.Handle, error) {
	text, found := data[HandOverPublicKeyset]
	if !found {
		return nil, fmt.Errorf("%s is missing", HandOverPublicKeyset)
	}
	handle, err := keyset.ReadWithNoSecrets(keyset.NewJSONReader(strings.NewReader(string(text))))
	if err != nil || handle.Len() > MaxKeys {
		return nil, fmt.Errorf("%s is not a Tink keyset of public keys in JSON with one enabled primary key", HandOverPublicKeyset)
	}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil || !isHandOverPublicKey(entry.Key()) {
			return nil, fmt.Errorf("%s: key %d of %d is not of the kind that belongs there", HandOverPublicKeyset, i+1, handle.Len())
		}
	}
	return handle, nil
}

func isHandOverPublicKey(candidate key.Key) bool {
	public, ok := candidate.(*hpke.PublicKey)
	if !ok {
		return false
	}
	parameters, ok := public.Parameters().(*hpke.Parameters)
	return ok && parameters.Variant() == hpke.VariantTink && parameters.KEMID() == hpke.DHKEM_X25519_HKDF_SHA256 && parameters.KDFID() == hpke.HKDFSHA256
}

// SealTicket writes a ticket for a URL.
func (k *ConsentKeys) SealTicket(ticket Ticket) (string, error) {
	return k.seal(ticket, lengthPrefixed(ticketName))
}

// OpenTicket opens what SealTicket wrote. ErrUnreadable: this is none.
func (k *ConsentKeys) OpenTicket(text string) (Ticket, error) {
	ticket := Ticket{}
	err := k.open(text, lengthPrefixed(ticketName), &ticket)
	return ticket, err
}

// SealCookie writes a cookie that belongs to the state with that hash.
func (k *ConsentKeys) SealCookie(stateHash []byte, cookie Cookie) (string, error) {
	return k.seal(cookie, lengthPrefixed(cookieName, string(stateHash)))
}

// OpenCookie opens what SealCookie wrote for the same state. ErrUnreadable: this is none.
func (k *ConsentKeys) OpenCookie(stateHash []byte, text string) (Cookie, error) {
	cookie := Cookie{}
	err := k.open(text, lengthPrefixed(cookieName, string(stateHash)), &cookie)
	return cookie, err
}

// SealHandOver seals to the operator. Nobody else opens it, this process neither.
func (k *ConsentKeys) SealHandOver(binding HandOverBinding, over HandOver) (string, error) {
	text, err := json.Marshal(handOverText{Code: over.Code.Reveal(), Issuer: over.Issuer, ScopeHash: over.ScopeHash, Captured: over.Captured}) // sealed in the next line
	if err != nil {
		return "", fmt.Errorf("%w: the hand-over cannot be written", ErrInvalidInput)
	}
	return k.sealOver(handOverName, binding, text)
}

// SealVerifier seals a code verifier to the operator.
func (k *ConsentKeys) SealVerifier(binding HandOverBinding, verifier string) (string, error) {
	return k.sealOver(verifierName, binding, []byte(verifier))
}

func (k *ConsentKeys) sealOver(name string, binding HandOverBinding, text []byte) (string, error) {
	info, err := binding.info(name)
	if err != nil {
		return "", err
	}
	sealed, err := k.held().encrypt.Encrypt(text, info)
	if err != nil {
		return "", fmt.Errorf("%w: the public key did not encrypt", ErrInvalidInput)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

func (b HandOverBinding) info(name string) ([]byte, error) {
	for _, part := range []string{b.AccountUID, b.ClientUID, b.ClientID, b.RedirectURI, b.StateHash} {
		if part == "" {
			return nil, fmt.Errorf("%w: a part of what a hand-over is bound to is missing", ErrInvalidInput)
		}
	}
	return lengthPrefixed(name, b.AccountUID, b.ClientUID, b.ClientID, b.RedirectURI, fmt.Sprint(b.Attempt), b.StateHash), nil
}

func (k *ConsentKeys) seal(value any, bound []byte) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("%w: it cannot be written", ErrInvalidInput)
	}
	sealed, err := k.held().aead.Encrypt(text, bound)
	if err != nil {
		return "", fmt.Errorf("%w: the key did not encrypt", ErrInvalidInput)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

func (k *ConsentKeys) open(text string, bound []byte, into any) error {
	if len(text) > maxConsentText {
		return fmt.Errorf("%w: it is longer than %d bytes", ErrMalformed, maxConsentText)
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return fmt.Errorf("%w: it is not base64url without padding", ErrMalformed)
	}
	opened, err := k.held().aead.Decrypt(sealed, bound)
	if err != nil {
		return ErrUnreadable
	}
	unknown, err := strictjson.UnmarshalStrict(opened, into)
	if errors.Join(append(unknown, err)...) != nil {
		return ErrMalformed
	}
	return nil
}

// String tells nothing of the keys.
func (k ConsentKeys) String() string { return "consent keys" }

// GoString is String, for %#v.
func (k ConsentKeys) GoString() string { return k.String() }

// Format prints String for every verb and flag.
func (k ConsentKeys) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, k.String()) }

// LogValue is String, for log/slog.
func (k ConsentKeys) LogValue() slog.Value { return slog.StringValue(k.String()) }
