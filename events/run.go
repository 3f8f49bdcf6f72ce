package events

import (
	"context"
	"encoding/json"
	"errors"
	"runtime/debug"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// loop is the listener's goroutine.
func (l *Listener) loop() {
	exited := true // by runtime.Goexit in the listener's function, unless cleared
	defer func() {
		if exited {
			l.hub.panics.Add(1)
			l.hub.log.Error("listener ended its goroutine", "pattern", l.pattern.String())
			go l.loop()
			return
		}
		close(l.done)
	}()
	for {
		it, ok := l.next()
		if !ok {
			exited = false
			return
		}
		if it.barrier != nil {
			it.barrier.pass()
			continue
		}
		l.handle(it.event)
	}
}

// handle runs the listener's function for one event.
func (l *Listener) handle(ev *event) {
	defer l.hub.bus.End()
	defer l.waitsFor.Store(nil)
	defer func() {
		if v := recover(); v != nil {
			l.hub.panics.Add(1)
			l.hub.log.Error("listener panicked", "pattern", l.pattern.String(), "event", ev.name, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	ctx := bus.WithDepth(l.ctx, int(ev.depth)+1)
	if ev.metadata != nil {
		ctx = bus.WithMetadata(ctx, ev.metadata)
	}
	if l.hub.wrapped == nil {
		l.run(ctx, ev)
		l.handled.Add(1)
		return
	}
	if err := l.runWrapped(ctx, ev); err != nil {
		l.hub.log.Warn("listener failed", "pattern", l.pattern.String(), "event", ev.name, "error", err.Error())
	}
}

// occasion is the context of an event on its way through the handler
// middleware to one listener.
type occasion struct {
	context.Context
	listener *Listener
	event    *event
}

type occasionKey struct{}

func (o *occasion) Value(key any) any {
	if _, ok := key.(occasionKey); ok {
		return o
	}
	return o.Context.Value(key)
}

func (l *Listener) runWrapped(ctx context.Context, ev *event) error {
	m, err := bus.Binary.Marshal(bus.Envelope{ID: ev.id, Type: bus.Event, Name: ev.name, Body: ev.json(), Depth: int(ev.depth), Metadata: ev.metadata})
	if err != nil {
		return err
	}
	m.SetContext(&occasion{ctx, l, ev})
	m.Ack() // nothing waits for it; middleware may look
	_, err = l.hub.wrapped(m)
	return err
}

// innermost is the end of the handler chain: the listener's function.
func innermost(m *message.Message) ([]*message.Message, error) {
	o, ok := m.Context().Value(occasionKey{}).(*occasion)
	if !ok {
		return nil, errors.New("handler middleware replaced the message's context")
	}
	ev := &event{id: o.event.id, name: o.event.name, depth: o.event.depth, metadata: o.event.metadata}
	if len(m.Payload) > 0 {
		ev.content.Body = json.RawMessage(m.Payload)
	}
	o.listener.run(m.Context(), ev)
	o.listener.handled.Add(1)
	return nil, nil
}
