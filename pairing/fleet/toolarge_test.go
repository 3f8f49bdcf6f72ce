package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
	"github.com/leatbus/leat/pairing/fleet"
)

// narrow is a broker that takes no message of more than limit bytes, and refuses what is longer.
type narrow struct {
	*memory.PubSub
	limit int
	worst atomic.Int64 // the largest that was tried
}

func (n *narrow) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		size := len(m.UUID) + len(m.Payload)
		for k, v := range m.Metadata {
			size += len(k) + len(v)
		}
		if n.worst.Store(max(n.worst.Load(), int64(size))); size > n.limit {
			return fmt.Errorf("narrow: %w: %d bytes", bus.ErrTooLarge, size)
		}
	}
	return n.PubSub.Publish(topic, messages...)
}

// sized says what it takes.
type sized struct{ *narrow }

func (s sized) MaxBytes(string) int { return s.limit }

const narrowLimit = 20_000

// TestTooLarge: what is more than the transport takes is refused at once, where it comes from, with its size, and nothing else is
// held up; over Join and in a fleet, whether the transport says its limit or refuses; a payload and metadata alike.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", narrowLimit)
	for _, says := range []bool{true, false} {
		for how, connected := range map[string]func(t *testing.T, pub message.Publisher, ps *memory.PubSub) (caller, server *commands.Registry){
			"Join, binary": narrowJoin(bus.Binary),
			"Join, JSON":   narrowJoin(bus.JSON),
			"Fleet":        narrowFleet,
		} {
			t.Run(fmt.Sprintf("%s, says=%v", how, says), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ps := memory.New(memory.Options{})
					n := &narrow{PubSub: ps, limit: narrowLimit}
					var pub message.Publisher = n
					if says {
						pub = sized{n}
					}
					caller, server := connected(t, pub, ps)
					heard := make(chan string, 10)
					_, err := server.Events().ListenRaw("e", func(_ context.Context, _ string, p json.RawMessage) { heard <- string(p) })
					require.NoError(t, err)
					time.Sleep(time.Second) // processes that have only just begun wait for each other
					synctest.Wait()
					began := time.Now()
					at := func(what string) { assert.Zero(t, time.Since(began), "%s: at once", what) }

					for name, ctx := range map[string]context.Context{"payload": t.Context(), "metadata": bus.WithMetadata(t.Context(), message.Metadata{"note": large})} {
						body := json.RawMessage(`"small"`)
						if name == "payload" {
							body = json.RawMessage(`"` + large + `"`)
						}
						_, err = caller.ExecuteRaw(ctx, "echo", body)
						require.ErrorIs(t, err, commands.ErrInvalidRequest, name)
						assert.ErrorContains(t, err, "bytes", name)
						at("request")
						err = caller.Events().EmitRaw(ctx, "e", body)
						if says {
							require.ErrorIs(t, err, bus.ErrTooLarge, name)
							assert.ErrorContains(t, err, "bytes", name)
						}
						at("event")
					}
					for _, what := range []string{"payload", "metadata"} {
						_, err = caller.ExecuteRaw(t.Context(), "grow."+what, nil)
						require.ErrorIs(t, err, commands.ErrInternal, what)
						assert.ErrorContains(t, err, "bytes", what)
						at("reply")
					}
					require.NoError(t, caller.Events().EmitRaw(t.Context(), "e", json.RawMessage(`"next"`)))
					require.Equal(t, `"next"`, <-heard)
					got, err := caller.ExecuteRaw(t.Context(), "echo", json.RawMessage(`"next"`))
					require.NoError(t, err)
					require.Equal(t, `"next"`, string(got))
					fits := json.RawMessage(`"` + strings.Repeat("x", narrowLimit-6<<10) + `"`)
					got, err = caller.ExecuteRaw(t.Context(), "echo", fits)
					require.NoError(t, err, "it is not refused long before the limit")
					require.Len(t, got, len(fits))
					require.NoError(t, caller.Events().EmitRaw(t.Context(), "e", fits))
					require.Equal(t, string(fits), <-heard)
					at("what comes behind")
					if says {
						assert.LessOrEqual(t, n.worst.Load(), int64(narrowLimit), "nothing was tried in vain")
					}
					require.NoError(t, caller.Close())
					require.NoError(t, server.Close())
					require.NoError(t, ps.Close())
				})
			})
		}
	}
}

func serverOf(t *testing.T, id string) *commands.Registry {
	r, err := commands.NewRegistry(commands.Config{ID: id, Logger: slog.New(slog.DiscardHandler), Middleware: []message.HandlerMiddleware{
		func(h message.HandlerFunc) message.HandlerFunc {
			return func(m *message.Message) ([]*message.Message, error) {
				produced, err := h(m)
				if d, ok := bus.DeliveryFrom(m.Context()); ok && err == nil && d.Envelope.Name == "grow.metadata" {
					produced[0].Metadata["note"] = strings.Repeat("x", narrowLimit)
				}
				return produced, err
			}
		},
	}})
	require.NoError(t, err)
	for id, h := range map[string]commands.RawHandler{
		"echo":          func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil },
		"grow.metadata": func(_ context.Context, req json.RawMessage) (json.RawMessage, error) { return req, nil },
		"grow.payload": func(context.Context, json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`"` + strings.Repeat("x", narrowLimit) + `"`), nil
		},
	} {
		require.NoError(t, r.RegisterRaw(t.Context(), bus.Definition{ID: id}, h))
	}
	return r
}

func narrowJoin(codec bus.Codec) func(t *testing.T, pub message.Publisher, ps *memory.PubSub) (caller, server *commands.Registry) {
	return func(t *testing.T, pub message.Publisher, ps *memory.PubSub) (caller, server *commands.Registry) {
		caller, err := commands.NewRegistry(commands.Config{ID: "caller", Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		server = serverOf(t, "server")
		o := pairing.JoinOptions{Codec: codec}
		for _, side := range []struct {
			r    *commands.Registry
			peer string
		}{{caller, "server"}, {server, "caller"}} {
			l, err := side.r.RegisterChannel(t.Context(), pairing.Join(pub, ps, side.r.ID(), side.peer, o))
			require.NoError(t, err)
			defer func() { <-l.Ready() }()
		}
		return caller, server
	}
}

func narrowFleet(t *testing.T, pub message.Publisher, ps *memory.PubSub) (caller, server *commands.Registry) {
	process := func(r *commands.Registry) *fleet.Fleet {
		f, err := fleet.New(t.Context(), pub, ps, fleet.Options{Namespace: "test", ID: r.ID(), Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		_, err = r.RegisterChannel(t.Context(), f.Channel())
		require.NoError(t, err)
		require.NoError(t, f.Ready(t.Context()))
		return f
	}
	caller, err := commands.NewRegistry(commands.Config{ID: "caller", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	server = serverOf(t, "server")
	f, g := process(caller), process(server)
	require.NoError(t, f.Await(t.Context(), "echo", "grow.payload", "grow.metadata"))
	for len(g.Members()) == 0 {
		time.Sleep(time.Millisecond)
	}
	return caller, server
}
