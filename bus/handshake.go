package bus

import "time"

// The handshake is the protocol's own list.commands.request, which attaching
// sends anyway, and its answer. Between leats their metadata says which
// control messages each side understands; a peer that says nothing is sent
// none.

// An unanswered handshake is repeated after helloPause, and helloRetries-1 times
// after twice the pause before: some transports lose what is sent before the other
// side has subscribed.
const (
	helloRetries = 6
	helloPause   = 250 * time.Millisecond
)

func (l *Link) sendHello() {
	l.tryHello(0)
}

func (l *Link) tryHello(try int) {
	if l.isReady() {
		return
	}
	if try == 0 || l.presence != nil || l.out.len() == 0 { // else the first one has not even left yet
		if err := l.Send(Envelope{ID: NewID(), Type: ListRequest}); err != nil && l.presence == nil {
			return // closing
		}
		if try > 0 {
			l.repeated.Store(true)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent = try == helloRetries && l.presence == nil; l.silent {
		return
	}
	if l.err == nil {
		l.hello = time.AfterFunc(min(helloPause<<min(try, helloRetries), l.longestPause()), func() { l.tryHello(try + 1) })
	}
}

// longestPause bounds the pause: a link with presence never gives up, since it
// may be attached long before its peer comes back, and the broker with it.
func (l *Link) longestPause() time.Duration {
	if l.presence != nil {
		return helloPause << 4
	}
	return helloPause << helloRetries
}

// greetBack says hello at once to a session that has just said it, and may have
// come after the last one from here.
func (l *Link) greetBack() {
	if !l.isReady() {
		_ = l.Send(Envelope{ID: NewID(), Type: ListRequest}) // refused: closing
	}
}

// helloAgain says hello to a peer that shows up when no answer has come for so
// long that it was given up. Each such hello costs one message, and only while there is no answer.
func (l *Link) helloAgain() {
	l.mu.Lock()
	silent := l.silent && l.err == nil
	l.silent = false
	l.mu.Unlock()
	if silent {
		l.tryHello(0)
	}
}

// learn notes what the peer understands, of what a channel of its kind can.
func (l *Link) learn(e *Envelope) {
	features := e.Features
	if !l.ch.Shared {
		features &^= Shared
	}
	if e.Features == 0 || l.features.Swap(uint32(features)) == uint32(features) {
		return
	}
	for _, r := range l.layers {
		if r, ok := r.(FeatureReceiver); ok {
			r.Learned()
		}
	}
}

// answered makes the link ready: the layers know the peer's commands now.
func (l *Link) answered() {
	l.readyOnce.Do(func() {
		l.met.Store(true)
		close(l.ready)
		l.stopHello()
	})
}

func (l *Link) stopHello() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hello != nil {
		l.hello.Stop()
		l.hello = nil
	}
}
