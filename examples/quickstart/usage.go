package main

import "github.com/leatbus/leat/examples/internal/usage"

// The program takes no arguments. That is checked here, so that main.go has nothing but leat in it.
func init() {
	usage.Parse(`usage: go run ./examples/quickstart

Two registries in one process: a typed command from one to the other, and an
event back.`, 0)
}
