package brokers

import (
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Metadata keys of this package. A message that has one never reaches a subscriber.
const (
	keyProbe = "leat-probe" // proves that a subscription is live; the value is its ID
	keySkip  = "leat-skip"  // it could not be read; the value says why
)

// reserved refuses messages that their subscribers would never see.
func reserved(messages []*message.Message) error {
	for i, m := range messages {
		for _, key := range [...]string{keyProbe, keySkip} {
			if _, has := m.Metadata[key]; has {
				return &partError{behind: i, err: fmt.Errorf("%w %q", ErrReserved, key)}
			}
		}
	}
	return nil
}

// unreadable stands for a message that is none of ours. An unmarshaler that
// returned the error instead would make its adapter redeliver for ever, or end
// the subscription.
func unreadable(err error) *message.Message {
	m := message.NewMessage("", nil)
	m.Metadata.Set(keySkip, err.Error())
	return m
}

// readable runs an unmarshaler, whatever it does.
func readable(unmarshal func() (*message.Message, error)) (m *message.Message) {
	defer func() {
		if p := recover(); p != nil {
			m = unreadable(fmt.Errorf("panic: %v", p))
		}
	}()
	m, err := unmarshal()
	if err != nil {
		return unreadable(err)
	}
	if m.Metadata == nil {
		m.Metadata = make(message.Metadata)
	}
	return m
}
