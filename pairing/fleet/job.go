package fleet

import (
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// job is a request from a queue while it is executed.
type job struct {
	once  string        // the command, and what it is to bring about
	from  string        // the request that it executes
	id    string        // the registry's
	done  chan struct{} // closed when the registry has answered
	reply *bus.Envelope // the answer; read after done
}

// work executes one request from a queue, answers it and acks. False if it was given back.
func (f *Fleet) work(m *message.Message, command string) bool {
	var l letter
	_, err := f.authentic(f.queueTopic(command), m)
	if err == nil {
		l, err = open(m)
	}
	if err == nil && (l.kind != "" || l.envelope.Type != bus.ExecuteRequest || l.envelope.Name != command) {
		err = errors.New("not a request for " + command)
	}
	if err != nil {
		f.count.rejected.Add(1)
		f.log.Warn("message rejected", "queue", command, "uuid", m.UUID, "error", err.Error())
		m.Ack()
		return true
	}
	f.count.taken.Add(1)
	j, mine := f.startJob(&l)
	if mine {
		defer f.endJob(j)
	}
	if reply := f.await(j); reply != nil && f.respond(&l, *reply) {
		m.Ack()
		return true
	}
	f.count.returned.Add(1)
	m.Nack()
	return false
}

// startJob has the registry execute a request, unless it is at it, or has executed that lately: then the request was delivered once more, or its
// caller has made it again. It returns nil if this process takes nothing any more.
func (f *Fleet) startJob(l *letter) (j *job, mine bool) {
	e := l.envelope
	e.Once = orDefault(e.Once, l.id+"/"+l.session+"/"+e.ID)
	j = &job{once: e.Name + " " + e.Once, from: l.id + "/" + l.session + "/" + e.ID, id: bus.NewID(), done: make(chan struct{})}
	e.ID = j.id
	f.mu.Lock()
	if f.draining || f.err != nil || f.link == nil || !f.link.greeted {
		f.mu.Unlock()
		return nil, false
	}
	if running := f.jobs[j.once]; running != nil {
		f.mu.Unlock()
		f.count.duplicates.Add(1)
		return running, false
	}
	if before := f.answered.to(j.from); before != nil {
		f.mu.Unlock()
		f.count.duplicates.Add(1)
		return before, false
	}
	f.jobs[j.once], f.working[j.id] = j, j
	f.mu.Unlock()
	f.hand(e)
	return j, true
}

// endJob forgets a job that is acked or given back.
func (f *Fleet) endJob(j *job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.jobs, j.once)
	delete(f.working, j.id)
	if j.reply != nil && !unexecuted(j.reply.Fault) {
		f.answered.add(j, f.opts.RequestTTL, f.opts.DedupeKeys)
	}
	f.settleIdle()
}

// worked takes the registry's reply to a job, and reports whether it was one.
func (f *Fleet) worked(e *bus.Envelope) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.working[e.Thread]
	if j == nil {
		return false
	}
	delete(f.working, e.Thread)
	reply := *e
	j.reply = &reply
	close(j.done)
	return true
}

// await returns the reply to a job: nil if there is none, since it was not executed, or nobody knows because the link
// has ended.
func (f *Fleet) await(j *job) *bus.Envelope {
	if j == nil {
		return nil
	}
	select {
	case <-j.done:
	case <-f.closing:
		select {
		case <-j.done: // its answer was the last that the link has sent
		default:
			return nil
		}
	}
	if unexecuted(j.reply.Fault) {
		return nil
	}
	return j.reply
}

// respond sends the reply to the caller, and returns when the broker has it, or when there is no caller any more. False if the
// broker does not take it.
func (f *Fleet) respond(l *letter, reply bus.Envelope) bool {
	reply.ID, reply.Thread = bus.NewID(), l.envelope.ID
	if l.process == f.self {
		f.update(func(fx *effects) { f.replied(&letter{process: f.self, envelope: reply}, fx) })
		return true
	}
	since, replaced := time.Now(), false
	for tries := 1; ; tries++ {
		f.mu.Lock()
		gone, may := f.goneFrom(l), f.mayMail(l.process)
		f.mu.Unlock()
		if gone {
			f.count.orphaned.Add(1)
			return true
		}
		if !may {
			if !f.rest(tries) {
				return false
			}
			continue
		}
		err := f.mailTo(l.process, reply)
		if err == nil {
			return true
		}
		if !replaced && (errors.Is(err, bus.ErrTooLarge) || tries > 3 && f.refused(l.process, reply)) {
			f.log.Warn("broker refused reply, replaced by an error", "command", l.envelope.Name, "error", err.Error())
			reply.Body, reply.Metadata, replaced = nil, nil, true
			reply.Fault = unsendable(err)
			continue
		}
		if time.Since(since) > f.opts.Lease || !f.rest(tries) {
			return false
		}
	}
}

// maxStrangers is how many processes that are not members get replies to durable requests between two ticks of the keeper: what is
// published to an inbox may make a topic at the broker, and a request may name any sender.
const maxStrangers = 16

// mayMail reports whether a reply may be published to a process's inbox now. f.mu is held.
func (f *Fleet) mayMail(to process) bool {
	if m := f.members[to.id]; m != nil && m.session == to.session {
		return true
	}
	f.welcome(to.session)
	if !f.strangers[to.id] && len(f.strangers) >= maxStrangers {
		return false
	}
	f.strangers[to.id] = true
	return true
}

// refused reports whether the broker takes something, but not this.
func (f *Fleet) refused(to process, reply bus.Envelope) bool {
	small := bus.Envelope{ID: bus.NewID(), Type: bus.Cancel, Thread: bus.NewID()} // of no request: it is ignored
	return f.mailTo(to, small) == nil && f.mailTo(to, reply) != nil
}

// mailTo publishes a message to a process's inbox, past the outbox: its caller waits for it.
func (f *Fleet) mailTo(to process, e bus.Envelope) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in publisher: %v", p)
		}
	}()
	m, err := (&letter{process: f.self, to: to.session, sent: f.stamp(), envelope: e}).seal()
	if err != nil {
		return err
	}
	topic := f.inboxTopic(to.id)
	f.sign(topic, m)
	if err := f.pub.Publish(topic, m); err != nil {
		return err
	}
	f.count.sent.Add(1)
	return nil
}

// rest waits before another try. False if there is to be none.
func (f *Fleet) rest(tries int) bool {
	timer := time.NewTimer(min(firstPause<<min(tries, 8), maxPause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-f.closing:
		return false
	}
}
