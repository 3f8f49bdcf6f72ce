package dedupe_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/dedupe"
)

var errHandler = errors.New("handler failed")

func newMessage(uuid string) *message.Message { return message.NewMessage(uuid, nil) }

// counted returns a handler that counts its runs, fails the first `fail` times, and answers with one message.
func counted(fail int) (message.HandlerFunc, *atomic.Int32) {
	var runs atomic.Int32
	return func(msg *message.Message) ([]*message.Message, error) {
		if int(runs.Add(1)) <= fail {
			return nil, errHandler
		}
		return []*message.Message{newMessage("reply to " + msg.UUID)}, nil
	}, &runs
}

func TestDedupeDropsDuplicates(t *testing.T) {
	t.Parallel()
	byName := func(m *message.Message) string { return m.Metadata.Get("name") }
	for _, tc := range []struct {
		name       string
		key        func(*message.Message) string
		a, b       *message.Message
		wantDropAt int // index of the message dropped, -1: none
	}{
		{"same UUID, nil key", nil, newMessage("1"), newMessage("1"), 1},
		{"other UUID, nil key", nil, newMessage("1"), newMessage("2"), -1},
		{"same key", byName, named("1", "x"), named("2", "x"), 1},
		{"other key", byName, named("1", "x"), named("1", "y"), -1},
		{"empty key passes through", byName, newMessage("1"), newMessage("1"), -1},
		{"empty UUID passes through", nil, newMessage(""), newMessage(""), -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var dropped []*message.Message
			handler, runs := counted(0)
			h := dedupe.Middleware(newStore(t, time.Hour), tc.key, dedupe.Options{
				OnDuplicate: func(m *message.Message) { dropped = append(dropped, m) },
			})(handler)

			first, err := h(tc.a)
			require.NoError(t, err)
			require.Len(t, first, 1)
			second, err := h(tc.b)
			require.NoError(t, err)
			if tc.wantDropAt < 0 {
				assert.Len(t, second, 1)
				assert.Equal(t, int32(2), runs.Load())
				assert.Empty(t, dropped)
				return
			}
			assert.Nil(t, second)
			assert.Equal(t, int32(1), runs.Load())
			require.Len(t, dropped, 1)
			assert.Same(t, tc.b, dropped[0])
		})
	}
}

func named(uuid, name string) *message.Message {
	m := newMessage(uuid)
	m.Metadata.Set("name", name)
	return m
}

func TestDedupeLetsARetryThroughWhereTheStockOneSwallowsIt(t *testing.T) {
	t.Parallel()
	uuid := func(m *message.Message) (string, error) { return m.UUID, nil }
	for _, tc := range []struct {
		name     string
		make     func(*dedupe.TTLStore) message.HandlerMiddleware
		wantRuns int32
	}{
		{"leat", func(s *dedupe.TTLStore) message.HandlerMiddleware { return dedupe.Middleware(s, nil) }, 2},
		{"stock", func(s *dedupe.TTLStore) message.HandlerMiddleware {
			return (&middleware.Deduplicator{KeyFactory: uuid, Repository: s, Timeout: time.Minute}).Middleware
		}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			handler, runs := counted(1)
			h := middleware.Retry{MaxRetries: 1}.Middleware(tc.make(newStore(t, time.Hour))(handler))
			produced, err := h(newMessage("1"))
			require.NoError(t, err)
			assert.Equal(t, tc.wantRuns, runs.Load())
			assert.Len(t, produced, int(tc.wantRuns)-1, "the stock middleware reports success without the handler's message")
		})
	}
}

func TestDedupeReturnsTheHandlersErrorAsItIs(t *testing.T) {
	t.Parallel()
	handler, _ := counted(1)
	_, err := dedupe.Middleware(newStore(t, time.Hour), nil)(handler)(newMessage("1"))
	assert.Equal(t, errHandler, err)
}

func TestDedupeReleasesOnPanicAndExit(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(){
		"panic":  func() { panic("boom") },
		"goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, time.Hour)
			h := dedupe.Middleware(s, nil)(func(*message.Message) ([]*message.Message, error) { end(); return nil, nil })
			recovered := make(chan any)
			go func() {
				defer func() { recovered <- recover() }()
				_, _ = h(newMessage("1"))
			}()
			if got := <-recovered; name == "panic" {
				assert.Equal(t, "boom", got, "the panic goes on")
			}
			assert.True(t, reserve(t, s, "1"), "the key is free again")
		})
	}
}

func TestDedupeCommitsOnSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, time.Second)
		h := dedupe.Middleware(s, nil)(func(*message.Message) ([]*message.Message, error) {
			time.Sleep(5 * time.Second) // longer than the reservation lasts
			return nil, nil
		})
		_, err := h(newMessage("1"))
		require.NoError(t, err)
		time.Sleep(time.Second - 1)
		assert.False(t, reserve(t, s, "1"), "the time counts from the handler's end")
	})
}

