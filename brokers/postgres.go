package brokers

import (
	"cmp"
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"maps"
	"net/url"
	"strings"
	"sync"
	"time"

	wmsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgres is one table of messages for the namespace; see pgSchema.
type postgres struct {
	shared  *shared
	schema  pgSchema
	publish *sql.DB
	fanout  *sql.DB // what subscriptions poll with
	groups  *sql.DB // one connection for each message of a group that is out
	notify  *sql.DB // its commits wait for no disk
	pub     *wmsql.Publisher
	bell    *pgBell
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// Connections at most. Those of groups are as many as there are subscriptions:
// each holds one while its message is out, and none may wait for another.
const (
	pgPublishConns = 8
	pgFanoutConns  = 16
	pgNotifyConns  = 2
)

func openPostgres(ctx context.Context, a address, s *shared) (backend, error) {
	config, err := postgresConfig(a, s)
	if err != nil {
		return nil, err
	}
	if _, named := config.RuntimeParams["application_name"]; !named {
		config.RuntimeParams["application_name"] = "leat " + s.opts.Namespace
	}
	hasty := config.Copy()
	hasty.RuntimeParams["synchronous_commit"] = "off"
	p := &postgres{
		shared:  s,
		schema:  newPgSchema(s.opts.Namespace),
		publish: s.pgPool(config, pgPublishConns),
		fanout:  s.pgPool(config, pgFanoutConns),
		groups:  s.pgPool(config, 0),
		notify:  s.pgPool(hasty, pgNotifyConns),
		bell:    newPgBell(config, s),
	}
	running, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	if err = p.schema.create(ctx, p.publish); err == nil {
		err = p.bell.connect(ctx)
	}
	if err == nil {
		p.pub, err = wmsql.NewPublisher(p.publish, wmsql.PublisherConfig{SchemaAdapter: p.schema}, adapterLog(s.opts.Logger))
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.workers.Go(func() { p.bell.listen(running) })
	p.workers.Go(func() { p.trim(running) })
	return p, nil
}

// postgresConfig has the client's own parser read what it knows: parameters, the environment and its files of passwords.
func postgresConfig(a address, s *shared) (*pgx.ConnConfig, error) {
	query := maps.Clone(a.query)
	if s.opts.TLS != nil { // no parameter that is about it counts then
		maps.DeleteFunc(query, func(name string, _ []string) bool { return strings.HasPrefix(name, "ssl") })
		query.Set("sslmode", "verify-full")
	}
	if len(a.hosts) > 0 {
		hosts, ports := make([]string, len(a.hosts)), make([]string, len(a.hosts))
		for i, host := range a.hosts {
			u := url.URL{Host: host}
			hosts[i], ports[i] = cmp.Or(u.Hostname(), "localhost"), cmp.Or(u.Port(), "5432")
		}
		query.Set("host", strings.Join(hosts, ","))
		query.Set("port", strings.Join(ports, ","))
	}
	user := a.user
	if l := s.login; l.given && l.ask == nil {
		user = url.UserPassword(l.user, l.password)
	}
	u := url.URL{Scheme: "postgres", User: user, Path: "/" + a.path, RawQuery: query.Encode()}
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, err
	}
	s.secrets.add(nil, []string{config.Password}) // it may be one of those
	if s.opts.TLS != nil {
		config.TLSConfig = s.pgTLS(config.TLSConfig)
		for _, f := range config.Fallbacks {
			f.TLSConfig = s.pgTLS(f.TLSConfig)
		}
	}
	if s.opts.Dial != nil {
		config.DialFunc = s.opts.Dial
		config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	}
	return config, nil
}

// pgTLS is Options.TLS for one host: nil for a socket.
func (s *shared) pgTLS(parsed *tls.Config) *tls.Config {
	if parsed == nil {
		return nil
	}
	return s.tls(parsed.ServerName)
}

// pgLogin is called before each connection.
func (s *shared) pgLogin(ctx context.Context, config *pgx.ConnConfig) (err error) {
	if s.login.ask != nil {
		config.User, config.Password, err = s.login.get(ctx)
	}
	return err
}

func (s *shared) pgPool(config *pgx.ConnConfig, conns int) *sql.DB {
	db := stdlib.OpenDB(*config.Copy(), stdlib.OptionBeforeConnect(s.pgLogin))
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(max(conns, 4))
	return db
}

// Publish rings the bell in a transaction of its own: within the insert, the
// lock that NOTIFY takes would let the whole database commit one at a time.
func (p *postgres) Publish(topic string, messages ...*message.Message) error {
	all, err := encodeAll(messages, pgMaxBytes, func(m *message.Message) (encoded[*message.Message], error) { return encodePg(m), nil })
	if err != nil {
		return err
	}
	err = inWindows(all, func(window []*message.Message) (int, error) { return 0, p.pub.Publish(topic, window...) })
	if part := new(partError); err != nil && !(errors.As(err, &part) && part.done > 0) {
		return err
	}
	p.bell.ring(topic)
	if _, err := p.notify.Exec(`SELECT pg_notify($1, $2)`, p.shared.opts.Namespace, topic); err != nil {
		p.shared.opts.Logger.Debug("notify", "topic", topic, "error", err) // they poll
	}
	return err
}

// pgMaxBytes bounds a message. The server takes up to 1 GB in a field, and has it in memory several times.
const pgMaxBytes = 256 << 20

// maxBytes is a bound of leat's own, below the server's.
func (*postgres) maxBytes(string) int { return pgMaxBytes }

// encodePg escapes what is no text.
func encodePg(m *message.Message) encoded[*message.Message] {
	row := &message.Message{UUID: escapeText(m.UUID), Payload: m.Payload, Metadata: make(message.Metadata, len(m.Metadata))}
	size := len(row.UUID) + len(row.Payload)
	for k, v := range m.Metadata {
		k, v = escapeText(k), escapeText(v)
		row.Metadata[k] = v
		size += len(k) + len(v) + pgEntry
	}
	return encoded[*message.Message]{row, size}
}

// pgEntry is what an entry of metadata takes beside its texts, in bytes.
const pgEntry = 6

func (*postgres) transient(err error) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return true
	}
	return strings.HasPrefix(answer.Code, "08") || strings.HasPrefix(answer.Code, "57P") // connection, shutdown
}

