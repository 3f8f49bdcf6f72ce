// Package crews has workers that answer math.add over a broker, and a caller: a leat fleet, and what the broker itself
// offers for request and reply. Each worker and the caller have a connection of their own, as processes have.
package crews

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Crew is a number of workers and a caller. Call is safe for concurrent use. Close stops all of it; it is called once,
// after the last Call has returned.
type Crew struct {
	Call func(context.Context) error
	ends []func() error
}

// Close ends what was started, the last first.
func (c *Crew) Close() (err error) {
	for i := len(c.ends) - 1; i >= 0; i-- {
		if e := c.ends[i](); err == nil {
			err = e
		}
	}
	return err
}

func (c *Crew) atEnd(end func() error) { c.ends = append(c.ends, end) }

// Kind is a way to work.
type Kind struct {
	Name string
	// Start starts so many workers on the broker at url.
	Start func(ctx context.Context, url string, workers int) (*Crew, error)
}

// Of returns the ways there are over a broker, by the scheme of its URL. The fleet is the first.
func Of(url string) []Kind {
	scheme, _, _ := strings.Cut(url, "://")
	kinds := []Kind{{scheme + "-fleet", Fleet}}
	if scheme == "nats" {
		kinds = append(kinds, Kind{"nats-micro", NATSMicro}, Kind{"nats-request", NATSRequest})
	}
	return kinds
}

type sum struct {
	A int `json:"a"`
	B int `json:"b"`
}

func check(n int, err error) error {
	if err == nil && n != 18 {
		err = fmt.Errorf("the sum is %d", n)
	}
	return err
}

// addJSON is the work, with the decoding and encoding around it.
func addJSON(body []byte) ([]byte, error) {
	var s sum
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, err
	}
	return json.Marshal(s.A + s.B)
}

// askJSON is the caller's side: it encodes, sends, decodes and checks.
func askJSON(ctx context.Context, send func(context.Context, []byte) ([]byte, error)) error {
	body, err := json.Marshal(sum{7, 11})
	if err != nil {
		return err
	}
	if body, err = send(ctx, body); err != nil {
		return err
	}
	var n int
	err = json.Unmarshal(body, &n)
	return check(n, err)
}
