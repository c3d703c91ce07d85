package consent_test

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/oauth-operator/oauth-operator/internal/consent"
	"github.com/oauth-operator/oauth-operator/test/chromium"
)

// TestPicturesOfThePages takes a picture of each page, on a phone and on a desktop, light and dark, into the folder that
// PICTURES names: make pictures. Whatever is too wide for its screen is an error, with or without pictures.
func TestPicturesOfThePages(t *testing.T) {
	t.Parallel()
	chromium.Find(t)
	folder := os.Getenv("PICTURES")
	w := newWeb(t, map[string]http.Handler{ourHost: http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		// Pages that follow by themselves would be gone before the picture is taken.
		if err := consent.ShowSpecimen(withoutRefresh{answer}, &url.URL{Scheme: "https", Host: ourHost}, strings.TrimPrefix(r.URL.Path, "/")); err != nil {
			t.Error(err)
		}
	})})
	c := startChromium(t, w)
	for _, name := range consent.Specimens() {
		sheet := [2][2]image.Image{}
		// As narrow as a page of 1280 is at four times its size: WCAG 2.2, 1.4.10.
		picture(t, c, name, "light", 320, 680)
		for column, screen := range []struct{ width, height int64 }{{360, 680}, {720, 680}} {
			for row, theme := range []string{"light", "dark"} {
				sheet[column][row] = picture(t, c, name, theme, screen.width, screen.height)
			}
		}
		if folder != "" {
			writeSheet(t, filepath.Join(folder, "consent-"+name+".png"), sheet)
		}
	}
	if complaints := c.Complaints(); len(complaints) > 0 && !strings.Contains(strings.Join(complaints, ""), "status of") {
		t.Errorf("the browser complains: %q", complaints)
	}
}

// withoutRefresh takes the refresh out of a page.
type withoutRefresh struct{ http.ResponseWriter }

func (w withoutRefresh) Write(text []byte) (int, error) {
	w.Header().Del("Content-Length")
	_, err := w.ResponseWriter.Write(bytes.ReplaceAll(text, []byte(`http-equiv="refresh"`), []byte(`name="was-refresh"`)))
	return len(text), err
}

// picture shows a page of that size and theme, as long as it is.
func picture(t *testing.T, c *chromium.Window, name, theme string, width, height int64) image.Image {
	t.Helper()
	chromium.Call(c, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
	})
	chromium.Call(c, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600,
	})
	c.Open("https://" + ourHost + "/" + name)
	if wide := chromium.Evaluate[int64](c, `document.documentElement.scrollWidth`); wide > width {
		t.Errorf("%s is %d wide on a screen of %d", name, wide, width)
	}
	taken, err := png.Decode(bytes.NewReader(chromium.Read(c, chromedp.FullScreenshot(100))))
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

// writeSheet puts pictures beside each other, in few colours, so that the file is small.
func writeSheet(t *testing.T, name string, sheet [2][2]image.Image) {
	t.Helper()
	const gap = 12
	width, height := gap, 0
	for _, of := range []image.Image{sheet[0][0], sheet[0][1], sheet[1][0], sheet[1][1]} {
		width += of.Bounds().Dx() + gap
		height = max(height, of.Bounds().Dy()+2*gap)
	}
	whole := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(whole, whole.Bounds(), image.NewUniform(color.Gray{0x80}), image.Point{}, draw.Src)
	x := gap
	for _, of := range []image.Image{sheet[0][0], sheet[0][1], sheet[1][0], sheet[1][1]} {
		at := image.Pt(x, gap)
		draw.Draw(whole, image.Rectangle{at, at.Add(of.Bounds().Size())}, of, of.Bounds().Min, draw.Src)
		x += of.Bounds().Dx() + gap
	}

	var encoded bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&encoded, fewColours(whole)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, encoded.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fewColours maps a picture to the 48 colours that it has most of, after the last bits of each are dropped.
func fewColours(from *image.RGBA) *image.Paletted {
	coarse := func(c color.RGBA) color.RGBA { return color.RGBA{c.R &^ 15, c.G &^ 15, c.B &^ 15, 255} }
	counts := map[color.RGBA]int{}
	exact := map[color.RGBA]map[color.RGBA]int{}
	for y := range from.Rect.Dy() {
		for x := range from.Rect.Dx() {
			c := from.RGBAAt(x, y)
			counts[coarse(c)]++
			if exact[coarse(c)] == nil {
				exact[coarse(c)] = map[color.RGBA]int{}
			}
			exact[coarse(c)][c]++
		}
	}
	most := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int { return counts[b] - counts[a] })
	var palette color.Palette
	for _, each := range most[:min(len(most), 48)] {
		best := slices.MaxFunc(slices.Collect(maps.Keys(exact[each])), func(a, b color.RGBA) int { return exact[each][a] - exact[each][b] })
		palette = append(palette, best)
	}
	to := image.NewPaletted(from.Rect, palette)
	index := map[color.RGBA]uint8{}
	for y := range from.Rect.Dy() {
		for x := range from.Rect.Dx() {
			c := from.RGBAAt(x, y)
			at, known := index[c]
			if !known {
				at = uint8(palette.Index(c)) //nolint:gosec // at most 48
				index[c] = at
			}
			to.SetColorIndex(x, y, at)
		}
	}
	return to
}
