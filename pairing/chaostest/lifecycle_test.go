package chaostest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/pairing/chaostest"
)

func TestCloseHandsOnWhatIsHeld(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	p := chaostest.WrapPublisher(r, chaostest.Options{Delay: 1, MaxDelay: time.Hour})
	publish(t, p, "x", 1, 100)
	publish(t, p, "y", 1, 100)
	require.EqualValues(t, 200, p.Stats().Held)
	require.EqualValues(t, 200, closed(t, p).Delivered)
	require.Equal(t, numbers(1, 100), r.received("x"))
	require.Equal(t, numbers(1, 100), r.received("y"))
}

func TestCloseDropsOnDemand(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	p := chaostest.WrapPublisher(r, chaostest.Options{Delay: 0.5, Reorder: 0.5, MaxDelay: time.Hour, DropOnClose: true})
	p.Hold(nil)
	publish(t, p, "x", 1, 100)
	p.Heal()
	s := closed(t, p)
	require.EqualValues(t, 100, s.Lost+s.Delivered)
	require.NotZero(t, s.Lost)
	require.Len(t, r.received("x"), int(s.Delivered))
}

func TestCloseLosesWhatACutHolds(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	p := chaostest.WrapPublisher(r, chaostest.Options{})
	p.Hold(only("x"))
	publish(t, p, "x", 1, 10)
	require.EqualValues(t, 10, closed(t, p).Lost)
	require.Empty(t, r.received("x"))
}

func TestAfterClose(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	p := chaostest.WrapPublisher(r, chaostest.Options{Delay: 1})
	publish(t, p, "x", 1, 1)
	closed(t, p)
	require.ErrorIs(t, p.Close(), errClose)
	require.Equal(t, 1, r.closes)
	for _, topic := range []string{"x", "new"} {
		require.ErrorIs(t, p.Publish(topic, message.NewMessage("2", nil)), chaostest.ErrClosed)
	}
	require.ErrorIs(t, p.Flush(t.Context()), chaostest.ErrClosed)
	p.Hold(nil)
	p.Heal()
	require.EqualValues(t, 1, p.Stats().Published)
}

// hanging is a publisher that hangs until it is closed.
type hanging struct{ entered, closed chan struct{} }

var errHung = errors.New("hung")

func (h *hanging) Publish(string, ...*message.Message) error {
	h.entered <- struct{}{}
	<-h.closed
	return errHung
}

func (h *hanging) Close() error {
	close(h.closed)
	return errClose
}

func TestCloseEndsAPublishThatHangs(t *testing.T) {
	t.Parallel()
	h := &hanging{make(chan struct{}, 1), make(chan struct{})}
	p := chaostest.WrapPublisher(h, chaostest.Options{Delay: 1, MaxDelay: time.Nanosecond, DropOnClose: true})
	publish(t, p, "x", 1, 5)
	<-h.entered
	s := closed(t, p)
	require.EqualValues(t, 1, s.Failed)
	require.EqualValues(t, 4, s.Lost)
}

func TestErrorsOfTheWrappedPublisher(t *testing.T) {
	t.Parallel()
	errFull := errors.New("full")
	refuse := true
	r := &recorder{before: func(_ string, m *message.Message) error {
		if refuse && m.UUID != "1" {
			return errFull
		}
		return nil
	}}
	p := chaostest.WrapPublisher(r, chaostest.Options{})
	err := p.Publish("x", message.NewMessage("1", nil), message.NewMessage("2", nil), message.NewMessage("3", nil))
	require.ErrorIs(t, err, errFull)
	require.Equal(t, chaostest.Stats{Published: 2, Delivered: 1, Failed: 1}, p.Stats(), "3 was left out")
	p.Hold(nil)
	publish(t, p, "x", 4, 6) // no error: they are held
	p.Heal()
	require.NoError(t, p.Flush(t.Context()))
	require.EqualValues(t, 4, p.Stats().Failed)
	refuse = false
	publish(t, p, "x", 7, 7)
	closed(t, p)
	require.Equal(t, []string{"1", "7"}, r.received("x"))
}

