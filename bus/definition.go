package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/leatbus/leat/internal/payload"
)

// Definition describes a command on the wire.
type Definition struct {
	ID          string  `json:"id"`
	Description string  `json:"description,omitempty"`
	Schema      *Schema `json:"schema,omitempty"`
	// Durable is Envelope.Durable of the message that the definition came with: see there.
	Durable bool `json:"-"`
}

// Schema holds the JSON Schemas of a command. A nil one is absent: nothing is
// carried, or nothing is said about it.
type Schema struct {
	Request  json.RawMessage `json:"request,omitempty"`
	Response json.RawMessage `json:"response,omitempty"`
}

var (
	definitionType  = mustType[Definition]()
	definitionsType = mustType[[]Definition]()
)

// mustType compiles one of the protocol's own types, which always works.
func mustType[T any]() *payload.Type {
	t, err := payload.For(reflect.TypeFor[T]())
	if err != nil {
		panic(fmt.Sprintf("bus: %T: %v", *new(T), err))
	}
	return t
}

// Check returns an error if the definition has no ID, or a schema that is neither an object nor a boolean; null, which says
// nothing, passes.
func (d *Definition) Check() error {
	if d.ID == "" {
		return errors.New("empty id")
	}
	if d.Schema == nil {
		return nil
	}
	for _, schema := range []json.RawMessage{d.Schema.Request, d.Schema.Response} {
		if text := bytes.TrimLeft(schema, " \t\r\n"); len(text) > 0 && !bytes.ContainsRune([]byte("{tfn"), rune(text[0])) {
			return fmt.Errorf("command %q has a schema that is no object", brief(d.ID))
		}
	}
	return nil
}

// Definition decodes the body of a RegisterRequest.
func (e *Envelope) Definition() (Definition, error) {
	var d Definition
	if err := definitionType.DecodeStrict(e.Body, &d); err != nil {
		return Definition{}, fmt.Errorf("definition: %w", err)
	}
	if err := d.Check(); err != nil {
		return Definition{}, fmt.Errorf("definition: %w", err)
	}
	d.Durable = e.Durable
	return d, nil
}

// Definitions decodes the body of a ListResponse.
func (e *Envelope) Definitions() ([]Definition, error) {
	var ds []Definition
	if err := definitionsType.DecodeStrict(e.Body, &ds); err != nil {
		return nil, fmt.Errorf("definitions: %w", err)
	}
	for i, d := range ds {
		if err := d.Check(); err != nil {
			return nil, fmt.Errorf("definitions: %w at [%d]", err, i)
		}
		ds[i].Durable = e.Durable
	}
	return ds, nil
}
