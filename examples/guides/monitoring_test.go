package guides_test

import (
	"context"
	"fmt"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// snippet: monitor

// snapshot is for expvar.Publish("leat", expvar.Func(…)), or for the collector of a metrics library.
func snapshot(r *commands.Registry) map[string]any {
	links := make(map[string]bus.LinkStats)
	for _, id := range r.Channels() {
		if link := r.Link(id); link != nil { // nil: it has closed meanwhile
			links[id] = link.Stats()
		}
	}
	return map[string]any{"registry": r.Stats(), "events": r.Events().Stats(), "links": links}
}

// end snippet

func Example_monitoring() {
	ctx := context.Background()
	registry, err := commands.NewRegistry(commands.Config{ID: "users"})
	check(err)
	defer registry.Close()
	check(commands.Register(ctx, registry, getUser, ada))
	fmt.Println("local commands:", snapshot(registry)["registry"].(commands.Stats).Local)

	// Output:
	// local commands: 1
}
