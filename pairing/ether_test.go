package pairing_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// ether is a Pub/Sub for tests: it can lose, duplicate, delay and keep what it
// is given, and can be cut. Without any of that it delivers at once, in order.
type ether struct {
	mu    sync.Mutex
	rand  *rand.Rand
	fault faults
	cut   bool
	subs  map[string][]*listener
	kept  map[string][]*message.Message
	all   []*message.Message // everything that was ever published
	names []string           // the topics of these
}

// faults are probabilities, and the longest delay.
type faults struct {
	drop, twice, late float64
	delay             time.Duration
	keeps             bool // what nobody has subscribed to is kept for who does next
}

func newEther(seed uint64, f faults) *ether {
	return &ether{rand: rand.New(rand.NewPCG(seed, 1)), fault: f, subs: map[string][]*listener{}, kept: map[string][]*message.Message{}}
}

func (e *ether) set(f faults) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fault = f
}

func (e *ether) setCut(cut bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cut = cut
}

func (e *ether) Publish(topic string, ms ...*message.Message) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range ms {
		e.all, e.names = append(e.all, m.Copy()), append(e.names, topic)
		if e.cut || e.rand.Float64() < e.fault.drop {
			continue
		}
		for again := true; again; again = e.rand.Float64() < e.fault.twice {
			if e.rand.Float64() < e.fault.late {
				time.AfterFunc(time.Duration(e.rand.Int64N(int64(e.fault.delay))), func() { e.deliver(topic, m) })
				continue
			}
			e.hand(topic, m)
		}
	}
	return nil
}

func (e *ether) published() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.all)
}

// again publishes what was published before, as a broker that redelivers does.
func (e *ether) again(i int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hand(e.names[i], e.all[i])
}

func (e *ether) deliver(topic string, m *message.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hand(topic, m)
}

func (e *ether) hand(topic string, m *message.Message) {
	if len(e.subs[topic]) == 0 && e.fault.keeps {
		e.kept[topic] = append(e.kept[topic], m.Copy())
	}
	for _, l := range e.subs[topic] {
		l.push(m.Copy())
	}
}

func (e *ether) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	l := &listener{out: make(chan *message.Message), wake: make(chan struct{}, 1)}
	e.mu.Lock()
	e.subs[topic] = append(e.subs[topic], l)
	for _, m := range e.kept[topic] {
		l.push(m)
	}
	delete(e.kept, topic)
	e.mu.Unlock()
	go func() {
		defer close(l.out)
		defer e.leave(topic, l)
		l.run(ctx)
	}()
	return l.out, nil
}

func (e *ether) leave(topic string, l *listener) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, other := range e.subs[topic] {
		if other == l {
			e.subs[topic] = append(e.subs[topic][:i:i], e.subs[topic][i+1:]...)
		}
	}
}

func (*ether) Close() error { return nil }

// listener is one subscription.
type listener struct {
	out  chan *message.Message
	wake chan struct{}
	mu   sync.Mutex
	todo []*message.Message
}

func (l *listener) push(m *message.Message) {
	l.mu.Lock()
	l.todo = append(l.todo, m)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *listener) run(ctx context.Context) {
	for {
		l.mu.Lock()
		todo := l.todo
		l.todo = nil
		l.mu.Unlock()
		for _, m := range todo {
			select {
			case l.out <- m:
				select {
				case <-m.Acked():
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return
		}
	}
}

// plug is a publisher that can be pulled, as kill -9 does.
type plug struct {
	message.Publisher
	mu     sync.Mutex
	pulled bool
}

func (p *plug) Publish(topic string, ms ...*message.Message) error {
	p.mu.Lock()
	pulled := p.pulled
	p.mu.Unlock()
	if pulled {
		return nil
	}
	return p.Publisher.Publish(topic, ms...)
}

func (p *plug) pull() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pulled = true
}
