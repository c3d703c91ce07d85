package consent_test

import (
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"math"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/consent"
)

var updateGolden = flag.Bool("update", false, "write the pages into testdata instead of comparing them") //nolint:gochecknoglobals // a test binary has no other place for a flag

func example(t *testing.T, name string) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	base, err := url.Parse("https://oauth.example.com")
	if err == nil {
		err = consent.ShowSpecimen(recorder, base, name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return recorder
}

// TestThePagesAreTheseWordForWord compares each page with the one in testdata, but for the style, which is a file of its own.
func TestThePagesAreTheseWordForWord(t *testing.T) {
	t.Parallel()
	for _, name := range consent.Specimens() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := regexp.MustCompile(`(?s)<style>.*</style>`).ReplaceAllString(example(t, name).Body.String(), "<style></style>")
			file := filepath.Join("testdata", "pages", name+".html")
			if *updateGolden {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("go test ./internal/consent -update writes it anew (-want +got):\n%s", diff)
			}
		})
	}
}

// TestThePagesNeedNothing asserts that a page is one small answer: no script, nothing that is loaded from elsewhere, nothing
// that its own policy would refuse.
func TestThePagesNeedNothing(t *testing.T) {
	t.Parallel()
	for _, name := range consent.Specimens() {
		answer := example(t, name)
		text := answer.Body.String()
		if found := regexp.MustCompile(`<script|javascript:|src=|<img|<link|<iframe|<object|<embed|@import|url\(| style=|<[^>]* on[a-z]+=`).FindString(text); found != "" {
			t.Errorf("%s has %s", name, found)
		}
		if len(text) > 8<<10 {
			t.Errorf("%s is %d bytes long", name, len(text))
		}
		_, style, _ := strings.Cut(text, "<style>")
		style, _, _ = strings.Cut(style, "</style>")
		sum := sha256.Sum256([]byte(style))
		if !strings.Contains(answer.Header().Get("Content-Security-Policy"), "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
			t.Errorf("%s: its policy does not allow its style", name)
		}
		lacks(t, name, text)
		checkHeaders(t, answer)
	}
}

// lacks asserts what each page has, for those who look at it and for those who listen to it.
func lacks(t *testing.T, name, text string) {
	t.Helper()
	for _, wanted := range []string{`<html lang="en">`, `name="viewport"`, "<title>", "<main", "<h1>", "oauth.example.com"} {
		if !strings.Contains(text, wanted) {
			t.Errorf("%s lacks %s", name, wanted)
		}
	}
	if strings.Count(text, "<h1>") != 1 {
		t.Errorf("%s has not one heading", name)
	}
}

// TestTheColoursCanBeRead holds every text against its background, in both themes: WCAG 2.2, 1.4.3 wants 4.5 to 1; here it is 5.
func TestTheColoursCanBeRead(t *testing.T) {
	t.Parallel()
	style, err := os.ReadFile(filepath.Join("pages", "style.css"))
	if err != nil {
		t.Fatal(err)
	}
	themes := regexp.MustCompile(`:root\{([^}]*)\}`).FindAllStringSubmatch(string(style), -1)
	if len(themes) != 2 {
		t.Fatalf("there are %d themes", len(themes))
	}
	for _, theme := range themes {
		colours := map[string]float64{}
		for _, found := range regexp.MustCompile(`--([a-z-]+):#([0-9a-f]{3,6})`).FindAllStringSubmatch(theme[1], -1) {
			colours[found[1]] = luminance(t, found[2])
		}
		for text, ground := range map[string]string{"text": "card", "soft": "card", "on-deed": "deed", "good": "card", "bad": "card", "wait": "card", "deed": "card"} {
			light, dark := max(colours[text], colours[ground]), min(colours[text], colours[ground])
			if contrast := (light + 0.05) / (dark + 0.05); contrast < 5 {
				t.Errorf("%s on %s is %.1f to 1", text, ground, contrast)
			}
		}
	}
}

// luminance is that of WCAG 2.2.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	number, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	linear := func(channel uint64) float64 {
		value := float64(channel&0xff) / 255
		if value <= 0.04045 {
			return value / 12.92
		}
		return math.Pow((value+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(number>>16) + 0.7152*linear(number>>8) + 0.0722*linear(number)
}
