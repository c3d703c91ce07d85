package seal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
	"unicode/utf8"
)

// Sizes of a receipt, in bytes.
const (
	// MaxReplyLength bounds Receipt.Reply. A body of 1 MiB fits, even where its encoding grows by a third.
	MaxReplyLength = 1536 << 10
	// MaxSealedReceiptLength bounds a sealed receipt. The longest reply beside the longest template stays below it.
	MaxSealedReceiptLength = 3328 << 10
	// maxTemplateLength bounds the JSON text of a template. What fits as a credential fits as a template.
	maxTemplateLength = MaxSealedLength / 4 * 3
	// maxSpentLength bounds Receipt.Spent, as the API type of a claim does.
	maxSpentLength = 64
)

// Receipt is what a token request brought, before anybody has judged it, with all that is needed to make a credential
// of it later. Printing it, in whatever way, shows no token and nothing of the reply. (An unexported field of another
// struct is printed by reflection, past all methods: a receipt does not belong in one that is printed.)
//
// Inside the seal it is a JSON object with these members, which are part of format version 1:
//
//	clm  ClaimID          string, 1 to 64 characters of A-Z, a-z, 0-9 and "-"
//	att  Attempt          integer >= 1
//	spt  Spent            string, at most 64 bytes; absent if empty
//	tpl  Template         object with the members of Credential; here both tokens may be absent
//	dlt  DefaultLifetime  integer > 0, in seconds; absent if zero
//	rpl  Reply            base64 (RFC 4648 section 4), at least one byte
//	cod  Code             object with the members of ReceiptCode; absent if nil
//	idp  Identity         string, absent if empty
//	ext  Captures         array of objects with the members of ReceiptCapture; absent if nil
//
// What is said at Credential about later versions holds here too. No member is ever named like a counter of the
// credential, "gsq", "rot" or "csq": a credential without those is malformed, so that a receipt never opens as one.
type Receipt struct {
	// ClaimID and Attempt are those of the claim under which the request was sent.
	ClaimID string
	Attempt int32
	// Spent is the fingerprint of the refresh token that was sent; empty if none was.
	Spent string
	// Template is the credential to be. Its version is that of the result; its tokens are still those of its parent,
	// if there is one.
	Template Credential
	// DefaultLifetime is how long the access token is good for where the reply does not say, in whole seconds. 0: not
	// known.
	DefaultLifetime time.Duration
	// Reply is what came back, encoded by whoever received it: 1 to MaxReplyLength bytes.
	Reply []byte
	// Code says which code was sent, if one was.
	Code *ReceiptCode
	// Identity is where the reply names whose access it is (RFC 6901), and Captures what else is taken out of it.
	Identity string
	Captures []ReceiptCapture
}

// ReceiptCode says which code was sent.
type ReceiptCode struct {
	HandOverID string `json:"hov"`
	StateHash  string `json:"sth"`
	Attempt    int64  `json:"cat"`
}

// ReceiptCapture is a value to be taken out of a reply.
type ReceiptCapture struct {
	Pointer string   `json:"ptr"`
	Key     string   `json:"key"`
	URL     bool     `json:"url,omitempty"`
	Hosts   []string `json:"hst,omitempty"`
}

// wireReceipt is the JSON inside the seal. The reply is legible here, so no value of this type may leave this file.
type wireReceipt struct {
	ClaimID  string          `json:"clm"`
	Attempt  int32           `json:"att"`
	Spent    string          `json:"spt,omitempty"`
	Template json.RawMessage `json:"tpl"`
	Lifetime int64           `json:"dlt,omitempty"`
	Reply    []byte          `json:"rpl"`

	Code     *ReceiptCode     `json:"cod,omitempty"`
	Identity string           `json:"idp,omitempty"`
	Captures []ReceiptCapture `json:"ext,omitempty"`
}

// receiptNames are the members of wireReceipt.
const receiptNames = " clm att spt tpl dlt rpl cod idp ext "

// maxLifetime is the longest lifetime that a time.Duration can hold, in seconds.
const maxLifetime = int64((1<<63 - 1) / time.Second)

