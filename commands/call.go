package commands

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
)

// call is a request made here that waits for its reply.
type call struct {
	exchange
	outcome outcome
	done    chan struct{} // capacity 1: outcome is set
	over    bool          // the caller's: nothing settles it any more
}

func (c *call) settle(o outcome) {
	c.outcome = o
	c.done <- struct{}{}
}

// newCall takes a call that has ended, or makes one. A call is settled at most
// once, and never after its exchange was taken back, so nothing else holds a call that is over. The pool is the registry's own: a
// channel must not leave the testing/synctest bubble that it was made in.
func (r *Registry) newCall(id string, listed bool) *call {
	c, ok := r.calls.Get().(*call)
	if !ok {
		c = &call{done: make(chan struct{}, 1)}
		c.owner = c
	}
	c.command, c.listed = id, listed
	return c
}

// release gives a call back. It is to be deferred: where the caller's goroutine panics or exits on its way, in a
// method of its context say, the exchange is taken back first; if something settles it already, the call is left to that.
func (p *peer) release(c *call) {
	if !c.over {
		if c.id == "" || !p.out.drop(&c.exchange) {
			return
		}
		p.cancelled(&c.exchange)
	}
	*c = call{exchange: exchange{owner: c}, done: c.done}
	p.r.calls.Put(c)
}

// enter counts a call in, or refuses it: after Close, and while draining
// unless something that is running has made it. Each success needs a leave.
func (r *Registry) enter(depth int, id string) error {
	r.bus.Begin()
	if !r.bus.Draining() {
		return nil
	}
	if !r.closed.Load() && depth > 0 {
		return nil
	}
	r.bus.End()
	if r.closed.Load() {
		return closedError(id)
	}
	return &Error{Code: ChannelDisconnected, Command: id, Message: "registry is shutting down"}
}

// traits are what a command says about calls of it.
type traits struct {
	ttl        time.Duration // 0: the registry's RequestTTL
	idempotent bool
	durable    bool
}

// execute calls a command: here, or wherever it is. cmd is what the table says about it.
func (r *Registry) execute(ctx context.Context, id string, cmd *command, in payload.Content, tr traits) (payload.Content, error) {
	if err := ctx.Err(); err != nil {
		return payload.Content{}, fromContext(ctx, id)
	}
	depth := bus.Depth(ctx)
	if err := r.enter(depth, id); err != nil {
		return payload.Content{}, err
	}
	defer r.bus.End()
	if cmd != nil && cmd.owner == nil {
		return r.local(ctx, cmd, in)
	}
	to, err := r.resolve(id, cmd)
	if err != nil {
		return payload.Content{}, err
	}
	if depth > bus.MaxDepth {
		return payload.Content{}, tooDeep(id)
	}
	tr.durable = tr.durable || cmd != nil && cmd.def.Durable
	return to.call(ctx, id, in, tr, cmd != nil)
}

// resolve says where a command that is not local is sent to.
func (r *Registry) resolve(id string, cmd *command) (*peer, error) {
	router := r.router.Load()
	switch {
	case id == "":
		return nil, &Error{Code: InvalidRequest, Message: "empty command ID"}
	case isPrivate(id):
		return nil, notFound(id)
	case cmd != nil:
		return cmd.owner, nil
	case router != nil:
		return router, nil
	case r.cfg.RouterChannel != "":
		return nil, disconnected(id, r.cfg.RouterChannel, bus.ErrNotConnected)
	}
	return nil, notFound(id)
}

// local runs a local command on the caller's goroutine, with its ctx.
func (r *Registry) local(ctx context.Context, cmd *command, in payload.Content) (out payload.Content, err error) {
	depth := bus.Depth(ctx)
	if depth > bus.MaxDepth {
		return payload.Content{}, tooDeep(cmd.def.ID)
	}
	run := bus.WithDepth(ctx, depth+1)
	if r.wrapped == nil {
		out, err = r.invoke(run, cmd, in, true)
	} else {
		out.Body, err = r.localWrapped(run, cmd, in.JSON(), depth)
	}
	if err != nil {
		return payload.Content{}, localFailure(ctx, cmd.def.ID, err)
	}
	return out, nil
}

// localWrapped makes the message that the handler middleware is to see.
func (r *Registry) localWrapped(ctx context.Context, cmd *command, body json.RawMessage, depth int) (json.RawMessage, error) {
	id := bus.NewID()
	m, err := bus.Binary.Marshal(bus.Envelope{ID: id, Type: bus.ExecuteRequest, Name: cmd.def.ID, Body: body,
		Depth: depth, Once: OnceKey(ctx), Metadata: bus.MetadataFrom(ctx)})
	if err != nil {
		return nil, err
	}
	m.Ack() // nothing waits for it; middleware may look
	reply, _, err := r.invokeWrapped(ctx, cmd, id, m)
	if err == nil && reply.Fault != nil {
		err = fromFault(cmd.def.ID, reply.Fault)
	}
	return reply.Body, err
}

