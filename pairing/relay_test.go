package pairing_test

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
)

// relayed is what a subscription gets, changed.
func relayed(ctx context.Context, sub message.Subscriber, topic string, change func(*message.Message) *message.Message) (<-chan *message.Message, error) {
	in, err := sub.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for m := range in {
			select {
			case out <- change(m):
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}
