package brokers

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// pgBell wakes the subscriptions of a topic when something was published to
// it. It has a connection of its own, which listens.
type pgBell struct {
	config *pgx.ConnConfig
	shared *shared
	conn   *pgx.Conn // of connect, then of listen's goroutine

	mu    sync.Mutex
	wakes map[string]map[chan struct{}]int // guarded by mu: by topic, capacity 1 each, and how often they hear
}

func newPgBell(config *pgx.ConnConfig, s *shared) *pgBell {
	return &pgBell{config: config.Copy(), shared: s, wakes: make(map[string]map[chan struct{}]int)}
}

func (b *pgBell) connect(ctx context.Context) error {
	config := b.config.Copy()
	if err := b.shared.pgLogin(ctx, config); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{b.shared.opts.Namespace}.Sanitize()); err != nil {
		_ = conn.Close(ctx)
		return err
	}
	b.conn = conn
	return nil
}

// listen rings for what others publish, until ctx ends. While it has no
// connection, subscriptions poll. It tells reconnected of each further one.
func (b *pgBell) listen(ctx context.Context, reconnected func()) {
	for {
		if b.conn != nil {
			n, err := b.conn.WaitForNotification(ctx)
			if err == nil {
				b.ring(n.Payload)
				continue
			}
			_ = b.close()
		}
		if ctx.Err() != nil {
			return
		}
		if err := b.connect(ctx); err == nil {
			reconnected()
			b.ringAll()
			continue
		}
		select {
		case <-time.After(pgPoll):
		case <-ctx.Done():
			return
		}
	}
}

// hear has the bell of the topic send to wake, which has a capacity of 1, until hang.
func (b *pgBell) hear(topic string, wake chan struct{}) (hang func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wakes[topic] == nil {
		b.wakes[topic] = make(map[chan struct{}]int)
	}
	b.wakes[topic][wake]++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.wakes[topic][wake]--; b.wakes[topic][wake] > 0 {
			return
		}
		if delete(b.wakes[topic], wake); len(b.wakes[topic]) == 0 {
			delete(b.wakes, topic)
		}
	}
}

func (b *pgBell) ring(topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for wake := range b.wakes[topic] {
		signal(wake)
	}
}

func (b *pgBell) ringAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, wakes := range b.wakes {
		for wake := range wakes {
			signal(wake)
		}
	}
}

// signal never blocks: one that waits to be taken is enough.
func signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

func (b *pgBell) close() error {
	conn := b.conn
	if conn == nil {
		return nil
	}
	b.conn = nil
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return conn.Close(ctx)
}
