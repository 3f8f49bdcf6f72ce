package events

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/leatbus/leat/internal/payload"
)

// Event is an event's ID and the type of its payload: what emitters and
// listeners share. Immutable; safe for concurrent use. Make one with [Define].
type Event[T any] struct {
	id   string
	kind *payload.Type
}

// Define describes an event. IDs are dotted by convention, as in
// "user.created"; one that begins with "_" is private: it is never sent to
// peers. A struct without fields as T stands for an event without payload.
//
// Define is meant for package variables: it panics, naming the event, if the
// ID is empty or has a wildcard for a token, or T has no JSON form.
func Define[T any](id string) Event[T] {
	kind, err := payload.For(reflect.TypeFor[T]())
	if err == nil {
		err = checkID(id)
	}
	if err != nil {
		panic(fmt.Sprintf("events: define %q: %v", id, err))
	}
	return Event[T]{id: id, kind: kind}
}

// ID returns the event's ID.
func (e Event[T]) ID() string { return e.id }

// Emit broadcasts an event, as [Hub.EmitRaw] does. The payload is encoded
// before Emit returns, unless values of its type share no memory; each listener gets a copy of its own.
func Emit[T any](ctx context.Context, h *Hub, e Event[T], value T) (err error) {
	defer h.emitPanicked(e.id, &err)
	if e.kind == nil {
		return errors.New("emit: the zero Event: use Define")
	}
	content, err := payload.Wrap(e.kind, value, true)
	if err != nil {
		return fmt.Errorf("emit %q: %w", e.id, err)
	}
	return h.intercept(ctx, e.id, content)
}

// Listen calls fn for each such event, as [Hub.ListenRaw] does. A payload
// may have members that T does not know, or lack some; one that does not fit
// otherwise is counted, logged and not delivered.
func Listen[T any](h *Hub, e Event[T], fn func(context.Context, T), opts ...ListenOptions) (*Listener, error) {
	if fn == nil || e.kind == nil {
		return nil, fmt.Errorf("listen %q: nil function or zero Event", e.id)
	}
	return h.listen(e.id, opts, func(ctx context.Context, ev *event) {
		value, err := payload.Unwrap[T](ev.content, e.kind.Decode)
		if err != nil {
			h.misfits.Add(1)
			h.log.Warn("event does not fit its listener", "event", ev.name, "id", ev.id, "error", err.Error())
			return
		}
		fn(ctx, value)
	})
}
