package brokers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
)

// jetStream is NATS with storage: a stream for fan-out, with a subject for each topic, whose oldest messages go; and one for queues, with
// a subject for each group and topic, which refuses what does not fit and keeps the rest until it is acked.
type jetStream struct {
	shared *shared
	conn   *nats.Conn
	js     nats.JetStreamContext
	stream string
	pub    *jetStreamPublisher
	coder  natsCoder
	groups *jetGroups
	cancel context.CancelFunc
	keeper sync.WaitGroup

	making sync.Mutex // a stream is looked for, and made

	mu      sync.Mutex
	feeds   map[*jetFeed]struct{} // guarded by mu
	created time.Time             // guarded by mu: of the stream, when it was last looked at
	last    uint64                // guarded by mu: its last sequence number then
	gone    uint64                // guarded by mu: the messages that it had lost then
}

func openJetStream(ctx context.Context, a address, s *shared) (backend, error) {
	// Nothing is buffered while disconnected: a server that has just come back has no JetStream yet, and what is
	// sent then is heard of only when its confirmation is overdue.
	conn, _, err := connectNATS(ctx, a, s, s.dialer, nats.ReconnectBufSize(-1))
	if err != nil {
		return nil, err
	}
	j := &jetStream{shared: s, conn: conn, stream: s.opts.Namespace, coder: natsCoder{prefix: s.opts.Namespace + "."},
		feeds: make(map[*jetFeed]struct{})}
	j.groups = newJetGroups(j)
	if err := j.open(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	running, cancel := context.WithCancel(context.Background())
	j.cancel = cancel
	j.keeper.Go(func() { j.keep(running) })
	return j, nil
}

func (j *jetStream) open(ctx context.Context) (err error) {
	if j.js, err = j.conn.JetStream(); err != nil {
		return err
	}
	info, err := j.restore(ctx)
	if err != nil {
		return err
	}
	if j.pub, err = newJetStreamPublisher(j.conn, j.coder, info.Config.MaxMsgSize); err == nil {
		j.groups.pub, err = newJetStreamPublisher(j.conn, j.coder, 0)
	}
	return err
}

// jetKeep is how often a process looks whether the stream is still there.
const jetKeep = 2 * time.Second

// keep looks after the stream.
func (j *jetStream) keep(ctx context.Context) {
	tick := time.NewTicker(jetKeep)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			call, cancel := context.WithTimeout(ctx, leaseCall)
			if _, err := j.restore(call); err != nil && ctx.Err() == nil {
				j.shared.opts.Logger.Debug("stream", "stream", j.stream, "error", err)
			}
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

// restore makes the stream for fan-out if it is not there, and looks whether it is the one that was there.
func (j *jetStream) restore(ctx context.Context) (*nats.StreamInfo, error) {
	info, made, err := j.ensure(ctx, &nats.StreamConfig{
		Name:              j.stream,
		Subjects:          []string{j.coder.prefix + ">"},
		MaxAge:            j.shared.opts.Retention,
		MaxMsgsPerSubject: j.shared.opts.MaxMessages,
		Discard:           nats.DiscardOld,
	})
	if err != nil {
		return nil, err
	}
	j.look(info, made)
	return info, nil
}

// ensure makes a stream if it is not there. One that is there keeps what it holds: its limits are raised to those of config, not lowered.
func (j *jetStream) ensure(ctx context.Context, config *nats.StreamConfig) (info *nats.StreamInfo, made bool, err error) {
	j.making.Lock()
	defer j.making.Unlock()
	info, err = j.js.StreamInfo(config.Name, nats.Context(ctx))
	if errors.Is(err, nats.ErrStreamNotFound) {
		info, err = j.js.AddStream(config, nats.Context(ctx))
		if !errors.Is(err, nats.ErrStreamNameAlreadyInUse) {
			if err != nil {
				return nil, false, fmt.Errorf("stream %s: %w", config.Name, err)
			}
			return info, true, nil
		}
		info, err = j.js.StreamInfo(config.Name, nats.Context(ctx))
	}
	if err == nil {
		info, err = j.raise(ctx, info, config)
	}
	if err != nil {
		return nil, false, fmt.Errorf("stream %s: %w", config.Name, err)
	}
	return info, false, nil
}

// raise changes the stream so that it keeps as much as config says, or more where it did before: another process of the namespace has
// confirmed that.
func (j *jetStream) raise(ctx context.Context, info *nats.StreamInfo, config *nats.StreamConfig) (*nats.StreamInfo, error) {
	has, want := info.Config, info.Config
	want.MaxAge = time.Duration(larger(int64(has.MaxAge), int64(config.MaxAge)))
	want.MaxMsgsPerSubject = larger(has.MaxMsgsPerSubject, config.MaxMsgsPerSubject)
	if want.MaxAge != config.MaxAge || want.MaxMsgsPerSubject != config.MaxMsgsPerSubject {
		j.shared.limitsStay("stream "+config.Name, "MaxAge", has.MaxAge, "MaxMsgsPerSubject", has.MaxMsgsPerSubject)
	}
	want.Subjects, want.Discard, want.DiscardNewPerSubject = config.Subjects, config.Discard, config.DiscardNewPerSubject
	if want.MaxAge == has.MaxAge && want.MaxMsgsPerSubject == has.MaxMsgsPerSubject && want.Discard == has.Discard &&
		want.DiscardNewPerSubject == has.DiscardNewPerSubject && len(has.Subjects) == 1 && has.Subjects[0] == want.Subjects[0] {
		return info, nil
	}
	return j.js.UpdateStream(&want, nats.Context(ctx))
}

// larger returns the larger of two limits, of which one that is not positive is none.
func larger(a, b int64) int64 {
	if a <= 0 || b <= 0 {
		return 0
	}
	return max(a, b)
}

// look compares the stream with what it was, and counts what has gone from it.
func (j *jetStream) look(info *nats.StreamInfo, made bool) {
	gone := info.State.LastSeq - info.State.Msgs
	j.mu.Lock()
	first := j.created.IsZero()
	lost := !first && (!j.created.Equal(info.Created) || info.State.LastSeq < j.last)
	if !first && !lost && gone > j.gone {
		j.shared.trimmed.Add(gone - j.gone)
	}
	j.created, j.last, j.gone = info.Created, info.State.LastSeq, gone
	var feeds []*jetFeed
	if lost {
		for f := range j.feeds {
			feeds = append(feeds, f)
		}
	}
	j.mu.Unlock()
	if !lost {
		return
	}
	j.shared.opts.Logger.Warn("stream was lost", "stream", j.stream, "made_again", made)
	for _, f := range feeds {
		f.again()
	}
	j.shared.gap("the stream was lost")
}

func (j *jetStream) Publish(topic string, messages ...*message.Message) error {
	err := j.groups.publish(topic, messages)
	if err == nil {
		err = j.pub.Publish(topic, messages...)
	}
	if unanswered(err) {
		ctx, cancel := context.WithTimeout(context.Background(), leaseCall)
		defer cancel()
		_, again := j.restore(ctx)
		err = errors.Join(err, again) // it is published again
	}
	return err
}

// unanswered reports whether there is no stream or consumer at the subject.
func unanswered(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrNoStreamResponse)
}

// publishTo puts messages into the queue of a group, be it there already or not.
func (j *jetStream) publishTo(group, topic string, messages []*message.Message) error {
	return j.groups.put(jetQueueOf(group, topic), topic, messages)
}

func (*jetStream) transient(err error) bool {
	var refused *nats.APIError
	return !errors.Is(err, nats.ErrMaxPayload) && !errors.Is(err, ErrQueueFull) && (!errors.As(err, &refused) || unanswered(err))
}

func (j *jetStream) subscribe(ctx context.Context, topic, group string, _ bool) (*source, error) {
	if group != "" {
		return j.groups.subscribe(ctx, topic, group)
	}
	out := make(chan *message.Message)
	stop, ended, err := j.feed(topic, func(m *nats.Msg) {
		pass(ctx, out, func() *message.Message { m, _ := j.coder.Unmarshal(m); return m })
	})
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(out)
		select {
		case <-ctx.Done():
			stop()
			<-ended
		case <-ended:
		}
	}()
	return &source{messages: out, probe: true}, nil
}

