package commands_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
)

// A bubble ends when all of its goroutines have: those of handlers too, however many, however they end.
func TestRule17GoroutinesOfHandlersEndAfterClose(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(){"return": func() {}, "panic": func() { panic("on purpose") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				root, child := family(t)
				join(t, root, child)
				release := make(chan struct{})
				running := make(chan struct{}, 200)
				handleFunc(t, child, "wait", func(context.Context, json.RawMessage) (json.RawMessage, error) {
					running <- struct{}{}
					<-release
					end()
					return nil, nil
				})
				handle(t, child, "quick", `1`)
				for range 100 {
					assert.Equal(t, "1", executes(t, root, "quick")) // some are idle
				}
				var wg sync.WaitGroup
				for range 200 {
					wg.Go(func() {
						_, err := root.ExecuteRaw(context.Background(), "wait", nil)
						assert.ErrorIs(t, err, commands.ErrChannelDisconnected)
					})
				}
				for range 200 {
					<-running
				}
				require.NoError(t, child.Close())
				require.NoError(t, root.Close())
				wg.Wait()
				close(release) // only now, when nobody keeps goroutines any more
			})
		})
	}
}

func TestHandlersOfABurstAreAllRun(t *testing.T) {
	t.Parallel()
	root := newRegistry(t, commands.Config{ID: "root"})
	child := newRegistry(t, commands.Config{ID: "child", RouterChannel: "root", MaxInFlight: 3})
	join(t, root, child, memoryPair())
	handleFunc(t, child, "some", func(_ context.Context, req json.RawMessage) (json.RawMessage, error) {
		if string(req)[0] == '1' { // its worker is gone, with others waiting for its place
			runtime.Goexit()
		}
		return req, nil
	})
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() {
			req := fmt.Sprint(i)
			got, err := root.ExecuteRaw(within(t), "some", json.RawMessage(req))
			if req[0] == '1' {
				assert.ErrorIs(t, err, commands.ErrInternal)
				return
			}
			assert.NoError(t, err)
			assert.Equal(t, req, string(got))
		})
	}
	wg.Wait()
}
