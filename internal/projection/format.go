package projection

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// How a value is put into a text. The quotes are the text's: a format makes safe what stands between them.
const (
	// formatJSON escapes it for the inside of a string in JSON (RFC 8259 section 7), and of all that has the same double
	// quotes: YAML, netrc, nginx.
	formatJSON = "json"
	// formatBase64 is that of RFC 4648 section 4, with padding.
	formatBase64 = "base64"
	// formatURL percent-encodes everything but what RFC 3986 section 2.3 leaves unreserved.
	formatURL = "url"
	// formatSh escapes it for the inside of single quotes in a POSIX shell.
	formatSh = "sh"
)

func isFormat(format string) bool {
	switch format {
	case formatJSON, formatBase64, formatURL, formatSh:
		return true
	default:
		return false
	}
}

// encode is a value in a format.
func encode(format, value string) string {
	switch format {
	case formatJSON:
		return encodeJSON(value)
	case formatBase64:
		return base64.StdEncoding.EncodeToString([]byte(value))
	case formatURL:
		return encodeURL(value)
	case formatSh:
		return encodeSh(value)
	default:
		return value
	}
}

// encoded is the largest that a value of a size can become in a format, if it is ASCII whose only control characters are
// line breaks, as all values are that are not written in the spec.
func encoded(format string, size int) int {
	switch format {
	case formatJSON:
		return 2 * size
	case formatBase64:
		return base64.StdEncoding.EncodedLen(size)
	case formatURL:
		return 3 * size
	case formatSh:
		return (5*size + 3) / 2 // every second character a quote, from the first to the last
	default:
		return size
	}
}

// encodeJSON escapes what must be, and no more: a token without quotes and backslashes stays as it is.
func encodeJSON(value string) string {
	var out strings.Builder
	out.Grow(len(value))
	for i := range len(value) {
		switch c := value[i]; {
		case c == '"', c == '\\':
			out.WriteByte('\\')
			out.WriteByte(c)
		case c == '\n':
			out.WriteString(`\n`)
		case c < ' ':
			fmt.Fprintf(&out, `\u%04x`, c)
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

func encodeURL(value string) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	out.Grow(len(value))
	for i := range len(value) {
		c := value[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			out.WriteByte(c)
		default:
			out.WriteByte('%')
			out.WriteByte(hex[c>>4])
			out.WriteByte(hex[c&15])
		}
	}
	return out.String()
}

// encodeSh leaves the single quotes for each run of quotes in the value, which a backslash escapes there.
func encodeSh(value string) string {
	var out strings.Builder
	out.Grow(len(value))
	for i := range len(value) {
		if value[i] != '\'' {
			out.WriteByte(value[i])
			continue
		}
		if i == 0 || value[i-1] != '\'' {
			out.WriteByte('\'')
		}
		out.WriteString(`\'`)
		if i == len(value)-1 || value[i+1] != '\'' {
			out.WriteByte('\'')
		}
	}
	return out.String()
}
