package main

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/leatbus/leat/bench/internal/fanout"
	"github.com/leatbus/leat/bench/internal/measure"
	"github.com/leatbus/leat/bench/internal/peers"
	"github.com/leatbus/leat/bench/internal/scale"
)

// round gives the nanoseconds per operation of a series in one round.
type round func(series string) float64

// ratio is a figure that is to be bounded.
type ratio struct {
	name  string
	value func(round) float64
	bound bound
}

// bound is "<=" or ">=" a limit.
type bound struct {
	sign  string
	limit float64
}

func atMost(limit float64) bound  { return bound{"<=", limit} }
func atLeast(limit float64) bound { return bound{">=", limit} }

func (b bound) holds(v float64) bool {
	if b.sign == "<=" {
		return v <= b.limit
	}
	return v >= b.limit
}

// over is the cost of one series in units of another's.
func over(a, b string) func(round) float64 { return func(r round) float64 { return r(a) / r(b) } }

// callRatios compares calls and events. Their unit is channels: one round trip over two unbuffered Go channels.
var callRatios = []ratio{
	{"local/channels", over("leat-local", "channels"), atMost(0.15)},
	{"memory-json/channels", over("leat-memory-json", "channels"), atMost(8)},
	{"memory/channels", over("leat-memory", "channels"), atMost(5)},
	{"memory-raw/channels", over("leat-memory-raw", "channels"), atMost(5)},
	{"gochannel/bare-gochannel", over("leat-gochannel", "gochannel"), atMost(1.25)},
	{"memory-256-callers/memory", over("leat-memory/256", "leat-memory"), atMost(1)},
	{"memory-4096-callers/memory", over("leat-memory/4096", "leat-memory"), atMost(1.3)},
	{"requestreply/gochannel", over("requestreply", "leat-gochannel"), atLeast(2.5)},
	{"requestreply/memory", over("requestreply", "leat-memory"), atLeast(8)},
	{"requestreply/memory-json", over("requestreply", "leat-memory-json"), atLeast(8)},
	{"nats-micro/memory", over("nats-micro", "leat-memory"), atLeast(4)},
	{"nats-micro/memory-json", over("nats-micro", "leat-memory-json"), atLeast(4)},
	{"net-rpc/memory", over("net-rpc", "leat-memory"), atLeast(2)},
	{"net-rpc/memory-json", over("net-rpc", "leat-memory-json"), atLeast(2)},
	{"second-hop/first-hop", func(r round) float64 { return r("leat-memory/2 hops")/r("leat-memory") - 1 }, atMost(0.8)},
	{"event/channels", over("event", "channels"), atMost(2)},
	{"event-raw/channels", over("event-raw", "channels"), atMost(2)},
}

// ratioParts are what can be measured by itself.
var ratioParts = []struct {
	name    string
	measure func(e effort, out, log io.Writer) error
}{{"calls", ratiosOfCalls}, {"cores", ratiosOfCores}, {"scale", ratiosOfScale}}

// ratios measures the part of that name, or all of them.
func ratios(e effort, only string, out, log io.Writer) error {
	known := only == ""
	for _, part := range ratioParts {
		if only != "" && part.name != only {
			continue
		}
		known = true
		if err := part.measure(e, out, log); err != nil {
			return err
		}
	}
	if !known {
		return fmt.Errorf("no part %q of the ratios: calls, cores or scale", only)
	}
	return nil
}

func ratiosOfScale(e effort, out, _ io.Writer) error {
	for _, g := range []struct {
		name         string
		small, large int
		limit        float64
	}{{"commands", 10, 100_000, 1.2}, {"channels", 1, 1_000, 1.2}, {"dedupe", 1_000, 1_000_000, 3}} {
		if err := ratioOfScale(e, g.name, g.small, min(g.large, e.largest), atMost(g.limit), out); err != nil {
			return err
		}
	}
	part, err := scale.DedupeShrinks(min(1_000_000, e.largest), e.ttl)
	if err != nil {
		return err
	}
	printRatio(out, "dedupe-after-two-ttls/peak", part, atMost(0.1))
	return nil
}

func printRatio(out io.Writer, name string, v float64, b bound) {
	verdict := "short"
	if b.holds(v) {
		verdict = "ok"
	}
	fmt.Fprintf(out, "%s\t%.3f\t%s%g\t%s\n", name, v, b.sign, b.limit, verdict)
}

// medianOf is the median over the rounds of a figure computed in each.
func medianOf(results []measure.Result, value func(round) float64) float64 {
	byName := make(map[string]measure.Result, len(results))
	for _, r := range results {
		byName[r.Name] = r
	}
	var values []float64
	for i := range results[0].Rounds {
		values = append(values, value(func(series string) float64 { return byName[series].Rounds[i] }))
	}
	return measure.Median(values)
}

