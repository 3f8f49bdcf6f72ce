package brokers

import (
	"fmt"
	"strings"
)

// Guarantees says what a backend promises. The tables of docs/brokers.md are
// made of these, by [Table].
type Guarantees struct {
	Name string
	URL  string // an example

	Ordered  bool // a subscription keeps the order of publication
	Confirms bool // Publish returns when the broker has the message
	Resumes  bool // a subscription loses nothing while its connection is broken
	Queues   bool // Queue works
	Durable  bool // what waits in a Queue survives a restart of the broker, if that writes to disk

	// For people. Each begins with what matters most.
	Ordering    string
	Redelivery  string
	Acks        string
	Restart     string // what survives one of the broker, and how subscriptions come back
	Metadata    string
	Sizes       string // the limit of a message; a larger one is ErrTooLarge
	Topics      string // what names are made of, and where they end up
	Growth      string // what stays with the broker, and what trims it
	Requires    string // what leat needs of the server
	Connections string
}

// All returns the guarantees of every backend.
func All() []Guarantees {
	return []Guarantees{natsCoreGuarantees, jetStreamGuarantees, redisGuarantees, rabbitGuarantees,
		postgresGuarantees, kafkaGuarantees, memoryGuarantees, goChannelGuarantees}
}

// Table returns the guarantees as Markdown: a table to compare by, and a list for
// each backend.
func Table(all []Guarantees) string {
	var b strings.Builder
	b.WriteString("| | URL | ordered | Publish waits for the broker | nothing lost while the connection is broken | queues | durable queues |\n")
	b.WriteString("|---|---|---|---|---|---|---|\n")
	yes := map[bool]string{true: "yes", false: "no"}
	for _, g := range all {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s | %s | %s |\n", g.Name, g.URL,
			yes[g.Ordered], yes[g.Confirms], yes[g.Resumes], yes[g.Queues], yes[g.Durable])
	}
	for _, g := range all {
		fmt.Fprintf(&b, "\n### %s\n\n", g.Name)
		for _, line := range []struct{ what, text string }{
			{"Ordering", g.Ordering}, {"Redelivery", g.Redelivery}, {"Acks", g.Acks}, {"Restart", g.Restart}, {"Metadata", g.Metadata},
			{"Sizes", g.Sizes}, {"Topics", g.Topics}, {"Growth", g.Growth}, {"Requires", g.Requires}, {"Connections", g.Connections},
		} {
			fmt.Fprintf(&b, "* *%s*: %s\n", line.what, line.text)
		}
	}
	return b.String()
}
