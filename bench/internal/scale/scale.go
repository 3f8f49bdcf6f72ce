// Package scale builds what grows: registries with many commands or channels, stores with many keys, links with many
// calls in flight, deep trees. Each is a rig with one operation, whose cost is to stay flat.
package scale

import (
	"context"
	"runtime"
)

// Rig is something of a certain size. Op is one operation on it, for one goroutine at a time; Close takes it down.
type Rig struct {
	Op func(ctx context.Context) error
	// PerItem is what one item keeps in memory, in bytes, stacks included; 0 where it was not measured.
	PerItem float64
	Close   func()
}

// Dimension is one way to grow.
type Dimension struct {
	Name  string
	About string
	Sizes []int
	Make  func(n int) (*Rig, error)
}

// All returns the dimensions.
func All() []Dimension {
	return []Dimension{
		{"commands", "a call over a pair, by commands known on both sides", []int{10, 100, 1_000, 10_000, 100_000}, Commands},
		{"channels", "a call over a pair, by channels on the caller's registry", []int{1, 10, 100, 1_000}, Channels},
		{"dedupe", "a fresh key in a store, by live keys; each also evicts the oldest", []int{1_000, 10_000, 100_000, 1_000_000}, Dedupe},
		{"inflight", "a call over a pair, by calls in flight on it", []int{1, 10, 100, 1_000, 10_000, 100_000}, InFlight},
		{"depth", "a call from the root to the leaf of a tree, by levels", []int{1, 2, 3, 4, 5, 6, 7, 8}, Depth},
	}
}

// Used returns the bytes of live heap and of stacks.
func Used() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}
