// Package commands is typed request and reply between registries: a command
// is registered at one of them and executed from any that a path of channels
// leads to.
//
//	var Add = commands.Define[Sum, int]("math.add", "Add two integers")
//
//	r, err := commands.NewRegistry(commands.Config{ID: "root"})
//	if err != nil {
//		return err
//	}
//	defer r.Close()
//	err = commands.Register(ctx, r, Add, func(ctx context.Context, s Sum) (int, error) {
//		return s.A + s.B, nil
//	})
//	n, err := commands.Execute(ctx, r, Add, Sum{7, 11})
//
// A [Registry] executes a command itself if it has the handler, sends it to
// the channel that has it, or escalates it over its router channel, so that
// registries form a tree. [Registry.Events] is its event hub.
//
// Where a channel stands for many processes (fleet.Fleet), a command may be
// registered in several of them; the one that is registered here goes first.
// [WithKey] sends calls about one thing to one process, and
// [Options].Idempotent lets a call whose process has gone run elsewhere.
//
// Every call ends: with the result, an [*Error] whose code survives any number
// of hops, or the caller's ctx.
package commands
