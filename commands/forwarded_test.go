package commands_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func TestRule24ForwardedRequestsAreBoundedAndRefusedAtOnce(t *testing.T) {
	t.Parallel()
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		const bound, n = 100, 300
		r := newRegistry(t, commands.Config{ID: "r", MaxForwarded: bound})
		mute := invade(t, r, "mute", 0, offering(`[{"id":"x"}]`), link)
		origin := invade(t, r, "origin", everything, offering(`[]`), link)
		other := invade(t, r, "other", everything, offering(`[]`), link)
		for i := range n {
			origin.say(bus.Envelope{ID: fmt.Sprint(i), Type: bus.ExecuteRequest, Name: "x", Deadline: time.Hour})
		}
		for range n - bound {
			got := origin.wants(bus.ExecuteResponse)
			require.NotNil(t, got.Fault)
			assert.Equal(t, "internal_error", got.Fault.Code)
			assert.Contains(t, got.Fault.Message, "overloaded")
		}
		s := r.Stats()
		assert.Equal(t, bound, s.Pending)
		assert.Equal(t, bound, s.Serving)
		assert.EqualValues(t, n-bound, s.Refused)
		other.say(bus.Envelope{ID: "mine", Type: bus.ExecuteRequest, Name: "x"})
		for {
			ask := mute.wants(bus.ExecuteRequest)
			if ask.ID == "mine" {
				mute.say(bus.Envelope{ID: "r", Type: bus.ExecuteResponse, Thread: ask.ID, Body: []byte(`1`)})
				break
			}
			mute.say(bus.Envelope{ID: "r" + ask.ID, Type: bus.ExecuteResponse, Thread: ask.ID, Body: []byte(`1`)})
		}
		assert.Equal(t, "1", string(other.wants(bus.ExecuteResponse).Body), "the bound is of one link")
		for range bound {
			origin.wants(bus.ExecuteResponse)
		}
		assert.Zero(t, r.Stats().Pending+r.Stats().Serving+r.Stats().Held)
	})
}

// A relay keeps what its callers wait long for, but not without limit.
func TestRule24OverdueForwardedRequestsAreKeptUpToMaxBacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		r := newRegistry(t, commands.Config{RouterChannel: "up", RequestTTL: time.Second, MaxInFlight: 4, MaxBacklog: 16})
		up, origin := meet(t, r, "up", everything), meet(t, r, "origin", everything)
		asked := make(map[string]string) // by what the origin calls it
		for i := range n {
			origin.say(bus.Envelope{ID: fmt.Sprint(i), Type: bus.ExecuteRequest, Name: "x", Deadline: time.Hour})
			ask := up.wants(bus.ExecuteRequest)
			asked[fmt.Sprint(i)] = ask.ID
		}
		assert.Equal(t, n, r.Stats().Pending)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		assert.Equal(t, 16, r.Stats().Pending)
		assert.EqualValues(t, n-16, r.Stats().Overdue)
		for i := range n - 16 {
			got := origin.wants(bus.ExecuteResponse)
			assert.Equal(t, fmt.Sprint(i), got.Thread, "the oldest go first")
			assert.Equal(t, "timeout", got.Fault.Code)
			assert.Equal(t, asked[got.Thread], up.wants(bus.Cancel).Thread)
		}
		time.Sleep(30 * time.Minute)
		for i := n - 16; i < n; i++ {
			up.say(bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: asked[fmt.Sprint(i)], Body: []byte(`1`)})
			got := origin.wants(bus.ExecuteResponse)
			assert.Equal(t, fmt.Sprint(i), got.Thread)
			assert.Equal(t, `1`, string(got.Body), "one that is waited for long is answered late")
		}
		assert.Zero(t, r.Stats().Pending+r.Stats().Serving)
	})
}

func TestRule24AnOverdueForwardedRequestMakesRoomForANewOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, commands.Config{RouterChannel: "up", RequestTTL: time.Second, MaxForwarded: 10})
		up, origin := meet(t, r, "up", everything), meet(t, r, "origin", everything)
		ask := func(i int) bus.Envelope {
			origin.say(bus.Envelope{ID: fmt.Sprint(i), Type: bus.ExecuteRequest, Name: "x", Deadline: time.Hour})
			return up.next()
		}
		for i := range 10 {
			ask(i)
		}
		origin.say(bus.Envelope{ID: "eleventh", Type: bus.ExecuteRequest, Name: "x", Deadline: time.Hour})
		assert.Equal(t, "internal_error", origin.wants(bus.ExecuteResponse).Fault.Code)
		time.Sleep(2 * time.Second)
		for i := range 10 {
			assert.Equal(t, bus.Cancel, ask(10+i).Type)
			assert.Equal(t, "timeout", origin.wants(bus.ExecuteResponse).Fault.Code)
			assert.Equal(t, bus.ExecuteRequest, up.next().Type)
		}
		assert.Equal(t, 10, r.Stats().Pending)
		assert.EqualValues(t, 10, r.Stats().Overdue)
	})
}

func TestRule02ACommandMayTakeLongerThanTheRequestTTLOfARelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		root := newRegistry(t, commands.Config{ID: "root"})
		mid := newRegistry(t, commands.Config{ID: "mid", RouterChannel: "root", RequestTTL: time.Second})
		leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "mid"})
		join(t, root, mid)
		join(t, mid, leaf)
		long := commands.Define[int, int]("long", "", commands.Options{TTL: time.Hour})
		require.NoError(t, commands.Register(within(t), leaf, long, func(ctx context.Context, n int) (int, error) {
			select {
			case <-time.After(50 * time.Minute):
				return n, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}))
		settle(t, root, mid, leaf)
		got, err := commands.Execute(context.Background(), root, long, 7)
		require.NoError(t, err)
		assert.Equal(t, 7, got)
	})
}

func TestRule18ShutdownWaitsForForwardedRequestsNoLongerThanRequestTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		root := newRegistry(t, commands.Config{ID: "root"})
		r := newRegistry(t, commands.Config{ID: "r", RouterChannel: "root", RequestTTL: time.Second})
		join(t, root, r)
		mute := meet(t, r, "mute", everything&^bus.CanFlush)
		mute.say(bus.Envelope{ID: "1", Type: bus.RegisterRequest, Body: json.RawMessage(`{"id":"x"}`)})
		mute.wants(bus.RegisterResponse)
		settle(t, root, r)
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		long := commands.Define[int, int]("x", "", commands.Options{TTL: time.Hour})
		done := make(chan error, 2)
		call := func() { _, err := commands.Execute(ctx, root, long, 1); done <- err }
		go call()
		mute.wants(bus.ExecuteRequest)
		time.Sleep(10 * time.Second)
		go call()
		answered := mute.wants(bus.ExecuteRequest)
		time.Sleep(time.Second / 2)
		start := time.Now()
		down := make(chan error, 1)
		go func() { down <- r.Shutdown(ctx) }()
		require.ErrorIs(t, <-done, commands.ErrTimeout, "the first one is overdue")
		assert.Zero(t, time.Since(start))
		synctest.Wait()
		assert.Empty(t, down, "the second one may still be answered")
		mute.say(bus.Envelope{ID: "2", Type: bus.ExecuteResponse, Thread: answered.ID, Body: []byte(`5`)})
		require.NoError(t, <-done)
		require.NoError(t, <-down)
		assert.Zero(t, time.Since(start))
	})
}

func TestRule18APeerThatNeverAnswersDoesNotHoldUpShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, commands.Config{RouterChannel: "up", RequestTTL: time.Second})
		up, origin := meet(t, r, "up", everything), meet(t, r, "origin", everything)
		for i := range 10 {
			origin.say(bus.Envelope{ID: fmt.Sprint(i), Type: bus.ExecuteRequest, Name: "x", Deadline: time.Hour})
			up.wants(bus.ExecuteRequest)
		}
		start := time.Now()
		require.NoError(t, r.Shutdown(context.Background()))
		assert.LessOrEqual(t, time.Since(start), 2*time.Second)
		for range 10 {
			assert.Equal(t, "timeout", origin.wants(bus.ExecuteResponse).Fault.Code, "the caller is told")
		}
		assert.EqualValues(t, 10, r.Stats().Overdue)
	})
}

// Requests that are held count in bytes too: while they run, wait, or are cancelled.
func TestRule24HeldRequestsAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	overWires(t, func(t *testing.T, link func(a, b string) (chA, chB *bus.Channel)) {
		const size = 100_000
		r := newRegistry(t, commands.Config{ID: "r", MaxInFlight: 1, MaxHeldBytes: 3*size + size/2})
		release := make(chan struct{})
		handleFunc(t, r, "x", func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil, nil
		})
		f := invade(t, r, "peer", everything, offering(`[]`), link)
		body := json.RawMessage(`{"s":"` + strings.Repeat("x", size) + `"}`)
		for round := range 3 {
			id := func(i int) string { return fmt.Sprint(round, "-", i) }
			for i := range 10 {
				f.say(bus.Envelope{ID: id(i), Type: bus.ExecuteRequest, Name: "x", Body: body})
			}
			for range 7 {
				got := f.wants(bus.ExecuteResponse)
				require.NotNil(t, got.Fault)
				assert.Contains(t, got.Fault.Message, "overloaded")
			}
			for i := range 3 {
				if round%2 == 0 {
					f.say(bus.Envelope{ID: bus.NewID(), Type: bus.Cancel, Thread: id(i)})
				} else {
					release <- struct{}{}
					require.Nil(t, f.wants(bus.ExecuteResponse).Fault)
				}
			}
			eventually(t, "all are over", func() bool { return r.Stats().Held == 0 })
		}
		huge := append(append(json.RawMessage(`"`), strings.Repeat("y", 5*size)...), '"')
		f.say(bus.Envelope{ID: "alone", Type: bus.ExecuteRequest, Name: "x", Body: huge})
		eventually(t, "one alone passes", func() bool { return r.Stats().Serving == 1 })
		close(release)
	})
}
