package peers

import (
	"context"
	"runtime"
	"sync"

	"github.com/cskr/pubsub/v2"
)

// CskrPubSub publishes requests on a topic to which a goroutine subscribes; the reply comes on a channel in the
// request, since the library has no replies. Go values.
func CskrPubSub(s Setup) (Peer, error) {
	s = s.withDefaults()
	c := &cskrPubSub{
		bus:     pubsub.New[string, asked[Sum, int]](s.Callers),
		request: request(s.Payload),
		replies: sync.Pool{New: func() any { return make(chan int) }},
	}
	c.in = c.bus.Sub("math.add")
	workers := 1
	if s.Callers > 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	for range workers {
		c.running.Go(func() {
			for a := range c.in {
				a.reply <- a.request.A + a.request.B
			}
		})
	}
	return c, nil
}

type cskrPubSub struct {
	bus     *pubsub.PubSub[string, asked[Sum, int]]
	in      chan asked[Sum, int]
	request Sum
	replies sync.Pool // of chan int
	running sync.WaitGroup
}

func (c *cskrPubSub) Call(context.Context) error {
	reply := c.replies.Get().(chan int)
	c.bus.Pub(asked[Sum, int]{c.request, reply}, "math.add")
	n := <-reply
	c.replies.Put(reply)
	return check(n, nil)
}

func (c *cskrPubSub) Close() {
	c.bus.Shutdown()
	c.running.Wait()
}
