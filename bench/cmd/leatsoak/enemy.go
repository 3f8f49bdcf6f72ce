package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// enemy is a peer that is not what it should be. It speaks by hand over a link of its own, which it leaves and comes back to.
type enemy struct {
	*soaking
	wire     wire
	victim   *commands.Registry
	wanted   string // a command that it has no business to serve
	life     *visit // of the goroutine that start has started, then of close
	lives    int
	rejected atomic.Uint64 // messages that the victim has counted as rejected
}

// visit is one link of an enemy.
type visit struct {
	ch     *bus.Channel
	link   *bus.Link // the victim's half
	cancel context.CancelFunc
	ended  chan struct{}
}

func newEnemy(s *soaking, w wire, victim *commands.Registry, wanted string) *enemy {
	return &enemy{soaking: s, wire: w, victim: victim, wanted: wanted}
}

func (e *enemy) start(stream uint64) {
	e.every(100*time.Millisecond, 100+stream, func(r *rand.Rand) {
		if e.life != nil && (e.life.link.Context().Err() != nil || r.IntN(20) == 0) {
			e.leave()
		}
		if e.life == nil {
			e.visit()
		}
		for range 20 * e.load {
			e.harm(r)
		}
	})
}

// visit attaches a fresh link. Like every peer of another make it is not trusted with private commands.
func (e *enemy) visit() {
	id := e.victim.ID() + ".enemy"
	toEnemy, ours := e.wire.pair(id, e.victim.ID())
	toEnemy.Local = false
	link, err := e.victim.RegisterChannel(context.Background(), toEnemy)
	if err != nil {
		e.violated("enemies", "attach: %v", err)
		return
	}
	v := &visit{ch: ours, link: link, ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	v.cancel = cancel
	in, err := ours.Subscriber.Subscribe(ctx, ours.In)
	must(err)
	go func() {
		defer close(v.ended)
		for m := range in { // it listens, and answers nothing
			m.Ack()
		}
	}()
	e.life = v
	e.lives++
	e.say(bus.Envelope{Type: bus.ListResponse, Thread: "t", Body: json.RawMessage(`[]`),
		Features: []bus.Features{0, bus.CanCancel, 255}[e.lives%3]})
}

// leave ends the visit, without a word.
func (e *enemy) leave() {
	v := e.life
	e.life = nil
	_ = v.link.Close()
	e.rejected.Add(v.link.Stats().Rejected)
	v.cancel()
	if v.ch.Close != nil {
		_ = v.ch.Close()
	}
	<-v.ended
}

func (e *enemy) close() {
	if e.life != nil {
		e.leave()
	}
}

// harm sends one message that should do none.
func (e *enemy) harm(r *rand.Rand) {
	id := fmt.Sprintf("enemy-%d", r.IntN(1000))
	switch r.IntN(12) {
	case 0:
		e.send(message.NewMessage(id, []byte("no message of ours")))
	case 1:
		m := message.NewMessage(id, []byte(`{"id":"`+id+`","type":"event","eventId":"a.*"}`))
		m.Metadata = message.Metadata{"leat-type": "no such type", "leat-id": strings.Repeat("x", r.IntN(5000)), "leat-hops": "-1", "leat-deadline": "soon"}
		e.send(m)
	case 2:
		e.say(bus.Envelope{ID: id, Type: bus.ExecuteRequest, Name: "no.such.command", Hops: r.IntN(20), Depth: r.IntN(20)})
	case 3:
		e.say(bus.Envelope{ID: id, Type: bus.ExecuteRequest, Name: e.wanted, Body: json.RawMessage(`{"not":"a number"`)})
	case 4:
		e.say(bus.Envelope{ID: id, Type: bus.ExecuteRequest, Name: e.wanted, Body: json.RawMessage(`1`), Deadline: time.Duration(r.IntN(1e6))})
	case 5:
		e.say(bus.Envelope{ID: id, Type: bus.ExecuteResponse, Thread: id, Body: json.RawMessage(`-1`)})
	case 6:
		e.say(bus.Envelope{ID: id, Type: bus.RegisterResponse, Thread: id})
	case 7:
		e.say(bus.Envelope{Type: bus.RegisterRequest, Body: json.RawMessage(fmt.Sprintf(`{"id":%q}`, e.wanted))})
	case 8:
		e.say(bus.Envelope{Type: bus.ListResponse, Thread: id, Body: e.list(r.IntN(50))})
	case 9:
		e.say(bus.Envelope{ID: id, Type: bus.Event, Name: []string{"enemy.x", "ledger", "a..b", ">", strings.Repeat("y", 3000)}[r.IntN(5)],
			Body: json.RawMessage([]string{`{{{`, `1`, `"` + strings.Repeat("z", 10_000) + `"`}[r.IntN(3)]), Hops: r.IntN(30)})
	case 10:
		e.say(bus.Envelope{Type: bus.Withdraw, Name: e.wanted})
	case 11:
		e.say(bus.Envelope{Type: []bus.Type{bus.Cancel, bus.Flush, bus.Flushed, bus.Ping, bus.ListRequest}[r.IntN(5)], Thread: id})
	}
}

// list is of commands that it does not have, and of one that another has.
func (e *enemy) list(n int) json.RawMessage {
	all := []string{fmt.Sprintf(`{"id":%q}`, e.wanted), `{"id":"_private"}`, `{"id":""}`}
	for i := range n {
		all = append(all, fmt.Sprintf(`{"id":"enemy.%d","schema":{"request":%s}}`, i, []string{`{}`, `5`, `{"type":"object"}`}[i%3]))
	}
	return json.RawMessage("[" + strings.Join(all, ",") + "]")
}

func (e *enemy) say(env bus.Envelope) {
	codec := e.life.ch.Codec
	if codec == nil {
		codec = bus.Binary
	}
	m, err := codec.Marshal(env)
	if err == nil { // the codec refuses some itself
		e.send(m)
	}
}

// send publishes. A link that has closed in the meantime takes nothing.
func (e *enemy) send(m *message.Message) {
	e.hostile.Add(1)
	_ = e.life.ch.Publisher.Publish(e.life.ch.Out, m)
}
