package payload

import (
	"context"
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
	resolved *jsonschema.Resolved
	graph    *graph
}

// maxSchema and maxSchemaDepth bound a schema.
const (
	maxSchema      = 1 << 20 // bytes
	maxSchemaDepth = 256
)

// CompileSchema reads a JSON Schema of draft 2020-12 (which is also the default) or draft 7. It fetches nothing: a
// $ref must lead into the schema itself, as #, #/a/json/pointer or #anchor. Refused too are an $id below the root, two
// anchors of one name, and references that go in a circle without a step into the value, since they would never end; and a schema of
// more than 1 MiB, or nested deeper than 256 levels.
func CompileSchema(raw json.RawMessage) (*Schema, error) {
	s, err := compileSchema(raw)
	if err != nil {
		return nil, fmt.Errorf("payload: schema: %w", err)
	}
	return s, nil
}

func compileSchema(raw json.RawMessage) (*Schema, error) {
	if len(raw) > maxSchema {
		return nil, fmt.Errorf("%d bytes, the limit is %d", len(raw), maxSchema)
	}
	if err := Valid(raw); err != nil {
		return nil, err
	}
	document, _, fault := parse(raw, maxSchemaDepth)
	if fault != nil {
		return nil, fault
	}
	root := &jsonschema.Schema{}
	if err := json.Unmarshal(raw, root); err != nil {
		return nil, err
	}
	if !slices.Contains(dialects, root.Schema) {
		return nil, fmt.Errorf("$schema %q is not supported", root.Schema)
	}
	resolved, err := resolve(root)
	if err != nil {
		return nil, err
	}
	g, err := newGraph(root, document)
	if err != nil {
		return nil, err
	}
	if g.changed { // the library has a copy
		if resolved, err = resolve(root); err != nil {
			return nil, err
		}
	}
	return &Schema{resolved: resolved, graph: g}, nil
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

// A validation may take baseSteps, and stepsPerByte for each byte of the data, by its [estimate]. What needs more is
// not what any schema that people write needs.
const (
	baseSteps    = 1 << 18
	stepsPerByte = 16
)

// Validate returns an *Error that names the first field found to break the schema, or that says why data are not
// JSON. Integers count exactly up to 64 bits and as float64 beyond; a number that no float64 can hold is refused.
// Empty data, an absent payload, are no JSON.
//
// It returns an *Error too if that may take too many steps, which a schema that leads back to itself by several ways may
// make it take. If ctx ends it returns ctx.Err(), at once while it counts the steps, but not in the midst of them: their
// number is what bounds that time.
func (s *Schema) Validate(ctx context.Context, data []byte) error {
	if len(data) == 0 {
		return &Error{Problem: problemAbsent}
	}
	if err := Valid(data); err != nil {
		return err
	}
	value, depth, fault := parse(data, maxDepth)
	if fault != nil {
		return fault
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	steps := baseSteps + stepsPerByte*len(data)
	if s.graph.limits.most(len(data), depth) > float64(steps) {
		if err := newEstimate(ctx, steps).of(s.graph.root, value); errors.Is(err, errSteps) {
			return &Error{Problem: err.Error(), cause: err}
		} else if err != nil {
			return err
		}
	}
	err := validate(s.resolved, value)
	if err == nil {
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.locate(value, err, newEstimate(ctx, steps))
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
