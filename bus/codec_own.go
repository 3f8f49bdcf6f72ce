package bus

import (
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/internal/contain"
)

// A user's codec runs on pumps, on writers' and callers' goroutines, in functions that are deferred and in timers. So
// each run has a goroutine of its own, and what it makes is checked.

// marshalOwn is Marshal of the user's codec.
func (l *Link) marshalOwn(e Envelope) (m *message.Message, err error) {
	if broken := contain.Do(func() { m, err = l.codec.Marshal(e) }); broken != nil {
		return nil, l.broken("codec", broken)
	}
	switch {
	case err != nil:
		return nil, contain.Tame(err)
	case m == nil:
		return nil, errors.New("the codec made no message")
	case m.Metadata == nil:
		m.Metadata = make(message.Metadata)
	}
	return m, nil
}

// unmarshalOwn is Unmarshal of the user's codec.
func (l *Link) unmarshalOwn(m *message.Message) (e Envelope, err error) {
	if broken := contain.Do(func() { e, err = l.codec.Unmarshal(m) }); broken != nil {
		return Envelope{}, l.broken("codec", broken)
	}
	if err == nil {
		if err = e.check(); err == nil && (e.Depth < 0 || e.Hops < 0) {
			err = errors.New("negative depth or hops")
		}
	}
	return e, contain.Tame(err)
}

// broken logs what became of code that is not leat's, and returns the error that says so.
func (l *Link) broken(what string, err error) error {
	var p *contain.Panic
	if errors.As(err, &p) {
		l.log.Error("panic in "+what, "panic", p.Value, "stack", string(p.Stack))
		return fmt.Errorf("panic in %s: %v", what, p.Value)
	}
	l.log.Error(what + " ended its goroutine")
	return fmt.Errorf("%s: %w", what, err)
}
