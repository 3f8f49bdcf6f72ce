package brokers_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/pairing/fleet"
)

// removal is a thing, or several of a kind, that leat makes on a broker, and how somebody removes it.
type removal struct {
	what   string
	remove func(t *testing.T, url, namespace string) (removed int)
}

var removals = map[string][]removal{
	"jetstream": {
		{"the stream of fan-out", removeStream("")},
		{"the consumers of fan-out", removeConsumers("")},
		{"the stream of queues", removeStream("_queues")},
		{"the consumers of queues", removeConsumers("_queues")},
	},
	"redis": {
		{"the streams of fan-out", removeKeys("%s:fleet.*")},
		{"the streams of queues", removeKeys("%s:queue:*")},
		{"the names of groups", removeKeys("%s:groups:*")},
		{"the streams that wake readers", removeKeys("%s:wake:*")},
		{"the limits", removeKeys("%s::limits")},
		{"the groups of queues", removeRedisGroups},
		{"everything", removeKeys("%s:*")},
	},
	"postgres": {
		{"the table of messages", removePg(`DROP TABLE %smessages`)},
		{"the table of groups", removePg(`DROP TABLE %sgroups`)},
		{"the table of what waits", removePg(`DROP TABLE %swaiting`)},
		{"all tables", removePg(`DROP TABLE %[1]smessages, %[1]sgroups, %[1]swaiting`)},
		{"the rows of groups", removePg(`DELETE FROM %sgroups`)},
		{"the rows that wait", removePg(`DELETE FROM %swaiting`)},
		{"the messages, and their offsets", removePg(`TRUNCATE %smessages RESTART IDENTITY`)},
		{"an index", removePg(`DROP INDEX %smessages_topic`)},
	},
	"amqp": {
		{"the exchange", func(t *testing.T, url, namespace string) int {
			rabbitDo(t, url, func(c *amqp.Channel) error { return c.ExchangeDelete(namespace, false, false) })
			return 1
		}},
		{"the queue of a command", func(t *testing.T, url, namespace string) int {
			rabbitDo(t, url, func(c *amqp.Channel) error {
				_, err := c.QueueDelete(rabbitJobs(namespace), false, false, false)
				return err
			})
			return 1
		}},
		{"the binding of a command", func(t *testing.T, url, namespace string) int {
			rabbitDo(t, url, func(c *amqp.Channel) error {
				return c.QueueUnbind(rabbitJobs(namespace), "fleet.queue.job.run", namespace, nil)
			})
			return 1
		}},
	},
}

func jetStreamOf(t *testing.T, url string) nats.JetStreamContext {
	t.Helper()
	conn, err := nats.Connect(strings.Replace(url, "jetstream://", "nats://", 1))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := conn.JetStream()
	require.NoError(t, err)
	return js
}

func removeStream(suffix string) func(*testing.T, string, string) int {
	return func(t *testing.T, url, namespace string) int {
		require.NoError(t, jetStreamOf(t, url).DeleteStream(namespace+suffix))
		return 1
	}
}

func removeConsumers(suffix string) func(*testing.T, string, string) int {
	return func(t *testing.T, url, namespace string) (removed int) {
		js := jetStreamOf(t, url)
		for name := range js.ConsumerNames(namespace + suffix) {
			require.NoError(t, js.DeleteConsumer(namespace+suffix, name))
			removed++
		}
		return removed
	}
}

func redisOf(t *testing.T, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func removeKeys(pattern string) func(*testing.T, string, string) int {
	return func(t *testing.T, url, namespace string) int {
		client := redisOf(t, url)
		keys, err := client.Keys(t.Context(), fmt.Sprintf(pattern, namespace)).Result()
		require.NoError(t, err)
		require.NoError(t, client.Del(t.Context(), keys...).Err())
		return len(keys)
	}
}

func removeRedisGroups(t *testing.T, url, namespace string) (removed int) {
	client := redisOf(t, url)
	keys, err := client.Keys(t.Context(), namespace+":queue:*").Result()
	require.NoError(t, err)
	for _, key := range keys {
		groups, err := client.XInfoGroups(t.Context(), key).Result()
		require.NoError(t, err)
		for _, g := range groups {
			require.NoError(t, client.XGroupDestroy(t.Context(), key, g.Name).Err())
			removed++
		}
	}
	return removed
}

// removePg executes a statement with the beginning of the names of tables filled in, in quotes.
func removePg(statement string) func(*testing.T, string, string) int {
	return func(t *testing.T, url, namespace string) int {
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		defer func() { _ = conn.Close(context.Background()) }()
		for _, name := range []string{"messages_topic", "messages", "groups", "waiting"} {
			for _, format := range []string{"%s", "%[1]s"} {
				statement = strings.ReplaceAll(statement, format+name, `"`+namespace+"_"+name+`"`)
			}
		}
		require.Eventually(t, func() bool { // it may be the victim of a deadlock
			_, err = conn.Exec(t.Context(), statement)
			return err == nil
		}, patience, time.Millisecond, "%v", err)
		return 1
	}
}

func rabbitJobs(namespace string) string {
	return namespace + ".fleet%2Edurable.fleet%2Equeue%2Ejob%2Erun"
}

func rabbitDo(t *testing.T, url string, do func(*amqp.Channel) error) {
	t.Helper()
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	channel, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, do(channel))
}