// A second delivery is not acknowledged as done before the first has succeeded.
func TestDedupeOfADeliveryWhileTheFirstIsInFlight(t *testing.T) {
	t.Parallel()
	type outcome struct {
		produced []*message.Message
		err      error
	}
	// flight returns a handler whose first run waits for its result, and deliveries to it.
	flight := func(t *testing.T, opts dedupe.Options, store dedupe.Store, twice bool) (first chan error, deliver func(context.Context) chan outcome, runs *atomic.Int32) {
		first, runs = make(chan error), new(atomic.Int32)
		handler := func(*message.Message) ([]*message.Message, error) {
			if runs.Add(1) > 1 {
				return []*message.Message{newMessage("second")}, nil
			}
			err := <-first
			if errors.Is(err, context.DeadlineExceeded) {
				panic("handler")
			}
			return nil, err
		}
		hs := []message.HandlerFunc{dedupe.Middleware(store, nil, opts)(handler)}
		hs = append(hs, hs[0])
		if twice {
			hs[1] = dedupe.Middleware(store, nil, opts)(handler)
		}
		n := 0
		return first, func(ctx context.Context) chan outcome {
			h := hs[n%2]
			n++
			out := make(chan outcome, 1)
			go func() {
				defer func() {
					if v := recover(); v != nil {
						out <- outcome{nil, fmt.Errorf("panic: %v", v)}
					}
				}()
				m := newMessage("1")
				m.SetContext(ctx)
				produced, err := h(m)
				out <- outcome{produced, err}
			}()
			synctest.Wait()
			return out
		}, runs
	}
	for _, twice := range []bool{false, true} {
		for name, fails := range map[string]error{"succeeds": nil, "fails": errHandler, "panics": context.DeadlineExceeded} {
			t.Run(fmt.Sprintf("the first %s, two middlewares: %t", name, twice), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var dropped atomic.Int32
					opts := dedupe.Options{OnDuplicate: func(*message.Message) { dropped.Add(1) }}
					first, deliver, runs := flight(t, opts, newStore(t, time.Hour), twice)
					a, b, c := deliver(t.Context()), deliver(t.Context()), deliver(t.Context())
					require.Empty(t, b, "the second waits")
					require.EqualValues(t, 1, runs.Load())
					first <- fails
					if fails == nil {
						require.NoError(t, (<-a).err)
						require.Equal(t, outcome{}, <-b)
						require.Equal(t, outcome{}, <-c)
						require.EqualValues(t, 2, dropped.Load())
						return
					}
					require.Error(t, (<-a).err)
					got := append((<-b).produced, (<-c).produced...)
					require.Len(t, got, 1, "one of them runs")
					require.EqualValues(t, 2, runs.Load())
					require.EqualValues(t, 1, dropped.Load())
				})
			})
		}
	}
	t.Run("nacked", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			first, deliver, runs := flight(t, dedupe.Options{InFlight: dedupe.NackInFlight}, &brokenStore{}, false)
			a := deliver(t.Context())
			require.ErrorIs(t, (<-deliver(t.Context())).err, dedupe.ErrInFlight)
			first <- nil
			require.NoError(t, (<-a).err)
			require.EqualValues(t, 1, runs.Load())
		})
	})
	t.Run("its context ends", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			first, deliver, _ := flight(t, dedupe.Options{}, newStore(t, time.Hour), false)
			a := deliver(t.Context())
			ctx, cancel := context.WithCancel(t.Context())
			b := deliver(ctx)
			cancel()
			require.ErrorIs(t, (<-b).err, context.Canceled)
			first <- nil
			require.NoError(t, (<-a).err)
		})
	})
}

func TestDedupeConcurrentHandlersRunOnce(t *testing.T) {
	t.Parallel()
	var dropped atomic.Int32
	handler, runs := counted(0)
	h := dedupe.Middleware(newStore(t, time.Hour), nil, dedupe.Options{
		OnDuplicate: func(*message.Message) { dropped.Add(1) },
	})(handler)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { _, _ = h(newMessage("1")) })
	}
	wg.Wait()
	assert.Equal(t, int32(1), runs.Load())
	assert.Equal(t, int32(15), dropped.Load())
}

// brokenStore fails where an error is set, and notes the state of the ctx that it was given.
type brokenStore struct {
	reserve, commit, release error
	late                     error // ctx.Err() as Commit or Release saw it
	value                    any
}

type ctxKey struct{}

func (s *brokenStore) Reserve(context.Context, string) (bool, error) {
	return s.reserve == nil, s.reserve
}
func (s *brokenStore) Commit(ctx context.Context, _ string) error {
	s.late, s.value = ctx.Err(), ctx.Value(ctxKey{})
	return s.commit
}
func (s *brokenStore) Release(ctx context.Context, _ string) error {
	s.late, s.value = ctx.Err(), ctx.Value(ctxKey{})
	return s.release
}