func TestPublishWaitsForRoom(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(p *chaostest.Publisher, pass chan<- struct{}, cancel func()) error{
		"room": func(_ *chaostest.Publisher, pass chan<- struct{}, _ func()) error {
			close(pass)
			return nil
		},
		"context": func(_ *chaostest.Publisher, _ chan<- struct{}, cancel func()) error {
			cancel()
			return context.Canceled
		},
		"cut": func(p *chaostest.Publisher, _ chan<- struct{}, _ func()) error {
			p.Cut(nil)
			return nil
		},
		"hold": func(p *chaostest.Publisher, _ chan<- struct{}, _ func()) error {
			p.Hold(nil)
			return nil
		},
		"close": func(p *chaostest.Publisher, pass chan<- struct{}, _ func()) error {
			go func() {
				synctest.Wait()
				close(pass)
			}()
			_ = p.Close()
			return chaostest.ErrClosed
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				pass := make(chan struct{})
				r := &recorder{before: func(string, *message.Message) error { <-pass; return nil }}
				p := chaostest.WrapPublisher(r, chaostest.Options{Delay: 1, MaxDelay: time.Hour, MaxHeld: 3})
				publish(t, p, "x", 1, 3)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				published := make(chan error, 1)
				go func() { published <- p.Publish("x", message1(ctx, "4")) }()
				synctest.Wait()
				require.Empty(t, published, "it waits")
				want := end(p, pass, cancel)
				require.ErrorIs(t, <-published, want)
				if name != "room" && name != "close" {
					close(pass)
				}
				closed(t, p)
			})
		})
	}
}

// TestFullGoesOutEarly: at the bound nobody waits for MaxDelay.
func TestFullGoesOutEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := &recorder{}
		p := chaostest.WrapPublisher(r, chaostest.Options{Delay: 0.5, Reorder: 0.5, MaxDelay: time.Hour, MaxHeld: 10})
		publish(t, p, "x", 1, 1000)
		require.Equal(t, began, time.Now())
		require.LessOrEqual(t, p.Stats().Held, uint64(10))
		closed(t, p)
		require.ElementsMatch(t, numbers(1, 1000), r.received("x"))
	})
}

func TestFlushEndsWithItsContext(t *testing.T) {
	t.Parallel()
	h := &hanging{make(chan struct{}, 1), make(chan struct{})}
	p := chaostest.WrapPublisher(h, chaostest.Options{Delay: 1, DropOnClose: true})
	publish(t, p, "x", 1, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-h.entered
		cancel()
	}()
	require.ErrorIs(t, p.Flush(ctx), context.Canceled)
	closed(t, p)
}

// TestPublishFromWithinPublish: a subscriber that is run by Publish may
// publish, also on the same topic.
func TestPublishFromWithinPublish(t *testing.T) {
	t.Parallel()
	var p *chaostest.Publisher
	r := &recorder{before: func(topic string, m *message.Message) error {
		if m.UUID != "1" {
			return nil
		}
		return p.Publish(topic, message.NewMessage("2", nil))
	}}
	p = chaostest.WrapPublisher(r, chaostest.Options{})
	publish(t, p, "x", 1, 1)
	require.Equal(t, []string{"2", "1"}, r.received("x"))
	closed(t, p)
}

func TestWrapIsAPubSub(t *testing.T) {
	t.Parallel()
	ps := chaostest.Wrap(memory.New(memory.Options{}), chaostest.Options{Drop: 1})
	ps.Cut(nil)
	in, err := ps.Subscribe(t.Context(), "x")
	require.NoError(t, err)
	require.NoError(t, ps.Publish("x", message.NewMessage("1", nil)))
	require.NoError(t, ps.Close())
	_, open := <-in
	require.False(t, open, "nothing came, and Close closed the wrapped one")
	_, err = ps.Subscribe(t.Context(), "x")
	require.ErrorIs(t, err, memory.ErrClosed)
}

// TestHammer does everything at once, and looks whether the sums agree.
func TestHammer(t *testing.T) {
	t.Parallel()
	opts := everything
	opts.MaxDelay, opts.MaxHeld = 50*time.Microsecond, 16
	for _, opts.DropOnClose = range []bool{false, true} {
		r := &recorder{}
		p := chaostest.WrapPublisher(r, opts)
		var publishing, meddling sync.WaitGroup
		ended := make(chan struct{})
		for i := range 8 {
			publishing.Go(func() { publish(t, p, fmt.Sprint("topic", i%3), 1, 200) })
		}
		meddle := func(do func()) {
			meddling.Go(func() {
				for {
					select {
					case <-ended:
						return
					default:
						do()
					}
				}
			})
		}
		meddle(func() { p.Hold(only("topic0")); p.Cut(only("topic1")); p.Heal() })
		meddle(func() { _ = p.Flush(t.Context()); _ = p.Stats() })
		publishing.Wait()
		close(ended)
		meddling.Wait()
		s := closed(t, p)
		require.EqualValues(t, 8*200, s.Published)
		got := 0
		for i := range 3 {
			got += len(r.received(fmt.Sprint("topic", i)))
		}
		require.EqualValues(t, got, s.Delivered)
	}
}
