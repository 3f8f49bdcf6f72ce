package chart_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bench/internal/chart"
)

var sample = chart.Chart{
	Title: "A & B", Unit: "ns per call", Axis: "callers", Columns: []string{"1", "16"},
	Rows: []chart.Row{{"leat", []float64{900, 1100}}, {"other", []float64{25_000, 0}}},
}

func TestChartsAreWellFormedAndNameTheirRows(t *testing.T) {
	t.Parallel()
	for name, svg := range map[string]string{"bars": chart.Bars(sample, 0), "lines": chart.Lines(sample)} {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, name)
		}
		for _, text := range []string{"A &amp; B", ">leat<", ">other<", "prefers-color-scheme", "100 µs"} {
			assert.Contains(t, svg, text, name)
		}
	}
}

func TestBarsLeaveOutWhatWasNotMeasured(t *testing.T) {
	t.Parallel()
	assert.NotContains(t, chart.Bars(sample, 1), ">other<")
}

// However many series there are, no two look alike.
func TestLinesTellSeriesApart(t *testing.T) {
	t.Parallel()
	many := sample
	many.Rows = nil
	for i := range 20 {
		many.Rows = append(many.Rows, chart.Row{Name: fmt.Sprint("series ", i), Values: []float64{10, 20}})
	}
	looks := regexp.MustCompile(`<polyline .*? fill="none" (stroke=.*)/>`).FindAllStringSubmatch(chart.Lines(many), -1)
	require.Len(t, looks, 20)
	seen := make(map[string]bool)
	for _, l := range looks {
		assert.False(t, seen[l[1]], l[1])
		seen[l[1]] = true
	}
}
