package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing/fleet"
)

func TestFleetInvalidOptions(t *testing.T) {
	t.Parallel()
	ps := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, ps.Close()) })
	ok := fleet.Options{Namespace: "ns"}
	for name, c := range map[string]struct {
		pub  message.Publisher
		sub  message.Subscriber
		opts func(*fleet.Options)
		says string
	}{
		"no publisher":      {nil, ps, func(*fleet.Options) {}, "no publisher"},
		"no subscriber":     {ps, nil, func(*fleet.Options) {}, "no subscriber"},
		"no namespace":      {ps, ps, func(o *fleet.Options) { o.Namespace = "" }, "Namespace"},
		"dotted namespace":  {ps, ps, func(o *fleet.Options) { o.Namespace = "a.b" }, "Namespace"},
		"long namespace":    {ps, ps, func(o *fleet.Options) { o.Namespace = strings.Repeat("a", 65) }, "Namespace"},
		"ID with a space":   {ps, ps, func(o *fleet.Options) { o.ID = "a b" }, "ID"},
		"short lease":       {ps, ps, func(o *fleet.Options) { o.Lease = time.Millisecond }, "Lease"},
		"negative lease":    {ps, ps, func(o *fleet.Options) { o.Lease = -1 }, "Lease"},
		"negative number":   {ps, ps, func(o *fleet.Options) { o.QueueSize = -1 }, "negative"},
		"topics that clash": {ps, ps, func(o *fleet.Options) { o.Topic = func(string) string { return "one" } }, "one name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := ok
			c.opts(&o)
			_, err := fleet.New(t.Context(), c.pub, c.sub, o)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// deaf subscribes to the first topics and then fails.
type deaf struct {
	message.Subscriber
	after int
}

var errDeaf = errors.New("no more subscriptions")

func (d *deaf) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if d.after--; d.after < 0 {
		return nil, errDeaf
	}
	return d.Subscriber.Subscribe(ctx, topic)
}

// TestFleetSubscribeFails: nothing is left behind (goleak), and nothing of the caller's is closed.
func TestFleetSubscribeFails(t *testing.T) {
	t.Parallel()
	ps := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, ps.Close()) })
	o := fleet.Options{Namespace: "ns", Close: func() error { t.Error("closed"); return nil }}
	for after := range 3 {
		_, err := fleet.New(t.Context(), ps, &deaf{ps, after}, o)
		require.ErrorIs(t, err, errDeaf)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := fleet.New(ctx, ps, ps, o)
	require.ErrorIs(t, err, context.Canceled)
}

func TestFleetTopicsAndLimits(t *testing.T) {
	t.Parallel()
	ps := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, ps.Close()) })
	used := make(chan string, 100)
	closed := make(chan string, 2)
	o := fleet.Options{MaxMessageBytes: 1000, Topic: func(name string) string {
		used <- name
		return "mapped/" + name
	}, Close: func() error { closed <- "fleet"; return nil }}
	a, b := join(t, ps, "a", o), join(t, ps, "b", o)
	serve(t, b, "grow", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(`"` + strings.Repeat("x", 2000) + `"`), nil
	})
	require.NoError(t, a.fleet.Await(t.Context(), "grow"))
	_, err := a.ExecuteRaw(t.Context(), "grow", nil)
	require.ErrorIs(t, err, commands.ErrInternal)
	require.ErrorContains(t, err, "limit is 1000")
	_, err = a.ExecuteRaw(t.Context(), "grow", json.RawMessage(`"`+strings.Repeat("x", 2000)+`"`))
	require.ErrorIs(t, err, commands.ErrInvalidRequest)
	a.end(t)
	b.end(t)
	require.Len(t, closed, 2)
	close(used)
	for name := range used {
		require.Contains(t, []string{"test.inbox.a", "test.inbox.b", "test.discovery", "test.events"}, name)
	}
}

