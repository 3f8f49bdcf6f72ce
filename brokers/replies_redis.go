package brokers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

type redisReplies struct {
	client redis.UniversalClient
	opts   RepliesOptions
	vault  vault
	failed func() // counts a reply that is not kept
}

// RedisReplies keeps replies in Redis, as keys <namespace>:reply:<hash>. client stays the caller's.
//
// A request that has a key is executed by one process at a time, which has claimed it for a Lease and renews that; when it has
// succeeded or failed, its reply is kept, and the request, when it is delivered again, is answered with it. So there is one effect,
// with these exceptions: a process dies after the effect and before the reply is kept (then another one executes the request again, when
// the Lease is over); a process is stopped for longer than the Lease in the midst of it, and goes on; Redis forgets (it has to
// write to disk, appendonly, and not to evict). [PostgresReplies] has no such exceptions, for effects in the same database.
func RedisReplies(client redis.UniversalClient, opts ...RepliesOptions) (*Replies, error) {
	o, keys, err := oneOption(opts)
	if err != nil {
		return nil, fmt.Errorf("redis replies: %w", err)
	}
	if client == nil {
		return nil, errors.New("redis replies: no client")
	}
	r := &Replies{log: o.Logger}
	r.store = &redisReplies{client: client, opts: o, vault: vault{keys}, failed: func() { r.unstored.Add(1) }}
	return r, nil
}

// A key holds a claim, its token behind "c", or a reply behind "r".
var (
	redisClaimScript = redis.NewScript(`
		local v = redis.call('GET', KEYS[1])
		if v then return v end
		redis.call('SET', KEYS[1], 'c' .. ARGV[1], 'PX', ARGV[2])
		return ''`)
	redisRenewScript = redis.NewScript(`
		if redis.call('GET', KEYS[1]) == 'c' .. ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
		return 0`)
	// Keep the reply unless another process has the claim now, or has kept a reply. A claim that has expired is free.
	redisKeepScript = redis.NewScript(`
		local v = redis.call('GET', KEYS[1])
		if v and v ~= 'c' .. ARGV[1] then return v end
		redis.call('SET', KEYS[1], 'r' .. ARGV[2], 'PX', ARGV[3])
		return ''`)
	redisDropScript = redis.NewScript(`
		if redis.call('GET', KEYS[1]) == 'c' .. ARGV[1] then return redis.call('DEL', KEYS[1]) end
		return 0`)
)

// How often somebody looks who waits for another's reply.
const (
	redisFirstLook = 20 * time.Millisecond
	redisLastLook  = time.Second
)

func (r *redisReplies) begin(ctx context.Context, key, _ string) (*outcome, claim, error) {
	key = r.opts.Namespace + ":reply:" + key
	token := uuid.NewString()
	for pause := redisFirstLook; ; pause = min(2*pause, redisLastLook) {
		v, err := redisClaimScript.Run(ctx, r.client, []string{key}, token, r.opts.Lease.Milliseconds()).Text()
		if err != nil {
			return nil, nil, err
		}
		switch reply, kept := strings.CutPrefix(v, "r"); {
		case v == "", v == "c"+token: // the second: its first try has got through, and the answer has not
			return nil, newRedisClaim(r, key, token), nil
		case kept:
			o, err := r.vault.unlock(key, []byte(reply))
			return o, nil, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, nil, ctx.Err()
		}
	}
}

// redisClaim is renewed by a goroutine until it is settled.
type redisClaim struct {
	store      *redisReplies
	key, token string
	cancel     context.CancelFunc
	renewing   sync.WaitGroup
}

func newRedisClaim(r *redisReplies, key, token string) *redisClaim {
	c := &redisClaim{store: r, key: key, token: token}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.renewing.Go(func() { c.renew(ctx) })
	return c
}

func (c *redisClaim) renew(ctx context.Context) {
	tick := time.NewTicker(max(c.store.opts.Lease/3, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := redisRenewScript.Run(ctx, c.store.client, []string{c.key}, c.token, c.store.opts.Lease.Milliseconds()).Err()
		if err != nil && ctx.Err() == nil {
			c.store.opts.Logger.Warn("claim not renewed", "error", err)
		}
	}
}

func (*redisClaim) context(ctx context.Context) context.Context { return ctx }

// keep tries for a Lease: the effect is there, and the reply is all that keeps it from happening again.
func (c *redisClaim) keep(o outcome) (outcome, error) {
	defer c.end()
	ctx, cancel := context.WithTimeout(context.Background(), c.store.opts.Lease)
	defer cancel()
	data := string(c.store.vault.lock(c.key, o))
	var err error
	for pause := redisFirstLook; ; pause = min(2*pause, redisLastLook) {
		var v string
		v, err = redisKeepScript.Run(ctx, c.store.client, []string{c.key}, c.token, data, c.store.opts.TTL.Milliseconds()).Text()
		if err == nil && (v == "" || v == "r"+data) { // the second: an earlier try has got through
			return o, nil
		}
		if err == nil {
			err = errors.New("another process has taken the claim over, and may have executed the request again")
			break
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
			timer.Stop()
		}
		break
	}
	c.store.failed()
	c.store.opts.Logger.Warn("reply not kept", "error", err)
	return o, nil
}

func (c *redisClaim) abandon() {
	c.end()
	ctx, cancel := context.WithTimeout(context.Background(), c.store.opts.Lease)
	defer cancel()
	if err := redisDropScript.Run(ctx, c.store.client, []string{c.key}, c.token).Err(); err != nil {
		c.store.opts.Logger.Debug("claim not given up", "error", err) // it runs out
	}
}

func (c *redisClaim) end() {
	c.cancel()
	c.renewing.Wait()
}
