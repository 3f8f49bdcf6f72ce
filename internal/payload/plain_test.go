package payload_test

import (
	"encoding/json"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leatbus/leat/internal/payload"
)

type (
	celsius float64
	// colder is a number that calls all that is below zero zero.
	colder   int
	label    string
	unlucky  [13]bool
	reversed string // in text
	shouting struct{ S string }
	point    struct {
		X, Y float32
		Name label `json:"n,omitempty"`
	}
	plainest struct {
		B    bool
		I    int8               `json:"i,omitempty"`
		J    int64              `json:"j,omitzero"`
		U    uint64             `json:"ü"`
		F    float64            `json:",omitempty"`
		S    string             `json:"s,omitempty"`
		P    point              `json:"p,omitzero"`
		A    [3]int16           `json:"a,omitempty"`
		AA   [2][2]uint32       `json:"aa"`
		L    unlucky            `json:"l"`
		C    celsius            `json:"c"`
		E    struct{}           `json:"e"`
		None [0]int             `json:"none,omitempty"`
		Objs [2]struct{ N int } `json:"objs"`
	}
)

func (c colder) IsZero() bool                   { return c <= 0 }
func (r reversed) MarshalText() ([]byte, error) { return []byte("!" + string(r)), nil }
func (r *reversed) UnmarshalText(b []byte) error {
	*r = reversed(strings.TrimPrefix(string(b), "!"))
	return nil
}
func (*shouting) UnmarshalJSON([]byte) error { return nil }

// values draws values of a type that may be plain: any bits that fit.
func fill(t *rapid.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "uint"))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{
			0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.MaxFloat64, math.SmallestNonzeroFloat64, 1 << 53,
		})).Draw(t, "float"))
	case reflect.String:
		v.SetString(rapid.OneOf(rapid.String(), rapid.StringMatching("[\x00-\x1f\"\\\\<&\u2028]*"),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "string"))
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(t, v.Field(i))
			}
		}
	}
}

func TestWhatIsPlainComesOutOfEncodingAndDecodingAsItWentIn(t *testing.T) {
	t.Parallel()
	always := []reflect.Type{
		reflect.TypeFor[plainest](), reflect.TypeFor[point](), reflect.TypeFor[string](), reflect.TypeFor[label](),
		reflect.TypeFor[float64](), reflect.TypeFor[float32](), reflect.TypeFor[celsius](), reflect.TypeFor[uint64](),
		reflect.TypeFor[int64](), reflect.TypeFor[bool](), reflect.TypeFor[[3]int](), reflect.TypeFor[time.Month](),
		reflect.TypeFor[colder](), reflect.TypeFor[time.Duration](),
	}
	never := []reflect.Type{ // today; what is ever said to be plain must be
		reflect.TypeFor[[3]string](),
		reflect.TypeFor[struct {
			T colder `json:"t,omitzero"`
		}](),
		reflect.TypeFor[json.Number](), reflect.TypeFor[reversed](), reflect.TypeFor[shouting](), reflect.TypeFor[[4]byte](),
		reflect.TypeFor[struct {
			N int `json:"n,string"`
		}](),
		reflect.TypeFor[struct {
			A    int `json:"a"`
			Left int `json:"-"`
		}](),
	}
	for _, kind := range slices.Concat(always, never) {
		t.Run(kind.String(), func(t *testing.T) {
			p, err := payload.For(kind)
			require.NoError(t, err)
			plain := 0
			rapid.Check(t, func(t *rapid.T) {
				v, got := reflect.New(kind), reflect.New(kind)
				fill(t, v.Elem())
				body, err := payload.Encode(v.Interface())
				size, ok := p.Plain(v.Interface())
				if !ok {
					return
				}
				plain++
				if err != nil {
					t.Fatalf("%#v is said to be plain and does not encode: %v", v.Elem(), err)
				}
				if len(body) > size {
					t.Fatalf("%d bytes, the bound is %d: %s", len(body), size, body)
				}
				for _, decode := range []func([]byte, any) error{p.DecodeStrict, p.Decode} {
					got.Elem().SetZero()
					if err := decode(body, got.Interface()); err != nil {
						t.Fatalf("%s: %v", body, err)
					}
					if got.Elem().Interface() != v.Elem().Interface() {
						t.Fatalf("%#v became %#v by %s", v.Elem(), got.Elem(), body)
					}
				}
			})
			assert.Equal(t, slices.Contains(always, kind), plain > 0)
		})
	}
}

func TestWhatIsPlain(t *testing.T) {
	t.Parallel()
	plain := func(v any) bool {
		p, err := payload.For(reflect.TypeOf(v).Elem())
		require.NoError(t, err, "%T", v)
		_, ok := p.Plain(v)
		return ok
	}
	for _, v := range []any{&plainest{}, &point{}, new(int), new(string), new(celsius), &[3]int{}, &unlucky{}, new(colder), new(sum)} {
		assert.True(t, plain(v), "%T", v)
	}
	nan, broken := math.NaN(), "\xff"
	for _, v := range []any{
		&nan, &broken, &point{Name: "\xc0"}, &plainest{P: point{Y: float32(math.Inf(-1))}}, // have no JSON form
		new([]int), new(map[string]int), new(*int), new(any), &user{}, &tree{}, new(json.RawMessage), // share memory
		new(reversed), &shouting{}, new(json.Number), new(time.Time), new(netip.Addr), // have a form of their own
		&struct{ a, B int }{}, &composed{}, &struct {
			Left int `json:"-"`
			A    int
		}{}, // lose something, or may
		&struct {
			T colder `json:"t,omitzero"`
		}{},
		&void{}, new([4]byte), &[2]string{}, &[1 << 20]int{},
	} {
		assert.False(t, plain(v), "%T", v)
	}
}

func TestWrapAndUnwrap(t *testing.T) {
	t.Parallel()
	p, other := typeOf[point](t), typeOf[struct{ X, Y float64 }](t)
	in := point{1, 2, "origin"}
	asIs, err := payload.Wrap(p, in, true)
	require.NoError(t, err)
	encoded, err := payload.Wrap(p, in, false)
	require.NoError(t, err)
	assert.JSONEq(t, `{"X":1,"Y":2,"n":"origin"}`, string(asIs.JSON()), "whoever wants bytes gets them")
	assert.Equal(t, encoded.JSON(), asIs.JSON())
	assert.GreaterOrEqual(t, asIs.Value.Size(), len(encoded.Body))
	for _, c := range []payload.Content{asIs, encoded} {
		got, err := payload.Unwrap[point](c, p.DecodeStrict)
		require.NoError(t, err)
		assert.Equal(t, in, got)
		_, err = payload.Unwrap[struct{ X, Y float64 }](c, other.DecodeStrict)
		assert.ErrorContains(t, err, "n", "another type reads the JSON, and is as strict as ever")
		loose, err := payload.Unwrap[struct{ X, Y float64 }](c, other.Decode)
		require.NoError(t, err)
		assert.Equal(t, struct{ X, Y float64 }{1, 2}, loose)
	}
	for _, bad := range []point{{Name: "\xff"}, {X: float32(math.NaN())}} {
		_, err := payload.Wrap(p, bad, true)
		_, want := payload.Wrap(p, bad, false)
		require.Error(t, err)
		assert.Equal(t, want, err, "the same error as where it is encoded at once")
	}
}
