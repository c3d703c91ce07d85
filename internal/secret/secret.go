// Package secret holds one type: text that never prints itself.
//
// Tokens, client secrets and everything else that must not reach a log, an event, a condition, a metric or an
// error travel through the program as a Value. Formatting a Value, in whatever way, gives a fixed mark; the text
// comes out by Reveal alone, so that every place where it does can be found by searching for that word.
//
// The package must never import anything that does I/O.
package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what every formatting of a non-empty Value prints.
const Redacted = "[redacted]"

// Value is a text that never prints itself. The zero Value is the absent secret.
// The text is held behind a pointer, so that printing a struct that contains a Value by reflection, which ignores
// the methods of unexported fields, shows an address and not the text.
type Value struct{ text *string }

// New wraps text. New("") is the zero Value.
func New(text string) Value {
	if text == "" {
		return Value{}
	}
	return Value{text: &text}
}

// Reveal returns the text. It is the only way out.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// Empty reports whether there is no text.
func (v Value) Empty() bool { return v.text == nil }

// Len is the number of bytes of the text.
func (v Value) Len() int { return len(v.Reveal()) }

// Equal compares two texts in a time that depends on their lengths only.
func (v Value) Equal(other Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(other.Reveal())) == 1
}

// String returns the mark; "" for the zero Value.
func (v Value) String() string {
	if v.Empty() {
		return ""
	}
	return Redacted
}

// GoString returns the mark, for %#v.
func (v Value) GoString() string { return v.String() }

// Format prints the mark for every verb and flag.
func (v Value) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, v.String()) }

// MarshalJSON prints the mark. Whoever must store a secret calls Reveal and says so.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + v.String() + `"`), nil }

// MarshalText prints the mark.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// LogValue prints the mark, for log/slog.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }
