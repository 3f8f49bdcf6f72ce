package brokers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
// that goes away later is waited for. Errors name the URL without what could be a password; they
// wrap ErrUnknownScheme, or ctx's own, where that is the reason.
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
		return nil, errScheme(url)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open broker %s: %w", redacted(url), err)
	}
	b := newBroker(o)
	dialer := newDialer(ctx)
	b.backend, err = connect(ctx, url, &shared{opts: o, gap: b.noteGap, lost: &b.lost, dialer: dialer})
	if held := dialer.opened(); !held && err == nil {
		err = errors.Join(ctx.Err(), b.backend.close())
	}
	if err != nil {
		if why := ctx.Err(); why != nil && !errors.Is(err, why) {
			err = fmt.Errorf("%w: %w", why, err)
		}
		return nil, fmt.Errorf("open broker %s: %w", redacted(url), err)
	}
	return b, nil
}

// errScheme says what is wrong with a URL that Open does not know, and what one looks like.
func errScheme(url string) error {
	if scheme := strings.ToLower(url); schemes[scheme] != nil {
		example := scheme + "://HOST:PORT"
		if scheme == "memory" || scheme == "gochannel" {
			example = scheme + "://"
		}
		return fmt.Errorf("open broker %q: no URL; one looks like %s", url, example)
	}
	all := strings.Join(slices.Sorted(maps.Keys(schemes)), ", ")
	if !strings.Contains(url, "://") {
		return fmt.Errorf("open broker %q: %w; a URL looks like nats://HOST:PORT, and there are %s", redacted(url), ErrUnknownScheme, all)
	}
	return fmt.Errorf("open broker %q: %w; there are %s", redacted(url), ErrUnknownScheme, all)
}

var errNoHost = errors.New("no host in the URL")

// redacted is a URL without what could be a password.
func redacted(url string) string {
	url, _, _ = strings.Cut(url, "?")
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
