package conformance

import (
	"fmt"
	"slices"

	"github.com/leatbus/leat/bus"
)

// script is a behaviour vector: a registry, its mock peers, and what happens.
type script struct {
	registry registrySetup
	peers    []peerSetup
	steps    []step
}

type registrySetup struct {
	id, router string
	commands   []commandSetup
	listeners  []string
}

// commandSetup is a command: one that the registry executes, or a peer.
type commandSetup struct {
	def     bus.Definition
	returns answer
}

type peerSetup struct {
	id string
	// commands are answered by the peer itself where the script has no
	// answers of that peer; otherwise they only describe it.
	commands []commandSetup
}

// step is one line of a script.
type step interface {
	fmt.Stringer // for errors
	play(*stage) error
}

func parseScript(data []byte) (*script, error) {
	v, err := parseValue(data)
	if err != nil {
		return nil, err
	}
	f := readFields("the vector", v)
	describe(f)
	s := &script{}
	if err := s.parseSetup(f.value("setup")); err != nil {
		return nil, err
	}
	steps := f.list("steps")
	if len(steps) == 0 {
		f.fail("has no steps")
	}
	if err := f.end(); err != nil {
		return nil, err
	}
	for i, v := range steps {
		st, err := parseStep(v)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		s.steps = append(s.steps, st)
	}
	s.silenceAnsweringPeers()
	return s, nil
}

// describe drops the members of a vector that are for its readers.
func describe(f *fields) {
	for _, name := range []string{"name", "title", "$schema"} {
		f.text(name)
	}
}

func (s *script) parseSetup(v any) error {
	if v == (absent{}) {
		return nil
	}
	f := readFields("setup", v)
	registry, peers := f.value("registry"), f.list("peers")
	if err := f.end(); err != nil {
		return err
	}
	if registry != (absent{}) {
		if err := s.registry.parse(registry); err != nil {
			return err
		}
	}
	for i, v := range peers {
		p, err := parsePeer(fmt.Sprintf("setup.peers[%d]", i), v)
		if err != nil {
			return err
		}
		s.peers = append(s.peers, p)
	}
	return nil
}

func (r *registrySetup) parse(v any) error {
	f := readFields("setup.registry", v)
	r.id, r.router = f.text("id"), f.text("routerChannel")
	local, listeners := f.list("localCommands"), f.list("localEventListeners")
	if err := f.end(); err != nil {
		return err
	}
	var err error
	if r.commands, err = parseCommands("localCommands", local); err != nil {
		return err
	}
	for i, v := range listeners {
		id, ok := v.(string)
		if !ok {
			f := readFields(fmt.Sprintf("localEventListeners[%d]", i), v)
			id = f.oneText("eventId", "id")
			if err := f.end(); err != nil {
				return err
			}
		}
		if !slices.Contains(r.listeners, id) {
			r.listeners = append(r.listeners, id)
		}
	}
	return nil
}

func parsePeer(what string, v any) (peerSetup, error) {
	if id, ok := v.(string); ok {
		return peerSetup{id: id}, nil
	}
	f := readFields(what, v)
	p := peerSetup{id: f.oneText("channelId", "id")}
	implementations := f.list("commandImplementations")
	if err := f.end(); err != nil {
		return p, err
	}
	var err error
	p.commands, err = parseCommands(what+".commandImplementations", implementations)
	return p, err
}

func parseCommands(what string, list []any) ([]commandSetup, error) {
	var all []commandSetup
	for i, v := range list {
		if id, ok := v.(string); ok {
			v = map[string]any{"id": id}
		}
		c, err := parseCommand(fmt.Sprintf("%s[%d]", what, i), v)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// parseCommand reads a definition, and what the command returns.
func parseCommand(what string, v any) (c commandSetup, err error) {
	f := readFields(what, v)
	if object, ok := v.(map[string]any); ok {
		c.def.Description, _ = object["description"].(string)
	}
	c.def.ID = f.oneText("id", "commandId")
	schema, returns := f.value("schema"), f.value("returns")
	if err := f.end(); err != nil {
		return c, err
	}
	if schema != (absent{}) {
		if c.def.Schema, err = parseSchemas(what+".schema", schema); err != nil {
			return c, err
		}
	}
	if c.returns, err = parseAnswer(returns); err != nil {
		return c, fmt.Errorf("%s: %w", what, err)
	}
	return c, nil
}

func parseSchemas(what string, v any) (*bus.Schema, error) {
	f := readFields(what, v)
	s := &bus.Schema{}
	var err error
	if s.Request, err = encodeValue(f.value("request")); err != nil {
		return nil, err
	}
	if s.Response, err = encodeValue(f.value("response")); err != nil {
		return nil, err
	}
	return s, f.end()
}

// silenceAnsweringPeers leaves the answers to the script where it has any.
func (s *script) silenceAnsweringPeers() {
	for _, st := range s.steps {
		in, ok := st.(*inbound)
		if !ok || in.kind() != bus.ExecuteResponse {
			continue
		}
		for i := range s.peers {
			if s.peers[i].id == in.from {
				s.peers[i].commands = nil
			}
		}
	}
}
