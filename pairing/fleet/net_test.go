package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// line is what is between one process and the broker; a test can make trouble on it.
type line struct {
	*memory.PubSub

	mu    sync.Mutex
	cut   bool                          // nothing comes through, and nobody is told
	mute  bool                          // nothing goes out
	down  bool                          // publishing fails, nothing comes in
	deaf  bool                          // what is published arrives, but the publisher is told that it failed
	fails func(m *message.Message) bool // publishing this one fails
	hold  func(topic string) bool       // what is published there waits
	held  map[string][]*message.Message // by topic
	subs  map[string]context.CancelFunc // ends the subscription
}

var errDown = errors.New("the broker is down")

func (l *line) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

func (l *line) Publish(topic string, messages ...*message.Message) error {
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		return errDown
	}
	if l.cut || l.mute {
		l.mu.Unlock()
		return nil
	}
	if l.deaf {
		l.mu.Unlock()
		return errors.Join(errDown, l.PubSub.Publish(topic, messages...))
	}
	for i, m := range messages {
		if l.fails != nil && l.fails(m) {
			l.mu.Unlock()
			if err := l.PubSub.Publish(topic, messages[:i]...); err != nil {
				return err
			}
			return errDown
		}
	}
	if l.hold != nil && l.hold(topic) {
		l.held[topic] = append(l.held[topic], messages...)
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	return l.PubSub.Publish(topic, messages...)
}

// release lets through what was held.
func (l *line) release(t testing.TB) {
	l.mu.Lock()
	held := l.held
	l.hold, l.held = nil, map[string][]*message.Message{}
	l.mu.Unlock()
	for topic, messages := range held {
		require.NoError(t, l.PubSub.Publish(topic, messages...))
	}
}

func (l *line) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	in, err := l.PubSub.Subscribe(ctx, topic)
	if err != nil {
		cancel()
		return nil, err
	}
	l.set(func() { l.subs[topic[strings.Index(topic, ".")+1:]] = cancel })
	out := make(chan *message.Message)
	go func() {
		defer cancel()
		defer close(out)
		for m := range in {
			m.Ack()
			l.mu.Lock()
			lost := l.cut || l.down
			l.mu.Unlock()
			if lost {
				continue
			}
			select {
			case out <- m:
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

// member is one process.
type member struct {
	*commands.Registry
	fleet *fleet.Fleet
	line  *line
}

// ends closes everything, in a bubble too.
func (m *member) end(t testing.TB) {
	require.NoError(t, m.fleet.Close())
	require.NoError(t, m.Close())
}

// join makes a process and waits until it is part of the fleet.
func join(t testing.TB, ps *memory.PubSub, id string, o fleet.Options) *member {
	t.Helper()
	m := prepare(t, ps, id, o)
	l, err := m.RegisterChannel(context.Background(), m.fleet.Channel())
	require.NoError(t, err)
	require.NoError(t, m.fleet.Ready(context.Background()))
	<-l.Ready()
	return m
}

// prepare makes a process whose registry and fleet do not know each other yet.
func prepare(t testing.TB, ps *memory.PubSub, id string, o fleet.Options) *member {
	t.Helper()
	m := &member{line: &line{PubSub: ps, held: map[string][]*message.Message{}, subs: map[string]context.CancelFunc{}}}
	var err error
	m.Registry, err = commands.NewRegistry(commands.Config{ID: id, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	o.Namespace, o.ID, o.Logger = "test", id, slog.New(slog.DiscardHandler)
	m.fleet, err = fleet.New(context.Background(), m.line, m.line, o)
	require.NoError(t, err)
	return m
}

// TestFleetBundlesWhatTheBrokerTakes: what gathers on its way to one process is published in messages that are no longer than
// the broker takes.
func TestFleetBundlesWhatTheBrokerTakes(t *testing.T) {
	t.Parallel()
	const limit = 4096
	bubble(t, 1, fleet.Options{MaxMessageBytes: limit}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		var longest, refused atomic.Int64
		for _, m := range []*member{caller, team[0]} {
			m.line.set(func() {
				m.line.fails = func(msg *message.Message) bool {
					if len(msg.Payload) > limit {
						refused.Add(1)
						return true
					}
					longest.Store(max(longest.Load(), int64(len(msg.Payload))))
					return false
				}
			})
		}
		var calls sync.WaitGroup
		for range 500 {
			calls.Go(func() {
				got, err := caller.ExecuteRaw(context.Background(), "echo", []byte(`"`+strings.Repeat("x", 200)+`"`))
				assert.NoError(t, err)
				assert.Len(t, got, 202)
			})
		}
		calls.Wait()
		require.Zero(t, refused.Load())
		require.Greater(t, longest.Load(), int64(limit/2))
	})
}

// TestFleetLeavesBehindAReply: a process that leaves, and could not publish a reply, does not make its caller believe that the
// request was not executed.
func TestFleetLeavesBehindAReply(t *testing.T) {
	t.Parallel()
	bubble(t, 2, fleet.Options{}, func(t *testing.T, caller *member, team []*member, runs []*atomic.Int64) {
		for _, m := range team {
			m.line.set(func() {
				m.line.fails = func(msg *message.Message) bool { return bytes.Contains(msg.Payload, []byte(bus.ExecuteResponse)) }
			})
		}
		result := calling(caller, "echo", 1)
		synctest.Wait()
		first := 0
		if runs[1].Load() > 0 {
			first = 1
		}
		require.NoError(t, team[first].fleet.Leave(context.Background()))
		require.ErrorIs(t, (<-result).err, commands.ErrChannelDisconnected)
		require.EqualValues(t, 1, runs[0].Load()+runs[1].Load())
		require.EqualValues(t, 1, team[first].fleet.Stats().Unsent)
	})
}
