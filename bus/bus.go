package bus

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/logging"
	"github.com/leatbus/leat/internal/option"
)

// Options configures a [Bus]. The zero value works.
type Options struct {
	// ID names the bus in logs. Default: a random UUID.
	ID string
	// Inbound wraps what the pump of a link does with each message it
	// receives, first element outermost, before dedupe. It runs on the pump:
	// it must not block. The message's context is a [Delivery].
	Inbound []message.HandlerMiddleware
	// Handler wraps each run of a command handler and of an event listener,
	// first element outermost, in that run's own goroutine; it may block.
	Handler []message.HandlerMiddleware
	// Interceptors wrap each call and each emit that is made here, first
	// element outermost, on the caller's goroutine.
	Interceptors []Interceptor
	// RequestTTL is the window of request dedupe. Default 30 s.
	RequestTTL time.Duration
	// EventTTL is the window of event dedupe for IDs that no bus has made, and the age at which an event is no longer
	// relayed. Default 5 s.
	EventTTL time.Duration
	// DedupeKeys bounds the request IDs remembered for each link, and the event
	// IDs remembered for all: of events that a bus has emitted, and of all others, each. At the bound the oldest go
	// first, and are counted; but for those of a bus's events, since of each bus the last number that came is
	// remembered for an hour, for 1,024 buses and a quarter of DedupeKeys. Default 262,144.
	DedupeKeys int
	// QueueSize and QueueBytes bound what waits to be published on a link, per link: requests and events, and replies of
	// handlers, each. Callers, emitters and handlers wait for room; answers that cannot wait have twice the bytes.
	// A message counts as its size and 256 bytes more, and one more is taken while the bytes are below the bound.
	// Defaults 8,192 and 64 MiB.
	QueueSize  int
	QueueBytes int
	// EmitTimeout bounds how long an emitter waits for room in the queue of a link. Then the link is slow: until half of
	// its queue is free emitters do not wait for it, and events that find no room are dropped for it and counted. Default 5 s.
	EmitTimeout time.Duration
	// StallTimeout bounds how long a peer may take nothing while something waits for it: then the link is closed. Default 30 s.
	StallTimeout time.Duration
	// MaxMessageBytes bounds a message, in and out: its payload, its metadata and what its names have beyond 64 bytes
	// each; see [Envelope.Size]. What comes is weighed before it is decoded. Default 16 MiB.
	MaxMessageBytes int
	// CloseTimeout bounds how long closing a link waits for its queue to be
	// published and for its publisher and subscriber to end. Default 5 s.
	CloseTimeout time.Duration
	// Logger gets what no caller is told: rejected messages, dropped events,
	// panics. Values are cut at 1 KiB, and what does not print is escaped. Of lines with one text, 16 go through at once
	// and one each second after that, for each link; "suppressed" says how many did not. Default slog.Default().
	Logger *slog.Logger
}

func (o *Options) check() error {
	return option.NotNegative("Options", []option.Number{
		{Field: "RequestTTL", Value: int64(o.RequestTTL)}, {Field: "EventTTL", Value: int64(o.EventTTL)},
		{Field: "DedupeKeys", Value: int64(o.DedupeKeys)}, {Field: "MaxMessageBytes", Value: int64(o.MaxMessageBytes)},
		{Field: "QueueSize", Value: int64(o.QueueSize)}, {Field: "QueueBytes", Value: int64(o.QueueBytes)},
		{Field: "EmitTimeout", Value: int64(o.EmitTimeout)}, {Field: "StallTimeout", Value: int64(o.StallTimeout)},
		{Field: "CloseTimeout", Value: int64(o.CloseTimeout)},
	}...)
}

