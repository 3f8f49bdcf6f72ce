package pairing

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// checkKey is the metadata key by which a check knows its own messages again.
const checkKey = "leat-check"

// ear is one subscription of a check. It takes everything at once, as the pump
// of a link does.
type ear struct {
	ended chan struct{}

	mu   sync.Mutex
	got  map[string]*message.Message // guarded by mu: by checkKey; the first one counts
	keys []string                    // guarded by mu: in the order in which they came first
	bare int                         // guarded by mu: those without a key
	news chan struct{}               // guarded by mu: closed and replaced when something comes
}

func listen(ctx context.Context, in <-chan *message.Message) *ear {
	e := &ear{ended: make(chan struct{}), got: make(map[string]*message.Message), news: make(chan struct{})}
	go func() {
		defer close(e.ended)
		for {
			select {
			case m, ok := <-in:
				if !ok {
					return
				}
				m.Ack()
				e.take(m)
			case <-ctx.Done():
				return
			}
		}
	}()
	return e
}

func (e *ear) take(m *message.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := m.Metadata[checkKey]
	if key == "" {
		e.bare++
	}
	if key == "" || e.got[key] != nil {
		return
	}
	e.got[key] = m
	e.keys = append(e.keys, key)
	close(e.news)
	e.news = make(chan struct{})
}

func (e *ear) nameless() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bare
}

func (e *ear) wait() {
	if e != nil {
		<-e.ended
	}
}

// has returns the message with that key, or what tells of the next one.
func (e *ear) has(key string) (*message.Message, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.got[key], e.news
}

// deaf reports whether nothing has come yet that is of use, and what tells of the next.
func (e *ear) deaf() (bool, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.keys) == 0, e.news
}

// order returns the keys that begin so, in the order in which they came.
func (e *ear) order(prefix string) (keys []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range e.keys {
		if len(k) > len(prefix) && k[:len(prefix)] == prefix {
			keys = append(keys, k)
		}
	}
	return keys
}

func (c *checker) publish(key string, md message.Metadata, payload []byte) error {
	m := message.NewMessage(bus.NewID(), payload)
	maps.Copy(m.Metadata, md)
	m.Metadata[checkKey] = key
	return c.pub.Publish(c.Topic, m)
}

