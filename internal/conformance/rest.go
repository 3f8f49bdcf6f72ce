package conformance

import (
	"errors"
	"fmt"
)

// restless bounds the rounds in which a registry comes to rest.
const restless = 1000

// settle returns when the registry is at rest. What one peer's message causes
// on another channel, and what that causes in turn, takes a round each; only
// after two rounds without anything new there can be nothing on its way.
func (s *stage) settle() error {
	before := -1
	for quiet, round := 0, 0; quiet < 2; round++ {
		if round == restless {
			return errors.New("the registry does not come to rest")
		}
		for _, p := range s.peers {
			if err := p.sync(); err != nil {
				return fmt.Errorf("channel %q: the registry does not answer list.commands.request: %w", p.setup.id, err)
			}
		}
		if err := s.awaitReplies(); err != nil {
			return err
		}
		s.mu.Lock()
		recorded, fault := s.recorded, s.fault
		s.mu.Unlock()
		if fault != nil {
			return fault
		}
		if quiet++; recorded != before {
			quiet = 0
		}
		before = recorded
	}
	return nil
}

// owed is the reply to a request, if the command is executed here.
type owed struct {
	peer        *peer
	id, command string
}

// awaitReplies waits for what local commands owe.
func (s *stage) awaitReplies() error {
	if len(s.owed) == 0 {
		return nil
	}
	local := map[string]bool{}
	for _, info := range s.registry.Commands() {
		local[info.ID] = info.Channel == ""
	}
	var undecided []owed
	for _, o := range s.owed {
		switch {
		case o.peer.closed():
		case !local[o.command]:
			undecided = append(undecided, o)
		default:
			if err := s.await(func() bool { return o.peer.answered[o.id] }); err != nil {
				return fmt.Errorf("channel %q: request %q for the local command %q gets no reply: %w", o.peer.setup.id, o.id, o.command, err)
			}
		}
	}
	s.owed = undecided
	return nil
}
