package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/dedupe"
	"github.com/leatbus/leat/internal/logging"
	"github.com/leatbus/leat/internal/mac"
)

// Fleet makes many processes one channel. Each process of a namespace has a Fleet over the same broker, attached to
// its registry:
//
//	f, err := fleet.New(ctx, publisher, subscriber, fleet.Options{Namespace: "shop", ID: "worker-1"})
//	link, err := registry.RegisterChannel(ctx, f.Channel())
//
// To its registry the fleet is a peer that has the commands of all others. A call goes to one live process that serves
// the command: the less busy of two random ones, or always the same one for one key, see commands.WithKey. When that
// process goes away, the calls that wait on it fail with ChannelDisconnected within Lease and a third, or are
// sent to another one, once, if the command is Idempotent. A command that no process serves is NotFound at once. An event
// reaches every process, once, in the order of emission of its emitter; of the listeners of one group it reaches those of
// one process, see events.ListenOptions. Several processes may register the same command; a
// registry executes what is registered at it itself. Private commands and events stay in their registries, and the
// processes are not trusted with them: the channel is not Local.
//
// All methods are safe for concurrent use, from any goroutine, handlers and listeners included.
type Fleet struct {
	opts        Options
	pub         message.Publisher
	sub         message.Subscriber
	prompt      publishing         // of pub, if it has one that never waits; else nil
	sized       bus.SizedPublisher // pub, if it knows what the broker takes; else nil
	keys        *mac.Keys          // nil: messages are not signed
	log         *slog.Logger
	self        process
	names       names
	seen        *dedupe.TTLStore // requests received
	heardEvents *dedupe.TTLStore // events received; longer than registries remember them
	count       fleetCounters
	versions    versions // the schemas of commands that were compared

	channel    *bus.Channel
	workers    sync.WaitGroup     // pumps, outboxes and the keeper; Add under mu
	ctx        context.Context    // of the subscriptions
	cancel     context.CancelFunc // ends them
	closing    chan struct{}      // closed when the fleet begins to end: nobody waits for room, nothing is tried again
	hurry      chan struct{}      // closed when its link closes: the same for its link
	hurryOnce  sync.Once
	ready      chan struct{} // closed when every topic works
	idle       chan struct{} // closed when nothing is served any more, once draining
	done       chan struct{} // closed when the fleet has ended
	stateNews  chan struct{} // capacity 1: state has changed
	memberNews chan struct{} // capacity 1: members have changed

	hastened   atomic.Bool   // who ends the fleet has no time any more
	acquainted chan struct{} // closed when the others are known, and what they listen to, or have had the time to be

	mu         sync.Mutex
	err        error                     // guarded by mu: why it ends; nil while it does not
	closeErr   error                     // guarded by mu: of Close
	probed     map[string]bool           // guarded by mu: the topics whose probe has come back
	began      time.Time                 // guarded by mu: when it was ready
	alone      *time.Timer               // guarded by mu: until it takes itself to be alone
	heard      time.Time                 // guarded by mu: when something of its own came back, or was answered
	back       time.Time                 // guarded by mu: when that was so again, after it had not been for long
	tickAt     time.Time                 // guarded by mu: when the keeper has looked last
	woke       int64                     // guarded by mu: the stamp at which it ran again after it had not for long; 0: it always has
	wokeAt     time.Time                 // guarded by mu: the same
	gaps       int64                     // guarded by mu: how often the inbox may have lost something
	state      State                     // guarded by mu: as it was last looked at
	draining   bool                      // guarded by mu: new requests are refused
	leave      *leave                    // guarded by mu: how it withdraws; nil before that
	own        map[string]bus.Definition // guarded by mu: what the registry executes
	version    int64                     // guarded by mu: of what the others are told of own
	mine       *kind                     // guarded by mu: own, and attends, as it is known by its hash
	members    map[string]*member        // guarded by mu: the others, by ID
	sessions   map[string]*member        // guarded by mu: the same, by session
	observed   map[*member]bool          // guarded by mu: those of them that the keeper looks after
	boxes      map[*member]bool          // guarded by mu: those of them that have an outbox
	ring       []*member                 // guarded by mu: in the order in which they are probed
	turn       int                       // guarded by mu: the next one of ring
	marks      [buckets]uint64           // guarded by mu: the digests of the members
	changedAt  time.Time                 // guarded by mu: when one has come or gone
	synced     time.Time                 // guarded by mu: when another one was asked what is different
	guide      guide                     // guarded by mu: the member that is asked which others there are
	joined     bool                      // guarded by mu: one has answered that
	guided     bool                      // guarded by mu: one that has not only just begun itself
	helloSize  int                       // guarded by mu: how many were known at the last hello
	greeted    time.Time                 // guarded by mu: the last hello
	namedAt    time.Time                 // guarded by mu: the last hello that answered a welcome
	helloPause time.Duration             // guarded by mu: until the next, while nobody has answered
	helloDue   time.Time                 // guarded by mu: when there is to be one in any case; zero: there is none
	deferred   []letter                  // guarded by mu: hellos that may be proved by what the guide tells
	left       map[string]departed       // guarded by mu: sessions that said goodbye
	lost       map[string]time.Time      // guarded by mu: sessions that were not heard of for their lease, and since when
	welcomes   map[string]bool           // guarded by mu: sessions that were heard of and are not known, for the next beat
	welcoming  *time.Timer               // guarded by mu: until that beat; nil: it does not wait
	prompted   int                       // guarded by mu: beats that were sent for them since the last tick
	corrected  bool                      // guarded by mu: a beat was sent since the last tick, since others believed something wrong
	suspects   []string                  // guarded by mu: sessions that do not answer, to be told
	strangers  map[string]bool           // guarded by mu: processes that are not members and were sent something since the last tick
	doubled    string                    // guarded by mu: the last session that seemed to be one of a process of this ID
	kinds      map[string]*kind          // guarded by mu: the catalogues of the others, by hash
	wanted     map[*kind]bool            // guarded by mu: those of them that are to be fetched
	kept       int64                     // guarded by mu: bytes of those that are known
	waiting    int64                     // guarded by mu: bytes of lists that are not complete
	views      int                       // guarded by mu: parts of views that were sent lately
	taken      map[string]string         // guarded by mu: the last event of each session for which this process was picked
	list       [][]byte                  // guarded by mu: own, as it is sent
	listOf     int64                     // guarded by mu: its version
	attends    map[interest]bool         // guarded by mu: the groups that have listeners in this process
	seating    seating                   // guarded by mu: those of the others
	services   map[string]*service       // guarded by mu: what the others execute, by command ID
	durables   map[string]bool           // guarded by mu: those of them that are durable
	idleQueues map[string]bool           // guarded by mu: those of them that no process executes now
	attended   map[string]bool           // guarded by mu: durable commands for which this process has ever had a queue
	queues     map[string]*queue         // guarded by mu: durable commands that the registry executes, by ID
	queued     publishing                // to the queues of durable commands alone; nil: the publisher's
	jobs       map[string]*job           // guarded by mu: requests from queues that are being executed, by what they are to bring about
	working    map[string]*job           // guarded by mu: the same, by the registry's ID
	answered   answers                   // guarded by mu: what was replied to such requests lately
	outlets    map[string]*outbox        // guarded by mu: to the queues of durable commands, by command ID
	steady     time.Time                 // guarded by mu: since when it has not been in doubt
	calls      map[string]*call          // guarded by mu: requests of the registry's that are not answered, by ID
	serving    map[string]*served        // guarded by mu: requests of the others' that are not answered, by the registry's ID
	early      []bus.Envelope            // guarded by mu: events that wait until the fleet is ready
	earlyBytes int                       // guarded by mu: of these
	flushes    map[string]*flushing      // guarded by mu: by the registry's ID
	barriers   map[string]chan struct{}  // guarded by mu: calls that wait for the registry's queue, by ID
	link       *attachment               // guarded by mu: the registry; nil before it attaches
	dirty      map[string]bool           // guarded by mu: commands of which the registry may not know the latest
	telling    bool                      // guarded by mu: a goroutine is telling it
	news       chan struct{}             // guarded by mu: closed and replaced when the registry's knowledge changes
	discovery  *outbox
	events     *outbox
	letters    *outbox // to inboxes that have none of their own
}

