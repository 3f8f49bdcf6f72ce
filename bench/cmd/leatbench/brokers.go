package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/leatbus/leat/bench/internal/crews"
	"github.com/leatbus/leat/bench/internal/measure"
	"github.com/leatbus/leat/bench/internal/results"
)

var (
	crewCallers = []int{1, 16, 256}
	crewWorkers = []int{1, 2, 4}
)

// overBrokers measures fleets beside what the brokers themselves offer: the tables, and the ratios. Without URLs it
// takes a NATS of its own, with and without JetStream, and memory.
func overBrokers(e effort, page string, urls []string, out, log io.Writer) error {
	if len(urls) == 0 {
		stop, err := ownNATS(&urls)
		if err != nil {
			return err
		}
		defer stop()
	}
	var text bytes.Buffer
	here := results.Here()
	here.Markdown(&text)
	for _, url := range urls {
		for _, k := range crews.Of(url) {
			if err := crewTable(&text, e, k, url); err != nil {
				return fmt.Errorf("%s: %w", k.Name, err)
			}
			fmt.Fprintln(log, "# done:", k.Name)
		}
	}
	if _, err := out.Write(text.Bytes()); err != nil {
		return err
	}
	if page != "" {
		if err := fillPage(page, "brokers", text.String()); err != nil {
			return err
		}
	}
	for _, url := range urls {
		if strings.HasPrefix(url, "nats://") {
			fmt.Fprintln(out)
			return crewRatios(e, url, out, log)
		}
	}
	return nil
}

// ownNATS starts a server and adds its URLs, and memory's.
func ownNATS(urls *[]string) (stop func(), err error) {
	dir, err := os.MkdirTemp("", "leatbench-")
	if err != nil {
		return nil, err
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.Start()
	stop = func() {
		s.Shutdown()
		s.WaitForShutdown()
		_ = os.RemoveAll(dir)
	}
	if !s.ReadyForConnections(time.Minute) {
		stop()
		return nil, errors.New("the NATS server does not come up")
	}
	_, address, _ := strings.Cut(s.ClientURL(), "://")
	*urls = []string{"nats://" + address, "jetstream://" + address, "memory://"}
	return stop, nil
}

// crewTable has a row for each number of workers, and for each number of callers calls a second, p50 and p99.
func crewTable(out io.Writer, e effort, k crews.Kind, url string) error {
	fmt.Fprintf(out, "\n### %s\n\nCalls a second, and the latency that half and 99 %% of them stay within.\n\n", k.Name)
	fmt.Fprint(out, "| workers |")
	for _, callers := range crewCallers {
		fmt.Fprintf(out, " %d callers | p50 | p99 |", callers)
	}
	fmt.Fprintf(out, "\n|---:|%s\n", strings.Repeat("---:|---:|---:|", len(crewCallers)))
	for _, workers := range crewWorkers {
		crew, err := startCrew(k, url, workers)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| %d |", workers)
		for _, callers := range crewCallers {
			perSecond, took, err := latencies(crew.Call, callers, 5*e.Target)
			if err != nil {
				return errors.Join(err, crew.Close())
			}
			fmt.Fprintf(out, " %.0f | %s | %s |", perSecond, readable(quantile(took, 50)), readable(quantile(took, 99)))
		}
		fmt.Fprintln(out)
		if err := crew.Close(); err != nil {
			return err
		}
	}
	return nil
}

func startCrew(k crews.Kind, url string, workers int) (*crews.Crew, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return k.Start(ctx, url, workers)
}

// latencies calls for that long, after a warm-up of a fifth of it. The latencies are sorted.
func latencies(call func(context.Context) error, callers int, during time.Duration) (perSecond float64, took []time.Duration, err error) {
	if _, _, err := callFor(call, callers, during/5); err != nil {
		return 0, nil, err
	}
	runtime.GC()
	took, elapsed, err := callFor(call, callers, during)
	slices.Sort(took)
	return float64(len(took)) / elapsed.Seconds(), took, err
}

// callFor has each caller call until the time is over, and once at least: on a busy machine it may get the processor only then.
func callFor(call func(context.Context) error, callers int, during time.Duration) (took []time.Duration, elapsed time.Duration, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	began := time.Now()
	for range callers {
		wg.Go(func() {
			var mine []time.Duration
			var failed error
			for at, first := time.Now(), true; failed == nil && (first || at.Sub(began) < during); first = false {
				failed = call(context.Background())
				now := time.Now()
				mine = append(mine, now.Sub(at))
				at = now
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			err = errors.Join(err, failed)
		})
	}
	wg.Wait()
	return took, time.Since(began), err
}

// quantile returns 0 of none.
func quantile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}

func readable(d time.Duration) string {
	if d < time.Millisecond {
		return fmt.Sprintf("%d µs", d.Microseconds())
	}
	return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
}

// crewRatios compares the fleet over NATS core with NATS micro, in interleaved rounds.
func crewRatios(e effort, url string, out, log io.Writer) error {
	var series []measure.Series
	var ratios []ratio
	for _, k := range crews.Of(url) {
		crew, err := startCrew(k, url, 1)
		if err != nil {
			return fmt.Errorf("%s: %w", k.Name, err)
		}
		defer func() { _ = crew.Close() }()
		for _, callers := range crewCallers {
			series = append(series, measure.Series{Name: fmt.Sprintf("%s/%d", k.Name, callers), Run: measure.Calls(callers, crew.Call), Least: callers * e.each})
		}
	}
	for _, callers := range crewCallers {
		name := func(kind string) string { return fmt.Sprintf("%s/%d", kind, callers) }
		ratios = append(ratios, ratio{fmt.Sprintf("nats-fleet/nats-micro-%d-callers", callers), over(name("nats-fleet"), name("nats-micro")), atMost(1.5)})
	}
	measured, err := measure.Rounds(e.Plan, series...)
	if err != nil {
		return err
	}
	for _, r := range measured {
		fmt.Fprintf(log, "# %-20s %10.0f ns, %.1f allocations\n", r.Name, r.Median(), r.Allocs)
	}
	for _, q := range ratios {
		printRatio(out, q.name, medianOf(measured, q.value), q.bound)
	}
	return nil
}
