package payload

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What the library does is counted by values that count how often an error shows them: each random schema begins with a part
// that refuses the value, which "not" makes of no consequence.

const counting = `{"not":{"type":"boolean"}}`

type (
	countedList   []any
	countedObject map[string]any
	countedText   string
)

var shown int

func (countedList) String() string   { shown++; return "" }
func (countedObject) String() string { shown++; return "" }
func (countedText) String() string   { shown++; return "" }

func counted(v any) any {
	switch v := v.(type) {
	case jsonArray:
		list := countedList{}
		for _, e := range v {
			list = append(list, counted(e))
		}
		return list
	case jsonObject:
		object := countedObject{}
		for name, m := range v {
			object[name] = counted(m)
		}
		return object
	}
	return countedText(v.(jsonText))
}

var fragments = []string{
	`"type":"array"`, `"type":["object","string"]`, `"minItems":1`, `"required":["a"]`, `"uniqueItems":true`, `"maxLength":1`, `"enum":["x",[],{}]`,
	`"pattern":"^x*$"`, `"items":%s`, `"items":%s`, `"contains":%s`, `"contains":%s,"minContains":0`, `"prefixItems":[%s,%s]`, `"unevaluatedItems":%s`,
	`"properties":{"a":%s,"b":%s}`, `"properties":{"a":%s}`, `"patternProperties":{"a":%s,"^.$":%s}`, `"additionalProperties":%s`, `"unevaluatedProperties":%s`,
	`"propertyNames":{"pattern":"[a-c]"}`, `"dependentSchemas":{"a":%s}`, `"anyOf":[%s,%s]`, `"anyOf":[%s,%s,%s]`, `"oneOf":[%s,%s]`, `"not":%s`,
	`"if":%s,"then":%s,"else":%s`, `"additionalProperties":false`, `"allOf":[%s,%s]`,
}

func drawSchema(t *rapid.T, depth int) string {
	switch kind := rapid.IntRange(0, 5).Draw(t, "kind"); {
	case kind < 2:
		ref := rapid.SampledFrom([]string{"#", "#/$defs/d", "#e"}).Draw(t, "ref")
		return `{"allOf":[` + counting + `,{"$ref":"` + ref + `"}]}`
	case depth == 0 || kind == 2:
		return `{"allOf":[` + counting + `]}`
	}
	parts, used := []string{}, map[string]bool{}
	for range rapid.IntRange(1, 3).Draw(t, "keywords") {
		f := rapid.SampledFrom(fragments).Draw(t, "keyword")
		keyword, _, _ := strings.Cut(f, ":")
		if used[keyword] {
			continue
		}
		used[keyword] = true
		for strings.Contains(f, "%s") {
			f = strings.Replace(f, "%s", drawSchema(t, depth-1), 1)
		}
		parts = append(parts, f)
	}
	return `{"allOf":[` + counting + `,{` + strings.Join(parts, ",") + `}]}`
}

func drawDocument(t *rapid.T) string {
	return rapid.StringMatching(`[a-e]{0,9}`).Draw(t, "shape")
}

// grown is a document whose nesting is as the letters say.
func grown(shape string, leaf int) string {
	if shape == "" {
		return []string{`"x"`, `"xyz"`, `[]`, `{}`}[leaf%4]
	}
	below := grown(shape[1:], leaf+int(shape[0]))
	switch shape[0] {
	case 'a':
		return `[` + below + `]`
	case 'b':
		return `{"a":` + below + `}`
	case 'c':
		return `["x",` + below + `,[]]`
	case 'd':
		return `{"b":` + below + `,"c":"x","a":[]}`
	}
	return `[{"a":` + below + `},"y"]`
}

// countingApplications estimates how often those schemas are applied that may show a value, by making them dear.
func countingApplications(g *graph, value any) int {
	for _, n := range g.byPointer {
		if n.Type != "" || n.Types != nil || n.Enum != nil || n.Contains != nil {
			n.fixed = 1 << 20
		}
	}
	e := newEstimate(context.Background(), math.MaxInt)
	_ = e.of(g.root, value)
	return (math.MaxInt - e.left) >> 20
}

