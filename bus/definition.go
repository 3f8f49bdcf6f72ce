package bus

import (
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

// Definition decodes the body of a RegisterRequest.
func (e *Envelope) Definition() (Definition, error) {
	var d Definition
	if err := definitionType.DecodeStrict(e.Body, &d); err != nil {
		return Definition{}, fmt.Errorf("definition: %w", err)
	}
	if d.ID == "" {
		return Definition{}, errors.New("definition: empty id")
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
		if d.ID == "" {
			return nil, fmt.Errorf("definitions: empty id at [%d]", i)
		}
		ds[i].Durable = e.Durable
	}
	return ds, nil
}
