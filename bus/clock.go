package bus

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Metadata from which the difference between the clocks is measured, as NTP
// does it: greetings, their answers and pings say when they were sent; answers
// and pings repeat what came last from the other side, and when it came.
const (
	keySent    = "leat-sent"    // by the sender's clock
	keyEcho    = "leat-echo"    // leat-sent of what is answered, by the receiver's clock
	keyGot     = "leat-got"     // when that came, by the sender's clock
	keyExpires = "leat-expires" // requests: when the caller stops waiting; events: when they stop being relayed; by the sender's clock
)

// clock knows how far the peer's clock is ahead of the own one, and how sure that is.
type clock struct {
	mu    sync.Mutex
	known bool          // guarded by mu
	best  sample        // guarded by mu: what counts
	last  stamp         // guarded by mu: of the peer's last greeting or ping
	sent  time.Duration // guarded by mu: when the clock was last measured from here, since the start
}

// sample is one measurement.
type sample struct {
	offset int64 // microseconds: the peer's clock minus the own one
	delay  int64 // microseconds: the round trip without the peer's own time; half of it is the error
	at     int64 // microseconds: own clock
}

// stamp is when something was sent, by the sender's clock, and came, by the own one.
type stamp struct{ sent, got int64 }

// agedBy: two clocks drift apart by less than 1/agedBy (200 ppm), so a sample
// becomes worse by that.
const agedBy = 5000

// take notes the times of a message that came at now.
func (c *clock) take(md message.Metadata, now int64) error {
	sent, err := parseTime(md, keySent)
	if err != nil || sent == 0 {
		return err
	}
	echo, err := parseTime(md, keyEcho)
	if err != nil {
		return err
	}
	got, err := parseTime(md, keyGot)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = stamp{sent, now}
	if echo != 0 && got != 0 {
		c.observe(sample{offset: ((got - echo) + (sent - now)) / 2, delay: (now - echo) - (sent - got), at: now})
	}
	return nil
}

// observe keeps the better one of two samples: the one with the shorter round
// trip, allowing for age. Two that exclude each other mean that a clock was
// set: then the new one is right. c.mu is held.
func (c *clock) observe(s sample) {
	if s.delay < 0 { // nonsense, or a clock was set meanwhile
		return
	}
	if c.known {
		apart := max(s.offset-c.best.offset, c.best.offset-s.offset)
		aged := c.best.delay + max(0, s.at-c.best.at)/agedBy
		if s.delay > aged && apart <= (s.delay+aged)/2 {
			return
		}
	}
	c.known, c.best = true, s
}

// put writes the time, and what is to be echoed of the peer's.
func (c *clock) put(md message.Metadata, now int64) {
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	last.put(md)
	md[keySent] = strconv.FormatInt(now, 10)
}

func (s stamp) put(md message.Metadata) {
	if s.sent != 0 {
		md[keyEcho] = strconv.FormatInt(s.sent, 10)
		md[keyGot] = strconv.FormatInt(s.got, 10)
	}
}

// remaining is the most that can be left until expires, a time by the peer's
// clock, at now by the own one. False while the offset is not known.
func (c *clock) remaining(expires, now int64) (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return 0, false
	}
	aged := c.best.delay + max(0, now-c.best.at)/agedBy
	left := expires - (now + c.best.offset) + aged/2 + 1
	return time.Duration(max(-maxTime, min(left, maxTime))) * time.Microsecond, true
}

// ahead returns the most by which the peer's clock may be ahead of the own one, in microseconds. False while it is not known.
func (c *clock) ahead() (most int64, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.best.offset + c.best.delay/2 + 1, c.known
}

// due reports whether the clock is to be measured, and notes that it will be.
func (c *clock) due(now, every time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now-c.sent < every {
		return false
	}
	c.sent = now
	return true
}

// maxTime is in the year 2255. Sums of a few such times do not overflow, and as a Duration it fits.
const maxTime = 1 << 53

// parseTime returns 0 if md has no such time.
func parseTime(md message.Metadata, key string) (int64, error) {
	v, ok := md[key]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err == nil && (n < 1 || n > maxTime) {
		err = strconv.ErrRange
	}
	if err != nil {
		return 0, fmt.Errorf("metadata %s: %w", key, err)
	}
	return n, nil
}

// ClockOffset returns how far the peer's clock is ahead of this side's, and by
// how much that may be wrong. Known once the handshake with a peer that has
// presence too is done; see [Channel.Heartbeat].
func (l *Link) ClockOffset() (offset, uncertainty time.Duration, known bool) {
	if l.presence == nil {
		return 0, 0, false
	}
	c := &l.presence.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.best.offset) * time.Microsecond, time.Duration(c.best.delay/2+1) * time.Microsecond, c.known
}
