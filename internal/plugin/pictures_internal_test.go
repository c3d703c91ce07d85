package plugin

import (
	"fmt"
	"html"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPicturesOfTheCommands takes a picture of what the commands print in a terminal of 100 columns, into the folder that
// PICTURES names: make pictures.
func TestPicturesOfTheCommands(t *testing.T) {
	t.Parallel()
	folder := os.Getenv("PICTURES")
	if folder == "" {
		t.Skip("pictures are taken by make pictures, which sets PICTURES")
	}
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no Chromium here: make browser installs one")
	}
	const columns, lineHeight, margin = 100, 20, 24
	for name, command := range map[string]string{
		"status": "kubectl oauth status -n shop", "authorize": "kubectl oauth authorize -n shop acme", "doctor": "kubectl oauth doctor -n shop",
	} {
		text := "\x1b[32m$\x1b[0m " + command + "\n" + scenes()[name](painter{width: columns, colours: true})
		page := filepath.Join(t.TempDir(), name+".html")
		if err := os.WriteFile(page, []byte(asPage(text, lineHeight, margin)), 0o600); err != nil {
			t.Fatal(err)
		}
		picture := filepath.Join(folder, "kubectl-"+name+".png")
		height := strings.Count(text, "\n")*lineHeight + 2*margin
		take := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb",
			"--user-data-dir="+t.TempDir(), fmt.Sprintf("--window-size=%d,%d", 920, height), "--screenshot="+picture, (&url.URL{Scheme: "file", Path: page}).String())
		if said, err := take.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		if info, err := os.Stat(picture); err != nil || info.Size() == 0 {
			t.Errorf("there is no picture of %s: %v", name, err)
		}
	}
}

// asPage shows what a terminal would.
func asPage(text string, lineHeight, margin int) string {
	colours := map[string]string{
		"0": "", "1": "font-weight:bold", "2": "color:#8b949e", "31": "color:#ff7b72", "32": "color:#7ee787", "33": "color:#e3b341", "36": "color:#79c0ff",
	}
	body := regexp.MustCompile(`\x1b\[(\d+)m`).ReplaceAllStringFunc(html.EscapeString(text), func(sequence string) string {
		number := strings.Trim(sequence, "\x1b[m")
		if number == "0" {
			return "</span>"
		}
		return `<span style="` + colours[number] + `">`
	})
	return fmt.Sprintf(`<!doctype html><meta charset="utf-8"><body style="margin:0;background:#0d1117">
<pre style="margin:%dpx;font:14px/%dpx 'DejaVu Sans Mono',monospace;color:#e6edf3">%s</pre>`, margin, lineHeight, body)
}
