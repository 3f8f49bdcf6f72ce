package conformance

import (
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// encoding is an encoding vector: a message, and its canonical JSON as text.
type encoding struct {
	schema  string // empty: not checked against one
	message any
	json    []byte
	// invalid, an addition of this project's vectors: json is to be refused.
	invalid bool
	schemas *schemas
}

func parseEncoding(data []byte, s *schemas) (*encoding, error) {
	v, err := parseValue(data)
	if err != nil {
		return nil, err
	}
	f := readFields("the vector", v)
	describe(f)
	e := &encoding{schema: f.text("schema"), schemas: s}
	text, ok := f.need("json").(string)
	if !ok {
		f.fail("has no text in %q", "json")
	}
	e.json = []byte(text)
	if invalid, ok := f.take("invalid"); ok {
		e.invalid, _ = invalid.(bool)
		if !e.invalid || e.schema != "" {
			f.fail("is invalid, and is not")
		}
		return e, f.end()
	}
	e.message = f.need("message")
	return e, f.end()
}

// run takes the text through the codec, and back to the canonical form.
func (v *encoding) run(codec bus.Codec) error {
	e, err := bus.JSON.Unmarshal(message.NewMessage(bus.NewID(), v.json))
	switch {
	case v.invalid && err == nil:
		return errors.New("the codec takes what it must refuse")
	case v.invalid:
		return nil
	}
	if v.schema != "" {
		if err := v.schemas.validate(v.schema, v.message); err != nil {
			return fmt.Errorf("the message does not fit the schema: %w", err)
		}
	}
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	text, err := parseValue(v.json)
	if err != nil {
		return fmt.Errorf("json: %w", err)
	}
	if !sameValue(text, v.message) {
		return fmt.Errorf("json is not the message: %w", differs("", render(v.message), text))
	}
	if codec != bus.JSON {
		if e, err = roundTrip(codec, e); err != nil {
			return err
		}
	}
	again, err := bus.JSON.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	got, err := parseValue(again.Payload)
	switch {
	case err != nil:
		return fmt.Errorf("encoded again: %w", err)
	case !sameValue(text, got):
		return fmt.Errorf("encoded again: %w", differs("", render(text), got))
	}
	return nil
}

// roundTrip encodes and decodes once.
func roundTrip(codec bus.Codec, e bus.Envelope) (bus.Envelope, error) {
	m, err := codec.Marshal(e)
	if err != nil {
		return e, fmt.Errorf("encode: %w", err)
	}
	back, err := codec.Unmarshal(m)
	if err != nil {
		return e, fmt.Errorf("decode what was encoded: %w", err)
	}
	return back, nil
}
