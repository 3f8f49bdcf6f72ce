package brokers

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	wmamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// rabbitPublisher publishes the messages of a call together, where the adapter waits for the confirmation of each. It has a few
// channels; one that fails is replaced.
type rabbitPublisher struct {
	exchange string
	conn     *wmamqp.ConnectionWrapper
	free     chan *rabbitChannel // nil where one has to be opened
	limit    atomic.Int64        // bytes of a message that the server takes
}

const rabbitChannels = 8

func newRabbitPublisher(exchange string, conn *wmamqp.ConnectionWrapper) *rabbitPublisher {
	p := &rabbitPublisher{exchange: exchange, conn: conn, free: make(chan *rabbitChannel, rabbitChannels)}
	for range rabbitChannels {
		p.free <- nil
	}
	version, _ := conn.Connection().Properties["version"].(string)
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

func (p *rabbitPublisher) Publish(topic string, messages ...*message.Message) (err error) {
	channel := <-p.free
	defer func() {
		if err != nil && channel != nil { // it may have gone
			channel.close()
			channel = nil
		}
		p.free <- channel
	}()
	if !p.conn.IsConnected() {
		return errRabbitAway
	}
	conn := p.conn.Connection()
	all, err := encodeAll(messages, p.maxBytes(), func(m *message.Message) (encoded[amqp.Publishing], error) {
		return encodeRabbit(m, conn.Config.FrameSize), nil
	})
	if err != nil {
		return err
	}
	if channel == nil {
		if channel, err = openRabbitChannel(conn, p.exchange); err != nil {
			return fmt.Errorf("open a channel: %w", err)
		}
	}
	err = inWindows(all, func(window []amqp.Publishing) (int, error) { return channel.send(p.exchange, topic, window) })
	p.learn(err)
	return err
}

var errRabbitAway = errors.New("not connected")

var rabbitTooLarge = regexp.MustCompile(`message size \d+ (?:is )?larger than (?:configured )?max(?:imum)? size (\d+)`)

// learn takes the server's limit from its word for a message that was too large: the next try refuses that one.
func (p *rabbitPublisher) learn(err error) {
	var closed *amqp.Error
	if !errors.As(err, &closed) || closed.Code != amqp.PreconditionFailed {
		return
	}
	if found := rabbitTooLarge.FindStringSubmatch(closed.Reason); found != nil {
		if limit, err := strconv.ParseInt(found[1], 10, 64); err == nil && limit > 0 {
			p.limit.Store(limit)
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
	channel *amqp.Channel
	closed  chan *amqp.Error // what the server closed it with
}

func openRabbitChannel(conn *amqp.Connection, exchange string) (*rabbitChannel, error) {
	channel, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	c := &rabbitChannel{channel: channel, closed: channel.NotifyClose(make(chan *amqp.Error, 1))}
	if err = channel.Confirm(false); err == nil {
		err = channel.ExchangeDeclare(exchange, amqp.ExchangeDirect, true, false, false, false, nil)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *rabbitChannel) close() { _ = c.channel.Close() }

// send publishes a window, and returns how many of it were confirmed, from the front.
func (c *rabbitChannel) send(exchange, key string, window []amqp.Publishing) (n int, err error) {
	sent := make([]*amqp.DeferredConfirmation, 0, len(window))
	for _, m := range window {
		var confirmation *amqp.DeferredConfirmation
		if confirmation, err = c.channel.PublishWithDeferredConfirm(exchange, key, false, false, m); err != nil {
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
		select {
		case why := <-c.closed:
			if why != nil {
				err = why
			}
		default:
		}
	}
	return n, err
}

var errRabbitRefused = errors.New("the server has not confirmed the message")

// encodeRabbit puts metadata into headers, which have to fit into a frame. Where they would not, or where the server or the
// adapter would read one of them for itself, metadata goes in front of the payload, and a header says so.
func encodeRabbit(m *message.Message, frame int) encoded[amqp.Publishing] {
	p := amqp.Publishing{Body: m.Payload, DeliveryMode: amqp.Persistent}
	headers, size := make(amqp.Table, len(m.Metadata)+1), rabbitEntry(wmamqp.DefaultMessageUUIDHeaderKey, m.UUID)
	headers[wmamqp.DefaultMessageUUIDHeaderKey] = m.UUID
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
		p.Body, size = pack(m), 0
		headers = amqp.Table{keyPacked: packedVersion}
	}
	p.Headers = headers
	return encoded[amqp.Publishing]{p, size + len(p.Body)}
}

const (
	rabbitKey       = 255 // bytes of a header's name, at most
	rabbitFrameRoom = 512 // bytes of a frame of headers, for what is no header
)

// rabbitEntry is what a header takes, in bytes: a length, the name, a type, a length, the value.
func rabbitEntry(key, value string) int { return 1 + len(key) + 1 + 4 + len(value) }

// rabbitReserved reports whether a key cannot be a header: the server routes by CC and BCC, takes BCC away, reads and
// adds x-…; the adapter adds its own.
func rabbitReserved(key string) bool {
	switch {
	case len(key) > rabbitKey, strings.EqualFold(key, "CC"), strings.EqualFold(key, "BCC"), len(key) >= 2 && strings.EqualFold(key[:2], "x-"):
		return true
	}
	return key == keyPacked || key == wmamqp.DefaultMessageUUIDHeaderKey || key == wmamqp.MetadataRedeliveredKey
}

// rabbitCoder is the adapter's own, but for what it reads.
type rabbitCoder struct{ wmamqp.DefaultMarshaler }

// Unmarshal leaves out headers that are no strings, which others and the
// broker itself add: the adapter would give the message back, and get it
// again at once, for ever. What comes of a channel that has closed is an error: then the
// adapter looks for another one.
func (rabbitCoder) Unmarshal(d amqp.Delivery) (*message.Message, error) {
	if d.Acknowledger == nil {
		return nil, errors.New("channel closed")
	}
	m := message.NewMessage("", d.Body)
	for k, v := range d.Headers {
		s, ok := v.(string)
		switch {
		case ok && k == wmamqp.DefaultMessageUUIDHeaderKey:
			m.UUID = s
		case ok:
			m.Metadata[k] = s
		}
	}
	return m, nil
}

// restoreRabbit takes off the adapter's mark of a redelivery, and unpacks.
func restoreRabbit(m *message.Message) error {
	delete(m.Metadata, wmamqp.MetadataRedeliveredKey)
	if version, packed := m.Metadata[keyPacked]; packed {
		return unpack(m, version)
	}
	return nil
}
