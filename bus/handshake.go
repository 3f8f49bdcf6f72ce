package bus

import "time"

// The handshake is the protocol's own list.commands.request, which attaching
// sends anyway, and its answer. Between leats their metadata says which
// control messages each side understands; a peer that says nothing is sent
// none.

// helloRetries bounds how often an unanswered handshake is repeated, after 1,
// 2, 4 and 8 seconds: some transports lose what is sent before the other side
// has subscribed.
const helloRetries = 4

func (l *Link) sendHello() {
	l.hello1(0)
}

func (l *Link) hello1(try int) {
	if l.isReady() {
		return
	}
	if try == 0 || l.out.len() == 0 { // else the first one has not even left yet
		if err := l.Send(Envelope{ID: NewID(), Type: ListRequest}); err != nil {
			return // closing
		}
	}
	if try == helloRetries {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.hello = time.AfterFunc(time.Second<<try, func() { l.hello1(try + 1) })
	}
}

// learn notes what the peer understands.
func (l *Link) learn(e *Envelope) {
	if e.Features != 0 {
		l.features.Store(uint32(e.Features))
	}
	if e.Type == ListResponse {
		l.readyOnce.Do(func() {
			close(l.ready)
			l.stopHello()
		})
	}
}

func (l *Link) stopHello() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hello != nil {
		l.hello.Stop()
		l.hello = nil
	}
}
