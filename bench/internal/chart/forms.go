package chart

import (
	"fmt"
	"strings"
)

// Bars draws the values of one column as horizontal bars on a logarithmic axis.
func Bars(c Chart, column int) string {
	rows := make([]Row, 0, len(c.Rows))
	for _, r := range c.Rows {
		if r.Values[column] > 0 {
			rows = append(rows, Row{r.Name, r.Values[column : column+1]})
		}
	}
	const left, right, top, step = 150.0, 90.0, 62.0, 26.0
	bottom := top + step*float64(len(rows))
	o := open(c.Title, c.Unit+"; logarithmic", int(bottom)+30)
	x := newScale(rows, left, width-right)
	for d := x.low; d <= x.high; d++ {
		at := x.from + float64(d-x.low)/float64(x.high-x.low)*(x.to-x.from)
		o.line(at, top, at, bottom)
		o.text(at, bottom+18, "m", "middle", tick(d, c.time()))
	}
	for i, r := range rows {
		class := "peer"
		if own(r.Name) {
			class = "own"
		}
		y := top + step*float64(i)
		fmt.Fprintf(o, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="3" class="%s"/>`+"\n", left, y+4, x.at(r.Values[0])-left, step-8, class)
		o.text(left-8, y+step/2+5, "", "end", r.Name)
		o.text(x.at(r.Values[0])+6, y+step/2+5, "m", "start", value(r.Values[0], c.time()))
	}
	return o.end()
}

// value formats a bar's number.
func value(v float64, time bool) string {
	switch {
	case time && v >= 1e6:
		return fmt.Sprintf("%.3g ms", v/1e6)
	case time && v >= 1e3:
		return fmt.Sprintf("%.3g µs", v/1e3)
	case time:
		return fmt.Sprintf("%.3g ns", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// Lines draws each row as a line over the columns, which are evenly spaced; the vertical axis is logarithmic.
func Lines(c Chart) string {
	const left, right, top, bottom = 70.0, 200.0, 66.0, 340.0
	height := int(max(bottom+44, top+20*float64(len(c.Rows))))
	o := open(c.Title, c.Unit+"; logarithmic", height)
	y := newScale(c.Rows, bottom, top)
	for d := y.low; d <= y.high; d++ {
		at := y.from + float64(d-y.low)/float64(y.high-y.low)*(y.to-y.from)
		o.line(left, at, width-right, at)
		o.text(left-8, at+4, "m", "end", tick(d, c.time()))
	}
	x := func(i int) float64 {
		return left + 20 + float64(i)/float64(max(len(c.Columns)-1, 1))*(width-right-left-40)
	}
	for i, name := range c.Columns {
		o.text(x(i), bottom+18, "m", "middle", name)
	}
	o.text((left+width-right)/2, bottom+36, "m", "middle", c.Axis)
	for i, r := range c.Rows {
		o.series(r, i, x, y)
		o.legend(r.Name, i, width-right+14, top+20*float64(i))
	}
	return o.end()
}

func (c *canvas) series(r Row, i int, x func(int) float64, y scale) {
	var points []string
	colour, wide := palette[i%len(palette)], 1.8
	if own(r.Name) {
		wide = 3.2
	}
	for at, v := range r.Values {
		if v <= 0 {
			continue
		}
		points = append(points, fmt.Sprintf("%.1f,%.1f", x(at), y.at(v)))
		fmt.Fprintf(c, `<circle cx="%.1f" cy="%.1f" r="%.1f" fill="%s"/>`+"\n", x(at), y.at(v), wide+0.6, colour)
	}
	fmt.Fprintf(c, `<polyline points="%s" fill="none" stroke="%s" stroke-width="%.1f"%s/>`+"\n", strings.Join(points, " "), colour, wide, dash(i))
}

// dash tells apart series that share a colour.
func dash(i int) string {
	if i < len(palette) {
		return ""
	}
	return ` stroke-dasharray="5 4"`
}

func (c *canvas) legend(name string, i int, x, y float64) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="4"%s/>`+"\n",
		x, y-4, x+14, y-4, palette[i%len(palette)], dash(i))
	c.text(x+20, y, "", "start", name)
}
