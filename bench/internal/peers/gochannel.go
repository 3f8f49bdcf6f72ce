package peers

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
)

// GoChannel is what a call over GoChannel costs at least: two publishes and acks, with metadata and payloads of the
// sizes that leat's have, handed to a goroutine that decodes and encodes the same JSON. Each further hop is another
// GoChannel. With several callers a goroutine gives each its reply.
func GoChannel(s Setup) (Peer, error) {
	s = s.withDefaults()
	g := &goChannel{request: request(s.Payload)}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	serve := addJSON
	for i := range s.Hops {
		link, err := g.connect(i == s.Hops-1 && s.Callers == 1, serve)
		if err != nil {
			g.Close()
			return nil, err
		}
		g.send = link.send
		serve = link.send
	}
	return g, nil
}

type goChannel struct {
	request Sum
	ctx     context.Context
	cancel  context.CancelFunc
	send    func(context.Context, []byte) ([]byte, error)
	pubsubs []*gochannel.GoChannel
	running sync.WaitGroup
}

func (g *goChannel) Call(ctx context.Context) error { return callJSON(ctx, g.request, g.send) }

func (g *goChannel) Close() {
	g.cancel()
	for _, ps := range g.pubsubs {
		_ = ps.Close()
	}
	g.running.Wait()
}

// connect makes one hop: serve runs behind it. A single caller takes its replies itself.
func (g *goChannel) connect(single bool, serve func(context.Context, []byte) ([]byte, error)) (*goChannelLink, error) {
	ps := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	g.pubsubs = append(g.pubsubs, ps)
	requests, err := ps.Subscribe(g.ctx, "requests")
	if err != nil {
		return nil, err
	}
	replies, err := ps.Subscribe(g.ctx, "replies")
	if err != nil {
		return nil, err
	}
	l := &goChannelLink{ps: ps, replies: replies}
	g.running.Go(func() {
		for m := range requests {
			m.Ack()
			body, err := serve(g.ctx, m.Payload)
			reply := message.NewMessage(watermill.NewUUID(), body)
			reply.Metadata["leat-type"] = "execute.command.response"
			reply.Metadata["leat-id"] = reply.UUID
			reply.Metadata["leat-thread"] = m.UUID
			if err != nil {
				reply.Metadata["leat-error"] = err.Error()
			}
			if ps.Publish("replies", reply) != nil {
				return
			}
		}
	})
	if !single {
		l.waiting = &sync.Map{}
		g.running.Go(l.distribute)
	}
	return l, nil
}

type goChannelLink struct {
	ps      *gochannel.GoChannel
	replies <-chan *message.Message
	waiting *sync.Map // request UUID to chan *message.Message; nil with a single caller
}

func (l *goChannelLink) distribute() {
	for m := range l.replies {
		m.Ack()
		if c, ok := l.waiting.LoadAndDelete(m.Metadata["leat-thread"]); ok {
			c.(chan *message.Message) <- m
		}
	}
}

func (l *goChannelLink) send(_ context.Context, body []byte) ([]byte, error) {
	m := message.NewMessage(watermill.NewUUID(), body)
	m.Metadata["leat-type"] = "execute.command.request"
	m.Metadata["leat-id"] = m.UUID
	m.Metadata["leat-name"] = "math.add"
	m.Metadata["leat-deadline"] = "30000000"
	reply, err := l.exchange(m)
	if err != nil {
		return nil, err
	}
	if text := reply.Metadata["leat-error"]; text != "" {
		return nil, errors.New(text)
	}
	return reply.Payload, nil
}

func (l *goChannelLink) exchange(m *message.Message) (*message.Message, error) {
	if l.waiting == nil {
		if err := l.ps.Publish("requests", m); err != nil {
			return nil, err
		}
		reply, ok := <-l.replies
		if !ok {
			return nil, fmt.Errorf("gochannel: closed")
		}
		reply.Ack()
		return reply, nil
	}
	c := make(chan *message.Message, 1)
	l.waiting.Store(m.UUID, c)
	if err := l.ps.Publish("requests", m); err != nil {
		return nil, err
	}
	return <-c, nil
}
