// Package built tells what a program was built from.
package built

import (
	"cmp"
	"runtime/debug"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Info is a metric that is always 1 and whose labels are version, revision and goversion: the version that was given to the
// program, or else what the toolchain has noted, and "unknown" where nobody has said it.
func Info(name, help, version string) prometheus.Metric {
	revision, toolchain := "unknown", "unknown"
	if info, is := debug.ReadBuildInfo(); is {
		version, toolchain = cmp.Or(version, info.Main.Version), info.GoVersion
		if at := slices.IndexFunc(info.Settings, func(each debug.BuildSetting) bool { return each.Key == "vcs.revision" }); at >= 0 {
			revision = info.Settings[at].Value
		}
	}
	what := prometheus.NewDesc(name, help, []string{"version", "revision", "goversion"}, nil)
	return prometheus.MustNewConstMetric(what, prometheus.GaugeValue, 1, cmp.Or(version, "unknown"), revision, toolchain)
}
