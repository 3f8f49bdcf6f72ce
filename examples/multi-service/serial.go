package main

import (
	"io"
	"sync"
)

// serial lets listeners and the prompt write to one place.
type serial struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (s *serial) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}