// await returns what an ear gets under that key, nil if it does not come in time.
func (c *checker) await(ctx context.Context, e *ear, key string, patience time.Duration) *message.Message {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		m, news := e.has(key)
		if m != nil {
			return m
		}
		select {
		case <-news:
		case <-e.ended:
			return nil
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// probe publishes until something comes, and says what was lost before. False
// if nothing comes at all.
func (c *checker) probe(ctx context.Context) bool {
	began := time.Now()
	if err := c.publish("first", nil, []byte(`1`)); err != nil {
		c.breaks(PromiseDelivery, "publish", err)
		return false
	}
	var came [2]time.Duration
	for i := 0; ; i++ {
		var missing <-chan struct{}
		for j, e := range c.ears {
			deaf, news := e.deaf()
			switch {
			case deaf:
				missing = news
			case came[j] == 0:
				came[j] = max(1, time.Since(began))
			}
		}
		if missing == nil || time.Since(began) >= c.Patience || ctx.Err() != nil {
			return c.judge(ctx, came)
		}
		if i > 0 {
			if err := c.publish(fmt.Sprintf("probe%d", i), nil, []byte(`1`)); err != nil {
				c.breaks(PromiseDelivery, "publish", err)
				return false
			}
		}
		c.rest(ctx, missing)
	}
}

// rest waits for news, but not for long.
func (c *checker) rest(ctx context.Context, news <-chan struct{}) {
	timer := time.NewTimer(c.Patience / 100)
	defer timer.Stop()
	select {
	case <-news:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// judge says what the probes have shown.
func (c *checker) judge(ctx context.Context, came [2]time.Duration) bool {
	switch {
	case came[0] == 0 && came[1] == 0 && c.ears[0].nameless()+c.ears[1].nameless() > 0:
		c.breaks(PromiseMetadata, "messages arrive without theirs", nil)
		return false
	case came[0] == 0 && came[1] == 0:
		c.breaks(PromiseDelivery, fmt.Sprintf("nothing of what was published came back within %s", c.Patience), nil)
		return false
	case came[0] == 0 || came[1] == 0:
		c.breaks(PromiseFanOut, "of two subscriptions to a topic one gets nothing", nil)
		return true
	}
	if c.publish("meeting", nil, []byte(`1`)) == nil && !c.everywhere(ctx, "meeting") {
		c.breaks(PromiseFanOut, "of two subscriptions to a topic only one gets a message", nil)
		return true // and so it is no wonder if one has missed the first
	}
	for i, e := range c.ears {
		if c.await(ctx, e, "first", c.Patience/10) == nil {
			c.breaks(PromiseLive, fmt.Sprintf("what was published right after Subscribe had returned was lost; subscription %d got messages after %s", i+1, came[i].Round(time.Millisecond)), nil)
		}
	}
	return true
}

// everywhere reports whether both subscriptions get it.
func (c *checker) everywhere(ctx context.Context, key string) bool {
	return c.await(ctx, c.ears[0], key, c.Patience) != nil && c.await(ctx, c.ears[1], key, c.Patience) != nil
}

// roundTrip publishes a message and returns what comes back, from whichever
// subscription gets it. What does not come breaks the promise.
func (c *checker) roundTrip(ctx context.Context, p Promise, what string, md message.Metadata, payload []byte) *message.Message {
	key := strings.ReplaceAll(what, " ", "-")
	if err := c.publish(key, md, payload); err != nil {
		c.breaks(p, what+": publish", err)
		return nil
	}
	if c.broke(PromiseFanOut) {
		if m := c.either(ctx, key); m != nil {
			return m
		}
	} else if m := c.await(ctx, c.ears[0], key, c.Patience); m != nil {
		return m
	}
	if ctx.Err() == nil {
		c.breaks(p, what+": did not arrive", nil)
	}
	return nil
}

// either returns what one of the subscriptions gets.
func (c *checker) either(ctx context.Context, key string) *message.Message {
	for began := time.Now(); ctx.Err() == nil && time.Since(began) < c.Patience; {
		for _, e := range c.ears {
			if m := c.await(ctx, e, key, c.Patience/100); m != nil {
				return m
			}
		}
	}
	return nil
}

// metadata publishes what links write: leat's own values, escaped, and the user's.
func (c *checker) metadata(ctx context.Context) {
	m, err := bus.Binary.Marshal(bus.Envelope{ID: "a b/ü\n", Type: bus.ExecuteRequest, Name: "some.command with spaces",
		Deadline: time.Second, Depth: 1, Hops: 2, Metadata: message.Metadata{
			"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "correlation_id": "x",
			"Mixed-Case_and.dots": "100%", "note": " two\r\nlines, \"quoted\"; Grüße = 水\t", "long": string(bytes.Repeat([]byte("x"), 1000)),
		}})
	if err != nil {
		c.breaks(PromiseMetadata, "encode", err)
		return
	}
	bus.Escape(m)
	got := c.roundTrip(ctx, PromiseMetadata, "message with metadata", m.Metadata, []byte(`{}`))
	if got == nil {
		return
	}
	for k, v := range m.Metadata {
		if have, there := got.Metadata[k]; !there {
			c.breaks(PromiseMetadata, fmt.Sprintf("key %q is missing", k), nil)
		} else if have != v {
			c.breaks(PromiseMetadata, fmt.Sprintf("the value of %q became %q, was %q", k, have, v), nil)
		}
	}
}

// payloads publishes what brokers have been seen to change.
func (c *checker) payloads(ctx context.Context) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, p := range []struct {
		what string
		body []byte
	}{
		{"empty payload", []byte{}},
		{"payload with spaces and a key twice", []byte(" {\"b\" : 12345678901234567890.10, \"a\":\"\\u00fc ü\",\n\"b\":1}\n")},
		{"payload of all bytes", every},
	} {
		got := c.roundTrip(ctx, PromisePayload, p.what, nil, p.body)
		if got != nil && !bytes.Equal(got.Payload, p.body) {
			c.breaks(PromisePayload, p.what+fmt.Sprintf(": became %q", cut(got.Payload)), nil)
		}
	}
}

func cut(b []byte) []byte { return b[:min(len(b), 64)] }

func (c *checker) size(ctx context.Context) {
	payload := bytes.Repeat([]byte("0123456789abcdef"), c.Bytes/16+1)[:c.Bytes]
	what := fmt.Sprintf("payload of %d bytes", c.Bytes)
	if got := c.roundTrip(ctx, PromiseSize, what, nil, payload); got != nil && !bytes.Equal(got.Payload, payload) {
		c.breaks(PromiseSize, fmt.Sprintf("%s: %d bytes arrived", what, len(got.Payload)), nil)
	}
}

// order publishes one by one and looks at the order in which they come first.
func (c *checker) order(ctx context.Context) {
	const prefix = "order"
	key := func(i int) string { return fmt.Sprintf("%s%06d", prefix, i) }
	for i := range c.Messages {
		if err := c.publish(key(i), nil, []byte(`1`)); err != nil {
			c.breaks(PromiseDelivery, fmt.Sprintf("publish %d of %d", i+1, c.Messages), err)
			return
		}
	}
	for i := range c.Messages {
		if c.broke(PromiseFanOut) {
			if c.either(ctx, key(i)) == nil {
				c.lost(ctx, i)
				return
			}
			continue
		}
		for n, e := range c.ears {
			if c.await(ctx, e, key(i), c.Patience) != nil {
				continue
			}
			if m, _ := c.ears[1-n].has(key(i)); m != nil {
				c.breaks(PromiseFanOut, fmt.Sprintf("message %d of %d reached one of two subscriptions", i+1, c.Messages), nil)
			} else {
				c.lost(ctx, i)
			}
			return
		}
	}
	for _, e := range c.ears {
		keys := e.order(prefix)
		for i := 1; i < len(keys); i++ {
			if keys[i] < keys[i-1] {
				c.breaks(PromiseOrder, fmt.Sprintf("of %d messages, %s came after %s", c.Messages, keys[i], keys[i-1]), nil)
				return
			}
		}
	}
}

func (c *checker) lost(ctx context.Context, i int) {
	if ctx.Err() == nil {
		c.breaks(PromiseDelivery, fmt.Sprintf("message %d of %d did not arrive", i+1, c.Messages), nil)
	}
}
