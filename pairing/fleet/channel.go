package fleet

import (
	"context"
	"fmt"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// features are what the fleet announces to its registry.
const features = bus.CanCancel | bus.CanWithdraw | bus.CanFlush | bus.CanAdvertise | bus.CanGroup | bus.Shared

// newChannel makes the channel whose peer the fleet is.
func (f *Fleet) newChannel() *bus.Channel {
	return &bus.Channel{
		ID:         f.opts.Channel,
		Publisher:  registryPublisher{f},
		Out:        "to fleet " + f.opts.Namespace,
		Subscriber: registrySubscriber{f},
		In:         "from fleet " + f.opts.Namespace,
		Shared:     true,
		Unqueued:   f.opts.Queue == nil,
		Draining:   f.withdraw,
		Closing:    f.linkCloses,
		Close:      f.Close,
	}
}

// linkCloses is told when the link begins to close: nobody waits for room any more, and requests that still come are
// sent back.
func (f *Fleet) linkCloses() {
	f.hurryOnce.Do(func() { close(f.hurry) })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.draining = true
	f.stopQueues()
}

// registryPublisher takes what the registry sends. It is called by the link's writer, one message at a time, and may
// block where an outbox is full.
type registryPublisher struct{ f *Fleet }

func (p registryPublisher) Publish(_ string, messages ...*message.Message) error {
	for _, m := range messages {
		e, err := bus.Binary.Unmarshal(m)
		if err != nil {
			return err
		}
		if err := p.f.take(&e); err != nil {
			return err
		}
		bus.Discard(m)
	}
	return nil
}

// PublishParcels implements bus.ParcelPublisher: the envelope is what is wanted.
func (p registryPublisher) PublishParcels(topic string, parcels ...*message.Message) error {
	return p.Publish(topic, parcels...)
}

// TakesParcels implements bus.ParcelPublisher. What comes out on the other side of the fleet are none.
func (registryPublisher) TakesParcels(string) bool { return false }

// TryPublish implements bus.DirectPublisher, for requests and replies that find a process to go to and room.
func (p registryPublisher) TryPublish(_ string, parcel *message.Message) bool {
	e, err := bus.Binary.Unmarshal(parcel)
	if err != nil {
		return false
	}
	taken := false
	switch e.Type {
	case bus.ExecuteRequest:
		taken = p.f.tryRequest(&e)
	case bus.ExecuteResponse:
		taken = p.f.tryReply(&e)
	}
	if taken {
		bus.Discard(parcel)
	}
	return taken
}

// Close does nothing: the channel closes the fleet.
func (registryPublisher) Close() error { return nil }

// take dispatches what the registry sends.
func (f *Fleet) take(e *bus.Envelope) error {
	switch e.Type {
	case bus.ExecuteRequest:
		return f.request(e)
	case bus.ExecuteResponse:
		return f.reply(e)
	case bus.Event:
		return f.emit(e)
	case bus.Cancel:
		f.cancelCall(e.Thread)
	case bus.ListRequest:
		f.greet(e.ID)
	case bus.ListResponse, bus.RegisterRequest:
		return f.learn(e)
	case bus.Withdraw:
		f.unlearn(e.Name)
	case bus.Group:
		return f.attend(interest{e.Key, e.Name}, e.Hops > 0)
	case bus.Flush:
		f.flush(e.ID)
	case bus.Flushed:
		f.passed(e.Thread)
	}
	return nil
}

// attachment is the link to the registry, as the fleet sees it.
type attachment struct {
	fn      func(*message.Message)
	ended   chan struct{} // closed when fn will not be called any more
	running int           // guarded by Fleet.mu: calls of fn
	gone    bool          // guarded by Fleet.mu
	greeted bool          // guarded by Fleet.mu: the registry has said hello
	hello   string        // guarded by Fleet.mu: the ID of a hello that is not answered; else empty
	told    map[string]bool
}

// registrySubscriber hands the registry's link what is for it.
type registrySubscriber struct{ f *Fleet }

// SubscribeFunc implements bus.FuncSubscriber.
func (s registrySubscriber) SubscribeFunc(ctx context.Context, _ string, fn func(*message.Message)) (<-chan struct{}, error) {
	f := s.f
	a := &attachment{fn: fn, ended: make(chan struct{}), told: make(map[string]bool)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, fmt.Errorf("fleet %q: %w", f.opts.Namespace, f.err)
	}
	f.link = a
	context.AfterFunc(ctx, func() { f.detach(a) })
	return a.ended, nil
}

// Subscribe is for everybody but links, of which there are none.
func (registrySubscriber) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	return nil, fmt.Errorf("%w: the channel of a fleet is for a link", bus.ErrInvalidChannel)
}

