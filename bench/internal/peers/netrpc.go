package peers

import (
	"context"
	"errors"
	"net"
	"net/rpc"
	"sync"
)

// NetRPC is net/rpc with its own encoding, gob, over net.Pipe. Each further hop is a server that calls the next.
func NetRPC(s Setup) (Peer, error) {
	s = s.withDefaults()
	n := &netRPC{request: request(s.Payload)}
	work := func(q Sum) (int, error) { return add(context.Background(), q) }
	for range s.Hops {
		client, err := n.connect(&RPCMath{work})
		if err != nil {
			n.Close()
			return nil, err
		}
		n.client = client
		work = func(q Sum) (sum int, err error) { err = client.Call("Math.Add", q, &sum); return sum, err }
	}
	return n, nil
}

// RPCMath is the service; net/rpc wants it exported.
type RPCMath struct{ work func(Sum) (int, error) }

// Add implements the service's only method.
func (m *RPCMath) Add(s Sum, sum *int) (err error) {
	*sum, err = m.work(s)
	return err
}

type netRPC struct {
	request Sum
	client  *rpc.Client // of the first hop
	clients []*rpc.Client
	running sync.WaitGroup
}

func (n *netRPC) connect(m *RPCMath) (*rpc.Client, error) {
	server := rpc.NewServer()
	if err := server.RegisterName("Math", m); err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	n.running.Go(func() { server.ServeConn(there) })
	client := rpc.NewClient(here)
	n.clients = append(n.clients, client)
	return client, nil
}

func (n *netRPC) Call(ctx context.Context) error {
	call := n.client.Go("Math.Add", &n.request, new(int), make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
	case <-ctx.Done():
		return ctx.Err()
	}
	sum, ok := call.Reply.(*int)
	if !ok {
		return errors.New("netrpc: no reply")
	}
	return check(*sum, call.Error)
}

func (n *netRPC) Close() {
	for _, c := range n.clients {
		_ = c.Close()
	}
	n.running.Wait()
}
