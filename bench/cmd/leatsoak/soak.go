package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"time"
)

const (
	requestTTL = 5 * time.Second
	eventTTL   = 10 * time.Minute // longer than any queue takes: an event that grows old is a loss of another kind

	// patience is for what has to come about by itself, on a machine that does other things too.
	patience = time.Minute
)

// soaking is one run: what its parts share.
type soaking struct {
	config
	*judge
	ctx     context.Context // ends when the load is to end
	workers sync.WaitGroup  // all goroutines that make load
}

// random returns a source for one goroutine.
func (s *soaking) random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, stream)) }

// every calls do until the load ends, with pauses around pause.
func (s *soaking) every(pause time.Duration, stream uint64, do func(r *rand.Rand)) {
	s.workers.Go(func() {
		r := s.random(stream)
		for s.sleep(pause/2 + rand.N(pause)) {
			do(r)
		}
	})
}

// sleep reports whether the load goes on.
func (s *soaking) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.ctx.Done():
		return false
	}
}

// soak runs everything, closes it, and looks at what is left.
func soak(ctx context.Context, c config, j *judge, out io.Writer) {
	warm := c
	warm.during = min(c.during/10, time.Second) // pools, caches and stacks are filled, and the rest of the heap is then the measure
	first := newJudge(j.log)
	lap(ctx, warm, first, io.Discard)
	if n := first.violations(); n > 0 {
		j.violated("warm-up", "%d violations", n)
	}
	before := look()
	fmt.Fprintf(out, "seed %d, %d goroutines, %.1f MiB of heap\n", c.seed, before.goroutines, mib(before.heap))
	lap(ctx, c, j, out)
	j.balance()
	j.leftovers(before)
}

// lap is one life of all sites.
func lap(ctx context.Context, c config, j *judge, out io.Writer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &soaking{config: c, judge: j, ctx: ctx}
	var steady []*steadySite
	var restless []*restlessSite
	all := wires()
	for _, w := range all {
		steady = append(steady, newSteadySite(s, w))
		restless = append(restless, newRestlessSite(s, w))
	}
	time.AfterFunc(c.during, cancel)
	s.report(out, steady)
	s.join()
	for _, site := range steady {
		site.settle()
	}
	for _, site := range restless {
		site.settle()
	}
	for i := range all {
		err := errors.Join(steady[i].close(), restless[i].close())
		if all[i].close != nil {
			err = errors.Join(err, all[i].close())
		}
		if err != nil {
			j.violated("close", "%s: %v", all[i].name, err)
		}
	}
}

// join waits for the goroutines that make load. One that does not end hangs in a call, an emission or a close.
func (s *soaking) join() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.workers.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		s.violated("hangs", "the load does not end:\n%s", stacks())
	}
}

// state is what is to be as before in the end.
type state struct {
	goroutines int
	heap       uint64
}

func look() state {
	var m runtime.MemStats
	for range 3 { // finalizers, and what sync.Pool keeps for one cycle more
		runtime.GC()
	}
	debug.FreeOSMemory()
	runtime.ReadMemStats(&m)
	return state{runtime.NumGoroutine(), m.HeapAlloc}
}

// slack is how much larger the heap may be at the end: pools and maps of the runtime's own.
const slack = 4 << 20

// leftovers waits until goroutines and heap are back.
func (j *judge) leftovers(before state) {
	var now state
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if now = look(); now.goroutines <= before.goroutines && now.heap <= before.heap+slack {
			return
		}
	}
	if now.goroutines > before.goroutines {
		j.violated("goroutines", "%d, %d before:\n%s", now.goroutines, before.goroutines, stacks())
	}
	if now.heap > before.heap+slack {
		j.violated("heap", "%.1f MiB, %.1f before", mib(now.heap), mib(before.heap))
	}
}

// stacks returns those of all goroutines, grouped, and cut where it gets long.
func stacks() string {
	var b strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	if text := b.String(); len(text) > 16<<10 {
		return text[:16<<10] + "…"
	}
	return b.String()
}

func mib(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
