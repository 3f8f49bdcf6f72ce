package brokers_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
)

var keep = commands.Define[int, string]("keep", "")

// keeping is a registry whose own calls have their replies kept, where they have a key.
func keeping(t *testing.T, replies *brokers.Replies, h func(context.Context, int) (string, error)) *commands.Registry {
	t.Helper()
	r, err := commands.NewRegistry(commands.Config{Logger: slog.New(slog.DiscardHandler),
		Middleware: []message.HandlerMiddleware{replies.Middleware}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	require.NoError(t, commands.Register(t.Context(), r, keep, h))
	return r
}

func eachStore(t *testing.T, test func(t *testing.T, open func(brokers.RepliesOptions) *brokers.Replies)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		ns := namespace()
		db := openEffects(t, postgresServer.find(t), ns)
		test(t, func(o brokers.RepliesOptions) *brokers.Replies {
			o.Namespace, o.Logger = ns, slog.New(slog.DiscardHandler)
			r, err := brokers.PostgresReplies(t.Context(), db, o)
			require.NoError(t, err)
			return r
		})
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		ns := namespace()
		client := openRedis(t, ns)
		test(t, func(o brokers.RepliesOptions) *brokers.Replies {
			o.Namespace, o.Logger = ns, slog.New(slog.DiscardHandler)
			r, err := brokers.RedisReplies(client, o)
			require.NoError(t, err)
			return r
		})
	})
}

func TestRepliesAreKept(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func(brokers.RepliesOptions) *brokers.Replies) {
		var runs atomic.Int64
		h := func(ctx context.Context, n int) (string, error) {
			run := runs.Add(1)
			switch n {
			case 1:
				return "", commands.Errorf(commands.NotFound, "no such thing, run %d", run)
			case 2:
				panic("two")
			}
			return fmt.Sprintf("run %d of %s <&>", run, commands.OnceKey(ctx)), nil
		}
		// Two processes, as far as the store can tell.
		a, b := keeping(t, open(brokers.RepliesOptions{}), h), keeping(t, open(brokers.RepliesOptions{}), h)
		for n, name := range []string{"result", "error", "panic"} {
			before := runs.Load()
			ctx := commands.WithOnce(t.Context(), name)
			first, err := commands.Execute(ctx, a, keep, n)
			again, err2 := commands.Execute(ctx, b, keep, n)
			assert.Equal(t, first, again, name)
			assert.Equal(t, n > 0, err != nil, name)
			if err != nil {
				require.Error(t, err2, name)
				assert.Equal(t, commands.CodeOf(err), commands.CodeOf(err2), name)
			}
			if n == 1 {
				assert.EqualError(t, err2, err.Error())
			}
			assert.Equal(t, before+1, runs.Load(), "%s: the handler has run once", name)
		}
		before := runs.Load()
		for range 2 {
			_, err := commands.Execute(t.Context(), a, keep, 0)
			require.NoError(t, err)
		}
		assert.Equal(t, before+2, runs.Load(), "calls without a key are all executed")
	})
}

func TestRepliesOfCallsAtOnce(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func(brokers.RepliesOptions) *brokers.Replies) {
		var runs atomic.Int64
		began, free := make(chan struct{}, 99), make(chan struct{})
		h := func(context.Context, int) (string, error) {
			began <- struct{}{}
			<-free
			return fmt.Sprint("run ", runs.Add(1)), nil
		}
		var wg sync.WaitGroup
		for range 5 {
			r := keeping(t, open(brokers.RepliesOptions{}), h)
			for range 4 {
				wg.Go(func() {
					got, err := commands.Execute(commands.WithOnce(t.Context(), "k"), r, keep, 0)
					assert.NoError(t, err)
					assert.Equal(t, "run 1", got)
				})
			}
		}
		<-began
		close(free)
		wg.Wait()
		assert.Empty(t, began)
	})
}

