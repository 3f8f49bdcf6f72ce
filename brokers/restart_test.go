package brokers_test

import (
	"context"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
)

// restarted checks that a subscription and a group, and what waits for them, outlive the broker.
func restarted(t *testing.T, b *brokers.Broker, restart func()) {
	t.Helper()
	topic, work := b.Topic("events"), b.Topic("work")
	in := subscribe(t, b, topic)
	durable := b.Guarantees().Durable
	if durable {
		taken, leave := queue(t, b, "g", work)
		publish(t, b, work, "handled")()
		require.Equal(t, "handled", take(t, taken))
		leave()
		closes(t, taken, "the group's subscription")
		publish(t, b, work, numbers(10)...)()
	}
	publish(t, b, topic, "before")()
	require.Equal(t, "before", take(t, in))
	restart()
	require.Eventually(t, func() bool { return b.Publisher().Publish(topic, text("after")) == nil }, patience, 10*time.Millisecond)
	if b.Guarantees().Resumes {
		require.Equal(t, "after", take(t, in), "a message that the broker has confirmed")
	} else {
		comesBack(t, b, topic, in)
	}
	if durable {
		taken, _ := queue(t, b, "g", work)
		for _, want := range numbers(10) {
			require.Equal(t, want, take(t, taken))
		}
	}
}

func TestNATSRestarts(t *testing.T) {
	t.Parallel()
	for name, asURL := range map[string]func(string) string{"core": func(u string) string { return u }, "jetstream": jetStreamURL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true}
			s := startNATS(t, o)
			b := kind{}.openAt(t, asURL(s.ClientURL()))
			again := *o
			again.Port = s.Addr().(*net.TCPAddr).Port
			restarted(t, b, func() {
				s.Shutdown()
				s.WaitForShutdown()
				startNATS(t, &again)
			})
		})
	}
}

// TestRedisIsKilled runs a Redis that writes to disk.
func TestRedisIsKilled(t *testing.T) {
	t.Parallel()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		redisServer.absent(t, "redis-server in PATH")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	require.NoError(t, l.Close())
	dir := t.TempDir()
	start := func() *exec.Cmd {
		cmd := exec.Command(binary, "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--appendonly", "yes", "--appendfsync", "always", "--save", "")
		require.NoError(t, cmd.Start())
		client := redis.NewClient(&redis.Options{Addr: address})
		defer func() { _ = client.Close() }()
		require.Eventually(t, func() bool { return client.Ping(context.Background()).Err() == nil }, patience, 10*time.Millisecond)
		return cmd
	}
	kill := func(cmd *exec.Cmd) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	cmd := start()
	t.Cleanup(func() { kill(cmd) })
	b := kind{}.openAt(t, "redis://"+address)
	restarted(t, b, func() {
		kill(cmd)
		cmd = start()
	})
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
