package brokers

var natsCoreGuarantees = Guarantees{
	Name: "NATS core", URL: "nats://127.0.0.1:4222",
	Ordered: true, Queues: true,
	Ordering:   "of each publisher's connection, for each subscription.",
	Redelivery: "none: a message is delivered at most once, and a nack loses it.",
	Acks:       "hold up the next message, and are not sent. Publish returns before the server has the message.",
	Restart: "nothing that was under way survives. The client reconnects every 250 ms, for ever, and subscriptions with it; what was published in between is lost. " +
		"So a link by Join ends at once when the connection breaks (`Stats.Gaps`), and pairing.Connect attaches it again. Publish fails while disconnected.",
	Metadata: "any. What headers would not carry (spaces at the ends, line breaks, letters beyond ASCII, what is no letter of a header's name) is percent-encoded, and so is the first letter " +
		"of keys that servers and clients read for themselves: `Nats-…`, `Status`, `Description`, `_watermill_message_uuid`, `leat-packed`. Headers of more than 64 KiB " +
		"travel in front of the payload, with a header `leat-packed`. A message with a repeated header is skipped.",
	Sizes:       "`max_payload`, as the server says when it is connected to (1 MiB by default), for payload and headers.",
	Topics:      "subject `<namespace>.<topic>`; letters, digits, `_`, `-` and single inner dots, up to 180 bytes.",
	Growth:      "nothing is stored. A subscriber that is behind by 500,000 messages or 64 MB loses messages (`Stats.Lost`).",
	Requires:    "any NATS server.",
	Connections: "one for everything.",
}

var jetStreamGuarantees = Guarantees{
	Name: "NATS JetStream", URL: "nats+jetstream://127.0.0.1:4222",
	Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true,
	Ordering: "of each topic, for each subscription; in a queue with one subscription, as long as nothing is redelivered.",
	Redelivery: "after a nack (100 ms later); in queues also when the consumer has not said for AckWait that it is at it, which it does at least every second. A message is out only while a subscription has it. " +
		"When a subscription ends, what it has not handed on is given back; what the server sends just then comes after AckWait.",
	Acks: "of queues are confirmed by the server. Fan-out has none (an ordered consumer).",
	Restart: "the streams and the queues survive. Fan-out subscriptions are made again behind the last message they had, about 3 s after the server is back. " +
		"Publish waits up to 5 s for the server's answer. A stream or a consumer that was removed is made again within about 2 s; what it held is lost, so that links and fleets end and begin again (`Stats.Gaps`).",
	Metadata: "as NATS core.",
	Sizes:    "as NATS core, and the stream's `max_msg_size`.",
	Topics: "two streams: `<namespace>` for fan-out, with a subject `<namespace>.<topic>` for each topic, and `<namespace>_queues`, with a subject `<namespace>_queues.<consumer>.<topic>` for each group of it; as NATS core. " +
		"What other programs publish to a topic's subject reaches fan-out only.",
	Growth: "of fan-out what is older than Retention goes, and of each topic all but the last MaxMessages. What waits in a queue stays until it is acked; at MaxMessages it refuses (ErrQueueFull). " +
		"Limits of a namespace are raised by Open and not lowered: `nats stream edit`. The consumer of a group stays, with what waits: delete it with `nats consumer rm`, and purge its subject.",
	Requires:    "a server of version 2.9 or newer with JetStream, and the right to make or change the streams. At most 4,096 subscriptions of a group wait for a message.",
	Connections: "one for everything.",
}

