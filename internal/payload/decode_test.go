package payload_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/internal/payload"
)

type picky struct{ s string }

var errPicky = errors.New("not to my taste")

func (p *picky) UnmarshalText([]byte) error  { return errPicky }
func (p picky) MarshalText() ([]byte, error) { return []byte(p.s), nil }

type wide struct {
	I8  int8               `json:"i8,omitempty"`
	U   uint64             `json:"u,omitempty"`
	F   float32            `json:"f,omitempty"`
	S   string             `json:"s,omitempty"`
	Ok  bool               `json:"ok,omitempty"`
	B   []byte             `json:"b,omitempty"`
	Arr [2]int             `json:"arr,omitempty"`
	M   map[string]int     `json:"m,omitempty"`
	K   map[int8]bool      `json:"k,omitempty"`
	At  time.Time          `json:"at,omitzero"`
	D   time.Duration      `json:"d,omitempty"`
	P   *picky             `json:"p,omitempty"`
	Q   int                `json:"q,string,omitempty"`
	QF  float64            `json:"qf,string,omitempty"`
	QB  *bool              `json:"qb,string,omitempty"`
	QS  string             `json:"qs,string,omitempty"`
	X   any                `json:"x,omitempty"`
	N   json.Number        `json:"n,omitempty"`
	Big *big.Int           `json:"big,omitempty"`
	Emp struct{}           `json:"emp,omitzero"`
	Raw json.RawMessage    `json:"raw,omitempty"`
	LP  *[]*map[string]int `json:"lp,omitempty"`
}