// pgPoll is how often subscriptions look when no bell rings.
const pgPoll = time.Second

func (p *postgres) subscribe(ctx context.Context, topic, group string, _ bool) (*source, error) {
	db, wait := p.fanout, forever
	schema := pgSubscription{pgSchema: p.schema, group: group}
	if group != "" {
		db, wait = p.groups, p.shared.opts.AckWait
	} else if err := schema.start(ctx, db, topic); err != nil {
		return nil, err
	}
	woken, hang := p.bell.hear(topic)
	waiting := &pgWait{ctx: ctx, woken: woken, shared: p.shared, turn: make(chan struct{})}
	sub, err := wmsql.NewSubscriber(db, wmsql.SubscriberConfig{
		ConsumerGroup:  group,
		AckDeadline:    &wait,
		ResendInterval: nackPause,
		BackoffManager: waiting,
		SchemaAdapter:  &schema,
		OffsetsAdapter: &schema,
	}, adapterLog(p.shared.opts.Logger))
	var messages <-chan *message.Message
	if err == nil {
		messages, err = sub.Subscribe(ctx, topic)
	}
	if err != nil {
		hang()
		return nil, err
	}
	return &source{messages: messages, probe: group == "", settled: waiting.idle, close: func() error {
		hang()
		return sub.Close()
	}}, nil
}

// pgWait is what a subscription does between two queries. The adapter would
// sleep for what HandleError returns.
type pgWait struct {
	ctx    context.Context
	woken  <-chan struct{}
	shared *shared

	mu   sync.Mutex
	turn chan struct{} // guarded by mu: closed between two queries
}

func (w *pgWait) HandleError(_ adapterLogger, noMessage bool, err error) time.Duration {
	w.mu.Lock()
	close(w.turn)
	w.mu.Unlock()
	if err != nil || noMessage {
		w.wait(err)
	}
	w.mu.Lock()
	w.turn = make(chan struct{})
	w.mu.Unlock()
	return 0
}

func (w *pgWait) wait(err error) {
	if err != nil && w.ctx.Err() == nil {
		w.shared.opts.Logger.Debug("poll", "error", err)
	}
	timer := time.NewTimer(pgPoll)
	defer timer.Stop()
	select {
	case <-w.woken:
	case <-timer.C:
	case <-w.ctx.Done():
	}
}

// idle is closed when no query and its messages are under way.
func (w *pgWait) idle() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.turn
}

// trim removes what is too old.
func (p *postgres) trim(ctx context.Context) {
	retention := p.shared.opts.Retention
	tick := time.NewTicker(max(retention/10, time.Second))
	defer tick.Stop()
	for {
		if err := p.schema.trim(ctx, p.notify, retention); err != nil && ctx.Err() == nil {
			p.shared.opts.Logger.Debug("trim", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (*postgres) flush(context.Context) error { return nil }

func (p *postgres) close() error {
	p.cancel()
	p.workers.Wait()
	errs := []error{p.bell.close()}
	for _, db := range []*sql.DB{p.publish, p.fanout, p.groups, p.notify} {
		errs = append(errs, db.Close())
	}
	if err := errors.Join(errs...); err != nil { // of connections that are broken, say
		p.shared.opts.Logger.Debug("disconnect", "error", err)
	}
	return nil
}

func (*postgres) naming() naming         { return plainNames }
func (*postgres) guarantees() Guarantees { return postgresGuarantees }
