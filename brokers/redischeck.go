package brokers

import (
	"context"
	"fmt"
	"strings"

	"github.com/leatbus/leat/pairing"
)

// suspect looks at what the server does when its memory is full: streams are
// keys like others to it, and it may delete them whole.
func (r *redisStreams) suspect(ctx context.Context) []pairing.BrokenPromise {
	info, err := r.client.InfoMap(ctx, "memory").Result()
	if err != nil {
		return []pairing.BrokenPromise{{Promise: PromiseStorage, Detail: "INFO memory", Err: err}}
	}
	memory := info["Memory"]
	policy, limit := memory["maxmemory_policy"], memory["maxmemory"]
	if limit == "" || limit == "0" || policy == "noeviction" {
		return nil
	}
	return []pairing.BrokenPromise{{Promise: PromiseStorage, Detail: fmt.Sprintf(
		"maxmemory-policy is %s: a stream may vanish whole when %s is reached; set it to noeviction",
		strings.TrimSpace(policy), memory["maxmemory_human"])}}
}
