package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/dedupe"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/internal/option"
)

// Config configures a [Registry]. The zero value is a working root.
type Config struct {
	// ID names the registry in logs. Default: a random UUID.
	ID string
	// RouterChannel is the ID of the channel to which commands that are not
	// known here are escalated, and with which those registered here are
	// registered too. Default: none; the registry is a root.
	RouterChannel string
	// RequestTTL bounds how long a remote call, and a registration, waits for its
	// answer. Default 30 s. Commands may have a shorter or longer one of their own.
	RequestTTL time.Duration
	// EventTTL is the window in which an event that arrives again is dropped,
	// and the age at which one is no longer relayed. Default 5 s.
	EventTTL time.Duration
	// MaxInFlight bounds the handlers that run at once for one channel, per
	// depth of nesting. Default 256.
	MaxInFlight int
	// MaxBacklog bounds the requests that wait for one of those, per channel.
	// Beyond it they are refused with an Internal error. Default 16,384.
	MaxBacklog int
	// MaxForwarded bounds the requests of one channel that were sent on to
	// others and are not answered. Beyond it they are refused with an Internal
	// error. Default 65,536.
	//
	// A forwarded request is kept until its caller's deadline, or for RequestTTL
	// if that says none. Of those that have waited longer than RequestTTL the
	// MaxBacklog newest are kept for each channel, while there is room for new
	// ones and until Shutdown; the others end with Timeout.
	MaxForwarded int
	// MaxHeldBytes bounds the bytes of the requests of one channel that run,
	// wait or were forwarded, names and metadata included. Beyond it they are
	// refused with an Internal error; one alone always passes. Default 256 MiB.
	MaxHeldBytes int
	// Middleware wraps each handler and listener run, also of local calls,
	// first element outermost, in the goroutine of the run. See docs/guides/middleware.md.
	Middleware []message.HandlerMiddleware
	// Inbound wraps what is done with each message that a channel delivers,
	// first element outermost, before dedupe. It must not block. See docs/guides/middleware.md.
	Inbound []message.HandlerMiddleware
	// Interceptors wrap each call and each emit that is made at this registry,
	// first element outermost, on the caller's goroutine: retries, breakers,
	// tokens. Default: none, at no cost. See docs/guides/middleware.md.
	Interceptors []bus.Interceptor
	// MaxCommands bounds the commands that one channel may list or register, with those that wait for the router's ack. All
	// channels together may have four times as many. Beyond it a registration is refused with an Internal error, a listed
	// command is ignored, and Stats.TooMany counts both. Default 262,144.
	MaxCommands int
	// MaxCommandBytes bounds the IDs, descriptions and schemas of those, in the same way. Default 64 MiB.
	MaxCommandBytes int
	// DedupeKeys, QueueSize, QueueBytes, MaxMessageBytes, EmitTimeout, StallTimeout and CloseTimeout are those of [bus.Options].
	DedupeKeys      int
	QueueSize       int
	QueueBytes      int
	MaxMessageBytes int
	EmitTimeout     time.Duration
	StallTimeout    time.Duration
	CloseTimeout    time.Duration
	// Logger gets what no caller is told. Default slog.Default().
	Logger *slog.Logger
}

func (c *Config) check() error {
	if err := option.NotNegative("Config", []option.Number{
		{Field: "RequestTTL", Value: int64(c.RequestTTL)}, {Field: "EventTTL", Value: int64(c.EventTTL)},
		{Field: "MaxInFlight", Value: int64(c.MaxInFlight)}, {Field: "MaxBacklog", Value: int64(c.MaxBacklog)},
		{Field: "MaxForwarded", Value: int64(c.MaxForwarded)}, {Field: "MaxHeldBytes", Value: int64(c.MaxHeldBytes)},
		{Field: "MaxCommands", Value: int64(c.MaxCommands)}, {Field: "MaxCommandBytes", Value: int64(c.MaxCommandBytes)},
		{Field: "DedupeKeys", Value: int64(c.DedupeKeys)}, {Field: "MaxMessageBytes", Value: int64(c.MaxMessageBytes)},
		{Field: "QueueSize", Value: int64(c.QueueSize)}, {Field: "QueueBytes", Value: int64(c.QueueBytes)},
		{Field: "EmitTimeout", Value: int64(c.EmitTimeout)}, {Field: "StallTimeout", Value: int64(c.StallTimeout)},
		{Field: "CloseTimeout", Value: int64(c.CloseTimeout)},
	}...); err != nil {
		return fmt.Errorf("commands: %w", err)
	}
	for i, mw := range slices.Concat(c.Middleware, c.Inbound) {
		if mw == nil {
			return fmt.Errorf("commands: middleware %d is nil", i)
		}
	}
	for i, in := range c.Interceptors {
		if in == nil {
			return fmt.Errorf("commands: interceptor %d is nil", i)
		}
	}
	return nil
}

// Registry is a node: local command handlers, a routing table of remote
// commands, an event hub, and the channels to other registries. All methods
// are safe for concurrent use, from any goroutine, handlers included.
type Registry struct {
	cfg       Config
	bus       *bus.Bus
	hub       *events.Hub
	log       *slog.Logger
	wrapped   message.HandlerFunc // the handler inside the handler middleware; nil without any
	forwarded *dedupe.TTLStore    // IDs of requests forwarded, by link, for RequestTTL
	stats     counters

	table   sync.Map             // string to *command: what can be executed; read without lock, written under mu
	router  atomic.Pointer[peer] // the link to the router, nil while it is down; written under mu
	closed  atomic.Bool
	leaving atomic.Bool // Shutdown was called: nothing overdue is waited for

	calls   sync.Pool // of *call
	workers workers

	token string // names the registry in the paths of registrations

	mu       sync.Mutex
	reserved map[string]*reservation // guarded by mu: IDs that wait for the router's ack
	covered  map[string]*command     // guarded by mu: commands of a shared peer that others with their IDs go before
	peers    map[string]*peer        // guarded by mu: open links, by channel ID
	newsy    map[*peer]struct{}      // guarded by mu: peers with news
	holds    holding                 // guarded by mu: of all peers
	notices  []notice                // guarded by mu: what is to be told when it is free
	refusals uint64                  // guarded by mu: of the router, for the log
}

