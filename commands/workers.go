package commands

import "sync"

// maxIdle bounds the goroutines that a registry keeps for the next request, maxIdleOf those of one processor.
// One that has run before has grown its stack already; growing a new one
// costs as much as a small handler.
const (
	maxIdle   = 256
	maxIdleOf = maxIdle / len(workers{})
)

// workers are the goroutines that run the handlers of requests from other registries. The zero value is ready. Those that
// are idle wait where they have run: so their stacks stay in the caches of one processor.
type workers [4]workersOf

type workersOf struct {
	mu     sync.Mutex
	idle   []chan<- *serving // guarded by mu: those that wait; the last to come is the first to go, its stack is still warm
	closed bool              // guarded by mu: nothing waits any more

	_ [24]byte // they share no cache line
}

// start runs s on a goroutine that is idle, or on a new one.
func (w *workers) start(s *serving) {
	for i := range w {
		if worker := w.near(s, i).take(); worker != nil {
			worker <- s // it has room for one, and is sent one
			return
		}
	}
	go w.work(s)
}

// near returns the i-th to look at for a request. Requests that come from one processor have the same digit at the end of
// their IDs: see pending.
func (w *workers) near(s *serving, i int) *workersOf {
	id := s.Envelope.ID
	return &w[(int(id[len(id)-1])+i)%len(w)]
}

// take returns one that is idle, or nil.
func (w *workersOf) take() (worker chan<- *serving) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		worker = w.idle[n-1]
		w.idle = w.idle[:n-1]
	}
	w.mu.Unlock()
	return worker
}

// work serves requests until too many goroutines are idle, or the registry closes.
func (w *workers) work(s *serving) {
	jobs := make(chan *serving, 1)
	for s != nil {
		last := s
		for s != nil {
			last, s = s, s.run()
		}
		if !w.wait(jobs, last) {
			return
		}
		s = <-jobs
	}
}

// wait puts a worker that has served last among those that are idle. False if there are enough.
func (w *workers) wait(jobs chan<- *serving, last *serving) bool {
	for i := range w {
		if w.near(last, i).put(jobs) {
			return true
		}
	}
	return false
}

func (w *workersOf) put(jobs chan<- *serving) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) == maxIdleOf {
		return false
	}
	w.idle = append(w.idle, jobs)
	return true
}

// close ends those that are idle, and each of the others after its run.
func (w *workers) close() {
	for i := range w {
		of := &w[i]
		of.mu.Lock()
		idle := of.idle
		of.idle, of.closed = nil, true
		of.mu.Unlock()
		for _, worker := range idle {
			worker <- nil
		}
	}
}
