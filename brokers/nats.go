package brokers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
)

// natsCore is NATS without storage: what nobody listens to is gone.
type natsCore struct {
	shared *shared
	conn   *nats.Conn
	coder  natsCoder
	slow   *slowSubscriptions
	socket *natsSocket
	limit  *natsLimit
}

func openNATS(ctx context.Context, a address, s *shared) (backend, error) {
	// Without a buffer for what is published while disconnected, Publish says
	// so, and whoever waits for an answer hears of it at once.
	socket := &natsSocket{dialer: s.dialer}
	conn, slow, err := connectNATS(ctx, a, s, socket, nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { s.gap(fmt.Sprintf("disconnected: %v", err)) }))
	if err != nil {
		return nil, err
	}
	return &natsCore{shared: s, conn: conn, slow: slow, socket: socket, limit: newNATSLimit(conn), coder: natsCoder{prefix: s.opts.Namespace + "."}}, nil
}

// natsReconnectWait is the pause between two attempts to reconnect.
const natsReconnectWait = 250 * time.Millisecond

// connectNATS connects, and for ever again when the connection breaks.
func connectNATS(ctx context.Context, a address, s *shared, socket nats.CustomDialer, more ...nats.Option) (*nats.Conn, *slowSubscriptions, error) {
	if err := a.plain(); err != nil {
		return nil, nil, err
	}
	slow := &slowSubscriptions{shared: s, dropped: make(map[*nats.Subscription]uint64)}
	options := append([]nats.Option{
		nats.Name("leat " + s.opts.Namespace),
		nats.SetCustomDialer(socket),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(natsReconnectWait),
		nats.IgnoreAuthErrorAbort(), // else the second refusal is the end: a password that was changed may come back
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrSlowConsumer) && sub != nil {
				slow.note(sub)
				return
			}
			s.opts.Logger.Debug("NATS", "error", err)
		}),
	}, more...)
	login, err := natsLogin(s)
	if err != nil {
		return nil, nil, err
	}
	options = append(options, login...)
	if s.opts.Dial != nil {
		options = append(options, nats.SkipHostLookup())
	}
	if deadline, ok := ctx.Deadline(); ok {
		options = append(options, nats.Timeout(2*time.Until(deadline))) // the socket's dialer keeps to it
	}
	switch {
	case s.opts.TLS != nil:
		options = append(options, nats.Secure(s.opts.TLS.Clone()))
	case strings.HasSuffix(a.scheme, "tls"):
		options = append(options, nats.Secure())
	}
	conn, err := nats.Connect("nats://"+strings.Join(a.hosts, ",nats://"), options...)
	if err != nil {
		return nil, nil, err
	}
	return conn, slow, nil
}

// natsLogin returns the options that authenticate the client. A user without a password is a token.
func natsLogin(s *shared) ([]nats.Option, error) {
	c, l := s.opts.Credentials, s.login
	switch {
	case c.NATSCreds != "":
		return []nats.Option{nats.UserCredentials(c.NATSCreds)}, nil
	case c.NATSNkey != "":
		nkey, err := nats.NkeyOptionFromSeed(c.NATSNkey)
		if err != nil {
			return nil, fmt.Errorf("Credentials.NATSNkey: %w", err)
		}
		return []nats.Option{nkey}, nil
	case c.Token != "":
		return []nats.Option{nats.Token(c.Token)}, nil
	case l.ask != nil:
		return []nats.Option{nats.UserInfoHandler(l.soon)}, nil
	case l.given && l.password == "":
		return []nats.Option{nats.Token(l.user)}, nil
	case l.given:
		return []nats.Option{nats.UserInfo(l.user, l.password)}, nil
	}
	return nil, nil
}

func (n *natsCore) Publish(topic string, messages ...*message.Message) error {
	all, err := n.coder.encodeAll(topic, messages, n.limit.ask())
	if err != nil {
		return err
	}
	return n.publish(all)
}