// SealReceipt encrypts the receipt with the primary key and binds it to PurposeJournal and the subject, in the same
// format as Seal.
//
// ErrInvalidInput is returned for a subject that is not complete, for what is not as documented at Receipt, and for a
// template that could not be sealed as a credential for another reason than having no token. None of that depends on
// the reply, apart from its length: if a receipt can be sealed with any reply, it can be sealed with every other of
// 1 to MaxReplyLength bytes. So what would fail is found by sealing it with another reply before the request is sent.
//
// Size: 16/9 of the reply, plus 4/3 of the template's JSON text, plus about 400 bytes. Safe for concurrent use.
func (k *Keyring) SealReceipt(subject Subject, r Receipt) (string, error) {
	text, err := encodeReceipt(r)
	if err != nil {
		return "", err
	}
	return k.sealText(PurposeJournal, subject, text, MaxSealedReceiptLength)
}

// OpenReceipt decrypts what SealReceipt wrote for the same subject. Errors are those of Open; with any of them the
// receipt is the zero one. Safe for concurrent use.
func (k *Keyring) OpenReceipt(subject Subject, sealed string) (Receipt, error) {
	text, err := k.openText(PurposeJournal, subject, sealed, MaxSealedReceiptLength)
	if err != nil {
		return Receipt{}, err
	}
	return decodeReceipt(text)
}

// encodeReceipt returns the JSON text of a receipt.
func encodeReceipt(r Receipt) ([]byte, error) {
	template, err := encodeTemplate(r.Template)
	if err != nil {
		return nil, err
	}
	if len(template) > maxTemplateLength {
		return nil, fmt.Errorf("%w: the template is %d bytes long, at most %d are allowed", ErrInvalidInput, len(template), maxTemplateLength)
	}
	if r.DefaultLifetime%time.Second != 0 {
		return nil, fmt.Errorf("%w: the default lifetime is not of whole seconds", ErrInvalidInput)
	}
	wire := wireReceipt{
		ClaimID: r.ClaimID, Attempt: r.Attempt, Spent: r.Spent,
		Template: template, Lifetime: int64(r.DefaultLifetime / time.Second), Reply: r.Reply,
		Code: r.Code, Identity: r.Identity, Captures: r.Captures,
	}
	if err := wire.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidInput, err)
	}
	return encodeWire(wire)
}

// decodeReceipt is the inverse of encodeReceipt.
func decodeReceipt(text []byte) (Receipt, error) {
	var wire wireReceipt
	if err := decodeWire(text, &wire, receiptNames); err != nil {
		return Receipt{}, err
	}
	if err := wire.check(); err != nil {
		return Receipt{}, fmt.Errorf("%w: it opens, but %w", ErrMalformed, err)
	}
	template, err := decodeTemplate(wire.Template)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{
		ClaimID: wire.ClaimID, Attempt: wire.Attempt, Spent: wire.Spent,
		Template: template, DefaultLifetime: time.Duration(wire.Lifetime) * time.Second, Reply: wire.Reply,
		Code: wire.Code, Identity: wire.Identity, Captures: wire.Captures,
	}, nil
}

// check holds for everything that is sealed, before and after.
func (w *wireReceipt) check() error {
	switch {
	case !isFileWord(w.ClaimID):
		return errors.New("the claim id is not of 1 to 64 letters, digits and hyphens")
	case w.Attempt < 1:
		return errors.New("the attempt is missing or less than 1")
	case len(w.Spent) > maxSpentLength || !utf8.ValidString(w.Spent):
		return errors.New("the fingerprint of the spent token is too long, or holds bytes that are not UTF-8")
	case w.Lifetime < 0 || w.Lifetime > maxLifetime:
		return errors.New("the default lifetime is negative or too long")
	case len(w.Reply) == 0 || len(w.Reply) > MaxReplyLength:
		return fmt.Errorf("the reply is not of 1 to %d bytes", MaxReplyLength)
	}
	return nil
}

// String names the claim, and nothing of what the request brought.
func (r Receipt) String() string {
	return fmt.Sprintf("receipt of claim %q, attempt %d", r.ClaimID, r.Attempt)
}

// GoString is String, for %#v.
func (r Receipt) GoString() string { return r.String() }

// Format prints String for every verb and flag.
func (r Receipt) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, r.String()) }

// MarshalJSON prints String. A receipt is stored by SealReceipt.
func (r Receipt) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// MarshalText prints String.
func (r Receipt) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// LogValue is String, for log/slog.
func (r Receipt) LogValue() slog.Value { return slog.StringValue(r.String()) }
