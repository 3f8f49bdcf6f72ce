package brokers_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
)

// retention checks that old messages go, but for those that a group has to
// handle. count says how many are stored; few how many may be left of the others.
func retention(t *testing.T, k kind, url string, few int, count func(namespace, topic string) int) {
	t.Helper()
	o := brokers.Options{Namespace: namespace(), Retention: time.Second}
	t.Cleanup(func() { k.purge(t, url, o.Namespace) })
	b := k.openAt(t, url, o)
	const n = 300
	in := subscribe(t, b, "plain")
	done := publish(t, b, "plain", numbers(n)...)
	for range n { // at once: who is behind by more than Retention misses some
		take(t, in)
	}
	done()
	waiting, leave := queue(t, b, "g", "work")
	publish(t, b, "work", numbers(n)...)()
	require.Equal(t, "0", take(t, waiting))
	require.Eventually(t, func() bool { return count(o.Namespace, "plain") <= few }, patience, 50*time.Millisecond)
	require.GreaterOrEqual(t, count(o.Namespace, "work"), n-1, "a group waits for these")
	leave()
	closes(t, waiting, "the group's subscription")
	waiting, _ = queue(t, b, "g", "work")
	for _, want := range numbers(n)[1:] {
		require.Equal(t, want, take(t, waiting))
	}
	require.Eventually(t, func() bool { return count(o.Namespace, "work") <= few }, patience, 50*time.Millisecond)
}

func TestRedisTrims(t *testing.T) {
	t.Parallel()
	url := redisServer.find(t)
	options, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	retention(t, kind{purge: purgeRedis}, url, 100, func(namespace, topic string) int { // it trims by the hundred
		n, err := client.XLen(t.Context(), namespace+":"+topic).Result()
		require.NoError(t, err)
		waiting, err := client.XLen(t.Context(), namespace+":queue:"+topic+":g").Result()
		require.NoError(t, err)
		return int(max(n, waiting))
	})
}

func TestPostgresTrims(t *testing.T) {
	t.Parallel()
	url := postgresServer.find(t)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	retention(t, kind{purge: purgePostgres}, url, 0, func(namespace, topic string) (n int) {
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM "+
			pgx.Identifier{namespace + "_messages"}.Sanitize()+" WHERE topic = $1", topic).Scan(&n))
		return n
	})
}

// TestPostgresIsNotHeldUp: another transaction that has written and does not end.
func TestPostgresIsNotHeldUp(t *testing.T) {
	t.Parallel()
	url := postgresServer.find(t)
	b := kind{purge: purgePostgres}.openAt(t, url)
	in := subscribe(t, b, "events")
	work, _ := queue(t, b, "g", "work")
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	_, err = tx.Exec(t.Context(), "SELECT pg_current_xact_id()")
	require.NoError(t, err)
	publish(t, b, "work", "out")()
	m := recv(t, work) // a handler is at it, in a transaction
	publish(t, b, "events", "arrives")()
	require.Equal(t, "arrives", take(t, in))
	m.Ack()
}

// TestRedisForgets loses everything, as one that writes nothing to disk does when it
// restarts: subscriptions and groups go on with what comes then.
func TestRedisForgets(t *testing.T) {
	t.Parallel()
	url := redisServer.find(t)
	o := brokers.Options{Namespace: namespace()}
	t.Cleanup(func() { purgeRedis(t, url, o.Namespace) })
	b := kind{}.openAt(t, url, o)
	topic := b.Topic("work")
	in := subscribe(t, b, topic)
	taken, _ := queue(t, b, "g", topic)
	publish(t, b, topic, "before")()
	require.Equal(t, "before", take(t, in))
	require.Equal(t, "before", take(t, taken))
	options, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	gone, err := client.Del(t.Context(), o.Namespace+":"+topic).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, gone)
	// Entries are named by the millisecond; no Redis restarts within one.
	forgotten := time.Now()
	require.Eventually(t, func() bool {
		now, err := client.Time(t.Context()).Result()
		return err == nil && now.Sub(forgotten) > 2*time.Millisecond
	}, patience, time.Millisecond)
	publish(t, b, topic, "after")()
	require.Equal(t, "after", take(t, in))
	require.Equal(t, "after", take(t, taken))
}
