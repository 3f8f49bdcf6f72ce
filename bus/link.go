package bus

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus/dedupe"
	"github.com/leatbus/leat/internal/mac"
)

// Link is a channel attached to a bus: it is open from Attach until either
// side closes it. All methods are safe for concurrent use; none runs user
// code. It has two goroutines, a pump that receives and a writer that
// publishes; both end before Done is closed.
type Link struct {
	bus     *Bus
	ch      *Channel
	codec   Codec
	parcels ParcelPublisher  // the publisher, where parcels are sent; else nil
	direct  DirectPublisher  // the same, where pumps may use it; else nil
	sizer   EnvelopeSizer    // the same, where it knows how large messages become; else nil
	sized   SizedPublisher   // the publisher, where it knows how large messages may be; else nil
	seen    *dedupe.TTLStore // IDs of requests received
	log     *slog.Logger
	made    time.Time
	serial  uint64 // no other link of the bus has it
	out     *outbox
	layers  []Receiver
	values  bool // they all take values
	alone   bool // nothing else gets what it receives
	inbound message.HandlerFunc
	keys    *mac.Keys // nil: messages are not signed

	ownCodec bool // the codec is the user's

	presence *presence // nil without; see Channel.Heartbeat

	ctx       context.Context // of what is received; ends when the link begins to close
	cancel    context.CancelCauseFunc
	subCtx    context.Context // of the subscription; ends once the queue is drained
	subCancel context.CancelFunc

	features atomic.Uint32 // of the peer
	repeated atomic.Bool   // the handshake was
	inUser   atomic.Int32  // inbound middleware that is running on the pump
	runs     atomic.Int32  // handlers that run for the peer
	stats    linkCounters

	single [1]*message.Message // of the one that publishes: its message, as arguments

	admitted  bool          // guarded by bus.mu: the bus closes it
	begun     atomic.Bool   // started is closed
	started   chan struct{} // closed when start has returned
	met       atomic.Bool   // ready is closed
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

func newLink(b *Bus, ch *Channel, keys *mac.Keys) *Link {
	l := &Link{
		bus:     b,
		ch:      ch,
		codec:   ch.Codec,
		keys:    keys,
		seen:    dedupe.NewTTLStore(b.opts.RequestTTL, dedupe.TTLStoreOptions{MaxKeys: b.opts.DedupeKeys, Shards: 1}),
		log:     b.log.With("channel", ch.ID),
		made:    time.Now(),
		serial:  b.serials.Add(1),
		out:     newOutbox(limits{b.opts.QueueSize, b.opts.QueueBytes}),
		started: make(chan struct{}),
		ready:   make(chan struct{}),
		done:    make(chan struct{}),
		written: make(chan struct{}),
		flushes: make(map[string]chan struct{}),
	}
	if l.codec == nil {
		l.codec = Binary
	}
	l.ownCodec = l.codec != Binary && l.codec != JSON
	l.out.room.patience = b.opts.EmitTimeout
	l.out.stall.timeout, l.out.stall.check = b.opts.StallTimeout, l.stalled
	l.presence = newPresence(l)
	if p, ok := ch.Publisher.(ParcelPublisher); ok && l.Binary() && l.presence == nil && keys == nil {
		l.parcels = p
		l.direct, _ = p.(DirectPublisher)
	}
	l.sizes()
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
	l.values = !slices.ContainsFunc(l.layers, func(r Receiver) bool { _, takes := r.(ValueReceiver); return !takes })
}

// FuncSubscriber is a subscriber that calls a function instead of sending on a
// channel, on the publisher's goroutine where it can: bus/memory is one. See there
// for what is asked of fn. ended is closed when fn will not be called any more. A message belongs to fn from the
// call on, also after it has returned: a link uses the parcels that it gets again. Any other receiver gets a copy.
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
			subscribe, l.alone = s.SubscribeParcels, true
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

// trySubscribe is subscribe, where a panic of the subscriber is an error.
func (l *Link) trySubscribe(ctx context.Context) (pump func(), err error) {
	defer l.recovered("subscriber", &err)
	return l.subscribe(ctx)
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
	l.begun.Store(true)
	close(l.started)
}

// ID returns the name of the peer as this side sees it.
func (l *Link) ID() string { return l.ch.ID }

// Bus returns the bus that the link is attached to.
func (l *Link) Bus() *Bus { return l.bus }

// Local reports whether the peer is trusted with private commands.
func (l *Link) Local() bool { return l.ch.Local }

// SameProcess reports whether the peer is in this process: it is local, and has no presence.
func (l *Link) SameProcess() bool { return l.ch.Local && l.presence == nil }

// Shared reports whether the peer stands for many processes, as a fleet does: [Channel.Shared]. It is known from the
// start, before the peer has said anything.
func (l *Link) Shared() bool { return l.ch.Shared }

// Binary reports whether the messages of the link are in binary form.
func (l *Link) Binary() bool { return l.codec == Binary }

// Parcels reports whether the peer receives what the link sends as parcels: then it needs no bytes, knows a request that
// comes again by itself, and an ID may be used for the next one when the one before is answered.
func (l *Link) Parcels() bool { return l.parcels != nil && l.parcels.TakesParcels(l.ch.Out) }

// Context ends when the link begins to close, with the reason as its cause.
func (l *Link) Context() context.Context { return l.ctx }

// Ready is closed when the peer has answered the handshake: what it can do is
// known then. It stays open when the link ends before; select on Done too.
func (l *Link) Ready() <-chan struct{} { return l.ready }

// WaitReady waits until the peer has answered the handshake. It returns
// ctx.Err(), or an error that wraps [ErrClosed] or [ErrPeerClosed] when the
// link ends before. A link that was ready once is, also after its end: nil.
func (l *Link) WaitReady(ctx context.Context) error {
	if l.isReady() {
		return nil
	}
	return l.await(ctx, l.ready)
}

// Absent reports whether the peer has yet to come: the channel has a Heartbeat, and the link has not heard of a peer that knows
// it, so that what is sent is held. A link without Heartbeat cannot tell, and reports false.
func (l *Link) Absent() bool { return l.presence != nil && l.presence.absent() }

// Unqueued reports whether the peer keeps no queues for durable commands: [Channel.Unqueued].
func (l *Link) Unqueued() bool { return l.ch.Unqueued }

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

func (l *Link) isReady() bool { return l.met.Load() }

// Reject counts a message that was received and could not be used.
func (l *Link) Reject(d *Delivery, err error) {
	l.stats.rejected.Add(1)
	l.log.Warn("message rejected", "type", string(d.Envelope.Type), "id", d.Envelope.ID, "error", err)
}
