package main

import (
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// tally counts the messages that each handler of the Router gets. Any other
// middleware would do.
type tally struct {
	mu     sync.Mutex
	counts map[string]int // by the handler's name; guarded by mu
}

func newTally() *tally { return &tally{counts: map[string]int{}} }

func (t *tally) middleware(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		t.mu.Lock()
		t.counts[message.HandlerNameFromCtx(m.Context())]++
		t.mu.Unlock()
		return next(m)
	}
}

func (t *tally) of(handler string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[handler]
}
