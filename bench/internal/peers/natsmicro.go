package peers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// NATSMicro is a NATS micro service on a server in this process, over connections that are in-process too. Each
// further hop is a service that asks the next.
func NATSMicro(s Setup) (Peer, error) {
	s = s.withDefaults()
	srv, err := StartNATS()
	if err != nil {
		return nil, err
	}
	n := &natsMicro{server: srv, request: request(s.Payload)}
	if err := n.start(s.Hops); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// StartNATS starts a server that listens nowhere.
func StartNATS() (*server.Server, error) {
	srv, err := server.NewServer(&server.Options{ServerName: "bench", DontListen: true, NoLog: true, NoSigs: true})
	if err != nil {
		return nil, err
	}
	srv.Start()
	if !srv.ReadyForConnections(time.Minute) {
		srv.Shutdown()
		return nil, errors.New("nats: the server does not come up")
	}
	return srv, nil
}

type natsMicro struct {
	server      *server.Server
	request     Sum
	send        func(context.Context, []byte) ([]byte, error)
	services    []micro.Service
	connections []*nats.Conn
}

func (n *natsMicro) start(hops int) error {
	serve := addJSON
	for i := range hops {
		subject := fmt.Sprintf("math.add.%d", i)
		if err := n.serve(subject, serve); err != nil {
			return err
		}
		client, err := n.connect()
		if err != nil {
			return err
		}
		serve = func(ctx context.Context, body []byte) ([]byte, error) {
			m, err := client.RequestWithContext(ctx, subject, body)
			if err != nil {
				return nil, err
			}
			return m.Data, nil
		}
	}
	n.send = serve
	return nil
}

func (n *natsMicro) connect() (*nats.Conn, error) {
	c, err := nats.Connect("", nats.InProcessServer(n.server))
	if err == nil {
		n.connections = append(n.connections, c)
	}
	return c, err
}

func (n *natsMicro) serve(subject string, work func(context.Context, []byte) ([]byte, error)) error {
	c, err := n.connect()
	if err != nil {
		return err
	}
	service, err := micro.AddService(c, micro.Config{Name: "math", Version: "1.0.0"})
	if err != nil {
		return err
	}
	n.services = append(n.services, service)
	handler := micro.HandlerFunc(func(r micro.Request) {
		body, err := work(context.Background(), r.Data())
		if err != nil {
			_ = r.Error("500", err.Error(), nil)
			return
		}
		_ = r.Respond(body)
	})
	if err := service.AddEndpoint("add", handler, micro.WithEndpointSubject(subject)); err != nil {
		return err
	}
	return c.Flush() // the server knows the subscription
}

func (n *natsMicro) Call(ctx context.Context) error { return callJSON(ctx, n.request, n.send) }

func (n *natsMicro) Close() {
	for _, s := range n.services {
		_ = s.Stop()
	}
	for _, c := range n.connections {
		c.Close()
	}
	n.server.Shutdown()
	n.server.WaitForShutdown()
}
