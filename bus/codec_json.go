package bus

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/payload"
)

// jsonCodec: the payload is the canonical message. Control messages have no
// canonical form and are carried as binaryCodec carries them.
type jsonCodec struct{}

// The seven shapes as they stand in the payload. Field order is the order of
// the protocol's examples.
type (
	wireRegisterRequest struct {
		ID      string          `json:"id"`
		Type    Type            `json:"type"`
		Command json.RawMessage `json:"command"`
	}
	wireRegisterResponse struct {
		ID       string          `json:"id"`
		Type     Type            `json:"type"`
		Thread   string          `json:"thid"`
		Response wireRegisterAck `json:"response"`
	}
	wireRegisterAck struct {
		OK    bool   `json:"ok"`
		Error string `json:"error,omitempty"`
	}
	wireListRequest struct {
		ID   string `json:"id"`
		Type Type   `json:"type"`
	}
	wireListResponse struct {
		ID       string          `json:"id"`
		Type     Type            `json:"type"`
		Thread   string          `json:"thid"`
		Commands json.RawMessage `json:"commands"`
	}
	wireExecuteRequest struct {
		ID      string          `json:"id"`
		Type    Type            `json:"type"`
		Command string          `json:"commandId"`
		Request json.RawMessage `json:"request,omitempty"`
	}
	wireExecuteResponse struct {
		ID       string      `json:"id"`
		Type     Type        `json:"type"`
		Thread   string      `json:"thid"`
		Response wireOutcome `json:"response"`
	}
	wireOutcome struct {
		OK     bool            `json:"ok"`
		Result json.RawMessage `json:"result,omitempty"`
		Error  *Fault          `json:"error,omitempty"`
	}
	wireEvent struct {
		ID      string          `json:"id"`
		Type    Type            `json:"type"`
		Event   string          `json:"eventId"`
		Payload json.RawMessage `json:"payload,omitempty"`
	}
	wireType struct {
		Type Type `json:"type"`
	}
)

var (
	registerRequestType  = mustType[wireRegisterRequest]()
	registerResponseType = mustType[wireRegisterResponse]()
	listRequestType      = mustType[wireListRequest]()
	listResponseType     = mustType[wireListResponse]()
	executeRequestType   = mustType[wireExecuteRequest]()
	executeResponseType  = mustType[wireExecuteResponse]()
	eventType            = mustType[wireEvent]()
	typeType             = mustType[wireType]()
)

// duplicateCommand is the only refusal of a registration that the canonical
// form can spell; a more precise code travels beside it as metadata.
const duplicateCommand = "duplicate_command"

func (jsonCodec) Marshal(e Envelope) (*message.Message, error) {
	if e.Type.Control() {
		return Binary.Marshal(e)
	}
	e.encode()
	if err := e.check(); err != nil {
		return nil, err
	}
	body, err := payload.Encode(e.wire())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Type, err)
	}
	m := newMessage(e.ID, body)
	if e.Type == RegisterResponse && e.Fault != nil {
		m.Metadata[keyFault] = escape(e.Fault.Code)
	}
	putExtras(m.Metadata, &e)
	return m, nil
}

// wire returns the canonical form of e, ready to be encoded.
func (e *Envelope) wire() any {
	switch e.Type {
	case RegisterRequest:
		return &wireRegisterRequest{e.ID, e.Type, e.Body}
	case RegisterResponse:
		ack := wireRegisterAck{OK: e.Fault == nil}
		if e.Fault != nil {
			ack.Error = duplicateCommand
		}
		return &wireRegisterResponse{e.ID, e.Type, e.Thread, ack}
	case ListRequest:
		return &wireListRequest{e.ID, e.Type}
	case ListResponse:
		return &wireListResponse{e.ID, e.Type, e.Thread, e.Body}
	case ExecuteRequest:
		return &wireExecuteRequest{e.ID, e.Type, e.Name, e.Body}
	case ExecuteResponse:
		return &wireExecuteResponse{e.ID, e.Type, e.Thread, wireOutcome{OK: e.Fault == nil, Result: e.Body, Error: e.Fault}}
	default:
		return &wireEvent{e.ID, e.Type, e.Name, e.Body}
	}
}

func (jsonCodec) Unmarshal(m *message.Message) (Envelope, error) {
	if len(m.Payload) == 0 && Type(m.Metadata[keyType]).Control() {
		return Binary.Unmarshal(m)
	}
	e, err := fromWire(m.Payload)
	if err != nil {
		return e, err
	}
	if code, ok := m.Metadata[keyFault]; ok && e.Type == RegisterResponse && e.Fault != nil {
		if e.Fault.Code, err = unescape(code); err != nil {
			return e, fmt.Errorf("metadata %s: %w", keyFault, err)
		}
	}
	if err := takeExtras(m.Metadata, &e); err != nil {
		return e, err
	}
	return e, e.check()
}

// fromWire decodes the canonical form.
func fromWire(data []byte) (Envelope, error) {
	var t wireType
	if err := typeType.Decode(data, &t); err != nil {
		return Envelope{}, err
	}
	switch t.Type {
	case RegisterRequest:
		var w wireRegisterRequest
		err := registerRequestType.DecodeStrict(data, &w)
		return Envelope{ID: w.ID, Type: t.Type, Body: w.Command}, err
	case RegisterResponse:
		return registerResponseFromWire(data)
	case ListRequest:
		var w wireListRequest
		err := listRequestType.DecodeStrict(data, &w)
		return Envelope{ID: w.ID, Type: t.Type}, err
	case ListResponse:
		var w wireListResponse
		err := listResponseType.DecodeStrict(data, &w)
		return Envelope{ID: w.ID, Type: t.Type, Thread: w.Thread, Body: w.Commands}, err
	case ExecuteRequest:
		var w wireExecuteRequest
		err := executeRequestType.DecodeStrict(data, &w)
		return Envelope{ID: w.ID, Type: t.Type, Name: w.Command, Body: w.Request}, err
	case ExecuteResponse:
		return executeResponseFromWire(data)
	case Event:
		var w wireEvent
		err := eventType.DecodeStrict(data, &w)
		return Envelope{ID: w.ID, Type: t.Type, Name: w.Event, Body: w.Payload}, err
	}
	return Envelope{}, fmt.Errorf("unknown message type %q", brief(string(t.Type)))
}

func registerResponseFromWire(data []byte) (Envelope, error) {
	var w wireRegisterResponse
	if err := registerResponseType.DecodeStrict(data, &w); err != nil {
		return Envelope{}, err
	}
	e := Envelope{ID: w.ID, Type: w.Type, Thread: w.Thread}
	if w.Response.OK != (w.Response.Error == "") {
		return e, errors.New("response: ok and error disagree")
	}
	if !w.Response.OK {
		e.Fault = &Fault{Code: w.Response.Error}
	}
	return e, nil
}

func executeResponseFromWire(data []byte) (Envelope, error) {
	var w wireExecuteResponse
	if err := executeResponseType.DecodeStrict(data, &w); err != nil {
		return Envelope{}, err
	}
	e := Envelope{ID: w.ID, Type: w.Type, Thread: w.Thread, Body: w.Response.Result, Fault: w.Response.Error}
	if w.Response.OK != (e.Fault == nil) || !w.Response.OK && e.Body != nil {
		return e, errors.New("response: ok, result and error disagree")
	}
	return e, nil
}