func (o Options) withDefaults() Options {
	o.ID = orDefault(o.ID, NewID())
	o.RequestTTL = orDefault(o.RequestTTL, 30*time.Second)
	o.EventTTL = orDefault(o.EventTTL, 5*time.Second)
	o.DedupeKeys = orDefault(o.DedupeKeys, 1<<18)
	o.QueueSize = orDefault(o.QueueSize, 8192)
	o.QueueBytes = orDefault(o.QueueBytes, 64<<20)
	o.EmitTimeout = orDefault(o.EmitTimeout, 5*time.Second)
	o.StallTimeout = orDefault(o.StallTimeout, 30*time.Second)
	o.MaxMessageBytes = orDefault(o.MaxMessageBytes, 16<<20)
	o.CloseTimeout = orDefault(o.CloseTimeout, 5*time.Second)
	o.Logger = orDefault(o.Logger, slog.Default())
	return o
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Bus owns a set of links and moves envelopes between them and the layers
// above, which decide what an envelope means. All methods are safe for
// concurrent use, from any goroutine, at any time.
type Bus struct {
	opts    Options
	log     *slog.Logger
	readers bool // there is middleware, which reads metadata

	events  *eventLog      // IDs of events seen
	minted  *eventIDs      // those of events emitted here
	mint    func() string  // makes the next of them
	dropped atomic.Uint64  // duplicates
	evicted atomic.Uint64  // request keys of links that have ended, forgotten before their time
	serials atomic.Uint64  // of links
	stalled atomic.Uint64  // links closed because their peer took nothing
	loose   atomic.Uint64  // events of a handler that is not known: see causal.go
	runRoot atomic.Uintptr // the function that goroutines of handlers are started with

	seed      maphash.Seed  // of names of routes
	overtaken atomic.Uint64 // events that came too late for the order of their emitter
	work      work

	lastSession atomic.Int64     // when the newest session began
	wall        func() time.Time // tests set it: the clock that peers are told; nil: time.Now

	// sequence makes "seen before?" and "into every queue" one step for
	// events, so that two links cannot overtake each other between the two.
	// Nothing but leat's own non-blocking code runs under it.
	sequence sync.Mutex

	mu     sync.Mutex
	layers []Layer                 // guarded by mu
	links  map[string]*Link        // guarded by mu: attached and attaching, by channel ID
	closed atomic.Bool             // set under mu
	open   atomic.Pointer[[]*Link] // written under mu: those attached
}

// Layer gives each new link a receiver. See [Bus.Use].
type Layer func(*Link) Receiver

// Receiver is what a layer does with one link. Receive, Unsent and Closed run
// on the link's own goroutines, must not block and must not run user code.
type Receiver interface {
	// Opened is called once, before anything is received.
	Opened()
	// Receive reports whether the message is of a type that the layer handles. Of what it is given, it may keep the
	// parts of the envelope, and the delivery of an ExecuteRequest; other deliveries are used again.
	Receive(*Delivery) bool
	// Unsent tells of a message that Send took and that could not be published.
	Unsent(t Type, id string, err error)
	// Closed is called once, when the link begins to close. What it sends is still published if possible.
	Closed(err error)
}

// ValueReceiver is a receiver that takes an Envelope.Value instead of a Body.
type ValueReceiver interface {
	Receiver
	ReceivesValues()
}

// FeatureReceiver is a receiver that is told when the peer has said which features it has, or others than before. Like
// Receive, Learned must not block.
type FeatureReceiver interface {
	Receiver
	Learned()
}

// New returns a bus without links. It has no goroutine of its own. It panics if a number in o is negative.
func New(o Options) *Bus {
	if err := o.check(); err != nil {
		panic("bus: New: " + err.Error())
	}
	o = o.withDefaults()
	b := &Bus{
		opts:    o,
		log:     logging.Guard(o.Logger).With("bus", o.ID),
		readers: len(o.Inbound)+len(o.Handler) > 0,
		events:  newEventLog(o.EventTTL, o.DedupeKeys),
		minted:  newEventIDs(),
		seed:    maphash.MakeSeed(),
		links:   make(map[string]*Link),
		work:    work{idle: make(chan struct{}, 1)},
	}
	b.mint = b.minted.next
	b.open.Store(new([]*Link))
	return b
}

// ID returns the name of the bus.
func (b *Bus) ID() string { return b.opts.ID }

// Options returns the options with their defaults filled in.
func (b *Bus) Options() Options { return b.opts }

// Logger returns the logger of the bus: Options.Logger, with the bounds that are stated there.
func (b *Bus) Logger() *slog.Logger { return b.log }

// Use adds a layer for links attached from now on.
func (b *Bus) Use(l Layer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.layers = append(b.layers, l)
}

// Attach subscribes to the channel, starts a link on it and sends the
// handshake. It does not wait for the peer: [Link.Ready] does. ctx bounds the
// subscribing only. When it fails nothing is left behind, and ch still
// belongs to the caller.
func (b *Bus) Attach(ctx context.Context, ch *Channel) (*Link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	keys, err := ch.claim()
	if err != nil {
		return nil, err
	}
	l := newLink(b, ch, keys)
	if err = b.reserve(l); err != nil {
		ch.used.Store(false)
		return nil, err
	}
	attached := false
	defer func() { // also if a subscriber that is not ours ends this goroutine
		if !attached {
			b.remove(l)
			l.subCancel()
			ch.used.Store(false)
		}
	}()
	pump, err := l.trySubscribe(ctx)
	if err == nil {
		err = b.admit(l)
	}
	if err != nil {
		return nil, fmt.Errorf("attach channel %q: %w", ch.ID, err)
	}
	attached = true
	l.start(pump)
	return l, nil
}

// reserve takes the channel's ID for l.
func (b *Bus) reserve(l *Link) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed.Load():
		return fmt.Errorf("attach channel %q: %w", l.ID(), ErrClosed)
	case b.links[l.ID()] != nil:
		return fmt.Errorf("attach channel %q: %w", l.ID(), ErrDuplicateChannel)
	}
	b.links[l.ID()] = l
	l.use(b.layers)
	return nil
}

