package fleet

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

// refusing is a publisher that takes no replies.
type refusing struct{ took []letter }

func (r *refusing) Publish(_ string, messages ...*message.Message) error {
	for _, m := range messages {
		p := reader()
		if _, err := p.unbundle(m.Payload); err != nil {
			return err
		}
		for i := range p.letters {
			if p.letters[i].executed() {
				return errors.New("refused")
			}
		}
		r.took = append(r.took, p.letters...)
	}
	return nil
}

func (*refusing) Close() error { return nil }

// TestNoGoodbyeBeforeAReply: a goodbye does not overtake a reply that is refused, and once that is given up it does not say
// that all were sent.
func TestNoGoodbyeBeforeAReply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pub := new(refusing)
		f := newFleet(pub, nil, Options{Namespace: "test", ID: "p1"}.withDefaults())
		o := f.newOutbox("inbox", f.bundles)
		post := func(l letter) {
			l.process, l.to = f.self, "my-session"
			require.True(t, o.push(outItem{letter: &l, kind: itemAnswer}))
		}
		post(letter{envelope: bus.Envelope{Type: bus.ExecuteResponse, Thread: "1"}})
		synctest.Wait()
		post(letter{kind: kindBye, drained: true})
		time.Sleep(f.opts.Lease / 2)
		synctest.Wait()
		require.Empty(t, pub.took)
		o.close(func(*outItem) bool { return true })
		<-o.done
		require.Len(t, pub.took, 1)
		require.Equal(t, kindBye, pub.took[0].kind)
		require.False(t, pub.took[0].drained)
		require.EqualValues(t, 1, f.count.unsent.Load())
		f.cancel()
		require.NoError(t, errors.Join(f.seen.Close(), f.heardEvents.Close()))
	})
}

// moody is a publisher that refuses one event, until it is asked for something else or for ever.
type moody struct {
	event string
	ever  bool
	down  bool
	took  []string // IDs of events
}

func (p *moody) Publish(_ string, messages ...*message.Message) error {
	var events []string
	for _, m := range messages {
		l, err := open(m)
		if err != nil {
			return err
		}
		if l.envelope.Type == bus.Event {
			events = append(events, l.envelope.ID)
		}
	}
	if p.down && slices.Contains(events, p.event) {
		return errors.New("refused")
	}
	p.down = p.ever
	p.took = append(p.took, events...)
	return nil
}

func (*moody) Close() error { return nil }

// TestNoEventOvertakesAnother: not when the broker is back just after one was refused again; one that is refused for ever costs
// those behind it nothing but time.
func TestNoEventOvertakesAnother(t *testing.T) {
	t.Parallel()
	for name, pub := range map[string]*moody{
		"the broker comes back": {event: "1", down: true},
		"it is never taken":     {event: "1", down: true, ever: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(pub, nil, Options{Namespace: "test", ID: "p1"}.withDefaults())
				o := f.newOutbox(f.names.events, f.singles)
				want := []string{"1", "2", "3"}
				for _, id := range want {
					require.True(t, o.push(outItem{letter: &letter{process: f.self, envelope: bus.Envelope{Type: bus.Event, ID: id, Name: "x"}}}))
				}
				time.Sleep(f.opts.Lease / 2)
				synctest.Wait()
				if pub.ever {
					want = []string{"2", "3"}
				}
				assert.Equal(t, want, pub.took)
				o.close(func(*outItem) bool { return true })
				<-o.done
				assert.EqualValues(t, 3-len(want), f.count.unsent.Load())
				f.cancel()
				require.NoError(t, errors.Join(f.seen.Close(), f.heardEvents.Close()))
			})
		})
	}
}
