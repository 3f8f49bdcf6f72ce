package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

// layer is a receiver that hands on what it gets, and takes no values.
type layer struct {
	got chan bus.Envelope
}

func newLayer() *layer { return &layer{got: make(chan bus.Envelope, 1024)} }

func (l *layer) Opened() {}
func (l *layer) Receive(d *bus.Delivery) bool {
	if d.Envelope.Type == bus.ListRequest || d.Envelope.Type == bus.ListResponse {
		return false
	}
	l.got <- d.Envelope
	return true
}
func (*layer) Unsent(bus.Type, string, error) {}
func (*layer) Closed(error)                   {}

// valueLayer takes values as they are.
type valueLayer struct{ *layer }

func (valueLayer) ReceivesValues() {}

// text is a Value.
type text string

func (t text) Encode() json.RawMessage { return json.RawMessage(`"` + t + `"`) }
func (t text) Size() int               { return len(t) + 2 }

// hand is a publisher of parcels that gives each message to the other link, on the spot, and looks at it afterwards.
type hand struct {
	to    chan *bus.Link // capacity 1
	after func(*message.Message)
}

func (h *hand) PublishParcels(_ string, parcels ...*message.Message) error {
	l := <-h.to
	h.to <- l
	for _, m := range parcels {
		if err := l.Deliver(m); err != nil {
			return err
		}
		h.after(m)
	}
	return nil
}
func (h *hand) Publish(string, ...*message.Message) error { return errors.New("not a parcel") }
func (*hand) TakesParcels(string) bool                    { return true }
func (*hand) Close() error                                { return nil }

// handInHand attaches two buses to each other by Deliver.
func handInHand(t *testing.T, a, b bus.Options, toA, toB bus.Layer, after func(*message.Message)) (la, lb *bus.Link) {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	a.Logger, b.Logger = quiet, quiet
	busA, busB := bus.New(a), bus.New(b)
	busA.Use(toA)
	busB.Use(toB)
	ab, ba := &hand{make(chan *bus.Link, 1), after}, &hand{make(chan *bus.Link, 1), after}
	la, err := busA.Attach(t.Context(), &bus.Channel{ID: "b", Publisher: ab, Out: "out"})
	require.NoError(t, err)
	lb, err = busB.Attach(t.Context(), &bus.Channel{ID: "a", Publisher: ba, Out: "out"})
	require.NoError(t, err)
	ab.to <- lb
	ba.to <- la
	<-la.Ready()
	<-lb.Ready()
	t.Cleanup(func() {
		require.NoError(t, busA.Close())
		require.NoError(t, busB.Close())
	})
	return la, lb
}

func give(l bus.Receiver) bus.Layer { return func(*bus.Link) bus.Receiver { return l } }

func ignore(*message.Message) {}

func TestWhoeverDeliversAParcelMayStillLookAtIt(t *testing.T) {
	t.Parallel()
	got := newLayer()
	la, _ := handInHand(t, bus.Options{}, bus.Options{}, give(newLayer()), give(got), func(m *message.Message) {
		d, ok := bus.DeliveryFrom(m.Context())
		if assert.True(t, ok) {
			assert.NotNil(t, d.Context)
			assert.Same(t, m, d.Message)
			assert.Equal(t, string(d.Envelope.Body), string(m.Payload))
		}
	})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				assert.NoError(t, la.Send(bus.Envelope{ID: bus.NewID(), Type: bus.Event, Name: "e", Body: fmt.Appendf(nil, "%d", g*100+i)}))
			}
		})
	}
	wg.Wait()
	sum := 0
	for range 400 {
		var n int
		require.NoError(t, json.Unmarshal((<-got.got).Body, &n))
		sum += n
	}
	assert.Equal(t, 400*399/2, sum)
}

func TestOnlyLayersThatTakeValuesGetThem(t *testing.T) {
	t.Parallel()
	pass := func(h message.HandlerFunc) message.HandlerFunc { return h }
	plain := newLayer()
	for _, c := range []struct {
		name  string
		opts  bus.Options
		layer bus.Receiver
		got   *layer
		value bool
	}{
		{"takes them", bus.Options{}, valueLayer{plain}, plain, true},
		{"takes none", bus.Options{}, plain, plain, false},
		{"inbound middleware", bus.Options{Inbound: []message.HandlerMiddleware{pass}}, valueLayer{plain}, plain, false},
		{"handler middleware", bus.Options{Handler: []message.HandlerMiddleware{pass}}, valueLayer{plain}, plain, false},
		{"may be too large", bus.Options{MaxMessageBytes: 6}, valueLayer{plain}, plain, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			la, _ := handInHand(t, bus.Options{}, c.opts, give(newLayer()), give(c.layer), ignore)
			v := bus.Value(text("four"))
			if c.name == "may be too large" {
				v = loose{"four"}
			}
			require.NoError(t, la.Send(bus.Envelope{Type: bus.Event, Name: "e", Value: v}))
			e := <-c.got.got
			if c.value {
				assert.Equal(t, v, e.Value)
				assert.Nil(t, e.Body)
				return
			}
			assert.Nil(t, e.Value)
			assert.Equal(t, `"four"`, string(e.Body))
		})
	}
}

// loose has a bound that is far off.
type loose struct{ text }

func (loose) Size() int { return 1000 }