func TestRule24NoValidationTakesMoreThanItsEstimate(t *testing.T) {
	passed := 0
	rapid.Check(t, func(t *rapid.T) {
		raw := `{"$defs":{"d":` + drawSchema(t, 2) + `,"e":{"$anchor":"e","allOf":[` + drawSchema(t, 2) + `]}},` + drawSchema(t, 3)[1:]
		s, err := CompileSchema(json.RawMessage(raw))
		if err != nil {
			t.Skip(err) // A circle.
		}
		data := grown(drawDocument(t), rapid.IntRange(0, 3).Draw(t, "leaf"))
		value, depth, fault := parse([]byte(data), maxDepth)
		if fault != nil {
			t.Fatal(fault)
		}
		steps := baseSteps + stepsPerByte*len(data)
		e := newEstimate(context.Background(), steps)
		if err := e.of(s.graph.root, value); err != nil {
			if most := s.graph.limits.most(len(data), depth); most <= float64(steps) {
				t.Fatalf("%s\n%s\nrefused, though it takes %v steps at most", raw, data, most)
			}
			return
		}
		passed++
		if most := s.graph.limits.most(len(data), depth); float64(steps-e.left) > most {
			t.Fatalf("%s\n%s\n%d steps estimated, of %v", raw, data, steps-e.left, most)
		}
		if err, c := validate(s.resolved, value), newEstimate(context.Background(), steps).apply(s.graph.root, value); err != nil && len(err.Error()) > c.text {
			t.Fatalf("%s\n%s\na message of %d bytes, estimated are %d", raw, data, len(err.Error()), c.text)
		}
		shown = 0
		began := time.Now()
		_ = validate(s.resolved, counted(value))
		if estimated := countingApplications(s.graph, value); shown > estimated {
			t.Fatalf("%s\n%s\n%d applications of the schemas that count, %d estimated", raw, data, shown, estimated)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Fatalf("%s\n%s\n%v", raw, data, took)
		}
	})
	if passed == 0 {
		t.Fatal("no estimate passed")
	}
}

// TestRule24OrdinarySchemasAreNotRefused asks with many schemas as people write them, and with long documents.
func TestRule24OrdinarySchemasAreNotRefused(t *testing.T) {
	t.Parallel()
	item := `{"type":"object","properties":{"id":{"type":"integer","minimum":0},"name":{"type":"string","minLength":1,"maxLength":200,"pattern":"^[\\w -]+$"},` +
		`"tags":{"type":"array","uniqueItems":true,"items":{"enum":["red","green","blue"]}},"next":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/item"}]}},"required":["id"],"additionalProperties":false}`
	shapes := `{"oneOf":[{"properties":{"kind":{"const":"circle"},"r":{"type":"number"}},"required":["r"]},{"properties":{"kind":{"const":"square"},"side":{"type":"number"}},"required":["side"]},` +
		`{"properties":{"kind":{"const":"group"},"of":{"items":{"$ref":"#/$defs/shape"}}},"required":["of"]}]}`
	for name, tc := range map[string]struct {
		schema string
		one    func(i int) string
	}{
		"items": {`{"$ref":"#/$defs/item"}`, func(i int) string {
			return fmt.Sprintf(`{"id":%d,"name":"part %d","tags":["red","blue"],"next":{"id":%d,"next":null}}`, i, i, i)
		}},
		"shapes": {`{"$ref":"#/$defs/shape"}`, func(i int) string {
			return fmt.Sprintf(`{"kind":"group","of":[{"kind":"circle","r":%d},{"kind":"group","of":[{"kind":"square","side":%d}]}]}`, i, i)
		}},
		"by name":   {`{"type":"object","propertyNames":{"pattern":"^\\d+$"},"additionalProperties":{"type":"integer"}}`, func(i int) string { return fmt.Sprintf(`{"%d":%d}`, i, i) }},
		"numbers":   {`{"type":["integer","null"],"minimum":0,"exclusiveMaximum":1e300}`, strconv.Itoa},
		"condition": {`{"if":{"properties":{"a":{"const":1}}},"then":{"required":["b"]},"else":{"unevaluatedProperties":{"type":"integer"}}}`, func(i int) string { return fmt.Sprintf(`{"a":%d,"b":2}`, i) }},
	} {
		s, err := CompileSchema(json.RawMessage(`{"type":"array","uniqueItems":true,"items":` + tc.schema + `,"$defs":{"item":` + item + `,"shape":` + shapes + `}}`))
		if err != nil {
			t.Fatal(name, err)
		}
		deep := strings.Repeat(`{"id":1,"next":`, 350) + "null" + strings.Repeat("}", 350)
		if err := s.Validate(context.Background(), []byte("["+deep+"]")); name == "items" && err != nil {
			t.Errorf("a long chain: %v", err)
		}
		for _, n := range []int{1, 30, 1000, 5_000} {
			var list []string
			for i := range n {
				list = append(list, tc.one(i))
			}
			if err := s.Validate(context.Background(), []byte("["+strings.Join(list, ",")+"]")); err != nil {
				t.Errorf("%d %s: %v", n, name, err)
			}
		}
	}
}
