package main

import "github.com/leatbus/leat/examples/internal/usage"

// The program takes no arguments. It says so here, so that main.go has nothing but what leat is about.
func init() {
	usage.Parse(`usage: go run ./examples/quickstart

Two registries in one process: a typed command from one to the other, and an event back.`, 0)
}
