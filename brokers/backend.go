package brokers

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
)

// backend is one kind of broker: the few lines over a Watermill adapter. Topics
// that it is given are legal; it puts them into the namespace itself.
type backend interface {
	// Publish is message.Publisher's: it returns when the broker has the messages,
	// or, where there is no way to know, when they are on their way. Where it fails after some, the error is a partError.
	Publish(topic string, messages ...*message.Message) error
	// transient reports whether a failed Publish is worth another try: the broker was
	// out of reach, rather than unwilling.
	transient(err error) bool
	// subscribe begins a subscription, fan-out where group is empty. It ends when ctx does. acked promises that each
	// message is acked at once, and none is nacked: others may be on their way meanwhile.
	subscribe(ctx context.Context, topic, group string, acked bool) (*source, error)
	// flush returns when the broker has seen every subscription made before, where
	// subscribe does not wait for that.
	flush(ctx context.Context) error
	// close ends the connections. All sources have been closed before.
	close() error
	// naming says what a topic may look like.
	naming() naming
	guarantees() Guarantees
}

// calling is a backend that calls a function with what comes for everybody, on a goroutine of its client's: that saves
// links and fleets the adapter's channels, acks and timers. flush has to be called after it.
type calling interface {
	// subscribeFunc begins a fan-out subscription. fn is called with one message at a time; ended is closed when it will not be any
	// more, after stop or because the connection was closed.
	subscribeFunc(topic string, fn func(*message.Message)) (stop func(), ended <-chan struct{}, err error)
}

// queuer is a backend on which the queue of a group can be published to by itself.
type queuer interface {
	// publishTo is Publish to the queue of one group alone, which keeps the messages until the group exists. It returns an error that
	// wraps ErrQueueFull where there is no room.
	publishTo(group, topic string, messages []*message.Message) error
}

// source is a subscription as an adapter gives it.
type source struct {
	messages <-chan *message.Message
	// probe says that liveness is to be proven by a message of our own.
	probe bool
	// gate, if set, is what the unmarshaler of this subscription passes; see there.
	gate *gate
	// settled, if set, is closed when the adapter has nothing to do with a message any more. Without it
	// the end of the message's own context says so.
	settled func() <-chan struct{}
	// leaving, if set, tells that the subscription ends: what is nacked is for others to have at once.
	leaving func()
	// close releases what was made for this subscription, after its ctx has ended and while messages is
	// drained. May be nil.
	close func() error
	// ended, if set, is closed when the adapter does not notice that nothing will come any more.
	ended <-chan struct{}
}

// shared is what a backend needs of its broker.
type shared struct {
	opts Options
	// gap tells that messages may have been lost by every subscription.
	gap  func(why string)
	lost *atomic.Uint64
	// trimmed counts what limits have taken from fan-out topics.
	trimmed *atomic.Uint64
	// secrets are the words of the URL that must not be shown; opts.Logger hides them.
	secrets *secrets
	login   login
	// dialer makes the connections of clients that ctx of Open does not reach. Open holds it.
	dialer *dialer
	told   atomic.Bool // by limitsStay
}

// limitsStay tells that Options ask for less than another process of the namespace has promised to keep.
func (s *shared) limitsStay(of string, limits ...any) {
	if s.told.CompareAndSwap(false, true) {
		s.opts.Logger.Warn("limits of the namespace are larger than those of Options, and stay", append([]any{"of", of}, limits...)...)
	}
}

// gate keeps an adapter from sending on a channel that it has closed: the NATS
// adapter's callback may still be at it when its subscription ends, and would
// panic. Once the gate is shut no message passes the unmarshaler, and the
// channel is closed only when every message that had passed was received.
type gate struct {
	mu     sync.Mutex
	shut   bool          // guarded by mu
	passed int           // guarded by mu: and not received yet
	empty  chan struct{} // guarded by mu: closed when shut and none is left
}

func newGate() *gate { return &gate{empty: make(chan struct{})} }

// pass lets one message through, or says that it is too late.
func (g *gate) pass() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.passed++
	return true
}

func (g *gate) received() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.passed--
	if g.shut && g.passed == 0 {
		close(g.empty)
	}
}

// close shuts the gate. The channel is closed when nothing is on the way any more.
func (g *gate) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.shut {
		if g.shut = true; g.passed == 0 {
			close(g.empty)
		}
	}
	return g.empty
}
