package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// dialects are the values of $schema that can be validated by.
var dialects = []string{
	"", "https://json-schema.org/draft/2020-12/schema",
	"http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft-07/schema#",
}

// Schema is a compiled JSON Schema. It is immutable and safe for concurrent use.
type Schema struct {
	root     *jsonschema.Schema
	resolved *jsonschema.Resolved
	document any // the schema as plain JSON, to look parts of it up by their pointers
}

// CompileSchema reads a JSON Schema of draft 2020-12 (which is also the default) or draft 7. It fetches nothing: a
// $ref must lead into the schema itself. Refused too are an $id below the root, and references that go in a circle
// without a step into the value, since they would never end.
func CompileSchema(raw json.RawMessage) (*Schema, error) {
	if err := Valid(raw); err != nil {
		return nil, fmt.Errorf("payload: schema: %w", err)
	}
	root := &jsonschema.Schema{}
	if err := json.Unmarshal(raw, root); err != nil {
		return nil, fmt.Errorf("payload: schema: %w", err)
	}
	if !slices.Contains(dialects, root.Schema) {
		return nil, fmt.Errorf("payload: schema: $schema %q is not supported", root.Schema)
	}
	resolved, err := resolve(root)
	if err != nil {
		return nil, fmt.Errorf("payload: schema: %w", err)
	}
	document, fault := parse(raw)
	if fault != nil {
		return nil, fmt.Errorf("payload: schema: %w", fault)
	}
	if err := checkReferences(document); err != nil {
		return nil, fmt.Errorf("payload: schema: %w", err)
	}
	return &Schema{root: root, resolved: resolved, document: document}, nil
}

// resolve turns what the library panics on into an error: schemas come from peers, too.
func resolve(root *jsonschema.Schema) (r *jsonschema.Resolved, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot be resolved: %v", p)
		}
	}()
	return root.Resolve(&jsonschema.ResolveOptions{Loader: noLoader})
}

// Validate returns an *Error that names the first field found to break the schema, or that says why data are not
// JSON. Integers count exactly up to 64 bits and as float64 beyond; a number that no float64 can hold is refused.
// Empty data, an absent payload, are no JSON.
func (s *Schema) Validate(data []byte) error {
	if err := Valid(data); err != nil {
		return err
	}
	value, fault := parse(data)
	if fault != nil {
		return fault
	}
	err := validate(s.resolved, value)
	if err == nil {
		return nil
	}
	return s.locate(value, err)
}

var errPanicked = errors.New("the schema cannot be applied")

func validate(r *jsonschema.Resolved, value any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanicked, p)
		}
	}()
	return r.Validate(value)
}