func ratiosOfCalls(e effort, out, log io.Writer) error {
	f := fleet{each: e.each}
	defer f.close()
	for _, name := range []string{"channels", "leat-local", "leat-memory", "leat-memory-json", "leat-memory-raw", "leat-gochannel", "gochannel", "requestreply", "nats-micro", "net-rpc"} {
		if err := f.add(name, name, peers.Setup{}); err != nil {
			return err
		}
	}
	for name, s := range map[string]peers.Setup{"leat-memory/256": {Callers: 256}, "leat-memory/4096": {Callers: 4096}, "leat-memory/2 hops": {Hops: 2}} {
		if err := f.add(name, "leat-memory", s); err != nil {
			return err
		}
	}
	for name, start := range map[string]func(fanout.Setup) (fanout.Fan, error){"event": fanout.LeatMemory, "event-raw": fanout.LeatMemoryRaw} {
		if err := f.addFan(name, start, fanout.Setup{Listeners: 1, Largest: e.burst}); err != nil {
			return err
		}
	}
	results, err := measure.Rounds(e.Plan, f.series...)
	if err != nil {
		return err
	}
	for _, r := range results {
		fmt.Fprintf(log, "# %-20s %10.0f ns, %.1f allocations\n", r.Name, r.Median(), r.Allocs)
		switch r.Name {
		case "leat-local":
			printRatio(out, "local-allocations", hundredths(r.Allocs), atMost(1))
		case "leat-memory-json":
			printRatio(out, "memory-json-allocations", hundredths(r.Allocs), atMost(25))
		}
	}
	for _, q := range callRatios {
		printRatio(out, q.name, medianOf(results, q.value), q.bound)
	}
	return nil
}

// hundredths rounds to hundredths: the count is the whole process's, and what else runs in it allocates now and then.
func hundredths(allocs float64) float64 { return math.Round(allocs*100) / 100 }

func ratioOfScale(e effort, name string, small, large int, b bound, out io.Writer) error {
	f := fleet{each: e.each}
	defer f.close()
	var perItem float64
	for _, n := range []int{small, large} {
		rig, err := f.addRig(name, n)
		if err != nil {
			return err
		}
		perItem = rig.PerItem
	}
	results, err := measure.Rounds(e.Plan, f.series...)
	if err != nil {
		return err
	}
	printRatio(out, fmt.Sprintf("%s-%d/%s-%d", name, large, name, small), medianOf(results, over(results[1].Name, results[0].Name)), b)
	if name == "dedupe" {
		printRatio(out, "dedupe-bytes-a-key", perItem, atMost(120))
	}
	return nil
}

// fleet is what runs side by side. The zero value is empty.
type fleet struct {
	each   int // calls that each of many callers makes, at least
	series []measure.Series
	ends   []func()
}

func (f *fleet) close() {
	for _, end := range f.ends {
		end()
	}
}

func (f *fleet) add(series, kind string, s peers.Setup) error {
	p, err := f.start(kind, s)
	if err != nil {
		return err
	}
	f.series = append(f.series, f.calls(series, s.Callers, p))
	return nil
}

func (f *fleet) start(kind string, s peers.Setup) (peers.Peer, error) {
	k, err := peers.Named(kind)
	if err != nil {
		return nil, err
	}
	p, err := k.Make(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	f.ends = append(f.ends, p.Close)
	return p, nil
}

func (f *fleet) calls(series string, callers int, p peers.Peer) measure.Series {
	return measure.Series{Name: series, Run: measure.Calls(callers, p.Call), Least: callers * max(1, f.each)}
}

// addFan counts deliveries: an event to ten listeners is ten. A run is a whole number of bursts.
func (f *fleet) addFan(series string, start func(fanout.Setup) (fanout.Fan, error), s fanout.Setup) error {
	fan, err := start(s)
	if err != nil {
		return fmt.Errorf("%s: %w", series, err)
	}
	f.ends = append(f.ends, fan.Close)
	deliveries := s.Largest * s.Listeners
	f.series = append(f.series, measure.Series{Name: series, Least: deliveries, Run: func(n int) (int, error) {
		bursts := max(1, n/deliveries)
		for range bursts {
			if err := fan.Burst(context.Background(), s.Largest); err != nil {
				return 0, err
			}
		}
		return bursts * deliveries, nil
	}})
	return nil
}

func (f *fleet) addRig(dimension string, n int) (*scale.Rig, error) {
	for _, d := range scale.All() {
		if d.Name != dimension {
			continue
		}
		rig, err := d.Make(n)
		if err != nil {
			return nil, fmt.Errorf("%s %d: %w", dimension, n, err)
		}
		f.ends = append(f.ends, rig.Close)
		f.series = append(f.series, measure.Series{Name: fmt.Sprintf("%s %d", dimension, n), Run: measure.Calls(1, rig.Op)})
		return rig, nil
	}
	return nil, fmt.Errorf("no dimension %q", dimension)
}
