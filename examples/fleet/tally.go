package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/leatbus/leat/commands"
)

// tally accounts for every call. All methods are safe for concurrent use.
type tally struct {
	calls int
	began time.Time

	mu       sync.Mutex
	sent     int             // guarded by mu
	ended    int             // guarded by mu
	answered map[string]int  // guarded by mu: by worker
	failed   map[string]int  // guarded by mu: by code
	took     []time.Duration // guarded by mu: of each call that was answered
	changed  chan struct{}   // guarded by mu: closed and replaced when a call has ended
}

func newTally(calls int) *tally {
	return &tally{
		calls: calls, began: time.Now(), changed: make(chan struct{}),
		answered: make(map[string]int), failed: make(map[string]int),
	}
}

// next reports whether there is a call to make, and counts it as sent.
func (t *tally) next() (number int, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sent == t.calls {
		return 0, false
	}
	t.sent++
	return t.sent, true
}

// end notes how a call has ended.
func (t *tally) end(worker string, took time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended++
	if failure := (*commands.Error)(nil); errors.As(err, &failure) {
		t.failed[string(failure.Code)]++
	} else if err != nil {
		t.failed[err.Error()]++
	} else {
		t.answered[worker]++
		t.took = append(t.took, took)
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

// reach waits until that part of the calls has ended. False if ctx ends before.
func (t *tally) reach(ctx context.Context, part, of int) bool {
	for {
		t.mu.Lock()
		reached, changed := t.ended*of >= t.calls*part, t.changed
		t.mu.Unlock()
		if reached {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// account is a tally at one moment.
type account struct {
	at          time.Duration
	sent, ended int
	answered    map[string]int
	failed      map[string]int
	took        []time.Duration // sorted
}

// take returns the account, with the latencies of calls that were answered after the first skip.
func (t *tally) take(skip int) account {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := slices.Clone(t.took[skip:])
	slices.Sort(took)
	return account{time.Since(t.began), t.sent, t.ended, maps.Clone(t.answered), maps.Clone(t.failed), took}
}

func sum(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

// quantile returns the latency that so many percent of the calls stay within.
func (a account) quantile(percent int) time.Duration {
	if len(a.took) == 0 {
		return 0
	}
	return a.took[min(len(a.took)-1, len(a.took)*percent/100)]
}

// check reports whether every call that was sent has ended, once.
func (t *tally) check() error {
	a := t.take(0)
	if ok, failed := sum(a.answered), sum(a.failed); ok+failed != a.sent {
		return fmt.Errorf("%d calls were sent, but %d were answered and %d failed", a.sent, ok, failed)
	}
	return nil
}

// callAll makes the calls, and returns when all have ended. After ctx it begins no more.
func callAll(ctx context.Context, o options, r *commands.Registry, t *tally) {
	var callers sync.WaitGroup
	for range o.callers {
		callers.Go(func() {
			for ctx.Err() == nil {
				n, more := t.next()
				if !more {
					return
				}
				command := quote
				if n%2 == 0 {
					command = order
				}
				began := time.Now()
				got, err := commands.Execute(ctx, r, command, request{n})
				if err == nil && got.Number != n {
					err = errors.New("reply to another call")
				}
				t.end(got.Worker, time.Since(began), err)
			}
		})
	}
	callers.Wait()
}