func (n *natsCore) publish(all []encoded[*nats.Msg]) error {
	for i, e := range all {
		if err := n.conn.PublishMsg(e.msg); err != nil {
			return &partError{done: i, err: err}
		}
	}
	return nil
}

// publishAtOnce asks the client for nothing while that writes.
func (n *natsCore) publishAtOnce(topic string, messages []*message.Message) error {
	bytes := 0
	for _, m := range messages {
		bytes += len(m.Payload)
	}
	if n.busy(bytes) {
		return errBusy
	}
	all, err := n.coder.encodeAll(topic, messages, n.maxBytes(topic))
	if err != nil {
		return err
	}
	return n.publish(all)
}

// busy reports whether so much is buffered then that Publish could wait for the socket, or somebody does: the client has a
// lock while it writes.
func (n *natsCore) busy(bytes int) bool {
	if n.socket.writing.Load() > 0 {
		return true
	}
	buffered, err := n.conn.Buffered()
	return err != nil || buffered+bytes > natsBusy
}

// natsBusy is half of the client's buffer, in bytes: others may publish meanwhile.
const natsBusy = 16 << 10

// natsSocket dials, and knows whether what it has dialed is being written to.
type natsSocket struct {
	*dialer
	writing atomic.Int32
}

// Dial implements nats.CustomDialer.
func (s *natsSocket) Dial(network, address string) (net.Conn, error) {
	conn, err := s.dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return &natsSocketConn{conn, s}, nil
}

type natsSocketConn struct {
	net.Conn
	socket *natsSocket
}

func (c *natsSocketConn) Write(p []byte) (int, error) {
	c.socket.writing.Add(1)
	defer c.socket.writing.Add(-1)
	return c.Conn.Write(p)
}

// transient: those who wait are better told at once, and links end anyway.
func (*natsCore) transient(error) bool { return false }

func (n *natsCore) subscribe(ctx context.Context, topic, group string, _ bool) (*source, error) {
	src := &source{gate: newGate(), probe: group == ""}
	log := adapterLog(n.shared.opts.Logger)
	// A subscriber of its own: Close of one would drain the connection of all.
	sub, err := wmnats.NewSubscriberWithNatsConn(n.conn, wmnats.SubscriberSubscriptionConfig{
		Unmarshaler:       gatedNATS{n.coder, src.gate},
		AckWaitTimeout:    forever,
		SubjectCalculator: n.coder.subject,
		QueueGroupPrefix:  group,
		JetStream:         wmnats.JetStreamConfig{Disabled: true},
	}, log)
	if err != nil {
		return nil, err
	}
	src.messages, err = sub.Subscribe(ctx, topic)
	return src, err
}

// subscribeFunc is the client's own subscription, not the adapter's: there a message costs a context, a timer, two
// maps for the log, and three goroutines that wake up for it. See docs/design.md.
func (n *natsCore) subscribeFunc(topic string, fn func(*message.Message)) (stop func(), ended <-chan struct{}, err error) {
	done := make(chan struct{})
	sub, err := n.conn.Subscribe(n.coder.subject("", topic).Primary, func(m *nats.Msg) {
		fn(readable(func() (*message.Message, error) { return n.coder.read(m) }))
	})
	if err != nil {
		return nil, nil, err
	}
	sub.SetClosedHandler(func(string) { close(done) })
	if !sub.IsValid() { // closed before that, and maybe without telling
		return nil, nil, nats.ErrConnectionClosed
	}
	return func() { _ = sub.Unsubscribe() }, done, nil
}

// forever is how long an adapter waits for an ack of which nobody is told.
const forever = 1000 * time.Hour

// flush returns when the server has seen the subscriptions.
func (n *natsCore) flush(ctx context.Context) error { return n.conn.FlushWithContext(ctx) }

func (n *natsCore) close() error {
	n.slow.sum()
	closeNATS(n.conn)
	return nil
}

