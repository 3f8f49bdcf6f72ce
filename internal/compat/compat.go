// Package compat compares the schemas of commands of several versions.
package compat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Misfits compares what is written by one JSON Schema with what is read by another, and returns why a value of the first may
// not do for the second, at most maxMisfits reasons; nil if they fit. With open set the reader ignores members that it does not
// know, as that of a result does.
//
// It is a comparison of the structure that types have: type, properties, required, additionalProperties, items, enum, minimum and
// maximum, null or a type, and references to definitions. What else a schema says is not compared, nor what is nested deeper than
// 64 levels; a schema that says nothing, or that is longer than 256 KiB, fits. Members that the writer's schema does not name are
// not written.
func Misfits(writer, reader json.RawMessage, open bool) []string {
	if len(writer) > maxCompared || len(reader) > maxCompared || bytes.Equal(writer, reader) {
		return nil
	}
	w, r := readSchema(writer), readSchema(reader)
	if w == nil || r == nil {
		return nil
	}
	c := comparison{w: w, r: r, open: open, done: make(map[[2]uintptr]bool)}
	c.compare("", w, r, 0)
	slices.Sort(c.found)
	return slices.Compact(c.found)
}

const (
	maxMisfits       = 16
	maxCompared      = 256 << 10 // bytes
	maxComparedDepth = 64
	maxComparedParts = 1 << 14
)

// node is a part of a schema; nil says nothing.
type node map[string]any

func readSchema(raw json.RawMessage) node {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var n node
	if len(raw) == 0 || d.Decode(&n) != nil {
		return nil
	}
	return n
}

// comparison is one of a writer's and a reader's schema.
type comparison struct {
	w, r  node // the roots
	open  bool
	parts int
	done  map[[2]uintptr]bool // the parts that were compared: recursive types lead back to them
	found []string
}

func (c *comparison) misfit(path, format string, args ...any) {
	if path == "" {
		path = "value"
	}
	c.found = append(c.found, path+": "+fmt.Sprintf(format, args...))
}

// view is a part of a schema with its references followed, and with null apart.
type view struct {
	node
	types map[string]bool // nil: any
}

// look follows references, and takes null or something else for that, nullable.
func look(root, n node) view {
	null := false
	for range maxComparedDepth {
		if ref, ok := n["$ref"].(string); ok {
			n = definition(root, ref)
			continue
		}
		some, ok := n["anyOf"].([]any)
		if !ok || len(some) != 2 {
			break
		}
		a, b := part(some[0]), part(some[1])
		if b["type"] == "null" {
			a, b = b, a
		}
		if a["type"] != "null" {
			break
		}
		null, n = true, b
	}
	v := view{node: n}
	switch t := n["type"].(type) {
	case string:
		v.types = map[string]bool{t: true}
	case []any:
		v.types = make(map[string]bool)
		for _, one := range t {
			if s, ok := one.(string); ok {
				v.types[s] = true
			}
		}
	}
	if null && v.types != nil {
		v.types["null"] = true
	}
	return v
}

func definition(root node, ref string) node {
	n := root
	path, local := strings.CutPrefix(ref, "#")
	if !local {
		return nil
	}
	for token := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if token != "" {
			n = part(n[token])
		}
	}
	return n
}

func part(v any) node {
	switch v := v.(type) {
	case map[string]any:
		return v
	case node:
		return v
	}
	return nil
}

// compare compares two parts.
func (c *comparison) compare(path string, wn, rn node, depth int) {
	if c.parts++; c.parts > maxComparedParts || depth > maxComparedDepth || len(c.found) >= maxMisfits {
		return
	}
	w, r := look(c.w, wn), look(c.r, rn)
	pair := [2]uintptr{reflect.ValueOf(w.node).Pointer(), reflect.ValueOf(r.node).Pointer()}
	if c.done[pair] {
		return
	}
	c.done[pair] = true
	if !c.compareTypes(path, w, r) {
		return
	}
	c.compareEnum(path, w, r)
	c.compareRange(path, w, r)
	c.compareObjects(path, w, r, depth)
	if wi, ri := part(w.node["items"]), part(r.node["items"]); wi != nil && ri != nil {
		c.compare(path+"[]", wi, ri, depth+1)
	}
}

func (c *comparison) compareTypes(path string, w, r view) bool {
	if r.types == nil {
		return true
	}
	if w.types == nil {
		c.misfit(path, "may be any value, and %s is expected", anyOf(r.types))
		return false
	}
	for t := range w.types {
		if !r.types[t] && (t != "integer" || !r.types["number"]) {
			c.misfit(path, "may be %s, and %s is expected", t, anyOf(r.types))
			return false
		}
	}
	return true
}

func anyOf(types map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(types)), " or ")
}

func (c *comparison) compareEnum(path string, w, r view) {
	takes, limited := r.node["enum"].([]any)
	if !limited {
		return
	}
	gives, _ := w.node["enum"].([]any)
	if gives == nil {
		c.misfit(path, "may be another than the values that are expected")
		return
	}
	for _, v := range gives {
		if !slices.ContainsFunc(takes, func(o any) bool { return fmt.Sprint(o) == fmt.Sprint(v) }) {
			c.misfit(path, "may be %.40v, which is not expected", v)
			return
		}
	}
}

func (c *comparison) compareRange(path string, w, r view) {
	if least, ok := float(r.node["minimum"]); ok {
		if n, given := float(w.node["minimum"]); !given || n < least {
			c.misfit(path, "may be less than %v", least)
		}
	}
	if most, ok := float(r.node["maximum"]); ok {
		if n, given := float(w.node["maximum"]); !given || n > most {
			c.misfit(path, "may be more than %v", most)
		}
	}
}

func float(v any) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil
}

func (c *comparison) compareObjects(path string, w, r view, depth int) {
	wp, rp := part(w.node["properties"]), part(r.node["properties"])
	for _, name := range slices.Sorted(maps.Keys(wp)) {
		at := strings.TrimPrefix(path+"."+name, ".")
		switch other, known := rp[name]; {
		case known:
			c.compare(at, part(wp[name]), part(other), depth+1)
		case part(r.node["additionalProperties"]) != nil && !closed(r.node):
			c.compare(at, part(wp[name]), part(r.node["additionalProperties"]), depth+1)
		case closed(r.node) && !c.open:
			c.misfit(at, "is not known")
		}
	}
	if all := part(w.node["additionalProperties"]); all != nil && !closed(w.node) {
		switch {
		case part(r.node["additionalProperties"]) != nil && !closed(r.node):
			c.compare(path+"[]", all, part(r.node["additionalProperties"]), depth+1)
		case closed(r.node) && !c.open:
			c.misfit(path, "may have members of any name")
		}
	}
	sure := names(w.node["required"])
	for name := range names(r.node["required"]) {
		at := strings.TrimPrefix(path+"."+name, ".")
		switch _, known := wp[name]; {
		case !known:
			c.misfit(at, "is missing, and required")
		case !sure[name]:
			c.misfit(at, "may be missing, and is required")
		}
	}
}

// closed reports whether an object may have no other members than those that are named.
func closed(n node) bool {
	switch all := n["additionalProperties"].(type) {
	case bool:
		return !all
	case map[string]any:
		not, is := all["not"]
		return is && len(all) == 1 && (not == true || part(not) != nil && len(part(not)) == 0)
	}
	return false
}

func names(v any) map[string]bool {
	all := make(map[string]bool)
	list, _ := v.([]any)
	for _, name := range list {
		if s, ok := name.(string); ok {
			all[s] = true
		}
	}
	return all
}
