package conformance

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const exprRequest = `{"a":7,"b":2,"c":0.5,"big":9007199254740993,"s":"x","list":[{"v":4}],"with space":1,"_n$1":3}`

// expressions maps each to its value for exprRequest.
var expressions = map[string]string{
	"request.a + request.b":       "9",
	"request.a-request.b*3":       "1",
	"(request.a-request.b)*3":     "15",
	"request.a - request.b - 1":   "4",
	"request.a / request.b":       "3.5",
	"8 / request.b":               "4",
	"-7 % 4":                      "-3",
	"--request.a":                 "7",
	"request.a + request.c":       "7.5",
	"1e2 + 1":                     "101",
	"request.big * request.big":   "81129638414606699710187514626049",
	"request.list[0].v":           "4",
	`request["with space"] + 1`:   "2",
	"request._n$1":                "3",
	"request.s + '-' + request.a": `"x-7"`,
	`"a\"b" + 'c\'d'`:             `"a\"bc'd"`,
	"'+' + true + null":           `"+truenull"`,
	"request.missing":             "nothing",
	"request.list[7]":             "nothing",
	"null":                        "null",
	"((((((((((1))))))))))":       "1",
	" request\n.a\t":              "7",
	"request.list":                `[{"v":4}]`,
	"request.missing + 1":         "error",
	"request.s * 2":               "error",
	"1 / 0":                       "error",
	"1e308 * 10":                  "error",
	"request.a.b":                 "error",
	"request.s + request.missing": "error",
	"request.list[request.s]":     "nothing",
	"":                            "not understood",
	"1 +":                         "not understood",
	"(1":                          "not understood",
	"1)":                          "not understood",
	"1 2":                         "not understood",
	"1.2.3":                       "not understood",
	"request.":                    "not understood",
	"request[1":                   "not understood",
	"'open":                       "not understood",
	"window.alert":                "not understood",
	"request.a ? 1 : 2":           "not understood",
	"request.a; request.b":        "not understood",
	"request.a == 1":              "not understood",
	"request.1":                   "not understood",
}

func TestExpression(t *testing.T) {
	t.Parallel()
	for text, want := range expressions {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			e, err := parseExpression(text)
			if want == "not understood" {
				require.ErrorIs(t, err, errNotUnderstood)
				return
			}
			require.NoError(t, err)
			value, err := parseValue([]byte(exprRequest))
			require.NoError(t, err)
			got, err := e(value)
			if want == "error" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, want, render(got))
		})
	}
}

func FuzzExpression(f *testing.F) {
	for _, s := range []string{"request.a + request.b", `(1 - 'x')["y"].z % 3e-7`, "--((("} {
		f.Add(s, `{"a":1,"b":{"c":[null,"x"]}}`)
	}
	f.Fuzz(func(t *testing.T, text, request string) {
		value, err := parseValue([]byte(request))
		if err != nil {
			return
		}
		e, err := parseExpression(text)
		if err != nil {
			return
		}
		if v, err := e(value); err == nil {
			if data, err := encodeValue(v); err != nil {
				t.Fatalf("%q gives %v: %v", text, v, err)
			} else if _, err := decodeValue(data); err != nil {
				t.Fatalf("%q gives %q: %v", text, data, err)
			}
		}
	})
}
