package brokers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
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
	pub     *wmkafka.Publisher
	made    sync.Map // topics that are known to exist
}

func openKafka(_ context.Context, a address, s *shared) (backend, error) {
	if err := a.plain(); err != nil {
		return nil, err
	}
	k := &kafka{shared: s, address: a}
	config := k.config()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Retry.Max = 10
	config.Net.Proxy.Enable, config.Net.Proxy.Dialer = true, s.dialer // sarama has no other way to be told of ctx
	if err := k.open(config); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *kafka) open(config *sarama.Config) (err error) {
	if k.admin, err = sarama.NewClusterAdmin(k.address.hosts, config); err != nil {
		return err
	}
	key := func(topic string, _ *message.Message) (string, error) { return topic, nil }
	k.pub, err = wmkafka.NewPublisher(wmkafka.PublisherConfig{
		Brokers:               k.address.hosts,
		Marshaler:             wmkafka.NewWithPartitioningMarshaler(key),
		OverwriteSaramaConfig: config,
	}, adapterLog(k.shared.opts.Logger))
	if err != nil {
		return errors.Join(err, k.admin.Close())
	}
	return nil
}

func (k *kafka) config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.ClientID = "leat-" + k.shared.opts.Namespace
	config.Metadata.Retry.Backoff = 250 * time.Millisecond
	config.Consumer.Retry.Backoff = 250 * time.Millisecond
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
	k.made.Store(topic, nil)
	return nil
}

func (k *kafka) Publish(topic string, messages ...*message.Message) error {
	topic = k.topic(topic)
	if err := k.create(topic); err != nil {
		return err
	}
	return k.pub.Publish(topic, messages...)
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

// maxMessage is what brokers and this client take by default.
func (*kafka) maxMessage() int { return 1_000_000 }

func (*kafka) naming() naming         { return dashNames }
func (*kafka) guarantees() Guarantees { return kafkaGuarantees }

// kafkaCoder is the adapter's own, behind readable.
type kafkaCoder struct{ wmkafka.DefaultMarshaler }

func (c kafkaCoder) Unmarshal(m *sarama.ConsumerMessage) (*message.Message, error) {
	return readable(func() (*message.Message, error) { return c.DefaultMarshaler.Unmarshal(m) }), nil
}
