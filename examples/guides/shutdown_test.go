package guides_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
)

// snippet: shutdown-tree

// shutdown ends registries of one process in the order in which they call each other: callers first.
func shutdown(ctx context.Context, callersFirst ...*commands.Registry) error {
	for _, r := range callersFirst {
		if err := r.Shutdown(ctx); err != nil {
			return err
		}
	}
	return nil
}

// end snippet

// A handler that runs while its registry shuts down may still call the registries that have their turn later.
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
	go func() { ended <- shutdown(ctx, app, root) }()
	close(proceed)
	assert.Equal(t, "Ada", (<-called).Name)
	require.NoError(t, <-ended)
	assert.Nil(t, nested.Load())
}
