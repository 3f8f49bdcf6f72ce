package brokers_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if settings, worker := os.LookupEnv(workerEnv); worker {
		os.Exit(work(settings))
	}
	playRole()
	// sarama's metrics have one goroutine for the process, which nothing ends.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}
