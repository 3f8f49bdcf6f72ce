package brokers

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// rabbitPublisher publishes the messages of a call together, and waits for all confirmations. It has a few
// channels; one that fails is replaced.
type rabbitPublisher struct {
	rabbit *rabbit
	free   chan *rabbitChannel // nil where one has to be opened
	limit  atomic.Int64        // bytes of a message that the server takes

	declared atomic.Bool // the exchange was there

	mu     sync.Mutex
	made   uint64            // guarded by mu: number of the connection
	epoch  uint64            // guarded by mu: counts connections, and exchanges that were gone
	since  time.Time         // guarded by mu: of the epoch
	routed map[string]uint64 // guarded by mu: topics for which there was a queue, with the epoch
}

const rabbitChannels = 8

func newRabbitPublisher(r *rabbit) *rabbitPublisher {
	p := &rabbitPublisher{rabbit: r, free: make(chan *rabbitChannel, rabbitChannels), routed: make(map[string]uint64)}
	for range rabbitChannels {
		p.free <- nil
	}
	version := ""
	if conn, _, _ := r.out.get(); conn != nil {
		version, _ = conn.Properties["version"].(string)
	}
	p.limit.Store(rabbitMaxMessage(version))
	return p
}

// rabbitMaxMessage is the default of the server's max_message_size, which it does not tell.
func rabbitMaxMessage(version string) int64 {
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < 4 {
		return 128 << 20
	}
	return 16 << 20
}

func (p *rabbitPublisher) maxBytes() int { return int(p.limit.Load()) }

func (p *rabbitPublisher) Publish(topic string, messages ...*message.Message) error {
	return p.with(encodeRabbits(messages), func(channel *rabbitChannel, window []amqp.Publishing) (int, error) {
		return p.send(channel, topic, window)
	})
}

// encodeRabbits encodes messages for a server that takes so much of one, over a connection with frames of that size.
func encodeRabbits(messages []*message.Message) rabbitEncoding {
	return func(limit, frame int) ([]encoded[amqp.Publishing], error) {
		return encodeAll(messages, limit, func(m *message.Message) (encoded[amqp.Publishing], error) { return encodeRabbit(m, frame), nil })
	}
}

type rabbitEncoding func(limit, frame int) ([]encoded[amqp.Publishing], error)

// rabbitTogether is how many bytes of messages go as one.
const rabbitTogether = 256 << 10

// publishPacked puts messages together: one costs the server 0.1 ms of its processor, and two queues on disk.
func (r *rabbit) publishPacked(topic string, messages ...*message.Message) error {
	var ends []int // of those that go as one
	err := r.pub.with(func(limit, frame int) ([]encoded[amqp.Publishing], error) {
		all, err := encodeRabbits(messages)(limit, frame)
		if err != nil {
			return nil, err
		}
		var packs []encoded[amqp.Publishing]
		ends = ends[:0]
		for begin := 0; begin < len(messages); {
			end, size := begin+1, packedBytes(messages[begin])
			for end < len(messages) && size+packedBytes(messages[end]) <= min(limit, rabbitTogether) {
				size += packedBytes(messages[end])
				end++
			}
			pack := all[begin]
			if end > begin+1 {
				body := packTogether(messages[begin:end])
				pack = encoded[amqp.Publishing]{rabbitPacked(body, packedTogether), len(body)}
			}
			packs, ends, begin = append(packs, pack), append(ends, end), end
		}
		return packs, nil
	}, func(channel *rabbitChannel, window []amqp.Publishing) (int, error) {
		return r.pub.send(channel, topic, window)
	})
	if part := new(partError); errors.As(err, &part) && part.done > 0 {
		part.done = ends[part.done-1]
	}
	return err
}

// rabbitPacked is a message with a body that says itself what it is.
func rabbitPacked(body []byte, version string) amqp.Publishing {
	return amqp.Publishing{Body: body, DeliveryMode: amqp.Persistent, Headers: amqp.Table{keyPacked: version}}
}