// names are the topics.
type names struct{ inbox, discovery, events string }

// New subscribes to the three topics of the process, and announces it when what it publishes there has come
// back. ctx bounds the subscribing only; [Fleet.Ready] waits for the rest.
//
// Each subscription of sub must get every message that is published to its topic after Subscribe has returned, not
// share them with others; the order of one topic should be kept. pub and sub belong to the caller, which closes them
// after the fleet, unless Options.Close does.
func New(ctx context.Context, pub message.Publisher, sub message.Subscriber, o Options) (*Fleet, error) {
	if err := o.check(pub, sub); err != nil {
		return nil, fmt.Errorf("fleet %q: %w", o.Namespace, err)
	}
	keys, err := mac.New(o.Keys)
	if err != nil {
		return nil, fmt.Errorf("fleet %q: %w", o.Namespace, err)
	}
	o = o.withDefaults()
	f := newFleet(pub, sub, o)
	f.keys = keys
	if p, ok := pub.(promptPublisher); ok {
		f.prompt = p.PublishAtOnce
	}
	if o.Queue != nil {
		sub, err := o.Queue(f.opts.Topic(f.opts.Namespace + ".durable"))
		if queue, ok := sub.(message.Publisher); ok && err == nil {
			f.queued = queue.Publish
		}
	}
	f.sized, _ = pub.(bus.SizedPublisher)
	topics := []string{f.names.inbox, f.names.discovery, f.names.events}
	if topics[0] == topics[1] || topics[1] == topics[2] || topics[2] == topics[0] {
		f.cancel()
		return nil, fmt.Errorf("fleet %q: Topic gives two topics one name: %q", o.Namespace, topics)
	}
	f.discovery, f.events = f.newOutbox(f.names.discovery, f.singles), f.newOutbox(f.names.events, f.singles)
	f.letters = f.newOutbox("", f.bundles)
	stop := context.AfterFunc(ctx, f.cancel)
	for i, topic := range topics { // each is read from at once: a publisher may hold a lock until it is
		p := &pump{fleet: f, topic: topic, role: role(i)}
		wait, err := p.subscribe()
		if err != nil {
			return nil, f.abandon(fmt.Errorf("fleet %q: subscribe to %q: %w", o.Namespace, topic, err))
		}
		f.workers.Go(func() { p.run(wait) })
	}
	if !stop() {
		return nil, f.abandon(fmt.Errorf("fleet %q: %w", o.Namespace, ctx.Err()))
	}
	f.workers.Go(f.keep)
	if o.OnMember != nil {
		f.workers.Go(f.tellMembers)
	}
	if o.OnState != nil {
		f.workers.Go(f.tellStates)
	}
	return f, nil
}

