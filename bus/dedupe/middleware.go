package dedupe

import (
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Store remembers keys for a time, which is the store's own. Implementations are safe for concurrent use.
//
// A key is claimed before the work is done, and then either confirmed or given up. A store tells no owners apart: its
// time must be longer than the work takes, else a second claimant gets the key, and the first one's Release frees it.
type Store interface {
	// Reserve claims the key. It returns false if the key is remembered: reserved or committed, and not expired. Of
	// callers that reserve an unknown key at once, exactly one gets true.
	Reserve(ctx context.Context, key string) (fresh bool, err error)
	// Commit confirms that the work is done: the key stays remembered, whether or not it still was.
	Commit(ctx context.Context, key string) error
	// Release forgets the key, so that a retry is let through.
	Release(ctx context.Context, key string) error
}

// FromRepository makes a Store of one that can only mark, such as Watermill's middleware.ExpiringKeyRepository. Reserve
// marks the key; Commit and Release do nothing. So a Release undoes nothing: what failed once is taken for a duplicate
// until the repository lets the key expire. It panics if repo is nil. repo stays the caller's to close.
func FromRepository(repo interface {
	IsDuplicate(ctx context.Context, key string) (bool, error)
}) Store {
	if repo == nil {
		panic("bus: FromRepository: nil repository")
	}
	return repositoryStore{repo.IsDuplicate}
}

type repositoryStore struct {
	isDuplicate func(ctx context.Context, key string) (bool, error)
}

func (s repositoryStore) Reserve(ctx context.Context, key string) (bool, error) {
	seen, err := s.isDuplicate(ctx, key)
	return !seen && err == nil, err
}

func (repositoryStore) Commit(context.Context, string) error  { return nil }
func (repositoryStore) Release(context.Context, string) error { return nil }

// Options tunes [Middleware]. The zero value works. The functions are called on the message's goroutine, several at
// once if messages come so, and must not block.
type Options struct {
	// InFlight is what becomes of a second delivery that comes while the first is being handled. Default WaitInFlight.
	InFlight InFlight
	// OnDuplicate is told of each message that is dropped; a counter's increment fits. Default: nothing.
	OnDuplicate func(*message.Message)
	// OnCommitError is told when the handler has succeeded and the store fails to confirm the key. Default: nothing.
	OnCommitError func(*message.Message, error)
}

// InFlight is a policy of [Options].
type InFlight int

const (
	// WaitInFlight lets the second delivery wait for the first: if that succeeds the second is a duplicate, if it fails
	// the second runs. It waits for at most the message's context, whose error it then returns.
	WaitInFlight InFlight = iota
	// NackInFlight returns [ErrInFlight] at once, so that the second delivery is nacked, and comes again.
	NackInFlight
	// OneAtATime is for callers that deliver one message at a time: nothing has to be known of deliveries in flight.
	OneAtATime
)

// ErrInFlight is what [Middleware] returns for a delivery whose key is being handled, with [NackInFlight].
var ErrInFlight = errors.New("dedupe: the first delivery is being handled")

// Middleware returns a middleware that runs the handler once per key, for as long as store remembers it. A nil key takes the
// message's UUID; a message whose key is empty passes through. At most one options struct is taken. It panics if store
// is nil. store stays the caller's to close.
//
// The key is reserved before the handler runs. A duplicate ends without the handler and without a message: (nil, nil),
// which acknowledges it. A delivery is one only when the first has succeeded: while that is being handled, a second one
// waits or is refused, as [Options.InFlight] says. That holds for deliveries through this middleware, and through
// any other one of this process with the same [TTLStore]. Of a key that another process has reserved, in a store that
// they share, nothing more is known: there a second delivery ends at once. A handler must not go through the
// middleware again with its own key: it would wait for itself.
//
// A handler that fails, panics or exits its goroutine releases the key, so that a retry is let through; the panic goes on.
// One that succeeds commits it, and its messages are returned even if Commit fails: the work is done, the reservation
// stands, and an error would bring a redelivery that is then dropped as a duplicate.
//
// An error of Reserve is returned, wrapped, and the handler does not run. One of Release is joined to the handler's
// error. Commit and Release get the message's context without its cancellation, which an acknowledgement may trigger.
func Middleware(store Store, key func(*message.Message) string, opts ...Options) message.HandlerMiddleware {
	if store == nil {
		panic("dedupe: nil store")
	}
	if len(opts) > 1 {
		panic("dedupe: more than one Options")
	}
	d := &deduper{store: store, key: key}
	if len(opts) == 1 {
		d.opts = opts[0]
	}
	if d.opts.InFlight < WaitInFlight || d.opts.InFlight > OneAtATime {
		panic("dedupe: unknown InFlight")
	}
	switch s, ok := store.(*TTLStore); {
	case d.opts.InFlight == OneAtATime:
	case ok:
		d.flights = &s.flights
	default:
		d.flights = new(flights)
	}
	if d.key == nil {
		d.key = func(msg *message.Message) string { return msg.UUID }
	}
	return d.wrap
}

type deduper struct {
	store   Store
	key     func(*message.Message) string
	opts    Options
	flights *flights // nil with OneAtATime
}

func (d *deduper) wrap(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) { return d.handle(msg, next) }
}

