package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// peer is a mock: a foreign peer, which announces nothing, on a channel made
// by hand. It is the channel's publisher and its subscriber.
type peer struct {
	stage *stage
	setup peerSetup
	codec bus.Codec
	link  *bus.Link

	// Guarded by stage.mu.
	sent     []any           // messages from the registry, not looked at yet
	early    []any           // those of them that the set-up caused
	answered map[string]bool // IDs of the execute requests that were answered
	synced   map[string]bool // IDs of the peer's own list requests, and whether they were answered

	sending sync.Mutex            // held while a message is handed over
	in      chan *message.Message // guarded by sending; nil once the peer has hung up
	ended   <-chan struct{}       // of the subscription; set when it begins
}

func newPeer(s *stage, setup peerSetup, codec bus.Codec) *peer {
	return &peer{stage: s, setup: setup, codec: codec, in: make(chan *message.Message),
		answered: map[string]bool{}, synced: map[string]bool{}}
}

func (p *peer) channel() *bus.Channel {
	return &bus.Channel{ID: p.setup.id, Publisher: p, Out: "out", Subscriber: p, In: "in", Codec: p.codec, Local: true}
}

// Subscribe implements message.Subscriber.
func (p *peer) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	p.ended = ctx.Done()
	return p.in, nil
}

// Publish implements message.Publisher: the registry sends.
func (p *peer) Publish(_ string, messages ...*message.Message) error {
	for _, m := range messages {
		if err := p.take(m); err != nil {
			err = fmt.Errorf("channel %q: the registry sent %q: %w", p.setup.id, m.Payload, err)
			p.stage.update(func() { p.stage.blame(err) })
		}
	}
	return nil
}

// Close implements both.
func (p *peer) Close() error { return nil }

var errGone = errors.New("the channel is closed")

// deliver hands a message to the registry, and returns once that has taken it.
func (p *peer) deliver(m *message.Message) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	if p.in == nil {
		return errGone
	}
	select {
	case p.in <- m:
		return nil
	case <-p.ended:
		return errGone
	case <-time.After(patience):
		return errWaited
	}
}

func (p *peer) send(e bus.Envelope) error {
	m, err := p.codec.Marshal(e)
	if err != nil {
		return err
	}
	return p.deliver(m)
}

// hangUp ends the subscription, as a peer does that goes away.
func (p *peer) hangUp() error {
	p.sending.Lock()
	if p.in == nil {
		p.sending.Unlock()
		return errGone
	}
	close(p.in)
	p.in = nil
	p.sending.Unlock()
	select {
	case <-p.link.Done():
		return nil
	case <-time.After(patience):
		return errors.New("the link does not end")
	}
}

func (p *peer) closed() bool {
	p.sending.Lock()
	defer p.sending.Unlock()
	return p.in == nil
}

// sync returns when the registry has handled what was delivered before, and
// has published what it had for this peer until then.
func (p *peer) sync() error {
	if p.closed() {
		return nil
	}
	id := bus.NewID()
	p.stage.update(func() { p.synced[id] = false })
	if err := p.send(bus.Envelope{ID: id, Type: bus.ListRequest}); err != nil {
		return err
	}
	return p.stage.await(func() bool {
		if !p.synced[id] {
			return false
		}
		delete(p.synced, id)
		return true
	})
}

// take looks at a message from the registry: it is a part of the runner's own
// exchanges, or it is kept for the script.
func (p *peer) take(m *message.Message) error {
	e, err := p.codec.Unmarshal(m)
	switch {
	case err != nil:
		return fmt.Errorf("which does not decode: %w", err)
	case e.Type.Control():
		return fmt.Errorf("a %s message, which the peer has not said it understands", e.Type)
	case e.Type == bus.ListRequest:
		return ignoreGone(p.send(bus.Envelope{ID: bus.NewID(), Type: bus.ListResponse, Thread: e.ID, Body: []byte("[]")}))
	case e.Type == bus.ListResponse && p.isSync(e.Thread):
		p.stage.update(func() { p.synced[e.Thread] = true })
		return nil
	}
	v, err := p.canonical(&e, m)
	if err != nil {
		return fmt.Errorf("which is not a message: %w", err)
	}
	about, err := aboutOf(&e)
	if err != nil {
		return err
	}
	p.stage.update(func() {
		p.stage.recorded++
		p.stage.requests[about]++
		p.sent = append(p.sent, v)
		if e.Type == bus.ExecuteResponse {
			p.answered[e.Thread] = true
		}
	})
	return p.respond(&e)
}

// ignoreGone: a peer that has gone says nothing, and that is no fault.
func ignoreGone(err error) error {
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

func (p *peer) isSync(id string) bool {
	p.stage.mu.Lock()
	defer p.stage.mu.Unlock()
	_, ok := p.synced[id]
	return ok
}

// canonical returns the message in its canonical form.
func (p *peer) canonical(e *bus.Envelope, m *message.Message) (any, error) {
	if p.codec != bus.JSON {
		var err error
		if m, err = bus.JSON.Marshal(*e); err != nil {
			return nil, err
		}
	}
	return parseValue(m.Payload)
}

// aboutOf says what a message asks for, if it is a request.
func aboutOf(e *bus.Envelope) (request, error) {
	r := request{typ: e.Type, command: e.Name}
	if e.Type == bus.RegisterRequest {
		def, err := e.Definition()
		if err != nil {
			return r, err
		}
		r.command = def.ID
	}
	return r, nil
}

// respond executes a command that the peer implements, where the script
// leaves that to it.
func (p *peer) respond(e *bus.Envelope) error {
	if e.Type != bus.ExecuteRequest {
		return nil
	}
	for _, c := range p.setup.commands {
		if c.def.ID != e.Name {
			continue
		}
		reply := bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: e.ID}
		var err error
		if reply.Body, err = c.returns.respond(e.Body); err != nil {
			reply.Fault = &bus.Fault{Code: "internal_error", Message: err.Error()}
		}
		return ignoreGone(p.send(reply))
	}
	return nil
}

// encode puts a message of the script into the form of the channel, and says
// what it is. Nothing, if it is none: then its bytes are delivered, whatever
// they are.
func (p *peer) encode(v any) (*message.Message, *bus.Envelope, error) {
	raw, err := encodeValue(v)
	if err != nil {
		return nil, nil, err
	}
	if text, ok := v.(string); ok {
		raw = []byte(text)
	}
	m := message.NewMessage(bus.NewID(), message.Payload(raw))
	e, err := bus.JSON.Unmarshal(m)
	if err != nil {
		return m, nil, nil
	}
	if p.codec != bus.JSON {
		m, err = p.codec.Marshal(e)
	}
	return m, &e, err
}

// setAside removes what the registry sent to its router on its own accord
// while it was set up: registrations of the set-up's public commands.
func (p *peer) setAside(setup []commandSetup) {
	p.stage.mu.Lock()
	defer p.stage.mu.Unlock()
	p.sent = slices.DeleteFunc(p.sent, func(m any) bool {
		for _, c := range setup {
			want := map[string]any{"type": string(bus.RegisterRequest), "command": map[string]any{"id": c.def.ID}}
			if !strings.HasPrefix(c.def.ID, "_") && match(want, m, bindings{}) == nil {
				p.early = append(p.early, m)
				return true
			}
		}
		return false
	})
}
