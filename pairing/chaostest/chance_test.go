package chaostest_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/pairing/chaostest"
)

const volume = 2_000

// run publishes so many messages in a bubble, where no time passes meanwhile,
// and returns what arrived once all that was held has been handed on.
func run(t *testing.T, opts chaostest.Options, topic string) (got []string, s chaostest.Stats) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := chaostest.WrapPublisher(r, opts)
		publish(t, p, topic, 1, volume)
		time.Sleep(time.Minute) // of the bubble's clock: whatever is held falls due
		require.Zero(t, p.Stats().Held)
		got = r.received(topic)
		s = closed(t, p)
		require.Len(t, r.received(topic), len(got), "Close had nothing to hand on")
	})
	return got, s
}

// places returns where each message arrived, in order of publication.
func places(t *testing.T, got []string) (at [][]int) {
	t.Helper()
	at = make([][]int, volume+1)
	for i, id := range got {
		n, err := strconv.Atoi(id)
		require.NoError(t, err)
		at[n] = append(at[n], i)
	}
	return at[1:]
}

func TestZeroOptionsDoNothing(t *testing.T) {
	t.Parallel()
	got, s := run(t, chaostest.Options{}, "x")
	require.Equal(t, numbers(1, volume), got)
	require.Equal(t, chaostest.Stats{Published: volume, Delivered: volume}, s)
}

func TestDropLosesSome(t *testing.T) {
	t.Parallel()
	got, s := run(t, chaostest.Options{Seed: 3, Drop: 0.25}, "x")
	require.InDelta(t, volume/4, s.Dropped, volume/20)
	require.EqualValues(t, volume-len(got), s.Dropped)
	at := places(t, got)
	last := -1
	for _, p := range at {
		require.LessOrEqual(t, len(p), 1)
		if len(p) == 1 {
			require.Greater(t, p[0], last, "the others keep their order")
			last = p[0]
		}
	}
	got, _ = run(t, chaostest.Options{Drop: 1}, "x")
	require.Empty(t, got)
}

func TestDuplicateCopiesSome(t *testing.T) {
	t.Parallel()
	got, s := run(t, chaostest.Options{Seed: 3, Duplicate: 0.25, MaxCopies: 4}, "x")
	require.EqualValues(t, len(got)-volume, s.Copied)
	seen := make(map[int]int)
	last := -1
	for _, p := range places(t, got) {
		seen[len(p)]++
		for _, i := range p {
			require.Greater(t, i, last, "they keep their order")
			last = i
		}
	}
	require.InDelta(t, volume*3/4, seen[1], volume/20)
	for copies := 2; copies <= 4; copies++ {
		require.InDelta(t, volume/12, seen[copies], volume/40, "%d copies", copies)
	}
	require.Equal(t, volume, seen[1]+seen[2]+seen[3]+seen[4])
}

func TestDelayKeepsTheOrder(t *testing.T) {
	t.Parallel()
	got, s := run(t, chaostest.Options{Seed: 3, Delay: 0.25, MaxDelay: time.Second}, "x")
	require.Equal(t, numbers(1, volume), got)
	require.InDelta(t, volume/4, s.Delayed, volume/20)
}

func TestDelayIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := chaostest.WrapPublisher(r, chaostest.Options{Delay: 1, MaxDelay: time.Second})
		var longest time.Duration
		for i := range 200 {
			began := time.Now()
			publish(t, p, "x", i, i)
			require.Equal(t, began, time.Now(), "Publish does not wait")
			require.Len(t, r.received("x"), i, "it is late")
			for len(r.received("x")) == i {
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			longest = max(longest, time.Since(began))
		}
		require.LessOrEqual(t, longest, time.Second)
		require.Greater(t, longest, 900*time.Millisecond)
		require.EqualValues(t, 200, closed(t, p).Delayed)
	})
}

func TestReorderIsBounded(t *testing.T) {
	t.Parallel()
	got, s := run(t, chaostest.Options{Seed: 3, Reorder: 0.25, MaxOvertakes: 3}, "x")
	require.Len(t, got, volume)
	require.InDelta(t, volume/4, s.Reordered, volume/20)
	at := places(t, got)
	overtaken := make(map[int]int)
	for n, p := range at {
		require.Len(t, p, 1)
		by := 0
		for _, later := range at[n+1:] {
			if later[0] < p[0] {
				by++
			}
		}
		overtaken[by]++
	}
	require.Greater(t, overtaken[1], volume/20)
	require.Greater(t, overtaken[2], volume/20)
	require.Greater(t, overtaken[3], volume/20)
	// Three that kept their place, and a few between that were late themselves.
	for by := range overtaken {
		require.LessOrEqual(t, by, 3*3)
	}
}

func TestReorderedMessageThatNobodyOvertakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := chaostest.WrapPublisher(r, chaostest.Options{Reorder: 1, MaxDelay: time.Second})
		publish(t, p, "x", 1, 1)
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		require.Empty(t, r.received("x"))
		require.EqualValues(t, 1, p.Stats().Held)
		time.Sleep(1 * time.Nanosecond)
		synctest.Wait()
		require.Equal(t, []string{"1"}, r.received("x"))
		closed(t, p)
	})
}

var everything = chaostest.Options{Seed: 1, Drop: 0.1, Duplicate: 0.2, Delay: 0.1, Reorder: 0.2, MaxDelay: time.Second}

func TestSameSeedSameChaos(t *testing.T) {
	t.Parallel()
	first, stats := run(t, everything, "x")
	again, statsAgain := run(t, everything, "x")
	require.Equal(t, first, again)
	require.Equal(t, stats, statsAgain)
	other := everything
	other.Seed = 2
	got, _ := run(t, other, "x")
	require.NotEqual(t, first, got, "another seed")
	got, _ = run(t, everything, "y")
	require.NotEqual(t, first, got, "another topic")
}

// TestTopicsDoNotDisturbEachOther has two goroutines publish, so that no order
// between the topics is given.
func TestTopicsDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	opts := chaostest.Options{Seed: 1, Drop: 0.1, Duplicate: 0.2, Reorder: 0.2, MaxDelay: time.Hour}
	alone, _ := run(t, opts, "x")
	r := &recorder{}
	p := chaostest.WrapPublisher(r, opts)
	other := make(chan struct{})
	go func() {
		defer close(other)
		for range volume {
			_ = p.Publish("y", message.NewMessage("noise", nil))
		}
	}()
	publish(t, p, "x", 1, volume)
	<-other
	closed(t, p)
	require.Equal(t, alone, r.received("x"))
}

func TestTopicsOptionSparesTheOthers(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	opts := everything
	opts.Topics = func(topic string) bool { return topic == "bad" }
	p := chaostest.WrapPublisher(r, opts)
	publish(t, p, "good", 1, 100)
	require.Equal(t, numbers(1, 100), r.received("good"))
	publish(t, p, "bad", 1, 100)
	closed(t, p)
	require.NotEqual(t, numbers(1, 100), r.received("bad"))
}

func TestCopiesAreMessagesOfTheirOwn(t *testing.T) {
	t.Parallel()
	type key struct{}
	var got []*message.Message
	p := chaostest.WrapPublisher(&recorder{before: func(_ string, m *message.Message) error {
		got = append(got, m)
		return nil
	}}, chaostest.Options{Duplicate: 1, Delay: 0.5, MaxDelay: time.Hour})
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
	sent := message1(ctx, "1")
	require.NoError(t, p.Publish("x", sent))
	require.NotZero(t, p.Stats().Held, "seed 0 delays one of them")
	cancel()
	closed(t, p)
	require.Len(t, got, 2)
	for _, m := range got {
		require.NotSame(t, sent, m)
		require.Equal(t, "1", m.UUID)
		require.Equal(t, "payload", string(m.Payload))
		require.Equal(t, message.Metadata{"key": "value"}, m.Metadata)
		require.Equal(t, "kept", m.Context().Value(key{}))
		require.True(t, m.Ack())
	}
	got[0].Metadata.Set("key", "changed")
	require.Equal(t, "value", got[1].Metadata.Get("key"))
	require.Equal(t, "value", sent.Metadata.Get("key"))
	require.NoError(t, got[1].Context().Err(), "what was held is not cancelled")
}

func TestWrongOptionsPanic(t *testing.T) {
	t.Parallel()
	for text, o := range map[string]chaostest.Options{
		"chaostest: Options.Drop is -0.1, not a probability":   {Drop: -0.1},
		"chaostest: Options.Duplicate is 2, not a probability": {Duplicate: 2},
		"chaostest: Options.Delay is 1.5, not a probability":   {Delay: 1.5},
		"chaostest: Options.Reorder is -1, not a probability":  {Reorder: -1},
		"chaostest: negative Options.MaxCopies":                {MaxCopies: -1},
		"chaostest: negative Options.MaxDelay":                 {MaxDelay: -1},
		"chaostest: negative Options.MaxOvertakes":             {MaxOvertakes: -1},
		"chaostest: negative Options.MaxHeld":                  {MaxHeld: -1},
	} {
		require.PanicsWithValue(t, text, func() { chaostest.WrapPublisher(&recorder{}, o) })
	}
}
