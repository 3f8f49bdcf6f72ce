package brokers

var natsCoreGuarantees = Guarantees{
	Name: "NATS core", URL: "nats://127.0.0.1:4222",
	Ordered: true, Queues: true,
	Ordering:   "of each publisher's connection, for each subscription.",
	Redelivery: "none: a message is delivered at most once, and a nack loses it.",
	Acks:       "hold up the next message, and are not sent. Publish returns before the server has the message.",
	Restart: "nothing that was under way survives. The client reconnects every 250 ms, for ever, and subscriptions with it; what was published in between is lost. " +
		"So a link by Join ends at once when the connection breaks (`Stats.Gaps`), and pairing.Connect attaches it again. Publish fails while disconnected.",
	Metadata:    "any: what headers would not carry (spaces at the ends, line breaks, letters beyond ASCII) is percent-encoded. A message with a repeated header is skipped.",
	Topics:      "subject `<namespace>.<topic>`; letters, digits, `_`, `-` and single inner dots, up to 180 bytes.",
	Growth:      "nothing is stored. A subscriber that is behind by 500,000 messages or 64 MB loses messages (`Stats.Lost`).",
	Requires:    "any NATS server; `max_payload` (1 MB by default) above the largest message.",
	Connections: "one for everything.",
}

var jetStreamGuarantees = Guarantees{
	Name: "NATS JetStream", URL: "nats+jetstream://127.0.0.1:4222",
	Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true,
	Ordering: "of each topic, for each subscription; in a queue with one subscription, as long as nothing is redelivered.",
	Redelivery: "queues only: after a nack (100 ms later), or when no ack came within AckWait. At most 16 messages of a group are out; those that wait in a busy client count. " +
		"When a subscription ends, what it has not handed on is given back; what the server sends just then comes after AckWait.",
	Acks: "of queues are confirmed by the server. Fan-out has none (an ordered consumer), and a nack there loses the message.",
	Restart: "the stream and the queues survive. Fan-out subscriptions are made again behind the last message they had, about 3 s after the server is back. " +
		"Publish waits up to 5 s for the server's answer.",
	Metadata: "as NATS core.",
	Topics:   "one stream, `<namespace>`, with a subject `<namespace>.<topic>` for each; as NATS core.",
	Growth: "what is older than Retention goes, and of each topic all but the last MaxMessages, also what waits in a queue. " +
		"The consumer of a group stays: delete it with `nats consumer rm`.",
	Requires:    "a server with JetStream, and the right to make or change the stream.",
	Connections: "one for everything.",
}

var redisGuarantees = Guarantees{
	Name: "Redis Streams", URL: "redis://127.0.0.1:6379/0",
	Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true,
	Ordering:   "of each topic; in a queue with one subscription, as long as nothing is redelivered.",
	Redelivery: "after a nack (100 ms later, to the same subscription); in queues also when no ack came within AckWait, looked for every AckWait/4. A consumer reads up to two messages ahead of the one that is out.",
	Acks:       "XACK in queues; fan-out notes its position in the process.",
	Restart: "whatever Redis has on disk survives (`appendonly yes`; `appendfsync always` for what it has confirmed). Subscriptions go on behind the last message they had within a second; " +
		"a group that was lost is made again (at the oldest entry).",
	Metadata: "any. An entry without the fields of Watermill is skipped.",
	Topics:   "key `<namespace>:<topic>`; letters, digits, `_`, `-` and single inner dots, up to 180 bytes.",
	Growth: "while somebody subscribes, entries older than Retention go unless a group still has to handle them, and a stream without groups expires at twice Retention after its last subscriber. " +
		"MaxMessages (about) bounds every stream, also what waits in a queue.",
	Requires:    "Redis 6.2 or newer (XTRIM MINID). No cluster: a topic is one key, but Open takes one address. `maxmemory-policy noeviction`.",
	Connections: "up to ten per core to publish, and a client of its own, with up to four, for each subscription.",
}

var rabbitGuarantees = Guarantees{
	Name: "RabbitMQ", URL: "amqp://guest:guest@127.0.0.1:5672/",
	Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true,
	Ordering:   "of each publisher, for each subscription; in a queue with one subscription, as long as nothing is redelivered.",
	Redelivery: "after a nack, at once and for ever; and when the connection of a consumer ends. The server ends the channel of one that does not ack for 30 minutes (its `consumer_timeout`); AckWait is not used.",
	Acks:       "basic.ack, one message out at a time (prefetch 1). Publish waits for the confirm of each message, which is persistent.",
	Restart: "exchange, queues and messages survive. Each subscription has a durable queue of its own, which outlives its connection by Retention, so that nothing is lost; " +
		"it reconnects within about a second of the server's return. The adapter reconnects with a data race in its own fields, without consequence that we know of.",
	Metadata: "any, with keys of up to 255 bytes: longer ones are refused. Headers that are no strings are left out; the adapter's mark of a redelivery is taken off.",
	Topics:   "routing key `<topic>` on the direct exchange `<namespace>`; letters, digits, `_`, `-` and single inner dots, up to 180 bytes.",
	Growth: "the queue of a subscription is deleted with it, or after Retention without a consumer, and drops its oldest above MaxMessages. " +
		"The queue of a group stays, with all that nobody takes.",
	Requires:    "RabbitMQ 3.8 or newer, and the right to declare in the vhost. A message for which there is no queue is dropped by the server.",
	Connections: "one to publish (8 channels) and one for all subscriptions (a channel each).",
}

