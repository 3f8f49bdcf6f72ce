package peers

import (
	"context"
	"encoding/json"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

// GRPC is gRPC over bufconn. Its codec is JSON, so that encoding is the same work as for the others. Each further hop
// is a server that calls the next.
func GRPC(s Setup) (Peer, error) {
	s = s.withDefaults()
	g := &grpcPeer{request: request(s.Payload)}
	work := add
	for range s.Hops {
		conn, err := g.connect(work)
		if err != nil {
			g.Close()
			return nil, err
		}
		work = func(ctx context.Context, q Sum) (int, error) {
			var n int
			err := conn.Invoke(ctx, "/math/add", &q, &n)
			return n, err
		}
	}
	g.call = work
	return g, nil
}

type grpcPeer struct {
	request     Sum
	call        func(context.Context, Sum) (int, error)
	servers     []*grpc.Server
	connections []*grpc.ClientConn
	running     sync.WaitGroup
}

type adder interface {
	add(context.Context, Sum) (int, error)
}

type adderFunc func(context.Context, Sum) (int, error)

func (f adderFunc) add(ctx context.Context, s Sum) (int, error) { return f(ctx, s) }

// service describes math/add by hand: there is nothing in it that needs a generator.
var service = grpc.ServiceDesc{
	ServiceName: "math",
	HandlerType: (*adder)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "add",
		Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var s Sum
			if err := decode(&s); err != nil {
				return nil, err
			}
			n, err := srv.(adder).add(ctx, s)
			return &n, err
		},
	}},
}

func (g *grpcPeer) connect(work adderFunc) (*grpc.ClientConn, error) {
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.ForceServerCodec(jsonCodec{}))
	server.RegisterService(&service, work)
	g.servers = append(g.servers, server)
	g.running.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(jsonCodec{})))
	if err == nil {
		g.connections = append(g.connections, conn)
	}
	return conn, err
}

func (g *grpcPeer) Call(ctx context.Context) error { return check(g.call(ctx, g.request)) }

func (g *grpcPeer) Close() {
	for _, c := range g.connections {
		_ = c.Close()
	}
	for _, s := range g.servers {
		s.Stop()
	}
	g.running.Wait()
}

type jsonCodec struct{}

func (jsonCodec) Name() string                    { return "json" }
func (jsonCodec) Marshal(v any) ([]byte, error)   { return json.Marshal(v) }
func (jsonCodec) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }
