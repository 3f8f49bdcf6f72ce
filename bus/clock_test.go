package bus_test

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

// road carries messages to a link, each in its own time.
type road struct {
	mu    sync.Mutex
	to    *bus.Link
	takes func() time.Duration
}

func (r *road) Publish(_ string, ms ...*message.Message) error {
	for _, m := range ms {
		r.mu.Lock()
		takes := r.takes()
		r.mu.Unlock()
		copied := m.Copy()
		time.AfterFunc(takes, func() {
			r.mu.Lock()
			to := r.to
			r.mu.Unlock()
			if to != nil { // else it is lost
				_ = to.Deliver(copied)
			}
		})
	}
	return nil
}

func (*road) Close() error { return nil }

func (r *road) lead(to *bus.Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = to
}

func (r *road) take(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.takes = func() time.Duration { return d }
}

// skewed is a bus whose clock is wrong by that much.
func skewed(t *testing.T, id string, by func() time.Duration) (*bus.Bus, *tape) {
	b, tp := bus.New(bus.Options{ID: id, Logger: slog.New(slog.DiscardHandler)}), new(tape)
	b.SetWall(func() time.Time { return time.Now().Add(by()) })
	b.Use(func(*bus.Link) bus.Receiver { return tp })
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b, tp
}

func always(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// between attaches two buses to each other, over two roads.
func between(t *testing.T, a, b *bus.Bus, there, back *road) (ab, ba *bus.Link) {
	ab, err := a.Attach(t.Context(), &bus.Channel{ID: "b", Publisher: there, Out: "out", Heartbeat: beat})
	require.NoError(t, err)
	back.lead(ab)
	ba, err = b.Attach(t.Context(), &bus.Channel{ID: "a", Publisher: back, Out: "out", Heartbeat: beat})
	require.NoError(t, err)
	there.lead(ba)
	return ab, ba
}

func request(id string, deadline time.Duration) bus.Envelope {
	return bus.Envelope{ID: id, Type: bus.ExecuteRequest, Name: "x", Deadline: deadline}
}

func TestDeadlinesHoldWhateverTheClocksSay(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{0, time.Hour, -time.Hour, 20 * 365 * 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, _ := skewed(t, "a", always(0))
				b, got := skewed(t, "b", always(skew))
				there, back := &road{takes: always(3 * time.Millisecond)}, &road{takes: always(5 * time.Millisecond)}
				ab, ba := between(t, a, b, there, back)
				<-ab.Ready()
				<-ba.Ready()
				for link, want := range map[*bus.Link]time.Duration{ab: skew, ba: -skew} {
					offset, unsure, known := link.ClockOffset()
					require.True(t, known)
					assert.LessOrEqual(t, (offset - want).Abs(), unsure)
					assert.LessOrEqual(t, unsure, 5*time.Millisecond)
				}
				there.take(2 * time.Second) // the broker is slow
				require.NoError(t, ab.Send(request("late", time.Second)))
				require.NoError(t, ab.Send(request("in time", 5*time.Second)))
				time.Sleep(3 * time.Second)
				require.EqualValues(t, 1, ba.Stats().Expired)
				require.Len(t, got.list(bus.ExecuteRequest), 1)
				e := got.list(bus.ExecuteRequest)[0]
				require.Equal(t, "in time", e.ID)
				assert.InDelta(t, 3*time.Second, e.Deadline, float64(10*time.Millisecond), "the time on the way counts")
				require.Zero(t, ba.Stats().Rejected)
				require.NoError(t, ab.Err())
			})
		})
	}
}

func (t *tape) list(typ bus.Type) (es []bus.Envelope) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.got {
		if e.Type == typ {
			es = append(es, e)
		}
	}
	return es
}

