package plugin

import (
	"cmp"
	"strings"
	"unicode/utf8"
)

// colour is a way in which a terminal shows a text (SGR).
type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	faint  colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	cyan   colour = "36"
)

const (
	// leastWidth is the width that is written for where a terminal is narrower, usualWidth where there is none.
	leastWidth = 40
	usualWidth = 120
	// columnGap is between columns.
	columnGap = "   "
	ellipsis  = "…"
)

// painter knows what the user's terminal can do. Where there is none, texts are as they are, in lines as long as they are.
type painter struct {
	colours bool
	// width is that of a line; 0: as long as it is.
	width int
}

// painter is for what is printed to standard output. NO_COLOR is https://no-color.org.
func (a *app) painter() painter {
	if !a.system.OutTerminal {
		return painter{}
	}
	width, _ := a.size()
	return painter{width: max(cmp.Or(width, usualWidth), leastWidth), colours: a.system.Getenv("NO_COLOR") == "" && a.understands()}
}

// size is that of the terminal, now: it may be changed at any time. 0: not known.
func (a *app) size() (width, height int) {
	if a.system.Size == nil {
		return 0, 0
	}
	return a.system.Size()
}

// understands: standard output is a terminal that knows sequences.
func (a *app) understands() bool {
	terminal := a.system.Getenv("TERM")
	return a.system.OutTerminal && terminal != "" && terminal != "dumb"
}

func (p painter) paint(in colour, text string) string {
	if !p.colours || in == plain || text == "" {
		return text
	}
	return "\x1b[" + string(in) + "m" + text + "\x1b[0m"
}

// wrap breaks a text into lines that fit, each indented. A word that is too long for a line has one of its own.
func (p painter) wrap(indent, text string) string {
	const most = 4096 // the operator writes no more, and somebody else could
	text = cut(text, most)
	if p.width == 0 {
		return indent + text + "\n"
	}
	var lines []string
	current := ""
	for word := range strings.FieldsSeq(text) {
		if current != "" && length(indent)+length(current)+1+length(word) > p.width {
			lines = append(lines, indent+current)
			current = ""
		}
		if current != "" {
			current += " "
		}
		current += word
	}
	return strings.Join(append(lines, indent+current), "\n") + "\n"
}

// cell is a text in a table.
type cell struct {
	text   string
	colour colour
}

// table aligns rows under their headings. If they are too wide, the widest column is cut.
func (p painter) table(headings []string, rows [][]cell) string {
	return p.rows(p.narrow(widthsOf(headings, rows)), append([][]cell{head(headings)}, rows...))
}

// head is the row of the headings.
func head(headings []string) []cell {
	row := make([]cell, len(headings))
	for column, heading := range headings {
		row[column] = cell{heading, faint}
	}
	return row
}

// widthsOf is how wide the columns are.
func widthsOf(headings []string, rows [][]cell) []int {
	widths := make([]int, len(headings))
	for column, heading := range headings {
		widths[column] = length(heading)
		for _, row := range rows {
			widths[column] = max(widths[column], length(row[column].text))
		}
	}
	return widths
}

// rows writes rows in columns that are so wide.
func (p painter) rows(widths []int, rows [][]cell) string {
	var text strings.Builder
	for _, row := range rows {
		for column, width := range widths {
			shown := cut(row[column].text, width)
			text.WriteString(p.paint(row[column].colour, shown))
			if column < len(widths)-1 {
				text.WriteString(strings.Repeat(" ", width-length(shown)) + columnGap)
			}
		}
		text.WriteString("\n")
	}
	return text.String()
}

// fitting is how many of the columns there is room for, where no more than so much of each has to be seen; the first ones
// always.
func (p painter) fitting(widths []int, first int) int {
	const seen = 24
	whole := -len(columnGap)
	for column, width := range widths {
		whole += len(columnGap) + min(width, seen)
		if p.width > 0 && whole > p.width && column >= first {
			return column
		}
	}
	return len(widths)
}

// narrow takes from the widest columns what does not fit.
func (p painter) narrow(widths []int) []int {
	const least = 8
	if p.width == 0 {
		return widths
	}
	whole := (len(widths) - 1) * len(columnGap)
	for _, width := range widths {
		whole += width
	}
	for ; whole > p.width; whole-- {
		widest := 0
		for column, width := range widths {
			if width > widths[widest] {
				widest = column
			}
		}
		if widths[widest] <= least {
			break
		}
		widths[widest]--
	}
	return widths
}

func length(text string) int { return utf8.RuneCountInString(text) }

func cut(text string, width int) string {
	if length(text) <= width {
		return text
	}
	return string([]rune(text)[:max(width-1, 0)]) + ellipsis
}
