// Package nginx finds nginx for the tests of what it is to read.
package nginx

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program is the path of nginx: in the folder that NGINX names, or an installed one. Where there is none, the test is skipped.
func Program(tb testing.TB) string {
	tb.Helper()
	if folder := os.Getenv("NGINX"); folder != "" {
		if path, err := exec.LookPath(filepath.Join(folder, "nginx")); err == nil {
			return path
		}
	}
	path, err := exec.LookPath("nginx")
	if err != nil {
		tb.Skip("there is no nginx: run `make nginx`, and set NGINX to its folder where make test does not; or install it")
	}
	return path
}