// admit decides that l will open: from here on Close closes it.
func (b *Bus) admit(l *Link) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return ErrClosed
	}
	l.admitted = true
	return nil
}

// show makes l visible to Link and Links.
func (b *Bus) show(l *Link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := *b.open.Load()
	open := append(old[:len(old):len(old)], l)
	b.open.Store(&open)
}

// hide takes l out of Links.
func (b *Bus) hide(l *Link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := *b.open.Load()
	open := make([]*Link, 0, len(old))
	for _, o := range old {
		if o != l {
			open = append(open, o)
		}
	}
	b.open.Store(&open)
}

// remove frees the channel's ID.
func (b *Bus) remove(l *Link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.links[l.ID()] == l {
		delete(b.links, l.ID())
	}
}

// Links returns the links that are open, in the order of attachment. The
// slice is shared: do not change it.
func (b *Bus) Links() []*Link { return *b.open.Load() }

// Link returns the open link of a channel ID, or nil.
func (b *Bus) Link(id string) *Link {
	for _, l := range b.Links() {
		if l.ID() == id {
			return l
		}
	}
	return nil
}

// Emit runs fn, which may take the ID of one new event; this bus takes it for a duplicate when a peer brings it. An
// event that stays here takes none: what an emitter leaves out, its peers take for lost. No event of
// any link is accepted while fn runs: what it queues is queued in one order everywhere. fn must not block. Emit
// returns [ErrClosed] after Close.
func (b *Bus) Emit(fn func(take func() string)) error {
	b.sequence.Lock()
	defer b.sequence.Unlock()
	if b.closed.Load() {
		return ErrClosed
	}
	fn(b.mint)
	return nil
}

// Close closes all links, in parallel, and refuses new ones. It returns when
// they have ended, or CloseTimeout after; it does not wait for handlers and
// listeners, whose contexts it cancels. Idempotent.
func (b *Bus) Close() error {
	b.work.draining.Store(true)
	b.mu.Lock()
	b.closed.Store(true)
	links := make([]*Link, 0, len(b.links))
	for _, l := range b.links {
		if l.admitted {
			links = append(links, l)
		}
	}
	b.mu.Unlock()

	errs := make([]error, len(links))
	var wg sync.WaitGroup
	for i, l := range links {
		wg.Go(func() { errs[i] = l.Close() })
	}
	wg.Wait()
	return errors.Join(append(errs, b.events.Close())...)
}
