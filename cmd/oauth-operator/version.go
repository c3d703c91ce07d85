package main

import (
	"runtime/debug"
	_ "time/tzdata" // an image has no time zones, and whoever sets TZ wants them in the log
)

// version is set when an image is built; empty: what the Go command has noted.
var version string

// versionText is which version this is: that of the image, or of the module, or the commit that it was built from.
func versionText() string {
	if version != "" {
		return version
	}
	built, known := debug.ReadBuildInfo()
	if !known || built.Main.Version == "" {
		return "unknown"
	}
	return built.Main.Version
}
