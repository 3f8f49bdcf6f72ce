package brokers_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
)

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// TestPostgresOffsetsGoBack: a subscription goes on with what is published after a restore, and gets nothing twice.
func TestPostgresOffsetsGoBack(t *testing.T) {
	t.Parallel()
	url := postgresServer.find(t)
	for name, restore := range map[string][]string{
		"truncated": {`TRUNCATE %s RESTART IDENTITY`},
		"restored":  {`DELETE FROM %s WHERE "offset" > 10`, `SELECT setval(pg_get_serial_sequence('%s', 'offset'), 10)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := new(lines)
			o := brokers.Options{Namespace: namespace(), Logger: slog.New(slog.NewTextHandler(log, nil))}
			t.Cleanup(func() { purgePostgres(t, url, o.Namespace) })
			b := kind{}.openAt(t, url, o)
			in := subscribe(t, b, "events")
			work, _ := queue(t, b, "g", "events")
			for _, n := range numbers(30) {
				publish(t, b, "events", n)()
				require.Equal(t, n, take(t, in))
				require.Equal(t, n, take(t, work))
			}
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			defer func() { _ = conn.Close(t.Context()) }()
			for _, statement := range restore {
				_, err := conn.Exec(t.Context(), fmt.Sprintf(statement, `"`+o.Namespace+`_messages"`))
				require.NoError(t, err)
			}
			for i := range 40 { // until the offsets are where they were, and farther
				want := fmt.Sprint("after ", i)
				publish(t, b, "events", want)()
				require.Equal(t, want, take(t, in))
				require.Equal(t, want, take(t, work))
			}
			assert.Equal(t, 1, log.count("offsets went back"), "it is logged once")
		})
	}
}

// TestRedisStreamGoesBack: a stream that was removed and counts from an earlier entry than it had, as one of a server whose clock is behind.
func TestRedisStreamGoesBack(t *testing.T) {
	t.Parallel()
	url := redisServer.find(t)
	log := new(lines)
	o := brokers.Options{Namespace: namespace(), Logger: slog.New(slog.NewTextHandler(log, nil))}
	t.Cleanup(func() { purgeRedis(t, url, o.Namespace) })
	b := kind{}.openAt(t, url, o)
	in := subscribe(t, b, "events")
	publish(t, b, "events", "before")()
	require.Equal(t, "before", take(t, in))
	client := redisOf(t, url)
	require.NoError(t, client.Del(t.Context(), o.Namespace+":events").Err())
	now, err := client.Time(t.Context()).Result()
	require.NoError(t, err)
	for i := range 3 {
		require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: o.Namespace + ":events", ID: fmt.Sprintf("%d-%d", now.Add(-time.Second).UnixMilli(), i),
			Values: []string{"_watermill_message_uuid", "1", "metadata", "", "payload", fmt.Sprint(i)}}).Err())
	}
	for i := range 3 {
		require.Equal(t, fmt.Sprint(i), take(t, in))
	}
	assert.Equal(t, 1, log.count("stream was lost or restored"))
}