// TestRule29WhatWasRemovedIsMadeAgain: each thing that leat makes on a broker is removed while plain calls, durable calls and events run.
// A few seconds later all of them work, and no call hangs.
func TestRule29WhatWasRemovedIsMadeAgain(t *testing.T) {
	t.Parallel()
	eachDurable(t, func(t *testing.T, k kind) {
		for _, r := range removals[strings.TrimSuffix(k.name, "-embedded")] {
			t.Run(r.what, func(t *testing.T) {
				url, o := k.url(t), brokers.Options{Namespace: namespace(), AckWait: 2 * time.Second, Logger: silent}
				if k.purge != nil {
					t.Cleanup(func() { k.purge(t, url, o.Namespace) })
				}
				s := newShop(t, k.openAt(t, url, o), k.openAt(t, url, o))
				s.works(t, "before")
				load := s.load()
				require.NotZero(t, r.remove(t, url, o.Namespace))
				s.works(t, "after")
				load()
			})
		}
	})
}

// shop is two processes, one of which serves and listens.
type shop struct {
	t      *testing.T
	caller *commands.Registry

	mu    sync.Mutex
	heard map[string]bool // guarded by mu
}

var removalNews = events.Define[string]("news")

// backSoon is how long it may take until everything works again.
const backSoon = 20 * time.Second

func newShop(t *testing.T, a, b *brokers.Broker) *shop {
	t.Helper()
	s := &shop{t: t, heard: make(map[string]bool)}
	worker := registry(t, commands.Config{ID: "worker"})
	require.NoError(t, registerWho(t, worker))
	require.NoError(t, commands.Register(t.Context(), worker, run, func(_ context.Context, n task) (string, error) { return fmt.Sprint(n.N), nil }))
	_, err := events.Listen(worker.Events(), removalNews, func(_ context.Context, text string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.heard[text] = true
	})
	require.NoError(t, err)
	o := fleet.Options{Namespace: "fleet", ID: "worker", Lease: jobLease}
	f, err := b.Fleet(t.Context(), o)
	require.NoError(t, err)
	_, err = worker.RegisterChannel(t.Context(), f.Channel())
	require.NoError(t, err)
	o.ID = "caller"
	var fleet *fleet.Fleet
	s.caller, fleet = process(t, a, o)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, fleet.Await(ctx, who.ID(), run.ID()))
	return s
}

// works waits until a plain call, a durable one and an event come through, one after the other.
func (s *shop) works(t *testing.T, when string) {
	t.Helper()
	giveUp := time.Now().Add(backSoon)
	for _, way := range []struct {
		name string
		try  func(ctx context.Context, n int) bool
	}{
		{"a plain call", func(ctx context.Context, n int) bool {
			_, err := commands.Execute(ctx, s.caller, who, n)
			return err == nil
		}},
		{"a durable call", func(ctx context.Context, n int) bool {
			_, err := commands.Execute(ctx, s.caller, run, task{N: n})
			return err == nil
		}},
		{"an event", func(ctx context.Context, n int) bool {
			text := fmt.Sprint(when, n)
			if events.Emit(ctx, s.caller.Events(), removalNews, text) != nil {
				return false
			}
			return eventually(ctx, func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.heard[text]
			})
		}},
	} {
		done := false
		for n := 0; !done && time.Now().Before(giveUp); n++ {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			done = way.try(ctx, n)
			cancel()
		}
		require.True(t, done, "%s does not work %s", way.name, when)
	}
}

// eventually reports whether something comes true before ctx ends.
func eventually(ctx context.Context, is func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// load calls and emits until the returned function is called, which says whether each call has ended in time.
func (s *shop) load() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	const limit = 5 * time.Second
	var ended sync.WaitGroup
	loop := func(do func(ctx context.Context, n int)) {
		ended.Go(func() {
			pace := time.NewTicker(10 * time.Millisecond)
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				call, done := context.WithTimeout(context.Background(), limit)
				began := time.Now()
				do(call, n)
				done()
				assert.Less(s.t, time.Since(began), limit+5*time.Second, "it hangs")
				<-pace.C
			}
		})
	}
	loop(func(ctx context.Context, n int) { _, _ = commands.Execute(ctx, s.caller, whoAgain, n) })
	loop(func(ctx context.Context, n int) { _, _ = commands.Execute(ctx, s.caller, run, task{N: n}) })
	loop(func(ctx context.Context, n int) { _ = events.Emit(ctx, s.caller.Events(), removalNews, "load") })
	return func() {
		cancel()
		ended.Wait()
	}
}

// TestWhatIsPublishedToAQueueWaitsForItsGroup: there is no group yet, or it was removed while nobody subscribes.
func TestWhatIsPublishedToAQueueWaitsForItsGroup(t *testing.T) {
	t.Parallel()
	eachDurable(t, func(t *testing.T, k kind) {
		b := k.open(t)
		q, err := b.Queue("g")
		require.NoError(t, err)
		require.NoError(t, q.(message.Publisher).Publish("work", text("early")))
		in, _ := queue(t, b, "g", "work")
		require.Equal(t, "early", take(t, in))
	})
}
