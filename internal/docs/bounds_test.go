package docs_test

import (
	"fmt"
	"go/constant"
	"go/token"
	"go/types"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unit is how docs/bounds.md writes a number.
type unit func(n int64) string

func count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func bytes(n int64) string {
	switch {
	case n%(1<<20) == 0:
		return count(n>>20) + " MiB"
	case n%(1<<10) == 0:
		return count(n>>10) + " KiB"
	}
	return count(n) + " bytes"
}

func duration(n int64) string {
	switch d := time.Duration(n); {
	case d%time.Hour == 0:
		return fmt.Sprint(int(d.Hours()), " h")
	default:
		return fmt.Sprint(int(d.Seconds()), " s")
	}
}

// TestBoundsAreThoseOfTheCode compares the numbers in docs/bounds.md with the constants and defaults in the source.
func TestBoundsAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	page := read(t, "docs/bounds.md")
	for _, b := range []struct {
		row        string // how the row begins
		file, name string // what is assigned there
		unit       unit
	}{
		{"a message, in and out", "bus/bus.go", "o.MaxMessageBytes", bytes},
		{"IDs of messages", "bus/limits.go", "MaxIDBytes", bytes},
		{"the text of an error", "bus/limits.go", "MaxFaultBytes", bytes},
		{"requests and events that wait to be published", "bus/bus.go", "o.QueueSize", count},
		{"requests and events that wait to be published", "bus/bus.go", "o.QueueBytes", bytes},
		{"other answers and control messages", "bus/outbox.go", "smallMessage", bytes},
		{"time in which a peer takes nothing", "bus/bus.go", "o.StallTimeout", duration},
		{"time for which an emitter waits", "bus/bus.go", "o.EmitTimeout", duration},

		{"handlers that run", "commands/registry.go", "cfg.MaxInFlight", count},
		{"requests that wait for a handler", "commands/registry.go", "cfg.MaxBacklog", count},
		{"forwarded requests without an answer", "commands/registry.go", "cfg.MaxForwarded", count},
		{"forwarded requests that have waited", "commands/registry.go", "cfg.MaxBacklog", count},
		{"bytes of the requests", "commands/registry.go", "cfg.MaxHeldBytes", bytes},
		{"IDs of requests that are remembered", "bus/bus.go", "o.DedupeKeys", count},
		{"depth to which calls nest", "bus/context.go", "MaxDepth", count},
		{"depth to which calls nest", "bus/context.go", "MaxHops", count},
		{"goroutines that are kept", "commands/workers.go", "maxIdle", count},
		{"lists on their way", "commands/asked.go", "maxAsked", count},

		{"commands that one channel lists", "commands/registry.go", "cfg.MaxCommands", count},
		{"IDs, descriptions and schemas", "commands/registry.go", "cfg.MaxCommandBytes", bytes},
		{"registrations sent to the router", "commands/uplink.go", "maxWindow", count},
		{"unanswered registrations", "commands/uplink.go", "maxWaiters", count},
		{"registries that a registration comes through", "commands/path.go", "maxPath", count},

		{"foreign event IDs", "bus/bus.go", "o.DedupeKeys", count},
		{"a listener's queue", "events/listener.go", "o.QueueSize", count},
		{"a listener's queue", "events/listener.go", "o.QueueBytes", bytes},
		{"groups and patterns announced by a peer", "events/attendance.go", "maxInterests", count},
		{"groups and patterns announced by a peer", "events/attendance.go", "maxPattern", count},
		{"hops of an event", "bus/context.go", "MaxHops", count},
		{"age of an event", "bus/bus.go", "o.EventTTL", duration},

		{"steps of one validation", "internal/payload/schema.go", "baseSteps", count},
		{"steps of one validation", "internal/payload/schema.go", "stepsPerByte", count},
		{"nesting of a value", "internal/payload/value.go", "maxDepth", count},
		{"a schema that a command", "internal/payload/schema.go", "maxSchema", bytes},
		{"a schema that a command", "internal/payload/schema.go", "maxSchemaDepth", count},
		{"the reason of an error", "internal/reason/reason.go", "MaxReason", bytes},
		{"the details of an error", "internal/reason/reason.go", "MaxDetails", bytes},
		{"one value in a log line", "internal/logging/clean.go", "MaxValue", bytes},
		{"one value in a log line", "internal/logging/clean.go", "MaxStack", bytes},
		{"log lines of one text", "internal/logging/limit.go", "Burst", count},
		{"texts of log lines", "internal/logging/limit.go", "maxTexts", count},

		{"keys that messages", "internal/mac/mac.go", "MaxKeys", count},
		{"keys that messages", "internal/mac/mac.go", "MinKey", bytes},
		{"a session's name", "bus/session.go", "maxSession", bytes},
		{"greetings of a peer", "bus/greeting.go", "maxGreeters", count},
		{"greetings of a peer", "bus/plain.go", "maxHellos", count},
		{"the name of a process", "pairing/fleet/wire.go", "maxID", count},
		{"processes that were heard of", "pairing/fleet/meet.go", "maxWelcomes", count},
		{"a hello, a beat", "pairing/fleet/meet.go", "maxNotice", bytes},
		{"beats sent at once", "pairing/fleet/meet.go", "promptWelcomes", count},
		{"members, with", "pairing/fleet/options.go", "o.MaxMembers", count},
		{"sessions remembered", "pairing/fleet/member.go", "maxLeft", count},
		{"commands of a member", "pairing/fleet/catalogue.go", "maxCommands", count},
		{"definitions of all members", "pairing/fleet/catalogue.go", "maxKnown", bytes},
		{"parts of a list", "pairing/fleet/catalogue.go", "maxParts", count},
		{"parts of a list", "pairing/fleet/catalogue.go", "maxPart", bytes},
		{"one part, or one change", "pairing/fleet/catalogue.go", "maxNoticeBody", bytes},
		{"lists of all members", "pairing/fleet/catalogue.go", "maxKnown", bytes},
		{"lists that are fetched", "pairing/fleet/fetch.go", "maxFetches", count},
		{"processes in one answer", "pairing/fleet/view.go", "maxRepair", count},
		{"parts of answers", "pairing/fleet/view.go", "viewRate", count},
		{"sessions that a hello", "pairing/fleet/meet.go", "maxKnows", count},
		{"members that all watch", "pairing/fleet/meet.go", "crowd", count},
		{"groups and patterns of a member", "pairing/fleet/catalogue.go", "maxSeats", count},
		{"groups and patterns of a member", "pairing/fleet/catalogue.go", "maxWild", count},
		{"groups and patterns of a member", "pairing/fleet/group.go", "maxPattern", count},
		{"what waits to be published on one topic", "pairing/fleet/options.go", "o.QueueSize", count},
		{"what waits to be published on one topic", "pairing/fleet/outbox.go", "maxQueued", bytes},
		{"requests received, and events", "pairing/fleet/options.go", "o.DedupeKeys", count},
		{"requests received, and events", "pairing/fleet/serve.go", "maxKey", bytes},
		{"durable commands of others", "pairing/fleet/member.go", "maxDurable", count},
		{"processes that are not members", "pairing/fleet/job.go", "maxStrangers", count},

		{"queues of durable commands", "pairing/fleet/options.go", "o.MaxQueues", count},
		{"replies that are kept", "brokers/replies.go", "DefaultReplyTTL", duration},
		{"messages of fan-out that a broker stores", "brokers/options.go", "DefaultMaxMessages", count},
		{"connections to Postgres", "brokers/options.go", "DefaultMaxConns", count},
		{"subscriptions of a group that wait", "brokers/jetgroups.go", "jetWaiting", count},
		{"time for which a broker stores", "brokers/options.go", "DefaultRetention", duration},
		{"messages that wait for one subscription", "bus/memory/options.go", "DefaultQueueSize", count},
		{"messages of one subscription", "bus/memory/options.go", "DefaultMaxUnacked", count},
		{"deliveries again", "bus/memory/options.go", "DefaultMaxRedeliveries", count},
	} {
		_, row, found := strings.Cut(page, "\n| "+b.row)
		if !assert.True(t, found, "no row begins with %q", b.row) {
			continue
		}
		row, _, _ = strings.Cut(row, "\n")
		want := regexp.MustCompile(`(^|[^\d,])` + regexp.QuoteMeta(b.unit(assigned(t, b.file, b.name))) + `($|,\D|[^\d,])`)
		assert.Regexp(t, want, row, "%s: %s in %s", b.row, b.name, b.file)
	}
}

// assigned returns the number that a source file gives to a name, as a constant or as a default.
func assigned(t *testing.T, file, name string) int64 {
	t.Helper()
	is := regexp.MustCompile(`(?m)^.*\b` + regexp.QuoteMeta(name) + `\s*= (?:orDefault\([\w.]+, )?([^)\n/]+?)\)?\s*(//.*)?$`)
	found := is.FindStringSubmatch(read(t, file))
	require.NotNil(t, found, "%s in %s", name, file)
	expression := strings.NewReplacer("time.Hour", "3600e9", "time.Minute", "60e9", "time.Second", "1e9").Replace(found[1])
	v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expression)
	require.NoError(t, err, "%s in %s: %s", name, file, expression)
	n, exact := constant.Int64Val(constant.ToInt(v.Value))
	require.True(t, exact, "%s in %s: %s", name, file, expression)
	return n
}
