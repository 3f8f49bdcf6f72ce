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
	goleak.VerifyTestMain(m)
}
