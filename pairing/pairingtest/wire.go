package pairingtest

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/internal/mac"
)

// everything is what a leat peer announces.
const everything = bus.CanCancel | bus.CanWithdraw | bus.CanGoodbye | bus.CanFlush | bus.CanAdvertise

// wire is a peer played by hand on one half of a pair: it sends and receives
// envelopes, and nothing else answers for it but to the handshake.
type wire struct {
	k        *kit
	ch       *bus.Channel
	features bus.Features
	offers   string // JSON array: the definitions it lists; empty: it does not answer the handshake
	cancel   context.CancelFunc
	ended    chan struct{}

	mu    sync.Mutex
	hello string         // guarded by mu: the ID of the registry's last hello
	got   []bus.Envelope // guarded by mu: received and not taken, handshakes aside
	news  chan struct{}  // guarded by mu: closed and replaced when something comes
}

// wire attaches a new pair's one half to r and plays the other, named id. The
// peer announces features, and lists what offers says; see wire.offers.
func (k *kit) wire(r *commands.Registry, id string, features bus.Features, offers string) (*wire, *bus.Link) {
	k.t.Helper()
	toPeer, toRegistry := k.pair(id, r.ID())
	link := k.attach(r, toPeer)
	w := k.play(toRegistry, features, offers)
	if offers != "" {
		k.ready(link)
	}
	return w, link
}

// play subscribes to a half and plays it.
func (k *kit) play(ch *bus.Channel, features bus.Features, offers string) *wire {
	k.t.Helper()
	w := &wire{k: k, ch: ch, features: features, offers: offers, ended: make(chan struct{}), news: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	in, err := ch.Subscriber.Subscribe(ctx, ch.In)
	require.NoError(k.t, err)
	go w.receive(ctx, in)
	k.t.Cleanup(w.close)
	return w
}

// close ends the wire as a transport that breaks off would: without goodbye.
func (w *wire) close() {
	w.cancel()
	<-w.ended
	if w.ch.Close != nil {
		_ = w.ch.Close()
	}
}

func (w *wire) receive(ctx context.Context, in <-chan *message.Message) {
	defer close(w.ended)
	for {
		select {
		case m, ok := <-in:
			if !ok {
				return
			}
			m.Ack()
			w.take(m)
		case <-ctx.Done():
			return
		}
	}
}

func (w *wire) take(m *message.Message) {
	e, err := codecOf(w.ch).Unmarshal(m)
	switch {
	case err != nil:
		w.k.t.Errorf("%s received what its codec does not take: %v", w.ch.ID, err)
	case e.Type == bus.ListRequest && w.offers == "":
		w.mu.Lock()
		defer w.mu.Unlock()
		w.hello = e.ID
		close(w.news)
		w.news = make(chan struct{})
	case e.Type == bus.ListRequest:
		w.send(bus.Envelope{Type: bus.ListResponse, Thread: e.ID, Body: json.RawMessage(w.offers), Features: w.features})
	case e.Type == bus.Flush:
		w.send(bus.Envelope{Type: bus.Flushed, Thread: e.ID})
	default:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.got = append(w.got, e)
		close(w.news)
		w.news = make(chan struct{})
	}
}

// answerHello answers the handshake after all: from then on a link takes the peer's goodbye.
func (w *wire) answerHello() {
	w.k.t.Helper()
	for {
		w.mu.Lock()
		hello, news := w.hello, w.news
		w.mu.Unlock()
		if hello != "" {
			w.send(bus.Envelope{Type: bus.ListResponse, Thread: hello, Body: json.RawMessage(`[]`), Features: w.features})
			return
		}
		select {
		case <-news:
		case <-w.k.ctx.Done():
			w.k.t.Fatalf("peer of %s received no hello", w.ch.ID)
		}
	}
}

// send publishes e, under a new ID unless it has one, and returns the ID.
func (w *wire) send(e bus.Envelope) string {
	return inject(w.k, w.ch, e)
}

// sendMessage publishes any message.
func (w *wire) sendMessage(m *message.Message) {
	signAs(w.ch, m)
	if err := w.ch.Publisher.Publish(w.ch.Out, m); err != nil {
		w.k.t.Errorf("publish: %v", err)
	}
}

// signAs signs m as a link on ch would.
func signAs(ch *bus.Channel, m *message.Message) {
	if len(ch.Keys) == 0 {
		return
	}
	keys, err := mac.New(ch.Keys)
	if err != nil {
		panic(err)
	}
	if m.Metadata == nil {
		m.Metadata = make(message.Metadata)
	}
	keys.Sign("leat link 1", ch.Out, m.Metadata, m.Payload)
}

// expect takes the next envelope of that type. Others that came before it stay.
func (w *wire) expect(t bus.Type) bus.Envelope {
	w.k.t.Helper()
	for {
		e, news, ok := w.pick(t)
		if ok {
			return e
		}
		select {
		case <-news:
		case <-w.k.ctx.Done():
			w.k.t.Fatalf("peer of %s received no %s", w.ch.ID, t)
		}
	}
}

func (w *wire) pick(t bus.Type) (e bus.Envelope, news <-chan struct{}, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, e := range w.got {
		if e.Type == t {
			w.got = append(w.got[:i:i], w.got[i+1:]...)
			return e, nil, true
		}
	}
	return e, w.news, false
}

// received returns how many envelopes of that type have come and were not taken.
func (w *wire) received(t bus.Type) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.got {
		if e.Type == t {
			n++
		}
	}
	return n
}

