package payload

import (
	stdjson "encoding/json"
	"fmt"

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

func decodeNumber(data []byte, n *stdjson.Number) error {
	if kind := jsontext.Value(data).Kind(); kind != '0' && kind != 'n' {
		return &json.SemanticError{JSONKind: kind}
	}
	*n = stdjson.Number(data)
	return nil
}
