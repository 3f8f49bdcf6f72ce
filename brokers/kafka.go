package brokers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
)

// kafka has a Kafka topic of one partition for each topic: more would have no order.
type kafka struct {
	shared  *shared
	address address
	admin   sarama.ClusterAdmin
	pub     sarama.SyncProducer
	limit   int      // bytes of a batch that brokers take, where a topic does not say otherwise
	made    sync.Map // topics that are known to exist, with what they take
}

func openKafka(ctx context.Context, a address, s *shared) (backend, error) {
	if err := a.plain(); err != nil {
		return nil, err
	}
	k := &kafka{shared: s, address: a}
	config := k.config()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Retry.Max = 10
	var opened atomic.Bool
	config.Metadata.Retry.BackoffFunc = func(int, int) time.Duration {
		if !opened.Load() && ctx.Err() != nil { // nothing is dialed any more
			return 0
		}
		return kafkaBackoff
	}
	config.Net.MaxOpenRequests = 1                                    // else what is tried again comes behind what was sent after it
	config.Net.Proxy.Enable, config.Net.Proxy.Dialer = true, s.dialer // sarama has no other way to be told of ctx
	if err := k.open(config); err != nil {
		return nil, err
	}
	opened.Store(true)
	return k, nil
}

func (k *kafka) open(config *sarama.Config) (err error) {
	if k.admin, err = sarama.NewClusterAdmin(k.address.hosts, config); err != nil {
		return err
	}
	k.limit = k.maxMessageBytes(sarama.ConfigResource{Type: sarama.BrokerResource, Name: k.anyBroker()}, "message.max.bytes", kafkaMaxBytes)
	config.Producer.MaxMessageBytes = k.limit // of a batch
	if k.pub, err = sarama.NewSyncProducer(k.address.hosts, config); err != nil {
		return errors.Join(err, k.admin.Close())
	}
	return nil
}

// kafkaMaxBytes is about what brokers take by default.
const kafkaMaxBytes = 1_000_000

// anyBroker returns the ID of one.
func (k *kafka) anyBroker() string {
	brokers, _, err := k.admin.DescribeCluster()
	if err != nil || len(brokers) == 0 {
		return ""
	}
	return strconv.Itoa(int(brokers[0].ID()))
}

// maxMessageBytes asks for a setting, and returns fallback where that may not be asked for.
func (k *kafka) maxMessageBytes(of sarama.ConfigResource, name string, fallback int) int {
	of.ConfigNames = []string{name}
	results, err := k.admin.DescribeConfigs([]*sarama.ConfigResource{&of}, sarama.DescribeConfigsOptions{})
	if err != nil {
		return fallback
	}
	for _, r := range results {
		if r.ErrorCode != sarama.ErrNoError {
			return fallback
		}
		for _, e := range r.Configs {
			if n, err := strconv.Atoi(e.Value); err == nil && e.Name == name && n > 0 {
				return n
			}
		}
	}
	return fallback
}

// kafkaBackoff is the pause between two tries of the client's.
const kafkaBackoff = 250 * time.Millisecond

func (k *kafka) config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.ClientID = "leat-" + k.shared.opts.Namespace
	config.Metadata.Retry.Backoff = kafkaBackoff
	config.Consumer.Retry.Backoff = kafkaBackoff
	config.Metadata.AllowAutoTopicCreation = false
	k.secure(config)
	return config
}

// secure sets TLS and the user.
func (k *kafka) secure(config *sarama.Config) {
	opts, l := k.shared.opts, k.shared.login
	if opts.TLS != nil || k.address.scheme == "kafka+tls" {
		config.Net.TLS.Enable, config.Net.TLS.Config = true, opts.TLS.Clone() // the client sets the name of each server
	}
	if !l.given {
		return
	}
	sasl := &config.Net.SASL
	sasl.Enable = true
	sasl.Mechanism = sarama.SASLMechanism(cmp.Or(opts.Credentials.SASL, saslPlain))
	switch sasl.Mechanism {
	case saslOAuth:
		sasl.TokenProvider = oauthToken{l}
		return
	case saslSCRAM256, saslSCRAM512:
		sasl.SCRAMClientGeneratorFunc = newSCRAM(string(sasl.Mechanism), l)
		sasl.User, sasl.Password = "…", "…" // not used, but asked for
	default:
		sasl.User, sasl.Password = l.soon()
	}
}

func (k *kafka) topic(topic string) string { return k.shared.opts.Namespace + "." + topic }

