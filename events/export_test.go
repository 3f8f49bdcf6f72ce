package events

// WaitsForFlush reports whether a listener of the hub has the mark of a Flush in its queue.
func (h *Hub) WaitsForFlush() bool {
	all, _ := h.listeners()
	for _, l := range all {
		l.mu.Lock()
		n := l.barriers
		l.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}