var redisGuarantees = Guarantees{
	Name: "Redis Streams", URL: "redis://127.0.0.1:6379/0",
	Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true,
	Ordering:   "of each topic; in a queue with one subscription, as long as nothing is redelivered.",
	Redelivery: "after a nack (100 ms later); in queues also when the consumer has not said for AckWait that it is at it, which it does at least every second; that is looked for every AckWait/4, at most every second. A message is out only while a subscription has it.",
	Acks:       "of a queue remove the entry; fan-out notes its position in the process.",
	Restart: "whatever Redis has on disk survives (`appendonly yes`; `appendfsync always` for what it has confirmed). Subscriptions go on behind the last message they had within a second; " +
		"a stream or a group that was removed is made again within about a second, and a stream that counts from an earlier entry than it had (a failover, a clock that is behind) is read from there.",
	Metadata: "any. The keys `_watermill_message_uuid` and `%…` get a `%` in front of them. An entry without the fields of Watermill is skipped.",
	Sizes:    "the server's `proto-max-bulk-len` (512 MiB, where it may not be asked for), for payload and metadata together.",
	Topics: "key `<namespace>:<topic>` for fan-out, and for each group `<namespace>:queue:<topic>:<group>`, with `<namespace>:groups:<topic>` to name them; letters, digits, `_`, `-` and single inner dots, up to 180 bytes. " +
		"What other programs add to a topic's key reaches fan-out only.",
	Growth: "of fan-out MaxMessages (about) are kept; while somebody subscribes, entries older than Retention go, and a stream expires at twice Retention after its last subscriber. " +
		"What waits in a queue stays until it is acked; at MaxMessages it refuses (ErrQueueFull). Limits of a namespace (`<namespace>::limits`) are raised by Open and not lowered. The stream of a group stays.",
	Requires:    "Redis 6.2 or newer (XTRIM MINID). No cluster: a topic is one key, but Open takes one address. `maxmemory-policy noeviction`.",
	Connections: "one that reads for all fan-out subscriptions, one for all queues of a group name (a fleet has one), and a pool of up to six (`pool_size`) for all else, whatever the number of topics, queues and messages that are out.",
}

var rabbitGuarantees = Guarantees{
	Name: "RabbitMQ", URL: "amqp://guest:guest@127.0.0.1:5672/",
	Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true,
	Ordering:   "of each publisher, for each subscription; in a queue with one subscription, as long as nothing is redelivered.",
	Redelivery: "after a nack, at once and for ever; and when the connection of a consumer ends. The server ends the channel of one that does not ack for 30 minutes (its `consumer_timeout`); AckWait is not used.",
	Acks: "basic.ack, one message out at a time (prefetch 1); links and fleets, which ack what they have taken, have up to 256. Publish waits until all of its messages are confirmed, " +
		"which are persistent. Events of a fleet that are published together, up to 256 KiB, are one message to the server (header `leat-packed`).",
	Restart: "exchange, queues and messages survive. Each subscription has a durable queue of its own, which outlives its connection by Retention, so that nothing is lost; " +
		"it reconnects within about a second of the server's return. It makes its queue and binding again then, and every 2 s: a server that is killed may lose the binding made last, and keep the queue. " +
		"So Publish fails (and is tried again for PublishRetry) where no queue is bound to a topic and one must be: while this process has a subscription to it, and for 15 s after a reconnect " +
		"where one was bound before.",
	Metadata: "any. Where headers would not fit into a frame (`frame_max`, 128 KiB by default), a key has more than 255 bytes, or is one that the server or the client reads for itself (`CC`, `BCC`, `x-…`, " +
		"`_watermill_message_uuid`, `leat-packed`), all metadata travels in front of the payload, with a header `leat-packed`. Headers that are no strings are left out.",
	Sizes:  "`max_message_size`, which the server does not tell: its default by the server's version (128 MiB; from 4.0 on 16 MiB), and less once it has refused a message with a smaller limit.",
	Topics: "routing key `<topic>` on the direct exchange `<namespace>`; letters, digits, `_`, `-` and single inner dots, up to 180 bytes.",
	Growth: "the queue of a subscription is deleted with it, or after Retention without a consumer, and drops its oldest above MaxMessages, which the server does not tell. " +
		"The queue of a group stays, with all that nobody takes: it has no bound, and drops nothing.",
	Requires:    "RabbitMQ 3.8 or newer, and the right to declare in the vhost. A message for which there is no queue, and need be none, is dropped by the server.",
	Connections: "one to publish (8 channels) and one for all subscriptions (a channel each).",
}

