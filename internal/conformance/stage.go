package conformance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

const (
	// patience bounds each wait. What passes never waits for long.
	patience = 5 * time.Second
	// lifetime is the TTL of requests and events: no script is about time, so none runs out.
	lifetime = time.Hour
)

// stage is where one script is played: a registry and its mock peers.
type stage struct {
	ctx      context.Context
	registry *commands.Registry
	peers    []*peer
	bound    bindings
	heard    map[string]*hearing
	owed     []owed // replies that local commands may owe
	last     *call
	calls    sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{}   // guarded by mu: closed and replaced at each change
	recorded int             // guarded by mu: messages sent by the registry
	requests map[request]int // guarded by mu: those of them that are requests
	fault    error           // guarded by mu: the first thing that no registry may do
}

// request says what a request is about.
type request struct {
	typ     bus.Type
	command string
}

// newStage sets the registry up, attaches the mock peers and waits until the
// handshakes are done. The caller closes the stage, also after an error.
func newStage(ctx context.Context, s *script, w Wire) (*stage, error) {
	st := &stage{ctx: ctx, bound: bindings{}, heard: map[string]*hearing{},
		changed: make(chan struct{}), requests: map[request]int{}}
	var err error
	st.registry, err = commands.NewRegistry(commands.Config{
		ID: s.registry.id, RouterChannel: s.registry.router,
		RequestTTL: lifetime, EventTTL: lifetime, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return st, err
	}
	if err := st.populate(s.registry); err != nil {
		return st, err
	}
	for i, p := range s.peers {
		if err := st.attach(p, w.codec(i)); err != nil {
			return st, err
		}
	}
	if err := st.settle(); err != nil {
		return st, fmt.Errorf("set-up: %w", err)
	}
	if router, err := st.peer(s.registry.router); err == nil {
		router.setAside(s.registry.commands)
	}
	return st, nil
}

// populate installs the local commands and listeners, before there are channels.
func (s *stage) populate(setup registrySetup) error {
	for _, c := range setup.commands {
		if err := s.registry.RegisterRaw(s.ctx, c.def, c.returns.handler()); err != nil {
			return fmt.Errorf("set-up: command %q: %w", c.def.ID, err)
		}
	}
	for _, id := range setup.listeners {
		if err := s.listen(id); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) attach(setup peerSetup, codec bus.Codec) error {
	p := newPeer(s, setup, codec)
	link, err := s.registry.RegisterChannel(s.ctx, p.channel())
	if err != nil {
		return fmt.Errorf("set-up: %w", err)
	}
	p.link = link
	s.peers = append(s.peers, p)
	select {
	case <-link.Ready():
		return nil
	case <-time.After(patience):
		return fmt.Errorf("set-up: channel %q does not become ready", setup.id)
	}
}

// peer returns the mock with that channel ID.
func (s *stage) peer(id string) (*peer, error) {
	for _, p := range s.peers {
		if p.setup.id == id {
			return p, nil
		}
	}
	return nil, fmt.Errorf("the script has no channel %q", id)
}

// update changes what is guarded by mu, and wakes what waits for it.
func (s *stage) update(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
	close(s.changed)
	s.changed = make(chan struct{})
}

// blame notes what no registry may do. The first one counts. mu is held.
func (s *stage) blame(err error) {
	if s.fault == nil {
		s.fault = err
	}
}

// await waits until done returns true; it is called with mu held.
func (s *stage) await(done func() bool) error {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-timeout.C:
			return errWaited
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

var errWaited = fmt.Errorf("waited for %v", patience)

// close ends the registry. Every call must end with it.
func (s *stage) close() error {
	if s.registry == nil {
		return nil
	}
	err := s.registry.Close()
	ended := make(chan struct{})
	go func() {
		s.calls.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		err = errors.Join(err, errors.New("a local call does not end when the registry is closed"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.fault)
}

// play runs the steps, one after the other.
func (s *stage) play(steps []step) error {
	for i, st := range steps {
		err := st.play(s)
		if err == nil {
			err = s.settle()
		}
		if err != nil {
			return fmt.Errorf("step %d (%s): %w", i+1, st, err)
		}
	}
	return nil
}
