package chaostest

import (
	"fmt"
	"time"
)

// Defaults of [Options].
const (
	DefaultMaxCopies    = 2
	DefaultMaxDelay     = 10 * time.Millisecond
	DefaultMaxOvertakes = 4
	DefaultMaxHeld      = 4096
)

// Options say how bad it is. The zero value does nothing to any message.
// Probabilities are between 0 and 1.
type Options struct {
	// Seed chooses what happens to which message. Default 0, a seed like any other.
	Seed uint64

	// Drop is the probability that a message never arrives.
	Drop float64

	// Duplicate is the probability that a message which is not dropped arrives
	// more than once: two to MaxCopies times. Each copy is delayed and reordered on its
	// own. MaxCopies is 2 by default; less than 2 counts as that.
	Duplicate float64
	MaxCopies int

	// Delay is the probability that a copy which is not reordered is late, by
	// up to MaxDelay. What comes behind it on its topic waits for it: the order is kept.
	Delay float64

	// Reorder is the probability that a copy is overtaken: by the next one to
	// MaxOvertakes copies that go on their topic after it. When so many do not
	// come within MaxDelay, it goes on without. MaxOvertakes is 4 by default.
	Reorder      float64
	MaxOvertakes int

	// MaxDelay bounds how long a copy is held. Default 10 ms. It is longer
	// behind others that are held too, while the line is held (see
	// [Publisher.Hold]), and as long as the wrapped publisher takes.
	MaxDelay time.Duration

	// MaxHeld bounds the copies of one topic that are held. At the bound the
	// one that is due next goes out early and Publish waits until it has; while the
	// line is held, further copies are lost and counted. The last message
	// to be taken may exceed the bound, by its copies. Default 4,096.
	MaxHeld int

	// DropOnClose makes Close drop what is held, rather than hand it on.
	DropOnClose bool

	// Topics says to which topics all this is done; the others' messages pass
	// as they are, unless the line is cut. It is called for each topic once or a few
	// times, from any goroutine. Default: all.
	Topics func(topic string) bool
}

// withDefaults returns o with each zero bound replaced by its default. It
// panics on what makes no sense.
func (o Options) withDefaults() Options {
	for _, p := range []struct {
		field string
		value float64
	}{{"Drop", o.Drop}, {"Duplicate", o.Duplicate}, {"Delay", o.Delay}, {"Reorder", o.Reorder}} {
		if !(p.value >= 0 && p.value <= 1) { // NaN is refused too
			panic(fmt.Sprintf("chaostest: Options.%s is %v, not a probability", p.field, p.value))
		}
	}
	o.MaxCopies = max(2, boundOr("MaxCopies", o.MaxCopies, DefaultMaxCopies))
	o.MaxOvertakes = boundOr("MaxOvertakes", o.MaxOvertakes, DefaultMaxOvertakes)
	o.MaxDelay = boundOr("MaxDelay", o.MaxDelay, DefaultMaxDelay)
	o.MaxHeld = boundOr("MaxHeld", o.MaxHeld, DefaultMaxHeld)
	return o
}

func boundOr[T int | time.Duration](field string, value, byDefault T) T {
	if value < 0 {
		panic("chaostest: negative Options." + field)
	}
	if value == 0 {
		return byDefault
	}
	return value
}
