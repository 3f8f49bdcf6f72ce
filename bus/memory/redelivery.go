package memory

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Metadata keys of a message on the dead-letter topic.
const (
	MetadataDeadLetterTopic  = "dead_letter_topic"  // the topic that it was published to
	MetadataDeadLetterReason = "dead_letter_reason" // why it was given up: "nacked"
	MetadataDeadLetterCount  = "dead_letter_count"  // how often it was delivered, in decimal
)

const reasonNacked = "nacked"

// errNoDeadLetters is told to OnDropped when no other topic could take the
// message.
var errNoDeadLetters = errors.New("memory: redeliveries used up, no dead-letter topic")

// nack decides what becomes of a nacked delivery. It keeps its place in the
// window until it is acked or buried, so what waits behind it stays behind
// it. The caller holds topic.mu.
func (s *subscription) nack(d *delivery) {
	s.topic.counts.Nacked++
	s.retrying++
	d.ctx.settle()
	if d.tries > s.opts.MaxRedeliveries {
		d.stage = dead
	} else {
		d.stage = waiting
		d.due = time.Now().Add(s.opts.backoff(d.tries))
	}
	s.wakePump()
}

// backoff returns the pause after the given number of tries.
func (o *Options) backoff(tries int) time.Duration {
	pause := o.InitialBackoff
	for range tries - 1 {
		if pause >= o.MaxBackoff/2 {
			return o.MaxBackoff
		}
		pause *= 2
	}
	return pause
}

// retry delivers again what is due, and returns what is dead. The caller holds
// topic.mu.
func (s *subscription) retry(now time.Time) (deadOnes []*delivery) {
	for i, d := range s.window {
		switch {
		case d.stage == dead:
			deadOnes = append(deadOnes, d)
		case d.stage == waiting && !d.due.After(now) && len(s.output) < cap(s.output):
			s.window[i] = s.again(d)
		}
	}
	return deadOnes
}

// again makes and hands over the next try of d.
func (s *subscription) again(d *delivery) *delivery {
	next := s.newDelivery()
	next.entry, next.tries = d.entry, d.tries+1
	d.finish()
	s.retrying--
	s.topic.counts.Redelivered++
	s.hand(next)
	return next
}

// untilRetry returns how long it is until the next redelivery. The caller
// holds topic.mu.
func (s *subscription) untilRetry(now time.Time) time.Duration {
	next := s.opts.MaxBackoff
	if len(s.output) == cap(s.output) {
		return next // no room yet; patrols go on
	}
	for _, d := range s.window {
		if d.stage == waiting {
			next = min(next, d.due.Sub(now))
		}
	}
	return max(next, 0)
}

// bury publishes dead deliveries to the dead-letter topic, or drops them, and
// then frees their places. When the subscription ends meanwhile, what is left
// stays in the window, to be counted as abandoned.
func (s *subscription) bury(deadOnes []*delivery) {
	for _, d := range deadOnes {
		letter := s.deadLetter(d)
		err := errNoDeadLetters
		if to := s.opts.DeadLetterTopic; to != "" && to != s.topic.name {
			err = s.pubsub.publish(s.ctx, to, []*message.Message{letter})
		}
		if err != nil && s.ctx.Err() != nil {
			return
		}
		s.topic.mu.Lock()
		s.window = slices.DeleteFunc(s.window, func(o *delivery) bool { return o == d })
		s.retrying--
		if err == nil {
			s.topic.counts.DeadLettered++
		} else {
			s.topic.counts.Dropped++
		}
		s.topic.mu.Unlock()
		if err != nil {
			s.reportDrop(letter, err)
		}
	}
}

// deadLetter returns a copy of d's message that says what happened to it. The
// delivery is dead, so that only the pump has to do with it.
func (s *subscription) deadLetter(d *delivery) *message.Message {
	letter := d.entry.msg.Copy()
	if s.opts.PreserveContext {
		letter.SetContext(d.entry.msg.Context())
	}
	letter.Metadata.Set(MetadataDeadLetterTopic, s.topic.name)
	letter.Metadata.Set(MetadataDeadLetterReason, reasonNacked)
	letter.Metadata.Set(MetadataDeadLetterCount, strconv.Itoa(d.tries))
	return letter
}

func (s *subscription) reportDrop(msg *message.Message, err error) {
	s.opts.Logger.Error("memory: message dropped", "topic", s.topic.name, "uuid", msg.UUID, "err", err)
	if s.opts.OnDropped != nil {
		s.opts.OnDropped(s.topic.name, msg, err)
	}
}
