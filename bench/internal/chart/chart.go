// Package chart draws small SVG charts with logarithmic axes, readable on light and on dark pages.
package chart

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Chart is what both forms show. Values must be positive; 0 is left out.
type Chart struct {
	Title, Unit, Axis string
	Columns           []string
	Rows              []Row
}

// Row is one series.
type Row struct {
	Name   string
	Values []float64
}

const (
	width = 760
	style = `<style>
text{font:13px system-ui,sans-serif;fill:#1f2328}.t{font-size:16px;font-weight:600}.m{fill:#59636e;font-size:12px}
.g{stroke:#d1d9e0;stroke-width:1}.own{fill:#0969da}.peer{fill:#8c959f}
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.m{fill:#9198a1}.g{stroke:#3d444d}.own{fill:#4493f8}.peer{fill:#768390}}
</style>
`
)

// palette holds colours of middle lightness, which stand out from white and from black.
var palette = []string{"#8b949e", "#b08800", "#d2579a", "#db6d28", "#2f81f7", "#17a2b8", "#8a63d2", "#2da44e", "#e5534b", "#c69026", "#7c9a2e", "#a371f7", "#c4704f"}

// own reports whether the series is leat's, which charts emphasise.
func own(name string) bool { return strings.HasPrefix(name, "leat") }

type canvas struct{ strings.Builder }

func open(title, unit string, height int) *canvas {
	c := &canvas{}
	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n",
		width, height, width, height, html.EscapeString(title))
	c.WriteString(style)
	c.text(12, 24, "t", "start", title)
	c.text(12, 44, "m", "start", unit)
	return c
}

func (c *canvas) text(x, y float64, class, anchor, s string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor, html.EscapeString(s))
}

func (c *canvas) line(x1, y1, x2, y2 float64) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="g"/>`+"\n", x1, y1, x2, y2)
}

func (c *canvas) end() string { return c.String() + "</svg>\n" }

// scale maps values to positions by their logarithm, over whole decades.
type scale struct {
	low, high int // decades
	from, to  float64
}

func newScale(rows []Row, from, to float64) scale {
	low, high := math.Inf(1), math.Inf(-1)
	for _, r := range rows {
		for _, v := range r.Values {
			if v > 0 {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if low > high {
		low, high = 1, 10
	}
	s := scale{int(math.Floor(math.Log10(low))), int(math.Ceil(math.Log10(high))), from, to}
	if s.low == s.high {
		s.high++
	}
	return s
}

func (s scale) at(v float64) float64 {
	part := (math.Log10(v) - float64(s.low)) / float64(s.high-s.low)
	return s.from + part*(s.to-s.from)
}

// tick names a power of ten of nanoseconds, or of anything else.
func tick(decade int, time bool) string {
	if !time {
		return fmt.Sprintf("%g", math.Pow10(decade))
	}
	for _, u := range []struct {
		decade int
		name   string
	}{{9, "s"}, {6, "ms"}, {3, "µs"}} {
		if decade >= u.decade {
			return fmt.Sprintf("%g %s", math.Pow10(decade-u.decade), u.name)
		}
	}
	return fmt.Sprintf("%g ns", math.Pow10(decade))
}

func (c Chart) time() bool { return strings.HasPrefix(c.Unit, "ns") }
