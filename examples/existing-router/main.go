// Existing-router: a program that already has a Watermill Router, with a
// handler and middleware, gets command RPC beside what it does.
//
//	go run ./examples/existing-router
//
// shop.go is the program as it was, rpc.go is what is added to it, client.go
// is the other end of the link, and story.go runs them.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/leatbus/leat/examples/internal/usage"
)

func main() {
	usage.Parse(`usage: go run ./examples/existing-router

A program that already has a Watermill Router, with a handler and middleware,
gets command RPC beside what it does.`, 0)
	if err := story(context.Background(), os.Stdout); err != nil {
		log.SetFlags(0)
		log.Fatal(fmt.Errorf("existing-router: %w", err))
	}
}
