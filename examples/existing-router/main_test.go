package main_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leatbus/leat/examples/internal/program"
)

func TestStory(t *testing.T) {
	t.Parallel()
	r := program.Run(t, program.Build(t), program.Options{})
	assert.Equal(t, []string{
		"receipt: 3 x tea, 1170 cents",
		"quote for 2 x cup: 2500 cents",
		`quote for 1 x hat fails: invalid_request: no such article: "hat"`,
		"receipt: 2 x cup, 2500 cents",
		"middleware saw 2 orders, 2 receipts",
		"middleware saw RPC messages: true",
	}, r.Lines())
	assert.Empty(t, r.Stderr)
	assert.Zero(t, r.Status)
}

func TestMain(m *testing.M) { program.Main(m) }

func TestUsage(t *testing.T) {
	t.Parallel()
	program.Usage(t, program.Build(t), "existing-router")
}
