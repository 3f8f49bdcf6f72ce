package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// queue is a durable command that the registry executes: its workers take requests from the queue, one each, and ack when
// the reply has left.
type queue struct {
	fleet  *Fleet
	def    bus.Definition  // guarded by Fleet.mu
	live   bool            // guarded by Fleet.mu: it was subscribed to, so that nothing is lost which is sent there
	ctx    context.Context // ends when nothing is to be taken any more
	cancel context.CancelFunc
}

// parted parts the durable commands from the others.
func parted(defs []bus.Definition) (durable, others []bus.Definition) {
	for _, def := range defs {
		if def.Durable {
			durable = append(durable, def)
		} else {
			others = append(others, def)
		}
	}
	return durable, others
}

// unqueued is why a registration is refused, nil if it is not. f.mu is held.
func (f *Fleet) unqueued(def *bus.Definition) *bus.Fault {
	switch {
	case !def.Durable:
		return nil
	case f.opts.Queue == nil:
		return &bus.Fault{Code: codeInvalid, Message: fmt.Sprintf("%s is durable, and the fleet has no fleet.Options.Queue", def.ID)}
	case !f.mayAttend(def.ID):
		return &bus.Fault{Code: codeInvalid,
			Message: fmt.Sprintf("%s is durable, and this process has had %d queues, which is fleet.Options.MaxQueues", def.ID, f.opts.MaxQueues)}
	}
	return nil
}

// mayAttend reports whether this process may have a queue for the command made: it stays at the broker, whatever becomes of the
// command. f.mu is held.
func (f *Fleet) mayAttend(command string) bool {
	return f.attended[command] || len(f.attended) < f.opts.MaxQueues
}

// learnDurable takes that the registry executes a durable command, or that one is not durable any more. f.mu is held.
func (f *Fleet) learnDurable(def bus.Definition, fx *effects) {
	q := f.queues[def.ID]
	switch {
	case !def.Durable:
		q.quit()
		delete(f.queues, def.ID)
	case f.opts.Queue == nil:
		fx.log(func() { f.log.Error("durable command not offered, the fleet has no Queue", "command", def.ID) })
	case q == nil && !f.mayAttend(def.ID):
		if n := f.count.refused.Add(1); n&(n-1) == 0 {
			fx.log(func() {
				f.log.Error("durable command not offered, this process has had fleet.Options.MaxQueues queues", "command", def.ID)
			})
		}
	case q != nil:
		if q.def = def; q.live {
			f.offer(q)
		}
		f.announced(f.self.id, &def, fx)
	case f.err == nil && !f.draining:
		q = &queue{fleet: f, def: def}
		q.ctx, q.cancel = context.WithCancel(context.Background())
		f.queues[def.ID], f.attended[def.ID] = q, true
		f.announced(f.self.id, &def, fx)
		for range f.opts.DurableWorkers {
			f.workers.Go(func() { q.work(def.ID) })
		}
	}
}

// offer tells the others of a durable command. f.mu is held.
func (f *Fleet) offer(q *queue) {
	old, known := f.own[q.def.ID]
	if f.own[q.def.ID] = q.def; !known || !same(&old, &q.def) {
		f.change(newCatalogue([]bus.Definition{q.def}))
	}
}

// quit lets the workers end after what they are at. A nil queue is none.
func (q *queue) quit() {
	if q != nil {
		q.cancel()
	}
}

// stopQueues takes nothing from queues any more. f.mu is held.
func (f *Fleet) stopQueues() {
	for _, q := range f.queues {
		q.quit()
	}
}

// work takes requests until the queue is closed. A subscription that ends, or that had a request which cannot be executed
// here now, is made again after a while: meanwhile others get what is there.
func (q *queue) work(command string) {
	f := q.fleet
	for tries := 0; ; tries++ {
		if err := q.attend(command, &tries); err != nil && q.ctx.Err() == nil && tries&(tries-1) == 0 {
			f.log.Error("durable command not offered, its queue does not open", "command", command, "error", err.Error())
		}
		timer := time.NewTimer(min(firstPause<<min(tries, 8), f.opts.Lease/3))
		select {
		case <-timer.C:
		case <-q.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// attend subscribes, and executes what comes.
func (q *queue) attend(command string, tries *int) error {
	f := q.fleet
	sub, err := f.opts.Queue(f.opts.Topic(f.opts.Namespace + ".durable"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background()) // not q.ctx: what is being executed is still to be acked
	defer cancel()
	stop := context.AfterFunc(q.ctx, cancel)
	in, err := sub.Subscribe(ctx, f.queueTopic(command))
	if err != nil {
		return err
	}
	if stop() {
		q.subscribed(command)
		for q.next(in, command) {
			*tries = 0
		}
		cancel()
	}
	for m := range in { // what was on its way
		m.Nack()
	}
	return nil
}

// subscribed announces the command: what is sent to the queue from now on is kept.
func (q *queue) subscribed(command string) {
	q.fleet.update(func(*effects) {
		if q.live = true; q.fleet.queues[command] == q && !q.fleet.draining {
			q.fleet.offer(q)
		}
	})
}

// next executes the next request. False when there is to be none on this subscription.
func (q *queue) next(in <-chan *message.Message, command string) bool {
	select {
	case m, ok := <-in:
		switch {
		case !ok:
			return false
		case q.ctx.Err() != nil:
			m.Nack()
			return false
		}
		return q.fleet.work(m, command)
	case <-q.ctx.Done():
		return false
	}
}
