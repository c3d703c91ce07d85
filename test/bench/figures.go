package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// perRefresh is what one refresh costs, on average.
type perRefresh struct{ writes, calls, gets float64 }

func (p perRefresh) String() string {
	return short(p.writes) + "/" + short(p.calls) + "/" + short(p.gets)
}

// figures are those of the last line. Pointers: not measured where nil.
type figures struct {
	m1, m1s        *float64
	m2, m2s        *perRefresh
	m3             *[3]int
	m4, m5, m8, m9 *float64
}

// line is the last line of a run. What was not measured is a dash.
func (f *figures) line() string {
	atRest := "-"
	if f.m3 != nil {
		atRest = fmt.Sprintf("%d/%d/%d", f.m3[0], f.m3[1], f.m3[2])
	}
	return fmt.Sprintf("bench: M1=%s M1s=%s M2=%s,%s M3=%s M4=%s M5=%s M8=%s M9=%s",
		two(f.m1), two(f.m1s), costs(f.m2), costs(f.m2s), atRest, two(f.m4), two(f.m5), two(f.m8), two(f.m9))
}

func costs(p *perRefresh) string {
	if p == nil {
		return "-"
	}
	return p.String()
}

func two(value *float64) string {
	if value == nil {
		return "-"
	}
	return strconv.FormatFloat(*value, 'f', 2, 64)
}

// short writes a count per refresh with as many digits as it needs, and four of them at most: a single write too many among
// thousands shows.
func short(value float64) string {
	return strconv.FormatFloat(math.Round(value*1e4)/1e4, 'f', -1, 64)
}

// judge says which figures are not what they have to be. Speed is judged against the machine's own, and loosely.
func (f *figures) judge(s settings) error {
	var errs []error
	must := func(holds bool, format string, args ...any) {
		if !holds {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for name, ratio := range map[string]*float64{"M1": f.m1, "M1s": f.m1s} {
		must(ratio == nil || *ratio >= 0.5, "%s is %s, want 0.5 or more", name, two(ratio))
	}
	must(f.m2 == nil || *f.m2 == perRefresh{2, 1, 0}, "M2 is %s, want 2/1/0", costs(f.m2))
	must(f.m2s == nil || *f.m2s == perRefresh{3, 1, 0}, "M2 of single-use credentials is %s, want 3/1/0", costs(f.m2s))
	must(f.m3 == nil || *f.m3 == [3]int{}, "M3: something was done for accounts at rest")
	must(f.m5 == nil || *f.m5 < 1, "M5 is %s MB for %d Secrets, want less than 1", two(f.m5), s.secrets)
	return errors.Join(errs...)
}

// spread is what is said of many times: half of them are below the median.
type spread struct {
	count            int
	median, p99, max time.Duration
}

func spreadOf(times []time.Duration) spread {
	sorted := slices.Sorted(slices.Values(times))
	if len(sorted) == 0 {
		return spread{}
	}
	at := func(part float64) time.Duration { return sorted[int(math.Ceil(part*float64(len(sorted))))-1] }
	return spread{len(sorted), at(0.5), at(0.99), sorted[len(sorted)-1]}
}

func (s spread) String() string {
	return fmt.Sprintf("%d times, median %.3f s, p99 %.3f s, longest %.3f s", s.count, s.median.Seconds(), s.p99.Seconds(), s.max.Seconds())
}

// table is text in columns, for the report.
func table(rows ...[2]string) string {
	width := 0
	for _, row := range rows {
		width = max(width, len(row[0]))
	}
	var text strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&text, "  %-*s  %s\n", width, row[0], row[1])
	}
	return text.String()
}
