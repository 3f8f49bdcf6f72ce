package pairing

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
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
		f := newFleet(pub, nil, FleetOptions{Namespace: "test", ID: "p1"}.withDefaults())
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
