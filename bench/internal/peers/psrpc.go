package peers

import (
	"context"
	"fmt"
	"time"

	"github.com/livekit/psrpc"
	"github.com/livekit/psrpc/pkg/client"
	"github.com/livekit/psrpc/pkg/info"
	"github.com/livekit/psrpc/pkg/rand"
	"github.com/livekit/psrpc/pkg/server"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// PSRPC is livekit/psrpc, request and reply over a message bus, on its bus within the process. The method is of its
// queue kind, the cheapest: no server has to claim the request first. Its messages are protobuf; the JSON is a field of one,
// so that the work is that of the others. Each further hop is a service that asks the next.
func PSRPC(s Setup) (Peer, error) {
	s = s.withDefaults()
	p := &psRPC{request: request(s.Payload)}
	serve := addJSON
	for i := range s.Hops {
		next, err := p.connect(fmt.Sprintf("math%d", i), s.Callers, serve)
		if err != nil {
			p.Close()
			return nil, err
		}
		serve = next
	}
	p.send = serve
	return p, nil
}

type psRPC struct {
	request Sum
	send    func(context.Context, []byte) ([]byte, error)
	servers []*server.RPCServer
	clients []*client.RPCClient
}

// connect starts a service on a bus of its own, and returns how to call it.
func (p *psRPC) connect(name string, callers int, serve func(context.Context, []byte) ([]byte, error)) (
	func(context.Context, []byte) ([]byte, error), error,
) {
	define := func(id string) *info.ServiceDefinition {
		d := &info.ServiceDefinition{Name: name, ID: id}
		d.RegisterMethod("add", false, false, false, true)
		return d
	}
	bus, size := psrpc.NewLocalMessageBus(), max(callers, 100)
	srv := server.NewRPCServer(define(rand.NewServerID()), bus, psrpc.WithServerChannelSize(size))
	p.servers = append(p.servers, srv)
	err := server.RegisterHandler(srv, "add", nil, func(ctx context.Context, q *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
		body, err := serve(ctx, q.Value)
		return wrapperspb.Bytes(body), err
	}, nil)
	if err != nil {
		return nil, err
	}
	c, err := client.NewRPCClient(define(rand.NewClientID()), bus,
		psrpc.WithClientChannelSize(size), psrpc.WithClientTimeout(30*time.Second))
	if err != nil {
		return nil, err
	}
	p.clients = append(p.clients, c)
	return func(ctx context.Context, body []byte) ([]byte, error) {
		reply, err := client.RequestSingle[*wrapperspb.BytesValue](ctx, c, "add", nil, wrapperspb.Bytes(body))
		if err != nil {
			return nil, err
		}
		return reply.Value, nil
	}, nil
}

func (p *psRPC) Call(ctx context.Context) error { return callJSON(ctx, p.request, p.send) }

func (p *psRPC) Close() {
	for _, c := range p.clients {
		c.Close()
	}
	for _, s := range p.servers {
		s.Close(false)
	}
}