func (d *deduper) handle(msg *message.Message, next message.HandlerFunc) ([]*message.Message, error) {
	key := d.key(msg)
	if key == "" {
		return next(msg)
	}
	if d.flights == nil {
		produced, _, err := d.first(key, msg, next)
		return produced, err
	}
	for {
		other := d.flights.begin(key)
		if other == nil {
			return d.fly(key, msg, next)
		}
		if d.opts.InFlight == NackInFlight {
			return nil, ErrInFlight
		}
		select {
		case <-other.landed:
		case <-msg.Context().Done():
			return nil, fmt.Errorf("dedupe: wait for the first delivery: %w", msg.Context().Err())
		}
		if other.ok {
			d.duplicate(msg)
			return nil, nil
		}
	}
}

// fly is first for a delivery that others may wait for. They are let go however it ends.
func (d *deduper) fly(key string, msg *message.Message, next message.HandlerFunc) (produced []*message.Message, err error) {
	ok := false
	defer func() { d.flights.end(key, ok) }()
	produced, ok, err = d.first(key, msg, next)
	return produced, err
}

func (d *deduper) duplicate(msg *message.Message) {
	if d.opts.OnDuplicate != nil {
		d.opts.OnDuplicate(msg)
	}
}

// first handles a delivery while no other one of its key is, and reports whether the key is settled.
func (d *deduper) first(key string, msg *message.Message, next message.HandlerFunc) (produced []*message.Message, settled bool, err error) {
	ctx := msg.Context()
	fresh, err := d.store.Reserve(ctx, key)
	if err != nil {
		return nil, false, fmt.Errorf("dedupe: reserve key: %w", err)
	}
	if !fresh {
		d.duplicate(msg)
		return nil, true, nil
	}
	if produced, err = d.run(ctx, key, msg, next); err != nil {
		return produced, false, err
	}
	if err := d.store.Commit(d.settling(ctx), key); err != nil && d.opts.OnCommitError != nil {
		d.opts.OnCommitError(msg, fmt.Errorf("dedupe: commit key: %w", err))
	}
	return produced, true, nil
}

// settling is ctx for Commit and Release: an ack cancels the message's context, and they come after it. Stores in
// memory do not look.
func (d *deduper) settling(ctx context.Context) context.Context {
	if _, ok := d.store.(interface{ inMemory() }); ok || ctx.Done() == nil {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

// run gives the key back unless the handler succeeds. It does not recover, so that a panic keeps its stack.
func (d *deduper) run(ctx context.Context, key string, msg *message.Message, next message.HandlerFunc) (produced []*message.Message, err error) {
	ok := false
	defer func() {
		if ok {
			return
		}
		if rerr := d.store.Release(d.settling(ctx), key); rerr != nil {
			err = errors.Join(err, fmt.Errorf("dedupe: release key: %w", rerr))
		}
	}()
	produced, err = next(msg)
	ok = err == nil
	return produced, err
}
