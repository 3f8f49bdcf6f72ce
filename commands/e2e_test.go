package commands_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

type sum struct {
	A int `json:"a"`
	B int `json:"b"`
}

func TestE2E(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	root, err := commands.NewRegistry(commands.Config{ID: "root"})
	require.NoError(t, err)
	worker, err := commands.NewRegistry(commands.Config{ID: "worker", RouterChannel: "root"})
	require.NoError(t, err)
	add := commands.Define[sum, int]("math.add", "Add")
	hello := commands.Define[string, string]("greet.hello", "Hello")
	require.NoError(t, commands.Register(ctx, worker, add, func(_ context.Context, s sum) (int, error) { return s.A + s.B, nil }))
	require.NoError(t, commands.Register(ctx, root, hello, func(_ context.Context, s string) (string, error) { return "hello " + s, nil }))
	a, b := pairing.InMemory("worker", "root")
	l, err := root.RegisterChannel(ctx, a)
	require.NoError(t, err)
	got := make(chan string, 1)
	root.Events().ListenRaw("user.*", func(_ context.Context, id string, p json.RawMessage) { got <- id + string(p) })
	require.NoError(t, worker.Events().EmitRaw(ctx, "user.x", json.RawMessage(`1`)))
	lb, err := worker.RegisterChannel(ctx, b)
	require.NoError(t, err)
	require.NoError(t, worker.Events().EmitRaw(ctx, "user.created", json.RawMessage(`{"a":1}`)))
	<-l.Ready()
	<-lb.Ready()
	n, err := commands.Execute(ctx, root, add, sum{7, 11})
	require.NoError(t, err)
	require.Equal(t, 18, n)
	s, err := commands.Execute(ctx, worker, hello, "x")
	require.NoError(t, err)
	require.Equal(t, "hello x", s)
	require.Equal(t, `user.created{"a":1}`, <-got)
	_, err = root.ExecuteRaw(ctx, "math.add", json.RawMessage(`{"a":1,"c":2}`))
	t.Log(err)
	require.ErrorIs(t, err, commands.ErrInvalidRequest)
	_, err = root.ExecuteRaw(ctx, "nope", nil)
	require.ErrorIs(t, err, commands.ErrNotFound)
	t.Logf("%+v", root.Commands())
	require.NoError(t, worker.Close())
	<-l.Done()
	t.Log(l.Err())
	t.Logf("%+v %+v", root.Stats(), l.Stats())
	require.NoError(t, root.Close())
}
