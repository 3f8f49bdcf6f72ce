package brokers_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
)

const (
	page  = "../docs/brokers.md"
	begin = "<!-- guarantees -->\n"
	end   = "<!-- /guarantees -->\n"
)

// TestGuaranteesAreDocumented keeps docs/brokers.md as the Go values are. UPDATE_DOCS=1 writes it.
func TestGuaranteesAreDocumented(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(content), begin)
	require.True(t, ok)
	table, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	want := brokers.Table(brokers.All())
	if os.Getenv("UPDATE_DOCS") != "" {
		require.NoError(t, os.WriteFile(page, []byte(before+begin+want+end+after), 0o644))
		return
	}
	require.Equal(t, want, table, "run UPDATE_DOCS=1 go test ./brokers -run TestGuaranteesAreDocumented")
}

func TestGuaranteesAreComplete(t *testing.T) {
	t.Parallel()
	for _, g := range brokers.All() {
		v := reflect.ValueOf(g)
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.String {
				require.NotEmptyf(t, v.Field(i).String(), "%s: %s", g.Name, v.Type().Field(i).Name)
			}
		}
	}
}

// TestGuaranteesAreThoseOfTheBroker: what a broker says is on the page.
func TestGuaranteesAreThoseOfTheBroker(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		require.Contains(t, brokers.All(), k.open(t).Guarantees())
	})
}
