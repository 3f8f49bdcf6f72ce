package pairingtest

import (
	"context"
	"strconv"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func closingStatements() []statement {
	return []statement{
		{"the_peer_drains_what_was_sent", peerDrains, nil},
		{"requests_not_started_are_refused", waitingRefused, nil},
		{"ends_the_peers_half", endsPeersHalf, nil},
		{"channel_close_is_called_once", closeOnce, nil},
	}
}

// peerDrains closes right behind events and a reply: all of them arrive.
func peerDrains(k *kit) {
	for range 5 {
		a, b := k.registry("a"), k.registry("b")
		_, ba := k.connect(a, b)
		n := k.volume(500)
		heard := k.inbox(a, "x", n)
		for i := range n {
			k.emit(b, "x", strconv.Itoa(i))
		}
		require.NoError(k.t, ba.Close())
		k.awaits(heard.full, "all events")
		if k.Ordered {
			inOrder(k, heard.list())
		}
	}
}

func waitingRefused(k *kit) {
	root, worker := k.registry("root"), k.registry("worker", under("root"), inFlight(1))
	k.connect(root, worker)
	s := k.stuck(worker, "stuck")
	w, _ := k.wire(worker, "peer", everything, `[]`)
	w.request("runs", "stuck", "")
	recv(k, s.started, "the handler's start")
	w.request("waits", "stuck", "")
	w.flush()
	c := k.call(k.ctx, root, "stuck", "")
	recv(k, s.started, "another link's handler's start")
	link := worker.Link("peer")
	closed := make(chan error, 1)
	go func() { closed <- link.Close() }()
	reply := w.expect(bus.ExecuteResponse)
	if reply.Thread == "runs" { // the handler that was cancelled may answer first
		require.NotNil(k.t, reply.Fault)
		reply = w.expect(bus.ExecuteResponse)
	}
	require.Equal(k.t, "waits", reply.Thread)
	require.NotNil(k.t, reply.Fault)
	require.Equal(k.t, string(commands.ChannelDisconnected), reply.Fault.Code)
	w.expect(bus.Goodbye)
	require.NoError(k.t, recv(k, closed, "the close"))
	require.Equal(k.t, context.Canceled, recv(k, s.ended, "the handler's end"))
	require.Empty(k.t, s.started, "a refused request was run")
	s.let()
	require.NoError(k.t, recv(k, c, "the answer").err, "another link is not concerned")
}

func endsPeersHalf(k *kit) {
	for which := range 2 {
		a, b := k.registry("a"), k.registry("b")
		ab, ba := k.connect(a, b)
		halves := []*bus.Link{ab, ba}
		require.NoError(k.t, ab.Err())
		require.NoError(k.t, halves[which].Close())
		k.awaits(halves[1-which].Done(), "the peer's half's end")
		require.ErrorIs(k.t, halves[which].Err(), bus.ErrClosed)
		require.ErrorIs(k.t, halves[1-which].Err(), bus.ErrPeerClosed)
		require.Empty(k.t, a.Channels())
		require.Empty(k.t, b.Channels())
	}
}

func closeOnce(k *kit) {
	a, b := k.registry("a"), k.registry("b")
	toB, toA := k.pair("b", "a")
	var closes [2]atomic.Int64
	for i, ch := range []*bus.Channel{toB, toA} {
		inner := ch.Close
		ch.Close = func() error {
			closes[i].Add(1)
			if inner != nil {
				return inner()
			}
			return nil
		}
	}
	ab, ba := k.attach(a, toB), k.attach(b, toA)
	k.ready(ab, ba)
	for range 3 {
		require.NoError(k.t, ab.Close())
	}
	k.awaits(ba.Done(), "the peer's half's end")
	require.NoError(k.t, ba.Close())
	require.NoError(k.t, a.Close())
	require.NoError(k.t, b.Close())
	require.EqualValues(k.t, 1, closes[0].Load())
	require.EqualValues(k.t, 1, closes[1].Load())
}
