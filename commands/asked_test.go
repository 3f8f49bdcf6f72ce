package commands_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// clogged is a publisher that takes nothing while it is shut, and counts what it has been given.
type clogged struct {
	message.Publisher
	mu    sync.Mutex
	shut  chan struct{} // guarded by mu: closed when it opens
	bytes int           // guarded by mu
}

func (c *clogged) Publish(topic string, ms ...*message.Message) error {
	c.mu.Lock()
	shut := c.shut
	for _, m := range ms {
		c.bytes += len(m.Payload)
	}
	c.mu.Unlock()
	if shut != nil {
		<-shut
	}
	return c.Publisher.Publish(topic, ms...)
}

func (c *clogged) shutUp() (open func()) {
	shut := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = shut
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.shut = nil
		close(shut)
	}
}

// A peer may ask for the list as often as it likes: one is on its way at a time.
func TestRule24ListsThatAPeerAsksForAreSentOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 1500
		r := newRegistry(t, commands.Config{ID: "r"})
		for i := range 100 {
			require.NoError(t, r.RegisterRaw(within(t), bus.Definition{ID: fmt.Sprint("c", i), Description: strings.Repeat("d", 10_000)}, nothing))
		}
		s := &stranger{t: t, sent: make(chan bus.Envelope, 4096), in: make(chan *message.Message), end: make(chan struct{})}
		pub := &clogged{Publisher: s}
		s.Link = attach(t, r, &bus.Channel{ID: "peer", Publisher: pub, Out: "out", Subscriber: s, In: "in"})
		s.wants(bus.ListRequest)
		open := pub.shutUp()
		for i := range n {
			s.say(bus.Envelope{ID: fmt.Sprint("ask", i), Type: bus.ListRequest})
		}
		synctest.Wait()
		assert.LessOrEqual(t, s.Link.Stats().Queued, 3, "messages")
		open()
		synctest.Wait()
		seen := make(map[string]bool)
		for len(s.sent) > 0 {
			if e := s.next(); e.Type == bus.ListResponse {
				seen[e.Thread] = true
			}
		}
		assert.Len(t, seen, 17)
		assert.True(t, seen["ask0"])
		assert.EqualValues(t, n-17, r.Stats().Unlisted)
		s.say(bus.Envelope{ID: "later", Type: bus.ListRequest})
		synctest.Wait()
		assert.Equal(t, "later", s.next().Thread)
	})
}

// The canonical form of a request is an object. A peer that is no registry of our kind is sent nothing else.
func TestRule20AForeignPeerGetsObjectsAsRequests(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, commands.Config{ID: "r"})
	leaf := newRegistry(t, commands.Config{ID: "leaf", RouterChannel: "r"})
	join(t, r, leaf)
	link := func(a, b string) (chA, chB *bus.Channel) { return wires[2].make(t, a, b) }
	foreign := invade(t, r, "foreign", 0, offering(`[{"id":"far"}]`), link)
	ours := invade(t, r, "ours", everything, offering(`[{"id":"near"}]`), link)
	answer := func(f *foreigner) {
		f.say(bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: f.wants(bus.ExecuteRequest).ID, Body: []byte(`1`)})
	}
	for _, body := range []string{`5`, ` [1]`, `"text"`, `true`} {
		for _, from := range []*commands.Registry{r, leaf} {
			_, err := from.ExecuteRaw(within(t), "far", json.RawMessage(body))
			require.ErrorIs(t, err, commands.ErrInvalidRequest, body)
			assert.ErrorContains(t, err, "takes an object")
		}
		done := make(chan error, 1)
		go func() { _, err := r.ExecuteRaw(within(t), "near", json.RawMessage(body)); done <- err }()
		answer(ours)
		require.NoError(t, await(t, done), "a registry of our kind takes any JSON")
	}
	_, err := commands.Execute(within(t), r, commands.Define[int, int]("far", ""), 5)
	require.ErrorIs(t, err, commands.ErrInvalidRequest)
	for _, body := range []json.RawMessage{nil, json.RawMessage(`null`), json.RawMessage(` {"a":1}`)} {
		done := make(chan error, 1)
		go func() { _, err := r.ExecuteRaw(within(t), "far", body); done <- err }()
		answer(foreign)
		require.NoError(t, await(t, done))
	}
	assert.Empty(t, foreign.got)
}
