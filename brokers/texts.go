package brokers

var (
	natsCoreGuarantees  = Guarantees{Name: "NATS core", Ordered: true, Queues: true}
	jetStreamGuarantees = Guarantees{Name: "NATS JetStream", Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true}
	redisGuarantees     = Guarantees{Name: "Redis Streams", Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true}
	rabbitGuarantees    = Guarantees{Name: "RabbitMQ", Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true}
	postgresGuarantees  = Guarantees{Name: "Postgres", Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true}
	kafkaGuarantees     = Guarantees{Name: "Kafka", Ordered: true, Confirms: true, Resumes: true, Queues: true, Durable: true}
	memoryGuarantees    = Guarantees{Name: "memory", Ordered: true, Confirms: true, Resumes: true}
	goChannelGuarantees = Guarantees{Name: "GoChannel", Ordered: true, Confirms: true, Resumes: true}
)
