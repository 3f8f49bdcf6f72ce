package brokers

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/leatbus/leat/pairing"
)

// PromiseStorage: what was published stays as long as Options say. It is
// broken by a server that throws data away when it is short of memory.
const PromiseStorage pairing.Promise = "storage"

// Check finds out whether this broker, as it is set up, can keep what leat
// promises. Run it at start, before anything else:
//
//	if err := b.Check(ctx); err != nil {
//		return err // says which promise, and how that showed
//	}
//
// It runs [pairing.Check] on a topic of its own, with payloads up to the size that
// the broker says it takes (at most 1 MiB), and looks at the server's settings
// where those could break a promise. The error is a [*pairing.CheckError], or ctx's. It takes
// a second or two, and leaves the topic to be trimmed like any other (on Kafka: behind).
func (b *Broker) Check(ctx context.Context) error {
	o := pairing.CheckOptions{Topic: b.Topic("check." + uuid.NewString())}
	if limit := b.maxBytes(o.Topic); limit > 0 {
		o.Bytes = min(max(limit-metadataRoom, limit/2), 1<<20)
	}
	found := new(pairing.CheckError)
	if err := pairing.Check(ctx, b.Publisher(), b.Subscriber(), o); err != nil && !errors.As(err, &found) {
		return fmt.Errorf("%s: %w", b.Guarantees().Name, err)
	}
	if s, ok := b.backend.(suspicious); ok {
		for _, broken := range s.suspect(ctx) {
			broken.Err = b.secrets.error(broken.Err)
			found.Broken = append(found.Broken, broken)
		}
	}
	if len(found.Broken) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", b.Guarantees().Name, found)
}

// suspicious is a backend whose server can be set up so that promises break
// later.
type suspicious interface {
	suspect(ctx context.Context) []pairing.BrokenPromise
}

// metadataRoom is what metadata may take of a message, in bytes.
const metadataRoom = 32 << 10