// closeNATS sends what is buffered, if there is a connection, and waits for its end.
func closeNATS(conn *nats.Conn) {
	if conn.IsConnected() {
		_ = conn.FlushTimeout(time.Second)
	}
	closed := conn.StatusChanged(nats.CLOSED)
	if conn.IsClosed() { // on its own: no handler is called any more
		return
	}
	conn.Close()
	<-closed
}

// maxBytes is what the server has said when it was connected to.
func (n *natsCore) maxBytes(string) int  { return n.limit.last() }
func (*natsCore) naming() naming         { return plainNames }
func (*natsCore) guarantees() Guarantees { return natsCoreGuarantees }

// natsLimit is how large a message the server takes, which may be another one after a reconnect. The client has a lock while
// it writes, so that only those ask it who wait for that anyway.
type natsLimit struct {
	conn  *nats.Conn
	known atomic.Int64
}

func newNATSLimit(conn *nats.Conn) *natsLimit {
	l := &natsLimit{conn: conn}
	l.ask()
	return l
}

// ask asks the client.
func (l *natsLimit) ask() int {
	l.known.Store(l.conn.MaxPayload())
	return l.last()
}

// last is what it has said last. It does not block.
func (l *natsLimit) last() int { return int(l.known.Load()) }

// slowSubscriptions counts what the client has dropped because a subscriber
// did not keep up (half a million messages, or 64 MB).
type slowSubscriptions struct {
	shared *shared

	mu      sync.Mutex
	dropped map[*nats.Subscription]uint64 // guarded by mu: counted so far
}

func (s *slowSubscriptions) note(sub *nats.Subscription) {
	s.mu.Lock()
	if _, known := s.dropped[sub]; !known {
		s.dropped[sub] = 0
	}
	s.mu.Unlock()
	s.shared.opts.Logger.Error("subscriber too slow, dropping messages", "subject", sub.Subject)
	s.sum()
}

// sum adds up what was dropped since.
func (s *slowSubscriptions) sum() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub, before := range s.dropped {
		now, err := sub.Dropped()
		if err != nil {
			delete(s.dropped, sub)
			continue
		}
		s.shared.lost.Add(uint64(now) - before)
		s.dropped[sub] = uint64(now)
	}
}

// natsCoder carries metadata as headers, percent-encoded where NATS would trim
// or break them, or read them for itself.
type natsCoder struct{ prefix string }

// natsReserved reports whether servers or clients read a header: JetStream drops messages, and streams, by what is in some of
// Nats-…, and a client takes an empty message with a Status for one of the server's own.
func natsReserved(key string) bool {
	const own = "nats-"
	return len(key) >= len(own) && strings.EqualFold(key[:len(own)], own) || strings.EqualFold(key, "Status") ||
		strings.EqualFold(key, "Description") || key == wmnats.WatermillUUIDHdr || key == keyPacked
}

// encodeAll encodes messages, and refuses one that the server would not take.
func (c natsCoder) encodeAll(topic string, messages []*message.Message, limit int) ([]encoded[*nats.Msg], error) {
	return encodeAll(messages, limit, func(m *message.Message) (encoded[*nats.Msg], error) {
		msg := c.encode(topic, m)
		return encoded[*nats.Msg]{msg, len(msg.Data) + natsHeaderSize(msg.Header)}, nil
	})
}

// natsHeaderSize is what the server counts of a message beside its payload, in bytes: the headers as they are written.
func natsHeaderSize(header nats.Header) int {
	if len(header) == 0 {
		return 0
	}
	n := len("NATS/1.0\r\n") + len("\r\n")
	for k, values := range header {
		n += len(k) + len(values[0]) + len(": \r\n")
	}
	return n
}

// natsMaxHeader is what a stream takes of headers, in bytes. Longer ones go in front of the payload.
const natsMaxHeader = 1<<16 - 1

func (c natsCoder) subject(group, topic string) *wmnats.SubjectDetail {
	return &wmnats.SubjectDetail{Primary: c.prefix + topic, QueueGroup: group}
}

