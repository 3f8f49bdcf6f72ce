// Dynamic-plugin: a host without commands loads a plugin at run time, calls
// what the plugin advertises, and unloads it with its commands.
//
//	go run ./examples/dynamic-plugin
//
// Nothing here has a Go type for a request or a result: the plugin is
// described by JSON (manifest.go), carried by a channel (plugin.go), and
// called with JSON.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/leatbus/leat/examples/internal/usage"
)

func main() {
	usage.Parse(`usage: go run ./examples/dynamic-plugin

A host without commands loads a plugin at run time, calls what the plugin
advertises, and unloads it with its commands.`, 0)
	if err := story(context.Background(), os.Stdout); err != nil {
		log.SetFlags(0)
		log.Fatal(fmt.Errorf("dynamic-plugin: %w", err))
	}
}
