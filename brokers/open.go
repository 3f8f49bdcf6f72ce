package brokers

import (
	"context"
	"fmt"
	"strings"
)

// Open connects to the broker that the URL names, by its scheme:
//
//	nats://, tls://                   NATS core
//	nats+jetstream://, jetstream://   NATS JetStream
//	redis://, rediss://               Redis Streams
//	amqp://, amqps://                 RabbitMQ
//	postgres://, postgresql://        Postgres
//	kafka://                          Kafka, with commas between several host:port
//	memory://, gochannel://           this process only, each Open for itself
//
// ctx bounds the connecting only. A broker that is not there is an error; one
// that goes away later is waited for.
func Open(ctx context.Context, url string, opts ...Options) (*Broker, error) {
	var o Options
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		return nil, fmt.Errorf("open broker: %d options", len(opts))
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open broker: %w", err)
	}
	scheme, _, found := strings.Cut(url, "://")
	connect, known := schemes[strings.ToLower(scheme)]
	if !found || !known {
		return nil, fmt.Errorf("open broker: unknown scheme in %q", redacted(url))
	}
	b := newBroker(o)
	b.backend, err = within(ctx, func() (backend, error) {
		return connect(ctx, url, &shared{opts: o, gap: b.noteGap, lost: &b.lost})
	})
	if err != nil {
		return nil, fmt.Errorf("open %s broker: %w", scheme, err)
	}
	return b, nil
}

// within returns when ctx ends, at the latest: a client that waits for an answer may have no way to be told. What it
// opens nevertheless is closed.
func within(ctx context.Context, connect func() (backend, error)) (backend, error) {
	type result struct {
		backend backend
		err     error
	}
	opened := make(chan result, 1)
	go func() {
		b, err := connect()
		opened <- result{b, err}
	}()
	select {
	case r := <-opened:
		return r.backend, r.err
	case <-ctx.Done():
		go func() {
			if r := <-opened; r.err == nil {
				_ = r.backend.close()
			}
		}()
		return nil, ctx.Err()
	}
}

// redacted is a URL without what could be a password.
func redacted(url string) string {
	scheme, rest, found := strings.Cut(url, "://")
	if !found {
		return strings.SplitN(url, ":", 2)[0] + "…"
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "…" + rest[at:]
	}
	return scheme + "://" + rest
}

var schemes = map[string]func(ctx context.Context, url string, s *shared) (backend, error){
	"nats":           openNATS,
	"tls":            openNATS,
	"nats+jetstream": openJetStream,
	"jetstream":      openJetStream,
	"redis":          openRedis,
	"rediss":         openRedis,
	"amqp":           openAMQP,
	"amqps":          openAMQP,
	"postgres":       openPostgres,
	"postgresql":     openPostgres,
	"kafka":          openKafka,
	"memory":         openMemory,
	"gochannel":      openGoChannel,
}
