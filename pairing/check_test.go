package pairing_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/pairing"
)

// flawed is an ether with one flaw: what it does to a message before it is
// published (nil: loses it), and to a subscription.
type flawed struct {
	*ether
	change    func(n int, m *message.Message) []*message.Message
	subscribe func(n int, e *ether, ctx context.Context, topic string) (<-chan *message.Message, error)
	fails     func(m *message.Message) error

	mu      sync.Mutex
	n, subs int
}

func (f *flawed) Publish(topic string, ms ...*message.Message) error {
	for _, m := range ms {
		if f.fails != nil {
			if err := f.fails(m); err != nil {
				return err
			}
		}
		f.mu.Lock()
		f.n++
		n := f.n
		f.mu.Unlock()
		out := []*message.Message{m}
		if f.change != nil {
			out = f.change(n, m.Copy())
		}
		if err := f.ether.Publish(topic, out...); err != nil {
			return err
		}
	}
	return nil
}

func (f *flawed) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	f.mu.Lock()
	f.subs++
	n := f.subs
	f.mu.Unlock()
	if f.subscribe != nil {
		return f.subscribe(n, f.ether, ctx, topic)
	}
	return f.ether.Subscribe(ctx, topic)
}

var errBroker = errors.New("broker says no")

func changed(how func(*message.Message)) func(int, *message.Message) []*message.Message {
	return func(_ int, m *message.Message) []*message.Message {
		how(m)
		return []*message.Message{m}
	}
}

