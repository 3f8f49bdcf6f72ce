package conformance

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSameNumber(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"1", "1.0", true}, {"100", "1e2", true}, {"0", "-0.00e7", true}, {"0.1", "1E-1", true}, {"-15e-1", "-1.5", true},
		{"9007199254740993", "9007199254740992", false}, {"0.1", "0.10000000000000000001", false}, {"1", "-1", false},
		{"1e999999999", "1e999999999", true}, {"1e999999999", "1e999999998", false}, {"10e99999999999999999999", "1e99999999999999999999", false},
	} {
		assert.Equal(t, tt.same, sameValue(json.Number(tt.a), json.Number(tt.b)), "%s and %s", tt.a, tt.b)
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ want, got, reason string }{
		"subset":                    {`{"a":1}`, `{"a":1.0,"b":2}`, ""},
		"nested subset":             {`{"a":[{"b":null}]}`, `{"a":[{"b":null,"c":1}]}`, ""},
		"null is not absent":        {`{"a":null}`, `{}`, "a: want null, got nothing"},
		"array length":              {`[1]`, `[1,2]`, "want an array of 1"},
		"number and string":         {`1`, `"1"`, `want 1, got "1"`},
		"capture, then ref":         {`{"a":{"$capture":"x"},"A":{"$ref":"x"}}`, `{"a":"v","A":"v"}`, ""},
		"ref to another value":      {`{"a":{"$capture":"x"},"b":{"$ref":"x"}}`, `{"a":"v","b":"w"}`, `b: want "v", got "w"`},
		"ref to a subset":           {`[{"$capture":"x"},{"$ref":"x"}]`, `[{"a":1},{"a":1,"b":2}]`, "[1]: want"},
		"capture and match":         {`{"$capture":"x","$match":"any-string"}`, `7`, "want any-string"},
		"uuid":                      {`{"$match":"uuid"}`, `"01234567-89aB-cdef-0123-456789abcdef"`, ""},
		"no uuid":                   {`{"$match":"uuid"}`, `"0123456789abcdef0123456789abcdef"`, "want uuid"},
		"unordered":                 {`{"$unordered":[{"a":1},{"b":2}]}`, `[{"b":2},{"a":1}]`, ""},
		"unordered goes back":       {`{"$unordered":[{"a":1},{"a":1,"b":2}]}`, `[{"a":1,"b":2},{"a":1}]`, ""},
		"unordered uses each once":  {`{"$unordered":[1,1]}`, `[1,2]`, "in any order [1,1]"},
		"unordered with captures":   {`[{"$unordered":[{"id":{"$capture":"x"},"n":1},{"n":2}]},{"$ref":"x"}]`, `[[{"id":"p","n":2},{"id":"q","n":1}],"q"]`, ""},
		"unordered in unordered":    {`{"$unordered":[{"$unordered":[1,2]},{"$unordered":[3]}]}`, `[[3],[2,1]]`, ""},
		"unordered, of no array":    {`{"$unordered":[]}`, `{}`, "want an array of 0"},
		"unordered, not understood": {`{"$unordered":[{"$x":1}]}`, `[1]`, "does not understand"},
		"a schema is data":          {`{"$schema":"s","$defs":{"n":{"$ref":"#/$defs/n"}},"properties":{"a":{"$ref":"other.json#"}}}`, `{"$schema":"s","$defs":{"n":{"$ref":"#/$defs/n"}},"properties":{"a":{"$ref":"other.json#"}}}`, ""},
		"a schema is compared":      {`{"p":{"$ref":"#/a"}}`, `{"p":{"$ref":"#/b"}}`, `p.$ref: want "#/a"`},
		"capture without a name":    {`{"$capture":7}`, `7`, "does not understand"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, err := parseValue([]byte(tt.want))
			require.NoError(t, err)
			got, err := parseValue([]byte(tt.got))
			require.NoError(t, err)
			if err := match(want, got, bindings{}); tt.reason == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.reason)
			}
		})
	}
}

func TestSubstitute(t *testing.T) {
	t.Parallel()
	v, err := parseValue([]byte(`{"thid":{"$ref":"x"},"list":[{"$ref":"x"},{"$ref":"#"},12345678901234567890,null]}`))
	require.NoError(t, err)
	got, err := substitute(v, bindings{"x": "captured"})
	require.NoError(t, err)
	require.JSONEq(t, `{"thid":"captured","list":["captured",{"$ref":"#"},12345678901234567890,null]}`, render(got))
	require.Contains(t, render(got), "12345678901234567890")
}

// FuzzVector: whatever is in a file, it is a vector that runs or one that fails.
func FuzzVector(f *testing.F) {
	f.Add(`{"setup":{"registry":{"localCommands":[{"id":"x","returns":{"$expr":"request"}}]},"peers":["p"]},"steps":[{"direction":"inbound","from":"p","message":"x"}]}`)
	f.Add(`{"message":{"id":"1"},"json":"{}","schema":"x.json"}`)
	f.Add(`{"steps":[{"direction":"local-call","trigger":{"registerCommand":["x",{"returns":[{"$expr":"1"}]}]}},{"direction":"local-result","expectedError":"x"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseScript([]byte(text))
		if (s == nil) == (err == nil) {
			t.Fatalf("script %v, error %v", s, err)
		}
		e, err := parseEncoding([]byte(text), &schemas{})
		if err == nil {
			v := Vector{encoding: e}
			_ = v.Run(t.Context(), OverBinary())
		}
	})
}
