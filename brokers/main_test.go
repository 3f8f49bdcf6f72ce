package brokers_test

import (
	"flag"
	"log/slog"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	playRole()
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		atOnce := "8" // they wait most of the time
		if realServers() {
			atOnce = "4" // the servers do not
		}
		_ = parallel.Value.Set(atOnce)
	}
	slog.SetDefault(silent)
	// sarama's metrics have one goroutine for the process, which nothing ends.
	metrics := goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick")
	// A group of the Kafka fake lives until the next one of its name.
	groups := goleak.IgnoreTopFunction("github.com/twmb/franz-go/pkg/kfake.(*group).manage")
	goleak.VerifyTestMain(m, metrics, groups)
}
