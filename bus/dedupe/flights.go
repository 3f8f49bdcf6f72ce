package dedupe

import "sync"

// flights are the keys whose first delivery is being handled in this process. The zero value works.
type flights struct {
	mu   sync.Mutex
	keys map[string]*flight // guarded by mu: nil for one that no other delivery waits for
}

// flight is what other deliveries of a key wait for.
type flight struct {
	landed chan struct{} // closed when the first is done
	ok     bool          // set before that: it has succeeded
}

// begin returns nil to the first delivery of a key, which has to call end; to another one what it waits for.
func (f *flights) begin(key string) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keys == nil {
		f.keys = make(map[string]*flight)
	}
	first, known := f.keys[key]
	if !known {
		f.keys[key] = nil
		return nil
	}
	if first == nil {
		first = &flight{landed: make(chan struct{})}
		f.keys[key] = first
	}
	return first
}

// end lets the others look again.
func (f *flights) end(key string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := f.keys[key]
	delete(f.keys, key)
	if first != nil {
		first.ok = ok
		close(first.landed)
	}
}
