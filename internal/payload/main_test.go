package payload_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leatbus/leat/internal/payload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// typeOf describes T, which must be possible.
func typeOf[T any](tb testing.TB) *payload.Type {
	tb.Helper()
	t, err := payload.For(reflect.TypeFor[T]())
	require.NoError(tb, err)
	return t
}

// compiled compiles the schema that T advertises.
func compiled(tb testing.TB, t *payload.Type) *payload.Schema {
	tb.Helper()
	s, err := payload.CompileSchema(t.Schema())
	require.NoError(tb, err, string(t.Schema()))
	return s
}

// The fixtures that several tests share.
type (
	sum struct {
		A int `json:"a"`
		B int `json:"b"`
	}
	address struct {
		Street string  `json:"street"`
		Zip    *string `json:"zip,omitempty"`
	}
	user struct {
		Name    string             `json:"name" jsonschema:"how to greet"`
		Age     uint8              `json:"age,omitempty"`
		Home    *address           `json:"home,omitempty"`
		Old     []address          `json:"old,omitempty"`
		ByCity  map[string]address `json:"byCity,omitempty"`
		Comment any                `json:"comment,omitempty"`
	}
	tree struct {
		Value int              `json:"value"`
		Left  *tree            `json:"left,omitempty" jsonschema:"smaller ones"`
		Kids  []tree           `json:"kids,omitempty"`
		Named map[string]*tree `json:"named,omitempty"`
		Back  *branch          `json:"back,omitempty"`
	}
	branch struct {
		Tree tree `json:"tree"`
	}
	nested []nested
	dict   map[string]dict
	base   struct {
		ID string `json:"id"`
	}
	Extra struct {
		Note string `json:"note,omitempty"`
		Same int    `json:"same"`
	}
	composed struct {
		base
		*Extra
		Same string `json:"same"`
	}
	void     struct{}
	sealed   struct{ hidden int }
	optional struct {
		*Extra `json:",omitempty"`
		Seal   sealed `json:"a"`
		B      int    `json:"b"`
	}
)
