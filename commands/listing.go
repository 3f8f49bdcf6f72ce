package commands

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/leatbus/leat/bus"
)

// listing is an answer to a list.commands.request, on its way.
type listing struct {
	thread  string
	begun   bool
	durable bool   // those that are durable come behind the others
	last    string // of those, the ID that was sent last
}

// list sends a list, or what is left of it, and reports whether there was room for all. Each part has what is registered when it is
// sent: what has come or gone meanwhile, the peer is told as well.
func (p *peer) list(l *listing) (done bool) {
	p.turn.Lock() // else a withdrawal could overtake a list that has the command
	defer p.turn.Unlock()
	limit := p.link.MaxBytes()
	limit -= min(limit/2, listOverhead+len(l.thread))
	var parts []listPart
	for _, list := range alike(slices.DeleteFunc(p.r.public(), l.has)) {
		parts = append(parts, split(list, limit)...)
	}
	for i, part := range parts {
		n := len(part.defs)
		durable := n > 0 && part.defs[0].Durable
		err := p.link.Send(bus.Envelope{Type: bus.ListResponse, Thread: l.thread, Body: part.body, Durable: durable, Partial: i < len(parts)-1})
		switch {
		case errors.Is(err, bus.ErrFull):
			return false
		case errors.Is(err, bus.ErrClosed):
			return true
		case err != nil:
			p.r.log.Error("answer not sent", "channel", p.link.ID(), "type", string(bus.ListResponse), "error", err.Error())
		}
		if l.begun = true; n > 0 {
			l.durable, l.last = durable, part.defs[n-1].ID
		}
	}
	return true
}

// has reports whether a command was sent already.
func (l *listing) has(d bus.Definition) bool {
	return l.begun && (l.durable && !d.Durable || l.durable == d.Durable && d.ID <= l.last)
}

// roomAgain waits until what is queued for the peer is published, and it is worth another try to queue more. False if the link ends.
func (p *peer) roomAgain() bool {
	if p.link.Published(p.link.Context()) != nil {
		return false
	}
	pause := time.NewTimer(crowded)
	defer pause.Stop()
	select {
	case <-pause.C:
		return true
	case <-p.link.Context().Done():
		return false
	}
}

// alike parts the durable commands from the others: which they are is said of a whole message. It returns at least one list.
func alike(defs []bus.Definition) [][]bus.Definition {
	durable := make([]bus.Definition, 0)
	others := slices.DeleteFunc(defs, func(d bus.Definition) bool {
		if d.Durable {
			durable = append(durable, d)
		}
		return d.Durable
	})
	switch {
	case len(durable) == 0:
		return [][]bus.Definition{others}
	case len(others) == 0:
		return [][]bus.Definition{durable}
	}
	return [][]bus.Definition{others, durable}
}

// listOverhead is what the canonical form adds to an array of definitions, and some.
const listOverhead = 256

// split encodes a list, and cuts one that does not fit into one message into several, of which
// the first answers and the rest are lists that were not asked for. A definition
// that is too large by itself ends up alone, and is refused where it is sent.
func split(defs []bus.Definition, limit int) []listPart {
	body := encodeDefinitions(defs)
	if len(defs) < 2 || len(body) <= limit {
		return []listPart{{defs, body}}
	}
	n := min(len(defs), len(body)/max(limit, 1)+1)
	var parts []listPart
	for part := range slices.Chunk(defs, (len(defs)+n-1)/n) {
		parts = append(parts, split(part, limit)...)
	}
	return parts
}

// listPart is a part of a list, and how it is sent.
type listPart struct {
	defs []bus.Definition
	body json.RawMessage
}

// listed takes what the peer says it executes. It never replaces a local
// command, or one of another channel.
func (p *peer) listed(d *bus.Delivery) {
	defs, err := d.Envelope.Definitions()
	if err != nil {
		p.link.Reject(d, err)
		return
	}
	p.clear(&d.Envelope, defs)
	ignored := 0
	p.meet()
	for part := range slices.Chunk(defs, installBatch) {
		ignored += p.install(part)
	}
	if ignored > 0 {
		p.r.stats.conflicts.Add(uint64(ignored))
		p.r.log.Debug("listed commands ignored: they are private, or another's", "channel", p.link.ID(), "commands", ignored)
	}
	p.r.converge()
}

// installBatch bounds how many commands of a list are put into the table in one go, so that others get r.mu meanwhile.
const installBatch = 1024

// meet notes that the peer has answered the handshake.
func (p *peer) meet() {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	if p.met || p.gone {
		return
	}
	p.met = true
	if p.up != nil {
		p.up.meet()
		if p.link.Repeated() { // what was sent with the first handshake may have been lost as well
			p.up.resend()
		}
	}
}

// install puts what the peer lists into the table. It returns how many commands it did not take because they are another's.
func (p *peer) install(defs []bus.Definition) (ignored int) {
	r := p.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.gone {
		return 0
	}
	for _, def := range defs {
		cmd := &command{def: def, owner: p}
		cmd.bytes = cmd.size()
		old, res := r.lookup(def.ID), r.reserved[def.ID]
		switch {
		case isPrivate(def.ID):
			ignored++
		case res != nil && res.child == p: // what the peer registers is the newer word, or about to be followed by one
		case old != nil && old.owner != p && p.link.Understands(bus.Shared):
			if r.fits(cmd, r.covered[def.ID], nil) {
				r.cover(cmd)
			}
		case res != nil, old != nil && old.owner != p:
			ignored++
		case old == nil:
			if r.fits(cmd, nil, nil) {
				r.install(cmd)
			}
		default:
			cmd.registered, cmd.path = old.registered, old.path
			if cmd.bytes += len(cmd.path); !cmd.same(old) && r.fits(cmd, old, nil) {
				r.install(cmd)
			}
		}
	}
	return ignored
}
