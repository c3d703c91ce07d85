package plugin

import (
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What starts a sequence of a terminal (ECMA-48), as one character, and what ends the longer ones.
const (
	escape       = '\x1b'
	bell         = '\a'
	introduceCSI = '\u009b'
	terminator   = '\u009c'
)

// clean takes out of a text whatever could do something to a terminal, or make the text look like another one: sequences of
// ANSI (C0 and C1), control characters, and invisible ones, such as those that turn the direction of writing. What separates
// lines becomes a space: a line of ours is one line.
func clean(text string) string {
	if harmless(text) {
		return text
	}
	var kept strings.Builder
	runes := []rune(strings.ToValidUTF8(text, "\ufffd"))
	unended := false // no sequence that runs to a terminator has one from here on
	marks := 0       // so many that stand above and below one character
	for at := 0; at < len(runes); {
		if length := sequence(runes[at:], &unended); length > 0 {
			at += length
			continue
		}
		switch each := runes[at]; {
		case each == '\n' || each == '\r' || each == '\t' || each == '\u0085' || unicode.In(each, unicode.Z):
			kept.WriteByte(' ')
			marks = 0
		case invisible(each):
		case unicode.In(each, unicode.Mn, unicode.Me):
			marks++
			if marks <= mostMarks {
				kept.WriteRune(each)
			}
		default:
			kept.WriteRune(each)
			marks = 0
		}
		at++
	}
	return kept.String()
}

func harmless(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(each rune) bool {
		return each > unicode.MaxASCII && unicode.In(each, unicode.Z, unicode.Mn, unicode.Me) || invisible(each)
	})
}

// mostMarks is how many marks one character may have: languages do with fewer, and a pile of them covers other lines.
const mostMarks = 3

// invisible: a control character, one that only directs how others are shown, one that is shown as nothing, or one that is for
// private use.
func invisible(each rune) bool {
	return unicode.In(each, unicode.Cc, unicode.Cf, unicode.Co, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// sequence is the length of the terminal's sequence that the text begins with; 0: none.
func sequence(text []rune, unended *bool) int {
	start, kind := 1, text[0]
	if kind == escape {
		if len(text) == 1 {
			return 1
		}
		start, kind = 2, text[1]+0x40 // ESC and a letter stand for one character of C1
	}
	switch kind {
	case introduceCSI:
		return control(text, start)
	case '\u0090', '\u0098', '\u009d', '\u009e', '\u009f': // DCS, SOS, OSC, PM, APC
		if *unended {
			return start
		}
		for at := start; at < len(text); at++ {
			switch {
			case text[at] == bell, text[at] == terminator:
				return at + 1
			case text[at] == escape && at+1 < len(text) && text[at+1] == '\\':
				return at + len(`.\`)
			}
		}
		*unended = true
		return start
	}
	if text[0] == escape {
		at := 1
		for at < len(text) && text[at] >= ' ' && text[at] <= '/' {
			at++
		}
		return min(at+1, len(text))
	}
	return 0
}

// control is the length of a control sequence: parameters, intermediate characters, and one that ends it.
func control(text []rune, start int) int {
	at := start
	for at < len(text) && text[at] >= ' ' && text[at] <= '?' {
		at++
	}
	if at < len(text) && text[at] >= '@' && text[at] <= '~' {
		at++
	}
	return at
}

// scrub cleans each text within an object, in place: what the API server has sent is cleaned where it comes in, so that
// nobody further on has to think of it. Bytes, such as what is in a Secret, stay as they are.
func scrub(object any) { scrubValue(reflect.ValueOf(object)) }

func scrubValue(value reflect.Value) {
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !value.IsNil() {
			scrubValue(value.Elem())
		}
	case reflect.Struct:
		for at := range value.NumField() {
			if value.Type().Field(at).IsExported() {
				scrubValue(value.Field(at))
			}
		}
	case reflect.Slice, reflect.Array:
		if value.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		for at := range value.Len() {
			scrubValue(value.Index(at))
		}
	case reflect.Map:
		scrubMap(value)
	case reflect.String:
		if value.CanSet() {
			value.SetString(clean(value.String()))
		}
	default:
	}
}

// scrubMap puts cleaned copies in place of what a map holds, since that cannot be changed where it is.
func scrubMap(value reflect.Value) {
	for _, key := range value.MapKeys() {
		held := reflect.New(value.Type().Elem()).Elem()
		held.Set(value.MapIndex(key))
		scrubValue(held)
		named := reflect.New(value.Type().Key()).Elem()
		named.Set(key)
		scrubValue(named)
		value.SetMapIndex(key, reflect.Value{})
		value.SetMapIndex(named, held)
	}
}
