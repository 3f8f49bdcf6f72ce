package peers

import (
	"context"
	"runtime"
	"sync"
)

// Channels passes Go values over two unbuffered channels, to a goroutine that adds. Each further hop is another such
// goroutine. It is the yardstick: nothing that crosses goroutines is simpler.
func Channels(s Setup) (Peer, error) {
	s = s.withDefaults()
	req := request(s.Payload)
	h := startHops(s, func(q Sum) int { return q.A + q.B })
	return &channels{hops: h, call: func(context.Context) error { return check(h.call(req), nil) }}, nil
}

// ChannelsJSON passes bytes instead, and does with them what all do whose peers share no memory.
func ChannelsJSON(s Setup) (Peer, error) {
	s = s.withDefaults()
	req := request(s.Payload)
	h := startHops(s, func(b []byte) answer {
		out, err := addJSON(context.Background(), b)
		return answer{out, err}
	})
	send := func(_ context.Context, b []byte) ([]byte, error) {
		a := h.call(b)
		return a.body, a.err
	}
	return &channels{hops: h, call: func(ctx context.Context) error { return callJSON(ctx, req, send) }}, nil
}

type answer struct {
	body []byte
	err  error
}

type channels struct {
	hops interface{ close() }
	call func(context.Context) error
}

func (c *channels) Call(ctx context.Context) error { return c.call(ctx) }
func (c *channels) Close()                         { c.hops.close() }

type asked[Q, R any] struct {
	request Q
	reply   chan R
}

// hops is a row of goroutines: the last one works, the others pass on.
type hops[Q, R any] struct {
	in      chan asked[Q, R]
	single  chan R    // the only caller's; nil if there are more
	replies sync.Pool // of chan R, for many callers
	closing []chan asked[Q, R]
	running sync.WaitGroup
}

func startHops[Q, R any](s Setup, work func(Q) R) *hops[Q, R] {
	h := &hops[Q, R]{replies: sync.Pool{New: func() any { return make(chan R) }}}
	workers := 1
	if s.Callers > 1 {
		workers = runtime.GOMAXPROCS(0)
	} else {
		h.single = make(chan R)
	}
	do := work
	for range s.Hops {
		in, do1 := make(chan asked[Q, R]), do
		for range workers {
			h.running.Go(func() {
				for a := range in {
					a.reply <- do1(a.request)
				}
			})
		}
		h.closing = append(h.closing, in)
		h.in = in
		do = func(q Q) R { return h.pass(in, q) }
	}
	return h
}

// pass asks the next goroutine and waits for its reply.
func (h *hops[Q, R]) pass(to chan asked[Q, R], q Q) R {
	reply := h.replies.Get().(chan R)
	to <- asked[Q, R]{q, reply}
	r := <-reply
	h.replies.Put(reply)
	return r
}

func (h *hops[Q, R]) call(q Q) R {
	if h.single == nil {
		return h.pass(h.in, q)
	}
	h.in <- asked[Q, R]{q, h.single}
	return <-h.single
}

func (h *hops[Q, R]) close() {
	for _, c := range h.closing {
		close(c)
	}
	h.running.Wait()
}