func TestDedupeStoreErrors(t *testing.T) {
	t.Parallel()
	errStore := errors.New("store failed")

	t.Run("reserve", func(t *testing.T) {
		t.Parallel()
		handler, runs := counted(0)
		produced, err := dedupe.Middleware(&brokenStore{reserve: errStore}, nil)(handler)(newMessage("1"))
		require.ErrorIs(t, err, errStore)
		assert.NotEqual(t, errStore, err, "wrapped with what was being done")
		assert.Nil(t, produced)
		assert.Zero(t, runs.Load())
	})
	t.Run("commit", func(t *testing.T) {
		t.Parallel()
		handler, _ := counted(0)
		var reported error
		produced, err := dedupe.Middleware(&brokenStore{commit: errStore}, nil, dedupe.Options{
			OnCommitError: func(_ *message.Message, err error) { reported = err },
		})(handler)(newMessage("1"))
		require.NoError(t, err, "the handler's success stands")
		assert.Len(t, produced, 1)
		require.ErrorIs(t, reported, errStore)
		_, err = dedupe.Middleware(&brokenStore{commit: errStore}, nil)(handler)(newMessage("1"))
		require.NoError(t, err)
	})
	t.Run("release", func(t *testing.T) {
		t.Parallel()
		handler, _ := counted(1)
		_, err := dedupe.Middleware(&brokenStore{release: errStore}, nil)(handler)(newMessage("1"))
		require.ErrorIs(t, err, errHandler)
		require.ErrorIs(t, err, errStore)
	})
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		s := dedupe.NewTTLStore(time.Hour)
		require.NoError(t, s.Close())
		handler, runs := counted(0)
		_, err := dedupe.Middleware(s, nil)(handler)(newMessage("1"))
		require.ErrorIs(t, err, dedupe.ErrClosed)
		assert.Zero(t, runs.Load())
	})
}

func TestDedupeSettlesAfterTheMessagesContextEnded(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]int{"commit": 0, "release": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &brokenStore{}
			inner, _ := counted(fail)
			ctx, cancel := context.WithCancel(context.WithValue(context.Background(), ctxKey{}, "v"))
			defer cancel()
			msg := newMessage("1")
			msg.SetContext(ctx)
			_, _ = dedupe.Middleware(s, nil)(func(m *message.Message) ([]*message.Message, error) {
				cancel() // as the ack of an in-memory channel does
				return inner(m)
			})(msg)
			require.NoError(t, s.late)
			assert.Equal(t, "v", s.value, "values stay")
		})
	}
}

func TestTTLStoreServesInWatermillsDeduplicator(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &middleware.Deduplicator{
			KeyFactory: middleware.NewMessageHasherSHA256(1 << 10),
			Repository: newStore(t, time.Minute),
			Timeout:    time.Second,
		}
		handler, runs := counted(0)
		h := d.Middleware(handler)
		for range 3 {
			_, err := h(message.NewMessage("any", []byte("payload")))
			require.NoError(t, err)
		}
		assert.Equal(t, int32(1), runs.Load())
		time.Sleep(time.Minute)
		_, err := h(message.NewMessage("any", []byte("payload")))
		require.NoError(t, err)
		assert.Equal(t, int32(2), runs.Load())
	})
}

func TestFromRepositoryMarksFirst(t *testing.T) {
	t.Parallel()
	repo, err := middleware.NewMapExpiringKeyRepository(time.Hour)
	require.NoError(t, err)
	store := dedupe.FromRepository(repo)

	handler, runs := counted(1)
	h := dedupe.Middleware(store, nil)(handler)
	_, err = h(newMessage("fails"))
	require.ErrorIs(t, err, errHandler)
	_, err = h(newMessage("fails"))
	require.NoError(t, err)
	assert.Equal(t, int32(1), runs.Load(), "Release could not undo the mark")

	_, err = h(newMessage("succeeds"))
	require.NoError(t, err)
	_, err = h(newMessage("succeeds"))
	require.NoError(t, err)
	assert.Equal(t, int32(2), runs.Load())
}

type failingRepository struct{ err error }

func (r failingRepository) IsDuplicate(context.Context, string) (bool, error) { return false, r.err }

func TestFromRepositoryPassesErrorsOn(t *testing.T) {
	t.Parallel()
	want := errors.New("no connection")
	fresh, err := dedupe.FromRepository(failingRepository{want}).Reserve(t.Context(), "a")
	assert.False(t, fresh)
	assert.Equal(t, want, err)
}

func TestDedupePanicsOnNonsense(t *testing.T) {
	t.Parallel()
	assert.Panics(t, func() { dedupe.Middleware(nil, nil) })
	assert.Panics(t, func() { dedupe.FromRepository(nil) })
	assert.Panics(t, func() {
		dedupe.Middleware(dedupe.NewTTLStore(time.Second), nil, dedupe.Options{}, dedupe.Options{})
	})
}

func TestDedupeAllocatesNothing(t *testing.T) {
	s := newStore(t, time.Hour)
	h := dedupe.Middleware(s, nil)(func(*message.Message) ([]*message.Message, error) { return nil, nil })
	msg := newMessage("1")
	assert.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = h(msg) }), "a duplicate")
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		_ = s.Release(context.Background(), msg.UUID)
		_, _ = h(msg)
	}), "a fresh message")
}