var postgresGuarantees = Guarantees{
	Name: "Postgres", URL: "postgres://user@127.0.0.1:5432/db",
	Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true,
	Ordering:   "of each topic, whose publishers take turns (a lock until the commit); in a queue with one subscription, as long as nothing is redelivered.",
	Redelivery: "after a nack (100 ms later); in queues also when no ack came within AckWait, and at once when the connection of a consumer ends.",
	Acks:       "of a queue commit the transaction in which the message was read. Fan-out notes its position in the process.",
	Restart:    "everything committed survives. Subscriptions go on behind the last message they had, about a second after the server is back.",
	Metadata:   "any valid UTF-8. A row whose metadata is no JSON is skipped.",
	Topics:     "tables `<namespace>_messages`, `_groups` and `_waiting`, with the topic in a column; letters, digits, `_`, `-` and single inner dots, up to 180 bytes.",
	Growth:     "rows older than Retention are deleted, unless a group still has to handle them. Groups stay: delete their row in `_groups`, and what waits in `_waiting`.",
	Requires: "PostgreSQL 12 or newer, the right to create tables, and no pooler that shares connections between statements (LISTEN, prepared statements). " +
		"The tables are leat's own, not those of the adapter's default schema. Other transactions, however long, delay nothing.",
	Connections: "up to 8 to publish, 16 for fan-out, 2 to notify, 1 to listen, and one for each message of a queue that is out. " +
		"A fan-out subscriber that holds a message holds one of the 16: links ack at once.",
}

var kafkaGuarantees = Guarantees{
	Name: "Kafka", URL: "kafka://127.0.0.1:9092",
	Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true,
	Ordering:   "of each topic: it has one partition, and the topic is the key of every message.",
	Redelivery: "after a nack (100 ms later, to the same subscription); in queues also of what was not committed when a consumer joins, leaves or dies. Nothing is redelivered for lack of an ack.",
	Acks:       "of queues commit the offset; all in-sync replicas confirm what is published (`acks=all`). One consumer of a group works at a time, since there is one partition.",
	Restart:    "the log and the committed offsets survive. Subscriptions go on behind the last message they had.",
	Metadata:   "any.",
	Topics:     "`<namespace>.<topic>`, made on first use; letters, digits, `-` and single inner dots, up to 180 bytes (no `_`: Kafka takes it for a dot).",
	Growth:     "`retention.ms` is Retention, for what waits in a queue too. Topics stay. A group begins with the oldest message that is there.",
	Requires: "Kafka 2.8 or newer, and the right to make topics. Joining a group takes seconds. " +
		"Tested here on franz-go's in-process kfake, with two differences from a real broker mended in the test (it refuses the leader epoch that sarama sends, and answers an empty fetch as sarama does not take it); not yet on a real cluster.",
	Connections: "a client to publish and one to administer, and one for each subscription.",
}

var memoryGuarantees = Guarantees{
	Name: "memory", URL: "memory://",
	Ordered: true, Confirms: true, Resumes: true,
	Ordering:    "of each topic.",
	Redelivery:  "after a nack, with a growing pause, ten times.",
	Acks:        "let the next message come. Publish waits for room in every subscription's queue.",
	Restart:     "nothing survives the process.",
	Metadata:    "any.",
	Topics:      "letters, digits, `_`, `-` and single inner dots, up to 180 bytes.",
	Growth:      "bounded: 1,024 messages a subscription.",
	Requires:    "nothing; each Open is a broker of its own.",
	Connections: "none.",
}

var goChannelGuarantees = Guarantees{
	Name: "GoChannel", URL: "gochannel://",
	Ordered: true, Confirms: true, Resumes: true,
	Ordering:    "of each goroutine that publishes.",
	Redelivery:  "after a nack, at once and for ever.",
	Acks:        "let Publish return: it waits for those of all subscriptions.",
	Restart:     "nothing survives the process.",
	Metadata:    "any.",
	Topics:      "letters, digits, `_`, `-` and single inner dots, up to 180 bytes.",
	Growth:      "nothing is stored.",
	Requires:    "nothing; each Open is a broker of its own.",
	Connections: "none.",
}