func TestRepliesExpire(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, open func(brokers.RepliesOptions) *brokers.Replies) {
		var runs atomic.Int64
		r := keeping(t, open(brokers.RepliesOptions{TTL: 50 * time.Millisecond}), func(context.Context, int) (string, error) {
			runs.Add(1)
			return "", nil
		})
		_, err := commands.Execute(commands.WithOnce(t.Context(), "k"), r, keep, 0)
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			for i := range 200 { // Postgres looks for what has expired once in a while
				_, err := commands.Execute(commands.WithOnce(t.Context(), fmt.Sprint(i%20)), r, keep, 0)
				require.NoError(t, err)
			}
			before := runs.Load()
			_, err := commands.Execute(commands.WithOnce(t.Context(), "k"), r, keep, 0)
			require.NoError(t, err)
			return runs.Load() > before
		}, time.Minute, time.Millisecond)
	})
}

// TestRepliesAreKeptForTheirTTL: it begins when there is a reply, also where the handler took longer than that.
func TestRepliesAreKeptForTheirTTL(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	eachStore(t, func(t *testing.T, open func(brokers.RepliesOptions) *brokers.Replies) {
		var runs atomic.Int64
		r := keeping(t, open(brokers.RepliesOptions{TTL: ttl}), func(context.Context, int) (string, error) {
			<-time.After(ttl + ttl/4) // its work
			return fmt.Sprint("run ", runs.Add(1)), nil
		})
		for range 130 { // Postgres looks for what has expired once in a while
			got, err := commands.Execute(commands.WithOnce(t.Context(), "k"), r, keep, 0)
			require.NoError(t, err)
			require.Equal(t, "run 1", got)
		}
	})
}

