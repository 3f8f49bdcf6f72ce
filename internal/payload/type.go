package payload

import (
	"encoding/json"
	"fmt"
	"reflect"

	v2 "github.com/go-json-experiment/json"
)

// Type is what leat knows of a Go type whose values are payloads. It is immutable and safe for concurrent use.
// Making one costs tens of microseconds: make it at set-up, and keep it.
type Type struct {
	pointer reflect.Type // to the type
	root    ref
	void    bool
	raw     bool // json.RawMessage itself
	schema  json.RawMessage
	open    json.RawMessage // the same with unknown members
	plain   *asIs           // nil if values have to be encoded
	lenient bool            // see analysis

	strict, tolerant v2.Options
	// scanAlways says that even a tolerant decode of data without a null needs the scan.
	scanAlways bool
}

// For describes t. The error names the field whose type cannot be a payload: channels, functions, complex numbers,
// unsafe pointers, interfaces with methods, maps by anything but strings, integers and types with text methods, and tags
// that this package does not take.
func For(t reflect.Type) (*Type, error) {
	if t == nil {
		return nil, fmt.Errorf("payload: no type given")
	}
	a := &analysis{shapes: map[reflect.Type]*shape{}, quoted: map[reflect.Type]*shape{}}
	root, err := a.use(t)
	if err != nil {
		return nil, fmt.Errorf("payload: type %v: %w", t, err)
	}
	settleChecks(a.all)
	p := &Type{
		pointer:    reflect.PointerTo(t),
		root:       root,
		void:       isVoid(t),
		raw:        t == rawType,
		strict:     strictOptions,
		tolerant:   tolerantOptions,
		scanAlways: a.stringified,
		plain:      plainOf(t),
	}
	switch {
	case a.numbers && a.free:
		p.add(bothOptions)
	case a.numbers:
		p.add(numberOptions)
	case a.free:
		p.add(freeOptions)
	}
	if a.lenient {
		p.lenient = true
		p.add(lenientOptions)
	}
	if p.void {
		return p, nil
	}
	for schema, open := range map[*json.RawMessage]bool{&p.schema: false, &p.open: true} {
		if *schema, err = infer(root, open); err != nil {
			return nil, fmt.Errorf("payload: type %v: %w", t, err)
		}
	}
	return p, nil
}

// add adds to the options for decoding.
func (t *Type) add(o v2.Options) {
	t.strict, t.tolerant = v2.JoinOptions(t.strict, o), v2.JoinOptions(t.tolerant, o)
}

// Void reports whether the type is a struct without any field, named or not, and without JSON or text methods: it
// carries nothing, and its payload is absent.
func (t *Type) Void() bool { return t.void }

// Schema returns the JSON Schema (2020-12) of the type as compact JSON, or nil if the type is void. It is {} if any
// JSON will do. The caller must not modify it.
func (t *Type) Schema() json.RawMessage { return t.schema }

// TolerantSchema is the schema of what DecodeTolerant takes: that of the type, and objects may have members that it does not
// know.
func (t *Type) TolerantSchema() json.RawMessage { return t.open }

func isVoid(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || t.NumField() > 0 {
		return false
	}
	_, special := leaf(t)
	return !special
}
