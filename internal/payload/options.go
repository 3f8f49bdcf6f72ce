package payload

import (
	stdjson "encoding/json"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	v1 "github.com/go-json-experiment/json/v1"
)

// These options are read only. Beyond the library's own rules, they keep what users of encoding/json rely on: the
// meaning of omitempty and string in tags, durations as integer nanoseconds, [N]byte as an array, sorted map keys.
var (
	compatible = json.JoinOptions(
		v1.OmitEmptyWithLegacySemantics(true),
		v1.StringifyWithLegacySemantics(true),
		v1.FormatDurationAsNano(true),
		v1.FormatByteArrayAsArray(true),
		json.Deterministic(true),
	)
	encodeOptions   = json.JoinOptions(compatible, json.WithMarshalers(json.MarshalFunc(encodeNumber)))
	tolerantOptions = compatible
	strictOptions   = json.JoinOptions(compatible, json.RejectUnknownMembers(true))
	// lenientOptions are for types that have a struct in them which only encoding/json takes; see tooStrict.
	lenientOptions = v1.ReportErrorsWithLegacySemantics(true)
	// freeOptions are for types with an any in them.
	freeOptions = json.WithUnmarshalers(json.UnmarshalFromFunc(decodeAny))
	bothOptions = json.WithUnmarshalers(json.JoinUnmarshalers(json.UnmarshalFromFunc(decodeAny), json.UnmarshalFunc(decodeNumber)))
	// numberOptions are for the types that have an encoding/json.Number in them, which the library takes for a string.
	numberOptions = json.WithUnmarshalers(json.UnmarshalFunc(decodeNumber))
)

func encodeNumber(n stdjson.Number) ([]byte, error) {
	if n == "" {
		return []byte("0"), nil
	}
	if !isNumber([]byte(n)) {
		return nil, fmt.Errorf("invalid number %q", string(n))
	}
	return []byte(n), nil
}

// maxExact is the largest integer up to which float64 has all.
const maxExact = 1 << 53

// decodeAny decodes what is a number for an any: a float64, as is usual, but an int64 or uint64, or else a json.Number, where it
// is an integer beyond those that float64 has all of. So a number is the same on both sides.
func decodeAny(dec *jsontext.Decoder, v *any) error {
	if dec.PeekKind() != '0' {
		return json.SkipFunc
	}
	data, err := dec.ReadValue()
	if err != nil {
		return err
	}
	*v, err = exactly(string(data))
	return err
}

func exactly(s string) (any, error) {
	if !isInteger([]byte(s), true) {
		return strconv.ParseFloat(s, 64) // or it is out of range
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if -maxExact <= n && n <= maxExact {
			return strconv.ParseFloat(s, 64) // -0 is one
		}
		return n, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n, nil
	}
	return stdjson.Number(s), nil
}

func decodeNumber(data []byte, n *stdjson.Number) error {
	if kind := jsontext.Value(data).Kind(); kind != '0' && kind != 'n' {
		return &json.SemanticError{JSONKind: kind}
	}
	*n = stdjson.Number(data)
	return nil
}
