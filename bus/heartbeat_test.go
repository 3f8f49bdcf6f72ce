package bus_test

import (
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mine     time.Duration
		features bus.Features
		theirs   time.Duration
		want     []time.Duration // of the first three pings
		lives    time.Duration   // how long a silent peer's link does; 0: for ever
	}{
		"both":                    {beat, everything | bus.CanPing, beat, []time.Duration{beat, 2 * beat}, 3 * beat},
		"theirs are more often":   {beat, everything | bus.CanPing, beat / 4, []time.Duration{beat / 4, beat / 2, 3 * beat / 4}, 3 * beat},
		"theirs are less often":   {beat, everything | bus.CanPing, time.Hour, []time.Duration{beat, 2 * beat}, 3 * beat},
		"theirs are mad":          {beat, everything | bus.CanPing, time.Microsecond, []time.Duration{10 * time.Millisecond, 20 * time.Millisecond}, 3 * beat},
		"the peer has none":       {beat, everything, 0, nil, 0},
		"this side has none":      {-1, everything | bus.CanPing, beat, nil, 0},
		"neither side has any":    {-1, everything, 0, nil, 0},
		"short ones, as in tests": {4 * time.Millisecond, everything | bus.CanPing, 4 * time.Millisecond, []time.Duration{4 * time.Millisecond, 8 * time.Millisecond}, 12 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, tp := presentLink(t, tc.mine, bus.Options{})
				f := lifeAt(t, l, time.Now(), tc.features)
				f.to = tp.take(bus.ListRequest)[0].Metadata["leat-session"]
				began := time.Now()
				var pings []time.Duration
				tp.mu.Lock()
				tp.publish = func(m *message.Message) {
					if bus.Type(m.Metadata["leat-type"]) == bus.Ping {
						pings = append(pings, time.Since(began))
					}
				}
				tp.mu.Unlock()
				f.say(bus.Envelope{Type: bus.Cancel, Thread: "x"}) // confirms the session, and tells no more
				f.say(bus.Envelope{Type: bus.ListResponse, Thread: "hello", Body: []byte("[]"), Features: f.features},
					"leat-beat", strconv.FormatInt(max(1, tc.theirs.Microseconds()), 10))
				if tc.lives == 0 {
					time.Sleep(5 * time.Minute)
					require.NoError(t, l.Err())
				} else {
					<-l.Done()
					require.ErrorIs(t, l.Err(), bus.ErrPeerClosed)
					require.ErrorContains(t, l.Err(), "not heard of for")
					require.Equal(t, tc.lives, time.Since(began))
				}
				synctest.Wait()
				require.GreaterOrEqual(t, len(pings), len(tc.want))
				require.Equal(t, tc.want, pings[:len(tc.want):len(tc.want)])
				if tc.want == nil {
					require.Empty(t, pings)
				}
			})
		})
	}
}

func TestWhatIsSentSparesThePingAndWhatIsHeardKeepsTheLink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, tp := presentLink(t, beat, bus.Options{})
		f := lifeAt(t, l, time.Now(), everything|bus.CanPing)
		f.meets(tp)
		const n = 100
		for range n {
			time.Sleep(beat / 2)
			require.NoError(t, l.Send(event("")))
			f.say(bus.Envelope{Type: bus.Cancel, Thread: "x"})
		}
		require.NoError(t, l.Err())
		pings := len(tp.take(bus.Ping))
		require.Positive(t, pings, "the clocks drift")
		require.LessOrEqual(t, pings, n/2/16+1)

		stranger := lifeAt(t, l, time.Now().Add(-time.Hour), everything|bus.CanPing)
		began := time.Now()
		for l.Context().Err() == nil {
			time.Sleep(beat / 2)
			stranger.hello() // is no sign of life of the peer
		}
		require.Equal(t, 3*beat, time.Since(began))
	})
}

func TestHeartbeatsUnderAQueueThatDoesNotMove(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const bound = 4
		l, tp := presentLink(t, beat, bus.Options{QueueSize: bound, CloseTimeout: time.Second, StallTimeout: 24 * time.Hour})
		f := lifeAt(t, l, time.Now(), everything|bus.CanPing)
		f.meets(tp)
		hang := make(chan struct{})
		tp.mu.Lock()
		tp.hang = hang
		tp.mu.Unlock()
		for l.Send(event("")) == nil {
		}
		for range 1000 {
			time.Sleep(beat)
			f.say(bus.Envelope{Type: bus.Ping})
		}
		require.NoError(t, l.Err(), "a peer that is there is not gone because it takes nothing for less than the StallTimeout")
		require.LessOrEqual(t, l.Stats().Queued, 2*bound, "pings do not pile up")
		tp.mu.Lock()
		tp.hang = nil
		tp.mu.Unlock()
		close(hang)
		synctest.Wait()
		require.Zero(t, l.Stats().Queued)
		tp.take()
		time.Sleep(beat + beat/2)
		require.NotEmpty(t, tp.take(bus.Ping), "and they go on when it moves again")
	})
}

func TestNothingTicksAfterClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, tp := presentLink(t, beat, bus.Options{})
		f := lifeAt(t, l, time.Now(), everything|bus.CanPing)
		f.meets(tp)
		var wg sync.WaitGroup
		time.Sleep(beat) // the ping is due right now
		for range 3 {
			wg.Go(func() { _ = l.Close() })
			wg.Go(func() { f.deliver(bus.Envelope{Type: bus.Ping}) })
		}
		wg.Wait()
		tp.take()
		time.Sleep(time.Hour)
		require.Empty(t, tp.take())
		require.ErrorIs(t, l.Err(), bus.ErrClosed)
	})
}
