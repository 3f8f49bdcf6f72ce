package payload_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/internal/payload"
)

type fuzzed struct {
	composed
	Sum   sum              `json:"sum"`
	Wide  *wide2           `json:"wide"`
	Tree  []tree           `json:"tree"`
	Any   map[string]any   `json:"any"`
	Raw   json.RawMessage  `json:"raw,omitempty"`
	Text  map[int8]*string `json:"text,omitempty"`
	Fixed [2]uint8         `json:"fixed"`
}

type wide2 struct {
	Q  int         `json:"q,string"`
	F  float32     `json:"f,string"`
	S  string      `json:"s,string"`
	B  []byte      `json:"b"`
	N  json.Number `json:"n"`
	Ok *bool       `json:"ok"`
}

const fuzzSeed = `{"id":"i","note":"","same":"s","sum":{"a":1,"b":-2},"wide":{"q":"1","f":"1.5","s":"\"x\"","b":"AQ==","n":1e3,"ok":null},` +
	`"tree":[{"value":1,"left":{"value":2},"kids":null,"named":{"x":null}}],"any":{"k":[null,{"\u0061":1}]},"raw":{"a": 1},"text":{"-1":"x"},"fixed":[1,2]}`

func FuzzDecodeStrict(f *testing.F) {
	p := typeOf[fuzzed](f)
	for _, seed := range []string{fuzzSeed, `{}`, `null`, ``, `{"wide":{"q":"+1"}}`, `[`, `{"a`, `{"sum":{"a":1}}`, `{"\ud800":1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v fuzzed
		if err := p.DecodeStrict(data, &v); err != nil {
			require.NotEmpty(t, err.Error())
			_ = p.Decode(data, new(fuzzed))
			return
		}
		require.NoError(t, p.Decode(data, new(fuzzed)), "strict is stricter")
		again, err := payload.Encode(&v)
		require.NoError(t, err)
		require.NoError(t, p.DecodeStrict(again, new(fuzzed)), "%s", again)
	})
}

func TestFuzzSeedIsAccepted(t *testing.T) {
	t.Parallel()
	require.NoError(t, typeOf[fuzzed](t).DecodeStrict([]byte(fuzzSeed), new(fuzzed)))
}

// FuzzValidate applies schemas from strangers: neither may panic or run for ever.
func FuzzValidate(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"$ref":"#"}},"additionalProperties":false}`), []byte(`{"a":{"a":1}}`))
	f.Add([]byte(`{"anyOf":[{"type":"null"},{"items":{"$ref":"#"}}]}`), []byte(`[[null,[1]]]`))
	f.Add([]byte(`{"prefixItems":[true,{"$dynamicRef":"#x"}],"$defs":{"x":{"$dynamicAnchor":"x","minimum":1e300}}}`), []byte(`[1,2]`))
	f.Fuzz(func(t *testing.T, schema, data []byte) {
		s, err := payload.CompileSchema(schema)
		if err != nil {
			return
		}
		if err := s.Validate(context.Background(), data); err != nil {
			var e *payload.Error
			require.ErrorAs(t, err, &e)
		}
	})
}
