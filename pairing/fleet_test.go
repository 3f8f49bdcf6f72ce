package pairing_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

func TestFleetTwo(t *testing.T) {
	ps := memory.New(memory.Options{})
	defer ps.Close()
	ctx := t.Context()
	add := commands.Define[int, int]("inc", "")
	var fs []*pairing.Fleet
	var rs []*commands.Registry
	for _, id := range []string{"a", "b"} {
		r := registry(t, id, "")
		f, err := pairing.NewFleet(ctx, ps, ps, pairing.FleetOptions{Namespace: "ns", ID: id})
		require.NoError(t, err)
		l, err := r.RegisterChannel(ctx, f.Channel())
		require.NoError(t, err)
		require.NoError(t, f.Ready(ctx))
		<-l.Ready()
		fs, rs = append(fs, f), append(rs, r)
	}
	require.NoError(t, commands.Register(ctx, rs[1], add, func(_ context.Context, n int) (int, error) { return n + 1, nil }))
	require.NoError(t, fs[0].Await(ctx, "inc"))
	n, err := commands.Execute(ctx, rs[0], add, 41)
	require.NoError(t, err)
	require.Equal(t, 42, n)
	t.Logf("%+v", fs[0].Stats())
	t.Logf("%+v", fs[0].Members())
	require.NoError(t, fs[1].Leave(ctx))
	_, err = commands.Execute(ctx, rs[0], add, 41)
	t.Log(err)
}
