package commands_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

var addCommand = commands.Define[sum, int]("math.add", "Add two integers")

func addHandler(_ context.Context, s sum) (int, error) { return s.A + s.B, nil }

func BenchmarkLocalCall(b *testing.B) {
	ctx := context.Background()
	r, _ := commands.NewRegistry(commands.Config{})
	defer r.Close()
	if err := commands.Register(ctx, r, addCommand, addHandler); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if n, err := commands.Execute(ctx, r, addCommand, sum{7, 11}); n != 18 || err != nil {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkPairCall is math.add across a pair.
func BenchmarkPairCall(b *testing.B) {
	b.Run("gochannel", func(b *testing.B) { benchmarkPairCall(b) })
	b.Run("memory", func(b *testing.B) {
		benchmarkPairCall(b, pairing.Options{PubSub: memory.New(memory.Options{HandOver: true, MaxUnacked: 256})})
	})
}

func benchmarkPairCall(b *testing.B, opts ...pairing.Options) {
	ctx := context.Background()
	root, _ := commands.NewRegistry(commands.Config{ID: "root"})
	worker, _ := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "root"})
	defer root.Close()
	defer worker.Close()
	if err := commands.Register(ctx, worker, addCommand, addHandler); err != nil {
		b.Fatal(err)
	}
	toWorker, toRoot := pairing.InMemory("worker", "root", opts...)
	l, err := root.RegisterChannel(ctx, toWorker)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := worker.RegisterChannel(ctx, toRoot); err != nil {
		b.Fatal(err)
	}
	<-l.Ready()
	b.ReportAllocs()
	for b.Loop() {
		if n, err := commands.Execute(ctx, root, addCommand, sum{7, 11}); n != 18 || err != nil {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkBareGoChannel is the floor for a pair call over GoChannel: two
// publishes and acks, with the metadata and payload sizes of a call, handed to a
// goroutine that decodes and encodes the same JSON.
func BenchmarkBareGoChannel(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ps := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	defer ps.Close()
	requests, _ := ps.Subscribe(ctx, "requests")
	replies, _ := ps.Subscribe(ctx, "replies")
	go func() {
		for m := range requests {
			m.Ack()
			var s sum
			if err := json.Unmarshal(m.Payload, &s); err != nil {
				panic(err)
			}
			body, _ := json.Marshal(s.A + s.B)
			reply := message.NewMessage(watermill.NewUUID(), body)
			reply.Metadata["leat-type"] = "execute.command.response"
			reply.Metadata["leat-id"] = reply.UUID
			reply.Metadata["leat-thread"] = m.UUID
			if err := ps.Publish("replies", reply); err != nil {
				return
			}
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		body, _ := json.Marshal(sum{7, 11})
		m := message.NewMessage(watermill.NewUUID(), body)
		m.Metadata["leat-type"] = "execute.command.request"
		m.Metadata["leat-id"] = m.UUID
		m.Metadata["leat-name"] = "math.add"
		m.Metadata["leat-deadline"] = "30000000"
		if err := ps.Publish("requests", m); err != nil {
			b.Fatal(err)
		}
		reply := <-replies
		reply.Ack()
		var n int
		if err := json.Unmarshal(reply.Payload, &n); err != nil || n != 18 {
			b.Fatal(n, err)
		}
	}
}