// refusals are what decoding refuses, and in which words.
var refusals = []struct {
	typ      string
	data     string
	want     string
	tolerant bool // Decode lets it pass
}{
	{typ: "user", data: `{"name":7}`, want: `field "name": expected string, got number`},
	{typ: "user", data: `{"name":"x","home":{"street":false}}`, want: `field "home.street": expected string, got boolean`},
	{typ: "user", data: `{"name":"x","old":{}}`, want: `field "old": expected array, got object`},
	{typ: "user", data: `[]`, want: `expected object, got array`},
	{typ: "user", data: `null`, want: `expected object, got null`},
	{typ: "user", data: `{"name":"x","c":1}`, want: `unknown field "c"`, tolerant: true},
	{typ: "user", data: `{"name":"x","old":[{"street":"s","c":1}]}`, want: `unknown field "old[0].c"`, tolerant: true},
	{typ: "user", data: `{"Name":"x"}`, want: `unknown field "Name" (did you mean "name"?)`, tolerant: true},
	{typ: "user", data: `{}`, want: `missing field "name"`, tolerant: true},
	{typ: "user", data: `{"name":"x","home":{}}`, want: `missing field "home.street"`, tolerant: true},
	{typ: "user", data: `{"name":"x","old":[{"street":"s"},{}]}`, want: `missing field "old[1].street"`, tolerant: true},
	{typ: "user", data: `{"name":"x","byCity":{"a.b":{}}}`, want: `missing field "byCity["a.b"].street"`, tolerant: true},
	{typ: "composed", data: `{"same":"s"}`, want: `missing field "id"`, tolerant: true},
	{typ: "user", data: `{"name":"x","name":"y"}`, want: `field "name": duplicate`},
	{typ: "user", data: `{"name":"x","n\u0061me":"y"}`, want: `field "name": duplicate`},
	{typ: "user", data: `{"name":"x","comment":{"a":[{"b":1,"b":2}]}}`, want: `field "comment.a[0].b": duplicate`},
	{typ: "user", data: `{"name":"x"} {}`, want: `not well-formed JSON: invalid character '{' after top-level value, at byte 13`},
	{typ: "user", data: `{"name":"x"`, want: `truncated JSON`},
	{typ: "user", data: ` `, want: `truncated JSON`},
	{typ: "user", data: "{\"name\":\"\xff\"}", want: `field "name": invalid UTF-8`},
	{typ: "user", data: `{"name":null}`, want: `field "name": expected string, got null`},
	{typ: "user", data: `{"name":"x","old":[null]}`, want: `field "old[0]": expected object, got null`},
	{typ: "user", data: `{"name":"x","byCity":null}`, want: `field "byCity": expected object, got null`},
	{typ: "user", data: `{"name":"x","age":256}`, want: `field "age": 256 is out of range`},
	{typ: "user", data: `{"name":"x","age":-1}`, want: `field "age": expected integer, got -1`},
	{typ: "wide", data: `{"i8":1.5}`, want: `field "i8": expected integer, got 1.5`},
	{typ: "wide", data: `{"u":18446744073709551616}`, want: `field "u": 18446744073709551616 is out of range`},
	{typ: "wide", data: `{"f":1e39}`, want: `field "f": 1e39 is out of range`},
	{typ: "wide", data: `{"ok":"true"}`, want: `field "ok": expected boolean, got string`},
	{typ: "wide", data: `{"b":"?"}`, want: `field "b": illegal base64 data at input byte 0`},
	{typ: "wide", data: `{"b":[1]}`, want: `field "b": expected base64 string, got array`},
	{typ: "wide", data: `{"arr":[1]}`, want: `field "arr": expected array of 2, got one of another length`},
	{typ: "wide", data: `{"arr":[1,2,3]}`, want: `field "arr": expected array of 2, got one of another length`},
	{typ: "wide", data: `{"arr":null}`, want: `field "arr": expected array of 2, got null`},
	{typ: "wide", data: `{"m":{"a":null}}`, want: `field "m.a": expected integer, got null`},
	{typ: "wide", data: `{"k":{"x":true}}`, want: `field "k.x": expected an integer of the key's range as the name`},
	{typ: "wide", data: `{"k":{"+1":true}}`, want: `field "k.+1": expected an integer of the key's range as the name`},
	{typ: "wide", data: `{"k":{"128":true}}`, want: `field "k.128": expected an integer of the key's range as the name`},
	{typ: "wide", data: `{"k":{"1":1}}`, want: `field "k.1": expected boolean, got number`},
	{typ: "wide", data: `{"at":1}`, want: `field "at": expected string, got number`},
	{typ: "wide", data: `{"at":null}`, want: `field "at": expected string, got null`},
	{typ: "wide", data: `{"d":"1s"}`, want: `field "d": expected integer, got string`},
	{typ: "wide", data: `{"p":"x"}`, want: `field "p": not to my taste`},
	{typ: "wide", data: `{"p":1}`, want: `field "p": expected string, got number`},
	{typ: "wide", data: `{"q":1}`, want: `field "q": expected string with an integer in it, got number`},
	{typ: "wide", data: `{"q":"+1"}`, want: `field "q": expected string with an integer in it`},
	{typ: "wide", data: `{"q":"null"}`, want: `field "q": expected string with an integer in it`},
	{typ: "wide", data: `{"qf":"NaN"}`, want: `field "qf": expected string with a number in it`},
	{typ: "wide", data: `{"qf":"0x1p4"}`, want: `field "qf": expected string with a number in it`},
	{typ: "wide", data: `{"qb":"null"}`, want: `field "qb": expected string with a boolean in it`},
	{typ: "wide", data: `{"qb":"yes"}`, want: `field "qb": expected string with a boolean in it, got "yes"`},
	{typ: "wide", data: `{"qs":"plain"}`, want: `field "qs": expected string with a JSON string in it`},
	{typ: "wide", data: `{"qs":"n\u0075ll"}`, want: `field "qs": expected string with a JSON string in it`},
	{typ: "wide", data: `{"n":"1"}`, want: `field "n": expected number, got string`},
	{typ: "wide", data: `{"big":"1"}`, want: `field "big": expected integer, got string`},
	{typ: "wide", data: `{"emp":{"a":1}}`, want: `unknown field "emp.a"`, tolerant: true},
	{typ: "wide", data: `{"lp":[{"a":null}]}`, want: `field "lp[0].a": expected integer, got null`},
	{typ: "tree", data: `{"value":1,"left":{"kids":[],"value":2,"named":{"x":{}}}}`, want: `missing field "left.named.x.value"`, tolerant: true},
	{typ: "tree", data: `{"value":1,"back":{"tree":{"value":null}}}`, want: `field "back.tree.value": expected integer, got null`},
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	types := map[string]reflect.Type{
		"wide": reflect.TypeFor[wide](), "user": reflect.TypeFor[user](), "tree": reflect.TypeFor[tree](), "composed": reflect.TypeFor[composed](),
	}
	for _, tc := range refusals {
		t.Run(tc.data, func(t *testing.T) {
			t.Parallel()
			goType := types[tc.typ]
			p := special(t, goType)
			var e *payload.Error
			err := p.DecodeStrict([]byte(tc.data), reflect.New(goType).Interface())
			require.ErrorAs(t, err, &e)
			assert.Contains(t, err.Error(), tc.want) // The decoder and the scan add what was got, or not.
			err = p.Decode([]byte(tc.data), reflect.New(goType).Interface())
			if tc.tolerant {
				assert.NoError(t, err)
				return
			}
			require.ErrorAs(t, err, &e)
			assert.Contains(t, err.Error(), tc.want)
		})
	}
}

func TestDecodeTakesTheSchema(t *testing.T) {
	t.Parallel()
	w := typeOf[wide](t)
	for _, data := range []string{
		`{}`, ` { "i8" : -128 } `, `{"u":18446744073709551615}`, `{"b":"AQI="}`, `{"b":null}`, `{"arr":[1,2]}`, `{"k":{"-5":true}}`,
		`{"at":"2024-01-02T03:04:05Z"}`, `{"d":5}`, `{"p":null}`, `{"q":"-12"}`, `{"qf":"1e3"}`, `{"qb":"true"}`, `{"qb":null}`, `{"qs":"\"x\""}`,
		`{"x":null}`, `{"n":1e400}`, `{"n":12345678901234567890123}`, `{"big":123456789012345678901234567890}`, `{"raw":null}`, `{"raw":{"a": 1}}`,
		`{"lp":[null,{"a":1}]}`, `{"\u006c\u0070":null}`, `{"emp":{}}`,
	} {
		assert.NoError(t, w.DecodeStrict([]byte(data), new(wide)), data)
		assert.NoError(t, w.Decode([]byte(data), new(wide)), data)
	}
	var got wide
	require.NoError(t, w.DecodeStrict([]byte(`{"d":5,"q":"7","n":1.50,"raw":{"a": 1},"b":"AQI=","qs":"\"x\""}`), &got))
	assert.Equal(t, wide{D: 5, Q: 7, N: "1.50", Raw: json.RawMessage(`{"a": 1}`), B: []byte{1, 2}, QS: "x"}, got)
}

