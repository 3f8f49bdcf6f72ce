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

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgres is one table of messages for the namespace; see pgSchema.
type postgres struct {
	shared  *shared
	schema  pgSchema
	db      *sql.DB
	bell    *pgBell
	reader  *pgReader
	cancel  context.CancelFunc
	workers sync.WaitGroup
	making  sync.Mutex // tables are made

	mu     sync.Mutex
	queues map[pgQueueKey]*pgQueue // guarded by mu
}

// pgIdleConns bounds the connections that are kept while nothing is to be done, beside the one that listens.
const pgIdleConns = 3

func openPostgres(ctx context.Context, a address, s *shared) (backend, error) {
	config, err := postgresConfig(a, s)
	if err != nil {
		return nil, err
	}
	if _, named := config.RuntimeParams["application_name"]; !named {
		config.RuntimeParams["application_name"] = "leat " + s.opts.Namespace
	}
	db := stdlib.OpenDB(*config.Copy(), stdlib.OptionBeforeConnect(s.pgLogin))
	db.SetMaxOpenConns(s.opts.MaxConns - 1)
	db.SetMaxIdleConns(min(pgIdleConns, s.opts.MaxConns-1))
	p := &postgres{shared: s, schema: newPgSchema(s.opts.Namespace), db: db, bell: newPgBell(config, s), queues: make(map[pgQueueKey]*pgQueue)}
	p.reader = newPgReader(p)
	running, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	if err := p.begin(ctx); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.workers.Go(func() { p.bell.listen(running, p.reader.reconnected) })
	p.workers.Go(func() { p.trim(running) })
	p.workers.Go(func() { p.reader.run(running) })
	return p, nil
}

// begin makes the tables and listens. A server that has no room for a connection just now may have some soon.
func (p *postgres) begin(ctx context.Context) error {
	for pause := takePause; ; pause = min(2*pause, maxTakePause) {
		_, err := p.schema.create(ctx, p.db)
		if err == nil {
			err = p.bell.connect(ctx)
		}
		if err == nil || !pgCrowded(err) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// pgCrowded reports whether the server has refused a connection because it has as many as it takes.
func pgCrowded(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && answer.Code == "53300"
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

// Publish rings the bell in a transaction of its own: within the insert, the
// lock that NOTIFY takes would let the whole database commit one at a time.
func (p *postgres) Publish(topic string, messages ...*message.Message) error {
	return p.insert(topic, messages, p.schema.toGroups)
}

// publishTo puts messages into the queue of a group, be it there already or not.
func (p *postgres) publishTo(group, topic string, messages []*message.Message) error {
	return p.insert(topic, messages, func(topic string, messages []*message.Message) (string, []any, error) {
		return p.schema.toGroup(topic, group, messages)
	})
}

func (p *postgres) insert(topic string, messages []*message.Message, statement func(string, []*message.Message) (string, []any, error)) error {
	all, err := encodeAll(messages, pgMaxBytes, func(m *message.Message) (encoded[*message.Message], error) { return encodePg(m), nil })
	if err != nil {
		return err
	}
	ctx := context.Background()
	err = inWindows(all, func(window []*message.Message) (int, error) {
		query, args, err := statement(topic, window)
		if err == nil {
			_, err = p.db.ExecContext(ctx, query, args...)
		}
		return 0, p.mended(ctx, err)
	})
	if part := new(partError); err != nil && !(errors.As(err, &part) && part.done > 0) {
		return err
	}
	p.bell.ring(topic)
	if _, err := p.db.ExecContext(ctx, `SELECT `+pgHasty+`, pg_notify($1, $2)`, p.shared.opts.Namespace, topic); err != nil {
		p.shared.opts.Logger.Debug("notify", "topic", topic, "error", err) // they poll
	}
	return err
}

// pgHasty lets the commit of the statement wait for no disk.
const pgHasty = `set_config('synchronous_commit', 'off', true)`

// mended makes the tables again if err says that one is not there. It returns err: what has failed is to be tried again.
func (p *postgres) mended(ctx context.Context, err error) error {
	if !pgLost(err) {
		return err
	}
	p.making.Lock()
	defer p.making.Unlock()
	ctx, cancel := context.WithTimeout(ctx, leaseCall)
	defer cancel()
	made, again := p.schema.create(ctx, p.db)
	if made {
		p.shared.opts.Logger.Warn("tables were lost", "namespace", p.shared.opts.Namespace, "made_again", again == nil)
	}
	return errors.Join(err, again)
}

// pgLost reports whether a table or a column is not there.
func pgLost(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && (answer.Code == "42P01" || answer.Code == "42703")
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
	if errors.Is(err, ErrTooLarge) {
		return false
	}
	if !errors.As(err, &answer) {
		return true
	}
	switch {
	case strings.HasPrefix(answer.Code, "08"), strings.HasPrefix(answer.Code, "57P"): // connection, shutdown
	case answer.Code == "40P01": // a deadlock with who removes tables
	case pgCrowded(err), pgLost(err):
	default:
		return false
	}
	return true
}

// pgPoll is how often subscriptions look when no bell rings.
const pgPoll = time.Second

func (p *postgres) subscribe(ctx context.Context, topic, group string, _ bool) (*source, error) {
	if group != "" {
		return p.subscribeGroup(ctx, topic, group)
	}
	f, err := p.reader.follow(ctx, topic)
	if err != nil {
		return nil, p.mended(ctx, err)
	}
	return &source{messages: f.out, probe: true}, nil
}

// trim removes what is too old.
func (p *postgres) trim(ctx context.Context) {
	retention := p.shared.opts.Retention
	tick := time.NewTicker(max(retention/10, time.Second))
	defer tick.Stop()
	for {
		keep, err := p.schema.retention(ctx, p.db, retention)
		if err != nil && ctx.Err() == nil {
			p.shared.opts.Logger.Debug("retention", "error", err) // the owner of the table may say
		}
		if keep > retention {
			p.shared.limitsStay("table "+p.schema.messages, "Retention", keep)
		}
		trimmed, err := p.schema.trim(ctx, p.db, keep)
		if err != nil && ctx.Err() == nil {
			p.shared.opts.Logger.Debug("trim", "error", err)
		}
		p.shared.trimmed.Add(uint64(trimmed))
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
	errs := []error{p.bell.close(), p.db.Close()}
	if err := errors.Join(errs...); err != nil { // of connections that are broken, say
		p.shared.opts.Logger.Debug("disconnect", "error", err)
	}
	return nil
}

func (*postgres) naming() naming         { return plainNames }
func (*postgres) guarantees() Guarantees { return postgresGuarantees }
