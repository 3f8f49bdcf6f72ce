package brokers

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// jetStreamHeartbeat is how often the server says that a subscription lives. One
// that has missed two is made again, behind the last message that came.
const jetStreamHeartbeat = time.Second

// jetFeed is a fan-out subscription: an ordered consumer of the client's, which sees gaps and asks for what is missing. The client gives up
// on one that it cannot make again; then the feed makes it.
type jetFeed struct {
	jet     *jetStream
	subject string
	fn      func(*nats.Msg)
	from    time.Time              // when it was begun, by the clock of this process
	last    atomic.Pointer[string] // what the client answers the last message to, which says its number and time

	lost     chan struct{} // capacity 1: the stream is another one
	stopping chan struct{} // closed by stop
	stopped  sync.Once
	ended    chan struct{} // closed when fn will not be called any more
}

// feed begins a fan-out subscription, which calls fn with one message at a time.
func (j *jetStream) feed(topic string, fn func(*nats.Msg)) (stop func(), ended <-chan struct{}, err error) {
	f := &jetFeed{jet: j, subject: j.coder.prefix + topic, fn: fn, from: time.Now(),
		lost: make(chan struct{}, 1), stopping: make(chan struct{}), ended: make(chan struct{})}
	sub, closed, err := f.subscribe(nats.DeliverNew())
	if err != nil {
		return nil, nil, err
	}
	j.mu.Lock()
	j.feeds[f] = struct{}{}
	j.mu.Unlock()
	go f.run(sub, closed)
	return f.stop, f.ended, nil
}

func (f *jetFeed) stop() { f.stopped.Do(func() { close(f.stopping) }) }

// again has it begin behind the last message, by time.
func (f *jetFeed) again() { signal(f.lost) }

// subscribe makes a consumer. closed is closed when it has ended and fn has returned.
func (f *jetFeed) subscribe(begin nats.SubOpt) (sub *nats.Subscription, closed chan struct{}, err error) {
	closed = make(chan struct{})
	sub, err = f.jet.js.Subscribe(f.subject, f.take, nats.OrderedConsumer(), nats.IdleHeartbeat(jetStreamHeartbeat),
		nats.BindStream(f.jet.stream), begin)
	if err != nil {
		return nil, nil, err
	}
	var once sync.Once
	sub.SetClosedHandler(func(string) { once.Do(func() { close(closed) }) })
	if !sub.IsValid() { // closed before that, and maybe without telling
		once.Do(func() { close(closed) })
	}
	return sub, closed, nil
}

func (f *jetFeed) take(m *nats.Msg) {
	reply := m.Reply
	f.last.Store(&reply)
	f.fn(m)
}

// run keeps it going until stop.
func (f *jetFeed) run(sub *nats.Subscription, closed chan struct{}) {
	defer close(f.ended)
	defer func() {
		f.jet.mu.Lock()
		delete(f.jet.feeds, f)
		f.jet.mu.Unlock()
	}()
	for {
		select {
		case <-closed:
		case <-f.lost:
			_ = sub.Unsubscribe()
			<-closed
		case <-f.stopping:
			_ = sub.Unsubscribe()
			<-closed
			return
		}
		for tries := 0; ; tries++ {
			if f.jet.conn.IsClosed() || !f.pause(min(takePause<<min(tries, 10), maxTakePause)) {
				return
			}
			var err error
			if sub, closed, err = f.subscribe(f.behind()); err == nil {
				break
			}
			f.jet.shared.opts.Logger.Debug("subscription could not be made again", "subject", f.subject, "error", err)
		}
	}
}

// behind is where it goes on: a stream that was made anew, or restored, counts from where it will, so that the time says what is new.
func (f *jetFeed) behind() nats.SubOpt {
	if last := f.last.Load(); last != nil {
		m := &nats.Msg{Reply: *last, Sub: &nats.Subscription{}}
		if meta, err := m.Metadata(); err == nil {
			return nats.StartTime(meta.Timestamp.Add(1))
		}
	}
	return nats.StartTime(f.from)
}

func (f *jetFeed) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-f.stopping:
		return false
	}
}