// Close does nothing: the channel closes the fleet.
func (registrySubscriber) Close() error { return nil }

// detach ends an attachment.
func (f *Fleet) detach(a *attachment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a == nil || a.gone {
		return
	}
	a.gone = true
	if f.link == a {
		f.link = nil
	}
	if a.running == 0 {
		close(a.ended)
	}
}

// hand gives the registry messages, in order. It must not be called with f.mu held.
func (f *Fleet) hand(es ...bus.Envelope) {
	if len(es) == 0 {
		return
	}
	f.mu.Lock()
	a := f.link
	if a == nil || !a.greeted { // its fn waits for the link to start, which it may never do
		f.mu.Unlock()
		return
	}
	a.running++
	f.mu.Unlock()
	for i := range es {
		m, err := bus.Pack(es[i])
		if err != nil {
			f.count.rejected.Add(1)
			f.log.Warn("message rejected", "type", string(es[i].Type), "error", err.Error())
			continue
		}
		a.fn(m)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.running--; a.gone && a.running == 0 {
		close(a.ended)
	}
}

// greet answers the registry's hello, as soon as the fleet works, and asks for its commands.
func (f *Fleet) greet(thread string) {
	f.update(func(fx *effects) {
		a := f.link
		if a == nil {
			return
		}
		a.greeted, a.hello = true, thread
		clear(a.told)
		for id := range f.services {
			f.dirty[id] = true
		}
		fx.deliver(bus.Envelope{Type: bus.ListRequest, Features: features})
	})
}

// untold notes that the registry is about to forget a command, because it hears that nobody has it. f.mu is held.
func (f *Fleet) untold(id string) {
	if a := f.link; a != nil && a.told[id] {
		delete(a.told, id)
		f.dirty[id] = true
	}
}

// reconcile tells the registry which commands have appeared and which have gone. One does it at a time, so that the
// registry hears of each in order; whoever comes meanwhile leaves it to him.
func (f *Fleet) reconcile() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.telling {
		return
	}
	f.telling = true
	for {
		messages := f.difference()
		if len(messages) == 0 {
			break
		}
		f.mu.Unlock()
		f.hand(messages...)
		f.mu.Lock()
	}
	f.telling = false
	f.tellNews()
}

// difference returns what the registry does not know yet, and takes it as told. f.mu is held.
func (f *Fleet) difference() (messages []bus.Envelope) {
	a := f.link
	if a == nil || !a.greeted || !f.isReady() || a.hello == "" && len(f.dirty) == 0 {
		return nil
	}
	var appeared []bus.Definition
	doubt := f.inDoubt()
	for id := range f.dirty {
		s := f.services[id]
		switch {
		case s != nil:
			appeared = append(appeared, s.def)
			a.told[id] = true
		case a.told[id] && doubt: // is it gone, or are we?
			continue
		case a.told[id]:
			messages = append(messages, bus.Envelope{Type: bus.Withdraw, Name: id})
			delete(a.told, id)
		}
		delete(f.dirty, id)
	}
	if a.hello == "" && len(appeared) == 0 {
		return messages
	}
	durable, others := parted(appeared)
	for _, defs := range slices.Concat(split(others), split(durable)) {
		if len(defs) == 0 && (a.hello == "" || len(messages) > 0 && messages[len(messages)-1].Type == bus.ListResponse) {
			continue
		}
		messages = append(messages, bus.Envelope{Type: bus.ListResponse, Thread: orDefault(a.hello, bus.NewID()), Features: features,
			Body: encode(orEmpty(defs)), Durable: len(defs) > 0 && defs[0].Durable})
	}
	a.hello = ""
	return messages
}

// orEmpty is defs as an array where there are none.
func orEmpty(defs []bus.Definition) []bus.Definition {
	if defs == nil {
		return []bus.Definition{}
	}
	return defs
}
