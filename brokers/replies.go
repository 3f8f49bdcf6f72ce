package brokers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/internal/logging"
	"github.com/leatbus/leat/internal/mac"
)

// Defaults of [RepliesOptions].
const (
	DefaultReplyTTL   = 24 * time.Hour
	DefaultReplyLease = 30 * time.Second
)

// RepliesOptions refine [PostgresReplies] and [RedisReplies]. The zero value works.
type RepliesOptions struct {
	// Namespace keeps programs apart that share a server: small letters, digits and inner dashes, at most 32. All processes that
	// serve a command need the same. Default "leat".
	Namespace string
	// TTL is how long a reply is kept, at least: a request that comes again later is executed again. Default 24 h, at least 1 ms.
	TTL time.Duration
	// Lease is for Redis: how long after a process was last heard of another one may execute its request. It is renewed
	// while the handler runs. Default 30 s, at least 1 ms.
	Lease time.Duration
	// Keys are secrets that all processes share which serve the command: a reply in the store that is signed with none of them is
	// not taken for one, and the request is given back. The first signs. At least 16 bytes each; see bus.Channel.Keys for how
	// to change one: an old key is dropped when the replies that it has signed have expired. Default: none, so that all writers
	// to the store are trusted.
	Keys [][]byte
	// Logger hears of replies that could not be looked up or stored. Default slog.Default().
	Logger *slog.Logger
}

func (o RepliesOptions) withDefaults() (RepliesOptions, error) {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if !legalNamespace.MatchString(o.Namespace) {
		return o, fmt.Errorf("namespace %q: want small letters, digits and inner dashes, at most 32", o.Namespace)
	}
	if o.TTL == 0 {
		o.TTL = DefaultReplyTTL
	}
	if o.Lease == 0 {
		o.Lease = DefaultReplyLease
	}
	if o.TTL < time.Millisecond { // which is what Redis counts in
		return o, fmt.Errorf("RepliesOptions.TTL is %v, at least 1 ms", o.TTL)
	}
	if o.Lease < time.Millisecond {
		return o, fmt.Errorf("RepliesOptions.Lease is %v, at least 1 ms", o.Lease)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Logger = logging.Guard(o.Logger)
	return o, nil
}

// Replies keeps the replies to requests, so that one that comes again is answered and not executed: see [PostgresReplies]
// and [RedisReplies] for what each promises. It works for requests that have a key, commands.OnceKey: those of
// durable commands in a fleet, and all that were made with commands.WithOnce. Others pass through. A handler's reply is kept
// whatever it is: its error too. What no handler has seen is not kept: a request that validation or other middleware has
// refused leaves its key free. A request with a key under which the reply to another one is kept (other JSON, however
// it is written) is refused as invalid, and counted.
//
// Safe for concurrent use. It has no goroutine of its own, and is not closed.
type Replies struct {
	store replyStore
	log   *slog.Logger

	executed, answered, conflicts, returned, unstored atomic.Uint64
}

// RepliesStats are counters of one process since its Replies was made.
type RepliesStats struct {
	Executed uint64 // requests whose handler has run
	Answered uint64 // requests answered with the reply that was kept
	// Conflicts are requests refused because the reply to another request is kept under their key.
	Conflicts uint64
	Returned  uint64 // requests not executed, or not for good, because the store failed: a fleet delivers them again
	Unstored  uint64 // replies that were sent and not kept, because the store failed
}

// Stats returns the counters.
func (r *Replies) Stats() RepliesStats {
	return RepliesStats{Executed: r.executed.Load(), Answered: r.answered.Load(), Conflicts: r.conflicts.Load(), Returned: r.returned.Load(),
		Unstored: r.unstored.Load()}
}

// replyStore is where replies are kept.
type replyStore interface {
	// begin returns the reply that is kept under the key, or else the right to make it, and waits while somebody else has
	// that. ctx bounds the wait.
	begin(ctx context.Context, key, command string) (*outcome, claim, error)
}

// claim is the right to execute a request. One of its last two methods is called, once.
type claim interface {
	// context is what the handler gets.
	context(context.Context) context.Context
	// keep stores the reply, and returns what is to be sent. An error: the request has had no effect, or nobody knows.
	keep(outcome) (outcome, error)
	// abandon undoes what was done.
	abandon()
}

// outcome is a reply as it is kept.
type outcome struct {
	Body     []byte            `json:"body,omitempty"`
	Code     string            `json:"code,omitempty"` // of a failure
	Message  string            `json:"message,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Details  []byte            `json:"details,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Request  string            `json:"request,omitempty"` // the hash of what it answers; empty: of an older version

	produced []*message.Message // instead, where it was just made
	err      error              // likewise
}

func failed(f *bus.Fault) (o outcome) {
	o.fail(f)
	return o
}

func (o *outcome) fail(f *bus.Fault) {
	o.Code, o.Message, o.Reason, o.Details = f.Code, f.Message, f.Reason, f.Details
}

// messages makes the reply to a request.
func (o *outcome) messages(thread string) ([]*message.Message, error) {
	if o.produced != nil || o.err != nil {
		return o.produced, o.err
	}
	e := bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: thread, Body: o.Body, Metadata: o.Metadata}
	if o.Code != "" {
		e.Fault = &bus.Fault{Code: o.Code, Message: o.Message, Reason: o.Reason, Details: o.Details}
	}
	return envelope(e)
}

