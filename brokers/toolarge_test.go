package brokers_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

// TestTooLargeForTheBroker: over Join and in a fleet, what is more than the broker takes is an error at once where it comes from,
// be it the payload or metadata, and what others send meanwhile arrives. On a broker that takes it, it arrives.
func TestTooLargeForTheBroker(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		for how, connected := range map[string]func(t *testing.T, b *brokers.Broker) (caller, server *commands.Registry){
			"Join": joinedBy, "Fleet": fleetBy,
		} {
			t.Run(how, func(t *testing.T) {
				b := k.open(t)
				caller, server := connected(t, b)
				heard := make(chan int, 100)
				_, err := server.Events().ListenRaw("e", func(_ context.Context, _ string, p json.RawMessage) { heard <- len(p) })
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				const size = 2 << 20
				large := strings.Repeat("x", size)
				limit := b.Publisher().(interface{ MaxBytes(string) int }).MaxBytes(b.Topic("any"))
				takes := limit == 0 || limit > 3*size
				check := func(what string, err error, code error) {
					t.Helper()
					if takes {
						require.NoError(t, err, what)
						return
					}
					require.ErrorIs(t, err, code, what)
					assert.ErrorContains(t, err, "bytes", what)
				}
				began := time.Now()
				withNote := bus.WithMetadata(ctx, message.Metadata{"note": large})
				_, err = caller.ExecuteRaw(ctx, "echo", json.RawMessage(`"`+large+`"`))
				check("request", err, commands.ErrInvalidRequest)
				_, err = caller.ExecuteRaw(withNote, "echo", json.RawMessage(`"small"`))
				check("request with metadata", err, commands.ErrInvalidRequest)
				_, err = caller.ExecuteRaw(ctx, "grow", json.RawMessage(`2097152`))
				check("reply", err, commands.ErrInternal)
				check("event", caller.Events().EmitRaw(ctx, "e", json.RawMessage(`"`+large+`"`)), bus.ErrTooLarge)
				check("event with metadata", caller.Events().EmitRaw(withNote, "e", json.RawMessage(`"small"`)), bus.ErrTooLarge)
				if !takes {
					assert.Less(t, time.Since(began), 10*time.Second, "nothing was waited for")
				}
				_, err = caller.ExecuteRaw(bus.WithMetadata(ctx, message.Metadata{"note": large[:200<<10]}), "echo", json.RawMessage(`"small"`))
				require.NoError(t, err, "no broker minds 200 KiB of metadata")
				require.NoError(t, caller.Events().EmitRaw(ctx, "e", json.RawMessage(`7`)))
				for n := 0; n != 1; {
					select {
					case n = <-heard:
					case <-ctx.Done():
						require.FailNow(t, "the event behind them did not come")
					}
				}
			})
		}
	})
}

func serveGrowing(t *testing.T, r *commands.Registry) {
	require.NoError(t, commands.Register(t.Context(), r, commands.Define[json.RawMessage, int]("echo", ""), func(_ context.Context, req json.RawMessage) (int, error) {
		return len(req), nil
	}))
	require.NoError(t, commands.Register(t.Context(), r, commands.Define[int, string]("grow", ""), func(_ context.Context, n int) (string, error) {
		return strings.Repeat("x", n), nil
	}))
}

func joinedBy(t *testing.T, b *brokers.Broker) (caller, server *commands.Registry) {
	caller, server = registry(t, commands.Config{ID: "caller"}), registry(t, commands.Config{ID: "server"})
	serveGrowing(t, server)
	there, err := server.RegisterChannel(t.Context(), b.Join("server", "caller"))
	require.NoError(t, err)
	here, err := caller.RegisterChannel(t.Context(), b.Join("caller", "server"))
	require.NoError(t, err)
	<-here.Ready()
	<-there.Ready()
	return caller, server
}

func fleetBy(t *testing.T, b *brokers.Broker) (caller, server *commands.Registry) {
	caller, f := process(t, b, fleet.Options{ID: "caller"})
	server, g := process(t, b, fleet.Options{ID: "server"})
	serveGrowing(t, server)
	require.NoError(t, f.Await(t.Context(), "echo", "grow"))
	require.Eventually(t, func() bool { return len(g.Members()) == 1 }, time.Minute, time.Millisecond)
	return caller, server
}
