package pairingtest

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/events"
)

func listenerStatements() []statement {
	return []statement{
		{"slow_drops_its_oldest_and_counts", func(k *kit) { slowListener(k, events.DropOldest) }, ordered},
		{"slow_drops_its_newest_and_counts", func(k *kit) { slowListener(k, events.DropNewest) }, ordered},
		{"blocking_holds_up_the_local_emitter_only", blockingListener, nil},
		{"panic", panickingListener, nil},
		{"flush_waits_for_the_listeners_here", flushWaitsHere, nil},
		{"flush_waits_until_peers_have_accepted", flushWaitsThere, nil},
		{"flush_ends_with_its_ctx_and_with_the_link", flushEnds, nil},
		{"closed_listener_hears_nothing", closedListener, nil},
	}
}

// slow is a listener that is held up with the first event it gets.
type slow struct {
	*events.Listener
	started, release chan struct{}
	got              chan string
}

func (k *kit) slowly(r *commands.Registry, o events.ListenOptions) *slow {
	k.t.Helper()
	s := &slow{started: make(chan struct{}), release: make(chan struct{}), got: make(chan string, 1024)}
	var err error
	first := true
	s.Listener, err = r.Events().ListenRaw("x", func(_ context.Context, _ string, payload json.RawMessage) {
		if first {
			first = false
			close(s.started)
			<-s.release
		}
		s.got <- string(payload)
	}, o)
	require.NoError(k.t, err)
	return s
}

func slowListener(k *kit, policy events.Overflow) {
	root, worker := k.couple()
	k.echo(root, "echo")
	s := k.slowly(root, events.ListenOptions{QueueSize: 4, Overflow: policy})
	quick := k.inbox(root, "x", 20)
	k.emit(worker, "x", "0")
	k.awaits(s.started, "the slow listener's start")
	for i := 1; i < 20; i++ {
		k.emit(worker, "x", strconv.Itoa(i))
	}
	k.awaits(quick.full, "all events at the other listener")
	inOrder(k, quick.list())
	require.Equal(k.t, "1", k.ok(worker, "echo", "1"))
	stats := s.Stats()
	require.EqualValues(k.t, 15, stats.Dropped)
	require.Equal(k.t, 4, stats.Queued)
	require.EqualValues(k.t, 15, root.Events().Stats().Dropped)
	close(s.release)
	want := []string{"0", "16", "17", "18", "19"}
	if policy == events.DropNewest {
		want = []string{"0", "1", "2", "3", "4"}
	}
	for _, w := range want {
		require.Equal(k.t, w, recv(k, s.got, "an event"))
	}
}

func blockingListener(k *kit) {
	root, worker := k.couple()
	s := k.slowly(root, events.ListenOptions{QueueSize: 1, Overflow: events.Block})
	k.emit(root, "x", "0")
	k.awaits(s.started, "the slow listener's start")
	k.emit(root, "x", "1")
	ctx, cancel := context.WithTimeout(k.ctx, k.brief())
	defer cancel()
	require.ErrorIs(k.t, root.Events().EmitRaw(ctx, "x", encoded("2")), context.DeadlineExceeded)
	quick := k.inbox(root, "x", 1)
	k.emit(worker, "x", "3")
	k.awaits(quick.full, "the event at the other listener")
	close(s.release)
	require.Equal(k.t, "0", recv(k, s.got, "the first event"))
	require.Equal(k.t, "3", recv(k, s.got, "the event from the peer, which waits for nobody"))
	k.emit(root, "x", "4")
	require.Equal(k.t, "4", recv(k, s.got, "an event once there is room"))
	require.EqualValues(k.t, 1, s.Stats().Dropped)
}

func panickingListener(k *kit) {
	root, worker := k.couple()
	_, err := root.Events().ListenRaw("x", func(context.Context, string, json.RawMessage) { panic("on purpose") })
	require.NoError(k.t, err)
	b := k.inbox(root, "x", 10)
	for i := range 10 {
		k.emit(worker, "x", strconv.Itoa(i))
		k.still(root, worker)
	}
	k.awaits(b.full, "all events at the other listener")
	require.EqualValues(k.t, 10, root.Events().Stats().Panics, "a listener that panics goes on")
}

func flushWaitsHere(k *kit) {
	root, _ := k.couple()
	s := k.slowly(root, events.ListenOptions{})
	for i := range 10 {
		k.emit(root, "x", strconv.Itoa(i))
	}
	k.awaits(s.started, "the listener's start")
	flushed := make(chan error, 1)
	go func() { flushed <- root.Events().Flush(k.ctx) }()
	require.Empty(k.t, flushed)
	close(s.release)
	require.NoError(k.t, recv(k, flushed, "the flush"))
	require.EqualValues(k.t, 10, s.Stats().Handled)
}

func flushWaitsThere(k *kit) {
	root, worker := k.couple()
	s := k.slowly(root, events.ListenOptions{})
	defer close(s.release)
	n := k.volume(1000)
	for i := range n {
		k.emit(worker, "x", strconv.Itoa(i))
	}
	k.flush(worker)
	require.EqualValues(k.t, n, root.Events().Stats().Received, "accepted, though the listener is behind")
}

func flushEnds(k *kit) {
	r := k.registry("r")
	toPeer, toRegistry := k.pair("mute", "r")
	link := k.attach(r, toPeer)
	w := k.play(toRegistry, everything, "")
	ctx, cancel := context.WithTimeout(k.ctx, k.brief())
	defer cancel()
	require.ErrorIs(k.t, r.Events().Flush(ctx), context.DeadlineExceeded)
	flushed := make(chan error, 1)
	go func() { flushed <- r.Events().Flush(k.ctx) }()
	w.answerHello()
	w.send(bus.Envelope{Type: bus.Goodbye})
	k.awaits(link.Done(), "the link's end")
	if err := recv(k, flushed, "the flush"); err != nil { // it may have begun after the end
		require.ErrorContains(k.t, err, "closed")
	}
}

func closedListener(k *kit) {
	root, worker := k.couple()
	l, err := root.Events().ListenRaw("x", func(context.Context, string, json.RawMessage) { k.t.Error("a closed listener heard something") })
	require.NoError(k.t, err)
	l.Close()
	l.Close()
	k.awaits(l.Done(), "the listener's end")
	b := k.inbox(root, "x", 1)
	k.emit(worker, "x", "1")
	k.awaits(b.full, "the event at the other listener")
}
