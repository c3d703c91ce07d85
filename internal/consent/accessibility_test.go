package consent_test

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"

	"github.com/oauth-operator/oauth-operator/internal/consent"
	"github.com/oauth-operator/oauth-operator/test/chromium"
)

// TestInChromiumThePagesCanBeHeardReadAndUsedByKeyboard asks the browser what it tells a screen reader, what it paints, and
// where its keyboard goes, on each page and in both themes.
func TestInChromiumThePagesCanBeHeardReadAndUsedByKeyboard(t *testing.T) {
	t.Parallel()
	chromium.Find(t)
	w := newWeb(t, map[string]http.Handler{ourHost: http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		if err := consent.ShowSpecimen(withoutRefresh{answer}, &url.URL{Scheme: "https", Host: ourHost}, strings.TrimPrefix(r.URL.Path, "/")); err != nil {
			t.Error(err)
		}
	})})
	c := startChromium(t, w)
	for _, name := range consent.Specimens() {
		c.Open("https://" + ourHost + "/" + name)
		isHeard(t, c, name)
		isReached(t, c, name)
		for _, theme := range []string{"light", "dark"} {
			chromium.Call(c, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
			})
			isReadable(t, c, name+", "+theme)
		}
	}
}

// isHeard wants one landmark, one heading that says what the title says, and a name for all that can be pressed.
func isHeard(t *testing.T, c *chromium.Window, name string) {
	t.Helper()
	heard := map[string][]string{}
	for _, node := range chromium.Call(c, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if node.Ignored || node.Role == nil || node.Name == nil {
			continue
		}
		role, text := "", ""
		if json.Unmarshal(node.Role.Value, &role) != nil || json.Unmarshal(node.Name.Value, &text) != nil {
			t.Fatalf("%s: a node of the accessibility tree cannot be read", name)
		}
		heard[role] = append(heard[role], text)
	}
	title := c.Title()
	if !slices.Equal(heard["heading"], []string{title}) || len(heard["main"]) != 1 || !slices.Equal(heard["RootWebArea"], []string{title}) {
		t.Errorf("%s: headings %q, title %q, %d landmarks, the page is called %q", name, heard["heading"], title, len(heard["main"]), heard["RootWebArea"])
	}
	for _, role := range []string{"button", "link", "image", "img", "SvgRoot", "textbox"} {
		for _, text := range heard[role] {
			if text == "" || role != "button" && role != "link" {
				t.Errorf("%s: a %s is called %q", name, role, text)
			}
		}
	}
	if language := chromium.Evaluate[string](c, `document.documentElement.lang`); language != "en" {
		t.Errorf("%s is in the language %q", name, language)
	}
}

// stop is where the keyboard comes to.
type stop struct {
	Name    string  `json:"name"`
	Outline float64 `json:"outline"`
	Height  float64 `json:"height"`
}

const whereTheKeyboardIs = `(() => {
	const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
	return {name: at === document.body ? "" : at.textContent.trim(), outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth), height: box.height};
})()`

// isReached wants the keyboard to come to all that can be pressed, from the top down, to show where it is, and to go on.
func isReached(t *testing.T, c *chromium.Window, name string) {
	t.Helper()
	want := map[string][]string{"slow": {"Look again"}, "working": {"Look now"}}[name]
	if strings.HasPrefix(name, "start") {
		want = []string{chromium.Evaluate[string](c, `document.querySelector("button").textContent`)}
	}
	var got []string
	for range len(want) + 1 {
		c.Press("\t")
		at := chromium.Evaluate[stop](c, whereTheKeyboardIs)
		if at.Name == "" {
			break
		}
		got = append(got, at.Name)
		if at.Outline < 2 {
			t.Errorf("%s: the keyboard is at %q, and it cannot be seen", name, at.Name)
		}
		if at.Height < 24 { // WCAG 2.2, 2.5.8
			t.Errorf("%s: %q is %.0f high", name, at.Name, at.Height)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: the keyboard comes to %q, want %q", name, got, want)
	}
}

// painted is a text as the browser paints it: colours as red, green, blue of 0 to 255.
type painted struct {
	Text   string     `json:"text"`
	Colour [3]float64 `json:"colour"`
	Ground [3]float64 `json:"ground"`
	Size   float64    `json:"size"`
}

const allThatIsPainted = `(() => {
	const parts = text => text.match(/[\d.]+/g).map(Number);
	const ground = at => { for (; at; at = at.parentElement) { const c = parts(getComputedStyle(at).backgroundColor); if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
	const all = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) {
		const at = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
		if (text === "" || at.getClientRects().length === 0) continue;
		all.push({text, colour: parts(getComputedStyle(at).color).slice(0, 3), ground: ground(at), size: parseFloat(getComputedStyle(at).fontSize)});
	}
	return all;
})()`

// isReadable wants every text to stand out from what it is painted on, 5 to 1, and not to be small.
func isReadable(t *testing.T, c *chromium.Window, name string) {
	t.Helper()
	all := chromium.Evaluate[[]painted](c, allThatIsPainted)
	if len(all) < 3 {
		t.Errorf("%s: the browser paints %d texts", name, len(all))
	}
	for _, each := range all {
		light, dark := brightness(each.Colour), brightness(each.Ground)
		if light < dark {
			light, dark = dark, light
		}
		if contrast := (light + 0.05) / (dark + 0.05); contrast < 5 || each.Size < 14 {
			t.Errorf("%s: %q is %.1f to 1, and %.0f high", name, each.Text, contrast, each.Size)
		}
	}
}

// brightness is the relative luminance of WCAG 2.2.
func brightness(colour [3]float64) float64 {
	linear := func(channel float64) float64 {
		if channel /= 255; channel <= 0.04045 {
			return channel / 12.92
		}
		return math.Pow((channel+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(colour[0]) + 0.7152*linear(colour[1]) + 0.0722*linear(colour[2])
}
