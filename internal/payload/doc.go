// Package payload turns Go values into JSON payloads and back, strictly, and describes Go types as JSON Schemas.
//
//	t, err := payload.For(reflect.TypeFor[Order]())   // once, at set-up
//	data, err := payload.Encode(&order)               // nil: the payload is absent
//	err = t.DecodeStrict(data, &order)                // requests: all that the schema says holds
//	err = t.DecodeTolerant(data, &order)              // results: unknown members pass
//	err = t.Decode(data, &order)                      // events: unknown and missing members pass
//
// # What goes over the wire
//
// Values are encoded as encoding/json users expect, tags included, with these differences: nil slices and maps are []
// and {}, names match by their exact case, a []byte is base64 but a slice of a named byte type is an array, methods with
// pointer receivers are always called, and <, > and & are not escaped. Duplicate names and strings that are not UTF-8 are
// refused both ways. A time.Duration is an integer of nanoseconds, [N]byte an array; the keys of maps are sorted.
// The tag options inline, unknown, case and format, and quotes in tags, are refused by For. A type with JSON methods, its
// own or promoted, may be any JSON to the schema; one with text methods is a string.
//
// A number that is decoded into an any is a float64, except for integers beyond 1<<53 either way: they are an int64, a uint64, or
// a json.Number, so that no digit is lost. A struct whose fields are all unexported is {}.
//
// # What is required
//
// A field without omitempty or omitzero is required, at any depth, also where it is promoted from an embedded
// struct, but for an embedded pointer that is so tagged itself. (A nil embedded pointer without a tag therefore encodes to
// what the other side refuses: tag the pointer, or its fields.) Null is taken by
// pointers, slices, any and types with JSON methods, and nothing else.
//
// # Where schema and strict decode disagree
//
// What the schema accepts, DecodeStrict accepts, and the other way round, but for this:
//
//   - 1.0 and 1e2 are integers to a schema; Go integers are decoded from digits only.
//   - A schema gives integers of 64 bits no upper and signed ones no lower bound, and knows no range of float32, of
//     numbers in strings, or of integer map keys: too large a number is refused by the decoder only.
//   - A schema does not look into strings: bad base64, and text that a type's UnmarshalText refuses. In a string with
//     the tag option string, it lets half a surrogate pair pass.
//   - Map keys that are different strings but equal Go values, such as "0" and "-0", are duplicates to the decoder.
//   - Keys of maps by a type with text methods are any string to a schema.
//   - A type with JSON methods may be anything to a schema, and refuses what it likes. One that has methods for one
//     direction only is decoded, or encoded, by its fields.
//   - minimum, maximum and the like are float64: an integer that is none is refused by [CompileSchema], and multipleOf is computed
//     in float64, which is exact up to 1<<53.
//   - Numbers that float64 cannot hold are refused by [Schema.Validate] even where json.RawMessage, json.Number or
//     big.Int would take them, and so is nesting deeper than 1,000 levels.
package payload
