package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// ProtoActor asks an actor, which takes one message at a time, and waits for the answer in a future with a timeout. Go
// values.
func ProtoActor(s Setup) (Peer, error) {
	p := &protoActor{request: request(s.withDefaults().Payload), system: NewActorSystem()}
	p.pid = p.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if q, ok := c.Message().(*Sum); ok {
			c.Respond(q.A + q.B)
		}
	}))
	return p, nil
}

// NewActorSystem returns an actor system that logs nothing. Its Shutdown ends it.
func NewActorSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
}

type protoActor struct {
	system  *actor.ActorSystem
	pid     *actor.PID
	request Sum
}

func (p *protoActor) Call(context.Context) error {
	answer, err := p.system.Root.RequestFuture(p.pid, &p.request, 30*time.Second).Result()
	if err != nil {
		return fmt.Errorf("protoactor: %w", err)
	}
	n, ok := answer.(int)
	if !ok {
		return errors.New("protoactor: not a number")
	}
	return check(n, nil)
}

func (p *protoActor) Close() {
	_ = p.system.Root.StopFuture(p.pid).Wait()
	p.system.Shutdown()
}
