// Migrate: one program, in one process or over a broker. What differs is the line
// that opens it.
//
//	go run ./examples/migrate                                # in memory
//	go run ./examples/migrate -over redis                    # at its usual address
//	go run ./examples/migrate -over nats://127.0.0.1:4222    # or anywhere else
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
	"github.com/leatbus/leat/examples/internal/usage"
	"github.com/leatbus/leat/pairing"
)

var usual = map[string]string{
	"memory":    "memory://",
	"gochannel": "gochannel://",
	"nats":      "nats://127.0.0.1:4222",
	"redis":     "redis://127.0.0.1:6379/0",
	"amqp":      "amqp://guest:guest@127.0.0.1:5672/",
	"postgres":  "postgres://postgres@127.0.0.1:5432/postgres",
}

const about = `usage: go run ./examples/migrate [-over NAME|URL]

One program, in one process or over a broker. What differs is the line that
opens it. Known by name, at their usual address on this machine: memory,
gochannel, nats, redis, amqp, postgres. Others, and other addresses, by URL:
jetstream://HOST:4222, kafka://HOST:9092, …
`

type numbers struct {
	A int `json:"a"`
	B int `json:"b"`
}

var (
	add     = commands.Define[numbers, int]("math.add", "Add two integers")
	divide  = commands.Define[numbers, int]("math.divide", "Divide a by b")
	divided = events.Define[int]("math.divided")
)

var quiet = slog.New(slog.DiscardHandler)

func main() {
	over := flag.String("over", "memory", "a broker's `name` from above, or a URL")
	usage.Parse(about, 0)
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	url := *over
	if known, ok := usual[url]; ok {
		url = known
	}

	b, err := brokers.Open(ctx, url, brokers.Options{Namespace: "leat-examples", Logger: quiet}) // the one line
	check(err)

	// The rest is the same over every broker. In production the two registries are in two processes.
	check(b.Check(ctx))
	check(run(ctx, b))
	check(b.Close())
}

func run(ctx context.Context, b *brokers.Broker) error {
	app := must(commands.NewRegistry(commands.Config{ID: "app", Logger: quiet}))
	worker := must(commands.NewRegistry(commands.Config{ID: "worker", Logger: quiet}))
	defer app.Close()
	defer worker.Close()

	check(commands.Register(ctx, worker, add, func(_ context.Context, n numbers) (int, error) { return n.A + n.B, nil }))
	check(commands.Register(ctx, worker, divide, func(ctx context.Context, n numbers) (int, error) {
		if n.B == 0 {
			return 0, commands.Errorf(commands.InvalidRequest, "cannot divide by 0")
		}
		return n.A / n.B, events.Emit(ctx, worker.Events(), divided, n.A/n.B)
	}))
	heard := make(chan int, 1)
	must(events.Listen(app.Events(), divided, func(_ context.Context, n int) { heard <- n }))

	o := pairing.JoinOptions{Prefix: "migrate-" + bus.NewID()} // so that two runs at once do not meet
	toApp := pairing.Connect(ctx, worker, func() (*bus.Channel, error) { return b.Join("worker", "app", o), nil })
	toWorker := pairing.Connect(ctx, app, func() (*bus.Channel, error) { return b.Join("app", "worker", o), nil })
	defer toApp.Close()
	defer toWorker.Close()
	if err := toWorker.Ready(ctx); err != nil {
		return fmt.Errorf("%w (%w)", err, toWorker.Stats().LastError)
	}

	fmt.Println("7 + 11 =", must(commands.Execute(ctx, app, add, numbers{7, 11})))
	fmt.Println("42 / 6 =", must(commands.Execute(ctx, app, divide, numbers{42, 6})))
	fmt.Println("event:", <-heard)
	_, err := commands.Execute(ctx, app, divide, numbers{42, 0})
	fmt.Println("42 / 0:", err)
	return nil
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal("migrate: ", err)
	}
}
