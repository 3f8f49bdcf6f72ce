//go:build unix

package brokers_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
)

// load is callers that never stop calling, and what became of each call.
type load struct {
	t      testing.TB
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu       sync.Mutex
	sent     int                      // guarded by mu
	answered map[string]int           // guarded by mu: by worker
	failed   map[commands.Code]int    // guarded by mu
	broken   []error                  // guarded by mu: failures that have no business here
	slowest  map[string]time.Duration // guarded by mu: by command
	news     chan struct{}            // guarded by mu: closed and replaced with each call that ends
}

// callTime is how long one call of a load may take.
const callTime = 15 * time.Second

// startLoad starts so many callers, each of which calls the commands in turn, at most every other millisecond.
func startLoad(t testing.TB, r *commands.Registry, callers int, called ...commands.Command[int, answer]) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, cancel: cancel, answered: make(map[string]int), failed: make(map[commands.Code]int),
		slowest: make(map[string]time.Duration), news: make(chan struct{})}
	for i := range callers {
		l.ended.Go(func() {
			pace := time.NewTicker(2 * time.Millisecond)
			defer pace.Stop()
			for n := i; ctx.Err() == nil; n++ {
				l.call(r, called[n%len(called)], n)
				<-pace.C
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) call(r *commands.Registry, c commands.Command[int, answer], n int) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	began := time.Now()
	got, err := commands.Execute(ctx, r, c, n)
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	l.slowest[c.ID()] = max(l.slowest[c.ID()], took)
	failure := (*commands.Error)(nil)
	switch {
	case err == nil && got.Twice == 2*n:
		l.answered[got.Worker]++
	case err == nil:
		l.broken = append(l.broken, fmt.Errorf("%s %d: %+v", c.ID(), n, got))
	case errors.As(err, &failure):
		l.failed[failure.Code]++
		if failure.Code != commands.ChannelDisconnected && failure.Code != commands.Timeout {
			l.broken = append(l.broken, fmt.Errorf("%s: %w", c.ID(), err))
		}
	default:
		l.broken = append(l.broken, err)
	}
	close(l.news)
	l.news = make(chan struct{})
}

// until waits for a state of the load.
func (l *load) until(what string, holds func(*load) bool) {
	l.t.Helper()
	timer := time.NewTimer(2 * time.Minute) // a broker comes back within half of one, and is believed in after two thirds of a lease
	defer timer.Stop()
	for {
		l.mu.Lock()
		ok, news := holds(l), l.news
		l.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-news:
		case <-timer.C:
			l.mu.Lock()
			defer l.mu.Unlock()
			require.Failf(l.t, "does not happen: "+what, "answered %v, failed %v, broken %v", l.answered, l.failed, l.broken)
		}
	}
}

// more waits until that worker has answered again.
func (l *load) more(worker string) {
	l.t.Helper()
	l.mu.Lock()
	before := l.answered[worker]
	l.mu.Unlock()
	l.until(worker+" serves again", func(l *load) bool { return l.answered[worker] > before+10 })
}

// stop ends it, and returns when every call has.
func (l *load) stop() {
	l.cancel()
	l.ended.Wait()
}

// settle stops the load and checks that every call is accounted for, failed in a way that callers can tell, and in time.
func (l *load) settle(slowest time.Duration) {
	l.t.Helper()
	l.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	ended := 0
	for _, n := range l.answered {
		ended += n
	}
	for _, n := range l.failed {
		ended += n
	}
	require.Empty(l.t, l.broken)
	require.Equal(l.t, l.sent, ended)
	for command, took := range l.slowest {
		require.Lessf(l.t, took, slowest, "the slowest call of %s", command)
	}
	l.t.Logf("%d calls: %v answered, %v failed, slowest %v", l.sent, l.answered, l.failed, l.slowest)
}
