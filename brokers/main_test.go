package brokers_test

import (
	"context"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if settings, worker := os.LookupEnv(workerEnv); worker {
		os.Exit(work(settings))
	}
	playRole()
	redis.SetLogger(quiet{}) // tests break its connections on purpose
	// sarama's metrics have one goroutine for the process, which nothing ends.
	metrics := goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick")
	// Of the RabbitMQ adapter's connections each that is closed while it tries to reconnect leaves one, which waits for ever.
	reconnecting := goleak.IgnoreTopFunction("github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp.(*ConnectionWrapper).handleConnectionClose")
	goleak.VerifyTestMain(m, metrics, reconnecting)
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
