package bus

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The writer is not woken while a sender publishes. Whatever ends the sender's turn wakes it: nothing stays behind.
func TestRule15WhatIsQueuedBehindASenderIsPublishedWhenItsTurnEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(o *outbox, it outItem)
		want []string
	}{
		"published":  {func(o *outbox, it outItem) { o.leave(&it) }, []string{"2", "3"}},
		"given back": {func(o *outbox, it outItem) { o.giveBack(it) }, []string{"1", "2", "3"}},
		"closed": {func(o *outbox, it outItem) {
			o.close(nil, false)
			synctest.Wait()
			o.leave(&it)
		}, []string{"2", "3"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := newOutbox(limits{8, 1 << 20})
			var got []string
			written := make(chan struct{})
			go func() {
				defer close(written)
				var it outItem
				for mine := false; o.next(&it, mine); mine = true {
					got = append(got, it.id)
				}
			}()
			synctest.Wait() // it sleeps
			it := outItem{id: "1", typ: ExecuteRequest}
			publish, err := o.enter(&it, true)
			require.NoError(t, err)
			require.True(t, publish)
			for _, id := range []string{"2", "3"} {
				require.NoError(t, o.push(outItem{id: id, typ: ExecuteRequest}, true))
			}
			synctest.Wait()
			require.Empty(t, got, name)
			c.end(o, it)
			synctest.Wait()
			assert.Equal(t, c.want, got, name)
			o.close(nil, false)
			<-written
		})
	}
}