var postgresGuarantees = Guarantees{
	Name: "Postgres", URL: "postgres://user@127.0.0.1:5432/db",
	Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true,
	Ordering:   "of each topic, whose publishers take turns (a lock until the commit); in a queue with one subscription, as long as nothing is redelivered.",
	Redelivery: "after a nack (100 ms later); in queues also when the consumer has not said for AckWait that it is at it, which it does at least every second. A message is out only while a subscription has it.",
	Acks:       "of a queue remove the row that waits; fan-out notes its position in the process.",
	Restart: "everything committed survives. Subscriptions go on behind the last message they had, about a second after the server is back. Tables and groups that were removed are made again within about a second; a group gets what was published meanwhile. " +
		"Offsets that go back (a restore, a failover, TRUNCATE … RESTART IDENTITY) are noticed and logged, and subscriptions go on behind the last message they had, by its time.",
	Metadata: "any: bytes that are no UTF-8, NUL and `%` are percent-encoded. A row whose metadata is no JSON is skipped.",
	Sizes:    "256 MiB, a bound of leat's: the server takes up to 1 GB in a field, and has that in memory several times.",
	Topics:   "tables `<namespace>_messages`, `_groups` and `_waiting`, with the topic in a column; letters, digits, `_`, `-` and single inner dots, up to 180 bytes.",
	Growth: "rows older than Retention are deleted, unless a group still has to handle them; the longest Retention of the namespace counts (a comment of the table has it). Nothing bounds their number. " +
		"Groups stay: delete their row in `_groups`, and what waits in `_waiting`.",
	Requires: "PostgreSQL 12 or newer, the right to create tables, and no pooler that shares connections between statements (LISTEN, prepared statements). " +
		"The tables are leat's own, not those of the adapter's default schema. Other transactions, however long, delay nothing.",
	Connections: "at most MaxConns (8), of which one listens and three stay while nothing is to be done, whatever the number of topics, queues and messages that are out. A server that has no room for one (`53300`) is asked again.",
}

var kafkaGuarantees = Guarantees{
	Name: "Kafka", URL: "kafka://127.0.0.1:9092",
	Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true,
	Ordering:   "of each topic: it has one partition, and the topic is the key of every message.",
	Redelivery: "after a nack (100 ms later, to the same subscription); in queues also of what was not committed when a consumer joins, leaves or dies. Nothing is redelivered for lack of an ack.",
	Acks:       "of queues commit the offset; all in-sync replicas confirm what is published (`acks=all`). One consumer of a group works at a time, since there is one partition.",
	Restart:    "the log and the committed offsets survive. Subscriptions go on behind the last message they had.",
	Metadata:   "any. The keys `_watermill_message_uuid` and `%…` get a `%` in front of them.",
	Sizes:      "the topic's `max.message.bytes`, or the broker's `message.max.bytes` if that is less (about 1 MB, where they may not be asked for), for a record with its headers.",
	Topics:     "`<namespace>.<topic>`, made on first use; letters, digits, `-` and single inner dots, up to 180 bytes (no `_`: Kafka takes it for a dot).",
	Growth:     "`retention.ms` is Retention, for what waits in a queue too. Topics stay. A group begins with the oldest message that is there.",
	Requires: "Kafka 2.8 or newer, and the right to make topics. Joining a group takes seconds. " +
		"**Not yet tested on a real Kafka**: only on franz-go's in-process kfake, with two differences from a real broker mended in the test (it refuses the leader epoch that sarama sends, and answers an empty fetch as sarama does not take it).",
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
	Sizes:       "no limit.",
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
	Sizes:       "no limit.",
	Topics:      "letters, digits, `_`, `-` and single inner dots, up to 180 bytes.",
	Growth:      "nothing is stored.",
	Requires:    "nothing; each Open is a broker of its own.",
	Connections: "none.",
}
