package pairingtest

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

func callRules() []group {
	return []group{
		{"rule01_order_of_resolution", []statement{
			{"local_handler_first", localFirst, nil},
			{"known_remote_before_the_router", remoteBeforeRouter, nil},
			{"router_for_what_is_unknown", routerForUnknown, nil},
			{"not_found_at_a_root", notFoundAtRoot, nil},
			{"channel_disconnected_without_the_router", routerDown, nil},
		}},
		{"rule02_every_remote_call_ends", []statement{
			{"timeout_on_an_idle_registry", timeoutOnIdle, nil},
			{"timeout_of_the_command", timeoutOfCommand, nil},
			{"deadline_of_the_caller", deadlineOfCaller, nil},
			{"cancellation_by_the_caller", cancelledByCaller, nil},
			{"ended_before_it_began", endedBefore, nil},
			{"timeout_behind_a_relay_leaves_no_route", timeoutBehindRelay, nil},
			{"a_send_that_fails", sendFails, nil},
			{"reply_and_timeout_racing", replyRacesTimeout, nil},
			{"ten_thousand_calls_with_random_cancellation", tenThousandCalls, nil},
			{"a_local_call_is_a_function_call", localCall, nil},
		}},
	}
}

func localFirst(k *kit) {
	r := k.registry("r")
	k.says(r, "who", `"here"`)
	w, _ := k.wire(r, "peer", everything, `[{"id":"who"}]`)
	require.Equal(k.t, `"here"`, k.ok(r, "who", ""))
	require.Zero(k.t, w.received(bus.ExecuteRequest))
}

func remoteBeforeRouter(k *kit) {
	rs := k.chain(3)
	k.says(rs[2], "who", `"leaf"`)
	forwarded := rs[0].Stats().Forwarded
	require.Equal(k.t, `"leaf"`, k.ok(rs[1], "who", ""))
	require.Equal(k.t, forwarded, rs[0].Stats().Forwarded, "the call went through the router")
}

func routerForUnknown(k *kit) {
	root, worker := k.couple()
	k.says(root, "who", `"root"`)
	k.flush(root)
	k.flush(worker)
	require.Equal(k.t, `"root"`, k.ok(worker, "who", ""))
}

func notFoundAtRoot(k *kit) {
	root, worker := k.couple()
	k.fails(root, "nobody.has.this", commands.ErrNotFound)
	k.fails(worker, "nobody.has.this", commands.ErrNotFound)
}

func routerDown(k *kit) {
	worker := k.registry("worker", under("root"))
	k.fails(worker, "some.command", commands.ErrChannelDisconnected)
	leaf := k.registry("leaf", under("worker"))
	k.connect(worker, leaf)
	k.fails(leaf, "some.command", commands.ErrChannelDisconnected)
}

func timeoutOnIdle(k *kit) {
	k.longer("a request is sent before its TTL ends", func(ttl time.Duration) bool {
		r := k.registry("r", requestTTL(ttl))
		w, _ := k.wire(r, "mute", everything, `[{"id":"slow"}]`)
		err := k.fails(r, "slow", commands.ErrTimeout)
		require.ErrorIs(k.t, err, context.DeadlineExceeded)
		k.settled(r)
		w.flush()
		if w.received(bus.ExecuteRequest) == 0 { // its time was over before it could be sent
			return false
		}
		request, cancel := w.expect(bus.ExecuteRequest), w.expect(bus.Cancel)
		require.Equal(k.t, request.ID, cancel.Thread, "the peer is told that nobody waits")
		return true
	})
}

func timeoutOfCommand(k *kit) {
	r := k.registry("r")
	k.wire(r, "mute", everything, `[{"id":"slow"}]`)
	slow := commands.Define[commands.Void, commands.Void]("slow", "", commands.Options{TTL: k.brief()})
	_, err := commands.Execute(k.ctx, r, slow, commands.Void{})
	require.ErrorIs(k.t, err, commands.ErrTimeout)
	require.NoError(k.t, k.ctx.Err())
	k.settled(r)
}

func deadlineOfCaller(k *kit) {
	r := k.registry("r")
	w, _ := k.wire(r, "mute", everything, `[{"id":"slow"}]`)
	k.longer("a request is sent before the caller's deadline", func(d time.Duration) bool {
		ctx, cancel := context.WithTimeout(k.ctx, d)
		defer cancel()
		_, err := r.ExecuteRaw(ctx, "slow", nil)
		require.ErrorIs(k.t, err, commands.ErrTimeout)
		require.ErrorIs(k.t, err, context.DeadlineExceeded)
		k.settled(r)
		w.flush()
		if w.received(bus.ExecuteRequest) == 0 { // its time was over before it could be sent
			return false
		}
		request := w.expect(bus.ExecuteRequest)
		require.Positive(k.t, request.Deadline)
		require.LessOrEqual(k.t, request.Deadline, d)
		return true
	})
}

