package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/leatbus/leat/bench/internal/measure"
	"github.com/leatbus/leat/bench/internal/peers"
)

// coreRatios bounds what a call over bus/memory costs on two cores, in units of what it costs on one: more cores must not
// make it dearer.
var coreRatios = []struct {
	callers int
	bound   bound
}{{16, atMost(1)}, {256, atMost(0.8)}, {4096, atMost(1)}}

// ratiosOfCores runs the same peer with GOMAXPROCS 1 and 2, in interleaved rounds.
func ratiosOfCores(e effort, out, log io.Writer) error {
	if runtime.NumCPU() < 2 {
		fmt.Fprintln(log, "# this machine has one core: cores-2/cores-1 says nothing here")
	}
	f := fleet{each: e.each}
	defer f.close()
	name := func(callers, cores int) string { return fmt.Sprintf("%d callers, %d cores", callers, cores) }
	for _, c := range coreRatios {
		p, err := f.start("leat-memory", peers.Setup{Callers: c.callers})
		if err != nil {
			return err
		}
		for _, cores := range []int{1, 2} {
			f.series = append(f.series, onCores(cores, f.calls(name(c.callers, cores), c.callers, p)))
		}
	}
	results, err := measure.Rounds(e.Plan, f.series...)
	if err != nil {
		return err
	}
	for _, r := range results {
		fmt.Fprintf(log, "# %-21s %9.0f ns\n", r.Name, r.Median())
	}
	for _, c := range coreRatios {
		printRatio(out, fmt.Sprintf("cores-2/cores-1-%d-callers", c.callers), medianOf(results, over(name(c.callers, 2), name(c.callers, 1))), c.bound)
	}
	return nil
}

// onCores is the series with that many cores. The setting is the whole process's, and as before afterwards.
func onCores(cores int, s measure.Series) measure.Series {
	run := s.Run
	s.Run = func(n int) (int, error) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
		return run(n)
	}
	return s
}
