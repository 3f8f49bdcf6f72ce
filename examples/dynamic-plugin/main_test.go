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
		`host starts; commands: none`,
		`letters loaded; commands: letters.salute, letters.sign`,
		`  letters.salute {"name":"Ada"} = "Dear Ada,"`,
		`  letters.sign {"name":"Grace","formal":false} = "Cheers, Grace"`,
		`  letters.sign {"name":"Grace","formal":"very"} fails: invalid_request: invalid request: field "formal": expected boolean, got string`,
		`impostor refused; commands: letters.salute, letters.sign`,
		`letters.thank added; commands: letters.salute, letters.sign, letters.thank`,
		`  letters.thank "flowers" = "Thank you for the flowers."`,
		`letters unloaded; commands: none`,
		`  letters.salute {"name":"Ada"} fails: not_found: command not found: letters.salute`,
	}, r.Lines())
	assert.Empty(t, r.Stderr)
	assert.Zero(t, r.Status)
}

func TestMain(m *testing.M) { program.Main(m) }

func TestUsage(t *testing.T) {
	t.Parallel()
	program.Usage(t, program.Build(t), "dynamic-plugin")
}
