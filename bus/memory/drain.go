package memory

import (
	"context"
	"time"
)

// Drain looks again after minDrainPause, and then ever more rarely down to
// maxDrainPause: nothing announces that the last ack has come.
const (
	minDrainPause = time.Millisecond
	maxDrainPause = 50 * time.Millisecond
)

// Drain waits until every message published so far is acked, dead-lettered or
// dropped. It does not keep others from publishing meanwhile, and waits for
// what they publish too. When ctx is done first it returns a [*DrainError]
// that says what is left. On Close, and after it, it returns [ErrClosed].
func (p *PubSub) Drain(ctx context.Context) error {
	pause := minDrainPause
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		stats := p.Stats()
		select {
		case <-p.closing:
			return ErrClosed
		default:
		}
		if stats.Queued == 0 && stats.Unacked == 0 {
			return nil
		}
		select {
		case <-p.closing:
			return ErrClosed
		case <-ctx.Done():
			return &DrainError{Queued: stats.Queued, Unacked: stats.Unacked, Err: ctx.Err()}
		case <-timer.C:
			pause = min(2*pause, maxDrainPause)
			timer.Reset(pause)
		}
	}
}
