package compat_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/internal/compat"
	"github.com/leatbus/leat/internal/payload"
)

type misfitBase struct {
	Name string `json:"name"`
	Note string `json:"note,omitempty"`
}

type misfitTree struct {
	Left *misfitTree `json:"left,omitempty"`
	N    int8        `json:"n"`
}

type misfitWideTree struct {
	Left *misfitWideTree `json:"left,omitempty"`
	N    int64           `json:"n"`
}

func TestMisfits(t *testing.T) {
	t.Parallel()
	type optional struct {
		misfitBase
		Colour string `json:"colour,omitempty"`
	}
	type required struct {
		misfitBase
		Colour string `json:"colour"`
	}
	type renamed struct {
		Title string `json:"title"`
	}
	type number struct {
		Name int    `json:"name"`
		Note string `json:"note,omitempty"`
	}
	type deep struct {
		All []map[string]misfitBase `json:"all"`
	}
	type deepOptional struct {
		All []map[string]optional `json:"all"`
	}
	tooWide := []string{"left.n: may be less than -128", "left.n: may be more than 127", "n: may be less than -128", "n: may be more than 127"}
	for name, tc := range map[string]struct {
		writer, reader any
		request        []string // why a request of the writer's version may not do for the reader
		result         []string // the same of a result
	}{
		"the same":          {misfitBase{}, misfitBase{}, nil, nil},
		"a new optional":    {optional{}, misfitBase{}, []string{"colour: is not known"}, nil},
		"an old optional":   {misfitBase{}, optional{}, nil, nil},
		"a new required":    {required{}, misfitBase{}, []string{"colour: is not known"}, nil},
		"a missing one":     {misfitBase{}, required{}, []string{"colour: is missing, and required"}, []string{"colour: is missing, and required"}},
		"may be missing":    {optional{}, required{}, []string{"colour: may be missing, and is required"}, []string{"colour: may be missing, and is required"}},
		"another name":      {renamed{}, misfitBase{}, []string{"name: is missing, and required", "title: is not known"}, []string{"name: is missing, and required"}},
		"another type":      {number{}, misfitBase{}, []string{"name: may be integer, and string is expected"}, []string{"name: may be integer, and string is expected"}},
		"within containers": {deepOptional{}, deep{}, []string{"all[][].colour: is not known"}, nil},
		"an integer":        {int32(0), float64(0), nil, nil},
		"a fraction":        {float64(0), int32(0), []string{"value: may be number, and integer is expected"}, []string{"value: may be number, and integer is expected"}},
		"a narrower range":  {misfitWideTree{}, misfitTree{}, tooWide, tooWide},
		"a wider range":     {misfitTree{}, misfitWideTree{}, nil, nil},
		"null":              {new(string), "", []string{"value: may be null, and string is expected"}, []string{"value: may be null, and string is expected"}},
		"not null":          {"", new(string), nil, nil},
		"anything":          {json.RawMessage{}, "", []string{"value: may be any value, and string is expected"}, []string{"value: may be any value, and string is expected"}},
		"for anything":      {"", json.RawMessage{}, nil, nil},
		"nothing":           {struct{}{}, "", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, r := typeOf(t, tc.writer), typeOf(t, tc.reader)
			assert.Equal(t, tc.request, compat.Misfits(w.Schema(), r.Schema(), false))
			assert.Equal(t, tc.result, compat.Misfits(w.Schema(), r.Schema(), true))
			if name == "a new optional" {
				assert.Empty(t, compat.Misfits(w.Schema(), r.TolerantSchema(), false), "a tolerant reader ignores it")
			}
		})
	}
}

func typeOf(t *testing.T, v any) *payload.Type {
	p, err := payload.For(reflect.TypeOf(v))
	require.NoError(t, err)
	return p
}

// TestMisfitsEnd: schemas are a peer's, and may be anything.
func TestMisfitsEnd(t *testing.T) {
	t.Parallel()
	wide := `{"properties":{` + strings.Repeat(`"a":1,`, 3) + `"x":{"$ref":"#"},"y":{"$ref":"#"},"z":{"$ref":"#"}},"$ref":"#/properties"}`
	began := time.Now()
	for _, w := range []string{"", "null", "7", "{}", `{"$ref":"#"}`, `{"$ref":"x"}`, `{"type":7,"properties":[],"required":{},"enum":7,"items":[1]}`, wide,
		`{"properties":{"x":{"$ref":"#"},"y":{"$ref":"#"}}}`, `{"anyOf":[{"type":"null"},{"$ref":"#"}]}`, strings.Repeat(`{"items":`, 5000) + "{}" + strings.Repeat("}", 5000)} {
		for _, r := range []string{w, "{}", `{"type":"string"}`, `{"properties":{"x":{"$ref":"#"},"y":{"$ref":"#"}},"additionalProperties":false}`} {
			compat.Misfits(json.RawMessage(w), json.RawMessage(r), false)
			compat.Misfits(json.RawMessage(r), json.RawMessage(w), true)
		}
	}
	var props, defs []string
	name := strings.Repeat("long", 25)
	for i := range 400 {
		props = append(props, fmt.Sprintf(`"p%d":{"$ref":"#/$defs/%s%d"}`, i, name, i))
		defs = append(defs, fmt.Sprintf(`"%s%d":{"$ref":"#/$defs/%s%d"}`, name, i, name, (i+1)%400))
	}
	for i := range 600 {
		props = append(props, fmt.Sprintf(`"o%d":{"type":"object","properties":{"a":{"$ref":"#"},"b%d":{"$ref":"#"}}}`, i, i))
	}
	mesh := `{"type":"object","properties":{` + strings.Join(props, ",") + `},"$defs":{` + strings.Join(defs, ",") + `}}`
	require.Less(t, len(mesh), 256<<10)
	compat.Misfits(json.RawMessage(mesh), json.RawMessage(strings.ReplaceAll(mesh, `"p1"`, `"P1"`)), false)
	t.Log(time.Since(began))
	require.Less(t, time.Since(began), 10*time.Second)
}
