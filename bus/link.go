package bus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Link is a channel attached to a bus: it is open from Attach until either
// side closes it. All methods are safe for concurrent use; none runs user
// code. It has two goroutines, a pump that receives and a writer that
// publishes; both end before Done is closed.
type Link struct {
	bus     *Bus
	ch      *Channel
	codec   Codec
	parcels ParcelPublisher // the publisher, where parcels are sent; else nil
	seen    *TTLStore       // IDs of requests received
	log     *slog.Logger
	out     *outbox
	layers  []Receiver
	inbound message.HandlerFunc

	ctx       context.Context // of what is received; ends when the link begins to close
	cancel    context.CancelCauseFunc
	subCtx    context.Context // of the subscription; ends once the queue is drained
	subCancel context.CancelFunc

	features atomic.Uint32 // of the peer
	repeated atomic.Bool   // the handshake was
	inUser   atomic.Int32  // inbound middleware that is running on the pump
	stats    linkCounters

	admitted  bool          // guarded by bus.mu: the bus closes it
	started   chan struct{} // closed when start has returned
	ready     chan struct{}
	readyOnce sync.Once
	done      chan struct{}
	workers   sync.WaitGroup
	written   chan struct{} // closed when the writer has ended
	discard   atomic.Bool   // the writer drops what is left

	receiving sync.Mutex // held while one message is dispatched

	mu      sync.Mutex
	err     error                    // guarded by mu: why the link closes; nil while open
	flushes map[string]chan struct{} // guarded by mu: Flush calls that wait, by ID
	hello   *time.Timer              // guarded by mu: repeats the handshake; nil when done
	silent  bool                     // guarded by mu: the handshake was repeated in vain, and given up
}

func newLink(b *Bus, ch *Channel) *Link {
	l := &Link{
		bus:     b,
		ch:      ch,
		codec:   ch.Codec,
		seen:    NewTTLStore(b.opts.RequestTTL, TTLStoreOptions{MaxKeys: b.opts.DedupeKeys, Shards: 1}),
		log:     b.log.With("channel", ch.ID),
		out:     newOutbox(b.opts.QueueSize),
		started: make(chan struct{}),
		ready:   make(chan struct{}),
		done:    make(chan struct{}),
		written: make(chan struct{}),
		flushes: make(map[string]chan struct{}),
	}
	if l.codec == nil {
		l.codec = Binary
	}
	if p, ok := ch.Publisher.(ParcelPublisher); ok && l.Binary() {
		l.parcels = p
	}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.subCtx, l.subCancel = context.WithCancel(context.Background())
	l.inbound = b.inbound(l)
	return l
}

// use asks each layer for its receiver.
func (l *Link) use(layers []Layer) {
	for _, layer := range layers {
		l.layers = append(l.layers, layer(l))
	}
}

// FuncSubscriber is a subscriber that calls a function instead of sending on a
// channel, on the publisher's goroutine where it can: bus/memory is one. See there
// for what is asked of fn. ended is closed when fn will not be called any more.
type FuncSubscriber interface {
	SubscribeFunc(ctx context.Context, topic string, fn func(*message.Message)) (ended <-chan struct{}, err error)
}

