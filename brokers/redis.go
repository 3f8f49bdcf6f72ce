package brokers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// redisStreams has a stream for each topic, and one for each group of it.
type redisStreams struct {
	shared   *shared
	client   *redis.Client
	limit    int    // bytes of a message
	consumer string // this process, in groups
	follows  *redisReader

	mu      sync.Mutex
	queues  map[string]*redisQueue  // guarded by mu: by key
	readers map[string]*redisReader // guarded by mu: by group
}

// redisConns bounds the connections, beside those of the readers, where the URL does not say pool_size.
const redisConns = 6

func openRedis(ctx context.Context, a address, s *shared) (backend, error) {
	if err := a.single(redisParameters); err != nil {
		return nil, err
	}
	if strings.Trim(a.path, "0123456789") != "" {
		return nil, errDBNumber
	}
	options, err := redis.ParseURL(a.url(a.scheme))
	if err != nil {
		return nil, err
	}
	switch l := s.login; {
	case l.ask != nil:
		options.CredentialsProviderContext = l.get
	case l.given:
		options.Username, options.Password = l.user, l.password
	}
	if config := s.tls(a.host()); config != nil {
		options.TLSConfig = config
	}
	options.Dialer = redisDialer(s.dialer.DialContext, options.TLSConfig) // the client's own heeds no end of ctx
	options.ContextTimeoutEnabled = true
	hushRedis()
	redisSecrets.add([]string{options.Username}, []string{options.Password})
	options.ClientName = "leat-" + s.opts.Namespace
	if !a.query.Has("pool_size") {
		options.PoolSize, options.MaxActiveConns = redisConns, redisConns
	}
	client := redis.NewClient(options)
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	r := &redisStreams{shared: s, client: client, limit: redisMaxBulk(ctx, client), consumer: uuid.NewString(),
		queues: make(map[string]*redisQueue), readers: make(map[string]*redisReader)}
	if _, err := r.raise(ctx); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	r.follows = newRedisReader(r, "")
	return r, nil
}

// redisMaxBulk asks for the server's proto-max-bulk-len, and takes its default where that may not be asked for.
func redisMaxBulk(ctx context.Context, client *redis.Client) int {
	const option = "proto-max-bulk-len"
	if got, err := client.ConfigGet(ctx, option).Result(); err == nil {
		if n, err := strconv.Atoi(got[option]); err == nil && n > 0 {
			return n
		}
	}
	return 512 << 20
}

// redisDialer does what the client's own does: TLS too.
func redisDialer(dial dialFunc, config *tls.Config) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil || config == nil {
			return conn, err
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return secure, nil
	}
}

// hushRedis has the client log at Debug, as the adapters do: it has one logger for all clients of the process, which
// prints to standard error each connection that is closed while it reads, as that of a subscription which ends is.
var hushRedis = sync.OnceFunc(func() { redis.SetLogger(redisLog{}) })

type redisLog struct{}

// redisSecrets are those of all clients of the process, which share one log.
var redisSecrets secrets

func (redisLog) Printf(ctx context.Context, format string, args ...any) {
	if log := slog.Default(); log.Enabled(ctx, slog.LevelDebug) {
		log.DebugContext(ctx, redisSecrets.hide(fmt.Sprintf(format, args...)))
	}
}

func (r *redisStreams) key(topic string) string { return r.shared.opts.Namespace + ":" + topic }

// maxBytes is what the server takes as one value; payload and metadata are two.
func (r *redisStreams) maxBytes(string) int { return r.limit }

func (*redisStreams) transient(err error) bool {
	var answer redis.Error
	return !errors.Is(err, ErrQueueFull) && (!errors.As(err, &answer) || redis.HasErrorPrefix(err, "LOADING"))
}

func (r *redisStreams) subscribe(ctx context.Context, topic, group string, _ bool) (*source, error) {
	if group != "" {
		return r.subscribeGroup(ctx, topic, group)
	}
	f := &redisFollow{out: make(chan *message.Message)}
	ended, err := r.follow(ctx, topic, f)
	if err != nil {
		return nil, err
	}
	return &source{messages: f.out, probe: true, close: func() error {
		<-ended
		return nil
	}}, nil
}

// last returns the ID of the newest entry that the stream has or had.
func (r *redisStreams) last(ctx context.Context, key string) (string, error) {
	info, err := r.client.XInfoStream(ctx, key).Result()
	switch {
	case err == nil:
		return info.LastGeneratedID, nil
	case redis.HasErrorPrefix(err, "no such key"):
		return "0-0", nil
	}
	return "", fmt.Errorf("last entry of %s: %w", key, err)
}

func (*redisStreams) flush(context.Context) error { return nil }

func (r *redisStreams) close() error {
	r.follows.close()
	return r.client.Close()
}

func (*redisStreams) naming() naming         { return plainNames }
func (*redisStreams) guarantees() Guarantees { return redisGuarantees }

// redisCoder is the adapter's own, behind readable, with its reserved key escaped.
type redisCoder struct {
	redisstream.DefaultMarshallerUnmarshaller
}

// encodeRedis returns the fields of an entry, in their order, and what they weigh.
func encodeRedis(m *message.Message) (entry []any, size int, err error) {
	plain := message.NewMessage(m.UUID, m.Payload)
	plain.Metadata = escapeKeys(m.Metadata, redisstream.UUIDHeaderKey)
	fields, err := redisCoder{}.Marshal("", plain)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range [...]string{redisstream.UUIDHeaderKey, "metadata", "payload"} {
		entry = append(entry, name, fields[name])
		switch value := fields[name].(type) {
		case string:
			size += len(value)
		case []byte:
			size += len(value)
		}
	}
	return entry, size, nil
}

func (c redisCoder) Unmarshal(values map[string]any) (*message.Message, error) {
	return readable(func() (*message.Message, error) {
		m, err := c.DefaultMarshallerUnmarshaller.Unmarshal(values)
		if err == nil {
			unescapeKeys(m.Metadata)
		}
		return m, err
	}), nil
}
