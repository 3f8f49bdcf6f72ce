package brokers

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// taker takes the messages of a group from a broker that leases them: the broker gives a message to nobody else for AckWait, and for as
// long again whenever that is extended. Its methods are called by one goroutine.
type taker interface {
	// take returns the next message, or nil if there is none yet; it waits for a while, until ctx ends. An error is tried again after
	// a pause: what the group needs and has lost is made again by then.
	take(ctx context.Context) (lease, error)
	// leave gives back what may have come for it. Nothing is taken any more.
	leave(ctx context.Context) error
}

// lease is a message of a group that is out.
type lease interface {
	message() *message.Message
	// extend keeps it for another AckWait.
	extend(ctx context.Context) error
	// ack removes it, and returns errNotOut where it is out no more: another subscription has it, or nobody.
	ack(ctx context.Context) error
	// nack lets it be taken again after the pause.
	nack(ctx context.Context, pause time.Duration) error
}

// errNotOut says that a message is not, or no longer, out to this subscription.
var errNotOut = errors.New("the message is not out to this subscription any more")

const (
	// maxExtend is how often the lease of a message is extended at least: so rarely that it costs nothing, and so often that processes
	// of one group may have different AckWaits.
	maxExtend = time.Second
	// leaseCall bounds a call to the broker about a lease.
	leaseCall = 5 * time.Second
	// takePause is the pause after a first failure, which is doubled each time, up to maxTakePause.
	takePause    = 50 * time.Millisecond
	maxTakePause = time.Second
)

// leased is a subscription of a group over a taker. It takes a message when the one before is settled: all that waits does so at the
// broker, where it belongs to nobody.
type leased struct {
	shared *shared
	taker  taker
	ctx    context.Context
	topic  string
	group  string
	out    chan *message.Message
	ending atomic.Bool // what is nacked is for others, at once
}

// lease begins a subscription, which ends with ctx.
func (s *shared) lease(ctx context.Context, topic, group string, t taker) *source {
	l := &leased{shared: s, taker: t, ctx: ctx, topic: topic, group: group, out: make(chan *message.Message)}
	go l.run()
	return &source{messages: l.out, leaving: func() { l.ending.Store(true) }}
}

func (l *leased) run() {
	defer close(l.out)
	for failures := 0; l.ctx.Err() == nil; {
		out, err := l.taker.take(l.ctx)
		switch {
		case err != nil && l.ctx.Err() == nil:
			l.failed(failures, err)
			l.pause(min(takePause<<min(failures, 10), maxTakePause))
			failures++
		case out != nil:
			failures = 0
			l.hand(out)
		case err == nil:
			failures = 0
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	if err := l.taker.leave(ctx); err != nil {
		l.debug("left a group with an error", err)
	}
}

// failed logs the first, the second, the fourth failure and so on: of these a broker that is away for a moment has some.
func (l *leased) failed(before int, err error) {
	if n := before + 1; n&(n-1) != 0 {
		return
	}
	if before < 4 {
		l.debug("nothing could be taken from a queue", err)
		return
	}
	l.shared.opts.Logger.Warn("nothing can be taken from a queue", "topic", l.topic, "group", l.group, "tries", before+1, "error", err)
}

func (l *leased) debug(what string, err error) {
	l.shared.opts.Logger.Debug(what, "topic", l.topic, "group", l.group, "error", err)
}

func (l *leased) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
}

// hand gives a message to the subscriber, and keeps it out until that one has settled it. Its context ends when the broker knows.
func (l *leased) hand(out lease) {
	m := out.message()
	ctx, settled := context.WithCancel(context.Background())
	defer settled()
	m.SetContext(ctx)
	tick := time.NewTicker(min(l.shared.opts.AckWait/3, maxExtend))
	defer tick.Stop()
	for to := l.out; ; {
		select {
		case to <- m:
			to = nil
		case <-m.Acked():
			l.ack(out)
			return
		case <-m.Nacked():
			l.nack(out)
			return
		case <-tick.C:
			_ = l.settle("extend", out.extend)
		case <-l.ctx.Done():
			if m.Nack() {
				l.nack(out)
			} else {
				l.ack(out)
			}
			return
		}
	}
}

func (l *leased) nack(out lease) {
	pause := nackPause
	if l.ending.Load() {
		pause = 0
	}
	_ = l.settle("give back", func(ctx context.Context) error { return out.nack(ctx, pause) })
}

// ack tries until the broker knows, or the message is somebody else's.
func (l *leased) ack(out lease) {
	giveUp := time.Now().Add(l.shared.opts.AckWait)
	for pause := takePause; l.settle("ack", out.ack) != nil && l.ctx.Err() == nil && time.Now().Before(giveUp); pause = min(2*pause, maxTakePause) {
		l.pause(pause)
	}
}

func (l *leased) settle(what string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), min(leaseCall, max(l.shared.opts.AckWait, settleTime)))
	defer cancel()
	err := do(ctx)
	if err != nil {
		l.debug(what, err)
	}
	if errors.Is(err, errNotOut) {
		return nil
	}
	return err
}
