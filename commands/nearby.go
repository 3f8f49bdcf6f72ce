package commands

import (
	"sync"
	"sync/atomic"
)

// nearby returns a number that is mostly the same on one processor, and another one on others. What is split by it mostly
// stays in that processor's caches. Nothing else depends on the number.
func nearby() uint32 {
	h := processors.Get().(*hint)
	n := h.n
	processors.Put(h)
	return n
}

type hint struct{ n uint32 }

// A pool keeps what was put back last for the processor that did it.
var (
	processors = sync.Pool{New: func() any { return &hint{hints.Add(1)} }}
	hints      atomic.Uint32
)