// NewRegistry returns a registry without commands and channels. It fails if a
// number in cfg is negative or a middleware is nil. Close it when done.
func NewRegistry(cfg Config) (*Registry, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	b := bus.New(bus.Options{
		ID: cfg.ID, Inbound: cfg.Inbound, Handler: cfg.Middleware, Interceptors: cfg.Interceptors, Logger: cfg.Logger,
		RequestTTL: cfg.RequestTTL, EventTTL: cfg.EventTTL, DedupeKeys: cfg.DedupeKeys,
		QueueSize: cfg.QueueSize, QueueBytes: cfg.QueueBytes, MaxMessageBytes: cfg.MaxMessageBytes,
		EmitTimeout: cfg.EmitTimeout, StallTimeout: cfg.StallTimeout, CloseTimeout: cfg.CloseTimeout,
	})
	cfg.ID, cfg.RequestTTL = b.ID(), b.Options().RequestTTL
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = 256
	}
	if cfg.MaxBacklog == 0 {
		cfg.MaxBacklog = 16384
	}
	if cfg.MaxCommands == 0 {
		cfg.MaxCommands = 1 << 18
	}
	if cfg.MaxCommandBytes == 0 {
		cfg.MaxCommandBytes = 64 << 20
	}
	if cfg.MaxForwarded == 0 {
		cfg.MaxForwarded = 1 << 16
	}
	if cfg.MaxHeldBytes == 0 {
		cfg.MaxHeldBytes = 256 << 20
	}
	r := &Registry{
		cfg: cfg, bus: b, log: b.Logger(),
		forwarded: dedupe.NewTTLStore(cfg.RequestTTL, dedupe.TTLStoreOptions{MaxKeys: b.Options().DedupeKeys}),
		token:     strconv.FormatUint(rand.Uint64(), 36),
		reserved:  make(map[string]*reservation),
		covered:   make(map[string]*command),
		peers:     make(map[string]*peer),
		newsy:     make(map[*peer]struct{}),
	}
	r.wrapped = b.Wrap(r.innermost)
	b.Use(r.newPeer)
	r.hub = events.NewHub(b)
	return r, nil
}

// ID returns the name of the registry.
func (r *Registry) ID() string { return r.cfg.ID }

// Events returns the registry's event hub, which lives as long as the registry.
func (r *Registry) Events() *events.Hub { return r.hub }

// RegisterChannel attaches the channel and returns its link. It does not wait
// for the peer; [bus.Link.Ready] does. ctx bounds the subscribing only. Errors:
// those of [bus.Bus.Attach], and [ErrInvalidRequest] for a channel of a fleet without queues where durable commands
// are registered here.
func (r *Registry) RegisterChannel(ctx context.Context, ch *bus.Channel) (*bus.Link, error) {
	if ch != nil && ch.Unqueued {
		for _, def := range r.public() {
			if def.Durable {
				return nil, noQueue(def.ID, ch.ID)
			}
		}
	}
	return r.bus.Attach(ctx, ch)
}

// Channels returns the IDs of the open channels, sorted.
func (r *Registry) Channels() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.peers))
}

// Link returns the link of an open channel, or nil.
func (r *Registry) Link(channel string) *bus.Link { return r.bus.Link(channel) }

// Shutdown refuses new work with ChannelDisconnected, waits for running
// handlers, calls and listeners' queues, whose own calls and events still
// pass, and closes the registry. A request that was forwarded for another
// registry is waited for until RequestTTL after it came, and then ends with
// Timeout. When ctx ends first Shutdown cancels what is left and returns an
// error that says how much. Called from a handler it waits for that handler,
// and so for ctx. For several registries of one process see [ShutdownAll].
func (r *Registry) Shutdown(ctx context.Context) error { return ShutdownAll(ctx, r) }

// Close closes all channels: calls that wait fail, handlers that serve other
// registries are cancelled and not waited for. Everything after it returns an
// error that wraps [ErrClosed]. Idempotent, from any goroutine.
func (r *Registry) Close() error {
	r.closed.Store(true)
	err := r.bus.Close()
	r.hub.Close()
	r.workers.close()
	return errors.Join(err, r.forwarded.Close())
}

// removePeer forgets a link that closes, and the commands reached through it.
func (r *Registry) removePeer(p *peer, cause error) {
	r.mu.Lock()
	if r.peers[p.link.ID()] == p {
		delete(r.peers, p.link.ID())
	}
	r.router.CompareAndSwap(p, nil)
	p.gone, p.news = true, idSet{}
	delete(r.newsy, p)
	if p.up != nil {
		p.up.close(cause)
	}
	for id, cmd := range r.covered {
		if cmd.owner == p {
			r.dropCovered(id)
		}
	}
	for id := range p.owned {
		r.remove(r.lookup(id))
	}
	p.owned = nil
	for _, res := range r.reserved {
		if res.child == p {
			r.abandon(res, nil)
		}
	}
	r.mu.Unlock()
	r.converge()
}
