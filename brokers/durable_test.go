package brokers_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// eachDurable runs a test against every broker that keeps queues.
func eachDurable(t *testing.T, test func(t *testing.T, k kind)) {
	t.Helper()
	for _, k := range kinds {
		switch k.name {
		case "jetstream-embedded", "jetstream", "redis", "amqp", "postgres":
			t.Run(k.name, func(t *testing.T) {
				t.Parallel()
				test(t, k)
			})
		}
	}
}

type task struct {
	N      int
	HangIn string // the process that does not come back from it
}

var run = commands.Define[task, string]("job.run", "", commands.Options{Durable: true, TTL: time.Minute})

const (
	jobAckWait = 3 * time.Second
	jobLease   = 2 * time.Second
)

func jobFleet(id string) fleet.Options {
	return fleet.Options{Namespace: "jobs", ID: id, Lease: jobLease, Logger: slog.New(slog.DiscardHandler)}
}

func effects(namespace string) string { return `"` + namespace + `_effects"` }

func caller(t *testing.T, b *brokers.Broker) (*commands.Registry, *fleet.Fleet) {
	t.Helper()
	r, err := commands.NewRegistry(commands.Config{ID: "caller", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	f, err := b.Fleet(t.Context(), jobFleet("caller"))
	require.NoError(t, err)
	_, err = r.RegisterChannel(t.Context(), f.Channel())
	require.NoError(t, err)
	return r, f
}

// openEffects makes a table of effects, which goes with the test, and so do replies of that namespace.
func openEffects(t *testing.T, url, namespace string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	_, err = db.Exec(`CREATE TABLE ` + effects(namespace) + ` (n int, worker text)`)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.Exec(`DROP TABLE IF EXISTS ` + effects(namespace) + `, "` + namespace + `_replies"`)
		assert.NoError(t, err)
		require.NoError(t, db.Close())
	})
	return db
}

func count(t *testing.T, db *sql.DB, what, namespace string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow(`SELECT count(`+what+`) FROM `+effects(namespace)).Scan(&n))
	return n
}

// TestRedeliveredRequestGetsTheReplyThatWasKept lets the broker deliver each request again, after it was answered.
func TestRedeliveredRequestGetsTheReplyThatWasKept(t *testing.T) {
	stores := map[string]func(t *testing.T, namespace string) (r *brokers.Replies, effects func(context.Context) error, count func() int){
		"postgres": func(t *testing.T, namespace string) (*brokers.Replies, func(context.Context) error, func() int) {
			db := openEffects(t, postgresServer.find(t), namespace)
			r, err := brokers.PostgresReplies(t.Context(), db, brokers.RepliesOptions{Namespace: namespace})
			require.NoError(t, err)
			return r, func(ctx context.Context) error {
				tx, _ := brokers.Tx(ctx)
				_, err := tx.ExecContext(ctx, `INSERT INTO `+effects(namespace)+` (n) VALUES (1)`)
				return err
			}, func() int { return count(t, db, "*", namespace) }
		},
		"redis": func(t *testing.T, namespace string) (*brokers.Replies, func(context.Context) error, func() int) {
			client := openRedis(t, namespace)
			r, err := brokers.RedisReplies(client, brokers.RepliesOptions{Namespace: namespace})
			require.NoError(t, err)
			key := namespace + ":effects"
			return r, func(ctx context.Context) error { return client.Incr(ctx, key).Err() }, func() int {
				n, err := client.Get(t.Context(), key).Int()
				require.NoError(t, err)
				return n
			}
		},
	}
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachDurable(t, func(t *testing.T, k kind) {
				replies, effect, effects := store(t, namespace())
				b := k.open(t, brokers.Options{AckWait: jobAckWait})
				r, f := caller(t, b)
				again := &redelivering{broker: b, twice: make(map[string]bool), settled: make(chan struct{}, 9)}
				worker := local(t, b, again.Queue, replies, func(ctx context.Context, _ task) (string, error) {
					return "done", effect(ctx)
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				require.NoError(t, f.Await(ctx, "job.run"))
				by, err := commands.Execute(ctx, r, run, task{N: 1})
				require.NoError(t, err)
				assert.Equal(t, "done", by)
				select {
				case <-again.settled:
				case <-ctx.Done():
					require.FailNow(t, "it was not delivered again")
				}
				assert.Equal(t, 1, effects())
				assert.Equal(t, uint64(1), replies.Stats().Executed)
				assert.Equal(t, uint64(1), replies.Stats().Answered)
				assert.Equal(t, uint64(2), worker.Stats().Taken)
				assert.Zero(t, worker.Stats().Returned)
			})
		})
	}
}

