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
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