// with publishes messages on one of the channels.
func (p *rabbitPublisher) with(encode rabbitEncoding, send func(*rabbitChannel, []amqp.Publishing) (int, error)) (err error) {
	channel := <-p.free
	defer func() {
		if err != nil && channel != nil { // it may have gone
			channel.close()
			channel = nil
		}
		p.free <- channel
	}()
	conn, number, since := p.rabbit.out.get()
	if conn == nil {
		return errRabbitAway
	}
	p.connected(number, since)
	all, err := encode(p.maxBytes(), conn.Config.FrameSize)
	if err != nil {
		return err
	}
	if channel != nil && channel.conn != number {
		channel.close()
		channel = nil
	}
	if channel == nil {
		if channel, err = openRabbitChannel(conn); err != nil {
			return fmt.Errorf("open a channel: %w", err)
		}
		channel.conn = number
	}
	if !p.declared.Load() {
		if err = p.rabbit.declareExchange(channel.channel); err != nil {
			return err
		}
		p.declared.Store(true)
	}
	err = inWindows(all, func(window []amqp.Publishing) (int, error) { return send(channel, window) })
	p.learn(err)
	return err
}

// connected begins an epoch with each connection.
func (p *rabbitPublisher) connected(number uint64, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made < number {
		p.made, p.since = number, since
		p.epoch++
	}
}

// send publishes a window to a topic. The first message that a connection has for it goes alone: if there should be a queue and is none, none is
// to overtake it.
func (p *rabbitPublisher) send(channel *rabbitChannel, topic string, window []amqp.Publishing) (n int, err error) {
	exchange := p.rabbit.shared.opts.Namespace
	epoch, routed := p.hasRouted(topic)
	if !routed {
		routed, _, err := channel.send(exchange, topic, window[:1])
		if err == nil {
			err = p.note(topic, epoch, routed > 0)
		}
		if err != nil {
			return 0, err
		}
		n = 1
	}
	with, done, err := channel.send(exchange, topic, window[n:])
	if err == nil && with < done {
		if err = p.note(topic, epoch, false); err != nil {
			done = with
		}
	}
	return n + done, err
}

// publishTo publishes to the queue of a group, which it makes: there it waits until somebody subscribes.
func (r *rabbit) publishTo(group, topic string, messages []*message.Message) error {
	queue := r.queue(group, topic)
	return r.pub.with(encodeRabbits(messages), func(channel *rabbitChannel, window []amqp.Publishing) (int, error) {
		if !channel.made[queue] {
			if err := r.declare(channel.channel, queue, topic, nil); err != nil {
				return 0, err
			}
			channel.made[queue] = true
		}
		routed, done, err := channel.send("", queue, window)
		if err == nil && routed < done { // somebody has removed it: another channel makes it again
			done, err = routed, errUnrouted
		}
		return done, err
	})
}

// rabbitRebind is how long after a reconnect a topic that had a queue before is expected to have one: a server that was killed may have
// forgotten what was bound last, and subscriptions bind again.
const rabbitRebind = 15 * time.Second

// errUnrouted: there was no queue for a message where there must be one.
var errUnrouted = errors.New("no queue is bound to the topic")

// hasRouted returns the epoch, and whether there was a queue for the topic in it.
func (p *rabbitPublisher) hasRouted(topic string) (epoch uint64, routed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch, p.routed[topic] == p.epoch
}

// maxRouted bounds the topics that are known to have had a queue.
const maxRouted = 10_000

// note notes whether a message to a topic had a queue, and returns an error if it had none and should have had.
func (p *rabbitPublisher) note(topic string, epoch uint64, routed bool) error {
	served := p.rabbit.isServed(topic)
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.routed[topic]
	switch {
	case routed:
		if before == 0 && len(p.routed) >= maxRouted {
			for other := range p.routed {
				delete(p.routed, other)
				break
			}
		}
		p.routed[topic] = epoch
	case served, before != 0 && before != p.epoch && time.Since(p.since) < rabbitRebind:
		return errUnrouted
	default: // nobody subscribes
		delete(p.routed, topic)
	}
	return nil
}

var errRabbitAway = errors.New("not connected")

var rabbitTooLarge = regexp.MustCompile(`message size \d+ (?:is )?larger than (?:configured )?max(?:imum)? size (\d+)`)

// learn takes the server's limit from its word for a message that was too large: the next try refuses that one. An exchange that
// is gone has taken the bindings with it.
func (p *rabbitPublisher) learn(err error) {
	var closed *amqp.Error
	if !errors.As(err, &closed) {
		return
	}
	switch closed.Code {
	case amqp.NotFound:
		p.declared.Store(false)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.since = time.Now()
		p.epoch++
	case amqp.PreconditionFailed:
		if found := rabbitTooLarge.FindStringSubmatch(closed.Reason); found != nil {
			if limit, err := strconv.ParseInt(found[1], 10, 64); err == nil && limit > 0 {
				p.limit.Store(limit)
			}
		}
	}
}

