package fanout

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/leatbus/leat/bench/internal/peers"
)

// ProtoActor sends each event through the actor system's event stream to an actor per listener: the stream puts it into
// their mailboxes, each of which has no bound and is worked off by a goroutine of its own.
func ProtoActor(s Setup) (Fan, error) {
	p := &protoActor{tally: newTally(), system: peers.NewActorSystem()}
	props := actor.PropsFromFunc(func(c actor.Context) {
		if v, ok := c.Message().(*Tick); ok {
			p.tally.value(*v)
		}
	})
	for range s.Listeners {
		pid := p.system.Root.Spawn(props)
		p.listeners = append(p.listeners, pid)
		p.system.EventStream.Subscribe(func(event any) { p.system.Root.Send(pid, event) })
	}
	return p, nil
}

type protoActor struct {
	tally     *tally
	system    *actor.ActorSystem
	listeners []*actor.PID
}

func (p *protoActor) Burst(ctx context.Context, n int) error {
	p.tally.expect(n, len(p.listeners))
	for i := range n {
		p.system.EventStream.Publish(&Tick{i + 1})
	}
	return p.tally.wait(ctx)
}

func (p *protoActor) Close() {
	for _, pid := range p.listeners {
		_ = p.system.Root.StopFuture(pid).Wait()
	}
	p.system.Shutdown()
}