// subscribeFunc implements calling.
func (j *jetStream) subscribeFunc(topic string, fn func(*message.Message)) (stop func(), ended <-chan struct{}, err error) {
	return j.feed(topic, func(m *nats.Msg) {
		fn(readable(func() (*message.Message, error) { return j.coder.read(m) }))
	})
}

// pass gives a message to whoever receives from out, until that one has acked it or ctx ends.
func pass(ctx context.Context, out chan<- *message.Message, read func() *message.Message) {
	for {
		m := read()
		select {
		case out <- m:
		case <-ctx.Done():
			return
		}
		select {
		case <-m.Acked():
			return
		case <-m.Nacked():
		case <-ctx.Done():
			return
		}
		timer := time.NewTimer(nackPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// nackPause is how long a nacked message stays away, where the broker can do that.
const nackPause = 100 * time.Millisecond

func (j *jetStream) flush(ctx context.Context) error { return j.conn.FlushWithContext(ctx) }

func (j *jetStream) close() error {
	j.cancel()
	j.keeper.Wait()
	closeNATS(j.conn)
	return nil
}

func (j *jetStream) maxBytes(string) int  { return j.pub.maxBytes() }
func (*jetStream) naming() naming         { return plainNames }
func (*jetStream) guarantees() Guarantees { return jetStreamGuarantees }

// jetQueueOf is the name of a group's consumer for a topic: without dots.
func jetQueueOf(group, topic string) string {
	return strings.ReplaceAll(naming{dashNames.others, 100}.topic(part(group)+"."+part(topic)), ".", "_")
}