// TestFleetLimitIsTheBrokers: a broker that takes payloads up to MaxMessageBytes is given none that is longer. So a call near the
// limit succeeds or fails at once, for what is wrong with it.
func TestFleetLimitIsTheBrokers(t *testing.T) {
	t.Parallel()
	const limit = 1000
	d := newDepot()
	d.refuse = func(_ string, m *message.Message) error {
		if len(m.Payload) > limit {
			return errors.New("too long")
		}
		return nil
	}
	o := siteOptions{fleet: func(o *fleet.Options) { o.MaxMessageBytes = limit }}
	caller, w := d.site(t, "caller", o), d.site(t, "w", o)
	pad := commands.Define[string, string]("pad", "")
	require.NoError(t, commands.Register(t.Context(), w.Registry, pad, func(_ context.Context, s string) (string, error) {
		n, _ := strconv.Atoi(s)
		return strings.Repeat("x", n), nil
	}))
	caller.can(t, "pad")
	code := func(req string) commands.Code {
		codes := make(chan commands.Code, 1)
		go func() {
			if _, err := commands.Execute(t.Context(), caller.Registry, pad, req); err != nil {
				codes <- commands.CodeOf(err)
			}
			close(codes)
		}()
		return got(t, codes, "the end of a call")
	}
	require.Empty(t, code(strings.Repeat(" ", limit/2)))
	require.Empty(t, code(strconv.Itoa(limit/2)))
	require.Equal(t, commands.InvalidRequest, code(strings.Repeat(" ", limit)))
	require.Equal(t, commands.Internal, code(strconv.Itoa(limit)))
	for n := limit / 2; n < limit; n += 7 {
		require.Contains(t, []commands.Code{"", commands.InvalidRequest}, code(strings.Repeat(" ", n)))
		require.Contains(t, []commands.Code{"", commands.Internal}, code(strconv.Itoa(n)))
	}
	require.Zero(t, caller.fleet.Stats().Unsent+w.fleet.Stats().Unsent)
}

// TestFleetReplyThatIsRefused: where nobody has said what the broker takes, a caller is told that the reply was too long for it.
func TestFleetReplyThatIsRefused(t *testing.T) {
	t.Parallel()
	d := newDepot()
	d.refuse = func(_ string, m *message.Message) error {
		if len(m.Payload) > 1000 {
			return errors.New("too long")
		}
		return nil
	}
	o := siteOptions{fleet: func(o *fleet.Options) { o.Lease = 300 * time.Millisecond }}
	caller, w := d.site(t, "caller", o), d.site(t, "w", o)
	serve := func(id string, n int) {
		require.NoError(t, w.RegisterRaw(t.Context(), bus.Definition{ID: id}, func(context.Context, json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`"` + strings.Repeat("x", n) + `"`), nil
		}))
		caller.can(t, id)
	}
	serve("short", 10)
	serve("long", 2000)
	refused := make(chan error, 1)
	go func() {
		_, err := caller.ExecuteRaw(t.Context(), "long", nil)
		refused <- err
	}()
	err := got(t, refused, "the end of the call")
	require.ErrorIs(t, err, commands.ErrInternal)
	require.ErrorContains(t, err, "too long")
	_, err = caller.ExecuteRaw(t.Context(), "short", nil)
	require.NoError(t, err)
}

func TestFleetSessions(t *testing.T) {
	t.Parallel()
	now := time.Now()
	old, young := fleet.NewSession(now), fleet.NewSession(now.Add(time.Millisecond))
	require.True(t, fleet.Newer(young, old))
	require.False(t, fleet.Newer(old, young))
	require.False(t, fleet.Newer(old, old))
	long := fleet.NewSession(now.AddDate(1000, 0, 0))
	require.True(t, fleet.Newer(long, young), "one digit more")
	twin := fleet.NewSession(now)
	require.NotEqual(t, fleet.Newer(twin, old), fleet.Newer(old, twin), "one of two that began at once")
}
