package chaostest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/pairing/chaostest"
)

func only(topic string) func(string) bool { return func(t string) bool { return t == topic } }

func TestCutLosesUntilHealed(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	p := chaostest.WrapPublisher(r, chaostest.Options{})
	publish(t, p, "x", 1, 2)
	p.Cut(nil)
	publish(t, p, "x", 3, 4)
	p.Heal()
	publish(t, p, "x", 5, 6)
	require.Equal(t, []string{"1", "2", "5", "6"}, r.received("x"))
	require.EqualValues(t, 2, closed(t, p).Lost)
}

func TestCutLosesWhatFallsDueMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := chaostest.WrapPublisher(r, chaostest.Options{Delay: 1, MaxDelay: time.Second})
		publish(t, p, "x", 1, 10)
		p.Cut(nil)
		time.Sleep(time.Second)
		p.Heal()
		time.Sleep(time.Minute)
		require.Empty(t, r.received("x"))
		require.EqualValues(t, 10, p.Stats().Lost)
		closed(t, p)
	})
}

func TestCutAndHoldByTopic(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(*chaostest.Publisher, func(string) bool){
		"cut": (*chaostest.Publisher).Cut, "hold": (*chaostest.Publisher).Hold,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			p := chaostest.WrapPublisher(r, chaostest.Options{})
			cut(p, only("x"))
			publish(t, p, "x", 1, 3)
			publish(t, p, "y", 1, 3)
			require.Empty(t, r.received("x"))
			require.Equal(t, numbers(1, 3), r.received("y"))
			cut(p, only("y")) // in the place of the first
			require.NoError(t, p.Flush(t.Context()))
			publish(t, p, "x", 4, 5)
			publish(t, p, "y", 4, 5)
			require.Subset(t, r.received("x"), numbers(4, 5))
			require.Equal(t, numbers(1, 3), r.received("y"))
			closed(t, p)
		})
	}
}

func TestHoldKeepsTheOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		p := chaostest.WrapPublisher(r, chaostest.Options{})
		publish(t, p, "x", 1, 3)
		p.Hold(nil)
		publish(t, p, "x", 4, 1000)
		time.Sleep(time.Hour)
		require.Len(t, r.received("x"), 3)
		require.EqualValues(t, 997, p.Stats().Held)
		require.NoError(t, p.Flush(t.Context()), "it does not wait for what is held on purpose")
		p.Heal()
		publish(t, p, "x", 1001, 1010) // behind them, while they are handed on
		require.NoError(t, p.Flush(t.Context()))
		require.Equal(t, numbers(1, 1010), r.received("x"))
		require.Zero(t, closed(t, p).Lost)
	})
}

func TestHoldIsBounded(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	p := chaostest.WrapPublisher(r, chaostest.Options{MaxHeld: 5})
	p.Hold(nil)
	publish(t, p, "x", 1, 8) // does not block
	p.Heal()
	require.NoError(t, p.Flush(t.Context()))
	require.Equal(t, numbers(1, 5), r.received("x"))
	require.EqualValues(t, 3, closed(t, p).Lost)
}

func TestCutAfterHoldLosesWhatWasHeld(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	p := chaostest.WrapPublisher(r, chaostest.Options{})
	p.Hold(nil)
	publish(t, p, "x", 1, 3)
	p.Cut(nil)
	require.NoError(t, p.Flush(t.Context()))
	p.Heal()
	require.Empty(t, r.received("x"))
	require.EqualValues(t, 3, closed(t, p).Lost)
}

// TestCutsDoNotChangeTheDice: what happens to a message does not depend on
// cuts before it.
func TestCutsDoNotChangeTheDice(t *testing.T) {
	t.Parallel()
	opts := chaostest.Options{Seed: 1, Drop: 0.5}
	dropped := func(cut bool) []string {
		r := &recorder{}
		p := chaostest.WrapPublisher(r, opts)
		if cut {
			p.Cut(nil)
		}
		publish(t, p, "x", 1, 100)
		p.Heal()
		before := len(r.received("x"))
		publish(t, p, "x", 101, 200)
		closed(t, p)
		return r.received("x")[before:]
	}
	require.Equal(t, dropped(false), dropped(true))
}
