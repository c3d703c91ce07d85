package projection

import (
	"fmt"
	"strings"
)

// text is a value of spec.secret.data: what stands there, and what is put in between.
type text []part

// part is either a literal, or the value of a key in a format.
type part struct {
	literal, name, format string
}

// parse reads a text by the rules that Kubernetes has for the command line of a container: $(name) is replaced, $$ stands
// for a $, and any other $ for itself. What is put in is not read again. Where Kubernetes leaves a reference that it does
// not know, or that has no end, as it is, this is refused: a workload could do nothing with it.
func parse(key, from string) (text, *Fault) {
	var (
		parts   text
		literal strings.Builder
		in      quotes
	)
	write := func(piece string) {
		literal.WriteString(piece)
		in.read(piece)
	}
	for from != "" {
		before, after, found := strings.Cut(from, "$")
		write(before)
		if !found {
			break
		}
		if !strings.HasPrefix(after, "(") {
			write("$")
			from = strings.TrimPrefix(after, "$")
			continue
		}
		reference, rest, closed := strings.Cut(after[1:], ")")
		name, format, formatted := strings.Cut(reference, ".")
		switch {
		case !closed || !isName(name) || formatted && !isFormat(format):
			return nil, invalid("spec.secret.data[%s] has a $( that does not begin a reference: write $(name), $(name.json), $(name.base64), $(name.url) or $(name.sh), and $$( for the characters themselves", key)
		case format == formatSh && !in.single:
			return nil, invalid("spec.secret.data[%s] has $(%s.sh) outside of single quotes, where a shell could run what is in it: write '$(%s.sh)'", key, name, name)
		case format == formatJSON && !in.double:
			return nil, invalid(`spec.secret.data[%s] has $(%s.json) outside of double quotes: write "$(%s.json)"`, key, name, name)
		}
		parts = append(parts.with(literal.String()), part{name: name, format: format})
		literal.Reset()
		from = rest
	}
	return parts.with(literal.String()), nil
}

// with appends a literal.
func (t text) with(literal string) text {
	if literal == "" {
		return t
	}
	return append(t, part{literal: literal})
}

// quotes tells whether what follows a piece of text stands between quotes. A shell's single quotes have no escape, and in
// all that knows JSON's double quotes a backslash escapes the next character.
type quotes struct {
	single, double, escaped bool
}

func (q *quotes) read(literal string) {
	for i := range len(literal) {
		switch c := literal[i]; {
		case q.escaped:
			q.escaped = false
		case c == '\\':
			q.escaped = true
		case c == '"':
			q.double = !q.double
		}
		if literal[i] == '\'' {
			q.single = !q.single
		}
	}
}

// isName: letters, digits and underscores, as the default keys have. What follows a dot is a format.
func isName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// uses reports whether the text puts in another of the further keys, which must be made from the default keys alone: one
// step is enough for what is known to need it, and cannot go round in a circle or double from line to line.
func (t text) uses(key string, further map[string]text) (bool, *Fault) {
	used := false
	for _, p := range t {
		if p.name == "" || isDefault(p.name) {
			continue
		}
		other, exists := further[p.name]
		if !exists {
			return false, invalid("spec.secret.data[%s] has $(%s), and there is no such key: write one of %s, or add %s to spec.secret.data", key, p.name, defaultNames(), p.name)
		}
		for _, q := range other {
			if _, again := further[q.name]; again {
				return false, invalid("spec.secret.data[%s] has $(%s), which itself has $(%s): write into %s only %s", key, p.name, q.name, p.name, defaultNames())
			}
		}
		used = true
	}
	return used, nil
}

// render puts the values in. One that is absent, such as the expiry that nobody knows, is empty.
func (t text) render(values map[string]string) string {
	var out strings.Builder
	for _, p := range t {
		if p.name == "" {
			out.WriteString(p.literal)
			continue
		}
		out.WriteString(encode(p.format, values[p.name]))
	}
	return out.String()
}

func defaultNames() string {
	return fmt.Sprintf("%s, %s, %s, %s, %s, %s and %s",
		keyAccessToken, keyTokenType, keyExpiresAt, keyScope, keyAuthorization, keyHeaders, keyOnBehalfOf)
}