func TestHandlersTransaction(t *testing.T) {
	t.Parallel()
	ns := namespace()
	db := openEffects(t, postgresServer.find(t), ns)
	replies, err := brokers.PostgresReplies(t.Context(), db, brokers.RepliesOptions{Namespace: ns, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	insert := func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO `+effects(ns)+` (n) VALUES (1)`)
		return err
	}
	for name, tt := range map[string]struct {
		does    func(context.Context, *sql.Tx) error
		effects int
		code    commands.Code
	}{
		"success": {func(ctx context.Context, tx *sql.Tx) error { return insert(ctx, tx) }, 1, ""},
		"error":   {func(ctx context.Context, tx *sql.Tx) error { _ = insert(ctx, tx); return errors.New("no") }, 0, commands.Internal},
		"panic":   {func(ctx context.Context, tx *sql.Tx) error { _ = insert(ctx, tx); panic("no") }, 0, commands.Internal},
		"statement failed": {func(ctx context.Context, tx *sql.Tx) error {
			_ = insert(ctx, tx)
			_, _ = tx.Exec(`nonsense`)
			return nil
		}, 0, commands.Internal},
		"commits itself":    {func(ctx context.Context, tx *sql.Tx) error { _ = insert(ctx, tx); return tx.Commit() }, 1, commands.Internal},
		"rolls back to end": {func(ctx context.Context, tx *sql.Tx) error { _ = insert(ctx, tx); return tx.Rollback() }, 0, commands.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := db.Exec(`TRUNCATE ` + effects(ns))
			require.NoError(t, err)
			r := keeping(t, replies, func(ctx context.Context, _ int) (string, error) {
				tx, ok := brokers.Tx(ctx)
				if !ok {
					return "", errors.New("no transaction")
				}
				return "ok", tt.does(ctx, tx)
			})
			for range 2 {
				got, err := commands.Execute(commands.WithOnce(t.Context(), name), r, keep, 0)
				if tt.code == "" {
					require.NoError(t, err)
					assert.Equal(t, "ok", got)
				} else {
					require.Error(t, err)
					assert.Equal(t, tt.code, commands.CodeOf(err))
				}
				if name != "rolls back to end" { // it is as if it had never been
					assert.Equal(t, tt.effects, count(t, db, "*", ns))
				}
			}
			_, err = commands.Execute(t.Context(), r, keep, 0)
			assert.ErrorContains(t, err, "no transaction", "without a key there is none")
		})
	}
}

// TestPostgresRepliesWithoutAConnection: a call does not outlast its ctx when handlers have all connections of the pool.
func TestPostgresRepliesWithoutAConnection(t *testing.T) {
	t.Parallel()
	ns := namespace()
	db := openEffects(t, postgresServer.find(t), ns)
	replies, err := brokers.PostgresReplies(t.Context(), db, brokers.RepliesOptions{Namespace: ns, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	began, free := make(chan struct{}, 9), make(chan struct{})
	r := keeping(t, replies, func(context.Context, int) (string, error) {
		began <- struct{}{}
		<-free
		return "done", nil
	})
	call := func(ctx context.Context, once string) <-chan error {
		c := make(chan error, 1)
		go func() {
			_, err := commands.Execute(commands.WithOnce(ctx, once), r, keep, 0)
			c <- err
		}()
		return c
	}
	first := call(t.Context(), "first")
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	second := call(ctx, "second")
	select {
	case err := <-second:
		require.Error(t, err)
	case <-time.After(10 * time.Second):
		assert.Fail(t, "the call outlasts its ctx")
	}
	assert.Empty(t, began)
	close(free)
	require.NoError(t, <-first)
	for i := range 9 { // nobody has kept the connection
		require.NoError(t, <-call(t.Context(), fmt.Sprint(i%3)))
	}
}

// TestRepliesRefuseTimesThatRedisCannotKeep: else each request would be given back, for ever.
func TestRepliesRefuseTimesThatRedisCannotKeep(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	for _, o := range []brokers.RepliesOptions{
		{TTL: -time.Hour}, {TTL: time.Millisecond - 1}, {Lease: -time.Hour}, {Lease: time.Millisecond - 1},
	} {
		_, err := brokers.RedisReplies(client, o)
		require.Error(t, err, "%+v", o)
	}
	_, err := brokers.RedisReplies(client, brokers.RepliesOptions{TTL: time.Millisecond, Lease: time.Millisecond})
	require.NoError(t, err)
}

func TestRepliesThatAreNotAvailable(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	replies, err := brokers.RedisReplies(client, brokers.RepliesOptions{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ran := false
	r := keeping(t, replies, func(context.Context, int) (string, error) { ran = true; return "", nil })
	_, err = commands.Execute(commands.WithOnce(t.Context(), "k"), r, keep, 0)
	require.ErrorIs(t, err, commands.ErrChannelDisconnected)
	assert.False(t, ran)
	assert.Equal(t, uint64(1), replies.Stats().Returned)
}

// TestRedisClaims: who has died holds a request for a lease, who is alive for as long as it takes.
func TestRedisClaims(t *testing.T) {
	t.Parallel()
	ns := namespace()
	client := openRedis(t, ns)
	const lease = 300 * time.Millisecond
	replies, err := brokers.RedisReplies(client, brokers.RepliesOptions{Namespace: ns, Lease: lease, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	var runs atomic.Int64
	began, free := make(chan struct{}, 9), make(chan struct{})
	r := keeping(t, replies, func(context.Context, int) (string, error) {
		began <- struct{}{}
		<-free
		return fmt.Sprint(runs.Add(1)), nil
	})
	call := func() <-chan string {
		c := make(chan string, 1)
		go func() {
			got, err := commands.Execute(commands.WithOnce(t.Context(), "k"), r, keep, 0)
			assert.NoError(t, err)
			c <- got
		}()
		return c
	}
	first := call()
	<-began
	keys, err := client.Keys(t.Context(), ns+":reply:*").Result()
	require.NoError(t, err)
	require.Len(t, keys, 1)
	second := call()
	select {
	case <-began:
		assert.Fail(t, "a claim that is renewed was taken over")
	case <-time.After(4 * lease):
	}
	// The claim is another's now, as after a pause of this process that was longer than the lease.
	require.NoError(t, client.Set(t.Context(), keys[0], "cother", lease).Err())
	close(free)
	assert.Equal(t, "1", <-first)
	assert.Equal(t, uint64(1), replies.Stats().Unstored, "the reply of who has lost its claim is not kept")
	assert.Equal(t, "2", <-second, "the other has died: after its lease the request is executed")
	assert.Equal(t, "2", <-call())
}