func TestCodecsWriteValues(t *testing.T) {
	t.Parallel()
	for _, codec := range []bus.Codec{bus.Binary, bus.JSON} {
		m, err := codec.Marshal(bus.Envelope{ID: "1", Type: bus.Event, Name: "e", Value: text("x")})
		require.NoError(t, err)
		e, err := codec.Unmarshal(m)
		require.NoError(t, err)
		assert.Equal(t, `"x"`, string(e.Body))
		_, err = codec.Marshal(bus.Envelope{ID: "1", Type: bus.ExecuteResponse, Thread: "t", Value: text("x"), Fault: &bus.Fault{Code: "c"}})
		assert.Error(t, err)
		_, err = codec.Marshal(bus.Envelope{ID: "1", Type: bus.Cancel, Thread: "t", Value: text("x")})
		assert.Error(t, err)
	}
	la, _ := handInHand(t, bus.Options{}, bus.Options{}, give(newLayer()), give(newLayer()), ignore)
	assert.Error(t, la.Send(bus.Envelope{Type: bus.ExecuteResponse, Thread: "t", Value: text("x"), Fault: &bus.Fault{Code: "c"}}), "parcels are refused likewise")
	assert.Error(t, la.Send(bus.Envelope{Type: bus.Cancel, Thread: "t", Value: text("x")}))
}

func TestADeadlineHoldsInProcessHoweverItIsGiven(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := newLayer()
		la, _ := handInHand(t, bus.Options{}, bus.Options{}, give(newLayer()), give(got), ignore)
		in5 := time.Now().Add(5 * time.Second)
		for _, e := range []bus.Envelope{
			{Deadline: 5 * time.Second},
			{Expires: in5},
			{Expires: in5, Deadline: time.Hour},
		} {
			e.Type, e.Name = bus.ExecuteRequest, "c"
			require.NoError(t, la.Send(e))
			assert.Equal(t, in5, (<-got.got).Expires)
		}
		require.NoError(t, la.Send(bus.Envelope{Type: bus.ExecuteRequest, Name: "c"}))
		assert.Zero(t, (<-got.got).Expires)
	})
}

// Middleware may bring a request again, in the pump or later, and may try one again that has failed.
func TestRule21ARequestThatMiddlewareBringsTwiceIsServedOnce(t *testing.T) {
	t.Parallel()
	var later sync.WaitGroup
	twice := func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			if d, _ := bus.DeliveryFrom(m.Context()); d.Envelope.Type == bus.ExecuteRequest {
				for range 4 {
					later.Go(func() { _, _ = h(m) })
				}
				_, _ = h(m.CopyWithContext())
			}
			return h(m)
		}
	}
	got := newLayer()
	la, lb := handInHand(t, bus.Options{}, bus.Options{Inbound: []message.HandlerMiddleware{twice}}, give(newLayer()), give(got), ignore)
	for range 50 {
		require.NoError(t, la.Send(bus.Envelope{Type: bus.ExecuteRequest, Name: "c"}))
	}
	require.NoError(t, la.Flush(context.Background()))
	later.Wait()
	assert.Len(t, got.got, 50)
	assert.EqualValues(t, 5*50, lb.Bus().Stats().Duplicates)
}

// moody panics the first time.
type moody struct {
	*layer
	calls int
}

func (l *moody) Receive(d *bus.Delivery) bool {
	if d.Envelope.Type == bus.ExecuteRequest {
		if l.calls++; l.calls == 1 {
			panic("on purpose")
		}
	}
	return l.layer.Receive(d)
}

func TestRule21ARequestWhoseReceiverPanickedMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	retry := func(h message.HandlerFunc) message.HandlerFunc {
		try := func(m *message.Message) (err error) {
			defer func() {
				if v := recover(); v != nil {
					err = fmt.Errorf("%v", v)
				}
			}()
			_, err = h(m)
			return err
		}
		return func(m *message.Message) ([]*message.Message, error) {
			if try(m) == nil {
				return nil, nil
			}
			return nil, try(m)
		}
	}
	got := &moody{layer: newLayer()}
	la, lb := handInHand(t, bus.Options{}, bus.Options{Inbound: []message.HandlerMiddleware{retry}}, give(newLayer()), give(got), ignore)
	require.NoError(t, la.Send(bus.Envelope{Type: bus.ExecuteRequest, Name: "c"}))
	require.NoError(t, la.Flush(context.Background()))
	assert.Len(t, got.got, 1)
	assert.Zero(t, lb.Bus().Stats().Duplicates)
}

// broken is a Value that does not keep its promise.
type broken struct{ text }

func (broken) Encode() json.RawMessage { panic("on purpose") }

func TestRule20AValueThatPanicsCostsItsMessageOnly(t *testing.T) {
	t.Parallel()
	got := newLayer()
	la, lb := handInHand(t, bus.Options{}, bus.Options{}, give(newLayer()), give(got), ignore)
	require.NoError(t, la.Send(bus.Envelope{Type: bus.Event, Name: "e", Value: broken{"x"}}))
	require.NoError(t, la.Send(bus.Envelope{Type: bus.Event, Name: "e", Value: text("x")}))
	assert.Equal(t, `"x"`, string((<-got.got).Body))
	assert.EqualValues(t, 1, lb.Stats().Rejected)
}