// What lay in the broker for long before it was answered says little about the
// clocks: no request is dropped because of it.
func TestASlowHandshakeDropsNoRequestThatIsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, _ := skewed(t, "a", always(0))
		b, got := skewed(t, "b", always(0))
		there, back := &road{takes: always(0)}, &road{takes: always(2 * time.Second)}
		ab, ba := between(t, a, b, there, back)
		<-ab.Ready()
		<-ba.Ready()
		require.NoError(t, ab.Send(request("short", 100*time.Millisecond)))
		require.NoError(t, ab.Send(request("without", 0)))
		synctest.Wait()
		time.Sleep(time.Millisecond)
		require.Zero(t, ba.Stats().Expired)
		require.Len(t, got.list(bus.ExecuteRequest), 2)
		require.LessOrEqual(t, got.list(bus.ExecuteRequest)[0].Deadline, 100*time.Millisecond)
		back.take(0)
		time.Sleep(5 * time.Minute)
		_, unsure, _ := ba.ClockOffset()
		require.Less(t, unsure, time.Millisecond, "and pings measure again")
	})
}

func TestAClockThatIsSetIsNoticed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		by := time.Duration(0)
		a, _ := skewed(t, "a", func() time.Duration { mu.Lock(); defer mu.Unlock(); return by })
		b, _ := skewed(t, "b", always(0))
		r := rand.New(rand.NewPCG(1, 1))
		jitter := func() time.Duration { return time.Duration(r.IntN(int(20 * time.Millisecond))) }
		there, back := &road{takes: jitter}, &road{takes: always(time.Millisecond)}
		_, ba := between(t, a, b, there, back)
		<-ba.Ready()
		for _, set := range []time.Duration{time.Hour, -time.Hour, time.Minute, 0} {
			mu.Lock()
			by = set
			mu.Unlock()
			time.Sleep(16*beat + 4*beat) // each has had its turn
			offset, unsure, known := ba.ClockOffset()
			require.True(t, known)
			require.LessOrEqual(t, (offset - set).Abs(), unsure, "set by %s", set)
		}
		require.NoError(t, ba.Err())
	})
}

// A request that waited here for its peer, for longer than its caller did,
// is not sent; what is sent says what is left.
func TestARequestThatWasHeldSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, tp := presentLink(t, beat, bus.Options{})
		tp.take()
		require.NoError(t, l.Send(request("short", time.Second)))
		require.NoError(t, l.Send(request("long", time.Minute)))
		require.NoError(t, l.Send(request("without", 0)))
		time.Sleep(5 * time.Second)
		f := lifeAt(t, l, time.Now(), everything)
		f.meets(tp)
		sent := tp.take(bus.ExecuteRequest)
		require.Len(t, sent, 2)
		require.Equal(t, "long", sent[0].Metadata["leat-id"])
		require.Equal(t, "55000000", sent[0].Metadata["leat-deadline"])
		require.NotContains(t, sent[1].Metadata, "leat-deadline")
		require.EqualValues(t, 1, l.Stats().Unsent)
		require.Empty(t, tp.unsent, "its caller has left")
	})
}

func TestTimesThatAreNoneAreRejected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, tp := presentLink(t, beat, bus.Options{})
		f := lifeAt(t, l, time.Now(), everything)
		f.meets(tp)
		for i, bad := range []string{"", "x", "0", "-5", "9223372036854775807", "1.5"} {
			f.say(request("", 0), "leat-expires", bad)
			f.say(bus.Envelope{Type: bus.Ping}, "leat-sent", bad)
			f.say(bus.Envelope{Type: bus.Ping}, "leat-sent", "1", "leat-echo", bad)
			f.say(bus.Envelope{Type: bus.Ping}, "leat-sent", "1", "leat-got", bad)
			f.say(bus.Envelope{Type: bus.ListResponse, Thread: "x", Body: []byte("[]")}, "leat-beat", bad)
			require.EqualValues(t, 5*(i+1), l.Stats().Rejected, bad)
		}
		require.Zero(t, tp.received(bus.ExecuteRequest))
		f.say(bus.Envelope{Type: bus.Ping}, "leat-sent", "9007199254740992", "leat-echo", "1", "leat-got", "9007199254740992")
		f.say(request("ok", time.Second))
		require.Equal(t, 1, tp.received(bus.ExecuteRequest))
	})
}
