package bus

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
// until the repository lets the key expire. It panics if repo is nil. Whoever made repo closes it.
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

// DedupeOptions tunes [Dedupe]. The zero value works. The functions are called on the message's goroutine, several at
// once if messages come so, and must not block.
type DedupeOptions struct {
	// OnDuplicate is told of each message that is dropped; a counter's increment fits. Default: nothing.
	OnDuplicate func(*message.Message)
	// OnCommitError is told when the handler has succeeded and the store fails to confirm the key. Default: nothing.
	OnCommitError func(*message.Message, error)
}

// Dedupe returns a middleware that runs the handler once per key, for as long as store remembers it. A nil key takes the
// message's UUID; a message whose key is empty passes through. At most one options struct is taken. It panics if store
// is nil. Whoever made store closes it.
//
// The key is reserved before the handler runs. A duplicate ends without the handler and without a message: (nil, nil). A
// handler that fails, panics or exits its goroutine releases the key, so that a retry is let through; the panic goes on.
// One that succeeds commits it, and its messages are returned even if Commit fails: the work is done, the reservation
// stands, and an error would bring a redelivery that is then dropped as a duplicate.
//
// An error of Reserve is returned, wrapped, and the handler does not run. One of Release is joined to the handler's
// error. Commit and Release get the message's context without its cancellation, which an acknowledgement may trigger.
func Dedupe(store Store, key func(*message.Message) string, opts ...DedupeOptions) message.HandlerMiddleware {
	if store == nil {
		panic("bus: Dedupe: nil store")
	}
	if len(opts) > 1 {
		panic("bus: Dedupe: more than one DedupeOptions")
	}
	d := deduper{store: store, key: key}
	if len(opts) == 1 {
		d.opts = opts[0]
	}
	if d.key == nil {
		d.key = func(msg *message.Message) string { return msg.UUID }
	}
	return func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) { return d.handle(msg, next) }
	}
}

type deduper struct {
	store Store
	key   func(*message.Message) string
	opts  DedupeOptions
}

func (d *deduper) handle(msg *message.Message, next message.HandlerFunc) ([]*message.Message, error) {
	key := d.key(msg)
	if key == "" {
		return next(msg)
	}
	ctx := msg.Context()
	fresh, err := d.store.Reserve(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("bus: dedupe: reserve key: %w", err)
	}
	if !fresh {
		if d.opts.OnDuplicate != nil {
			d.opts.OnDuplicate(msg)
		}
		return nil, nil
	}
	produced, err := d.run(ctx, key, msg, next)
	if err != nil {
		return produced, err
	}
	if err := d.store.Commit(d.settling(ctx), key); err != nil && d.opts.OnCommitError != nil {
		d.opts.OnCommitError(msg, fmt.Errorf("bus: dedupe: commit key: %w", err))
	}
	return produced, nil
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
			err = errors.Join(err, fmt.Errorf("bus: dedupe: release key: %w", rerr))
		}
	}()
	produced, err = next(msg)
	ok = err == nil
	return produced, err
}
