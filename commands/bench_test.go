package commands_test

import (
	"context"
	"encoding/json"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
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

// addBytes is math.add for types whose values could share memory, and are encoded and decoded on the way.
var addBytes = commands.Define[jsonSum, jsonInt]("math.add.json", "Add two integers")

type jsonSum struct {
	A     int    `json:"a"`
	B     int    `json:"b"`
	Notes []byte `json:"notes,omitempty"`
}

type jsonInt struct {
	N     int    `json:"n"`
	Notes []byte `json:"notes,omitempty"`
}

// BenchmarkPairCall is math.add across a pair.
func BenchmarkPairCall(b *testing.B) {
	b.Run("gochannel", func(b *testing.B) { benchmarkPairCall(b) })
	b.Run("memory-json", func(b *testing.B) {
		ctx := context.Background()
		root, worker := benchmarkPair(b, memoryPair())
		if err := commands.Register(ctx, worker, addBytes, func(_ context.Context, s jsonSum) (jsonInt, error) { return jsonInt{N: s.A + s.B}, nil }); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if n, err := commands.Execute(ctx, root, addBytes, jsonSum{A: 7, B: 11}); n.N != 18 || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("memory-2-hops", func(b *testing.B) {
		ctx := context.Background()
		root, worker := benchmarkPair(b, memoryPair())
		leaf, _ := commands.NewRegistry(commands.Config{ID: "leaf", RouterChannel: "worker"})
		defer leaf.Close()
		toLeaf, toWorker := pairing.InMemory("leaf", "worker", memoryPair())
		if _, err := worker.RegisterChannel(ctx, toLeaf); err != nil {
			b.Fatal(err)
		}
		l, err := leaf.RegisterChannel(ctx, toWorker)
		if err != nil {
			b.Fatal(err)
		}
		<-l.Ready()
		if err := commands.Register(ctx, leaf, addCommand, addHandler); err != nil {
			b.Fatal(err)
		}
		benchmarkAdd(b, root)
	})
	b.Run("memory", func(b *testing.B) {
		benchmarkPairCall(b, memoryPair())
	})
}

func memoryPair() pairing.Options {
	return pairing.Options{PubSub: memory.New(memory.Options{HandOver: true})}
}

func benchmarkPairCall(b *testing.B, opts ...pairing.Options) {
	ctx := context.Background()
	root, worker := benchmarkPair(b, opts...)
	if err := commands.Register(ctx, worker, addCommand, addHandler); err != nil {
		b.Fatal(err)
	}
	benchmarkAdd(b, root)
}

func benchmarkAdd(b *testing.B, at *commands.Registry) {
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if n, err := commands.Execute(ctx, at, addCommand, sum{7, 11}); n != 18 || err != nil {
			b.Fatal(n, err)
		}
	}
}

func benchmarkPair(b *testing.B, opts ...pairing.Options) (root, worker *commands.Registry) {
	ctx := context.Background()
	root, _ = commands.NewRegistry(commands.Config{ID: "root"})
	worker, _ = commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "root"})
	b.Cleanup(func() {
		root.Close()
		worker.Close()
	})
	toWorker, toRoot := pairing.InMemory("worker", "root", opts...)
	l, err := root.RegisterChannel(ctx, toWorker)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := worker.RegisterChannel(ctx, toRoot); err != nil {
		b.Fatal(err)
	}
	<-l.Ready()
	return root, worker
}

// BenchmarkPairCallers is BenchmarkPairCall over bus/memory with many callers at once.
func BenchmarkPairCallers(b *testing.B) {
	ctx := context.Background()
	for _, callers := range []int{1, 16, 256, 4096} {
		b.Run(strconv.Itoa(callers), func(b *testing.B) {
			root, worker := benchmarkPair(b, memoryPair())
			if err := commands.Register(ctx, worker, addCommand, addHandler); err != nil {
				b.Fatal(err)
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if n, err := commands.Execute(ctx, root, addCommand, sum{7, 11}); n != 18 || err != nil {
							b.Error(n, err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkCallAmongEvents is a call to a registry that emits as fast as its link takes it: what the reply waits.
func BenchmarkCallAmongEvents(b *testing.B) {
	ctx, stop := context.WithCancel(context.Background())
	root, worker := benchmarkPair(b)
	if err := commands.Register(ctx, worker, addCommand, addHandler); err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for worker.Events().EmitRaw(ctx, "noise", nil) == nil {
		}
	})
	for worker.Link("root").Stats().Queued < 8000 {
		runtime.Gosched()
	}
	b.ResetTimer()
	for b.Loop() {
		if n, err := commands.Execute(ctx, root, addCommand, sum{7, 11}); n != 18 || err != nil {
			b.Fatal(n, err)
		}
	}
	b.StopTimer()
	stop()
	wg.Wait()
}

// BenchmarkPairCallRaw is BenchmarkPairCall over bus/memory without any JSON: what is left is the way there and back.
func BenchmarkPairCallRaw(b *testing.B) {
	ctx := context.Background()
	root, worker := benchmarkPair(b, memoryPair())
	sum := json.RawMessage("18")
	if err := worker.RegisterRaw(ctx, bus.Definition{ID: "raw"}, func(context.Context, json.RawMessage) (json.RawMessage, error) { return sum, nil }); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := root.ExecuteRaw(ctx, "raw", nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPairEvent is an event from one registry of a pair over bus/memory to one listener at the other, handled: the
// last are flushed.
func BenchmarkPairEvent(b *testing.B) {
	ctx := context.Background()
	root, worker := benchmarkPair(b, memoryPair())
	tick := events.Define[sum]("tick")
	seen := 0
	_, err := events.Listen(worker.Events(), tick, func(context.Context, sum) { seen++ }, events.ListenOptions{QueueSize: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	flush := func() {
		for _, r := range []*commands.Registry{root, worker} {
			if err := r.Events().Flush(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if err := events.Emit(ctx, root.Events(), tick, sum{7, 11}); err != nil {
			b.Fatal(err)
		}
		if i%100_000 == 99_999 {
			flush()
		}
	}
	flush()
	if seen != b.N {
		b.Fatal(seen, "of", b.N)
	}
}

// BenchmarkChannels is the yardstick: a round trip over two unbuffered Go channels.
func BenchmarkChannels(b *testing.B) {
	to, from := make(chan sum), make(chan int)
	defer close(to)
	go func() {
		for s := range to {
			from <- s.A + s.B
		}
	}()
	for b.Loop() {
		to <- sum{7, 11}
		if <-from != 18 {
			b.Fatal("wrong")
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