func cancelledByCaller(k *kit) {
	r := k.registry("r")
	w, _ := k.wire(r, "mute", everything, `[{"id":"slow"}]`)
	ctx, cancel := context.WithCancel(k.ctx)
	c := k.call(ctx, r, "slow", "")
	request := w.expect(bus.ExecuteRequest)
	cancel()
	require.Equal(k.t, context.Canceled, recv(k, c, "the answer").err, "the caller's own error as it is")
	require.Equal(k.t, request.ID, w.expect(bus.Cancel).Thread)
	k.settled(r)
}

func endedBefore(k *kit) {
	_, worker := k.couple()
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	_, err := worker.ExecuteRaw(ctx, "x", nil)
	require.Equal(k.t, context.Canceled, err)
	ctx, cancel = context.WithDeadline(k.ctx, time.Unix(0, 0))
	defer cancel()
	_, err = worker.ExecuteRaw(ctx, "x", nil)
	require.ErrorIs(k.t, err, commands.ErrTimeout)
	k.settled(worker)
}

func timeoutBehindRelay(k *kit) {
	rs := k.chain(2, requestTTL(k.brief()))
	k.wire(rs[0], "mute", everything, `[{"id":"slow"}]`)
	k.fails(rs[1], "slow", commands.ErrTimeout)
	k.settled(rs...)
}

// broken is a publisher that fails once it is told to.
type broken struct {
	message.Publisher
	mu   sync.Mutex
	fail bool // guarded by mu
}

func (b *broken) breaks() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = true
}

func (b *broken) Publish(topic string, ms ...*message.Message) error {
	b.mu.Lock()
	fail := b.fail
	b.mu.Unlock()
	if fail {
		return errors.New("broken on purpose")
	}
	return b.Publisher.Publish(topic, ms...)
}

func sendFails(k *kit) {
	r, origin := k.registry("r"), k.registry("origin", under("r"))
	k.connect(r, origin)
	toPeer, toRegistry := k.pair("peer", "r")
	b := &broken{Publisher: toPeer.Publisher}
	toPeer.Publisher = b
	link := k.attach(r, toPeer)
	k.play(toRegistry, everything, `[{"id":"x"}]`)
	k.ready(link)
	b.breaks()
	k.fails(r, "x", commands.ErrChannelDisconnected)
	k.fails(origin, "x", commands.ErrChannelDisconnected)
	k.settled(r, origin)
	require.Positive(k.t, link.Stats().Unsent)
}

func replyRacesTimeout(k *kit) {
	root, worker := k.couple()
	k.echo(worker, "echo")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range k.volume(500) {
				ctx, cancel := context.WithTimeout(k.ctx, time.Duration(rand.IntN(400))*time.Microsecond)
				body, err := root.ExecuteRaw(ctx, "echo", encoded("1"))
				cancel()
				if err == nil && string(body) != "1" || err != nil && !errors.Is(err, commands.ErrTimeout) {
					k.t.Errorf("result %q, error %v", body, err)
				}
			}
		})
	}
	wg.Wait()
	k.settled(root, worker)
	require.Equal(k.t, "1", k.ok(root, "echo", "1"))
}

func tenThousandCalls(k *kit) {
	rs := k.chain(3, inFlight(16))
	k.raw(rs[2], "work", func(ctx context.Context, req json.RawMessage) (json.RawMessage, error) {
		if string(req) == `"wait"` {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return req, nil
	})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for range k.volume(100) {
				k.randomCall(rs[rand.IntN(3)])
			}
		})
	}
	wg.Wait()
	k.settled(rs...)
	require.Equal(k.t, "1", k.ok(rs[0], "work", "1"))
}

// randomCall makes a call that ends by itself or by its caller's hand.
func (k *kit) randomCall(r *commands.Registry) {
	ctx, cancel := context.WithCancel(k.ctx)
	defer cancel()
	req := "1"
	switch rand.IntN(3) {
	case 0:
		req = `"wait"`
		go cancel()
	case 1:
		go cancel()
	}
	body, err := r.ExecuteRaw(ctx, "work", encoded(req))
	if err == nil && string(body) != req || err != nil && !errors.Is(err, context.Canceled) {
		k.t.Errorf("request %s: result %q, error %v", req, body, err)
	}
}

func localCall(k *kit) {
	r := k.registry("r", requestTTL(time.Nanosecond))
	type key struct{}
	type thing struct{ N *int }
	same := commands.Define[thing, thing]("same", "")
	ctx := context.WithValue(k.ctx, key{}, "the caller's")
	bare, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	require.NoError(k.t, commands.Register(k.ctx, r, same, func(ctx context.Context, in thing) (thing, error) {
		if _, bounded := ctx.Deadline(); bounded || ctx.Value(key{}) != "the caller's" {
			return in, errors.New("not the caller's ctx")
		}
		return in, nil
	}))
	n := 1
	out, err := commands.Execute(bare, r, same, thing{&n})
	require.NoError(k.t, err)
	require.Same(k.t, &n, out.N, "nothing is encoded")
	k.raw(r, "panics", func(context.Context, json.RawMessage) (json.RawMessage, error) { panic("on purpose") })
	k.fails(r, "panics", commands.ErrInternal)
}