// create makes the topic, with one partition. A broker that makes it on its own
// may give it more.
func (k *kafka) create(topic string) error {
	if _, made := k.made.Load(topic); made {
		return nil
	}
	retention := strconv.FormatInt(k.shared.opts.Retention.Milliseconds(), 10)
	err := k.admin.CreateTopic(topic, &sarama.TopicDetail{
		NumPartitions:     1,
		ReplicationFactor: -1, // the cluster's default
		ConfigEntries:     map[string]*string{"retention.ms": &retention},
	}, false)
	if err != nil && !errors.Is(err, sarama.ErrTopicAlreadyExists) {
		return fmt.Errorf("create topic: %w", err)
	}
	k.made.Store(topic, k.maxMessageBytes(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic}, "max.message.bytes", k.limit))
	return nil
}

func (k *kafka) Publish(topic string, messages ...*message.Message) error {
	limit, topic := k.maxBytes(topic), k.topic(topic)
	if err := k.create(topic); err != nil {
		return err
	}
	all, err := encodeAll(messages, limit, func(m *message.Message) (encoded[*sarama.ProducerMessage], error) {
		return encodeKafka(topic, m)
	})
	if err != nil {
		return err
	}
	return inWindows(all, k.send)
}

// send publishes a window, and returns how many of it the cluster has, from the front.
func (k *kafka) send(window []*sarama.ProducerMessage) (n int, err error) {
	for i, m := range window {
		m.Metadata = i
	}
	err = k.pub.SendMessages(window)
	var failed sarama.ProducerErrors
	if !errors.As(err, &failed) || len(failed) == 0 {
		return 0, err
	}
	n = len(window)
	for _, f := range failed {
		if i := f.Msg.Metadata.(int); i < n {
			n, err = i, f.Err
		}
	}
	return n, err
}

// transient: its client has tried again already.
func (*kafka) transient(error) bool { return false }

func (k *kafka) subscribe(ctx context.Context, topic, group string, _ bool) (*source, error) {
	topic = k.topic(topic)
	if err := k.create(topic); err != nil {
		return nil, err
	}
	config := k.config()
	dialer := newDialer(context.Background(), k.shared.opts.Dial)
	config.Net.Proxy.Enable, config.Net.Proxy.Dialer = true, dialer
	config.Metadata.Full = false // of all topics of all programs, for a client that has one
	if group == "" {
		config.Consumer.Offsets.Initial = sarama.OffsetNewest
	} else {
		group = k.shared.opts.Namespace + "." + group
		config.Consumer.Return.Errors = true // of a group the adapter reads them, of a partition it does not
		config.Consumer.Offsets.Initial = sarama.OffsetOldest
		config.Consumer.Offsets.AutoCommit.Enable = false // but with each ack
	}
	sub, err := wmkafka.NewSubscriber(wmkafka.SubscriberConfig{
		Brokers:               k.address.hosts,
		Unmarshaler:           kafkaCoder{},
		OverwriteSaramaConfig: config,
		ConsumerGroup:         group,
		NackResendSleep:       nackPause,
	}, adapterLog(k.shared.opts.Logger))
	if err != nil {
		return nil, err
	}
	messages, err := sub.Subscribe(ctx, topic)
	if err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	return &source{messages: messages, probe: group == "", close: func() error {
		if group == "" { // it would wait for the end of a fetch
			dialer.refuse()
			dialer.close()
		}
		return sub.Close()
	}}, nil
}

func (*kafka) flush(context.Context) error { return nil }
func (k *kafka) close() error              { return errors.Join(k.pub.Close(), k.admin.Close()) }

// maxBytes is what the topic takes, where it is known already.
func (k *kafka) maxBytes(topic string) int {
	if limit, made := k.made.Load(k.topic(topic)); made {
		return min(limit.(int), k.limit)
	}
	return k.limit
}

func (*kafka) naming() naming         { return dashNames }
func (*kafka) guarantees() Guarantees { return kafkaGuarantees }

// kafkaCoder is the adapter's own, behind readable, with its reserved key escaped.
type kafkaCoder struct{ wmkafka.DefaultMarshaler }

// encodeKafka has the topic for a key. A batch has a record at least, and its own head.
func encodeKafka(topic string, m *message.Message) (encoded[*sarama.ProducerMessage], error) {
	plain := message.NewMessage(m.UUID, m.Payload)
	plain.Metadata = escapeKeys(m.Metadata, wmkafka.UUIDHeaderKey)
	record, err := kafkaCoder{}.Marshal(topic, plain)
	if err != nil {
		return encoded[*sarama.ProducerMessage]{}, err
	}
	record.Key = sarama.StringEncoder(topic)
	return encoded[*sarama.ProducerMessage]{record, record.ByteSize(kafkaRecords) + kafkaBatchHead}, nil
}

const (
	kafkaRecords   = 2   // version of the format
	kafkaBatchHead = 128 // bytes, at most
)

func (c kafkaCoder) Unmarshal(m *sarama.ConsumerMessage) (*message.Message, error) {
	return readable(func() (*message.Message, error) {
		got, err := c.DefaultMarshaler.Unmarshal(m)
		if err == nil {
			unescapeKeys(got.Metadata)
		}
		return got, err
	}), nil
}