// flush returns when the registry has taken everything that was sent before,
// and everything that it sent in answer to that has come.
func (w *wire) flush() {
	w.k.t.Helper()
	id := w.send(bus.Envelope{Type: bus.Flush})
	e := w.expect(bus.Flushed)
	require.Equal(w.k.t, id, e.Thread)
}

// reply answers a request.
func (w *wire) reply(to bus.Envelope, result string) {
	w.send(bus.Envelope{Type: bus.ExecuteResponse, Thread: to.ID, Body: encoded(result)})
}

// refuse answers a request with a failure.
func (w *wire) refuse(to bus.Envelope, code commands.Code, text string) {
	w.send(bus.Envelope{Type: bus.ExecuteResponse, Thread: to.ID, Fault: &bus.Fault{Code: string(code), Message: text}})
}

// request asks for a command and returns the request.
func (w *wire) request(id, command, body string) bus.Envelope {
	e := bus.Envelope{ID: id, Type: bus.ExecuteRequest, Name: command, Body: encoded(body)}
	e.ID = w.send(e)
	return e
}

// register asks the registry to register a command, and returns the request's ID.
func (w *wire) register(definition string) string {
	return w.send(bus.Envelope{Type: bus.RegisterRequest, Body: json.RawMessage(definition)})
}

// ack accepts a registration.
func (w *wire) ack(to bus.Envelope) {
	w.send(bus.Envelope{Type: bus.RegisterResponse, Thread: to.ID})
}

// imposter remembers the sessions that a link writes into its messages, and publishes others with them.
type imposter struct {
	message.Publisher
	mu    sync.Mutex
	forms message.Metadata // guarded by mu
}

func (i *imposter) Publish(topic string, ms ...*message.Message) error {
	i.mu.Lock()
	for _, m := range ms {
		if m.Metadata["leat-peer"] != "" {
			i.forms = message.Metadata{"leat-session": m.Metadata["leat-session"], "leat-peer": m.Metadata["leat-peer"]}
		}
	}
	i.mu.Unlock()
	return i.Publisher.Publish(topic, ms...)
}

// disguise writes the link's sessions into m.
func (i *imposter) disguise(m *message.Message) {
	i.mu.Lock()
	defer i.mu.Unlock()
	maps.Copy(m.Metadata, i.forms)
}

// impersonate makes inject speak for the link that ch is attached as, where that has presence. To be called before.
func impersonate(ch *bus.Channel) {
	if ch.Heartbeat != 0 && !ch.InProcess {
		ch.Publisher = &imposter{Publisher: ch.Publisher}
	}
}

// inject publishes e on a half, as if its registry had sent it.
func inject(k *kit, ch *bus.Channel, e bus.Envelope) string {
	if e.ID == "" {
		e.ID = bus.NewID()
	}
	m, err := codecOf(ch).Marshal(e)
	if err != nil {
		k.t.Errorf("encode %s: %v", e.Type, err)
		return e.ID
	}
	if i, ok := ch.Publisher.(*imposter); ok {
		i.disguise(m)
	}
	signAs(ch, m)
	if err := ch.Publisher.Publish(ch.Out, m); err != nil {
		k.t.Errorf("publish: %v", err)
	}
	return e.ID
}

func codecOf(ch *bus.Channel) bus.Codec {
	if ch.Codec == nil {
		return bus.Binary
	}
	return ch.Codec
}

// early is a subscriber that has subscribed already. It takes what comes at
// once, also while nobody is attached: a Pub/Sub may hold up all others until
// the message is acked.
type early struct {
	message.Subscriber
	out    chan *message.Message
	cancel context.CancelFunc
}

func (k *kit) subscribeEarly(ch *bus.Channel) {
	k.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	in, err := ch.Subscriber.Subscribe(ctx, ch.In)
	require.NoError(k.t, err)
	e := &early{ch.Subscriber, make(chan *message.Message), cancel}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.relay(ctx, in)
	}()
	k.t.Cleanup(func() {
		cancel()
		<-ended
	})
	ch.Subscriber = e
}

// relay hands on what comes, until ctx ends or everything has been handed on.
func (e *early) relay(ctx context.Context, in <-chan *message.Message) {
	defer close(e.out)
	var queue []*message.Message
	for in != nil || len(queue) > 0 {
		var out chan<- *message.Message
		var first *message.Message
		if len(queue) > 0 {
			out, first = e.out, queue[0]
		}
		select {
		case m, ok := <-in:
			if !ok {
				in = nil
				continue
			}
			m.Ack()
			queue = append(queue, m)
		case out <- first:
			queue = queue[1:]
		case <-ctx.Done():
			return
		}
	}
}

// Subscribe hands the subscription over; it ends with ctx.
func (e *early) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	context.AfterFunc(ctx, e.cancel)
	return e.out, nil
}

// clog is a publisher that holds up what is published while it is on, until
// hold is closed.
type clog struct {
	message.Publisher
	on   atomic.Bool
	hold chan struct{}
	held chan struct{} // one for each message that is held up
}

func (c *clog) Publish(topic string, ms ...*message.Message) error {
	if c.on.Load() {
		c.held <- struct{}{}
		<-c.hold
	}
	return c.Publisher.Publish(topic, ms...)
}
