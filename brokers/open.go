package brokers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Open connects to the broker that the URL names, by its scheme:
//
//	nats://, tls://                   NATS core
//	nats+jetstream://, jetstream://, jetstream+tls://   NATS JetStream
//	redis://, rediss://               Redis Streams
//	amqp://, amqps://                 RabbitMQ
//	postgres://, postgresql://        Postgres
//	kafka://, kafka+tls://            Kafka, with commas between several host:port
//	memory://, gochannel://           this process only, each Open for itself
//
// ctx bounds the connecting only. A broker that is not there is an error; one
// that goes away later is waited for. No error, here or later, shows the user, a password or a
// parameter that could hold one; errors name scheme and hosts. They wrap ErrUnknownScheme, or ctx's
// own, where that is the reason. In a user, a password and a parameter the characters / ? # @ and % are
// percent-encoded: a URL that is ambiguous without that is refused.
func Open(ctx context.Context, url string, opts ...Options) (*Broker, error) {
	var o Options
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		return nil, fmt.Errorf("open broker: %d options", len(opts))
	}
	named := o.Namespace != ""
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open broker: %w", err)
	}
	a, err := parseAddress(url)
	connect, known := schemes[a.scheme]
	if !known {
		return nil, errScheme(url, a)
	}
	if err != nil {
		return nil, fmt.Errorf("open broker %s: %w", a, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open broker %s: %w", a, err)
	}
	b := newBroker(o)
	b.named = named
	if err := b.open(ctx, a, connect); err != nil {
		return nil, fmt.Errorf("open broker %s: %w", a, b.secrets.error(err))
	}
	return b, nil
}

// errScheme says what is wrong with a URL that Open does not know, and what one looks like.
func errScheme(url string, a address) error {
	if scheme := strings.ToLower(url); schemes[scheme] != nil {
		example := scheme + "://HOST:PORT"
		if scheme == "memory" || scheme == "gochannel" {
			example = scheme + "://"
		}
		return fmt.Errorf("open broker %q: no URL; one looks like %s", url, example)
	}
	all := strings.Join(slices.Sorted(maps.Keys(schemes)), ", ")
	if !strings.Contains(url, "://") {
		return fmt.Errorf("open broker %s: %w; a URL looks like nats://HOST:PORT, and there are %s", a, ErrUnknownScheme, all)
	}
	return fmt.Errorf("open broker %s: %w; there are %s", a, ErrUnknownScheme, all)
}

type opener func(ctx context.Context, a address, s *shared) (backend, error)

// open connects. Its error may show what is secret.
func (b *Broker) open(ctx context.Context, a address, connect opener) error {
	b.secrets.add(a.secrets())
	opts := b.opts
	opts.Logger = b.secrets.logger(opts.Logger)
	dialer := newDialer(ctx, opts.Dial)
	s := &shared{opts: opts, gap: b.noteGap, lost: &b.lost, trimmed: &b.trimmed, secrets: b.secrets, dialer: dialer}
	s.login = newLogin(a, s)
	var err error
	b.backend, err = connected(ctx, a, connect, s)
	if held := dialer.opened(); !held && err == nil {
		err = errors.Join(ctx.Err(), b.backend.close())
	}
	if why := over(ctx); err != nil && why != nil && !errors.Is(err, why) {
		err = fmt.Errorf("%w: %w", why, err)
	}
	return err
}

// over is ctx.Err, also where the deadline has passed and a busy machine has not come to say so: a client that has a timeout of its own may
// be there first.
func over(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// connected runs an opener. A client that panics must not do so with a password in its text.
func connected(ctx context.Context, a address, connect opener, s *shared) (b backend, err error) {
	defer func() {
		if p := recover(); p != nil {
			b, err = nil, fmt.Errorf("panic: %v", p)
		}
	}()
	return connect(ctx, a, s)
}

var schemes = map[string]opener{
	"nats":           openNATS,
	"tls":            openNATS,
	"nats+jetstream": openJetStream,
	"jetstream":      openJetStream,
	"jetstream+tls":  openJetStream,
	"redis":          openRedis,
	"rediss":         openRedis,
	"amqp":           openAMQP,
	"amqps":          openAMQP,
	"postgres":       openPostgres,
	"postgresql":     openPostgres,
	"kafka":          openKafka,
	"kafka+tls":      openKafka,
	"memory":         openMemory,
	"gochannel":      openGoChannel,
}
