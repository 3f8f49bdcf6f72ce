package bus

import (
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/payload"
	"github.com/leatbus/leat/internal/reason"
)

// binaryCodec: metadata for everything but the body. The body is not looked at.
type binaryCodec struct{}

var faultType = mustType[Fault]()

func (c binaryCodec) Marshal(e Envelope) (*message.Message, error) {
	e.encode()
	if err := e.check(); err != nil {
		return nil, err
	}
	return c.write(&e)
}

func (binaryCodec) write(e *Envelope) (*message.Message, error) {
	body := e.Body
	if e.Fault != nil {
		var err error
		if body, err = payload.Encode(e.Fault); err != nil {
			return nil, fmt.Errorf("fault: %w", err)
		}
	}
	m := newMessage(e.ID, body)
	m.Metadata[keyType] = string(e.Type)
	m.Metadata[keyID] = escape(e.ID)
	if e.Thread != "" {
		m.Metadata[keyThread] = escape(e.Thread)
	}
	if e.Name != "" {
		m.Metadata[keyName] = escape(e.Name)
	}
	if e.Fault != nil {
		m.Metadata[keyFault] = escape(e.Fault.Code)
	}
	putExtras(m.Metadata, e)
	return m, nil
}

func (binaryCodec) Unmarshal(m *message.Message) (Envelope, error) {
	if packed := carried(m); packed != nil {
		e := *packed
		e.spellOut()
		return e, nil
	}
	var e Envelope
	var err error
	e.Type = Type(m.Metadata[keyType])
	if e.ID, err = unescape(m.Metadata[keyID]); err != nil {
		return e, fmt.Errorf("metadata %s: %w", keyID, err)
	}
	if e.Thread, err = unescape(m.Metadata[keyThread]); err != nil {
		return e, fmt.Errorf("metadata %s: %w", keyThread, err)
	}
	if e.Name, err = unescape(m.Metadata[keyName]); err != nil {
		return e, fmt.Errorf("metadata %s: %w", keyName, err)
	}
	if _, failed := m.Metadata[keyFault]; failed {
		e.Fault = new(Fault)
		if err := faultType.DecodeStrict(m.Payload, e.Fault); err != nil {
			return e, fmt.Errorf("fault: %w", err)
		}
	} else if len(m.Payload) > 0 {
		e.Body = []byte(m.Payload)
	}
	if err := takeExtras(m.Metadata, &e); err != nil {
		return e, err
	}
	return e, e.check()
}

// check refuses an envelope that lacks what its type needs, or has what its
// type cannot carry, so that whatever a codec takes it can also give back.
func (e *Envelope) check() error {
	if e.ID == "" {
		return errors.New("message without id")
	}
	return e.fits()
}

// fits is check without regard for the ID.
func (e *Envelope) fits() error {
	if err := e.named(); err != nil {
		return fmt.Errorf("%s: %w", brief(string(e.Type)), err)
	}
	s, ok := e.Type.shape()
	switch {
	case !ok:
		return fmt.Errorf("unknown message type %q", brief(string(e.Type)))
	case s.thread != (e.Thread != ""):
		return fmt.Errorf("%s: thread %q", e.Type, brief(e.Thread))
	case s.name != (e.Name != ""):
		return fmt.Errorf("%s: name %q", e.Type, brief(e.Name))
	case e.Fault != nil && (!s.fault || e.Fault.Code == "" || e.Body != nil || e.Value != nil):
		return fmt.Errorf("%s: misplaced or empty fault", e.Type)
	case e.Fault != nil && (e.Fault.Reason != "" || e.Fault.Details != nil):
		if err := reason.Check(e.Fault.Reason, e.Fault.Details); err != nil {
			return fmt.Errorf("%s: %w", e.Type, err)
		}
	case (e.Body != nil || e.Value != nil) && !s.body:
		return fmt.Errorf("%s: unexpected payload", e.Type)
	case e.Type == ListResponse && (len(e.Body) == 0 || e.Body[0] != '['):
		return fmt.Errorf("%s: no array of definitions", e.Type)
	case e.Type == Group && e.Key == "":
		return fmt.Errorf("%s: no name", e.Type)
	}
	switch e.Type {
	case RegisterRequest:
		_, err := e.Definition()
		return err
	case ListResponse:
		_, err := e.Definitions()
		return err
	}
	return nil
}

// shape says which parts an envelope of one type has: thread and name are
// required where true and forbidden where false, body and fault are allowed.
type shape struct{ thread, name, body, fault bool }

func (t Type) shape() (s shape, known bool) {
	switch t {
	case ExecuteRequest, Event:
		return shape{name: true, body: true}, true
	case ExecuteResponse:
		return shape{thread: true, body: true, fault: true}, true
	case RegisterRequest:
		return shape{body: true}, true
	case RegisterResponse:
		return shape{thread: true, fault: true}, true
	case ListResponse:
		return shape{thread: true, body: true}, true
	case Cancel, Flushed:
		return shape{thread: true}, true
	case Withdraw, Group:
		return shape{name: true}, true
	case ListRequest, Goodbye, Flush, Ping:
		return shape{}, true
	}
	return shape{}, false
}

// brief cuts what an error is to quote of a message.
func brief(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