// subscribe starts the subscription, which lives until subCancel; ctx bounds
// only how long starting it may take. It returns what is to run as the pump,
// nil where the owner of the channel delivers.
func (l *Link) subscribe(ctx context.Context) (pump func(), err error) {
	if l.ch.Subscriber == nil {
		return nil, nil
	}
	stop := context.AfterFunc(ctx, l.subCancel)
	if s, ok := l.ch.Subscriber.(FuncSubscriber); ok {
		var ended <-chan struct{}
		ended, err = s.SubscribeFunc(l.subCtx, l.ch.In, l.called)
		pump = func() { l.waitEnded(ended) }
	} else {
		subscribe := l.ch.Subscriber.Subscribe
		if s, ok := l.ch.Subscriber.(ParcelSubscriber); ok {
			subscribe = s.SubscribeParcels
		}
		var in <-chan *message.Message
		in, err = subscribe(l.subCtx, l.ch.In)
		pump = func() { l.pump(in) }
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return pump, err
}

// start opens the link: layers first, then the goroutines, then the handshake.
func (l *Link) start(pump func()) {
	l.sendHello()
	for _, r := range l.layers {
		r.Opened()
	}
	l.workers.Go(l.write)
	if pump != nil {
		l.workers.Go(pump)
	}
	l.bus.show(l)
	close(l.started)
}

// ID returns the name of the peer as this side sees it.
func (l *Link) ID() string { return l.ch.ID }

// Bus returns the bus that the link is attached to.
func (l *Link) Bus() *Bus { return l.bus }

// Local reports whether the peer is trusted with private commands.
func (l *Link) Local() bool { return l.ch.Local }

// Binary reports whether the messages of the link are in binary form.
func (l *Link) Binary() bool { return l.codec == Binary }

// Context ends when the link begins to close, with the reason as its cause.
func (l *Link) Context() context.Context { return l.ctx }

// Ready is closed when the peer has answered the handshake: what it can do is
// known then. It stays open when the link ends before; select on Done too.
func (l *Link) Ready() <-chan struct{} { return l.ready }

// Repeated reports whether the handshake had to be repeated: what was sent with
// the first one may have been lost as well.
func (l *Link) Repeated() bool { return l.repeated.Load() }

// Done is closed when the link has ended and nothing of it runs any more but
// handlers and listeners that have not returned yet.
func (l *Link) Done() <-chan struct{} { return l.done }

// Err returns nil before Done is closed; then [ErrClosed] if this side closed
// the link, or an error that wraps [ErrPeerClosed].
func (l *Link) Err() error {
	select {
	case <-l.done:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.err
	default:
		return nil
	}
}

// Understands reports whether the peer has announced all of these features.
func (l *Link) Understands(f Features) bool {
	return Features(l.features.Load())&f == f
}

// Send queues e for the peer and returns. Messages arrive in the order in
// which they were queued. Errors: [ErrClosed], [ErrFull] (requests and events
// at QueueSize, all others at twice that), [ErrTooLarge], or what the codec
// refuses.
func (l *Link) Send(e Envelope) error {
	if e.Type == ListRequest || e.Type == ListResponse {
		e.Features = allFeatures
	}
	m, err := l.marshal(&e)
	if err != nil {
		return fmt.Errorf("send to %q: %w", l.ID(), err)
	}
	return l.push(&e, m)
}

// Post is Send for callers and handlers: where the channel is Prompt it may
// publish on the calling goroutine. It must not be called by a receiver, nor
// while a lock is held. A message that then cannot be published is reported
// as unsent, like a queued one.
func (l *Link) Post(e Envelope) error {
	m, err := l.marshal(&e)
	if err != nil {
		return fmt.Errorf("send to %q: %w", l.ID(), err)
	}
	return l.post(&e, m)
}

// PostReply is Post for a reply that handler middleware has produced as m, in
// binary form: m itself goes out where the link is binary.
func (l *Link) PostReply(e Envelope, m *message.Message) error {
	if !l.Binary() || l.parcels != nil {
		return l.Post(e)
	}
	return l.post(&e, m)
}

func (l *Link) marshal(e *Envelope) (*message.Message, error) {
	if l.parcels != nil {
		return pack(e)
	}
	if e.ID == "" {
		e.ID = NewID()
	}
	return l.codec.Marshal(*e)
}

func (l *Link) push(e *Envelope, m *message.Message) error {
	it, err := l.item(e, m)
	if err == nil {
		err = l.out.push(it)
	}
	if err != nil {
		return fmt.Errorf("send to %q: %w", l.ID(), err)
	}
	return nil
}

func (l *Link) post(e *Envelope, m *message.Message) error {
	if !l.ch.InProcess || !l.isReady() {
		return l.push(e, m)
	}
	it, err := l.item(e, m)
	publish := false
	if err == nil {
		publish, err = l.out.enter(it)
	}
	if err != nil {
		return fmt.Errorf("send to %q: %w", l.ID(), err)
	}
	if publish {
		defer l.out.leave()
		l.publish(&it)
	}
	return nil
}

func (l *Link) item(e *Envelope, m *message.Message) (outItem, error) {
	if n, limit := len(m.Payload), l.bus.opts.MaxMessageBytes; n > limit {
		return outItem{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, n, limit)
	}
	it := outItem{msg: m, typ: e.Type, id: e.ID}
	if e.Type == Event {
		it.born, it.life, it.relayed = time.Now(), orDefault(e.Life, l.bus.opts.EventTTL), e.Hops > 0
	}
	return it, nil
}

func (l *Link) isReady() bool {
	select {
	case <-l.ready:
		return true
	default:
		return false
	}
}

// Room returns nil if Send would take a request or an event now, or the link is
// closed; else a channel that is closed when it is worth another try.
func (l *Link) Room() <-chan struct{} { return l.out.roomFor() }

// AwaitRoom is [Link.Room] for those who do as WaitRoom does: nil too for a link
// whose peer has not been heard of yet.
func (l *Link) AwaitRoom() <-chan struct{} {
	if !l.isReady() {
		return nil
	}
	return l.Room()
}

// WaitRoom waits until Send would take an event. It returns at once for a link
// that is closed, or whose peer has not been heard of yet: waiting for one
// that may never come would not be bounded by anything.
func (l *Link) WaitRoom(ctx context.Context) error {
	for {
		room := l.AwaitRoom()
		if room == nil {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Drop counts an event that could not be sent, and logs it once in a while: in
// a goroutine, since whoever fans out holds the sequence, and a logger is user code.
func (l *Link) Drop(id string, err error) {
	if n := l.stats.dropped.Add(1); n&(n-1) == 0 {
		go l.log.Warn("event dropped", "event", id, "dropped", n, "error", err.Error())
	}
}

// Reject counts a message that was received and could not be used.
func (l *Link) Reject(d *Delivery, err error) {
	l.stats.rejected.Add(1)
	l.log.Warn("message rejected", "type", string(d.Envelope.Type), "id", d.Envelope.ID, "error", err.Error())
}

func (l *Link) isStarted() bool {
	select {
	case <-l.started:
		return true
	default:
		return false
	}
}
