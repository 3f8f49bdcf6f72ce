package fanout

import (
	"context"

	events "github.com/docker/go-events"
)

// DockerEvents is docker/go-events: a broadcaster's goroutine puts each event into the queue of each listener, which has
// no bound and a goroutine.
func DockerEvents(s Setup) (Fan, error) {
	d := &dockerEvents{tally: newTally(), listeners: s.Listeners, broadcaster: events.NewBroadcaster()}
	for range s.Listeners {
		if err := d.broadcaster.Add(events.NewQueue(sink{d.tally})); err != nil {
			d.Close()
			return nil, err
		}
	}
	return d, nil
}

type dockerEvents struct {
	tally       *tally
	listeners   int
	broadcaster *events.Broadcaster
}

// sink is the end of a queue.
type sink struct{ tally *tally }

func (s sink) Write(e events.Event) error {
	if v, ok := e.(Tick); ok {
		s.tally.value(v)
	}
	return nil
}

func (sink) Close() error { return nil }

func (d *dockerEvents) Burst(ctx context.Context, n int) error {
	d.tally.expect(n, d.listeners)
	for i := range n {
		if err := d.broadcaster.Write(Tick{i + 1}); err != nil {
			return err
		}
	}
	return d.tally.wait(ctx)
}

func (d *dockerEvents) Close() { _ = d.broadcaster.Close() }
