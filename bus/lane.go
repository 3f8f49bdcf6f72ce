package bus

// Which of an outbox's two queues a message goes to.
//
// Answers and control messages pass what is queued: an answer ends a wait, and makes room
// where it arrives. Among themselves they keep their order, so a command is withdrawn and registered
// again in that order, and a new command is known to the peer before the reply of the handler that has
// registered it.
//
// In their place stay: events; requests, since a caller may rely on the event that it has emitted
// before; what must not pass an event (a reply whose run has emitted one that is still queued, the
// announcement of a group, a flush, the goodbye); and a cancel while a request is queued, which may be its own.

// passes reports whether an item goes ahead of requests and events. o.mu is held.
func (o *outbox) passes(it *outItem) bool {
	switch it.typ {
	case Event, ExecuteRequest, Group, Flush, Goodbye, "":
		return false
	case Cancel:
		return o.requests == 0
	case ExecuteResponse:
		return it.free || it.after > 0 && it.after <= o.left
	}
	return true
}

// numbered reports whether a reply may have to wait for it.
func (it *outItem) numbered() bool { return it.typ == Event || it.typ == Group }

// fence reports whether nothing that was sent before may come after it.
func (it *outItem) fence() bool { return it.typ == Flush || it.typ == Goodbye || it.typ == "" }

// lastNumber returns the number of the event that was accepted last.
func (o *outbox) lastNumber() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.numbered
}
