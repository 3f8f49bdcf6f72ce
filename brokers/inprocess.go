package brokers

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/leatbus/leat/bus/memory"
)

// inProcess is a Pub/Sub of this process as a broker.
type inProcess struct {
	message.Publisher
	sub  message.Subscriber
	says Guarantees
}

func openMemory(_ context.Context, _ address, s *shared) (backend, error) {
	ps := memory.New(memory.Options{Logger: s.opts.Logger})
	return &inProcess{ps, ps, memoryGuarantees}, nil
}

func openGoChannel(_ context.Context, _ address, s *shared) (backend, error) {
	ps := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, adapterLog(s.opts.Logger))
	return &inProcess{ps, ps, goChannelGuarantees}, nil
}

func (p *inProcess) subscribe(ctx context.Context, topic, _ string, _ bool) (*source, error) {
	in, err := p.sub.Subscribe(ctx, topic)
	return &source{messages: in}, err
}

func (*inProcess) transient(error) bool        { return false }
func (*inProcess) flush(context.Context) error { return nil }
func (p *inProcess) close() error              { return p.Publisher.Close() }
func (*inProcess) naming() naming              { return plainNames }
func (p *inProcess) guarantees() Guarantees    { return p.says }
