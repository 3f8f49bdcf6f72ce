package fanout

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/leatbus/leat/bench/internal/peers"
)

// GoChannel publishes each event on a topic to which each listener subscribes; publishing waits for the acks, since it
// keeps no order otherwise.
func GoChannel(s Setup) (Fan, error) {
	g := &goChannel{
		tally:     newTally(),
		listeners: s.Listeners,
		pubsub:    gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{}),
	}
	for range s.Listeners {
		in, err := g.pubsub.Subscribe(context.Background(), "tick")
		if err != nil {
			g.Close()
			return nil, err
		}
		g.running.Go(func() {
			for m := range in {
				m.Ack()
				g.tally.bytes(m.Payload)
			}
		})
	}
	return g, nil
}

type goChannel struct {
	tally     *tally
	listeners int
	pubsub    *gochannel.GoChannel
	running   sync.WaitGroup
}

func (g *goChannel) Burst(ctx context.Context, n int) error {
	g.tally.expect(n, g.listeners)
	for i := range n {
		body, err := json.Marshal(Tick{i + 1})
		if err != nil {
			return err
		}
		if err := g.pubsub.Publish("tick", message.NewMessage(watermill.NewUUID(), body)); err != nil {
			return err
		}
	}
	return g.tally.wait(ctx)
}

func (g *goChannel) Close() {
	_ = g.pubsub.Close()
	g.running.Wait()
}

// NATS publishes each event on a subject to which each listener subscribes, all over one connection.
func NATS(s Setup) (Fan, error) {
	srv, err := peers.StartNATS()
	if err != nil {
		return nil, err
	}
	n := &natsFan{tally: newTally(), listeners: s.Listeners, server: srv}
	if err := n.start(s); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

type natsFan struct {
	tally     *tally
	listeners int
	server    *server.Server
	out, in   *nats.Conn
}

func (n *natsFan) start(s Setup) (err error) {
	if n.out, err = nats.Connect("", nats.InProcessServer(n.server)); err != nil {
		return err
	}
	if n.in, err = nats.Connect("", nats.InProcessServer(n.server)); err != nil {
		return err
	}
	for range s.Listeners {
		sub, err := n.in.Subscribe("tick", func(m *nats.Msg) { n.tally.bytes(m.Data) })
		if err == nil {
			err = sub.SetPendingLimits(-1, -1) // none is to be dropped
		}
		if err != nil {
			return err
		}
	}
	return n.in.Flush()
}

func (n *natsFan) Burst(ctx context.Context, count int) error {
	n.tally.expect(count, n.listeners)
	for i := range count {
		body, err := json.Marshal(Tick{i + 1})
		if err != nil {
			return err
		}
		if err := n.out.Publish("tick", body); err != nil {
			return err
		}
	}
	if err := n.out.Flush(); err != nil {
		return err
	}
	return n.tally.wait(ctx)
}

func (n *natsFan) Close() {
	for _, c := range []*nats.Conn{n.out, n.in} {
		if c != nil {
			c.Close()
		}
	}
	n.server.Shutdown()
	n.server.WaitForShutdown()
}
