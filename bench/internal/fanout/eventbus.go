package fanout

import (
	"context"
	"fmt"

	evbus "github.com/asaskevich/EventBus"
)

// EventBus runs the listeners one after the other on the emitter's goroutine, through reflection.
func EventBus(s Setup) (Fan, error) {
	e := &eventBus{tally: newTally(), listeners: s.Listeners, bus: evbus.New()}
	for range s.Listeners {
		if err := e.bus.Subscribe("tick", func(v Tick) { e.tally.value(v) }); err != nil {
			return nil, fmt.Errorf("eventbus: %w", err)
		}
	}
	return e, nil
}

type eventBus struct {
	tally     *tally
	listeners int
	bus       evbus.Bus
}

func (e *eventBus) Burst(ctx context.Context, n int) error {
	e.tally.expect(n, e.listeners)
	for i := range n {
		e.bus.Publish("tick", Tick{i + 1})
	}
	return e.tally.wait(ctx)
}

func (*eventBus) Close() {}