func envelope(e bus.Envelope) ([]*message.Message, error) {
	m, err := bus.Binary.Marshal(e)
	if err != nil {
		return nil, err
	}
	return []*message.Message{m}, nil
}

// Middleware is handler middleware (commands.Config.Middleware) that keeps the replies. Put it first: what it wraps runs
// once for each request, retries included. It blocks while another process executes the same request.
func (r *Replies) Middleware(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		req, err := bus.Binary.Unmarshal(m)
		if err != nil || req.Type != bus.ExecuteRequest || req.Once == "" {
			return next(m)
		}
		sum := sha256.Sum256([]byte(req.Name + "\x00" + req.Once))
		kept, claim, err := r.store.begin(m.Context(), hex.EncodeToString(sum[:]), req.Name)
		switch {
		case err != nil:
			return r.unavailable(&req, err)
		case kept != nil && kept.Request != "" && kept.Request != digest(req.Body):
			r.conflicts.Add(1)
			return envelope(bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: req.ID, Fault: &bus.Fault{
				Code: string(commands.InvalidRequest), Message: "the key of this request was used for another request of the command"}})
		case kept != nil:
			r.answered.Add(1)
			return kept.messages(req.ID)
		}
		return r.execute(m, &req, claim, next)
	}
}

func (r *Replies) execute(m *message.Message, req *bus.Envelope, c claim, next message.HandlerFunc) (produced []*message.Message, err error) {
	settled, ctx, request := false, m.Context(), digest(req.Body)
	defer func() {
		if settled { // else a panic, which goes on, or runtime.Goexit
			return
		}
		if !commands.Ran(ctx) {
			c.abandon()
			return
		}
		r.executed.Add(1)
		o := failed(&bus.Fault{Code: string(commands.Internal), Message: "handler panicked"})
		o.Request = request
		_, _ = c.keep(o)
	}()
	m.SetContext(c.context(ctx))
	produced, err = next(m)
	m.SetContext(ctx)
	settled = true
	if !commands.Ran(ctx) { // validation has refused it, or other middleware
		c.abandon()
		return produced, err
	}
	r.executed.Add(1)
	o := outcome{Request: request, produced: produced, err: err}
	switch {
	case err != nil && ctx.Err() != nil, err == nil && len(produced) == 0: // interrupted, or no reply at all
		c.abandon()
		return produced, err
	case err != nil:
		f := commands.FaultOf(err)
		o.fail(f)
	default:
		reply, err := bus.Binary.Unmarshal(produced[0])
		if err != nil {
			c.abandon()
			return nil, fmt.Errorf("keep the reply: %w", err)
		}
		o.Body, o.Metadata = reply.Body, reply.Metadata
		if reply.Fault != nil {
			o.fail(reply.Fault)
		}
	}
	kept, err := c.keep(o)
	if err != nil {
		return r.unavailable(req, err)
	}
	return kept.messages(req.ID)
}

