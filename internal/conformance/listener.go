package conformance

import (
	"context"
	"encoding/json"
	"fmt"
)

// hearing is what a listener has heard.
type hearing struct {
	runs int // guarded by stage.mu
	last any // guarded by stage.mu: the payload, or absent
}

func (s *stage) listen(event string) error {
	h := &hearing{}
	s.heard[event] = h
	_, err := s.registry.Events().ListenRaw(event, func(_ context.Context, _ string, payload json.RawMessage) {
		v, err := decodeValue(payload)
		s.update(func() {
			h.runs++
			h.last = v
			if err != nil {
				s.blame(fmt.Errorf("the listener of %q got a payload that is no JSON: %w", event, err))
			}
		})
	})
	if err != nil {
		return fmt.Errorf("set-up: listener of %q: %w", event, err)
	}
	return nil
}

// listenerCheck asserts what the listener of an event has heard.
type listenerCheck struct {
	event   string
	runs    int // -1: any number, but some
	payload any // of the last run; absent: any
}

func (c *listenerCheck) String() string { return "assert-local-listener " + c.event }

func (c *listenerCheck) play(s *stage) error {
	h, ok := s.heard[c.event]
	if !ok {
		return fmt.Errorf("the script has no listener of %q", c.event)
	}
	if err := s.flushListeners(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.runs >= 0 && h.runs != c.runs:
		return fmt.Errorf("want %d invocations, got %d", c.runs, h.runs)
	case c.payload == (absent{}):
		return nil
	case h.runs == 0:
		return fmt.Errorf("no invocation, want one with %s", render(c.payload))
	}
	if err := matchResult(c.payload, h.last, s.bound); err != nil {
		return fmt.Errorf("last payload: %w", err)
	}
	return nil
}

// flushListeners waits until the listeners have handled what came before.
func (s *stage) flushListeners() error {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	return s.registry.Events().Flush(ctx)
}