// localFailure is what a local call returns for its handler's error: the
// caller's own cancellation as it is, an *Error for everything else.
func localFailure(ctx context.Context, id string, err error) error {
	if ctx.Err() != nil && caused(err, ctx.Err()) {
		return fromContext(ctx, id)
	}
	return failure(id, err)
}

// caused is errors.Is that survives what err's methods do.
func caused(err, target error) (is bool) {
	defer func() { _ = recover() }()
	return errors.Is(err, target)
}

// call sends the request to the peer and waits for the reply.
func (p *peer) call(ctx context.Context, id string, in payload.Content, tr traits, listed bool) (payload.Content, error) {
	ttl := tr.ttl
	if ttl <= 0 {
		ttl = p.r.cfg.RequestTTL
	}
	if err := p.unreadable(id, in); err != nil {
		return payload.Content{}, err
	}
	c := p.r.newCall(id, listed)
	defer p.release(c)
	if !p.begin(&c.exchange, "", time.Now().Add(ttl)) {
		c.over = true
		return payload.Content{}, disconnected(id, p.link.ID(), bus.ErrNotConnected)
	}
	expires := c.at
	if at, limited := ctx.Deadline(); limited && at.Before(expires) {
		expires = at
	}
	e := bus.Envelope{ID: c.id, Type: bus.ExecuteRequest, Name: id, Body: in.Body, Value: in.Value,
		Expires: expires, Depth: bus.Depth(ctx), Key: keyFrom(ctx), Idempotent: tr.idempotent,
		Durable: tr.durable, Once: onceFrom(ctx), Metadata: bus.MetadataFrom(ctx)}
	err := p.link.Post(e)
	if errors.Is(err, bus.ErrFull) {
		return p.callInTurn(ctx, c, e)
	}
	return p.sent(ctx, c, err)
}

// callInTurn sends the request when there is room for it in the link's queue.
func (p *peer) callInTurn(ctx context.Context, c *call, e bus.Envelope) (payload.Content, error) {
	c.inLine.Store(true)
	turn, ready := p.link.Wait(e), false
	defer func() {
		if !ready {
			turn.Cancel()
		}
	}()
	if out, err := p.await(ctx, c, turn.Ready()); err != errRoom {
		return out, err
	}
	ready = true
	c.inLine.Store(false)
	return p.sent(ctx, c, turn.Post(e))
}

// sent waits for the reply to a request, unless err says that it was not sent.
func (p *peer) sent(ctx context.Context, c *call, err error) (payload.Content, error) {
	if err != nil {
		if c.over = p.out.drop(&c.exchange); c.over {
			return payload.Content{}, sendFailure(c.command, p, err)
		}
	}
	return p.await(ctx, c, nil)
}

var errRoom = errors.New("it is the caller's turn to send")

// await waits for the outcome, or for room to send the request, which it
// reports as errRoom. A caller that leaves takes the exchange along, unless the
// outcome was faster.
func (p *peer) await(ctx context.Context, c *call, room <-chan struct{}) (payload.Content, error) {
	left := ctx.Done()
	if left == nil && room == nil {
		<-c.done // a select is dearer
	} else {
		select {
		case <-c.done:
		case <-room:
			return payload.Content{}, errRoom
		case <-left:
			if c.over = p.out.drop(&c.exchange); c.over {
				p.cancelled(&c.exchange)
				return payload.Content{}, fromContext(ctx, c.command)
			}
			<-c.done
		}
	}
	c.over = true
	if o := &c.outcome; o.err == nil && !o.free {
		p.r.bus.Cause(ctx).Emitted() // by the handler that has answered
	}
	if err := c.outcome.failed(c.command); err != nil {
		return payload.Content{}, err
	}
	return c.outcome.Content, nil
}

// sendFailure is the error of a request that the link did not take.
func sendFailure(id string, p *peer, err error) *Error {
	switch {
	case errors.Is(err, bus.ErrClosed):
		return disconnected(id, p.link.ID(), err)
	case errors.Is(err, bus.ErrTooLarge):
		return &Error{Code: InvalidRequest, Command: id, Message: err.Error(), Err: err}
	}
	return &Error{Code: Internal, Command: id, Message: err.Error(), Err: err}
}

func tooDeep(id string) *Error {
	return &Error{Code: Internal, Command: id, Message: "calls are nested too deeply: more than 16 handlers and listeners wait for each other"}
}
