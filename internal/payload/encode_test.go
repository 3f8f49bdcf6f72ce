package payload_test

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/internal/payload"
)

type failing struct{}

var errFailing = errors.New("no luck")

func (failing) MarshalJSON() ([]byte, error) { return nil, errFailing }

func TestEncode(t *testing.T) {
	t.Parallel()
	yes := true
	raw := json.RawMessage(` {"b": 12345678901234567890} `)
	for name, tc := range map[string]struct {
		v    any
		want string // empty: absent
	}{
		"struct":              {sum{7, 11}, `{"a":7,"b":11}`},
		"pointer to struct":   {&sum{7, 11}, `{"a":7,"b":11}`},
		"void":                {void{}, ``},
		"pointer to void":     {&struct{}{}, ``},
		"nil pointer to void": {(*void)(nil), `null`},
		"void with methods":   {voidWithMethods{}, `"v"`},
		"nil":                 {nil, `null`},
		"raw":                 {raw, string(raw)},
		"pointer to raw":      {&raw, string(raw)},
		"explicit null":       {json.RawMessage(`null`), `null`},
		"nil raw":             {json.RawMessage(nil), ``},
		"empty raw":           {new(json.RawMessage), ``},
		"nil slice":           {[]int(nil), `[]`},
		"nil map":             {map[string]int(nil), `{}`},
		"nil bytes":           {[]byte(nil), `""`},
		"nested raw":          {[]json.RawMessage{raw, nil}, `[{"b":12345678901234567890},null]`},
		"sorted keys":         {map[string]int{"c": 1, "a": 2, "b": 3}, `{"a":2,"b":3,"c":1}`},
		"omitempty": {struct {
			I int `json:",omitempty"`
		}{}, `{}`},
		"no escapes":    {"<&>\u2028", "\"<&>\u2028\""},
		"duration":      {time.Second, `1000000000`},
		"byte array":    {[2]byte{1, 2}, `[1,2]`},
		"number":        {json.Number("1.50"), `1.50`},
		"number in any": {map[string]any{"n": json.Number("12345678901234567890")}, `{"n":12345678901234567890}`},
		"no number":     {json.Number(""), `0`},
		"string option": {struct {
			I int    `json:",string"`
			B *bool  `json:",string"`
			S string `json:",string"`
		}{1, &yes, "x"}, `{"I":"1","B":"true","S":"\"x\""}`},
	} {
		got, err := payload.Encode(tc.v)
		require.NoError(t, err, name)
		assert.Equal(t, tc.want, string(got), name)
		assert.Equal(t, tc.want == "", got == nil, name)
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	type ring struct{ Next *ring }
	loop := &ring{}
	loop.Next = loop
	for name, tc := range map[string]struct {
		v    any
		want string
	}{
		"not a number":   {struct{ L []float64 }{[]float64{1, math.NaN()}}, `field "L[1]": unsupported value: NaN`},
		"bad number":     {json.Number("1x"), `invalid number "1x"`},
		"not UTF-8":      {map[string]string{"k": "\xff"}, `field "k": `},
		"own method":     {struct{ F failing }{}, `field "F": no luck`},
		"cycle":          {loop, `cycle`},
		"raw, truncated": {json.RawMessage(`{"a"`), `truncated JSON`},
		"raw, two":       {json.RawMessage(`1 2`), `after top-level value`},
		"channel":        {make(chan int), `a value that JSON cannot hold`},
	} {
		got, err := payload.Encode(tc.v)
		var e *payload.Error
		require.ErrorAs(t, err, &e, name)
		assert.ErrorContains(t, err, tc.want, name)
		assert.Nil(t, got, name)
	}
	_, err := payload.Encode([]failing{{}})
	assert.ErrorIs(t, err, errFailing)
}

func TestEncodeCopies(t *testing.T) {
	t.Parallel()
	raw := json.RawMessage(`[1]`)
	got, err := payload.Encode(raw)
	require.NoError(t, err)
	raw[1] = '2'
	assert.Equal(t, `[1]`, string(got))
}

func TestValid(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`{}`, ` [1e999, "\ud83d\ude00"] `, `null`, `"x"`} {
		assert.NoError(t, payload.Valid([]byte(data)), data)
	}
	for data, want := range map[string]string{
		``: `truncated JSON`, `{"a":`: `truncated JSON`, `[1,]`: `not well-formed JSON`, `1 2`: `after top-level value`,
		`{"a":{"b":1,"b":2}}`: `field "a.b": duplicate`, `01`: `not well-formed JSON`, `"` + "\xff" + `"`: `invalid UTF-8`, `"\ud800"`: `not well-formed JSON`,
	} {
		var e *payload.Error
		err := payload.Valid([]byte(data))
		require.ErrorAs(t, err, &e, data)
		assert.ErrorContains(t, err, want, data)
	}
}