// close runs when nobody publishes any more.
func (p *rabbitPublisher) close() {
	for range rabbitChannels {
		select {
		case channel := <-p.free:
			if channel != nil {
				channel.close()
			}
		default: // one hangs
		}
	}
}

// rabbitChannel is a channel in confirm mode, of one publisher at a time.
type rabbitChannel struct {
	channel  *amqp.Channel
	closed   chan *amqp.Error // what the server closed it with
	returned chan amqp.Return
	conn     uint64          // number of its connection
	made     map[string]bool // queues of groups
}

func openRabbitChannel(conn *amqp.Connection) (*rabbitChannel, error) {
	channel, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	c := &rabbitChannel{
		channel:  channel,
		closed:   channel.NotifyClose(make(chan *amqp.Error, 1)),
		returned: channel.NotifyReturn(make(chan amqp.Return, windowMessages)),
		made:     make(map[string]bool),
	}
	if err = channel.Confirm(false); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *rabbitChannel) close() { _ = c.channel.Close() }

// send publishes a window, and returns how many of it were confirmed, and how many had a queue, from the front.
func (c *rabbitChannel) send(exchange, key string, window []amqp.Publishing) (routed, n int, err error) {
	sent := make([]*amqp.DeferredConfirmation, 0, len(window))
	for i, m := range window {
		m.MessageId = strconv.Itoa(i)
		var confirmation *amqp.DeferredConfirmation
		if confirmation, err = c.channel.PublishWithDeferredConfirm(exchange, key, true, false, m); err != nil {
			break
		}
		sent = append(sent, confirmation)
	}
	for _, confirmation := range sent {
		if !confirmation.Wait() {
			err = errRabbitRefused
			break
		}
		n++
	}
	if err != nil {
		return n, n, c.why(err)
	}
	return c.routed(n), n, nil
}

// why returns what the server closed the channel with, or err.
func (c *rabbitChannel) why(err error) error {
	select {
	case closed := <-c.closed:
		if closed != nil {
			return closed
		}
	default:
	}
	return err
}

// routed returns how many of n messages were not returned, from the front. A message is returned before it is confirmed.
func (c *rabbitChannel) routed(n int) int {
	for {
		select {
		case r := <-c.returned:
			if i, err := strconv.Atoi(r.MessageId); err == nil {
				n = min(n, i)
			}
		default:
			return n
		}
	}
}

var errRabbitRefused = errors.New("the server has not confirmed the message")

// encodeRabbit puts metadata into headers, which have to fit into a frame. Where they would not, or where the server or the
// adapter would read one of them for itself, metadata goes in front of the payload, and a header says so.
func encodeRabbit(m *message.Message, frame int) encoded[amqp.Publishing] {
	p := amqp.Publishing{Body: m.Payload, DeliveryMode: amqp.Persistent}
	headers, size := make(amqp.Table, len(m.Metadata)+1), rabbitEntry(rabbitUUID, m.UUID)
	headers[rabbitUUID] = m.UUID
	plain := true
	for k, v := range m.Metadata {
		if rabbitReserved(k) {
			plain = false
			break
		}
		headers[k] = v
		size += rabbitEntry(k, v)
	}
	if !plain || frame > 0 && size > frame-rabbitFrameRoom {
		body := pack(m)
		return encoded[amqp.Publishing]{rabbitPacked(body, packedVersion), len(body)}
	}
	p.Headers = headers
	return encoded[amqp.Publishing]{p, size + len(p.Body)}
}

const (
	rabbitUUID      = "_watermill_message_uuid" // header of the UUID, as Watermill's adapter has it
	rabbitKey       = 255                       // bytes of a header's name, at most
	rabbitFrameRoom = 512                       // bytes of a frame of headers, for what is no header
)

// rabbitEntry is what a header takes, in bytes: a length, the name, a type, a length, the value.
func rabbitEntry(key, value string) int { return 1 + len(key) + 1 + 4 + len(value) }

// rabbitReserved reports whether a key cannot be a header: the server routes by CC and BCC, takes BCC away, reads and
// adds x-….
func rabbitReserved(key string) bool {
	switch {
	case len(key) > rabbitKey, strings.EqualFold(key, "CC"), strings.EqualFold(key, "BCC"), len(key) >= 2 && strings.EqualFold(key[:2], "x-"):
		return true
	}
	return key == keyPacked || key == rabbitUUID
}
