package plugin

import (
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
	width := a.system.Width
	if width <= 0 {
		width = usualWidth
	}
	terminal := a.system.Getenv("TERM")
	return painter{width: max(width, leastWidth), colours: a.system.Getenv("NO_COLOR") == "" && terminal != "" && terminal != "dumb"}
}

func (p painter) paint(in colour, text string) string {
	if !p.colours || in == plain || text == "" {
		return text
	}
	return "\x1b[" + string(in) + "m" + text + "\x1b[0m"
}

// wrap breaks a text into lines that fit, each indented. A word that is too long for a line has one of its own.
func (p painter) wrap(indent, text string) string {
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

// table aligns rows under their headings. If they are too wide, the first column is cut.
func (p painter) table(headings []string, rows [][]cell) string {
	widths := make([]int, len(headings))
	for column, heading := range headings {
		widths[column] = length(heading)
		for _, row := range rows {
			widths[column] = max(widths[column], length(row[column].text))
		}
	}
	p.narrow(widths)
	all := make([][]cell, 0, len(rows)+1)
	head := make([]cell, len(headings))
	for column, heading := range headings {
		head[column] = cell{heading, faint}
	}
	var text strings.Builder
	for _, row := range append(append(all, head), rows...) {
		for column, each := range row {
			shown := cut(each.text, widths[column])
			text.WriteString(p.paint(each.colour, shown))
			if column < len(row)-1 {
				text.WriteString(strings.Repeat(" ", widths[column]-length(shown)) + columnGap)
			}
		}
		text.WriteString("\n")
	}
	return text.String()
}

// narrow takes from the widest columns what does not fit.
func (p painter) narrow(widths []int) {
	const least = 8
	if p.width == 0 {
		return
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
			return
		}
		widths[widest]--
	}
}

func length(text string) int { return utf8.RuneCountInString(text) }

func cut(text string, width int) string {
	if length(text) <= width {
		return text
	}
	return string([]rune(text)[:max(width-1, 0)]) + ellipsis
}
