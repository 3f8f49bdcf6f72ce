package conformance

import (
	"errors"
	"fmt"
	"maps"

	"github.com/leatbus/leat/bus"
)

// inbound delivers a message from a mock peer.
type inbound struct {
	from    string
	message any
}

func (in *inbound) String() string { return "inbound from " + in.from }

func (in *inbound) play(s *stage) error {
	p, err := s.peer(in.from)
	if err != nil {
		return err
	}
	v, err := substitute(in.message, s.bound)
	if err != nil {
		return err
	}
	m, e, err := p.encode(v)
	if err != nil {
		return err
	}
	if err := p.deliver(m); err != nil {
		return err
	}
	if e != nil && e.Type == bus.ExecuteRequest {
		s.owed = append(s.owed, owed{peer: p, id: e.ID, command: e.Name})
	}
	return nil
}

// outbound takes the next message that the registry has sent on a channel.
type outbound struct {
	to       string
	expected any
}

func (out *outbound) String() string { return "outbound to " + out.to }

func (out *outbound) play(s *stage) error {
	p, err := s.peer(out.to)
	if err != nil {
		return err
	}
	var mismatch error
	err = s.await(func() bool {
		if out.takeEarly(p) {
			return true
		}
		if len(p.sent) == 0 {
			return false
		}
		mismatch = match(out.expected, p.sent[0], s.bound)
		if mismatch != nil {
			mismatch = fmt.Errorf("%w, in %s", mismatch, render(p.sent[0]))
		}
		p.sent = p.sent[1:]
		return true
	})
	if errors.Is(err, errWaited) {
		return fmt.Errorf("nothing was sent: want %s", render(out.expected))
	}
	return errors.Join(err, mismatch)
}

// takeEarly takes what the set-up caused, in any order, if the script asks
// for it. stage.mu is held.
func (out *outbound) takeEarly(p *peer) bool {
	for i, m := range p.early {
		b := maps.Clone(p.stage.bound)
		if match(out.expected, m, b) == nil {
			p.stage.bound = b
			p.early = append(p.early[:i:i], p.early[i+1:]...)
			return true
		}
	}
	return false
}

// noOutbound asserts that nothing is left on a channel, or on any.
type noOutbound struct{ to string }

func (no *noOutbound) String() string { return "assert-no-outbound to " + no.to }

func (no *noOutbound) play(s *stage) error {
	peers := s.peers
	if no.to != "" {
		p, err := s.peer(no.to)
		if err != nil {
			return err
		}
		peers = []*peer{p}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range peers {
		if len(p.sent) > 0 {
			return fmt.Errorf("channel %q: want nothing, got %s", p.setup.id, render(p.sent[0]))
		}
	}
	return nil
}

// closeChannel lets a mock peer go away.
type closeChannel struct{ channel string }

func (c *closeChannel) String() string { return "close-channel " + c.channel }

func (c *closeChannel) play(s *stage) error {
	p, err := s.peer(c.channel)
	if err != nil {
		return err
	}
	return p.hangUp()
}
