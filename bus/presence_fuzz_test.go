package bus_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// Whatever a peer writes about sessions and times costs at most its own link.
func FuzzPresence(f *testing.F) {
	f.Add("list.commands.request", "h2k3j4-x", "", "1700000000000000", "1", "2", "3", "2000000")
	f.Add("execute.command.request", "h2k3j4-x", "me", "9007199254740992", "9007199254740992", "1", "9007199254740992", "-1")
	f.Add("ping", "-", "me", "", "9007199254740992", "1", "", "x")
	f.Add("goodbye", "zzzzzzzzzzzz-", "me", "0", "0", "0", "0", "0")
	f.Fuzz(func(t *testing.T, typ, session, peer, sent, echo, got, expires, beats string) {
		tp := new(tape)
		b := bus.New(bus.Options{Logger: slog.New(slog.DiscardHandler)})
		b.Use(func(*bus.Link) bus.Receiver { return tp })
		first := make(chan string, 16)
		tp.publish = func(m *message.Message) {
			select {
			case first <- m.Metadata["leat-session"]:
			default:
			}
		}
		l, err := b.Attach(t.Context(), &bus.Channel{ID: "peer", Publisher: tp, Out: "out", Heartbeat: beat})
		if err != nil {
			t.Fatal(err)
		}
		if peer == "me" {
			peer = <-first
		}
		e := bus.Envelope{ID: "1", Type: bus.Type(typ)}
		switch e.Type {
		case bus.ExecuteRequest, bus.Event, bus.Withdraw:
			e.Name = "x"
		case bus.ListResponse:
			e.Thread, e.Body = "x", []byte("[]")
		case bus.ExecuteResponse, bus.Cancel, bus.Flushed, bus.RegisterResponse:
			e.Thread = "x"
		}
		if m, err := bus.Binary.Marshal(e); err == nil {
			for k, v := range map[string]string{"leat-session": session, "leat-peer": peer, "leat-sent": sent, "leat-echo": echo,
				"leat-got": got, "leat-expires": expires, "leat-beat": beats} {
				if v != "" {
					m.Metadata[k] = v
				}
			}
			for range 2 {
				if err := l.Deliver(m.Copy()); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, e := range tp.list(bus.ExecuteRequest) {
			if e.Deadline < 0 {
				t.Fatalf("deadline %s", e.Deadline)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		<-l.Done()
		if err := l.Err(); !errors.Is(err, bus.ErrClosed) && !errors.Is(err, bus.ErrPeerClosed) {
			t.Fatal(err)
		}
	})
}
