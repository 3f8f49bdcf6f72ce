package payload_test

import (
	"encoding/json"
	"log/slog"
	"math/big"
	"net/netip"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/internal/payload"
)

type (
	selfPointer *selfPointer
	hiddenBase  struct{ X int }
	count       int
	marshaler   struct{ n int }
	texter      struct{ n int }
	floatKey    float64
	promoting   struct {
		time.Time
		N int
	}
)

func (m marshaler) MarshalJSON() ([]byte, error)       { return json.Marshal([]int{m.n}) }
func (m *marshaler) UnmarshalJSON([]byte) error        { return nil }
func (t texter) MarshalText() ([]byte, error)          { return []byte{byte(t.n)}, nil }
func (t *texter) UnmarshalText([]byte) error           { return nil }
func (v voidWithMethods) MarshalJSON() ([]byte, error) { return []byte(`"v"`), nil }

type voidWithMethods struct{}

func TestForNamesTheCulprit(t *testing.T) {
	t.Parallel()
	type inner struct{ Done chan int }
	for name, tc := range map[string]struct {
		typ  reflect.Type
		want []string
	}{
		"no type": {nil, []string{"no type"}},
		"channel": {reflect.TypeFor[chan int](), []string{"chan int"}},
		"function, nested": {reflect.TypeFor[struct {
			List []map[string]struct{ F func() }
		}](), []string{"field List[][].F", "func()"}},
		"named struct":      {reflect.TypeFor[struct{ In *inner }](), []string{"field In.Done", "chan int"}},
		"complex":           {reflect.TypeFor[struct{ C complex64 }](), []string{"field C", "complex64"}},
		"unsafe pointer":    {reflect.TypeFor[struct{ P unsafe.Pointer }](), []string{"field P", "unsafe.Pointer"}},
		"map key float":     {reflect.TypeFor[struct{ M map[floatKey]int }](), []string{"field M", "map key", "floatKey"}},
		"map key interface": {reflect.TypeFor[map[any]int](), []string{"map key"}},
		"map key struct":    {reflect.TypeFor[map[sum]int](), []string{"map key"}},
		"map key JSON only": {reflect.TypeFor[map[marshaler]int](), []string{"map key"}},
		"interface":         {reflect.TypeFor[struct{ E error }](), []string{"field E", "interface with methods"}},
		"endless pointer":   {reflect.TypeFor[selfPointer](), []string{"pointers"}},
		"hidden pointer":    {reflect.TypeFor[struct{ *hiddenBase }](), []string{"field X", "cannot be set"}},
		"embedded scalar":   {reflect.StructOf([]reflect.StructField{{Name: "Count", Anonymous: true, Type: reflect.TypeFor[int]()}}), []string{"field Count", "json tag"}},
		"option format": {reflect.TypeFor[struct {
			D time.Duration `json:"d,format:units"`
		}](), []string{"field D", "format"}},
		"option inline": {reflect.TypeFor[struct {
			D sum `json:",inline"`
		}](), []string{"field D", "inline"}},
		"quoted name": {structWith(reflect.TypeFor[sum](), `json:"'a,b'"`), []string{"field F", "quotes"}},
		"same name twice": {reflect.StructOf([]reflect.StructField{
			{Name: "A", Type: reflect.TypeFor[int](), Tag: `json:"x"`}, {Name: "B", Type: reflect.TypeFor[int](), Tag: `json:"x"`},
		}), []string{"A and B"}},
		"empty description": {reflect.TypeFor[struct {
			D int `jsonschema:""`
		}](), []string{"field D", "jsonschema"}},
		"keyword description": {reflect.TypeFor[struct {
			D int `jsonschema:"min=3"`
		}](), []string{"field D", "WORD="}},
		"stringified Number": {reflect.TypeFor[struct {
			N json.Number `json:",string"`
		}](), []string{"field N", "json.Number"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := payload.For(tc.typ)
			for _, part := range tc.want {
				require.ErrorContains(t, err, part)
			}
		})
	}
}

func TestVoid(t *testing.T) {
	t.Parallel()
	assert.True(t, typeOf[struct{}](t).Void())
	assert.True(t, typeOf[void](t).Void())
	assert.Nil(t, typeOf[void](t).Schema())
	assert.False(t, typeOf[*void](t).Void())
	assert.False(t, typeOf[sum](t).Void())
	assert.False(t, typeOf[voidWithMethods](t).Void(), "it has something to say")
}

// Where jsonschema-go's inference is right, ours says the same.
func TestSchemaIsTheInferredOne(t *testing.T) {
	t.Parallel()
	type all struct {
		B   bool              `json:"b"`
		I   int               `json:"i" jsonschema:"an int"`
		I8  int8              `json:"i8,omitempty"`
		I16 int16             `json:"i16,omitzero"`
		I32 *int32            `json:"i32"`
		U   uint              `json:"u"`
		U8  uint8             `json:"u8"`
		U32 uint32            `json:"u32"`
		F   float32           `json:"f"`
		S   *string           `json:"s"`
		L   []string          `json:"l"`
		LP  *[]sum            `json:"lp"`
		A   [2]sum            `json:"a"`
		M   map[string]*sum   `json:"m"`
		MP  *map[string][]int `json:"mp" jsonschema:"a map"`
		T   time.Time         `json:"t"`
		TP  *time.Time        `json:"tp"`
		D   time.Duration     `json:"d"`
		LV  slog.Level        `json:"lv"`
		X   any               `json:"x" jsonschema:"whatever"`
		E   struct{}          `json:"e"`
		N   **int             `json:"n"`
		Z   []count
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[all](), reflect.TypeFor[*all](), reflect.TypeFor[user](), reflect.TypeFor[[]map[string]sum](), reflect.TypeFor[int8](),
	} {
		want, err := jsonschema.ForType(typ, nil)
		require.NoError(t, err)
		wantJSON, err := json.Marshal(want)
		require.NoError(t, err)
		got, err := payload.For(typ)
		require.NoError(t, err)
		assert.JSONEq(t, string(wantJSON), string(got.Schema()), typ.String())
	}
}