// encode makes headers of metadata. A message without has none.
func (c natsCoder) encode(topic string, m *message.Message) *nats.Msg {
	msg := &nats.Msg{Subject: c.prefix + topic, Data: m.Payload}
	if m.UUID == "" && len(m.Metadata) == 0 {
		return msg
	}
	msg.Header = make(nats.Header, len(m.Metadata)+1)
	msg.Header[wmnats.WatermillUUIDHdr] = []string{escapeHeader(m.UUID)}
	for k, v := range m.Metadata {
		msg.Header[natsKey(k)] = []string{escapeHeader(v)}
	}
	if natsHeaderSize(msg.Header) > natsMaxHeader {
		msg.Data, msg.Header = pack(m), nats.Header{keyPacked: {packedVersion}}
	}
	return msg
}

func (c natsCoder) Unmarshal(m *nats.Msg) (*message.Message, error) {
	return readable(func() (*message.Message, error) {
		read, err := c.read(m)
		if err != nil {
			return nil, err
		}
		got := message.NewMessage(read.UUID, read.Payload)
		got.Metadata = read.Metadata
		return got, nil
	}), nil
}

// read returns a message without channels for acks, of which the server is not told anyway.
func (natsCoder) read(m *nats.Msg) (*message.Message, error) {
	got := &message.Message{Payload: m.Data, Metadata: make(message.Metadata, len(m.Header))}
	for k, values := range m.Header {
		if len(values) != 1 {
			return nil, fmt.Errorf("header %q has %d values", k, len(values))
		}
		if k == wmnats.WatermillUUIDHdr {
			got.UUID = unescapeHeader(values[0])
			continue
		}
		if k == keyPacked {
			return got, unpack(got, values[0])
		}
		if k == emptyKey {
			k = ""
		}
		got.Metadata[unescapeHeader(k)] = unescapeHeader(values[0])
	}
	return got, nil
}

// emptyKey stands for a key without a letter, which a header cannot have: nothing else is written so.
const emptyKey = "%"

// natsKey is the name of a header for a key: what is no letter of a name is percent-encoded, and so is the first letter of
// one that is not to be read by others.
func natsKey(key string) string {
	if key == "" {
		return emptyKey
	}
	key = escape(key, &natsNameLetters)
	if !natsReserved(key) {
		return key
	}
	var b strings.Builder
	escapeByte(&b, key[0])
	b.WriteString(key[1:])
	return b.String()
}

// letters are the bytes that are written as they are.
type letters [256]bool

// Letters of a header's name, those of HTTP's but %; and of its value: printable ASCII, but the two that mean something in a header or here.
var natsNameLetters, natsValueLetters = func() (name, value letters) {
	for c := '!'; c <= '~'; c++ {
		value[c] = c != '%' && c != ':'
		name[c] = value[c] && !strings.ContainsRune("\"(),/;<=>?@[\\]{}", c)
	}
	return name, value
}()

func escapeHeader(s string) string { return escape(s, &natsValueLetters) }

// escape percent-encodes all but letters.
func escape(s string, plain *letters) string {
	var b strings.Builder
	done := 0 // of s, written
	for i := range len(s) {
		if !plain[s[i]] {
			b.WriteString(s[done:i])
			escapeByte(&b, s[i])
			done = i + 1
		}
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// unescapeHeader leaves alone what was not written here.
func unescapeHeader(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	if t, err := url.PathUnescape(s); err == nil {
		return t
	}
	return s
}

// gatedNATS is a coder behind the gate of a subscription.
type gatedNATS struct {
	natsCoder
	gate *gate
}

var errShut = errors.New("subscription has ended")

func (g gatedNATS) Unmarshal(m *nats.Msg) (*message.Message, error) {
	if !g.gate.pass() {
		return nil, errShut
	}
	return g.natsCoder.Unmarshal(m)
}
