package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Sum is the request of math.add. Pad makes it as large as the measurement wants.
type Sum struct {
	A   int    `json:"a"`
	B   int    `json:"b"`
	Pad string `json:"pad,omitempty"`
}

const minPayload = 32

// request is a Sum that is size bytes long as JSON.
func request(size int) Sum {
	return Sum{A: 7, B: 11, Pad: strings.Repeat("x", size-len(`{"a":7,"b":11,"pad":""}`))}
}

// add is the work, wherever it is done.
func add(_ context.Context, s Sum) (int, error) { return s.A + s.B, nil }

func check(n int, err error) error {
	if err == nil && n != 18 {
		err = fmt.Errorf("the sum is %d", n)
	}
	return err
}

// addJSON is add with the decoding and encoding around it.
func addJSON(_ context.Context, body []byte) ([]byte, error) {
	var s Sum
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, err
	}
	return json.Marshal(s.A + s.B)
}

// callJSON is the caller's side: it encodes, sends, decodes and checks.
func callJSON(ctx context.Context, s Sum, send func(context.Context, []byte) ([]byte, error)) error {
	body, err := json.Marshal(s)
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
