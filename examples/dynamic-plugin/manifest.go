package main

import (
	"encoding/json"
	"fmt"

	"github.com/leatbus/leat/bus"
)

// manifest is a plugin as data: its name and its commands.
type manifest struct {
	Name     string    `json:"name"`
	Commands []command `json:"commands"`
}

// command is what is advertised, and how to execute it: a text/template that
// is applied to the request and gives the result, a string.
type command struct {
	ID          string          `json:"id"`
	Description string          `json:"description"`
	Request     json.RawMessage `json:"request"` // JSON Schema
	Template    string          `json:"template"`
}

func (c command) definition() bus.Definition {
	return bus.Definition{
		ID:          c.ID,
		Description: c.Description,
		Schema:      &bus.Schema{Request: c.Request, Response: json.RawMessage(`{"type":"string"}`)},
	}
}

func parseManifest(data string) (manifest, error) {
	var m manifest
	if err := json.Unmarshal([]byte(data), &m); err != nil {
		return manifest{}, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

// lettersManifest could as well come from a file or over the network.
const lettersManifest = `{
  "name": "letters",
  "commands": [
    {
      "id": "letters.salute",
      "description": "Begin a letter",
      "request": {"type": "object", "properties": {"name": {"type": "string"}},
                  "required": ["name"], "additionalProperties": false},
      "template": "Dear {{.name}},"
    },
    {
      "id": "letters.sign",
      "description": "End a letter",
      "request": {"type": "object", "properties": {"name": {"type": "string"}, "formal": {"type": "boolean"}},
                  "required": ["name", "formal"], "additionalProperties": false},
      "template": "{{if .formal}}Yours sincerely{{else}}Cheers{{end}}, {{.name}}"
    }
  ]
}`

// lateCommand is added while the plugin runs.
const lateCommand = `{
  "name": "letters",
  "commands": [{
    "id": "letters.thank",
    "description": "Thank for something",
    "request": {"type": "string"},
    "template": "Thank you for the {{.}}."
  }]
}`
