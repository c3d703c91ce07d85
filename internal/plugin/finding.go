package plugin

import "strings"

// level is how a finding is meant.
type level string

const (
	levelOK      level = "ok"
	levelNote    level = "note"    // worth knowing
	levelUnknown level = "unknown" // could not be looked at
	levelWarning level = "warning" // works, and will not for ever
	levelFault   level = "fault"
)

func (l level) colour() colour {
	switch l {
	case levelOK:
		return green
	case levelFault:
		return red
	case levelWarning:
		return yellow
	case levelNote, levelUnknown:
		return faint
	}
	return plain
}

// finding is something that doctor has to say.
type finding struct {
	Level level `json:"level"`
	// What it is about: a reason of the API, or a part of the installation.
	What    string `json:"what"`
	Message string `json:"message"`
	// Actor is who has to act.
	Actor string `json:"actor,omitempty"`
	// Commands are what to type. Capitals after a dollar sign stand for what only the reader knows.
	Commands []string `json:"commands,omitempty"`
}

// section is what there is to say about one thing.
type section struct {
	About    string    `json:"about"`
	State    string    `json:"state,omitempty"`
	Findings []finding `json:"findings"`
}

// diagnosis is all that doctor says.
type diagnosis struct {
	Healthy  bool      `json:"healthy"`
	Sections []section `json:"sections"`
}

// worst is the highest level in a section.
func (s section) worst() level {
	order := []level{levelFault, levelWarning, levelUnknown, levelNote}
	for _, each := range order {
		for _, found := range s.Findings {
			if found.Level == each {
				return each
			}
		}
	}
	return levelOK
}

// renderDiagnosis writes a diagnosis for a person.
func renderDiagnosis(p painter, all diagnosis) string {
	const indent = "           "
	var text strings.Builder
	for i, each := range all.Sections {
		if i > 0 {
			text.WriteString("\n")
		}
		text.WriteString(p.paint(bold, each.About))
		if each.State != "" {
			text.WriteString("  " + p.paint(each.worst().colour(), each.State))
		}
		text.WriteString("\n")
		for _, found := range each.Findings {
			mark := string(found.Level) + strings.Repeat(" ", max(len("warning")-len(found.Level), 0))
			lines := p.wrap(indent, found.What+": "+found.Message)
			text.WriteString("  " + p.paint(found.Level.colour(), mark) + "  " + strings.TrimPrefix(lines, indent))
			if found.Actor != "" && found.Level != levelOK {
				text.WriteString(p.wrap(indent, "who acts: "+found.Actor))
			}
			for _, command := range found.Commands {
				text.WriteString(indent + "  " + p.paint(cyan, command) + "\n")
			}
		}
	}
	return text.String()
}

// summary is the last line of a diagnosis.
func (d diagnosis) summary() string {
	counts := map[level]int{}
	for _, each := range d.Sections {
		for _, found := range each.Findings {
			counts[found.Level]++
		}
	}
	switch {
	case counts[levelFault] > 0:
		return plural(counts[levelFault], "fault") + optional(counts[levelWarning], ", ", "warning")
	case counts[levelWarning] > 0:
		return plural(counts[levelWarning], "warning") + ", and no fault"
	case counts[levelUnknown] > 0:
		return "nothing is wrong, as far as can be seen: " + plural(counts[levelUnknown], "thing") + " could not be looked at"
	default:
		return "nothing is wrong"
	}
}
