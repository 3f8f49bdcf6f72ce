// Package measure times series of operations in interleaved rounds, so that what disturbs the machine disturbs all.
package measure

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Series is something to time. Run does at least n operations and returns how many it did; it is never called twice
// at once.
type Series struct {
	Name string
	Run  func(n int) (done int, err error)
	// Least is the smallest n that makes sense, for example the number of callers. Default 1.
	Least int
}

// Plan says how often and how long to measure.
type Plan struct {
	Rounds int
	Target time.Duration // for one series in one round
}

// Result is what came out for one series.
type Result struct {
	Name   string
	Rounds []float64 // nanoseconds per operation, by round
	Allocs float64   // allocations per operation, of the whole process
}

// Median returns the median nanoseconds per operation.
func (r Result) Median() float64 { return Median(r.Rounds) }

// Median returns the median of values; 0 of none. It does not change them.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	if len(v)%2 == 1 {
		return v[mid]
	}
	return (v[mid-1] + v[mid]) / 2
}

// Rounds runs all series once a round, in order. The first run of each finds out how many operations fit the target
// and is not counted; later ones adapt.
func Rounds(p Plan, series ...Series) ([]Result, error) {
	results := make([]Result, len(series))
	sizes := make([]int, len(series))
	for i, s := range series {
		n, allocs, err := calibrate(p.Target, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		sizes[i] = n
		results[i] = Result{Name: s.Name, Allocs: allocs}
	}
	for range p.Rounds {
		for i, s := range series {
			perOp, _, err := once(s, sizes[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name, err)
			}
			results[i].Rounds = append(results[i].Rounds, perOp)
			sizes[i] = size(s, p.Target, perOp)
		}
	}
	return results, nil
}

func once(s Series, n int) (perOp float64, done int, err error) {
	began := time.Now()
	done, err = s.Run(n)
	if err == nil && done < 1 {
		err = fmt.Errorf("%d operations done of %d", done, n)
	}
	if err != nil {
		return 0, 0, err
	}
	return float64(time.Since(began)) / float64(done), done, nil
}

func size(s Series, target time.Duration, perOp float64) int {
	return max(s.Least, 1, int(float64(target)/max(perOp, 1)))
}

// calibrate also warms up, and counts allocations in a run of some length.
func calibrate(target time.Duration, s Series) (n int, allocs float64, err error) {
	n = max(s.Least, 1)
	for {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		perOp, done, err := once(s, n)
		if err != nil {
			return 0, 0, err
		}
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		if took >= target/4 {
			return size(s, target, perOp), float64(after.Mallocs-before.Mallocs) / float64(done), nil
		}
		n *= 4
	}
}

// Calls returns a Run that shares n calls among so many callers, all of which start at once.
func Calls(callers int, call func(context.Context) error) func(n int) (int, error) {
	ctx := context.Background()
	if callers <= 1 {
		return func(n int) (int, error) {
			for range n {
				if err := call(ctx); err != nil {
					return 0, err
				}
			}
			return n, nil
		}
	}
	return func(n int) (int, error) {
		each := max(1, n/callers)
		var wg sync.WaitGroup
		var once sync.Once
		var failed error
		for range callers {
			wg.Go(func() {
				for range each {
					if err := call(ctx); err != nil {
						once.Do(func() { failed = err })
						return
					}
				}
			})
		}
		wg.Wait()
		return each * callers, failed
	}
}