// abandon ends a fleet that could not begin.
func (f *Fleet) abandon(err error) error {
	f.opts.Close = nil // it is still the caller's
	return errors.Join(err, f.end(bus.ErrClosed))
}

func newFleet(pub message.Publisher, sub message.Subscriber, o Options) *Fleet {
	f := &Fleet{
		opts: o, pub: pub, sub: sub,
		log:         logging.Guard(o.Logger).With("fleet", o.Namespace, "process", o.ID),
		self:        process{o.ID, newSession(o.now())},
		names:       names{"", o.Topic(o.Namespace + ".discovery"), o.Topic(o.Namespace + ".events")},
		seen:        dedupe.NewTTLStore(o.RequestTTL, dedupe.TTLStoreOptions{MaxKeys: o.DedupeKeys}),
		heardEvents: dedupe.NewTTLStore(eventMemory*o.Lease, dedupe.TTLStoreOptions{MaxKeys: o.DedupeKeys}),
		closing:     make(chan struct{}),
		hurry:       make(chan struct{}),
		ready:       make(chan struct{}),
		acquainted:  make(chan struct{}),
		idle:        make(chan struct{}),
		done:        make(chan struct{}),
		state:       State{Starting, time.Now()},
		stateNews:   make(chan struct{}, 1),
		memberNews:  make(chan struct{}, 1),
		probed:      make(map[string]bool),
		own:         make(map[string]bus.Definition),
		version:     1,
		members:     make(map[string]*member),
		mine:        newKind(""),
		sessions:    make(map[string]*member),
		observed:    make(map[*member]bool),
		boxes:       make(map[*member]bool),
		left:        make(map[string]departed),
		lost:        make(map[string]time.Time),
		kinds:       make(map[string]*kind),
		wanted:      make(map[*kind]bool),
		taken:       make(map[string]string),
		strangers:   make(map[string]bool),
		welcomes:    make(map[string]bool),
		durables:    make(map[string]bool),
		idleQueues:  make(map[string]bool),
		attended:    make(map[string]bool),
		services:    make(map[string]*service),
		attends:     make(map[interest]bool),
		seating:     make(seating),
		queues:      make(map[string]*queue),
		jobs:        make(map[string]*job),
		working:     make(map[string]*job),
		outlets:     make(map[string]*outbox),
		calls:       make(map[string]*call),
		serving:     make(map[string]*served),
		flushes:     make(map[string]*flushing),
		barriers:    make(map[string]chan struct{}),
		dirty:       make(map[string]bool),
		news:        make(chan struct{}),
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.names.inbox = f.inboxTopic(o.ID)
	f.channel = f.newChannel()
	return f
}

// inboxTopic is where what is for a process goes.
func (f *Fleet) inboxTopic(id string) string { return f.opts.Topic(f.opts.Namespace + ".inbox." + id) }

// ID returns the name of this process in the fleet.
func (f *Fleet) ID() string { return f.self.id }

// Channel returns the channel to register. It is single use, like any other, and ends the fleet when its link closes:
// a registry that is closed leaves the fleet.
func (f *Fleet) Channel() *bus.Channel { return f.channel }

// Ready waits until this process receives what is sent to it, and has announced itself. Errors: ctx.Err(), or why the
// fleet has ended.
func (f *Fleet) Ready(ctx context.Context) error {
	select {
	case <-f.ready:
	case <-f.closing:
	case <-ctx.Done():
	}
	switch { // several may be true, and select takes any
	case f.Err() != nil:
		return f.ended()
	case f.isReady():
		return nil
	}
	return ctx.Err()
}

// Await waits until each of the commands is served by another process, and the registry, if there is one, can call it. A
// durable command that was served once can be called for as long as this process is there.
// Errors: one that wraps ctx.Err() and names the commands that are missing, or why the fleet has ended.
func (f *Fleet) Await(ctx context.Context, commands ...string) error {
	for {
		f.mu.Lock()
		news, missing := f.news, f.missing(commands)
		f.mu.Unlock()
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-news:
		case <-f.closing:
			return f.ended()
		case <-ctx.Done():
			return fmt.Errorf("fleet %q: %s not served by another process: %w", f.opts.Namespace, strings.Join(missing, ", "), ctx.Err())
		}
	}
}

// missing returns those of the commands that cannot be called. f.mu is held.
func (f *Fleet) missing(commands []string) (missing []string) {
	for _, id := range commands {
		if !f.known(id) {
			missing = append(missing, id)
		}
	}
	return missing
}

// known reports whether a command can be called. f.mu is held.
func (f *Fleet) known(id string) bool {
	if f.link != nil && (f.telling || !f.link.told[id]) {
		return false
	}
	return f.services[id] != nil
}

// tellNews wakes those who wait for a change. f.mu is held.
func (f *Fleet) tellNews() {
	close(f.news)
	f.news = make(chan struct{})
	select {
	case f.memberNews <- struct{}{}:
	default:
	}
}

// Done is closed when the fleet has ended.
func (f *Fleet) Done() <-chan struct{} { return f.done }

// Err returns nil before the fleet begins to end; then bus.ErrClosed if it was closed or has left, or what went wrong.
func (f *Fleet) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// ended is the error of what the end has interrupted.
func (f *Fleet) ended() error { return fmt.Errorf("fleet %q: %w", f.opts.Namespace, f.Err()) }

func (f *Fleet) isReady() bool {
	select {
	case <-f.ready:
		return true
	default:
		return false
	}
}