func TestCheckNamesWhatIsBroken(t *testing.T) {
	t.Parallel()
	var all = []pairing.Promise{pairing.PromiseDelivery, pairing.PromiseLive, pairing.PromiseFanOut, pairing.PromiseMetadata,
		pairing.PromisePayload, pairing.PromiseSize, pairing.PromiseOrder}
	for name, tc := range map[string]struct {
		flaw *flawed
		want []pairing.Promise
		says string
	}{
		"nothing": {flaw: new(flawed)},
		"duplicates": {flaw: &flawed{change: func(_ int, m *message.Message) []*message.Message {
			return []*message.Message{m, m.Copy(), m.Copy()}
		}}},
		"redelivery of old ones": {flaw: func() *flawed {
			var old []*message.Message
			return &flawed{change: func(_ int, m *message.Message) []*message.Message {
				old = append(old, m.Copy())
				return append([]*message.Message{m}, old[max(0, len(old)-3):]...)
			}}
		}()},
		"delivers nothing": {&flawed{change: func(int, *message.Message) []*message.Message { return nil }},
			[]pairing.Promise{pairing.PromiseDelivery}, "nothing of what was published came back within 5s"},
		"loses some": {&flawed{change: func(n int, m *message.Message) []*message.Message {
			if n == 100 {
				return nil
			}
			return []*message.Message{m}
		}}, []pairing.Promise{pairing.PromiseDelivery}, "of 300 did not arrive"},
		"does not publish": {&flawed{fails: func(*message.Message) error { return errBroker }}, []pairing.Promise{pairing.PromiseDelivery}, "publish: broker says no"},
		"does not subscribe": {&flawed{subscribe: func(int, *ether, context.Context, string) (<-chan *message.Message, error) {
			return nil, errBroker
		}}, []pairing.Promise{pairing.PromiseDelivery}, "subscribe: broker says no"},
		"ends subscriptions": {&flawed{subscribe: func(int, *ether, context.Context, string) (<-chan *message.Message, error) {
			in := make(chan *message.Message)
			close(in)
			return in, nil
		}}, []pairing.Promise{pairing.PromiseDelivery}, "nothing"},
		"joins slowly": {&flawed{subscribe: func(_ int, e *ether, ctx context.Context, topic string) (<-chan *message.Message, error) {
			out := make(chan *message.Message)
			time.AfterFunc(230*time.Millisecond, func() {
				in, _ := e.Subscribe(ctx, topic)
				defer close(out)
				for m := range in {
					select {
					case out <- m:
					case <-ctx.Done():
						return
					}
				}
			})
			return out, nil
		}}, []pairing.Promise{pairing.PromiseLive}, "right after Subscribe had returned was lost"},
		"shares between subscriptions": {&flawed{subscribe: func() func(int, *ether, context.Context, string) (<-chan *message.Message, error) {
			var once sync.Once
			var in <-chan *message.Message
			return func(_ int, e *ether, ctx context.Context, topic string) (<-chan *message.Message, error) {
				once.Do(func() { in, _ = e.Subscribe(ctx, topic) })
				return in, nil
			}
		}()}, []pairing.Promise{pairing.PromiseFanOut}, "of two subscriptions"},
		"serves the first subscription only": {&flawed{subscribe: func(n int, e *ether, ctx context.Context, topic string) (<-chan *message.Message, error) {
			if n == 2 {
				topic = "elsewhere"
			}
			return e.Subscribe(ctx, topic)
		}}, []pairing.Promise{pairing.PromiseFanOut}, "one gets nothing"},
		"drops a header": {&flawed{change: changed(func(m *message.Message) { delete(m.Metadata, "traceparent") })},
			[]pairing.Promise{pairing.PromiseMetadata}, `"traceparent" is missing`},
		"drops all headers": {&flawed{change: changed(func(m *message.Message) { m.Metadata = nil })},
			[]pairing.Promise{pairing.PromiseMetadata}, "arrive without"},
		"folds the case of keys": {&flawed{change: changed(func(m *message.Message) {
			for k, v := range m.Metadata {
				delete(m.Metadata, k)
				m.Metadata[strings.ToLower(k)] = v
			}
		})}, []pairing.Promise{pairing.PromiseMetadata}, `"Mixed-Case_and.dots" is missing`},
		"cuts values": {&flawed{change: changed(func(m *message.Message) {
			for k, v := range m.Metadata {
				m.Metadata[k] = v[:min(len(v), 255)]
			}
		})}, []pairing.Promise{pairing.PromiseMetadata}, `"long" became`},
		"trims, folds and refuses what is not ASCII": {flaw: &flawed{change: changed(func(m *message.Message) { // what Escape is for
			for k, v := range m.Metadata {
				m.Metadata[k] = strings.Join(strings.Fields(strings.ToValidUTF8(v, "")), "")
			}
		})}},
		"normalises JSON": {&flawed{change: changed(func(m *message.Message) { m.Payload = bytes.TrimSpace(m.Payload) })},
			[]pairing.Promise{pairing.PromisePayload}, "became"},
		"refuses empty payloads": {&flawed{fails: func(m *message.Message) error {
			if len(m.Payload) == 0 {
				return errBroker
			}
			return nil
		}}, []pairing.Promise{pairing.PromisePayload}, "empty payload: publish: broker says no"},
		"takes text only": {&flawed{change: changed(func(m *message.Message) { m.Payload = bytes.ToValidUTF8(m.Payload, nil) })},
			[]pairing.Promise{pairing.PromisePayload}, "payload of all bytes"},
		"refuses large ones": {&flawed{fails: func(m *message.Message) error {
			if len(m.Payload) > 1<<19 {
				return errBroker
			}
			return nil
		}}, []pairing.Promise{pairing.PromiseSize}, "1048576 bytes: publish"},
		"cuts large ones": {&flawed{change: changed(func(m *message.Message) { m.Payload = m.Payload[:min(len(m.Payload), 1<<16)] })},
			[]pairing.Promise{pairing.PromiseSize}, "65536 bytes arrived"},
		"reorders": {flaw: func() *flawed {
			var held *message.Message
			return &flawed{change: func(n int, m *message.Message) []*message.Message {
				if n == 200 {
					held = m
					return nil
				}
				if n == 201 {
					return []*message.Message{m, held}
				}
				return []*message.Message{m}
			}}
		}(), want: []pairing.Promise{pairing.PromiseOrder}, says: "came after"},
		"several at once": {&flawed{change: changed(func(m *message.Message) {
			delete(m.Metadata, "note")
			m.Payload = bytes.TrimSpace(m.Payload[:min(len(m.Payload), 1<<16)])
		})}, []pairing.Promise{pairing.PromiseMetadata, pairing.PromisePayload, pairing.PromiseSize}, "size"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				flaw := tc.flaw
				flaw.ether = newEther(1, faults{})
				err := pairing.Check(t.Context(), flaw, flaw)
				if tc.want == nil {
					require.NoError(t, err)
					return
				}
				var broken *pairing.CheckError
				require.ErrorAs(t, err, &broken)
				for _, p := range all {
					assert.Equal(t, contains(tc.want, p), errors.Is(err, p), "%s: %v", p, err)
				}
				assert.Len(t, broken.Broken, len(tc.want))
				assert.ErrorContains(t, err, tc.says)
				for _, p := range tc.want {
					assert.ErrorContains(t, err, string(p))
				}
				if strings.Contains(err.Error(), errBroker.Error()) {
					assert.ErrorIs(t, err, errBroker)
				}
			})
		})
	}
}

func contains(all []pairing.Promise, p pairing.Promise) bool {
	for _, o := range all {
		if o == p {
			return true
		}
	}
	return false
}

func TestCheckPassesWhatLeatRunsOn(t *testing.T) {
	t.Parallel()
	g := goChannel(t)
	require.NoError(t, pairing.Check(t.Context(), g, g))
	m := memory.New(memory.Options{})
	defer m.Close()
	require.NoError(t, pairing.Check(t.Context(), m, m, pairing.CheckOptions{Topic: "mine", Bytes: 10, Messages: 3}))
}

type panicking struct{ *ether }

func (panicking) Publish(string, ...*message.Message) error { panic("oh") }

func TestCheckEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther(1, faults{})
		e.setCut(true)
		began := time.Now()
		err := pairing.Check(within(t, time.Second), e, e)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
		require.ErrorContains(t, pairing.Check(t.Context(), panicking{e}, e), "panic in publisher")
		require.Panics(t, func() { _ = pairing.Check(t.Context(), nil, e) })
		require.Panics(t, func() { _ = pairing.Check(t.Context(), e, e, pairing.CheckOptions{}, pairing.CheckOptions{}) })
	})
}
