package pairing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leatbus/leat/bus"
)

// Promise is something that leat requires of a Pub/Sub, as an error: that it
// is not kept. Compare with errors.Is.
type Promise string

// The promises that [Check] looks at.
const (
	// PromiseDelivery: what is published to a topic reaches its subscriptions at all.
	PromiseDelivery Promise = "delivery"
	// PromiseLive: a subscription gets everything that is published after Subscribe has returned.
	// Without it first messages are lost; links and fleets say hello until they are
	// answered, so they come up later and lose nothing.
	PromiseLive Promise = "live subscription"
	// PromiseFanOut: each subscription of a topic gets each message.
	PromiseFanOut Promise = "fan-out"
	// PromiseMetadata: keys and values arrive as they were published, also those that contain what
	// bus.Escape leaves alone.
	PromiseMetadata Promise = "metadata"
	// PromisePayload: payloads arrive byte for byte; an empty one, too.
	PromisePayload Promise = "payload"
	// PromiseSize: a payload of CheckOptions.Bytes arrives.
	PromiseSize Promise = "size"
	// PromiseOrder: what is published one after the other arrives in that order, duplicates aside.
	PromiseOrder Promise = "order"
)

// Error is the promise as a sentence.
func (p Promise) Error() string { return "promise not kept: " + string(p) }

// CheckError says which promises a Pub/Sub does not keep, each once, and how
// that showed. errors.Is finds each of them.
type CheckError struct{ Broken []BrokenPromise }

// BrokenPromise is one promise and how it showed that it is not kept.
type BrokenPromise struct {
	Promise Promise
	Detail  string
	Err     error // what Publish or Subscribe said; may be nil
}

// Error names all of them.
func (e *CheckError) Error() string {
	var all []string
	for _, b := range e.Broken {
		all = append(all, string(b.Promise)+": "+b.text())
	}
	return "publisher and subscriber cannot keep what leat promises: " + strings.Join(all, "; ")
}

// Unwrap returns the promises, and the errors behind them.
func (e *CheckError) Unwrap() []error {
	var all []error
	for _, b := range e.Broken {
		all = append(all, b.Promise)
		if b.Err != nil {
			all = append(all, b.Err)
		}
	}
	return all
}

func (b BrokenPromise) text() string {
	switch {
	case b.Err == nil:
		return b.Detail
	case b.Detail == "":
		return b.Err.Error()
	}
	return b.Detail + ": " + b.Err.Error()
}

// CheckOptions refines [Check]. The zero value works.
type CheckOptions struct {
	// Topic is used, and nothing else should be on it. Default "leat.check." and a UUID.
	Topic string
	// Bytes is the size of the largest payload tried. Default 1 MiB.
	Bytes int
	// Messages is how many are published to see their order. Default 300.
	Messages int
	// Patience is how long a message may take before it counts as lost. Default 5 s.
	Patience time.Duration
}

func (o CheckOptions) withDefaults() CheckOptions {
	if o.Topic == "" {
		o.Topic = "leat.check." + bus.NewID()
	}
	if o.Bytes == 0 {
		o.Bytes = 1 << 20
	}
	if o.Messages == 0 {
		o.Messages = 300
	}
	if o.Patience == 0 {
		o.Patience = 5 * time.Second
	}
	return o
}

// Check finds out whether links over pub and sub can keep what leat promises:
// it subscribes twice to one topic, publishes, and looks at what comes back. Run
// it at start, before anything else. It returns nil, a [*CheckError] that names
// each promise which is not kept, or ctx's error. Of two promises one may hide the other: where
// nothing arrives, nothing else is tried. Duplicates are fine: leat drops them.
//
// It takes as long as some hundred messages take, and Patience more for each
// promise that is broken. It leaves the topic behind. A Publish or Subscribe that hangs is left
// to itself when ctx ends. It panics if pub or sub is nil, or with more than one options struct.
func Check(ctx context.Context, pub message.Publisher, sub message.Subscriber, opts ...CheckOptions) error {
	switch {
	case pub == nil || sub == nil:
		panic("pairing: Check: nil publisher or subscriber")
	case len(opts) > 1:
		panic(fmt.Sprintf("pairing: Check: %d options", len(opts)))
	}
	var o CheckOptions
	if len(opts) == 1 {
		o = opts[0]
	}
	c := &checker{CheckOptions: o.withDefaults(), pub: pub, sub: sub}
	found := make(chan error, 1)
	subscribed, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { found <- c.run(subscribed) }()
	select {
	case err := <-found:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select { // it has ended too, unless something hangs
	case err := <-found:
		return err
	case <-timer.C:
		return fmt.Errorf("check: %w", ctx.Err())
	}
}

// checker is one run of Check.
type checker struct {
	CheckOptions
	pub    message.Publisher
	sub    message.Subscriber
	ears   [2]*ear
	broken []BrokenPromise
}

func (c *checker) run(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("check: panic in publisher or subscriber: %v", v)
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for _, e := range c.ears {
			e.wait()
		}
	}()
	for i := range c.ears {
		in, err := c.sub.Subscribe(ctx, c.Topic)
		if err != nil {
			c.breaks(PromiseDelivery, "subscribe", err)
			return c.verdict(ctx)
		}
		c.ears[i] = listen(ctx, in)
	}
	if c.probe(ctx) {
		c.metadata(ctx)
		c.payloads(ctx)
		c.order(ctx)
		c.size(ctx)
	}
	return c.verdict(ctx)
}

func (c *checker) verdict(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("check: %w", ctx.Err())
	case len(c.broken) == 0:
		return nil
	}
	return &CheckError{c.broken}
}

// breaks notes a broken promise, with what showed it first.
func (c *checker) breaks(p Promise, detail string, err error) {
	for _, b := range c.broken {
		if b.Promise == p {
			return
		}
	}
	c.broken = append(c.broken, BrokenPromise{p, detail, err})
}

// broke reports whether that promise is known not to be kept.
func (c *checker) broke(p Promise) bool {
	return errors.Is(&CheckError{c.broken}, p)
}
