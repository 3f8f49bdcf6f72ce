package main

import (
	"fmt"
	"io"
	"runtime"
	"time"
)

// report writes a line of counters each period, until the load ends.
func (s *soaking) report(out io.Writer, sites []*steadySite) {
	fmt.Fprintf(out, "%8s %10s %10s %10s %10s %8s %8s %8s %7s %7s %8s  %s\n", "time", "calls", "ok", "emitted", "heard", "lost",
		"hostile", "rejected", "lives", "flaps", "heap", "failed calls; goroutines")
	began := time.Now()
	tick := time.NewTicker(s.config.every)
	defer tick.Stop()
	for going := true; going; {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			going = false
		}
		var lost, rejected uint64
		for _, site := range sites {
			lost += site.lost()
			rejected += site.rejected()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		failed, _ := s.failures()
		fmt.Fprintf(out, "%8s %10d %10d %10d %10d %8d %8d %8d %7d %7d %5.1fMiB  %s; %d\n", time.Since(began).Round(time.Second),
			s.calls.Load(), s.ok.Load(), s.emitted.Load(), s.heard.Load(), lost, s.hostile.Load(), rejected,
			s.lives.Load(), s.flaps.Load(), mib(m.HeapAlloc), failed, runtime.NumGoroutine())
	}
}
