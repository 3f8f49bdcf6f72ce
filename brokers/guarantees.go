package brokers

// Guarantees says what a backend promises. docs/brokers.md is made of these.
type Guarantees struct {
	Name string
	URL  string // an example

	Ordered  bool // Subscriber keeps the order of publication
	Confirms bool // Publish returns when the broker has the message
	Resumes  bool // Subscriber loses nothing when the connection breaks
	Queues   bool // Queue works
	Durable  bool // what waits in a Queue survives a restart of the broker

	Ordering, Redelivery, Acks, Restart, Metadata, Topics, Growth, Requires string
}
