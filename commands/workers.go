package commands

import "sync"

// maxIdle bounds the goroutines that a registry keeps for the next request.
// One that has run before has grown its stack already; growing a new one
// costs as much as a small handler.
const maxIdle = 256

// workers are the goroutines that run the handlers of requests from other registries. The zero value is ready.
type workers struct {
	mu     sync.Mutex
	idle   []chan<- *serving // guarded by mu: those that wait; the last to come is the first to go, its stack is still warm
	closed bool              // guarded by mu: nothing waits any more
}

// start runs s on a goroutine that is idle, or on a new one.
func (w *workers) start(s *serving) {
	w.mu.Lock()
	n := len(w.idle)
	if n == 0 {
		w.mu.Unlock()
		go w.work(s)
		return
	}
	worker := w.idle[n-1]
	w.idle = w.idle[:n-1]
	w.mu.Unlock()
	worker <- s // it has room for one, and is sent one
}

// work serves requests until too many goroutines are idle, or the registry closes.
func (w *workers) work(s *serving) {
	jobs := make(chan *serving, 1)
	for s != nil {
		for s != nil {
			s = s.run()
		}
		if !w.wait(jobs) {
			return
		}
		s = <-jobs
	}
}

// wait puts a worker among those that are idle. False if there are enough.
func (w *workers) wait(jobs chan<- *serving) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) == maxIdle {
		return false
	}
	w.idle = append(w.idle, jobs)
	return true
}

// close ends those that are idle, and each of the others after its run.
func (w *workers) close() {
	w.mu.Lock()
	idle := w.idle
	w.idle, w.closed = nil, true
	w.mu.Unlock()
	for _, worker := range idle {
		worker <- nil
	}
}
