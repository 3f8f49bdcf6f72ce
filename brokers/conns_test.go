package brokers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
)

// TestConnectionsAreFew counts those of a process with a fleet and three durable commands: while it works, and then while nothing is to
// be done.
func TestConnectionsAreFew(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		find       external
		purge      func(testing.TB, string, string)
		count      func(t *testing.T, url, namespace string) int
		idle, most int // of a process
	}{
		"postgres": {postgresServer, purgePostgres, func(t *testing.T, url, namespace string) (n int) {
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			defer func() { _ = conn.Close(context.Background()) }()
			require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`, "leat "+namespace).Scan(&n))
			return n
		}, 4, 8},
		"redis": {redisServer, purgeRedis, func(t *testing.T, url, namespace string) int {
			list, err := redisOf(t, url).ClientList(t.Context()).Result()
			require.NoError(t, err)
			return strings.Count(list, "name=leat-"+namespace+" ")
		}, 8, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, o := c.find.find(t), brokers.Options{Namespace: namespace(), Logger: silent}
			t.Cleanup(func() { c.purge(t, url, o.Namespace) })
			const processes = 10
			callers := make([]*commands.Registry, processes)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			for i := range callers {
				r := registry(t, commands.Config{ID: fmt.Sprint("p", i)})
				for n := range 3 {
					require.NoError(t, commands.Register(ctx, r, durableNumber(n), func(context.Context, task) (string, error) { return "done", nil }))
				}
				f, err := kind{}.openAt(t, url, o).Fleet(ctx, jobFleet(fmt.Sprint("p", i)))
				require.NoError(t, err)
				_, err = r.RegisterChannel(ctx, f.Channel())
				require.NoError(t, err)
				callers[i] = r
			}
			ends := make(chan error, 20*processes)
			for i := range cap(ends) {
				go func() {
					_, err := commands.Execute(ctx, callers[i%processes], durableNumber(i%3), task{N: i})
					ends <- err
				}()
			}
			most := 0
			for range cap(ends) {
				require.NoError(t, <-ends)
				most = max(most, c.count(t, url, o.Namespace))
			}
			assert.LessOrEqual(t, most, c.most*processes)
			assert.Eventually(t, func() bool { return c.count(t, url, o.Namespace) <= c.idle*processes }, patience, 100*time.Millisecond,
				"idle: %d", c.count(t, url, o.Namespace))
			t.Logf("%d processes: %d connections at work, %d idle", processes, most, c.count(t, url, o.Namespace))
		})
	}
}

func durableNumber(n int) commands.Command[task, string] {
	return commands.Define[task, string](fmt.Sprint("job.", n), "", commands.Options{Durable: true, TTL: time.Minute})
}
