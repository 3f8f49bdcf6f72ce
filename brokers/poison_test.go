package brokers_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/bus"
)

// poisons is metadata that a broker, its client or its adapter would read for itself, or would not bring as it is.
func poisons() []message.Metadata {
	var all []message.Metadata
	for _, key := range []string{
		"_watermill_message_uuid", "_watermill_amqp_redelivered", "%_watermill_message_uuid", "%5Fwatermill_message_uuid", "%", "%%",
		"CC", "BCC", "cc", "x-match", "x-death", "x-delay", "x-first-death-queue", "x-deduplication-header", "X-Stream-Filter-Value", "leat-packed",
		"Nats-Msg-Id", "Nats-Expected-Stream", "Nats-Expected-Last-Sequence", "Nats-Expected-Last-Msg-Id",
		"Nats-Expected-Last-Subject-Sequence", "Nats-Rollup", "Nats-TTL", "Nats-Batch-Id", "Nats-Schedule", "Nats-Trace-Dest", "Nats-Stream",
		"nats-msg-id", "Status", "Description", "Reply-To", "traceparent", "Accept-Encoding", "a/b", "()<>@,;:\\\"/[]?={}",
		"metadata", "payload", "uuid", "key", "partition", "offset", "message_id", "content-type",
		strings.Repeat("k", 255), strings.Repeat("k", 256), strings.Repeat("k", 1<<16),
		"", " ", "a b", "a:b", "a\r\nb: c", "\x00", "a\x00b", "\xff\xfe", "\xc3\x28", "ключ", "\u2028",
	} {
		for _, value := range []string{"all", "1", "100"} {
			all = append(all, message.Metadata{key: value})
		}
	}
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	return append(all,
		message.Metadata{string(binary[:200]): string(binary)},
		message.Metadata{"value": "\x00\xff\xfe\r\n %41 50%"},
		message.Metadata{"value": ""},
		message.Metadata{"CC": strings.Repeat("v", 1<<20)},
		message.Metadata{"value": strings.Repeat("v", 200<<10)},
		message.Metadata{"value": strings.Repeat("v", 1<<20)},
		message.Metadata{"value": strings.Repeat("\xff", 1<<20)},
		manyEntries(5000))
}

func manyEntries(n int) message.Metadata {
	md := make(message.Metadata, n)
	for i := range n {
		md["key-"+strconv.Itoa(i)] = strings.Repeat("v", 40)
	}
	return md
}

// describe says what is special about metadata, in short.
func describe(md message.Metadata) string {
	key := slices.Min(slices.Collect(maps.Keys(md)))
	return fmt.Sprintf("%.40q (%d bytes of %d) = %.20q (%d bytes)", key, len(key), len(md), md[key], len(md[key]))
}

// Whatever its metadata is, a message comes as it was, once, or is refused at once because of its size; those around it come in any case.
func TestPoisonedMetadata(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		topic := b.Topic("poison")
		in, err := b.Subscriber().Subscribe(t.Context(), topic)
		require.NoError(t, err)
		var came []*message.Message
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for m := range in {
				m.Ack()
				if came = append(came, m); string(m.Payload) == "end" {
					return
				}
			}
		}()
		var sent []*message.Message
		for i, md := range poisons() {
			for _, m := range []*message.Message{
				message.NewMessage(uuid.NewString(), nil),
				message.NewMessage(uuid.NewString(), []byte("good "+strconv.Itoa(i))),
			} {
				if m.Payload == nil {
					m.Metadata = maps.Clone(md)
				}
				err := b.Publisher().Publish(topic, m)
				if err != nil {
					var large *brokers.TooLargeError
					require.ErrorAs(t, err, &large, describe(md))
					require.ErrorIs(t, err, bus.ErrTooLarge)
					require.Greater(t, large.Size, large.Limit)
					require.GreaterOrEqual(t, bytesOf(m)*3+bytesOf(m)/2, large.Limit, "it is not that large: %s", describe(md))
					continue
				}
				sent = append(sent, m)
			}
		}
		require.NoError(t, b.Publisher().Publish(topic, text("end")))
		select {
		case <-ended:
		case <-time.After(time.Minute):
			require.Fail(t, "not all has come")
		}
		require.Len(t, came, len(sent)+1)
		for i, m := range sent {
			require.Equal(t, string(m.Payload), string(came[i].Payload), "message %d", i)
			assert.True(t, maps.Equal(m.Metadata, came[i].Metadata), "%d: %s", i, describe(orElse(m.Metadata)))
			assert.Equal(t, m.UUID, came[i].UUID)
		}
		require.Zero(t, b.Stats().Skipped)
		require.Zero(t, b.Stats().Republished, "nothing that can never be sent is tried again")
	})
}

func orElse(md message.Metadata) message.Metadata {
	if len(md) == 0 {
		return message.Metadata{"none": ""}
	}
	return md
}

func bytesOf(m *message.Message) int {
	n := len(m.Payload)
	for k, v := range m.Metadata {
		n += len(k) + len(v)
	}
	return n
}

// A key of this package's own is refused: the message would be taken for a probe, or for one that could not be read.
func TestReservedMetadata(t *testing.T) {
	t.Parallel()
	b := kinds[0].open(t)
	for _, key := range []string{"leat-probe", "leat-skip"} {
		m := text("x")
		m.Metadata.Set(key, "1")
		err := b.Publisher().Publish(b.Topic("reserved"), text("before"), m)
		require.ErrorIs(t, err, brokers.ErrReserved)
		failed := new(brokers.PublishError)
		require.ErrorAs(t, err, &failed)
		require.Equal(t, 1, failed.Failed)
		require.Zero(t, failed.Published)
	}
}

// Of 1,000 messages that are published together, or one by one, the five that the broker does not take are refused, told, and alone.
func TestPoisonedAmongMany(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k kind) {
		b := k.open(t)
		limit := b.Publisher().(limiter).MaxBytes(b.Topic("many"))
		if limit == 0 || limit > 2<<20 {
			return // there is nothing that it does not take, or nothing of a size for a test: see TestTooLarge
		}
		topic := b.Topic("many")
		in, err := b.Subscriber().Subscribe(t.Context(), topic)
		require.NoError(t, err)
		var messages []*message.Message
		var good []string
		for i := range 1000 {
			m := message.NewMessage(uuid.NewString(), []byte(strconv.Itoa(i)))
			if i%200 == 100 {
				m.Metadata.Set("value", strings.Repeat("v", limit))
			} else {
				good = append(good, strconv.Itoa(i))
			}
			messages = append(messages, m)
		}
		published := make(chan error, 1)
		go func() {
			published <- publishAll(b, topic, messages)
		}()
		for _, want := range good {
			require.Equal(t, want, take(t, in))
		}
		require.ErrorContains(t, <-published, "5 refused")
		require.Zero(t, b.Stats().Republished)
	})
}

type limiter interface{ MaxBytes(topic string) int }

// publishAll leaves out what is too large.
func publishAll(b *brokers.Broker, topic string, messages []*message.Message) error {
	refused := 0
	for {
		err := b.Publisher().Publish(topic, messages...)
		if err == nil {
			return fmt.Errorf("%d refused", refused)
		}
		failed := new(brokers.PublishError)
		if !errors.As(err, &failed) || !errors.Is(err, brokers.ErrTooLarge) || failed.Published > 0 {
			return err
		}
		refused++
		messages = slices.Delete(messages, failed.Failed, failed.Failed+1)
	}
}