// unavailable answers in a way that makes a fleet deliver the request again.
func (r *Replies) unavailable(req *bus.Envelope, err error) ([]*message.Message, error) {
	r.returned.Add(1)
	r.log.Warn("reply store not available, request returned", "command", req.Name, "error", err.Error())
	return envelope(bus.Envelope{ID: bus.NewID(), Type: bus.ExecuteResponse, Thread: req.ID, Fault: &bus.Fault{
		Code: string(commands.ChannelDisconnected), Message: "the store of replies is not available", Unrouted: true}})
}

// digest is the hash of a request: the same for the same JSON, however it is written. Of what is none it is that of the bytes.
func digest(body []byte) string {
	if len(body) == 0 {
		body = []byte("null")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // a large integer is not its neighbour
	var v any
	if d.Decode(&v) == nil {
		v = canonicalNumbers(v)
		if canonical, err := json.Marshal(v); err == nil {
			body = canonical
		}
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// canonicalNumbers writes each number in one way, whatever it was written as: 1, 1.0 and 10e-1 are one request.
func canonicalNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return canonicalNumber(v)
	case []any:
		for i := range v {
			v[i] = canonicalNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = canonicalNumbers(v[k])
		}
	}
	return v
}

// canonicalNumber is a number's digits without zeros at either end, and a power of ten if there is one. A power that is no int64 stays
// as it is written.
func canonicalNumber(n json.Number) json.Number {
	mantissa, power, _ := strings.Cut(strings.ToLower(string(n)), "e")
	sign := ""
	if rest, negative := strings.CutPrefix(mantissa, "-"); negative {
		sign, mantissa = "-", rest
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0"
	}
	exponent := int64(0)
	if power != "" {
		var err error
		if exponent, err = strconv.ParseInt(strings.TrimPrefix(power, "+"), 10, 64); err != nil || exponent > 1<<62 || exponent < -1<<62 {
			return n
		}
	}
	short := strings.TrimRight(digits, "0")
	exponent += int64(len(digits)-len(short)) - int64(len(fraction))
	if exponent == 0 {
		return json.Number(sign + short)
	}
	return json.Number(sign + short + "e" + strconv.FormatInt(exponent, 10))
}

// vault turns outcomes into what is kept of them, and back.
type vault struct{ keys *mac.Keys }

// signedFor is what signatures of kept replies are for.
const signedFor = "leat reply 1"

// lock returns what is kept under the key: JSON, behind its MAC where there are keys.
func (v vault) lock(key string, o outcome) []byte {
	data, err := json.Marshal(o)
	if err != nil { // bytes and strings always encode
		panic("brokers: " + err.Error())
	}
	if v.keys == nil {
		return data
	}
	sum := v.keys.Append(nil, signedFor, key, nil, data)
	return append(append([]byte(hex.EncodeToString(sum)), ' '), data...)
}

// unlock reads it.
func (v vault) unlock(key string, data []byte) (*outcome, error) {
	if v.keys != nil {
		text, rest, _ := bytes.Cut(data, []byte{' '})
		sum, err := hex.DecodeString(string(text))
		if err != nil || !v.keys.Verify(sum, signedFor, key, nil, rest) {
			return nil, errors.New("a reply that was kept is signed with no key that is known here")
		}
		data = rest
	}
	o := new(outcome)
	if err := json.Unmarshal(data, o); err != nil {
		return nil, fmt.Errorf("a reply that was kept: %w", err)
	}
	return o, nil
}

func oneOption(opts []RepliesOptions) (o RepliesOptions, keys *mac.Keys, err error) {
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		return o, nil, fmt.Errorf("%d options", len(opts))
	}
	if keys, err = mac.New(o.Keys); err != nil {
		return o, nil, err
	}
	o, err = o.withDefaults()
	return o, keys, err
}
