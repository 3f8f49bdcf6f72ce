package payload_test

import (
	"encoding/json"
	"reflect"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/internal/payload"
)

// Structs that the JSON library refuses, and encoding/json takes.
func TestStructsOfWhichNothingOrNothingMuchIsExported(t *testing.T) {
	t.Parallel()
	type guarded struct {
		Mu   sync.Mutex
		Seal sealed
		Any  any `json:",omitempty"`
	}
	for _, tc := range []struct {
		value any // a pointer
		want  string
	}{
		{&sealed{1}, `{}`},
		{&guarded{}, `{"Mu":{},"Seal":{}}`},
		{&optional{B: 1}, `{"a":{},"b":1}`},
		{&optional{Extra: &Extra{Same: 2}}, `{"same":2,"a":{},"b":0}`},
	} {
		kind := reflect.TypeOf(tc.value).Elem()
		p, err := payload.For(kind)
		require.NoError(t, err, kind)
		data, err := payload.Encode(tc.value)
		require.NoError(t, err)
		assert.Equal(t, tc.want, string(data), "%v", kind)
		std, err := json.Marshal(tc.value)
		require.NoError(t, err)
		assert.JSONEq(t, string(std), string(data), "%v: as encoding/json does", kind)
		back := reflect.New(kind)
		require.NoError(t, p.DecodeStrict(data, back.Interface()), kind)
		assert.NoError(t, compiled(t, p).Validate(t.Context(), data), string(p.Schema()))
	}
}

func TestLenientStructsAreStrictAllTheSame(t *testing.T) {
	t.Parallel()
	p := typeOf[optional](t)
	for data, want := range map[string]string{
		`{"a":{},"b":1,"c":2}`:     `unknown field "c"`,
		`{"a":{"x":1},"b":1}`:      `unknown field "a.x"`,
		`{"a":{}}`:                 `missing field "b"`,
		`{"a":{},"b":"1"}`:         `field "b": expected integer, got string`,
		`{"a":{},"b":1,"b":1}`:     `field "b": duplicate`,
		`{"a":{},"b":null}`:        `field "b": expected integer, got null`,
		`{"a":{},"b":1,"same":[]}`: `field "same": expected integer, got array`,
		`{"a":7,"b":1}`:            `field "a": expected object, got number`,
	} {
		assert.EqualError(t, p.DecodeStrict([]byte(data), new(optional)), want, data)
	}
	assert.EqualError(t, p.Decode([]byte(`{"b":"x","c":1}`), new(optional)), `field "b": unexpected string`)
	assert.NoError(t, p.Decode([]byte(`{"c":{}}`), new(optional)), "a tolerant decode")
}

func TestAnAnyKeepsWhatANumberSays(t *testing.T) {
	t.Parallel()
	type box struct {
		V any            `json:"v"`
		M map[string]any `json:"m"`
	}
	p := typeOf[box](t)
	for data, want := range map[string]any{
		`12`:                             12.0,
		`-1.5e3`:                         -1500.0,
		`9007199254740992`:               9007199254740992.0,
		`9007199254740993`:               int64(9007199254740993),
		`-9007199254740993`:              int64(-9007199254740993),
		`18446744073709551615`:           uint64(18446744073709551615),
		`123456789012345678901234567890`: json.Number("123456789012345678901234567890"),
		`1e300`:                          1e300,
	} {
		var b box
		require.NoError(t, p.DecodeStrict([]byte(`{"v":`+data+`,"m":{"k":[`+data+`]}}`), &b), data)
		assert.Equal(t, box{want, map[string]any{"k": []any{want}}}, b, data)
		back, err := payload.Encode(&b)
		require.NoError(t, err)
		var again box
		require.NoError(t, p.DecodeStrict(back, &again))
		assert.Equal(t, b, again, "there and back: %s", back)
	}
	var b box
	assert.ErrorContains(t, p.DecodeStrict([]byte(`{"v":1e999,"m":{}}`), &b), "out of range")
	var root any
	require.NoError(t, typeOf[any](t).Decode([]byte(`9007199254740993`), &root))
	assert.Equal(t, int64(9007199254740993), root)
}
