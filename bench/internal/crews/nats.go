package crews

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// connected is a connection that the crew closes.
func (c *Crew) connected(url string) (*nats.Conn, error) {
	conn, err := nats.Connect(url)
	if err == nil {
		c.atEnd(func() error { conn.Close(); return nil })
	}
	return conn, err
}

// natsCrew starts workers and a caller on connections.
func natsCrew(url string, workers int, subject string, serve func(*Crew, *nats.Conn) error) (*Crew, error) {
	c := &Crew{}
	for range workers {
		conn, err := c.connected(url)
		if err == nil {
			err = serve(c, conn)
		}
		if err == nil {
			err = conn.Flush() // the server knows the subscription
		}
		if err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	caller, err := c.connected(url)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	send := func(ctx context.Context, body []byte) ([]byte, error) {
		m, err := caller.RequestWithContext(ctx, subject, body)
		if err != nil {
			return nil, err
		}
		return m.Data, nil
	}
	c.Call = func(ctx context.Context) error { return askJSON(ctx, send) }
	return c, nil
}

// NATSRequest is bare request and reply, with a queue group.
func NATSRequest(_ context.Context, url string, workers int) (*Crew, error) {
	subject := "bench.add." + nats.NewInbox()
	return natsCrew(url, workers, subject, func(_ *Crew, conn *nats.Conn) error {
		_, err := conn.QueueSubscribe(subject, "workers", func(m *nats.Msg) {
			if body, err := addJSON(m.Data); err == nil {
				_ = m.Respond(body)
			}
		})
		return err
	})
}

// NATSMicro is a service of NATS's own framework.
func NATSMicro(_ context.Context, url string, workers int) (*Crew, error) {
	subject := "bench.micro." + nats.NewInbox()
	return natsCrew(url, workers, subject, func(c *Crew, conn *nats.Conn) error {
		service, err := micro.AddService(conn, micro.Config{Name: "math", Version: "1.0.0"})
		if err != nil {
			return err
		}
		c.atEnd(service.Stop)
		return service.AddEndpoint("add", micro.HandlerFunc(func(r micro.Request) {
			body, err := addJSON(r.Data())
			if err != nil {
				_ = r.Error("500", err.Error(), nil)
				return
			}
			_ = r.Respond(body)
		}), micro.WithEndpointSubject(subject))
	})
}