func TestDecodeMoreFieldsThanAWord(t *testing.T) {
	t.Parallel()
	var fields []reflect.StructField
	data := []byte{'{'}
	for i := range 200 {
		name := string(rune('A'+i%26)) + string(rune('a'+i/26))
		fields = append(fields, reflect.StructField{Name: name, Type: reflect.TypeFor[int]()})
		if i == 177 {
			continue
		}
		data = append(data, `"`+name+`":1,`...)
	}
	typ := reflect.StructOf(fields)
	p, err := payload.For(typ)
	require.NoError(t, err)
	data[len(data)-1] = '}'
	err = p.DecodeStrict(data, reflect.New(typ).Interface())
	assert.EqualError(t, err, `missing field "`+fields[177].Name+`"`)
}

func TestDecodeAbsent(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		typ *payload.Type
		v   any
		ok  bool
	}{
		"void":               {typeOf[void](t), new(void), true},
		"required field":     {typeOf[sum](t), new(sum), false},
		"optional fields":    {typeOf[wide](t), new(wide), true},
		"pointer to struct":  {typeOf[*sum](t), new(*sum), true},
		"slice":              {typeOf[[]int](t), new([]int), true},
		"map":                {typeOf[map[string]int](t), new(map[string]int), true},
		"bytes":              {typeOf[[]byte](t), new([]byte), true},
		"any":                {typeOf[any](t), new(any), true},
		"raw message":        {typeOf[json.RawMessage](t), new(json.RawMessage), true},
		"integer":            {typeOf[int](t), new(int), false},
		"string":             {typeOf[string](t), new(string), false},
		"array":              {typeOf[[1]int](t), new([1]int), false},
		"time":               {typeOf[time.Time](t), new(time.Time), false},
		"pointer to integer": {typeOf[*int](t), new(*int), true},
	} {
		for _, data := range [][]byte{nil, {}} {
			for _, err := range []error{tc.typ.DecodeStrict(data, tc.v), tc.typ.Decode(data, tc.v)} {
				if tc.ok {
					assert.NoError(t, err, name)
					continue
				}
				assert.EqualError(t, err, "missing payload", name)
			}
		}
		assert.True(t, reflect.ValueOf(tc.v).Elem().IsZero(), name)
	}
}

func TestDecodeVoid(t *testing.T) {
	t.Parallel()
	typ := typeOf[void](t)
	for _, data := range []string{``, `null`, `{}`, " { }\n"} {
		assert.NoError(t, typ.DecodeStrict([]byte(data), new(void)), data)
		assert.NoError(t, typ.Decode([]byte(data), new(void)), data)
	}
	for data, want := range map[string]string{
		`[]`: `expected object, got array`, `0`: `expected object, got number`, `{"a":1}`: `unknown field "a"`,
		`{} {}`: `not well-formed JSON: invalid character '{' after top-level value, at byte 3`,
	} {
		assert.EqualError(t, typ.DecodeStrict([]byte(data), new(void)), want)
	}
	assert.NoError(t, typ.Decode([]byte(`{"a":1}`), new(void)), "an unknown member")
}

func TestDecodeRaw(t *testing.T) {
	t.Parallel()
	typ := typeOf[json.RawMessage](t)
	for _, data := range []string{`null`, ` {"b": 12345678901234567890, "a" : 1.0} `, `"x"`} {
		source := []byte(data)
		var got json.RawMessage
		require.NoError(t, typ.DecodeStrict(source, &got))
		source[0] = '?'
		assert.Equal(t, data, string(got), "untouched, and a copy")
	}
	assert.EqualError(t, typ.DecodeStrict([]byte(`{"a":1,"a":2}`), new(json.RawMessage)), `field "a": duplicate`)
	assert.EqualError(t, typ.DecodeStrict([]byte(`{`), new(json.RawMessage)), `truncated JSON`)
}

func TestDecodeNeedsAPointerToTheType(t *testing.T) {
	t.Parallel()
	assert.ErrorContains(t, typeOf[sum](t).DecodeStrict([]byte(`{"a":1,"b":2}`), new(user)), "payload_test.user")
	assert.Error(t, typeOf[sum](t).DecodeStrict(nil, nil))
}

func TestErrorUnwraps(t *testing.T) {
	t.Parallel()
	err := typeOf[wide](t).DecodeStrict([]byte(`{"p":"x"}`), new(wide))
	assert.ErrorIs(t, err, errPicky)
	var e *payload.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "p", e.Path)
	assert.Equal(t, "not to my taste", e.Problem)
}
