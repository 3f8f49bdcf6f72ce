package compat_test

import (
	"encoding/json"
	"testing"

	"github.com/leatbus/leat/internal/compat"
)

// Schemas are a peer's: whatever they are, comparing them ends, and says little.
func FuzzMisfits(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"],"additionalProperties":false}`, `{"$ref":"#/properties/a"}`)
	f.Add(`{"anyOf":[{"type":"null"},{"type":["integer","null"],"minimum":-1,"maximum":1e999}]}`, `{"type":"array","items":{"enum":[1,"a",null]}}`)
	f.Fuzz(func(t *testing.T, w, r string) {
		for _, open := range []bool{false, true} {
			if found := compat.Misfits(json.RawMessage(w), json.RawMessage(r), open); len(found) > 2*16 {
				t.Fatalf("%d findings", len(found))
			}
			if found := compat.Misfits(json.RawMessage(w), json.RawMessage(w), open); found != nil {
				t.Fatalf("a schema does not fit itself: %q", found)
			}
		}
	})
}