// Where jsonschema-go's inference is wrong about the wire, or gives up, ours goes by the wire.
func TestSchemaOfSpecialTypes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		typ  *payload.Type
		want string
	}{
		"any":              {typeOf[any](t), `{}`},
		"raw message":      {typeOf[json.RawMessage](t), `{}`},
		"JSON methods":     {typeOf[marshaler](t), `{}`},
		"promoted methods": {typeOf[promoting](t), `{}`},
		"slice of raw":     {typeOf[[]json.RawMessage](t), `{"type":["null","array"],"items":true}`},
		"text methods":     {typeOf[*texter](t), `{"type":["null","string"]}`},
		"address":          {typeOf[netip.Addr](t), `{"type":"string"}`},
		"big integer":      {typeOf[*big.Int](t), `{"type":["null","integer"]}`},
		"json.Number":      {typeOf[json.Number](t), `{"type":"number"}`},
		"bytes":            {typeOf[[]byte](t), `{"type":["null","string"],"contentEncoding":"base64"}`},
		"byte array":       {typeOf[[1]byte](t), `{"type":"array","items":{"type":"integer","minimum":0,"maximum":255},"minItems":1,"maxItems":1}`},
		"integer keys":     {typeOf[map[int]bool](t), `{"type":"object","propertyNames":{"pattern":"^-?(0|[1-9][0-9]*)$"},"additionalProperties":{"type":"boolean"}}`},
		"time keys":        {typeOf[map[time.Time]bool](t), `{"type":"object","additionalProperties":{"type":"boolean"}}`},
		"string option": {typeOf[struct {
			I *int `json:"i,string"`
			B bool `json:"b,string,omitempty"`
		}](t), `{"type":"object","properties":{
			"i":{"type":["null","string"],"pattern":"^-?(0|[1-9][0-9]*)$"},
			"b":{"type":"string","enum":["true","false"]}},"required":["i"],"additionalProperties":false}`},
		"string option without effect": {special(t, structWith(reflect.TypeFor[[]int](), `json:",string"`)),
			`{"type":"object","properties":{"F":{"type":["null","array"],"items":{"type":"integer"}}},"required":["F"],"additionalProperties":false}`},
		"embedded": {typeOf[composed](t), `{"type":"object","properties":{
			"id":{"type":"string"},"note":{"type":"string"},"same":{"type":"string"}},"required":["id","same"],"additionalProperties":false}`},
		"ambiguous names": {typeOf[struct {
			leftSide
			rightSide
		}](t), `{"type":"object","properties":{"tagged":{"type":"boolean"},"l":{"type":"integer"}},"required":["tagged","l"],"additionalProperties":false}`},
		"embedded by name": {typeOf[struct {
			base `json:"base"`
		}](t), `{"type":"object","properties":{"base":{"type":"object","properties":{"id":{"type":"string"}},"required":["id"],"additionalProperties":false}},
			"required":["base"],"additionalProperties":false}`},
		"slice of itself": {typeOf[nested](t), `{"type":["null","array"],"items":{"$ref":"#/$defs/nested"},
			"$defs":{"nested":{"type":["null","array"],"items":{"$ref":"#/$defs/nested"}}}}`},
		"pointer to branch": {typeOf[map[string]*chainA](t), `{"type":"object","additionalProperties":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/chainA"}]},"$defs":{
			"chainA":{"type":"object","properties":{"b":{"description":"the next","anyOf":[{"type":"null"},{"$ref":"#/$defs/chainB"}]}},"required":["b"],"additionalProperties":false},
			"chainB":{"type":"object","properties":{"a":{"type":["null","array"],"items":{"$ref":"#/$defs/chainA"}}},"required":["a"],"additionalProperties":false}}}`},
	} {
		assert.JSONEq(t, tc.want, string(tc.typ.Schema()), name)
	}
	assert.Equal(t, `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"required":["a","b"],"additionalProperties":false}`,
		string(typeOf[sum](t).Schema()), "compact, in the order of the fields")
}

// structWith makes a struct type whose tag vet would complain of in source.
func structWith(field reflect.Type, tag reflect.StructTag) reflect.Type {
	return reflect.StructOf([]reflect.StructField{{Name: "F", Type: field, Tag: tag}})
}

func special(tb testing.TB, typ reflect.Type) *payload.Type {
	tb.Helper()
	p, err := payload.For(typ)
	require.NoError(tb, err)
	return p
}

type (
	leftSide struct {
		Both int
		Won  int  `json:"-"`
		Tag  bool `json:"tagged"`
		L    int  `json:"l"`
	}
	rightSide struct {
		Both string
		Lost string   `json:"-"`
		Won  chan int `json:"-"`
	}
	chainA struct {
		B *chainB `json:"b" jsonschema:"the next"`
	}
	chainB struct {
		A []chainA `json:"a"`
	}
)
