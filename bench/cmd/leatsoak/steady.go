package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
)

// steadySite is three registries in a row, with links that stay: calls go from one end to the other, events both ways.
type steadySite struct {
	*soaking
	name    string
	row     [3]*commands.Registry
	links   []*bus.Link // all halves
	streams []*stream
	ledgers []*ledger
	work    commands.Command[int64, int64]
	enemy   *enemy
}

func newSteadySite(s *soaking, w wire) *steadySite {
	t := &steadySite{soaking: s, name: w.name + ".steady"}
	t.work = commands.Define[int64, int64](t.name+".work", "Twice a number, after a while")
	router := ""
	for i := range t.row {
		id := fmt.Sprintf("%s.%d", w.name, i)
		t.row[i] = newRegistry(id, router)
		router = id
	}
	down1, up1 := join(t.row[0], t.row[1], w)
	down2, up2 := join(t.row[1], t.row[2], w)
	t.links = []*bus.Link{down1, up1, down2, up2}
	for _, l := range t.links {
		<-l.Ready()
	}
	must(commands.Register(context.Background(), t.row[2], t.work, func(ctx context.Context, n int64) (int64, error) {
		time.Sleep(time.Duration(n % int64(2*time.Millisecond)))
		return double(ctx, n)
	}))
	first, last := newStream(t.row[0]), newStream(t.row[2])
	t.streams = []*stream{first, last}
	const slow = 2 * time.Millisecond
	t.ledgers = []*ledger{
		hear(s, first, t.row[0], 0), hear(s, first, t.row[1], 0, down1), hear(s, first, t.row[2], slow, down1, down2),
		hear(s, last, t.row[2], slow), hear(s, last, t.row[1], slow, up2), hear(s, last, t.row[0], 0, up2, up1),
	}
	t.enemy = newEnemy(s, w, t.row[1], t.work.ID())
	t.start()
	return t
}

// start makes the load.
func (t *steadySite) start() {
	for i, e := range t.streams {
		t.every(time.Second, uint64(i), func(r *rand.Rand) { e.emit(t.soaking, t.load*(1+r.IntN(3000))) })
	}
	t.every(time.Second, 2, func(r *rand.Rand) { // beyond MaxInFlight and MaxBacklog: some are refused
		t.burst(r, t.row[0], t.work, t.load*(1+r.IntN(400)), commands.Internal, commands.Timeout)
	})
	for i := range 2 { // single calls are served all the same, or fail with a reason
		t.every(4*time.Millisecond, uint64(3+i), func(r *rand.Rand) {
			t.call(context.Background(), t.row[i], t.work, r.Int64N(1<<40), commands.Internal, commands.Timeout)
		})
	}
	t.enemy.start(uint64(len(t.name)))
}

// settle waits until nothing is on its way, and closes the ledgers.
func (t *steadySite) settle() {
	t.enemy.close()   // it claims to answer what Flush asks, and does not
	for range t.row { // each round takes what is on its way one hop further
		for _, r := range t.row {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			if err := r.Events().Flush(ctx); err != nil && !errors.Is(err, events.ErrUnhandled) { // which is counted
				t.violated("flush", "%s: %v", r.ID(), err)
			}
			cancel()
		}
	}
	t.eventually(t.name+" has nothing left to do", func() string {
		for _, l := range t.links {
			if n := l.Stats().Queued; n > 0 {
				return fmt.Sprintf("%d messages for %s", n, l.ID())
			}
		}
		for _, l := range t.ledgers {
			if st := l.listener.Stats(); st.Queued > 0 || st.Handled != l.heard.Load() {
				return l.String()
			}
		}
		return busy(t.row[:]...)
	})
	for _, l := range t.ledgers {
		l.close(t.soaking)
	}
	for _, l := range t.links {
		if err := l.Err(); err != nil {
			t.violated("links", "%s to %s has ended: %v", t.name, l.ID(), err)
		}
	}
}

// lost is what the counters say is lost, of all messages.
func (t *steadySite) lost() (n uint64) {
	for _, l := range t.links {
		st := l.Stats()
		n += st.Unsent + st.Dropped
	}
	for _, l := range t.ledgers {
		n += l.listener.Stats().Dropped
	}
	return n
}

func (t *steadySite) rejected() uint64 { return t.enemy.rejected.Load() }

func (t *steadySite) close() error {
	return errors.Join(t.row[0].Close(), t.row[1].Close(), t.row[2].Close())
}

// busy says which registry has calls on their way, "" if none has.
func busy(rs ...*commands.Registry) string {
	for _, r := range rs {
		if s := r.Stats(); s.Pending+s.Serving+s.Waiting+s.Reserved > 0 {
			return fmt.Sprintf("%s: %d pending, %d served, %d waiting, %d reserved", r.ID(), s.Pending, s.Serving, s.Waiting, s.Reserved)
		}
	}
	return ""
}

// eventually waits until missing returns "".
func (s *soaking) eventually(what string, missing func() string) {
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if last = missing(); last == "" {
			return
		}
	}
	s.violated("settles", "%s: %s", what, last)
}

// join attaches a pair to a parent and its child. The first link is the parent's.
func join(parent, child *commands.Registry, w wire) (down, up *bus.Link) {
	toChild, toParent := w.pair(child.ID(), parent.ID())
	down, err := parent.RegisterChannel(context.Background(), toChild)
	must(err)
	up, err = child.RegisterChannel(context.Background(), toParent)
	must(err)
	return down, up
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
