package main_test

import (
	"cmp"
	"net"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/examples/internal/program"
)

const output = `7 + 11 = 18
42 / 6 = 7
event: 7
42 / 0: cannot divide by 0
`

// The program does the same over every broker.
func TestMigration(t *testing.T) {
	t.Parallel()
	binary := program.Build(t)
	for name, over := range map[string]func(t *testing.T) string{
		"memory":        func(*testing.T) string { return "memory" },
		"gochannel":     func(*testing.T) string { return "gochannel" },
		"nats-embedded": embedded,
		"nats":          at("LEAT_TEST_NATS", "nats", "127.0.0.1:4222", "nats-server"),
		"redis":         at("LEAT_TEST_REDIS", "redis", "127.0.0.1:6379", "redis-server"),
		"amqp":          at("LEAT_TEST_AMQP", "amqp", "127.0.0.1:5672", "rabbitmq-server"),
		"postgres":      at("LEAT_TEST_POSTGRES", "postgres", "127.0.0.1:5432", "pg_ctlcluster 15 main start"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := program.Run(t, binary, program.Options{}, "-over", over(t))
			assert.Equal(t, output, r.Stdout)
			assert.Empty(t, r.Stderr)
			assert.Zero(t, r.Status)
		})
	}
}

func TestNoBroker(t *testing.T) {
	t.Parallel()
	r := program.Run(t, program.Build(t), program.Options{}, "-over", "nats://127.0.0.1:1")
	assert.Empty(t, r.Stdout)
	assert.Contains(t, r.Stderr, "migrate: open broker nats://127.0.0.1:1: ")
	assert.Equal(t, 1, r.Status)
}

// A scheme without a usual address is no URL: the error says what one looks like.
func TestNoURL(t *testing.T) {
	t.Parallel()
	r := program.Run(t, program.Build(t), program.Options{}, "-over", "kafka")
	assert.Empty(t, r.Stdout)
	assert.Equal(t, "migrate: open broker \"kafka\": no URL; one looks like kafka://HOST:PORT\n", r.Stderr)
	assert.Equal(t, 1, r.Status)
}

func embedded(t *testing.T) string {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	s.Start()
	require.True(t, s.ReadyForConnections(time.Minute))
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s.ClientURL()
}

// at returns the name of a broker, or the URL that the environment gives. With LEAT_BROKERS=required,
// which CI sets, it has to be there; without, the test is skipped: a plain `go test` talks to no
// server but its own.
func at(env, name, usual, start string) func(*testing.T) string {
	return func(t *testing.T) string {
		if os.Getenv("LEAT_BROKERS") != "required" {
			t.Skipf("needs a real server: LEAT_BROKERS=required, and %s or `docker compose up -d` or `%s`", env, start)
		}
		host, over := usual, cmp.Or(os.Getenv(env), name)
		if u, err := url.Parse(os.Getenv(env)); err == nil && u.Host != "" {
			host = u.Host
		}
		conn, err := net.DialTimeout("tcp", host, 10*time.Second)
		require.NoErrorf(t, err, "%s, and LEAT_BROKERS=required", env)
		_ = conn.Close()
		return over
	}
}

func TestMain(m *testing.M) { program.Main(m) }

func TestUsage(t *testing.T) {
	t.Parallel()
	program.Usage(t, program.Build(t), "migrate")
}
