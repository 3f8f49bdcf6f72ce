package memory_test

import (
	"context"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/leatbus/leat/bus/memory"
)

var payload = []byte(`{"n":1}`)

func newMessage() *message.Message { return message.NewMessage("id", payload) }

// pubSub is what the benchmarks compare.
type pubSub interface {
	message.Publisher
	message.Subscriber
}

// contenders are made anew for each benchmark. GoChannel gets its output
// buffer, without which it is slower still.
func contenders() []struct {
	name string
	make func() pubSub
} {
	of := func(o memory.Options) func() pubSub {
		return func() pubSub { return memory.New(o) }
	}
	return []struct {
		name string
		make func() pubSub
	}{
		{"memory/unacked=1", of(memory.Options{})},
		{"memory/unacked=256", of(memory.Options{MaxUnacked: 256})},
		{"memory/handover/unacked=1", of(memory.Options{HandOver: true})},
		{"memory/handover/unacked=256", of(memory.Options{HandOver: true, MaxUnacked: 256})},
		{"gochannel", func() pubSub {
			return gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: 256}, watermill.NopLogger{})
		}},
	}
}

// BenchmarkPingPong sends a new message each way and acks both: one operation
// is a round trip. The first has only the channels, without messages made or
// acked; the second has both, like all that follow.
func BenchmarkPingPong(b *testing.B) {
	b.Run("bare-channel/same-message", func(b *testing.B) {
		there, back := make(chan *message.Message), make(chan *message.Message)
		go func() {
			defer close(back)
			for msg := range there {
				back <- msg
			}
		}()
		msg := newMessage()
		b.ReportAllocs()
		for b.Loop() {
			there <- msg
			<-back
		}
		close(there)
	})
	b.Run("bare-channel/new-messages", func(b *testing.B) {
		there, back := make(chan *message.Message), make(chan *message.Message)
		go func() {
			defer close(back)
			for msg := range there {
				msg.Ack()
				back <- newMessage()
			}
		}()
		b.ReportAllocs()
		for b.Loop() {
			there <- newMessage()
			(<-back).Ack()
		}
		close(there)
	})
	for _, c := range contenders() {
		b.Run(c.name, func(b *testing.B) {
			ps := c.make()
			defer ps.Close()
			there, back := subscribe(b, ps, "there"), subscribe(b, ps, "back")
			go func() {
				for msg := range there {
					msg.Ack()
					_ = ps.Publish("back", newMessage())
				}
			}()
			b.ReportAllocs()
			for b.Loop() {
				_ = ps.Publish("there", newMessage())
				(<-back).Ack()
			}
		})
	}
}

// BenchmarkOneWay publishes 100,000 messages while one consumer acks them.
func BenchmarkOneWay(b *testing.B) {
	const count = 100_000
	perMessage := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/count, "ns/msg")
	}
	b.Run("bare-channel", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ch := make(chan *message.Message, 256)
			go func() {
				defer close(ch)
				for range count {
					ch <- newMessage()
				}
			}()
			for msg := range ch {
				msg.Ack()
			}
		}
		perMessage(b)
	})
	for _, c := range contenders() {
		b.Run(c.name, func(b *testing.B) {
			ps := c.make()
			defer ps.Close()
			msgs := subscribe(b, ps, "t")
			b.ReportAllocs()
			for b.Loop() {
				go func() {
					for range count {
						_ = ps.Publish("t", newMessage())
					}
				}()
				for range count {
					(<-msgs).Ack()
				}
			}
			perMessage(b)
		})
	}
}

func subscribe(tb testing.TB, sub message.Subscriber, topic string) <-chan *message.Message {
	tb.Helper()
	msgs, err := sub.Subscribe(context.Background(), topic)
	if err != nil {
		tb.Fatal(err)
	}
	return msgs
}
