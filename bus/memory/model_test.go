package memory_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leatbus/leat/bus/memory"
)

// noDeadline hides Deadline, which a bubble does not allow.
type noDeadline struct{ rapid.TB }

// At MaxUnacked 1 a subscription is a list: its head is delivered until it is
// acked, or was nacked once too often. Whatever happens in between, what the
// subscriber sees and what Stats say must be what the list says.
func TestStrictOrderModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(noDeadline{t}, func(rt *rapid.T) {
			const redeliveries, size = 2, 4
			ps := memory.New(memory.Options{
				MaxRedeliveries: redeliveries,
				QueueSize:       size,
				WhenFull:        memory.Fail,
				HandOver:        rapid.Bool().Draw(rt, "handOver"),
			})
			defer ps.Close()
			msgs := subscribe(t, ps, "t")
			var list []string
			var want memory.Stats
			published, tries := 0, 0
			next := func() *message.Message {
				if len(list) == 0 {
					time.Sleep(time.Minute)
					require.Empty(rt, ready(msgs))
					return nil
				}
				msg := <-msgs
				require.Equal(rt, list[0], msg.UUID)
				tries++
				return msg
			}
			rt.Repeat(map[string]func(*rapid.T){
				"publish": func(rt *rapid.T) {
					batch := numbered(rapid.IntRange(1, 3).Draw(rt, "n"))
					var ids []string
					for _, msg := range batch {
						msg.UUID = fmt.Sprint(published)
						published++
						ids = append(ids, msg.UUID)
					}
					err := ps.Publish("t", batch...)
					if len(list)+len(batch) > 1+size {
						require.ErrorIs(rt, err, memory.ErrFull)
						return
					}
					require.NoError(rt, err)
					list = slices.Concat(list, ids)
					want.Published += uint64(len(ids))
				},
				"ack": func(rt *rapid.T) {
					if msg := next(); msg != nil {
						msg.Ack()
						list, tries = list[1:], 0
						want.Acked++
					}
				},
				"nack": func(rt *rapid.T) {
					if msg := next(); msg != nil {
						msg.Nack()
						want.Nacked++
						if tries > redeliveries {
							list, tries = list[1:], 0
							want.Dropped++
						}
					}
				},
				"": func(rt *rapid.T) {
					synctest.Wait()
					ps.Stats() // notices the nack of a last try, which the pump then buries
					synctest.Wait()
					got := ps.Stats()
					require.Equal(rt, len(list), got.Queued+got.Unacked)
					want.Queued, want.Unacked = got.Queued, got.Unacked
					want.Delivered, want.Redelivered = got.Delivered, got.Redelivered
					require.Equal(rt, want, got)
				},
			})
		})
	})
}