func openRedis(t *testing.T, namespace string) *redis.Client {
	t.Helper()
	url := redisServer.find(t)
	options, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(options)
	t.Cleanup(func() {
		purgeRedis(t, url, namespace)
		require.NoError(t, client.Close())
	})
	return client
}

// local is a worker in this process.
func local(t *testing.T, b *brokers.Broker, queue func(string) (message.Subscriber, error), replies *brokers.Replies,
	h func(context.Context, task) (string, error)) *fleet.Fleet {
	t.Helper()
	r, err := commands.NewRegistry(commands.Config{ID: "worker", Logger: slog.New(slog.DiscardHandler),
		Middleware: []message.HandlerMiddleware{replies.Middleware}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	require.NoError(t, commands.Register(t.Context(), r, run, h))
	o := jobFleet("worker")
	o.RequestTTL = 1 // it does not remember what it has executed
	o.Queue = queue
	f, err := b.Fleet(t.Context(), o)
	require.NoError(t, err)
	_, err = r.RegisterChannel(t.Context(), f.Channel())
	require.NoError(t, err)
	return f
}

// redelivering has each message come again once it was acked for the first time, as if that ack had been lost.
type redelivering struct {
	broker  *brokers.Broker
	settled chan struct{} // one for each message that was acked twice

	mu    sync.Mutex
	twice map[string]bool
}

func (r *redelivering) Queue(group string) (message.Subscriber, error) {
	sub, err := r.broker.Queue(group)
	return &redeliveringSubscriber{sub, r}, err
}

type redeliveringSubscriber struct {
	message.Subscriber
	*redelivering
}

func (s *redeliveringSubscriber) Close() error { return nil }

func (s *redeliveringSubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	in, err := s.Subscriber.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for m := range in {
			c := m.Copy()
			select {
			case out <- c:
			case <-ctx.Done():
				m.Nack()
				continue
			}
			select {
			case <-c.Acked():
			case <-c.Nacked():
				m.Nack()
				continue
			}
			s.mu.Lock()
			again := !s.twice[m.UUID]
			s.twice[m.UUID] = true
			s.mu.Unlock()
			if again {
				m.Nack()
				continue
			}
			m.Ack()
			s.settled <- struct{}{}
		}
	}()
	return out, nil
}

// TestAckBeforeTheEndIsKept ends a subscription right after an ack, and looks whether the message comes again.
func TestAckBeforeTheEndIsKept(t *testing.T) {
	t.Parallel()
	eachDurable(t, func(t *testing.T, k kind) {
		const wait = time.Second
		b := k.open(t, brokers.Options{AckWait: wait})
		q, err := b.Queue("workers")
		require.NoError(t, err)
		topic := b.Topic("once")
		for i := range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			in, err := q.Subscribe(ctx, topic)
			require.NoError(t, err)
			id := fmt.Sprint("message ", i)
			require.NoError(t, b.Publisher().Publish(topic, message.NewMessage(id, []byte(id))))
			m := <-in
			require.Equal(t, id, string(m.Payload), "the one before has not come again")
			m.Ack()
			cancel()
			for range in { // until it has ended
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*wait)
		defer cancel()
		in, err := q.Subscribe(ctx, topic)
		require.NoError(t, err)
		for m := range in {
			require.Fail(t, "came again", "%s", m.Payload)
		}
	})
}
