package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leatbus/leat/commands"
)

// double is what all commands do: the answer to another request is told from the right one.
func double(_ context.Context, n int64) (int64, error) { return 2 * n, nil }

// hung is when a call must have ended: its TTL, and what a busy machine adds.
const hung = requestTTL + patience

// call makes one call and judges how it ends. Codes that may come are allowed; what the caller's own ctx brings is too.
func (s *soaking) call(ctx context.Context, r *commands.Registry, c commands.Command[int64, int64], n int64, allowed ...commands.Code) {
	s.calls.Add(1)
	began := time.Now()
	watch := time.AfterFunc(hung, func() { s.violated("hangs", "%s calls %s: %v", r.ID(), c.ID(), hung) })
	got, err := commands.Execute(ctx, r, c, n)
	watch.Stop()
	if err == nil {
		if s.ok.Add(1); got != 2*n {
			s.violated("wrong result", "%s calls %s with %d: %d", r.ID(), c.ID(), n, got)
		}
		return
	}
	s.fail(codeOf(err))
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, commands.ErrTimeout)) {
		return
	}
	for _, code := range allowed {
		if commands.CodeOf(err) == code {
			return
		}
	}
	s.violated("unexpected error", "%s calls %s, after %v: %v", r.ID(), c.ID(), time.Since(began).Round(time.Millisecond), err)
}

// burst makes many calls at once; of every eight one has a caller that leaves early.
func (s *soaking) burst(r *rand.Rand, from *commands.Registry, c commands.Command[int64, int64], calls int, allowed ...commands.Code) {
	var all sync.WaitGroup
	for range calls {
		n, early := r.Int64N(1<<40), r.IntN(8) == 0
		leaves := time.Duration(r.Int64N(int64(20 * time.Millisecond)))
		all.Go(func() {
			ctx := context.Background()
			if early {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, leaves)
				defer cancel()
			}
			s.call(ctx, from, c, n, allowed...)
		})
	}
	all.Wait()
}
