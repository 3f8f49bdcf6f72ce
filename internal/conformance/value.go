package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/leatbus/leat/internal/payload"
)

// JSON values are what encoding/json makes of them, with numbers as
// json.Number: as float64 they would lose digits.

// absent stands for a value that is not there, which is not null.
type absent struct{}

// parseValue reads one JSON value, and refuses duplicate names and whatever
// else the registry itself would refuse.
func parseValue(data []byte) (any, error) {
	if err := payload.Valid(data); err != nil {
		return nil, err
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return v, nil
}

// encodeValue writes a JSON value, nil for one that is absent.
func encodeValue(v any) (json.RawMessage, error) {
	if v == (absent{}) {
		return nil, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decodeValue reads a JSON value that may be absent.
func decodeValue(data json.RawMessage) (any, error) {
	if data == nil {
		return absent{}, nil
	}
	return parseValue(data)
}

// renderLimit bounds how much of a value an error shows.
const renderLimit = 400

// render shows a value in errors.
func render(v any) string {
	if v == (absent{}) {
		return "nothing"
	}
	data, err := encodeValue(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(data) > renderLimit {
		return fmt.Sprintf("%s… (%d bytes)", data[:renderLimit], len(data))
	}
	return string(data)
}

// sameValue compares two JSON values, numbers by their decimal value.
func sameValue(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, v := range a {
			other, ok := b[name]
			if !ok || !sameValue(v, other) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i, v := range a {
			if !sameValue(v, b[i]) {
				return false
			}
		}
		return true
	case json.Number:
		b, ok := b.(json.Number)
		return ok && readDecimal(a) == readDecimal(b)
	}
	return reflect.DeepEqual(a, b)
}

// decimal is the value of a JSON number, exactly: digits times ten to the
// power of exponent, without leading and trailing zeros. Nothing is computed,
// so that 1e999999999 costs no more than 1.
type decimal struct {
	negative bool
	digits   string // empty for zero
	exponent int64
	text     string // instead, where the exponent is beyond all bounds
}

func readDecimal(n json.Number) decimal {
	s, negative := strings.CutPrefix(string(n), "-")
	mantissa, power, scientific := strings.Cut(strings.ToLower(s), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return decimal{}
	}
	var exponent int64
	if scientific {
		var err error
		if exponent, err = strconv.ParseInt(power, 10, 60); err != nil {
			return decimal{text: string(n)}
		}
	}
	trimmed := strings.TrimRight(digits, "0")
	exponent += int64(len(digits)-len(trimmed)) - int64(len(fraction))
	return decimal{negative: negative, digits: trimmed, exponent: exponent}
}
