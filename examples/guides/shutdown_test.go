package guides_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
)

// A handler that runs while its registry shuts down may still call the others.
func TestShutdownOfATree(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	app, root := tree(t) // app is called from outside, and calls root through its pair
	require.NoError(t, commands.Register(ctx, root, getUser, ada))
	running, proceed := make(chan struct{}), make(chan struct{})
	var nested atomic.Value
	outer := commands.Define[commands.Void, User]("outer", "")
	require.NoError(t, commands.Register(ctx, app, outer, func(ctx context.Context, _ commands.Void) (User, error) {
		close(running)
		<-proceed
		u, err := commands.Execute(ctx, app, getUser, GetUser{ID: 7})
		if err != nil {
			nested.Store(err)
		}
		return u, err
	}))
	called := make(chan User, 1)
	go func() {
		u, _ := commands.Execute(ctx, app, outer, commands.Void{})
		called <- u
	}()
	<-running
	ended := make(chan error, 1)
	go func() {
		// snippet: shutdown-tree
		err := commands.ShutdownAll(ctx, app, root) // one ctx for all, in any order
		// end snippet
		ended <- err
	}()
	close(proceed)
	assert.Equal(t, "Ada", (<-called).Name)
	require.NoError(t, <-ended)
	assert.Nil(t, nested.Load())
}
